"""``langflow-otel exec``: any command, with LangFlow instrumented in it and in the processes that it starts."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import typer

import langflow_otel
from langflow_otel._hooks.versions import INSTALL_HINT, lfx_is_installed
from langflow_otel.cli.console import give_up

_AUTOSTART = Path(langflow_otel.__file__).parent / "_autostart"
_NOT_FOUND, _NOT_EXECUTABLE = 127, 126  # as shells say it


def run_command(command: Sequence[str]) -> None:
    """Become the command; does not return. Exits with 127 if there is no such program."""
    program = _program(command[0])
    if program is None:
        give_up(f"{command[0]}: there is no such program", _NOT_FOUND)
    if not lfx_is_installed():
        give_up(INSTALL_HINT)
    environment = {**os.environ, "PYTHONPATH": _python_path()}
    if sys.platform == "win32":
        # There, exec would start another process and end this one: the caller would not wait.
        raise typer.Exit(subprocess.run([program, *command[1:]], env=environment, check=False).returncode)  # noqa: S603
    try:
        os.execve(program, list(command), environment)  # noqa: S606
    except OSError as exc:
        give_up(f"{program}: {exc.strerror}", _NOT_EXECUTABLE)


def _program(name: str) -> str | None:
    """Where the program is: beside the Python that runs us (its environment may not be activated), or on the PATH."""
    beside = str(Path(sys.executable).parent)
    return shutil.which(name, path=os.pathsep.join([beside, os.environ.get("PATH", os.defpath)]))


def _python_path() -> str:
    """Ours in front of what there is: Python imports the first ``sitecustomize`` that it finds."""
    there = os.environ.get("PYTHONPATH", "")
    return os.pathsep.join([str(_AUTOSTART), *([there] if there else [])])

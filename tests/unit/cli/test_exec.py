"""``langflow-otel exec``: another program, as it would run without us, with LangFlow instrumented in it."""

from __future__ import annotations

import ast
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
import typer

import langflow_otel
from langflow_otel._hooks.versions import INSTALL_HINT
from langflow_otel.cli import exec as module
from langflow_otel.cli.exec import run_command

OURS = "from langflow_otel.cli.main import main; main()"
AUTOSTART = str(Path(langflow_otel.__file__).parent / "_autostart")

STATE = (
    "import json, sys; from langflow_otel._runs.recorder import active_recorder;"
    "print(json.dumps([active_recorder() is not None, 'langflow_otel.plugin' in sys.modules]))"
)


OLD_PYTHONS = [
    found
    for version in ("2.7.18", "3.6.15")
    for found in [str(Path.home() / ".pyenv" / "versions" / version / "bin" / "python")]
    if Path(found).exists()
] or [sys.executable]
"""Those that are here, else at least this one."""


def test_file_that_each_python_runs_has_the_syntax_of_python_2():
    """Where there is no such Python to run it."""
    source = (Path(AUTOSTART) / "sitecustomize.py").read_bytes()
    newer = (ast.AnnAssign, ast.JoinedStr, ast.AsyncFunctionDef, ast.Await, ast.Nonlocal, ast.YieldFrom, ast.NamedExpr)
    for node in ast.walk(ast.parse(source.decode("ascii"))):
        assert not isinstance(node, newer)
        if isinstance(node, ast.FunctionDef):
            arguments = [*node.args.args, *node.args.kwonlyargs, *node.args.posonlyargs]
            assert node.returns is None
            assert not node.args.kwonlyargs
            assert not node.args.posonlyargs
            assert [each.annotation for each in arguments] == [None] * len(arguments)
        if isinstance(node, ast.Raise):
            assert node.cause is None


@pytest.fixture
def executed(monkeypatch) -> list[Any]:
    """What would be executed."""
    calls: list[Any] = []
    monkeypatch.setattr(os, "execve", lambda *arguments: calls.append(arguments))
    monkeypatch.setattr(module, "lfx_is_installed", lambda: True)
    return calls


def test_this_process_becomes_the_command(executed, monkeypatch):
    monkeypatch.delenv("PYTHONPATH", raising=False)
    run_command(["python", "-m", "x", "--flag"])

    ((program, arguments, environment),) = executed
    assert Path(program).parent == Path(sys.executable).parent
    assert arguments == ["python", "-m", "x", "--flag"]
    assert environment == {**os.environ, "PYTHONPATH": AUTOSTART}


def test_what_is_on_the_python_path_stays_there(executed, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["a", "b"]))
    run_command(["python"])

    assert executed[0][2]["PYTHONPATH"] == os.pathsep.join([AUTOSTART, "a", "b"])


def test_a_program_that_is_not_beside_our_python_is_looked_for_on_the_path(executed, monkeypatch, tmp_path):
    program = tmp_path / "serve-flows"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    run_command(["serve-flows"])

    assert executed[0][0] == str(program)


def test_no_such_program(executed, capsys):
    with pytest.raises(typer.Exit) as stopped:
        run_command(["no-such-program"])

    assert stopped.value.exit_code == 127
    assert "no-such-program: there is no such program" in capsys.readouterr().err
    assert executed == []


def test_a_program_that_the_system_does_not_execute(executed, capsys, monkeypatch):
    def refuse(*_: Any) -> None:
        raise OSError(8, "Exec format error")

    monkeypatch.setattr(os, "execve", refuse)
    with pytest.raises(typer.Exit) as stopped:
        run_command(["python"])

    assert stopped.value.exit_code == 126
    assert "Exec format error" in capsys.readouterr().err


def test_without_langflow_it_says_how_to_install_it(executed, capsys, monkeypatch):
    monkeypatch.setattr(module, "lfx_is_installed", lambda: False)
    with pytest.raises(typer.Exit) as stopped:
        run_command(["python"])

    assert stopped.value.exit_code == 2
    assert INSTALL_HINT in capsys.readouterr().err.replace("\n", " ")
    assert executed == []


# Real processes


@pytest.fixture
def folder(tmp_path) -> Path:
    """On the path of the program: a package that is called lfx."""
    (tmp_path / "lfx").mkdir()
    (tmp_path / "lfx" / "__init__.py").write_text("")
    return tmp_path


def call(*command: str, folder: Path, ours: bool = True, **variables: str) -> subprocess.CompletedProcess[str]:
    prefix = [sys.executable, "-c", OURS, "exec", "--"] if ours else []
    return subprocess.run(
        [*prefix, *command],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(folder), **variables},
        timeout=60,
        check=False,
    )


def destination(folder: Path) -> dict[str, str]:
    return {"LANGFLOW_OTEL_TRACE_FILE": str(folder / "spans.jsonl")}


@pytest.mark.slow
class TestProcesses:
    def test_output_arguments_and_exit_code_are_the_commands(self, folder: Path) -> None:
        code = "import sys; print(sys.argv[1:]); print(sys.stdin.read(), file=sys.stderr); sys.exit(7)"
        command = [sys.executable, "-c", code, "--help", "-x", "a b"]
        theirs, ours = call(*command, folder=folder, ours=False), call(*command, folder=folder)

        assert (ours.returncode, ours.stdout, ours.stderr) == (7, "['--help', '-x', 'a b']\n", theirs.stderr)

    @pytest.mark.skipif(os.name == "nt", reason="there are no such signals there")
    def test_a_signal_ends_the_command_and_not_something_around_it(self, folder: Path) -> None:
        code = "import os, signal; os.kill(os.getpid(), signal.SIGTERM)"

        assert call(sys.executable, "-c", code, folder=folder).returncode == -signal.SIGTERM

    def test_with_langflows_import_it_is_on(self, folder: Path) -> None:
        done = call(sys.executable, "-c", f"import lfx; {STATE}", folder=folder, **destination(folder))

        assert (done.stdout, done.stderr) == ("[true, true]\n", "")

    def test_in_processes_that_the_command_starts_as_well(self, folder: Path) -> None:
        code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {f'import lfx; {STATE}'!r}], check=True)"
        done = call(sys.executable, "-c", code, folder=folder, **destination(folder))

        assert (done.stdout, done.stderr) == ("[true, true]\n", "")

    def test_a_program_without_langflow_loads_nothing_of_ours(self, folder: Path) -> None:
        code = "import sys; print([name for name in sys.modules if name.startswith(('langflow', 'opentelemetry'))])"
        done = call(sys.executable, "-c", code, folder=folder, **destination(folder))

        assert (done.stdout, done.stderr) == ("[]\n", "")

    @pytest.mark.parametrize("variables", [{}, {"LANGFLOW_OTEL_ENABLED": "false", "OTEL_TRACES_EXPORTER": "console"}])
    def test_without_a_destination_or_switched_off_nothing_is_on(self, folder: Path, variables: dict[str, str]) -> None:
        done = call(sys.executable, "-c", f"import lfx; {STATE}", folder=folder, **variables)

        assert (done.stdout, done.stderr) == ("[false, true]\n", "")

    def test_a_sitecustomize_that_is_there_runs_as_before(self, folder: Path) -> None:
        (folder / "sitecustomize.py").write_text("import builtins; builtins.hidden = 'no more'\n")
        done = call(sys.executable, "-c", f"import lfx; print(hidden); {STATE}", folder=folder, **destination(folder))

        assert (done.stdout, done.stderr) == ("no more\n[true, true]\n", "")

    def test_one_that_fails_is_told_as_python_tells_it_and_the_program_runs(self, folder: Path) -> None:
        (folder / "sitecustomize.py").write_text("raise LookupError('theirs')\n")
        command = [sys.executable, "-c", f"import lfx; {STATE}"]
        theirs = call(*command, folder=folder, ours=False)
        done = call(*command, folder=folder, **destination(folder))

        assert (done.returncode, done.stdout) == (0, "[true, true]\n")
        assert "LookupError: theirs" in theirs.stderr
        assert "LookupError: theirs" in done.stderr

    def test_an_environment_without_us_is_left_alone(self, folder: Path) -> None:
        """Such as a program of another Python; it inherits the path all the same."""
        code = "import sys; print('langflow_otel' in sys.modules, 'sitecustomize' in sys.modules)"
        done = call(sys.executable, "-S", "-c", code, folder=folder, **destination(folder))
        assert (done.returncode, done.stdout) == (0, "False False\n")

        (folder / "wrapt.py").write_text("raise ImportError('another environment')\n")
        inherited = {**destination(folder), "PYTHONPATH": os.pathsep.join([AUTOSTART, str(folder)])}
        done = call(sys.executable, "-c", "import lfx; print('ran')", folder=folder, ours=False, **inherited)
        assert (done.returncode, done.stdout, done.stderr) == (0, "ran\n", "")

    def test_nested_commands_of_two_environments_start_once_each(self, folder: Path) -> None:
        """Each has put its own folder in front of the other's, and the program has a sitecustomize of its own."""
        other = folder / "another-environment"
        shutil.copytree(AUTOSTART, other)
        (folder / "sitecustomize.py").write_text("import builtins; builtins.runs = getattr(builtins, 'runs', 0) + 1\n")
        nested = os.pathsep.join([AUTOSTART, str(other), AUTOSTART, str(folder)])
        inherited = {**destination(folder), "PYTHONPATH": nested}
        code = f"import lfx; print(runs); {STATE}"
        done = call(sys.executable, "-c", code, folder=folder, ours=False, **inherited)

        assert (done.returncode, done.stdout, done.stderr) == (0, "1\n[true, true]\n", "")

    @pytest.mark.parametrize("python", OLD_PYTHONS)
    def test_child_of_an_old_python_runs_in_silence(self, folder: Path, python: str) -> None:
        (folder / "sitecustomize.py").write_text("import sys; sys.hidden = 'no more'\n")
        inherited = {**destination(folder), "PYTHONPATH": os.pathsep.join([AUTOSTART, str(folder)])}
        done = call(python, "-c", "import sys; print(sys.hidden)", folder=folder, ours=False, **inherited)

        assert (done.returncode, done.stdout, done.stderr) == (0, "no more\n", "")

    def test_an_error_at_the_start_costs_one_line_and_no_program(self, folder: Path) -> None:
        broken = textwrap.dedent("""
            import langflow_otel.plugin as plugin
            def fail(_): raise ValueError("canary")
            plugin.spelled_out = fail
            import lfx
            print("ran")
        """)
        done = call(sys.executable, "-c", broken, folder=folder, **destination(folder))

        assert (done.returncode, done.stdout) == (0, "ran\n")
        assert "canary" not in done.stderr
        assert done.stderr.count("contained") == 1

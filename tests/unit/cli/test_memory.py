"""Where memory does not suffice, a command ends with one line."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from langflow_otel.cli import main as command_line
from tests.support.made_spans import MadeTraces

OUT_OF_MEMORY = "langflow-otel: out of memory: select fewer files, or fewer runs with --flow and --since\n"
ERRORS = (
    MemoryError(),
    duckdb.OutOfMemoryException("failed to allocate data of size 8 MiB"),
    pa.ArrowMemoryError("malloc of size 8 failed"),
    OSError(errno.ENOMEM, "Cannot allocate memory"),
    RuntimeError("can't start new thread"),
)


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_out_of_memory_is_one_line(error, monkeypatch, capsys):
    def fails() -> None:
        raise error

    monkeypatch.setattr(command_line, "app", fails)
    codes: list[int] = []
    monkeypatch.setattr(os, "_exit", codes.append)
    command_line.main()

    assert codes == [2]
    assert capsys.readouterr() == ("", OUT_OF_MEMORY)


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), RuntimeError("other"), duckdb.Error("other")])
def test_other_errors_are_not_out_of_memory(error, monkeypatch):
    def fails() -> None:
        raise error

    monkeypatch.setattr(command_line, "app", fails)
    with pytest.raises(type(error)):
        command_line.main()


LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_DATA, (int(sys.argv.pop(1)) * 2**20,) * 2)
from langflow_otel.cli.main import main
main()
"""


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of 60 MiB whose lines have a hundred runs each."""
    folder = tmp_path_factory.mktemp("traces")
    made = MadeTraces()
    for _ in range(100):
        run = made.run(5, attributes={"note": "x" * 1000})
        for name in ("Ask", "Search", "Answer"):
            run.add(f"component {name}", 0, 1, attributes={"note": "x" * 1000})
    text = made.write(folder / "some.jsonl").read_text()
    path = folder / "large.jsonl"
    with path.open("w") as file:
        for number in range(60 * 2**20 // len(text)):
            file.write(text.replace('"traceId": "0000', f'"traceId": "{number:04x}'))
    return path


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits what is allocated")
@pytest.mark.parametrize(
    "arguments",
    [
        ("report", "-o", "report.html"),
        ("why", "last"),
        ("tree", "slowest"),
        ("usage",),
        ("baseline", "save", "-o", "baseline.json"),
        ("anomalies",),
        ("export", "--format", "csv", "-o", "spans.csv"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_a_real_limit_ends_each_command_with_one_line(large, tmp_path, monkeypatch, arguments):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    # numpy's library has a buffer for each thread.
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")
    for limit_mib in (240, 260, 280, 300, 320, 340):
        command = [sys.executable, "-c", LIMITED, str(limit_mib), *arguments, str(large)]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
        # In a quarter of all limits, with Python 3.13, it is a thread of DuckDB's or Arrow's that gets no memory as it
        # starts: it crashes, or the C library ends the process. No code of ours runs then.
        if done.returncode != -signal.SIGSEGV and "for thread-local data" not in done.stderr:
            break

    assert (done.returncode, done.stdout, done.stderr) == (2, "", OUT_OF_MEMORY)

"""Lines in a file that others write to, rotate or remove: each is whole, in one place, or not written."""

from __future__ import annotations

import errno
import os
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from langflow_otel._sdk import rotating_file
from langflow_otel._sdk.rotating_file import RotatingFile, why_not_regular

posix = pytest.mark.skipif(os.name == "nt", reason="Windows has neither of these")

WRITE_MANY = """
import sys
from pathlib import Path
from langflow_otel._sdk.rotating_file import RotatingFile
file = RotatingFile(Path(sys.argv[1]), max_bytes=40_000, kept_files=3)
print("ready", flush=True)
sys.stdin.readline()
for number in range(300):
    file.append(f"{sys.argv[2]} {number:03} {'x' * 90}\\n".encode())
file.close()
"""
WRITE_UNTIL_REFUSED = """
import resource, sys
from pathlib import Path
from langflow_otel._sdk.rotating_file import RotatingFile
file = RotatingFile(Path(sys.argv[1]), max_bytes=1_000_000, kept_files=3)
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
def write():
    try:
        file.append(b"x" * 99 + b"\\n")
        return True
    except OSError as exc:
        return exc.errno
resource.setrlimit(resource.RLIMIT_FSIZE, (1050, hard))
print([write() for _ in range(12)])
resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
print(write())
"""


def rotating(path: Path, max_bytes: int = 1_000_000) -> RotatingFile:
    return RotatingFile(path, max_bytes=max_bytes, kept_files=3)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# What is no regular file


@posix
@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (lambda path: os.mkfifo(path), "a named pipe"),
        (lambda path: path.mkdir(), "a folder"),
        (lambda path: path.symlink_to("/dev/full"), "a device"),
        (lambda path: path.symlink_to("/dev/null"), "a device"),
        (lambda path: socket.socket(socket.AF_UNIX).bind(str(path)), "a socket"),
    ],
)
def test_only_regular_files_are_written(tmp_path, monkeypatch, make: Callable[[Path], object], kind: str):
    monkeypatch.chdir(tmp_path)  # the name of a socket has at most 100 characters
    path = Path("spans")
    make(path)

    assert why_not_regular(path) == f"it is {kind}"
    with pytest.raises(OSError, match=f"it is {kind}, and only regular files are written"):
        rotating(path).append(b"x\n")


@posix
def test_a_pipe_that_comes_at_the_last_moment_is_not_written(tmp_path, monkeypatch):
    path = tmp_path / "spans"
    os.mkfifo(path)
    monkeypatch.setattr(rotating_file, "why_not_regular", lambda _: None)

    with pytest.raises(OSError, match="it is no regular file any more"):
        rotating(path).append(b"x\n")


def test_what_is_not_there_may_become_a_file(tmp_path):
    assert why_not_regular(tmp_path / "spans") is None
    (tmp_path / "spans").write_text("")
    assert why_not_regular(tmp_path / "spans") is None


# Permissions


@posix
def test_a_new_file_is_for_its_owner_alone(tmp_path):
    file = rotating(tmp_path / "spans", max_bytes=3)
    before = os.umask(0)
    try:
        file.append(b"a\n")
        file.append(b"b\n")
    finally:
        os.umask(before)
    file.close()

    assert [mode_of(each) for each in sorted(tmp_path.iterdir())] == [0o600, 0o600]


@posix
def test_permissions_of_the_file_outlast_a_rotation(tmp_path):
    """A collector of another user may read it."""
    path = tmp_path / "spans"
    path.touch()
    path.chmod(0o640)
    file = rotating(path, max_bytes=3)
    file.append(b"a\n")
    file.append(b"b\n")
    file.close()

    assert (path.read_bytes(), mode_of(path)) == (b"b\n", 0o640)


# Others that write, rotate and remove


def lines_in(folder: Path) -> list[str]:
    return sorted(line for each in folder.glob("spans*") for line in each.read_text().splitlines())


def test_writers_that_rotate_one_file_lose_nothing(tmp_path):
    def write(writer: int) -> None:
        file = rotating(tmp_path / "spans", max_bytes=2_000)
        for number in range(50):
            file.append(f"{writer} {number:02} {'x' * 20}\n".encode())
        file.close()

    threads = [threading.Thread(target=write, args=(writer,)) for writer in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert lines_in(tmp_path) == [f"{writer} {number:02} {'x' * 20}" for writer in range(4) for number in range(50)]
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.slow
def test_processes_that_rotate_one_file_lose_nothing(tmp_path):
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", WRITE_MANY, str(tmp_path / "spans"), str(writer)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for writer in range(4)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == f"ready{os.linesep}".encode()
    outputs = [process.communicate(b"go\n") for process in processes]

    assert outputs == [(b"", None)] * 4
    assert lines_in(tmp_path) == [f"{writer} {number:03} {'x' * 90}" for writer in range(4) for number in range(300)]
    assert len(list(tmp_path.iterdir())) == 3


@posix
@pytest.mark.parametrize("where", ["spans.old", "elsewhere/spans"])
def test_a_file_that_others_rotate_is_made_anew(tmp_path, where: str):
    path, moved = tmp_path / "spans", tmp_path / where
    moved.parent.mkdir(exist_ok=True)
    file = rotating(path)
    file.append(b"a\n")
    path.rename(moved)
    file.append(b"b\n")
    file.close()

    assert (moved.read_bytes(), path.read_bytes()) == (b"a\n", b"b\n")


@posix
def test_a_file_that_is_removed_is_made_anew(tmp_path):
    path = tmp_path / "folder" / "spans"
    file = rotating(path)
    file.append(b"a\n")
    path.unlink()
    file.append(b"b\n")
    assert path.read_bytes() == b"b\n"
    path.unlink()
    path.parent.rmdir()
    file.append(b"c\n")
    file.close()

    assert path.read_bytes() == b"c\n"


@posix
def test_a_file_that_others_keep_locked_is_not_waited_for(tmp_path, monkeypatch):
    import fcntl

    monkeypatch.setattr(rotating_file, "LOCK_S", 0.05)
    path = tmp_path / "spans"
    file = rotating(path)
    with path.open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(TimeoutError, match="another process has kept it locked for too long"):
            file.append(b"a\n")
        fcntl.flock(other, fcntl.LOCK_UN)
        file.append(b"b\n")
    file.close()

    assert path.read_bytes() == b"b\n"


@pytest.mark.parametrize("how", ["windows", "network disk"])
def test_without_locks_lines_are_written_and_rotated(tmp_path, monkeypatch, how: str):
    class NoLocks:
        LOCK_EX = LOCK_NB = LOCK_UN = 0

        def flock(self, fd: int, how: int) -> None:
            raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr(rotating_file, "fcntl", None if how == "windows" else NoLocks())
    file = rotating(tmp_path / "spans", max_bytes=4)
    for line in (b"a\n", b"b\n", b"c\n"):
        file.append(line)
    file.close()

    assert [each.read_bytes() for each in sorted(tmp_path.iterdir())] == [b"c\n", b"a\nb\n"]


def test_a_forked_child_opens_the_file_anew(tmp_path, monkeypatch):
    """A lock of its parent would be its own, too."""
    file = rotating(tmp_path / "spans")
    file.append(b"a\n")
    opened: list[object] = []
    real_open = os.open
    monkeypatch.setattr(os, "open", lambda *args: (opened.append(args), real_open(*args))[1])
    parent = os.getpid()
    monkeypatch.setattr(os, "getpid", lambda: parent + 1)
    file.append(b"b\n")
    file.append(b"c\n")
    file.close()

    assert len(opened) == 1
    assert (tmp_path / "spans").read_bytes() == b"a\nb\nc\n"


# A disk that is full


@pytest.mark.parametrize("fits", [0, 3, 9])
def test_half_a_line_is_taken_back(tmp_path, monkeypatch, fits: int):
    path = tmp_path / "spans"
    file = rotating(path)
    file.append(b"first\n")
    real_write, room = os.write, [fits]

    def write(fd: int, data: bytes) -> int:
        if not room[0]:
            raise OSError(errno.ENOSPC, "no space left on device")
        count = real_write(fd, bytes(data)[: room[0]])
        room[0] -= count
        return count

    monkeypatch.setattr(os, "write", write)
    with pytest.raises(OSError, match="no space left"):
        file.append(b"0123456789\n")
    monkeypatch.setattr(os, "write", real_write)
    assert path.read_bytes() == b"first\n"
    file.append(b"last\n")
    file.close()

    assert path.read_bytes() == b"first\nlast\n"


@posix
@pytest.mark.slow
def test_a_real_limit_leaves_whole_lines(tmp_path):
    path = tmp_path / "spans"
    done = subprocess.run(
        [sys.executable, "-c", WRITE_UNTIL_REFUSED, str(path)], capture_output=True, text=True, check=True
    )

    assert done.stdout.splitlines() == [str([True] * 10 + [errno.EFBIG] * 2), "True"]
    assert path.read_bytes() == (b"x" * 99 + b"\n") * 11


def test_a_line_after_half_a_one_is_whole(tmp_path):
    """A process was killed while it wrote."""
    path = tmp_path / "spans"
    path.write_bytes(b'{"resourceSpa')
    file = rotating(path)
    file.append(b"whole\n")
    file.append(b"next\n")
    file.close()

    assert path.read_bytes() == b'{"resourceSpa\nwhole\nnext\n'

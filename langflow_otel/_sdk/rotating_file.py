"""A file of lines that several processes append to and rotate, and that others may rotate or remove meanwhile."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from threading import Lock
from typing import Any, Final

try:
    import fcntl as _fcntl
except ImportError:  # Windows
    _fcntl = None  # type: ignore[assignment]

fcntl: Any = _fcntl

LOCK_S: Final = 2.0
"""How long a line waits for other processes that write to the file, in seconds. One of them may be suspended."""

_POLL_S: Final = 0.01
_PRIVATE: Final = 0o600
# A named pipe without a reader would block the caller, should it come between the check and the opening.
_FLAGS: Final = os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
_KINDS: Final = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def why_not_regular(path: Path) -> str | None:
    """What the path is instead of a regular file, such as ``it is a named pipe``; None if it is one, or is free."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return None
    if stat.S_ISREG(mode):
        return None
    kind = next((name for is_kind, name in _KINDS if is_kind(mode)), "a file of another kind")
    return f"it is {kind}"


def why_not_writable(path: Path) -> str | None:
    """Why :class:`RotatingFile` could not write there, such as ``it is a folder``; None if it can.

    It is tried, and nothing is left behind: permissions do not say it all on a read-only disk, or for an administrator.
    """
    problem = why_not_regular(path)
    if problem:
        return problem
    if path.exists():
        try:
            os.close(os.open(path, _FLAGS & ~os.O_CREAT))
        except OSError as exc:
            return f"it may not be written: {exc.strerror}"
        return None
    above = nearest_existing(path)
    if not above.is_dir():
        return f"{above} is no folder"
    trial = above / f".langflow-otel-{os.getpid()}-{time.monotonic_ns()}"
    try:
        trial.mkdir()
        trial.rmdir()
    except OSError as exc:
        return f"nothing may be made in {above}: {exc.strerror}"
    return None


def nearest_existing(path: Path) -> Path:
    """The path, or the nearest on the way to it that is there."""
    return next(each for each in (path.absolute(), *path.absolute().parents) if each.exists())


class RotatingFile:
    """Lines in a regular file, each whole or not at all.

    Args:
        path: The file. It is opened with the first line; its folder is made if need be. A file that is made here is for
            its owner alone; after a rotation the new one has the permissions of the old one.
        max_bytes: A line that would make it larger goes to a new file; the old one is renamed to ``.1``, and so on.
        kept_files: How many old ones are kept.
    """

    def __init__(self, path: Path, *, max_bytes: int, kept_files: int) -> None:
        # The program may change its working directory.
        self.path = Path(os.path.abspath(path))
        self._max_bytes = max_bytes
        self._kept_files = kept_files
        self._threads = Lock()
        self._fd: int | None = None
        self._pid = os.getpid()

    def append(self, line: bytes) -> None:
        """Write a line, which ends with a newline.

        Raises:
            OSError: It could not be written whole; nothing of it is in the file then.
        """
        mode: int | None = None
        with self._threads:
            while True:
                with self._opened(mode) as fd:
                    found = os.fstat(fd)
                    if not found.st_size or found.st_size + len(line) <= self._max_bytes:
                        _write(fd, line, found.st_size)
                        return
                    mode = stat.S_IMODE(found.st_mode)
                    self._rotate()
                self._close()

    def close(self) -> None:
        """Close the file; another line opens it again."""
        with self._threads:
            self._close()

    @contextmanager
    def _opened(self, mode: int | None) -> Iterator[int]:
        """The file that has the path now, locked against other processes."""
        deadline_s = time.monotonic() + LOCK_S
        while True:
            fd = self._open(mode)
            with _locked(fd, deadline_s):
                # What was renamed or removed meanwhile is no place for a line.
                if self._has_path(fd):
                    yield fd
                    return
            self._close()

    def _open(self, mode: int | None) -> int:
        if self._pid != os.getpid():
            # Its parent's lock would be this process's, too.
            self._close()
            self._pid = os.getpid()
        if self._fd is None:
            problem = why_not_regular(self.path)
            if problem:
                raise OSError(f"{problem}, and only regular files are written")
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(self.path, _FLAGS, _PRIVATE)
            if not stat.S_ISREG(os.fstat(self._fd).st_mode):
                self._close()
                raise OSError("it is no regular file any more")
            if mode is not None and hasattr(os, "fchmod"):
                with suppress(OSError):
                    os.fchmod(self._fd, mode)
        return self._fd

    def _has_path(self, fd: int) -> bool:
        try:
            return os.path.samestat(os.fstat(fd), os.stat(self.path))
        except FileNotFoundError:
            return False

    def _rotate(self) -> None:
        if fcntl is None:
            # Windows renames no open file.
            self._close()
        names = [self.path, *(Path(f"{self.path}.{number}") for number in range(1, self._kept_files + 1))]
        # The path itself last: until then no other process has a new file there that it might rotate.
        for old, new in reversed(list(pairwise(names))):
            with suppress(FileNotFoundError):
                os.replace(old, new)

    def _close(self) -> None:
        fd, self._fd = self._fd, None
        if fd is not None:
            # A full disk may refuse once more what it refused before.
            with suppress(OSError):
                os.close(fd)


@contextmanager
def _locked(fd: int, deadline_s: float) -> Iterator[None]:
    """Keep out other processes that write to the file; without ``flock``, as on Windows and on some network disks, none
    are kept out."""
    while fcntl is not None:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline_s:
                raise TimeoutError("another process has kept it locked for too long") from None
            time.sleep(_POLL_S)
            continue
        except OSError:
            break
        try:
            yield
        finally:
            # The line is written, whatever this says.
            with suppress(OSError):
                fcntl.flock(fd, fcntl.LOCK_UN)
        return
    yield


def _write(fd: int, line: bytes, size: int) -> None:
    """Append the line to a file of this size, or leave it at that."""
    left = memoryview(line if _ends_with_newline(fd, size) else b"\n" + line)
    written = 0
    try:
        while left:
            count = os.write(fd, left)
            written += count
            left = left[count:]
    except BaseException:
        with suppress(OSError):
            # Unless another process has written behind it, without a lock.
            if os.fstat(fd).st_size == size + written:
                os.ftruncate(fd, size)
        raise


def _ends_with_newline(fd: int, size: int) -> bool:
    """False if a process was killed in the middle of a line."""
    if not size:
        return True
    os.lseek(fd, size - 1, os.SEEK_SET)
    return os.read(fd, 1) == b"\n"

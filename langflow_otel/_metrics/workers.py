"""Several workers, one scrape: each worker writes its numbers to a file in a folder that they share.

The folder is named after the process that they have in common (gunicorn's arbiter, uvicorn's supervisor, an
instrumented process that forked), so that nobody has to set anything up. One worker leads, by a file lock
that the system takes back when the leader dies: it holds the port, and folds the files of dead workers into
one, so that neither the folder nor a scrape grows with the number of replacements.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import psutil

from langflow_otel._metrics.shared_file import BrokenFileError, FileStore, OtherVersionError, ValuesReader, add_up
from langflow_otel._metrics.store import Series

try:
    import fcntl
except ImportError:  # Windows, which does not fork workers either
    fcntl = None  # type: ignore[assignment]

logger = logging.getLogger("langflow_otel")

_TOTAL = "total"
_SUFFIX = ".values"
_BROKEN = ".broken"
_OUTLIVE_THEIR_WORKER = frozenset({"counter", "histogram", "window"})
_MAX_VALUES = 1000
"""Of one label in the total. Each worker caps its own, but over the years many workers have many."""
_FOLDER_LASTS_S = 60.0
"""A folder that changed so lately may be of a group that starts just now, in another container."""


@dataclass(frozen=True)
class WorkerSeries:
    """Series of one worker; of the dead ones together where ``pid`` is None."""

    pid: int | None
    series: list[Series]


def common_process() -> int | None:
    """The process that this one and its sibling workers have in common; None if this is no worker."""
    if fcntl is None:
        return None
    parent = multiprocessing.parent_process()
    if parent is not None and parent.pid is not None:
        return parent.pid
    if "gunicorn.arbiter" in sys.modules and _is_fork_of(os.getppid()):
        return os.getppid()
    return None


def _is_fork_of(pid: int) -> bool:
    """True if that process runs the same program: gunicorn's worker and its arbiter do (they may be renamed to
    "gunicorn: worker" and "gunicorn: master"), its arbiter and a shell do not."""
    with suppress(psutil.Error, OSError):
        own, other = psutil.Process().cmdline(), psutil.Process(pid).cmdline()
        return own == other or "".join(other).startswith("gunicorn: master")
    return False


class WorkerGroup:
    """The workers that share one scrape.

    Args:
        common_pid: The process that they have in common; it names the folder.
        root: Where the folders of all groups are.
        max_values: Of one label in the total of the dead workers; further ones are counted together as ``other``.
        on_broken_file: Called for each file of a worker that cannot be read.

    Raises:
        OSError: The folder cannot be made, or somebody else could write to it; or, later, it is gone.
    """

    def __init__(
        self,
        common_pid: int,
        root: Path | None = None,
        max_values: int = 0,
        on_broken_file: Callable[[], None] = lambda: None,
    ) -> None:
        self._root = _private_folder(root or default_root())
        self.folder = self._root / f"{common_pid}-{_start_time(common_pid)}"
        self.folder.mkdir(mode=0o700, exist_ok=True)
        self._max_values = max(max_values, _MAX_VALUES)
        self._on_broken_file = on_broken_file
        self._readers: dict[str, ValuesReader] = {}
        self._unreadable: set[str] = set()
        self._leader_lock: BinaryIO | None = None
        self._fold_lock: BinaryIO | None = None
        self._thread_lock = threading.Lock()

    def join(self) -> FileStore:
        """A file for this worker's numbers. It counts as alive until this process closes it or dies."""
        name = f"{os.getpid()}-{time.monotonic_ns()}"
        store = FileStore(self.folder / f".{name}")
        try:
            # Not the mapped file's own handle: its maps keep that one open after close(), and in forked children.
            store.held = store.file.path.open("r+b")
            fcntl.flock(store.held, fcntl.LOCK_EX)
            store.file.path = store.file.path.rename(self.folder / f"{name}{_SUFFIX}")
        except OSError:
            store.close()
            store.file.path.unlink(missing_ok=True)
            raise
        return store

    def lead(self) -> bool:
        """True if this worker leads. Call it now and then: a dead leader's place is free at once."""
        if self._leader_lock is None:
            lock = (self.folder / "leader").open("ab")
            if not _try_lock(lock, fcntl.LOCK_EX):
                lock.close()
                return False
            self._leader_lock = lock
            self._remove_old_folders()
        return True

    def gather(self) -> list[WorkerSeries]:
        """What all workers, living and dead, have written. Of the dead ones only what outlives them."""
        with self._while_nobody_folds(fcntl.LOCK_SH):
            return self._gather()

    def fold(self) -> None:
        """Add the files of dead workers to the total, and remove them. For the leader only.

        Killed at any point, nothing is lost or counted twice: the new total, which names what it holds,
        replaces the old one at once.
        """
        with self._while_nobody_folds(fcntl.LOCK_EX):
            self._refresh()
            dead = [reader for name, reader in self._readers.items() if name != _TOTAL and not _is_alive(reader.file)]
            # First those that a leader before added, and then died: the next total does not name them any more.
            folded = self._folded()
            self._remove([reader for reader in dead if reader.path.name in folded])
            fresh = [reader for reader in dead if reader.path.name not in folded and self._is_sound(reader)]
            if fresh:
                self._write_total(fresh)
                self._remove(fresh)

    def leave(self) -> None:
        """This process is done with the group. Its numbers stay for the others."""
        with self._thread_lock:
            self._let_go()

    def forked(self) -> None:
        """In a forked child: what is open and locked is the parent's, and stays so."""
        self._thread_lock = threading.Lock()
        self._let_go()

    def _let_go(self) -> None:
        for lock in filter(None, (self._leader_lock, self._fold_lock)):
            lock.close()
        self._leader_lock = self._fold_lock = None
        for name in tuple(self._readers):
            self._forget(name)

    def _gather(self) -> list[WorkerSeries]:
        self._refresh()
        folded = self._folded()
        found = []
        for name, reader in tuple(self._readers.items()):
            alive = name != _TOTAL and _is_alive(reader.file)
            if name in folded or not (alive or name == _TOTAL or self._is_sound(reader)):
                continue
            series = [each for each in reader.series if alive or each.metric.kind in _OUTLIVE_THEIR_WORKER]
            found.append(WorkerSeries(int(name.partition("-")[0]) if alive else None, series))
        return found

    def _folded(self) -> frozenset[str]:
        return frozenset(self._readers[_TOTAL].notes) if _TOTAL in self._readers else frozenset()

    def _refresh(self) -> None:
        """Readers for exactly the files that are there, and whole; the total's for its latest version."""
        names = {path.name for path in self.folder.iterdir() if path.suffix == _SUFFIX}
        for name in self._readers.keys() - names - {_TOTAL}:
            self._forget(name)
        self._refresh_total()
        for name in names - self._readers.keys():
            self._open(name)
        for name, reader in tuple(self._readers.items()):
            try:
                reader.all_series()
            except BrokenFileError as exc:
                self._set_aside(name, exc)

    def _refresh_total(self) -> None:
        path = self.folder / _TOTAL
        known = self._readers.get(_TOTAL)
        if path.exists() and (known is None or os.fstat(known.file.fileno()).st_ino != path.stat().st_ino):
            self._forget(_TOTAL)
            self._open(_TOTAL)

    def _open(self, name: str) -> None:
        try:
            self._readers[name] = ValuesReader(self.folder / name)
        except FileNotFoundError:
            pass  # Another worker has set it aside.
        except OtherVersionError as exc:
            if name not in self._unreadable:
                self._unreadable.add(name)
                logger.warning("%s. Its numbers are missing in the scrape.", exc)
        except (BrokenFileError, PermissionError) as exc:
            self._set_aside(name, exc)

    def _is_sound(self, dead: ValuesReader) -> bool:
        """True if the last numbers of a dead worker can be trusted; else its file is set aside."""
        try:
            dead.all_series()
            dead.check_values()
        except BrokenFileError as exc:
            self._set_aside(dead.path.name, exc)
            return False
        return True

    def _set_aside(self, name: str, why: Exception) -> None:
        """A damaged file must not keep the others from being read and added up."""
        self._forget(name)
        broken = self.folder / f"{name}{_BROKEN}"
        try:
            (self.folder / name).rename(broken)
        except FileNotFoundError:
            return  # Another worker was quicker.
        logger.warning("%s. It is set aside as %s; its numbers are missing in the scrape.", why, broken.name)
        self._on_broken_file()

    def _forget(self, name: str) -> None:
        reader = self._readers.pop(name, None)
        if reader is not None:
            reader.close()

    def _remove(self, readers: list[ValuesReader]) -> None:
        for reader in readers:
            reader.path.unlink(missing_ok=True)
            self._forget(reader.path.name)

    def _write_total(self, dead: list[ValuesReader]) -> None:
        before = self._readers.get(_TOTAL)
        series = [
            each
            for reader in [*([] if before is None else [before]), *dead]
            for each in reader.series
            if each.metric.kind in _OUTLIVE_THEIR_WORKER
        ]
        new = self.folder / ".total"
        new.unlink(missing_ok=True)
        add_up(new, series, self._max_values, notes=[reader.path.name for reader in dead])
        new.replace(self.folder / _TOTAL)
        self._refresh_total()

    @contextmanager
    def _while_nobody_folds(self, how: int) -> Iterator[None]:
        with self._thread_lock:
            if self._fold_lock is None:
                self._fold_lock = (self.folder / "fold").open("ab")
            fcntl.flock(self._fold_lock, how)
            try:
                yield
            finally:
                # Said, and not left to close(): a child that another thread forks meanwhile has it open, too.
                fcntl.flock(self._fold_lock, fcntl.LOCK_UN)

    def _remove_old_folders(self) -> None:
        """Of groups that are no more: neither their common process nor a worker lives."""
        for folder in self._root.iterdir():
            pid, _, start = folder.name.partition("-")
            if folder == self.folder or not pid.isdigit() or _start_time(int(pid)) == start or has_life(folder):
                continue
            with suppress(OSError):
                if time.time() - folder.stat().st_mtime > _FOLDER_LASTS_S:
                    shutil.rmtree(folder, ignore_errors=True)


def _try_lock(file: BinaryIO, how: int) -> bool:
    try:
        fcntl.flock(file, how | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _is_alive(file: BinaryIO) -> bool:
    """The worker holds its file's lock as long as it lives, whoever has its process id later."""
    # Shared, so that two processes that ask at the same time do not take each other for the worker.
    if _try_lock(file, fcntl.LOCK_SH):
        fcntl.flock(file, fcntl.LOCK_UN)
        return False
    return True


def has_life(folder: Path) -> bool:
    for path in folder.glob(f"*{_SUFFIX}"):
        # A pipe would be waited for.
        with suppress(OSError), ExitStack() as closing:
            if path.is_file() and _is_alive(closing.enter_context(path.open("rb"))):
                return True
    return False


def default_root() -> Path:
    """In memory where the system has such a folder, so that no disk is ever waited for."""
    shared = Path("/dev/shm")  # noqa: S108 - the folder below it is ours alone, see _private_folder
    parent = shared if os.access(shared, os.W_OK | os.X_OK) else Path(tempfile.gettempdir())
    return parent / f"langflow-otel-{os.getuid()}"


def _private_folder(path: Path) -> Path:
    path.mkdir(mode=0o700, exist_ok=True)
    found = path.lstat()
    if found.st_uid != os.getuid() or found.st_mode & 0o077 or path.is_symlink():
        raise PermissionError(f"{path} is not a folder that only this user can use")
    return path


def _start_time(pid: int) -> str:
    """When the process started, in a form that all workers read the same; empty if it is gone."""
    with suppress(OSError):
        # Field 22 of proc(5); the name in field 2 may hold spaces and brackets.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    with suppress(psutil.Error):
        return str(int(psutil.Process(pid).create_time()))
    return ""

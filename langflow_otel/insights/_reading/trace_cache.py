"""What was read of a trace file, kept as Parquet files, so that only what is new is read again.

Each trace file has a folder of its own, by device and inode: a file that is renamed by a rotation keeps what was read
of it. A description (``read.json``) names its Parquet files and says how far the trace file was read. Both are put in
place whole, by renaming, so what is interrupted leaves nothing half; what nothing names any more is removed a day
later, since another process may still be reading it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Final

from langflow_otel.insights._reading.otlp_lines import Problems
from langflow_otel.insights._reading.span_columns import COLUMNS
from langflow_otel.version import __version__

try:
    import fcntl as _fcntl
except ImportError:  # Windows
    _fcntl = None  # type: ignore[assignment]

fcntl: Any = _fcntl

KEPT_S: Final = 30 * 24 * 3600.0
"""How long what was read of a file is kept after it was last used, in seconds."""

_LOCK_S: Final = 120.0
_POLL_S: Final = 0.02
_UNNAMED_S: Final = 24 * 3600.0
_COMPARED_BYTES: Final = 4096
_DESCRIPTION: Final = "read.json"
# Another version may fill the columns in another way.
_FORMAT: Final = f"{__version__} {hashlib.sha256(repr(dict(COLUMNS)).encode()).hexdigest()[:16]}"


def default_cache_dir() -> Path:
    """In the user's cache folder: ``$XDG_CACHE_HOME``, ``~/.cache``, and what macOS and Windows have."""
    if os.name == "nt" and "LOCALAPPDATA" in os.environ:
        base = Path(os.environ["LOCALAPPDATA"])
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "langflow-otel" / "traces"


@dataclass
class Part:
    """A Parquet file of spans.

    Attributes:
        name: Of the file, in the folder.
        spans: How many it holds.
    """

    name: str
    spans: int


@dataclass
class Read:
    """How far a trace file was read, and what was in it.

    Attributes:
        until: Position after the last line that was read, in bytes.
        size, mtime_ns: Of the file then.
        start, end: Digests of the first bytes, and of the last ones before ``until``.
        lines, bad_lines, bad_spans, end_before_start: As in :class:`~langflow_otel.insights.traces.Reading`.
        bad_rest: What is wrong with what follows ``until``; empty if there is nothing.
        parts: Where the spans are.
        unnamed: Parquet files that are not used any more, and since when, in seconds since the epoch.
    """

    format: str = _FORMAT
    path: str = ""
    until: int = 0
    size: int = 0
    mtime_ns: int = 0
    start: str = ""
    end: str = ""
    lines: int = 0
    bad_lines: dict[str, int] = field(default_factory=dict)
    bad_spans: dict[str, int] = field(default_factory=dict)
    end_before_start: int = 0
    bad_rest: str = ""
    parts: list[Part] = field(default_factory=list)
    unnamed: dict[str, float] = field(default_factory=dict)

    def count(self, lines: int, problems: Problems, end_before_start: int) -> None:
        self.lines += lines
        self.bad_lines = dict(Counter(self.bad_lines) + problems.lines)
        self.bad_spans = dict(Counter(self.bad_spans) + problems.spans)
        self.end_before_start += end_before_start


class CacheError(OSError):
    """A folder of the cache cannot be written."""


class CachedFile:
    """What is kept of one trace file.

    Args:
        cache_dir: Folder of all of them.
        path: Of the trace file.
        file: The trace file, open.
        compressed: Its content cannot be continued in the middle.

    Raises:
        CacheError: Its folder cannot be written.
    """

    def __init__(self, cache_dir: Path, path: Path, file: BinaryIO, *, compressed: bool) -> None:
        self._file = file
        self._stat = os.fstat(file.fileno())
        self._path = path
        self._compressed = compressed
        self.folder = cache_dir / f"{self._stat.st_dev:x}-{self._stat.st_ino:x}"
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            (self.folder / "lock").touch()
        except OSError as exc:
            raise CacheError(exc.errno, exc.strerror, str(self.folder)) from exc

    @contextmanager
    def locked(self) -> Iterator[None]:
        """While this is entered, no other process reads the same trace file into the cache."""
        with (self.folder / "lock").open("wb") as lock:
            _wait_for(lock)
            yield

    def load(self) -> Read:
        """What was read before, as far as the trace file still begins with it."""
        try:
            data = json.loads((self.folder / _DESCRIPTION).read_text(encoding="utf-8"))
            parts = [Part(**each) for each in data.pop("parts")]
            read = Read(**data, parts=parts)
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return Read()
        if read.format == _FORMAT and self._is_same(read) and self._has_parts(read):
            with suppress(OSError):
                os.utime(self.folder / _DESCRIPTION)
            return read
        now_s = time.time()
        return Read(unnamed={**read.unnamed, **{part.name: now_s for part in read.parts}})

    def is_complete(self, read: Read) -> bool:
        """Nothing was written to the trace file since."""
        return (read.size, read.mtime_ns) == (self._stat.st_size, self._stat.st_mtime_ns)

    def _is_same(self, read: Read) -> bool:
        if self.is_complete(read):
            return True
        # What is only appended to grows when it changes.
        if self._compressed or self._stat.st_size <= read.size:
            return False
        return (read.start, read.end) == self._digests(read.until)

    def _has_parts(self, read: Read) -> bool:
        return all((self.folder / part.name).is_file() for part in read.parts)

    def _digests(self, until: int) -> tuple[str, str]:
        place = self._file.tell()
        found = []
        for start in (0, max(until - _COMPARED_BYTES, 0)):
            self._file.seek(start)
            found.append(hashlib.sha256(self._file.read(min(_COMPARED_BYTES, until))).hexdigest())
        self._file.seek(place)
        return found[0], found[1]

    def save(self, read: Read, *, complete: bool) -> None:
        """Put the description in place.

        Args:
            complete: The file was read to its end; else the next one goes on from there.
        """
        read.path = str(self._path)
        if complete:
            read.size, read.mtime_ns = self._stat.st_size, self._stat.st_mtime_ns
        if not self._compressed:
            read.start, read.end = self._digests(read.until)
        named = {part.name for part in read.parts}
        self._remove_unnamed(read, named)
        temporary = self.folder / f"{uuid.uuid4().hex}.tmp"
        temporary.write_text(json.dumps(asdict(read)), encoding="utf-8")
        temporary.replace(self.folder / _DESCRIPTION)

    def _remove_unnamed(self, read: Read, named: set[str]) -> None:
        before_s = time.time() - _UNNAMED_S
        for name, since_s in list(read.unnamed.items()):
            if since_s < before_s:
                with suppress(OSError):
                    (self.folder / name).unlink(missing_ok=True)
                    del read.unnamed[name]
        for each in self.folder.iterdir():
            # Of a process that was killed.
            is_ours = each.name in named or each.name in read.unnamed or each.suffix not in (".tmp", ".parquet")
            with suppress(OSError):
                if not is_ours and each.stat().st_mtime < before_s:
                    each.unlink()


def _wait_for(lock: BinaryIO) -> None:
    """Lock it, or go on after two minutes: two that read the same only do the work twice."""
    deadline_s = time.monotonic() + _LOCK_S
    while fcntl is not None:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > deadline_s:
                return
            time.sleep(_POLL_S)
        except OSError:
            # Not every file system has locks.
            return


def remove_old(cache_dir: Path) -> None:
    """Remove what was not used for 30 days."""
    before_s = time.time() - KEPT_S
    with suppress(OSError):
        for folder in cache_dir.iterdir():
            description = folder / _DESCRIPTION
            used = description if description.exists() else folder
            with suppress(OSError):
                if used.stat().st_mtime < before_s:
                    shutil.rmtree(folder) if folder.is_dir() else folder.unlink()

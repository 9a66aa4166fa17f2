"""Measured numbers in a file that other processes can read while they are written.

One file for each worker. Its writer has it memory-mapped: writing a number costs what writing to memory costs, and
it survives the worker's death by any signal, since the page belongs to the file. Layout, little or big
endian as the machine is: 8 bytes magic, 8 bytes "used" (how much of the file is valid), then entries: key
length, number of cells and CRC-32 of both and of the key (4 bytes each), 4 bytes zero, the key as JSON, padding to 8
bytes, the cells (8 bytes each). An entry counts once "used" is past it, so a reader never sees half of one. A series
names its metric by the place of that metric's entry, its labels, and the Unix time at which it began.

A reader maps nothing: reading a map behind the end of a truncated file kills the process (SIGBUS). It reads the file
anew each time, into the memory in which the cells of its series lie, and uses nothing that it has not checked.

``prometheus_client`` has such files, too: one key for each bucket of each histogram, its own environment
variable, and a reader that parses every key at every scrape (246 ms for 10,000 series of 4 workers).
"""

from __future__ import annotations

import errno
import json
import logging
import math
import mmap
import os
import stat
import struct
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any, BinaryIO, get_args

from langflow_otel._guard import WarnOnce
from langflow_otel._metrics import window
from langflow_otel._metrics.catalogue import OTHER, Cells, Kind, Metric
from langflow_otel._metrics.store import MemoryStore, Series, earliest

logger = logging.getLogger("langflow_otel")

_MAGIC = b"LFOTEL02"
_FAMILY = _MAGIC[:6]
_HEADER = 16
_FIRST_SIZE = 1 << 16
_LARGEST = 1 << 28
"""No worker has that many series: a file that says so is not read."""
_ENTRY = struct.Struct("=IIII")
_USED = 1
"""Place in the header, as a word of 8 bytes. Only ever set as an item of a memoryview, which stores it at once:
``struct.pack_into`` makes the bytes zero before it writes them, and whoever looks, or kills, just then finds a file
without entries."""


class BrokenFileError(ValueError):
    """A file of measured values is damaged, or none at all."""


class OtherVersionError(ValueError):
    """A file of measured values of another version of this library."""


class ValuesFile:
    """Writes such a file.

    Args:
        path: A file that does not exist yet.

    Raises:
        OSError: The file cannot be made; from the methods, it cannot grow.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file: BinaryIO = path.open("x+b")
        self._size = 0
        self._used = _HEADER
        self._writing = 0
        self._places: dict[Metric, int] = {}
        try:
            self._grow(_FIRST_SIZE)
        except OSError:
            self.file.close()
            path.unlink(missing_ok=True)
            raise
        self._map[:8] = _MAGIC
        self._header[_USED] = self._used

    def add_series(self, metric: Metric, labels: tuple[str, ...], created_s: float | None = None) -> Cells:
        """One more series, with all cells 0; ``created_s`` as in :class:`Series`."""
        place = self._places.get(metric)
        if place is None:
            place = self._places[metric] = self._append(["metric", *astuple(metric)], 0)[0]
        return self._append(["series", place, labels, created_s], metric.cells)[1]

    def add_note(self, value: Any) -> None:
        """Something else than a series; read back as :attr:`ValuesReader.notes`."""
        self._append(["note", value], 0)

    def close(self) -> None:
        self.file.close()

    def _append(self, key: list[Any], cells: int) -> tuple[int, Cells]:
        text = json.dumps(key, ensure_ascii=False).encode("utf-8", "replace")
        before = _ENTRY.size + len(text)
        before += -before % 8
        size = before + 8 * cells
        # The garbage collector may run a finalizer here that adds a series, too: each has its place before
        # it writes, and whoever began first says how much is valid.
        self._writing += 1
        try:
            while self._used + size > self._size:
                self._grow(max(2 * self._size, self._used + size + _FIRST_SIZE))
            place, self._used = self._used, self._used + size
            _ENTRY.pack_into(self._map, place, len(text), cells, _checksum(len(text), cells, text), 0)
            self._map[place + _ENTRY.size : place + _ENTRY.size + len(text)] = text
        finally:
            self._writing -= 1
        if not self._writing:
            self._header[_USED] = self._used
        return place, memoryview(self._map)[place + before : place + size].cast("d")

    def _grow(self, size: int) -> None:
        size += -size % mmap.PAGESIZE
        if size > _LARGEST:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
        # Reserved, not only declared: writing to a page that a full disk cannot hold kills the process.
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(self.file.fileno(), self._size, size - self._size)
        else:
            self.file.seek(self._size)
            self.file.write(bytes(size - self._size))
            self.file.flush()
        # Cells handed out before keep the smaller map, which shows the same pages.
        self._map, self._size = mmap.mmap(self.file.fileno(), size), size
        self._header = _words_of_header(self._map)


def _words_of_header(file: mmap.mmap) -> memoryview:
    return memoryview(file)[:_HEADER].cast("Q")


def _checksum(length: int, cells: int, key: bytes) -> int:
    return zlib.crc32(key, zlib.crc32(b"%d %d" % (length, cells)))


class FileStore(MemoryStore):
    """Series of this process, in a file. Other processes read it by :class:`ValuesReader`.

    Args:
        path: A file that does not exist yet.

    Attributes:
        held: Kept open as long as this process writes.

    Raises:
        OSError: The file cannot be made.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.file = ValuesFile(path)
        self.held: BinaryIO | None = None
        self._warn_once = WarnOnce()

    def close(self) -> None:
        self.file.close()
        if self.held is not None:
            self.held.close()

    def _allocate(self, metric: Metric, labels: tuple[str, ...], created_s: float) -> Cells:
        try:
            return self.file.add_series(metric, labels, created_s)
        except (OSError, ValueError) as exc:
            self._warn_once(
                "growth",
                "%s cannot grow (%s): some series of this worker are missing in the scrape.",
                self.file.path,
                exc,
            )
            return super()._allocate(metric, labels, created_s)


class ValuesReader:
    """Reads the file of a worker, again and again; entries once seen are not parsed again.

    Args:
        path: A file that a :class:`FileStore` made, of this or of another process.

    Raises:
        OSError: The file is gone, or cannot be opened.
        OtherVersionError: It is of another version of this library.
        BrokenFileError: It is not such a file; from :meth:`all_series`, it is damaged.

    Attributes:
        notes: What :meth:`ValuesFile.add_note` put in.
        series: What :meth:`all_series` found the last time.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.notes: list[Any] = []
        self.series: list[Series] = []
        # A pipe would be waited for.
        if not stat.S_ISREG(path.stat().st_mode):
            raise BrokenFileError(f"{path} is no regular file")
        # Without a buffer: each reading is of the file as it is now.
        self.file: BinaryIO = path.open("rb", buffering=0)
        self._memory = memoryview(bytearray())
        self._read_until = _HEADER
        self._metrics: dict[int, Metric] = {}
        self._places: list[tuple[int, int]] = []
        try:
            self._used()
        except (OSError, ValueError):
            self.file.close()
            raise

    def all_series(self) -> list[Series]:
        """Every series that the file has by now. Their cells have the numbers of this moment, and get those of a later
        one when this is called again."""
        used = self._used()
        if used > len(self._memory):
            self._make_room(used)
        self.file.seek(0)
        if self.file.readinto(self._memory[:used]) != used:  # type: ignore[attr-defined]
            raise self._broken("it is shorter than it says")
        while self._read_until < used:
            try:
                self._read_entry(used)
            except (ValueError, TypeError, LookupError, RecursionError) as exc:
                raise self._broken(f"its entry at byte {self._read_until} cannot be read") from exc
        return self.series

    def check_values(self) -> None:
        """For the file of a worker that is no more, before its numbers are added to others for good: what a counter or
        a histogram cannot have would spoil them all.

        Raises:
            BrokenFileError: There is such a number.
        """
        for series in self.series:
            if series.metric.kind in ("counter", "histogram"):
                *counts, last = series.cells
                if math.isnan(last) or not all(count >= 0 for count in counts):
                    raise self._broken(f"a number of {series.metric.name} cannot be one")

    def close(self) -> None:
        self.file.close()

    def _used(self) -> int:
        """How much of the file is valid, by its header."""
        self.file.seek(0)
        header = self.file.read(_HEADER)
        if len(header) == _HEADER and header[: len(_FAMILY)] == _FAMILY and header[:8] != _MAGIC:
            raise OtherVersionError(f"{self.path} is of another version of langflow-otel")
        if len(header) < _HEADER or header[:8] != _MAGIC:
            raise BrokenFileError(f"{self.path} is not a file of measured values")
        used = int(memoryview(header).cast("Q")[_USED])
        size = os.fstat(self.file.fileno()).st_size
        if used < self._read_until or used % 8 or used > min(size, _LARGEST):
            raise self._broken(f"{used} bytes of {size} are valid, it says")
        return used

    def _broken(self, why: str) -> BrokenFileError:
        return BrokenFileError(f"{self.path} is damaged: {why}")

    def _make_room(self, used: int) -> None:
        """Cells handed out before keep the smaller memory, and their numbers."""
        self._memory = memoryview(bytearray(2 * used))
        self.series = [
            replace(series, cells=self._cells(start, end))
            for series, (start, end) in zip(self.series, self._places, strict=True)
        ]

    def _cells(self, start: int, end: int) -> Cells:
        return self._memory[start:end].cast("d")

    def _read_entry(self, used: int) -> None:
        place = self._read_until
        length, cells, checksum, _ = _ENTRY.unpack_from(self._memory, place)
        start = place + _ENTRY.size
        end = start + length + -length % 8 + 8 * cells
        key = bytes(self._memory[start : start + length])
        if end > used or checksum != _checksum(length, cells, key):
            raise ValueError(place)
        kind, *rest = json.loads(key)
        if kind == "metric":
            name, metric_kind, unit, description, labels, buckets, *more = rest
            if metric_kind not in get_args(Kind):
                raise ValueError(metric_kind)
            self._metrics[place] = Metric(name, metric_kind, unit, description, tuple(labels), tuple(buckets), *more)
        elif kind == "series":
            metric, values, created_s = self._metrics[rest[0]], tuple(rest[1]), rest[2] if len(rest) > 2 else None
            if cells != metric.cells or len(values) != len(metric.labels) or not isinstance(created_s, float | None):
                raise ValueError(place)
            self._places.append((end - 8 * cells, end))
            self.series.append(Series(metric, values, self._cells(*self._places[-1]), created_s=created_s))
        elif kind == "note":
            self.notes += rest
        else:
            raise ValueError(kind)
        self._read_until = end


def exact_sum(values: Sequence[float]) -> float:
    """The same, whatever their order: rounded once, at the end."""
    try:
        return math.fsum(values)
    except (OverflowError, ValueError):  # Past the largest float.
        return math.inf


def add_up(path: Path, series: Iterable[Series], max_values: int, notes: Iterable[Any]) -> None:
    """Make a file of the sums of series.

    Args:
        path: A file that does not exist yet.
        max_values: Of one label; further ones are added up as ``other``.
        notes: What else is put into the file.

    Raises:
        OSError: The file cannot be made, or not whole.
    """
    file = ValuesFile(path)
    known: dict[str, set[str]] = {}
    groups: dict[tuple[object, ...], tuple[tuple[str, ...], list[Series]]] = {}

    def bounded(label: str, value: str) -> str:
        values = known.setdefault(label, set())
        if value not in values and len(values) >= max_values:
            return OTHER
        values.add(value)
        return value

    try:
        for each in series:
            metric, labels = each.metric, tuple(map(bounded, each.metric.labels, each.labels))
            # By what it consists of: workers of different code may define one name differently.
            key = (metric.name, metric.kind, metric.labels, metric.buckets, labels)
            groups.setdefault(key, (labels, []))[1].append(each)
        for labels, found in groups.values():
            _add_sum(file, labels, found)
        for note in notes:
            file.add_note(note)
    finally:
        file.close()


def _add_sum(file: ValuesFile, labels: tuple[str, ...], found: Sequence[Series]) -> None:
    """One series: the sum of these."""
    metric, created_s = found[0].metric, earliest(each.created_s for each in found)
    whole = file.add_series(metric, labels, created_s)
    for each in found:
        if metric.kind == "window":
            window.merge(whole, each.cells)
        else:
            for index, value in enumerate(each.cells[:-1]):
                whole[index] += value
    if metric.kind == "window":
        return
    # The last cell is no count but a sum of any numbers. What rounding would lose of it has a series of its own, so
    # that a total does not depend on who was added up when: one that falls, however little, looks like a restart.
    values = [each.cells[-1] for each in found]
    whole[-1] = exact_sum(values)
    rest = exact_sum([*values, -whole[-1]])
    if 0 != rest < math.inf:
        file.add_series(metric, labels, created_s)[-1] = rest

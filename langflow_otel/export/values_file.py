"""Measured numbers in a file that other processes can read while they are written.

One file for each worker. The numbers are memory-mapped: writing one costs what writing to memory costs, and
it survives the worker's death by any signal, since the page belongs to the file. Layout, little or big
endian as the machine is: 8 bytes magic, 8 bytes "used" (how much of the file is valid), then entries: key
length and number of cells (4 bytes each), the key as JSON, padding to 8 bytes, the cells (8 bytes each).
An entry counts once "used" is past it, so a reader never sees half of one.

``prometheus_client`` has such files, too: one key for each bucket of each histogram, its own environment
variable, and a reader that parses every key at every scrape (246 ms for 10,000 series of 4 workers).
"""

from __future__ import annotations

import json
import logging
import mmap
import os
import struct
from dataclasses import astuple
from pathlib import Path
from typing import Any, BinaryIO

from langflow_otel.recording.metrics import Cells, Metric
from langflow_otel.recording.store import MemoryStore, Series

logger = logging.getLogger("langflow_otel")

_MAGIC = b"LFOTEL01"
_HEADER = 16
_FIRST_SIZE = 1 << 16
_ENTRY = struct.Struct("=II")
_USED = struct.Struct("=Q")


class FileStore(MemoryStore):
    """Series of this process, in a file. Other processes read it by :class:`ValuesReader`.

    Args:
        path: A file that does not exist yet.

    Raises:
        OSError: The file cannot be made.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.file: BinaryIO = path.open("x+b")
        self._size = 0
        self._used = _HEADER
        self._definitions: dict[str, int] = {}
        self._grow(_FIRST_SIZE)
        self._map[:8] = _MAGIC
        _USED.pack_into(self._map, 8, self._used)

    def note(self, value: Any) -> None:
        """Put something else than a series into the file; read back as :attr:`ValuesReader.notes`."""
        self._append(["note", value], 0)

    def close(self) -> None:
        self.file.close()

    def _allocate(self, metric: Metric, labels: tuple[str, ...]) -> Cells:
        try:
            if metric.name not in self._definitions:
                self._append(["metric", *astuple(metric)], 0)
                self._definitions[metric.name] = len(self._definitions)
            return self._append(["series", self._definitions[metric.name], labels], metric.cells)
        except (OSError, ValueError) as exc:
            logger.warning("%s cannot grow (%s): some series of this worker are missing in the scrape.", self.path, exc)
            return super()._allocate(metric, labels)

    def _append(self, key: list[Any], cells: int) -> Cells:
        text = json.dumps(key, ensure_ascii=False).encode("utf-8", "replace")
        start = self._used + _ENTRY.size + len(text)
        start += -start % 8
        end = start + 8 * cells
        if end > self._size:
            self._grow(max(2 * self._size, end + _FIRST_SIZE))
        _ENTRY.pack_into(self._map, self._used, len(text), cells)
        self._map[self._used + _ENTRY.size : self._used + _ENTRY.size + len(text)] = text
        self._used = end
        _USED.pack_into(self._map, 8, end)
        return memoryview(self._map)[start:end].cast("d")

    def _grow(self, size: int) -> None:
        size += -size % mmap.PAGESIZE
        # Reserved, not only declared: writing to a page that a full disk cannot hold kills the process.
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(self.file.fileno(), 0, size)
        else:
            self.file.truncate(size)
        # Cells handed out before keep the smaller map, which shows the same pages.
        self._map = mmap.mmap(self.file.fileno(), size)
        self._size = size


class ValuesReader:
    """Reads the file of a worker, again and again; entries once seen are not parsed again.

    Args:
        path: A file that a :class:`FileStore` made, of this or of another process.

    Raises:
        OSError: The file is gone.
        ValueError: It is not such a file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file: BinaryIO = path.open("rb")
        self.notes: list[Any] = []
        self._map = mmap.mmap(self.file.fileno(), 0, access=mmap.ACCESS_READ)
        if self._map[:8] != _MAGIC:
            raise ValueError(f"{path} is not a file of measured values")
        self._read_until = _HEADER
        self._metrics: list[Metric] = []
        self._series: list[Series] = []

    def all_series(self) -> list[Series]:
        """Every series that the file has by now; the cells are live."""
        used = int(_USED.unpack_from(self._map, 8)[0])
        if used > len(self._map):
            self._map = mmap.mmap(self.file.fileno(), 0, access=mmap.ACCESS_READ)
        while self._read_until < used:
            self._read_entry()
        return self._series

    def close(self) -> None:
        self.file.close()

    def _read_entry(self) -> None:
        length, cells = _ENTRY.unpack_from(self._map, self._read_until)
        start = self._read_until + _ENTRY.size
        kind, *rest = json.loads(self._map[start : start + length])
        start += length
        start += -start % 8
        self._read_until = start + 8 * cells
        if kind == "metric":
            name, metric_kind, unit, description, labels, buckets, per_worker = rest
            self._metrics.append(
                Metric(name, metric_kind, unit, description, tuple(labels), tuple(buckets), per_worker)
            )
        elif kind == "series":
            values = memoryview(self._map)[start : self._read_until].cast("d")
            self._series.append(Series(self._metrics[rest[0]], tuple(rest[1]), values))
        else:
            self.notes += rest

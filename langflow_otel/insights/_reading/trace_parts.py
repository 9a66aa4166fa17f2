"""Parquet files of spans: how they are written, and put together where they are small."""

from __future__ import annotations

import os
import time
import uuid
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from langflow_otel.insights._reading.span_table import SCHEMA
from langflow_otel.insights._reading.trace_cache import Part, Read

_MAX_SMALL: Final = 8
_ROW_GROUP: Final = 100_000
_SMALL_SPANS: Final = _ROW_GROUP


class PartWriter:
    """Writes one Parquet file, which has its name only when it is whole.

    Attributes:
        parts: The file, after the end; none if nothing was written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._temporary = folder / f"{uuid.uuid4().hex}.tmp"
        self._writer: pq.ParquetWriter | None = None
        self._tables: list[pa.Table] = []
        self._waiting = 0
        self._spans = 0
        self.parts: list[Part] = []

    def write(self, table: pa.Table) -> None:
        self._tables.append(table)
        self._waiting += table.num_rows
        if self._waiting >= _ROW_GROUP:
            self._flush()

    def _flush(self) -> None:
        if not self._waiting:
            return
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._temporary, SCHEMA, compression="zstd", compression_level=1)
        self._writer.write_table(pa.concat_tables(self._tables), row_group_size=2 * _ROW_GROUP)
        self._spans += self._waiting
        self._tables, self._waiting = [], 0

    def __enter__(self) -> PartWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._flush()
        finally:
            if self._writer is not None:
                self._writer.close()
        if kind is not None or self._writer is None:
            self._temporary.unlink(missing_ok=True)
            return
        _sync(self._temporary)
        name = f"{time.time_ns():020d}-{uuid.uuid4().hex[:8]}.parquet"
        self._temporary.replace(self._folder / name)
        self.parts.append(Part(name, self._spans))


def _sync(path: Path) -> None:
    """On the disk before it has its name: after a power failure it is whole or not there."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def merge_small(folder: Path, read: Read) -> None:
    """Make one Parquet file of many small ones: a file that is read every minute would have hundreds."""
    small = [part for part in read.parts if part.spans < _SMALL_SPANS]
    if len(small) <= _MAX_SMALL:
        return
    with PartWriter(folder) as writer:
        for part in small:
            with pq.ParquetFile(folder / part.name) as source:
                for batch in source.iter_batches(_ROW_GROUP):
                    writer.write(pa.Table.from_batches([batch], SCHEMA))
    read.parts = [part for part in read.parts if part not in small] + writer.parts
    read.unnamed.update({part.name: time.time() for part in small})

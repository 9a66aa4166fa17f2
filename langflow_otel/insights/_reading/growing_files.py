"""Trace files that grow: what was appended to them since the last look, as flat tables of spans."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Final

import pyarrow as pa

from langflow_otel.insights._reading.otlp_arrow import read_block
from langflow_otel.insights._reading.otlp_lines import Problems
from langflow_otel.insights._reading.trace_sources import Blocks, is_compressed, trace_files

_LOOKED_BACK: Final = 64 * 1024


class GrowingFiles:
    """Reads the lines that are appended to files, and those of files that come in their place.

    A file is known by device and inode, so a rotation neither repeats nor loses anything. One that becomes shorter is
    read from its start. A compressed one is left out: it is what was read before, or nothing is appended to it.

    Args:
        paths: Files and folders, as for :func:`~langflow_otel.insights.traces.open_traces`.
        from_start: With what is in them already.

    Attributes:
        problems: What could not be read so far.

    Raises:
        OSError: A path is not there.
    """

    def __init__(self, paths: Sequence[Path], *, from_start: bool = False) -> None:
        self.problems = Problems()
        self._paths = paths
        self._positions = {
            (stat.st_dev, stat.st_ino): 0 if from_start else _line_start(file, stat.st_size)
            for file, stat in self._open()
        }

    def read(self) -> Iterator[pa.Table]:
        """What was appended since the last call: whole lines, as tables with the columns of the view ``spans``."""
        seen = set()
        for file, stat in self._open():
            identity = (stat.st_dev, stat.st_ino)
            seen.add(identity)
            position = self._positions.get(identity, 0)
            if stat.st_size < position:
                position = 0
            self._positions[identity] = position
            file.seek(position)
            blocks = Blocks(file, position=position)
            for data in blocks:
                block = read_block(data)
                self.problems.add(block.problems)
                self._positions[identity] = blocks.position
                yield from block.tables
        # The number of a file that was removed may be given to a new one.
        self._positions = {identity: each for identity, each in self._positions.items() if identity in seen}

    def _open(self) -> Iterator[tuple[BinaryIO, os.stat_result]]:
        for path in trace_files(self._paths):
            try:
                file = path.open("rb")
            except FileNotFoundError:
                # A rotation has removed it meanwhile.
                continue
            with file:
                if not is_compressed(file):
                    yield file, os.fstat(file.fileno())


def _line_start(file: BinaryIO, size: int) -> int:
    """Where the line begins that is being written at the end of a file."""
    end = size
    while end > 0:
        start = max(end - _LOOKED_BACK, 0)
        file.seek(start)
        found = file.read(end - start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0

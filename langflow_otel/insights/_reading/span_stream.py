"""The spans of trace files one part after the other, without keeping what was read."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO, Final

import pyarrow as pa

from langflow_otel.insights._reading.new_lines import parsed_blocks, parsed_rest
from langflow_otel.insights._reading.otlp_lines import CUT_OFF, TOO_LONG, Problems
from langflow_otel.insights._reading.trace_reader import MAX_WORKERS
from langflow_otel.insights._reading.trace_sources import Blocks, content, is_compressed, trace_files

_MAX_LISTINGS: Final = 3


def stream_spans(
    paths: Sequence[Path],
    problems: Problems,
    *,
    only_compressed: bool = False,
    on_progress: Callable[[int, int], object] | None = None,
) -> Iterator[pa.Table]:
    """Tables with the columns of the view ``spans``; a span that was sent twice is there twice.

    Args:
        paths: Files and folders, as for :func:`~langflow_otel.insights.traces.open_traces`.
        problems: What cannot be read is counted there.
        only_compressed: Without the files to which lines may be appended.
        on_progress: Called with the bytes that were read and those that there are to read.

    Raises:
        OSError: A path cannot be read.
    """
    seen: set[tuple[int, int]] = set()
    done = 0
    with ThreadPoolExecutor(min(os.cpu_count() or 1, MAX_WORKERS)) as pool:
        # A rotation meanwhile gives a file that was not read yet another name.
        for _ in range(_MAX_LISTINGS):
            files = [each for each in trace_files(paths) if _identity(each) not in seen]
            total = done + sum(_size(each) for each in files)
            for path in files:
                try:
                    file = path.open("rb")
                except FileNotFoundError:
                    continue
                with file:
                    identity = _identity(file.fileno())
                    if identity is None or identity in seen:
                        continue
                    seen.add(identity)
                    if only_compressed and not is_compressed(file):
                        continue
                    for table in _spans_of(file, problems, pool):
                        if on_progress is not None:
                            on_progress(min(done + file.tell(), total), total)
                        yield table
                    done += file.tell()


def _identity(file: Path | int) -> tuple[int, int] | None:
    try:
        stat = os.stat(file)
    except FileNotFoundError:
        return None
    return stat.st_dev, stat.st_ino


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _spans_of(file: BinaryIO, problems: Problems, pool: ThreadPoolExecutor) -> Iterator[pa.Table]:
    blocks = Blocks(content(file))
    for _, block in parsed_blocks(pool, blocks):
        problems.add(block.problems)
        yield from block.tables
    rest = parsed_rest(blocks)
    if rest is None:
        problems.lines[CUT_OFF] += 1
    else:
        problems.add(rest.problems)
        yield from rest.tables
    if blocks.too_long:
        problems.lines[TOO_LONG] += blocks.too_long

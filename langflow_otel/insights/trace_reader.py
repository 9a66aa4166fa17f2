"""Trace files into the cache: what is new of each, in blocks that several threads read."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

import pyarrow as pa

from langflow_otel.insights.otlp_arrow import Block, read_block
from langflow_otel.insights.otlp_lines import CUT_OFF, NOT_JSON, TOO_LONG, is_cut
from langflow_otel.insights.trace_cache import CachedFile, PartWriter, Read
from langflow_otel.insights.trace_sources import Blocks, content, is_compressed, trace_files

_PART_BYTES: Final = 256 * 1024 * 1024
"""So much of a trace file, at most, is read again after an interruption."""
_MAX_WORKERS: Final = 4
_MAX_LISTINGS: Final = 3


@dataclass
class _Progress:
    report: Callable[[int, int], object]
    total: int
    done: int = 0

    def at(self, file: BinaryIO) -> None:
        self.report(min(self.done + file.tell(), self.total), self.total)

    def end(self, size: int) -> None:
        self.done += size
        self.report(min(self.done, self.total), self.total)


def read_files(
    paths: Sequence[Path], cache_dir: Path, on_progress: Callable[[int, int], object] | None = None
) -> Iterator[tuple[Path, Read, Path]]:
    """Read what is new of the files of these paths into the cache; for arguments and errors see ``open_traces``.

    Returns:
        Of each file its path, what was read of it, and the folder of its Parquet files.
    """
    seen: set[tuple[int, int]] = set()
    with ThreadPoolExecutor(min(os.cpu_count() or 1, _MAX_WORKERS)) as pool:
        # A rotation meanwhile gives a file that was not read yet another name.
        for _ in range(_MAX_LISTINGS):
            files = [path for path in trace_files(paths) if _identity(path) not in seen]
            if not files:
                break
            progress = _Progress(on_progress or _nothing, sum(path.stat().st_size for path in files))
            for path in files:
                try:
                    file = path.open("rb")
                except FileNotFoundError:
                    continue
                with file:
                    stat = os.fstat(file.fileno())
                    if (stat.st_dev, stat.st_ino) in seen:
                        continue
                    seen.add((stat.st_dev, stat.st_ino))
                    read, folder = _read_file(path, file, cache_dir, pool, progress)
                    progress.end(stat.st_size)
                    yield path, read, folder
    # DuckDB has memory of its own.
    pa.default_memory_pool().release_unused()


def _nothing(done: int, total: int) -> None:
    pass


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        stat = path.stat()
    except FileNotFoundError:
        return None
    return stat.st_dev, stat.st_ino


def _read_file(
    path: Path, file: BinaryIO, cache_dir: Path, pool: ThreadPoolExecutor, progress: _Progress
) -> tuple[Read, Path]:
    compressed = is_compressed(file)
    kept = CachedFile(cache_dir, path, file, compressed=compressed)
    with kept.locked():
        read = kept.load()
        if not kept.is_complete(read):
            stream = content(file)
            if not compressed:
                file.seek(read.until)
            _read_on(Blocks(stream, position=read.until), read, kept, pool, lambda: progress.at(file))
            kept.merge(read)
            kept.save(read, complete=True)
    return read, kept.folder


def _read_on(
    blocks: Blocks, read: Read, kept: CachedFile, pool: ThreadPoolExecutor, report: Callable[[], object]
) -> None:
    """From where the last reading ended."""
    read.bad_rest = ""
    waiting = _in_parallel(pool, blocks)
    is_rest = True
    while is_rest:
        saved = read.until
        with PartWriter(kept.folder) as writer:
            is_rest = False
            for position, block in waiting:
                _add(block, read, writer)
                read.until = position
                report()
                if position - saved >= _PART_BYTES:
                    is_rest = True
                    break
            if not is_rest:
                _read_rest(blocks, read, writer)
        read.parts += writer.parts
        if is_rest:
            kept.save(read, complete=False)


def _in_parallel(pool: ThreadPoolExecutor, blocks: Blocks) -> Iterator[tuple[int, Block]]:
    """Each block and where it ends, in their order, so many at once as there are threads."""
    waiting: deque[tuple[int, Future[Block]]] = deque()
    for data in blocks:
        waiting.append((blocks.position, pool.submit(read_block, data)))
        if len(waiting) > _MAX_WORKERS:
            position, future = waiting.popleft()
            yield position, future.result()
    while waiting:
        position, future = waiting.popleft()
        yield position, future.result()


def _add(block: Block, read: Read, writer: PartWriter) -> None:
    for table in block.tables:
        writer.write(table)
    read.count(block.lines, block.problems, block.end_before_start)


def _read_rest(blocks: Blocks, read: Read, writer: PartWriter) -> None:
    """What has no end of line: it may still be written, or be whole all the same."""
    rest = None if blocks.is_broken or is_cut(blocks.rest) else read_block(blocks.rest)
    if rest is None or (NOT_JSON in rest.problems.lines and blocks.rest.lstrip().startswith(b"{")):
        read.bad_rest = CUT_OFF
    else:
        _add(rest, read, writer)
        read.until += len(blocks.rest)
    if blocks.too_long:
        read.bad_lines[TOO_LONG] = read.bad_lines.get(TOO_LONG, 0) + blocks.too_long
        read.lines += blocks.too_long

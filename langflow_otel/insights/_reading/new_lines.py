"""New lines of a trace file into Parquet files, in blocks that several threads parse."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

import pyarrow as pa

from langflow_otel.insights._reading.otlp_arrow import Block, read_block
from langflow_otel.insights._reading.otlp_lines import CUT_OFF, NOT_JSON, TOO_LONG, is_cut
from langflow_otel.insights._reading.trace_cache import CachedFile, Read
from langflow_otel.insights._reading.trace_parts import PartWriter, merge_small
from langflow_otel.insights._reading.trace_sources import Blocks

_PART_BYTES: Final = 256 * 1024 * 1024
"""So much of a trace file, at most, is read again after an interruption."""
_MAX_WAITING: Final = 4
"""Blocks that are parsed at once, and wait."""


def read_on(
    blocks: Blocks, read: Read, kept: CachedFile, pool: ThreadPoolExecutor, report: Callable[[], object]
) -> None:
    """Read lines from where the last reading ended.

    Args:
        blocks: What follows there.
        read: What was read so far; what is read is added to it.
        kept: Where the spans are written to.
        pool: Threads that parse.
        report: Called after each block.
    """
    _read_all(blocks, read, kept, pool, report)
    merge_small(kept.folder, read)
    # DuckDB has memory of its own. The last block is held by nothing any more.
    pa.default_memory_pool().release_unused()


def _read_all(
    blocks: Blocks, read: Read, kept: CachedFile, pool: ThreadPoolExecutor, report: Callable[[], object]
) -> None:
    read.bad_rest = ""
    waiting = parsed_blocks(pool, blocks)
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


def parsed_blocks(pool: ThreadPoolExecutor, blocks: Blocks) -> Iterator[tuple[int, Block]]:
    """Each block and where it ends, in their order, so many at once as there are threads."""
    waiting: deque[tuple[int, Future[Block]]] = deque()
    for data in blocks:
        waiting.append((blocks.position, pool.submit(read_block, data)))
        if len(waiting) > _MAX_WAITING:
            position, future = waiting.popleft()
            yield position, future.result()
    while waiting:
        position, future = waiting.popleft()
        yield position, future.result()


def parsed_rest(blocks: Blocks) -> Block | None:
    """What has no end of line, where it is whole all the same; None where it is cut off."""
    if blocks.is_broken or is_cut(blocks.rest):
        return None
    rest = read_block(blocks.rest)
    return None if NOT_JSON in rest.problems.lines and blocks.rest.lstrip().startswith(b"{") else rest


def _add(block: Block, read: Read, writer: PartWriter) -> None:
    for table in block.tables:
        writer.write(table)
    read.count(block.lines, block.problems, block.end_before_start)


def _read_rest(blocks: Blocks, read: Read, writer: PartWriter) -> None:
    """What has no end of line: it may still be written, or be whole all the same."""
    rest = parsed_rest(blocks)
    if rest is None:
        read.bad_rest = CUT_OFF
    else:
        _add(rest, read, writer)
        read.until += len(blocks.rest)
    if blocks.too_long:
        read.bad_lines[TOO_LONG] = read.bad_lines.get(TOO_LONG, 0) + blocks.too_long
        read.lines += blocks.too_long

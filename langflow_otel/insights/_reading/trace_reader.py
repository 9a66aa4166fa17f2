"""Trace files into the cache: which of them have something new."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from langflow_otel.insights._reading.trace_cache import CachedFile, Read
from langflow_otel.insights._reading.trace_sources import Blocks, content, is_compressed, trace_files

_MAX_LISTINGS: Final = 3
MAX_WORKERS: Final = 4


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
    with ThreadPoolExecutor(min(os.cpu_count() or 1, MAX_WORKERS)) as pool:
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
            # Without anything new, pyarrow is not needed.
            from langflow_otel.insights._reading.new_lines import read_on

            read_on(Blocks(stream, position=read.until), read, kept, pool, lambda: progress.at(file))
            kept.save(read, complete=True)
    return read, kept.folder

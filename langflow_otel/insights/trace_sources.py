"""Which files hold the traces that were asked for, and their content in blocks of whole lines."""

from __future__ import annotations

import errno
import gzip
import io
import re
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from langflow_otel.export.rotating_file import why_not_regular

BLOCK_BYTES: Final = 8 * 1024 * 1024
MAX_LINE_BYTES: Final = 256 * 1024 * 1024
_GZIP: Final = b"\x1f\x8b"
_ZSTD: Final = b"\x28\xb5\x2f\xfd"

# Of a folder. A trace file that was rotated has a number, or a time within its name, and .gz or .zst may follow.
_IN_FOLDER = re.compile(r".*\.(jsonl?|ndjson)(\.\d+)?(\.gz|\.zst)?")


def trace_files(paths: Sequence[Path]) -> list[Path]:
    """The files of these paths, each once, older ones first.

    Of a folder these are the JSON files in it. A file comes with those that were rotated away from it:
    ``spans.jsonl.1`` and so on, and ``spans-2026-01-31T09-30-00.000.jsonl`` as the collector names them.

    Raises:
        OSError: A path is not there, or a folder cannot be read.
    """
    found: dict[tuple[int, int], tuple[int, Path]] = {}
    for path in paths:
        for each in _files_of(path):
            # A rotation may remove an old one meanwhile.
            with suppress(FileNotFoundError):
                stat = each.stat()
                found.setdefault((stat.st_dev, stat.st_ino), (stat.st_mtime_ns, each))
    return [path for _, path in sorted(found.values())]


def _files_of(path: Path) -> list[Path]:
    if path.is_dir():
        return [each for each in sorted(path.iterdir()) if _IN_FOLDER.fullmatch(each.name) and each.is_file()]
    path.stat()
    problem = why_not_regular(path)
    if problem:
        raise OSError(errno.EINVAL, problem, str(path))
    return [path, *_rotated(path)]


def _rotated(path: Path) -> Iterator[Path]:
    """What was renamed when the file was full."""
    name, stem, suffix = map(re.escape, (path.name, path.stem, path.suffix))
    numbered = rf"{name}\.\d{{1,3}}(\.gz|\.zst)?"
    timed = rf"{stem}-\d{{4}}-\d\d-\d\dT\d\d-\d\d-\d\d\.\d{{3}}{suffix}(\.gz)?"
    backup = re.compile(f"{numbered}|{timed}")
    return (each for each in sorted(path.parent.iterdir()) if backup.fullmatch(each.name) and each.is_file())


@dataclass
class Blocks:
    """The content of one file in blocks of whole lines.

    Attributes:
        position: End of the last block that was returned, in bytes of the (decompressed) content.
        rest: What follows the last line that has an end.
        too_long: Lines of more than 256 MiB, which are left out.
        is_broken: The compressed data cannot be read to their end.
    """

    stream: BinaryIO
    position: int = 0
    rest: bytes = b""
    too_long: int = 0
    is_broken: bool = False

    def __iter__(self) -> Iterator[bytes]:
        parts: list[bytes] = []
        size = 0
        skipping = False
        while data := self._read():
            end = data.rfind(b"\n") + 1
            if not end:
                parts.append(data)
                size += len(data)
                if size > MAX_LINE_BYTES:
                    parts, skipping = [], True
                continue
            block = b"".join([*parts, data[:end]])
            if skipping:
                self.position += size + data.index(b"\n") + 1
                self.too_long += 1
                block = data[data.index(b"\n") + 1 : end]
            skipping = False
            parts, size = [data[end:]], len(data) - end
            self.position += len(block)
            yield block
        self.rest = b"".join(parts)
        self.too_long += skipping

    def _read(self) -> bytes:
        try:
            return self.stream.read(BLOCK_BYTES)
        except (EOFError, zlib.error, gzip.BadGzipFile, OSError) as exc:
            if isinstance(exc, OSError) and exc.errno is not None:
                raise
            self.is_broken = True
            return b""


def content(file: BinaryIO) -> BinaryIO:
    """A file's content, decompressed where it is gzip or Zstandard."""
    start = file.read(4)
    file.seek(0)
    if start.startswith(_GZIP):
        return io.BufferedReader(gzip.GzipFile(fileobj=file))
    if start == _ZSTD:
        import pyarrow as pa

        return pa.CompressedInputStream(file, "zstd")  # type: ignore[no-any-return]
    return file


def is_compressed(file: BinaryIO) -> bool:
    start = file.read(4)
    file.seek(0)
    return start.startswith(_GZIP) or start == _ZSTD

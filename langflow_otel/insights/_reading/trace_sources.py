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
from typing import BinaryIO, Final, cast

from langflow_otel._sdk.rotating_file import why_not_regular

BLOCK_BYTES: Final = 8 * 1024 * 1024
MAX_LINE_BYTES: Final = 256 * 1024 * 1024
_GZIP: Final = b"\x1f\x8b"
_ZSTD: Final = b"\x28\xb5\x2f\xfd"
_LENGTH_BYTES: Final = 4
_FIRST_FIELD: Final = b"\n"
"""Of OTLP's message in protobuf: ``resource_spans``."""

# Of a folder. A trace file that was rotated has a number, or a time within its name, and .gz or .zst may follow.
_IN_FOLDER = re.compile(r".*\.(jsonl?|ndjson)(\.\d+)?(\.gz|\.zst)?")


def trace_files(paths: Sequence[Path]) -> list[Path]:
    """The files of these paths, each once, older ones first.

    Of a folder these are the JSON files in it. A file comes with those that were rotated away from it:
    ``spans.jsonl.1`` and so on, and as the collector names them ``spans-2026-01-31T09-30-00.000.jsonl`` or, in newer
    versions with the reason, ``spans-2026-01-31T09-30-00.000-size.jsonl``.

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
    timed = rf"{stem}-\d{{4}}-\d\d-\d\dT\d\d-\d\d-\d\d\.\d{{3}}(-[a-z]+)?{suffix}(\.gz|\.zst)?"
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
        """About a block; of compressed data that are cut off all that can be had."""
        parts: list[bytes] = []
        missing = BLOCK_BYTES
        read_some = getattr(self.stream, "read1", self.stream.read)
        try:
            while missing > 0 and (data := read_some(missing)):
                parts.append(data)
                missing -= len(data)
        except (EOFError, zlib.error, gzip.BadGzipFile, OSError) as exc:
            if isinstance(exc, OSError) and exc.errno is not None:
                raise
            self.is_broken = True
        return b"".join(parts)


def content(file: BinaryIO) -> BinaryIO:
    """A file's content as lines, decompressed where it is gzip or Zstandard, decoded where it is the collector's
    ``format: proto``."""
    start = _start(file)
    if start.startswith(_GZIP):
        return cast("BinaryIO", gzip.GzipFile(fileobj=file))
    if start.startswith(_ZSTD):
        return _decompressed(file)
    if _is_messages(start):
        return cast("BinaryIO", _Messages(file))
    return file


def is_compressed(file: BinaryIO) -> bool:
    """True for a file of which nothing can be read from the middle on."""
    start = _start(file)
    return start.startswith((_GZIP, _ZSTD)) or _is_messages(start)


def _start(file: BinaryIO) -> bytes:
    start = file.read(8)
    file.seek(0)
    return start


def _is_messages(start: bytes) -> bool:
    """With ``format: proto`` or ``compression: zstd`` the collector writes the length of each message before it, in
    four bytes. A text has no zeros."""
    return start[:1] == b"\0" and start[1:4] != b"\0\0\0" and (start[4:] == _ZSTD or start[4:5] == _FIRST_FIELD)


def _decompressed(file: BinaryIO) -> BinaryIO:
    import pyarrow as pa

    return cast("BinaryIO", pa.CompressedInputStream(file, "zstd"))


class _Messages:
    """Such a file, as lines of JSON."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def read(self, size: int) -> bytes:
        """The next line, whatever its size.

        Raises:
            EOFError: The file ends within a message.
        """
        head = self._file.read(_LENGTH_BYTES)
        if not head:
            return b""
        length = int.from_bytes(head, "big")
        message = self._file.read(min(length, MAX_LINE_BYTES))
        if len(head) < _LENGTH_BYTES or len(message) < length:
            raise EOFError
        if message.startswith(_ZSTD):
            message = _decompressed(io.BytesIO(message)).read()
        return (message if message.startswith(b"{") else _as_json(message)) + b"\n"


def _as_json(message: bytes) -> bytes:
    from google.protobuf.message import DecodeError
    from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

    from langflow_otel._sdk.trace_file import message_json

    try:
        return message_json(TracesData.FromString(message)).encode()
    except DecodeError:
        return b"not protobuf"

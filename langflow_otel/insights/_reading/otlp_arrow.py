"""Lines of OTLP JSON to Arrow: parsed by pyarrow, many lines at once, without Python objects for spans.

What pyarrow cannot read, or reads as something else than OTLP's JSON means, is left to
:mod:`langflow_otel.insights._reading.otlp_lines`, line by line.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.json

from langflow_otel.insights._reading.otlp_lines import Problems, parsed_line
from langflow_otel.insights._reading.span_table import Spans, flat_spans

_PREFIX = b'{"resourceSpans"'
_LONG_BYTES = 8 * 1024 * 1024
"""A line of more is read by itself: what is wrong with one near it costs it no second reading."""

_SCALARS = [
    ("stringValue", pa.string()),
    ("intValue", pa.string()),
    ("boolValue", pa.bool_()),
    ("doubleValue", pa.float64()),
]
_FAST_VALUE = pa.struct(
    [
        *_SCALARS,
        ("bytesValue", pa.string()),
        ("arrayValue", pa.struct([("values", pa.list_(pa.struct(_SCALARS)))])),
    ]
)
_SLOW_VALUE = pa.struct(
    [
        *_SCALARS,
        ("bytesValue", pa.string()),
        # Values within values are JSON already.
        ("json", pa.string()),
        ("type", pa.string()),
    ]
)


def _resource_spans(value: pa.DataType) -> pa.DataType:
    """OTLP's ``repeated ResourceSpans``, with this type for ``AnyValue``."""
    attributes = pa.list_(pa.struct([("key", pa.string()), ("value", value)]))
    event = pa.struct([("timeUnixNano", pa.string()), ("name", pa.string()), ("attributes", attributes)])
    link = pa.struct([("traceId", pa.string()), ("spanId", pa.string())])
    span = pa.struct(
        [
            ("traceId", pa.string()),
            ("spanId", pa.string()),
            ("parentSpanId", pa.string()),
            ("name", pa.string()),
            ("kind", pa.int64()),
            ("startTimeUnixNano", pa.string()),
            ("endTimeUnixNano", pa.string()),
            ("attributes", attributes),
            ("events", pa.list_(event)),
            ("links", pa.list_(link)),
            ("status", pa.struct([("code", pa.int64()), ("message", pa.string())])),
        ]
    )
    scope_spans = pa.struct([("scope", pa.struct([("name", pa.string())])), ("spans", pa.list_(span))])
    return pa.list_(
        pa.struct([("resource", pa.struct([("attributes", attributes)])), ("scopeSpans", pa.list_(scope_spans))])
    )


_FAST = pa.schema([("resourceSpans", _resource_spans(_FAST_VALUE))])
_SLOW = _resource_spans(_SLOW_VALUE)


@dataclass
class Block:
    """What a block of lines held.

    Attributes:
        tables: Flat spans, as :data:`langflow_otel.insights._reading.span_table.SCHEMA` has them.
        lines: Lines that are not empty.
        problems: What could not be read of them.
        end_before_start: Spans whose end lay before their start.
    """

    tables: list[pa.Table] = field(default_factory=list)
    lines: int = 0
    problems: Problems = field(default_factory=Problems)
    end_before_start: int = 0

    def add(self, spans: Spans) -> None:
        self.tables.append(spans.table)
        self.end_before_start += spans.end_before_start


def read_block(data: bytes) -> Block:
    """Spans of a block of whole lines."""
    block = Block()
    lines = [line for line in data.split(b"\n") if line and not line.isspace()]
    block.lines = len(lines)
    # A line that is null makes pyarrow crash, and it takes what is not UTF-8.
    is_utf8 = _is_utf8(data)
    fast = [line for line in lines if is_utf8 and line.startswith(_PREFIX)]
    slow = [line for line in lines if not (is_utf8 and line.startswith(_PREFIX))]
    short = [line for line in fast if len(line) <= _LONG_BYTES]
    if slow:
        _read_each(slow, block)
    _read_fast(short, block, data if len(short) == len(lines) else b"")
    for line in fast:
        if len(line) > _LONG_BYTES:
            _read_fast([line], block)
    return block


def _is_utf8(data: bytes) -> bool:
    if data.isascii():
        return True
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _read_fast(lines: list[bytes], block: Block, data: bytes = b"") -> None:
    """By pyarrow; where it fails, by halves, so that one bad line costs only its neighbours some time.

    Args:
        data: The lines in one piece, where it is there.
    """
    if not lines:
        return
    try:
        spans = flat_spans(_parsed(data or b"\n".join(lines), len(lines)))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OverflowError):
        if len(lines) == 1:
            _read_each(lines, block)
        else:
            half = len(lines) // 2
            _read_fast(lines[:half], block)
            _read_fast(lines[half:], block)
        return
    if spans.doubtful_lines:
        _read_each([lines[each] for each in spans.doubtful_lines], block)
        doubtful = set(spans.doubtful_lines)
        _read_fast([line for number, line in enumerate(lines) if number not in doubtful], block)
    else:
        block.add(spans)


def _parsed(data: bytes, lines: int) -> pa.ListArray:
    """One list of ResourceSpans a line.

    Raises:
        ArrowInvalid: A line is no JSON, or of another form.
    """
    table = pyarrow.json.read_json(
        pa.BufferReader(data),
        read_options=pyarrow.json.ReadOptions(use_threads=False, block_size=len(data) + 1),
        parse_options=pyarrow.json.ParseOptions(explicit_schema=_FAST, unexpected_field_behavior="ignore"),
    )
    if table.num_rows != lines:
        raise pa.ArrowInvalid("an object is not on a line of its own")
    return table.column("resourceSpans").combine_chunks()


def _read_each(lines: list[bytes], block: Block) -> None:
    """Line by line: what is bad is counted, what is good is read."""
    rows = []
    for line in lines:
        row = parsed_line(line, block.problems)
        if row is not None:
            rows.append(row)
    if rows:
        block.add(flat_spans(pa.array(rows, _SLOW), trusted=True))

"""One trace out of trace files, without reading all of their spans: its id is searched for in the bytes.

Needs none of the libraries of :mod:`langflow_otel.insights.traces`, except for files compressed with Zstandard.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from langflow_otel import _semconv as semconv
from langflow_otel.insights._reading.otlp_lines import MAX_SLOW_BYTES, Problems, parsed_line, parsed_rest
from langflow_otel.insights._reading.trace_sources import BLOCK_BYTES, Blocks, content, is_compressed
from langflow_otel.insights.trace import SpanEvent, TraceSpan

_ERROR_CODE = 2
_RUN = 2


class LongLineError(ValueError):
    """A line that has to be read is longer than 32 MiB: :mod:`langflow_otel.insights.traces` reads it."""


def last_trace_id(files: Sequence[Path], problems: Problems) -> str | None:
    """The trace of the run that ended last, without runs that a flow started; in files without runs, of the last root,
    and without roots of the last span.

    Args:
        problems: Lines that cannot be read are counted there.

    Raises:
        OSError: A file cannot be read.
        LongLineError: A line is too long.
    """
    best: tuple[int, int, str] | None = None
    for path in sorted(files, key=lambda each: each.stat().st_mtime_ns, reverse=True):
        # What was last written before that run's end cannot hold a later one.
        if best is not None and best[0] == _RUN and path.stat().st_mtime_ns < best[1]:
            break
        with path.open("rb") as file:
            for block in _blocks_from_the_end(file):
                found = max(_candidates(block, problems), default=None)
                if found is not None and (best is None or found > best):
                    best = found
                if found is not None and found[0] == _RUN:
                    break
    return None if best is None else best[2]


def _candidates(block: bytes, problems: Problems) -> Iterator[tuple[int, int, str]]:
    """Of each span what it is, its end and its trace id."""
    for line, is_rest in _lines(block):
        for span in _spans_of(line, problems, is_rest=is_rest):
            is_run = (
                span.scope == semconv.SCOPE
                and span.attributes.get(semconv.GEN_AI_OPERATION_NAME) == semconv.INVOKE_WORKFLOW
                and span.attributes.get(semconv.ENTRY_POINT) != "flow"
            )
            yield _RUN if is_run else int(span.parent_id is None), span.end_ns, span.trace_id


def spans_of_trace(files: Sequence[Path], trace_id: str, problems: Problems) -> list[TraceSpan]:
    """The spans of a trace, each once, not yet linked; empty if it is not there.

    Args:
        trace_id: 32 hexadecimal digits in lower case, or the first ones of them, which may fit several traces.
        problems: Lines that hold the id and cannot be read are counted there.

    Raises:
        OSError: A file cannot be read.
        LongLineError: A line with the id is too long.
    """
    wanted = trace_id.encode()
    found: dict[tuple[str, str], TraceSpan] = {}
    for path in files:
        with path.open("rb") as file:
            for block in _all_blocks(Blocks(content(file))):
                if wanted not in block:
                    continue
                for line, is_rest in _lines(block):
                    if wanted in line:
                        for span in _spans_of(line, problems, is_rest=is_rest):
                            if span.trace_id.startswith(trace_id):
                                found.setdefault((span.trace_id, span.span_id), span)
    return list(found.values())


def _all_blocks(blocks: Blocks) -> Iterator[bytes]:
    yield from blocks
    yield blocks.rest


def _blocks_from_the_end(file: BinaryIO) -> Iterator[bytes]:
    """Whole lines, and what follows the last of them; the last ones first."""
    if is_compressed(file):
        blocks = Blocks(content(file))
        yield from reversed([*blocks, blocks.rest])
        return
    end = file.seek(0, 2)
    # Parts of a line whose beginning was not reached, the last one first.
    rest: list[bytes] = []
    # Most often one block is enough.
    size = BLOCK_BYTES // 8
    while end:
        start = max(end - size, 0)
        file.seek(start)
        data = file.read(end - start)
        end, size = start, BLOCK_BYTES
        first_end = data.find(b"\n") + 1 if start else 0
        if start and not first_end:
            rest.append(data)
            continue
        yield b"".join([data[first_end:], *reversed(rest)])
        rest = [data[:first_end]]


def _lines(block: bytes) -> Iterator[tuple[bytes, bool]]:
    """Each line that is not empty, and whether its end is missing."""
    *lines, rest = block.split(b"\n")
    for line in lines:
        if line and not line.isspace():
            yield line, False
    if rest and not rest.isspace():
        yield rest, True


def _spans_of(line: bytes, problems: Problems, *, is_rest: bool = False) -> Iterator[TraceSpan]:
    if len(line) > MAX_SLOW_BYTES:
        raise LongLineError
    for resource_spans in (parsed_rest if is_rest else parsed_line)(line, problems) or ():
        for scope_spans in resource_spans["scopeSpans"]:
            for span in scope_spans["spans"]:
                yield _span(span, scope_spans["scope"]["name"])


def _span(data: dict[str, Any], scope: str) -> TraceSpan:
    start_ns = int(data["startTimeUnixNano"])
    return TraceSpan(
        name=data["name"],
        trace_id=data["traceId"],
        span_id=data["spanId"],
        parent_id=data["parentSpanId"],
        start_ns=start_ns,
        end_ns=max(start_ns, int(data["endTimeUnixNano"])),
        attributes=_attributes(data),
        events=[SpanEvent(each["name"], int(each["timeUnixNano"]), _attributes(each)) for each in data["events"]],
        is_error=data["status"]["code"] == _ERROR_CODE,
        scope=scope,
    )


def _attributes(data: dict[str, Any]) -> dict[str, Any]:
    return {each["key"]: _value(each["value"]) for each in data["attributes"]}


def _value(value: dict[str, Any]) -> Any:
    if "intValue" in value:
        return int(value["intValue"])
    if "json" in value:
        found = json.loads(value["json"])
        return tuple(found) if value["type"] == "a" else found
    return next(iter(value.values()), None)

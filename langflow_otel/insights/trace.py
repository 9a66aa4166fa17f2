"""Finished spans read back: from memory or from a trace file, as trees in the order of time."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opentelemetry.trace import INVALID_SPAN_CONTEXT

from langflow_otel import _semconv as semconv

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

__all__ = [
    "SpanEvent",
    "TraceSpan",
    "build_trees",
    "from_file",
    "from_sdk",
    "span_of",
    "tree_of",
    "without_scope",
]

_OTLP_ERROR = 2


@dataclass(frozen=True)
class SpanEvent:
    """Something that happened within a span, such as an exception."""

    name: str
    time_ns: int
    attributes: dict[str, Any]


@dataclass
class TraceSpan:
    """One finished span and those below it.

    Times are nanoseconds since the epoch; ids are hexadecimal.
    """

    name: str
    trace_id: str
    span_id: str
    parent_id: str | None
    start_ns: int
    end_ns: int
    attributes: dict[str, Any] = field(default_factory=dict)
    events: list[SpanEvent] = field(default_factory=list)
    is_error: bool = False
    scope: str = ""
    children: list[TraceSpan] = field(default_factory=list)

    @property
    def duration_s(self) -> float:
        """From its start to its end, in seconds."""
        return (self.end_ns - self.start_ns) / 1e9

    @property
    def status(self) -> str:
        """``langflow.status``; for other spans ``error`` or ``ok``."""
        return str(self.attributes.get(semconv.STATUS) or ("error" if self.is_error else "ok"))

    def walk(self) -> Iterator[TraceSpan]:
        """This span and all below it, parents first."""
        spans = [self]
        while spans:
            span = spans.pop()
            yield span
            spans += reversed(span.children)


def from_sdk(spans: Iterable[ReadableSpan]) -> list[TraceSpan]:
    """Spans as an in-memory exporter holds them."""
    return [_from_sdk(span) for span in spans]


def _from_sdk(span: ReadableSpan) -> TraceSpan:
    context = span.get_span_context() or INVALID_SPAN_CONTEXT
    return TraceSpan(
        name=span.name,
        trace_id=f"{context.trace_id:032x}",
        span_id=f"{context.span_id:016x}",
        parent_id=f"{span.parent.span_id:016x}" if span.parent else None,
        start_ns=span.start_time or 0,
        end_ns=span.end_time or 0,
        attributes=dict(span.attributes or {}),
        events=[SpanEvent(event.name, event.timestamp, dict(event.attributes or {})) for event in span.events],
        is_error=span.status.status_code.value == _OTLP_ERROR,
        scope=span.instrumentation_scope.name if span.instrumentation_scope else "",
    )


def from_file(path: Path) -> list[TraceSpan]:
    """Spans of an OTLP JSON lines file.

    Raises:
        OSError: The file cannot be read.
        ValueError: A line is not OTLP JSON; the message names file and line.
    """
    spans = []
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                spans += list(_from_otlp(json.loads(line)))
            except (ValueError, KeyError, TypeError, AttributeError) as exc:
                raise ValueError(f"{path}:{number} is not a line of OTLP JSON") from exc
    return spans


def _from_otlp(data: dict[str, Any]) -> Iterator[TraceSpan]:
    for resource_spans in data["resourceSpans"]:
        for scope_spans in resource_spans["scopeSpans"]:
            scope = scope_spans.get("scope", {}).get("name", "")
            for span in scope_spans["spans"]:
                yield TraceSpan(
                    name=span["name"],
                    trace_id=span["traceId"],
                    span_id=span["spanId"],
                    parent_id=span.get("parentSpanId") or None,
                    start_ns=int(span["startTimeUnixNano"]),
                    end_ns=int(span["endTimeUnixNano"]),
                    attributes=_attributes(span),
                    events=[
                        SpanEvent(event["name"], int(event["timeUnixNano"]), _attributes(event))
                        for event in span.get("events", [])
                    ],
                    is_error=span.get("status", {}).get("code") == _OTLP_ERROR,
                    scope=scope,
                )


def _attributes(entry: dict[str, Any]) -> dict[str, Any]:
    return {attribute["key"]: _value(attribute["value"]) for attribute in entry.get("attributes", [])}


def _value(value: dict[str, Any]) -> Any:
    if "arrayValue" in value:
        return tuple(_value(item) for item in value["arrayValue"].get("values", []))
    if "intValue" in value:
        return int(value["intValue"])
    return next(iter(value.values()), None)


def build_trees(spans: Iterable[TraceSpan]) -> list[TraceSpan]:
    """Link children to parents; returns the roots, and the spans whose parent is not among these."""
    by_id = {span.span_id: span for span in spans}
    roots: list[TraceSpan] = []
    for span in by_id.values():
        span.children = []
    for span in sorted(by_id.values(), key=lambda each: each.start_ns):
        parent = by_id.get(span.parent_id or "")
        (parent.children if parent is not None else roots).append(span)
    return roots


def tree_of(spans: Iterable[TraceSpan], root_id: str) -> TraceSpan:
    """Link children to parents; returns the span with this id."""
    spans = list(spans)
    build_trees(spans)
    return next(span for span in spans if span.span_id == root_id)


def span_of(row: Mapping[str, Any], **more: Any) -> TraceSpan:
    """The span of a row of the view ``spans``, with these further fields."""
    columns = ("name", "trace_id", "span_id", "parent_id", "start_ns", "end_ns")
    return TraceSpan(**{name: row[name] for name in columns}, **more)


def without_scope(spans: Iterable[TraceSpan], scope: str) -> list[TraceSpan]:
    """The spans that another instrumentation scope made, linked past those of this one."""
    every = list(spans)
    parents = {span.span_id: span.parent_id for span in every if span.scope == scope}
    kept = [span for span in every if span.scope != scope]
    return [replace(span, parent_id=_kept_parent(span.parent_id, parents)) for span in kept]


def _kept_parent(parent_id: str | None, removed: dict[str, str | None]) -> str | None:
    while parent_id in removed:
        parent_id = removed[parent_id]
    return parent_id

"""Spans as a backend gets them over OTLP, as trees."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from otlp_receiver import Receiver

from langflow_otel.insights.trace import SpanEvent, TraceSpan

FLOW = "invoke_workflow "
_INTERNAL = 1
_PARENT_IS_KNOWN, _PARENT_IS_REMOTE = 0x100, 0x200
_CHATTY = ("opentelemetry.instrumentation.asgi", "opentelemetry.instrumentation.fastapi")


@dataclass
class ReceivedSpan(TraceSpan):
    """A span as it came in.

    Attributes:
        resource: Of the process that sent it.
        kind: As in the protocol: 1 internal, 2 server, 3 client.
        links: Trace ids and span ids of the linked spans.
        parent_is_here: True if it has a parent, and that is a span of the same process.
    """

    resource: dict[str, Any] = field(default_factory=dict)
    kind: int = 0
    links: list[tuple[str, str]] = field(default_factory=list)
    trace_state: str = ""
    parent_is_here: bool = False


def received_spans(receiver: Receiver) -> list[ReceivedSpan]:
    """In the order of arrival; each once, whatever was sent twice."""
    found: dict[str, ReceivedSpan] = {}
    for request in list(receiver.requests):
        for resource_spans in request.message.resource_spans:
            resource = _attributes(resource_spans.resource)
            for scope_spans in resource_spans.scope_spans:
                for span in scope_spans.spans:
                    found[span.span_id.hex()] = _received(span, scope_spans.scope.name, resource)
    return list(found.values())


def _received(span: Any, scope: str, resource: dict[str, Any]) -> ReceivedSpan:
    return ReceivedSpan(
        name=span.name,
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex() or None,
        start_ns=span.start_time_unix_nano,
        end_ns=span.end_time_unix_nano,
        attributes=_attributes(span),
        events=[SpanEvent(event.name, event.time_unix_nano, _attributes(event)) for event in span.events],
        is_error=span.status.code == span.status.STATUS_CODE_ERROR,
        scope=scope,
        resource=resource,
        kind=span.kind,
        links=[(link.trace_id.hex(), link.span_id.hex()) for link in span.links],
        trace_state=span.trace_state,
        parent_is_here=bool(span.parent_span_id)
        and span.flags & (_PARENT_IS_KNOWN | _PARENT_IS_REMOTE) == _PARENT_IS_KNOWN,
    )


def _attributes(entry: Any) -> dict[str, Any]:
    return {attribute.key: _value(attribute.value) for attribute in entry.attributes}


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return tuple(_value(item) for item in value.array_value.values)
    return None if kind is None else getattr(value, kind)


def without_chatter(spans: Iterable[TraceSpan]) -> list[TraceSpan]:
    """Without what LangFlow's own telemetry (1.12 and later) has below each request: its ``http send`` and
    ``http receive`` for each message, its background tasks."""
    every = list(spans)
    left_out = {span.span_id: span.parent_id for span in every if _is_chatter(span)}
    kept = []
    for span in every:
        parent_id = span.parent_id
        while parent_id in left_out:
            parent_id = left_out[parent_id]
        if span.span_id not in left_out:
            kept.append(replace(span, parent_id=parent_id))
    return kept


def _is_chatter(span: TraceSpan) -> bool:
    return isinstance(span, ReceivedSpan) and span.kind == _INTERNAL and span.scope in _CHATTY


def runs_below(span: TraceSpan) -> list[TraceSpan]:
    """The flow runs of this tree that no other run made."""
    if span.name.startswith(FLOW):
        return [span]
    return [run for child in span.children for run in runs_below(child)]


def misses_parent(root: TraceSpan) -> bool:
    """Its parent, of the same process, has not come in."""
    return isinstance(root, ReceivedSpan) and root.parent_is_here


def render(roots: Sequence[TraceSpan], *attributes: str) -> list[str]:
    """Indented names, with ``[status]`` where it is not ok, and these attributes where there."""
    lines: list[str] = []
    for root in roots:
        _render(root, 0, lines, attributes)
    return lines


def _render(span: TraceSpan, depth: int, lines: list[str], attributes: tuple[str, ...]) -> None:
    shown = [f"{name}={span.attributes[name]}" for name in attributes if name in span.attributes]
    status = "" if span.status == "ok" else f"[{span.status}]"
    lines.append("  " * depth + " ".join(filter(None, [span.name, status, *shown])))
    for child in span.children:
        _render(child, depth + 1, lines, attributes)

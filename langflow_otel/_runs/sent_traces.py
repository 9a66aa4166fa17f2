"""In which traces spans of ours are sent, for what LangFlow itself sends of the same traces."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from opentelemetry.trace import Link, SpanContext

from langflow_otel._guard import Guard

listener: Callable[[int], None] | None = None
"""Called with the id of each trace that a span of ours is sent in, and of each that it is linked to; None for no calls.
A trace may be named several times."""

_TELL = Guard("native_spans.sent")


def sent_in(context: SpanContext, links: Iterable[Link] | None = None) -> None:
    """A span of ours will be sent.

    Args:
        context: Its own.
        links: Its links: a run that waited in a queue is linked to the request that put it there.
    """
    if listener is None:
        return
    with _TELL:
        listener(context.trace_id)
        for link in links or ():
            listener(link.context.trace_id)

"""The context of an untrusted caller in another process: nothing of it goes on, to spans or to called services.

Its ``traceparent`` and ``tracestate`` go where the place of the run is decided, see ``parent_context.py``. Its baggage
needs no ``traceparent`` beside it, and the host may have put it into the context before we are asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from typing import Final

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import INVALID_SPAN, Link, SpanContext

refused_baggage: Final[ContextVar[Mapping[str, object] | None]] = ContextVar(
    "langflow_otel_refused_baggage", default=None
)
"""What the caller of the current request has sent as baggage, if the caller is not trusted."""


def without_refused_baggage(context: Context) -> Context:
    """The context without what the caller has sent, and with what the host has added since."""
    refused = refused_baggage.get()
    if not refused:
        return context
    # Not at the top: an author's import of `traced` would pay for it.
    from opentelemetry import baggage

    entries = baggage.get_all(context)
    for name, value in refused.items():
        if entries.get(name) == value:
            context = baggage.remove_baggage(name, context)
    return context


def without_baggage(context: Context) -> Context:
    """The context without any baggage: where nobody knows which of it is the caller's."""
    from opentelemetry import baggage

    return baggage.clear(context) if baggage.get_all(context) else context


def without_remote_span(context: Context) -> Context:
    """The context without a caller's span; one of this process, such as the host's own, stays."""
    if not trace.get_current_span(context).get_span_context().is_remote:
        return context
    return trace.set_span_in_context(INVALID_SPAN, context)


def link_to(caller: SpanContext) -> Link:
    """A link by the ids alone: the caller's ``tracestate`` is its own text."""
    return Link(SpanContext(caller.trace_id, caller.span_id, caller.is_remote, caller.trace_flags))

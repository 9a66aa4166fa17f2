"""What a span of ours is below of, and where a run belongs: below its caller, in a trace of its own, or in one that is
linked to its caller.

The current span is not the parent as a matter of course. Other tracers in the process (LangFlow's own for Langfuse,
Traceloop, Phoenix and so on) make their spans current, too, and send them elsewhere: a parent that the backend never
gets, and a decision of another sampler. So each span of ours is put into the context under a key of our own as well,
which stays when such a span is made current on top of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import INVALID_SPAN, Link, NonRecordingSpan, Span, SpanContext

from langflow_otel._runs.buffered_spans import HeldSpan
from langflow_otel._runs.untrusted_callers import link_to, without_baggage, without_refused_baggage
from langflow_otel._settings.settings import RemoteParent

_OURS = otel_context.create_key("langflow_otel.span")

(_CURRENT,) = trace.set_span_in_context(INVALID_SPAN, Context())
"""The key by which OpenTelemetry itself finds the current span."""

Reaches = Callable[[Span], bool]
"""True for a recording span that is sent where ours are sent."""


def with_span(span: Span, context: Context) -> Context:
    """The context with that span of ours as the current one."""
    # One copy of the context and not two.
    return Context({**context, _CURRENT: span, _OURS: span})


def with_caller(caller: Span, context: Context) -> Context:
    """The context below a caller in another process, whatever span of ours was current in it."""
    return otel_context.set_value(_OURS, None, trace.set_span_in_context(caller, context))


def is_ours_current(context: Context) -> bool:
    """True if the current span is one of ours. OpenTelemetry's own function asks for the span's class, which takes
    0.4 us for an abstract one."""
    ours = context.get(_OURS)
    return ours is not None and ours is context.get(_CURRENT)


def span_above(context: Context, reaches: Reaches) -> Span:
    """The nearest span that a span of ours may be below of; ``INVALID_SPAN`` if there is none.

    Below a span of ours these are: that span, and spans of its trace that are sent where ours are. Elsewhere any span
    that is sent there, a caller in another process, and a local span that does not record, since nothing says whose
    it is.
    """
    ours: Any = context.get(_OURS)
    current: Any = context.get(_CURRENT)
    if ours is not None and ours is current:
        found: Span = current
        return found
    span = trace.get_current_span(context)
    if ours is not None:
        return span if _is_below(span, ours, reaches) else ours
    if not span.is_recording() or reaches(span) or isinstance(span, HeldSpan):
        return span
    caller = caller_of(span)
    return INVALID_SPAN if caller is None else NonRecordingSpan(caller)


def _is_below(span: Span, ours: Span, reaches: Reaches) -> bool:
    if isinstance(span, HeldSpan):
        return True
    # One that began another trace has left ours, wherever it is sent.
    same_trace = span.get_span_context().trace_id == ours.get_span_context().trace_id
    return same_trace and span.is_recording() and reaches(span)


def same_provider(provider: object) -> Reaches:
    """What that provider makes is sent where ours are, since it makes ours, too."""
    # The SDK's spans do not name their provider, only what it does with them.
    processor = getattr(provider, "_active_span_processor", None)

    def reaches(span: Span) -> bool:
        of_span = getattr(span, "_span_processor", None)
        # Where the provider is not the SDK's, its spans are not, either.
        return of_span is processor

    return reaches


def parent_and_links(
    context: Context,
    remote_parent: RemoteParent,
    queued_by: SpanContext | None = None,
    *,
    answered_at_once: bool = False,
    reaches: Reaches | None = None,
) -> tuple[Context, list[Link] | None]:
    """The context to start a run in, and the links to start it with.

    Args:
        context: Of the caller.
        remote_parent: What a caller in another process is: see ``LANGFLOW_OTEL_REMOTE_PARENT``.
        queued_by: The span that put the run into a queue. Whatever is current when it leaves the queue is
            not its parent.
        answered_at_once: True for a run whose request is answered before it ends, perhaps before it starts.
        reaches: Which spans are sent where ours are; default: all. One that is not is linked, and no parent.
    """
    context = without_refused_baggage(context)
    span = trace.get_current_span(context)
    if queued_by is not None:
        # The worker's context may be that of the first request that it was started in: its baggage is another caller's.
        return _in_a_trace_of_its_own(without_baggage(context), queued_by if queued_by.is_valid else None)
    if reaches is not None:
        above = span_above(context, reaches)
        if above is INVALID_SPAN and span is not INVALID_SPAN:
            return _in_a_trace_of_its_own(context, span.get_span_context())
        if above is not span:
            span, context = above, trace.set_span_in_context(above, context)
    if remote_parent != "continue" and caller_of(span) is not None:
        context, links = _in_a_trace_of_its_own(without_baggage(context), None)
        return context, [link_to(span.get_span_context())] if remote_parent == "link" else links
    # A local span that has ended is no parent: a worker that it started may go on for days, run after run.
    if getattr(span, "end_time", None) is not None and not answered_at_once:
        return _in_a_trace_of_its_own(context, span.get_span_context())
    return context, None


def _in_a_trace_of_its_own(context: Context, linked: SpanContext | None) -> tuple[Context, list[Link] | None]:
    return with_span(INVALID_SPAN, context), [Link(linked)] if linked is not None else None


def caller_of(span: Any) -> SpanContext | None:
    """The caller's span in another process, if the span is it, or is the host's own that continues it."""
    own: SpanContext = span.get_span_context()
    if own.is_remote:
        return own
    parent = getattr(span, "parent", None)
    return parent if parent is not None and parent.is_remote else None

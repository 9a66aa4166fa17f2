"""Where a run belongs: below its caller, in a trace of its own, or in one that is linked to its caller."""

from __future__ import annotations

from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import INVALID_SPAN, Link, SpanContext

from langflow_otel.settings import RemoteParent


def parent_and_links(
    context: Context,
    remote_parent: RemoteParent,
    queued_by: SpanContext | None = None,
    *,
    answered_at_once: bool = False,
) -> tuple[Context, list[Link] | None]:
    """The context to start a run in, and the links to start it with.

    Args:
        context: Of the caller.
        remote_parent: What a caller in another process is: see ``LANGFLOW_OTEL_REMOTE_PARENT``.
        queued_by: The span that put the run into a queue. Whatever is current when it leaves the queue is
            not its parent.
        answered_at_once: True for a run whose request is answered before it ends, perhaps before it starts.
    """
    span = trace.get_current_span(context)
    if queued_by is not None:
        return _in_a_trace_of_its_own(context, queued_by if queued_by.is_valid else None)
    if remote_parent != "continue" and caller_of(span) is not None:
        return _in_a_trace_of_its_own(context, span.get_span_context() if remote_parent == "link" else None)
    # A local span that has ended is no parent: a worker that it started may go on for days, run after run.
    if getattr(span, "end_time", None) is not None and not answered_at_once:
        return _in_a_trace_of_its_own(context, span.get_span_context())
    return context, None


def _in_a_trace_of_its_own(context: Context, linked: SpanContext | None) -> tuple[Context, list[Link] | None]:
    return trace.set_span_in_context(INVALID_SPAN, context), [Link(linked)] if linked is not None else None


def caller_of(span: Any) -> SpanContext | None:
    """The caller's span in another process, if the span is it, or is the host's own that continues it."""
    own: SpanContext = span.get_span_context()
    if own.is_remote:
        return own
    parent = getattr(span, "parent", None)
    return parent if parent is not None and parent.is_remote else None

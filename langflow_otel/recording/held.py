"""Spans that are not sampled, held as plain facts until it is known whether they are kept.

A run that fails or is slow is worth its trace, though its flow is sampled at one percent. Whether it is, shows at
its end. Until then its spans are :class:`HeldSpan`, which cost a fraction of a span; those of a run that is kept
are made into spans then, with the ids that they had all along.
"""

from __future__ import annotations

import random
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from threading import Lock
from typing import Any, Final

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    Tracer,
)
from opentelemetry.util.types import AttributeValue

from langflow_otel.recording import semconv
from langflow_otel.recording.guard import Guard

DECIDED: Final = otel_context.create_key("langflow_otel.decided")
"""In the context of a span that is made whatever the sampler would say."""

MAX_SPANS: Final = 50_000
"""Held at once in this process, over all runs."""
MAX_BYTES: Final = 64 * 2**20
"""The texts of what is held, about."""

_NOT_SAMPLED: Final = TraceFlags(TraceFlags.DEFAULT)
_SAMPLED: Final = TraceFlags(TraceFlags.SAMPLED)
_BYTES_PER_SPAN: Final = 1000
_KEEP = Guard("trace.keep")
_END = Guard("trace.end")

_ids: ContextVar[tuple[int, int] | None] = ContextVar("langflow_otel_ids", default=None)


def preset_ids() -> tuple[int, int] | None:
    """Trace id and span id that the span must get which is being made; None for any."""
    return _ids.get()


@contextmanager
def with_ids(trace_id: int, span_id: int) -> Iterator[None]:
    """The span that is made here gets these ids."""
    token = _ids.set((trace_id, span_id))
    try:
        yield
    finally:
        _ids.reset(token)


def make_span(tracer: Tracer, own: SpanContext, name: str, *, context: Context, **kwargs: Any) -> Span:
    """A span with the ids of ``own``, whatever the sampler would say."""
    with with_ids(own.trace_id, own.span_id):
        return tracer.start_span(name, context=otel_context.set_value(DECIDED, True, context), **kwargs)


def new_span_context(parent: SpanContext) -> SpanContext:
    """Of a span below the parent, or of one that begins a trace if the parent is not valid."""
    trace_id = parent.trace_id if parent.is_valid else random.getrandbits(128) or 1
    state = parent.trace_state if parent.is_valid else None
    return SpanContext(trace_id, random.getrandbits(64) or 1, False, _NOT_SAMPLED, state)


class HeldSpan(Span):
    """The facts of one span that is not sampled. Its context goes out with flag 0.

    It says that it records, for LangFlow 1.12 and later starts a new trace below a span that does not.

    Args:
        tracer: Makes the span, if it comes to that.
        name: Of the span.
        above: What it is below of: another held span is kept with this one.
        trace_: The run's other spans; None for a span that is held by itself.
        own: Its own context, if that is known already.

    Attributes:
        claimed: True once a flow has started below, and decides.
        on_end: Called with the span at its end.
    """

    __slots__ = (
        "_above",
        "_context",
        "_links",
        "_status",
        "_trace",
        "_tracer",
        "attributes",
        "claimed",
        "end_time",
        "events",
        "kept",
        "kind",
        "made",
        "name",
        "on_end",
        "start_time",
    )

    def __init__(
        self,
        tracer: Tracer,
        name: str,
        above: Span,
        *,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Mapping[str, AttributeValue] | None = None,
        links: Sequence[Link] | None = None,
        start_time: int | None = None,
        trace_: HeldTrace | None = None,
        own: SpanContext | None = None,
    ) -> None:
        self._tracer = tracer
        self._above = above
        self._trace = trace_
        # Made when somebody asks: it is the dearest part of a span, and few ask for a component's.
        self._context = own
        self._links = links
        self._status: Status | None = None
        self.name = name
        self.kind = kind
        self.attributes: dict[str, AttributeValue] = {} if attributes is None else dict(attributes)
        self.events: list[tuple[str, Mapping[str, AttributeValue] | None, int]] = []
        self.start_time = time.time_ns() if start_time is None else start_time
        self.end_time: int | None = None
        self.claimed = False
        self.kept = False
        self.made = False
        self.on_end: Callable[[HeldSpan], None] | None = None

    def get_span_context(self) -> SpanContext:
        if self._context is None:
            self._context = new_span_context(self._above.get_span_context())
        return self._context

    @property
    def parent(self) -> SpanContext | None:
        """The context of the span above; None if this one begins a trace."""
        above = self._above.get_span_context()
        return above if above.is_valid else None

    def is_recording(self) -> bool:
        return self.end_time is None

    def set_attribute(self, key: str, value: AttributeValue) -> None:
        if self.end_time is None:
            self.attributes[key] = value

    def set_attributes(self, attributes: Mapping[str, AttributeValue]) -> None:
        if self.end_time is None:
            self.attributes.update(attributes)

    def add_event(
        self, name: str, attributes: Mapping[str, AttributeValue] | None = None, timestamp: int | None = None
    ) -> None:
        if self.end_time is None:
            self.events.append((name, attributes, time.time_ns() if timestamp is None else timestamp))

    def add_link(self, context: SpanContext, attributes: Mapping[str, AttributeValue] | None = None) -> None:
        if self.end_time is None:
            self._links = [*(self._links or ()), Link(context, attributes)]

    def update_name(self, name: str) -> None:
        if self.end_time is None:
            self.name = name

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
        if self.end_time is None:
            self._status = Status(status, description) if isinstance(status, StatusCode) else status

    def record_exception(
        self,
        exception: BaseException,
        attributes: Mapping[str, AttributeValue] | None = None,
        timestamp: int | None = None,
        escaped: bool = False,
    ) -> None:
        stack = "".join(traceback.format_exception(type(exception), exception, exception.__traceback__))
        facts = {
            semconv.EXCEPTION_TYPE: f"{type(exception).__module__}.{type(exception).__qualname__}",
            semconv.EXCEPTION_MESSAGE: str(exception),
            semconv.EXCEPTION_STACKTRACE: stack,
            "exception.escaped": str(escaped),
            **(attributes or {}),
        }
        self.add_event(semconv.EXCEPTION, facts, timestamp)

    def end(self, end_time: int | None = None) -> None:
        if self.end_time is not None:
            return
        self.end_time = time.time_ns() if end_time is None else end_time
        # Other instrumentors end theirs themselves.
        with _END:
            if self.on_end is not None:
                self.on_end(self)
            if self._trace is not None:
                self._trace.ended(self)
        if self.kept:
            self._make()

    def keep(self) -> None:
        """Make it a span, now or at its end, and those that it is below of."""
        if not self.kept:
            self.kept = True
            if isinstance(self._above, HeldSpan):
                self._above.keep()
        self._make()

    def bytes(self) -> int:
        """The size of its texts, about."""
        found = _BYTES_PER_SPAN + _length(self.attributes)
        return found + sum(100 + _length(attributes or {}) for _, attributes, _ in self.events)

    def _make(self) -> None:
        if self.made or self.end_time is None:
            return
        self.made = True
        with _KEEP:
            context, links = self._place()
            span = make_span(
                self._tracer,
                self.get_span_context(),
                self.name,
                context=context,
                kind=self.kind,
                attributes=self.attributes,
                links=links,
                start_time=self.start_time,
            )
            for name, attributes, timestamp in self.events:
                span.add_event(name, attributes, timestamp)
            if self._status is not None:
                span.set_status(self._status)
            span.end(self.end_time)

    def _place(self) -> tuple[Context, Sequence[Link] | None]:
        """The context to make it in, and its links: one to the caller, if nobody sends the caller's span, which
        cannot be the parent then."""
        above = self.parent
        if above is None:
            return Context(), self._links
        if not above.trace_flags.sampled and not isinstance(self._above, HeldSpan):
            return Context(), [*(self._links or ()), Link(above)]
        sent = SpanContext(above.trace_id, above.span_id, above.is_remote, _SAMPLED, above.trace_state)
        return trace.set_span_in_context(NonRecordingSpan(sent), Context()), self._links


class HeldTrace:
    """What one run of a flow that is not sampled has done so far.

    Attributes:
        root: Of the run's spans.
        reason: Why the run was kept; None while that is open, and for a run that was not.
        lost: How many spans were let go to make room for other runs.
    """

    __slots__ = ("_bytes", "_ended", "_holds", "_keeper", "_noted", "_spans", "lost", "reason", "root")

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper
        self._spans: list[HeldSpan] = []
        self._ended = 0
        self._bytes = 0
        self._holds = True
        self._noted: str | None = None
        self.root: HeldSpan | None = None
        self.lost = 0
        self.reason: str | None = None

    def start_span(self, tracer: Tracer, name: str, above: Span, **kwargs: Any) -> HeldSpan:
        """A span of this run; the arguments are those of :class:`HeldSpan`."""
        span = HeldSpan(tracer, name, above, trace_=self, **kwargs)
        if self.root is None:
            self.root = span
        if self._holds:
            self._spans.append(span)
        return span

    def ended(self, span: HeldSpan) -> None:
        if self.reason is not None:  # it began after the run was kept
            span.kept = True
        elif self._holds:
            size = span.bytes()
            self._ended += 1
            self._bytes += size
            self._keeper.weigh(1, size)

    def reason_to_keep(self, span: object, status: str, duration_s: float) -> str | None:
        """Why the flow run with this span is worth keeping: ``error`` or ``slow``; None if it is not. A run is kept
        for the sake of a flow that it runs, too."""
        reason = self._keeper.reason_to_keep(status, duration_s)
        self._noted = self._noted or reason
        return reason or (self._noted if span is self.root else None)

    def finish(self, span: object) -> None:
        """The flow run with this span is over; what becomes of it all shows when the outermost is."""
        if span is self.root:
            self._keeper.finish(self, self._noted)

    def keep(self, reason: str) -> None:
        """The run is worth its trace: make its spans, those that still go on at their end."""
        self.reason = reason
        for span in self._let_go():
            span.keep()

    def forget(self) -> None:
        """The run was as it should be."""
        self._let_go()

    def give_up(self) -> None:
        """Make room for other runs."""
        self.lost = len(self._let_go())

    def _let_go(self) -> list[HeldSpan]:
        self._holds = False
        spans, self._spans = self._spans, []
        self._keeper.weigh(-self._ended, -self._bytes)
        self._ended = self._bytes = 0
        return spans


class Keeper:
    """Decides which runs are kept, and holds no more than it may: the oldest run is given up first.

    Args:
        errors: Keep runs that fail.
        slow_s: Keep runs that take so long, in seconds; None for no such limit.
        dropped: Told how many spans of a run that would have been kept were given up.
        max_spans: Held at once, over all runs.
        max_bytes: The texts of what is held at once, about.

    Attributes:
        spans: Held now, of those that have ended.
        bytes: The texts of what is held now, about.
    """

    def __init__(
        self,
        *,
        errors: bool = True,
        slow_s: float | None = None,
        dropped: Callable[[int], None] | None = None,
        max_spans: int = MAX_SPANS,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self._errors = errors
        self._slow_s = slow_s
        self._dropped = dropped
        self._max_spans = max_spans
        self._max_bytes = max_bytes
        self._runs: dict[HeldTrace, None] = {}  # the oldest first
        self._lock = Lock()
        self.spans = 0
        self.bytes = 0

    def hold(self) -> HeldTrace:
        """A run starts that is not sampled."""
        held = HeldTrace(self)
        with self._lock:
            self._runs[held] = None
        return held

    def reason_to_keep(self, status: str, duration_s: float) -> str | None:
        """``error``, ``slow`` or None."""
        if self._errors and status == "error":
            return "error"
        return "slow" if self._slow_s is not None and duration_s >= self._slow_s else None

    def finish(self, held: HeldTrace, reason: str | None) -> None:
        """The run is over.

        Args:
            held: The run.
            reason: Why it is kept; None if it is not.
        """
        with self._lock:
            self._runs.pop(held, None)
        if reason is None:
            held.forget()
        elif not held.lost:
            held.keep(reason)
        elif self._dropped is not None:
            self._dropped(held.lost)

    def weigh(self, spans: int, size: int) -> None:
        """So much more, or less, is held."""
        with self._lock:
            self.spans += spans
            self.bytes += size
            full = self.spans > self._max_spans or self.bytes > self._max_bytes
            oldest = next(iter(self._runs), None) if full else None
            if oldest is not None:
                del self._runs[oldest]
        if oldest is not None:
            oldest.give_up()


def _length(attributes: Mapping[str, AttributeValue]) -> int:
    return sum(len(value) for value in attributes.values() if isinstance(value, str))

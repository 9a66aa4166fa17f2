"""Spans held as plain facts until they leave, or until it is known whether they do.

A run that fails or is slow is worth its trace, though its flow is sampled at one percent. Whether it is, shows at
its end. Until then its spans are :class:`HeldSpan`, which cost a fraction of a span; those of a run that is kept
are made into spans then, with the ids that they had all along.

Where the provider is ours, spans of model calls are :class:`HeldSpan` also in a run that is sampled. At their end they
are sent as they are.
"""

from __future__ import annotations

import random
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.attributes import BoundedAttributes
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

from langflow_otel import _semconv as semconv
from langflow_otel._content.limits import MAX_SPAN_TEXT
from langflow_otel._guard import Guard

if TYPE_CHECKING:
    from langflow_otel._runs.tail_sampling import HeldTrace

DECIDED: Final = otel_context.create_key("langflow_otel.decided")
"""In the context of a span that is made whatever the sampler would say."""
DENIED: Final = otel_context.create_key("langflow_otel.denied")
"""In the context of a span that another instrumentor made where content is denied, and while one of ours ends there."""

_RANDOM: Final = getattr(TraceFlags, "RANDOM_TRACE_ID", 0)
"""W3C Trace Context, level 2; 0 where the API does not know it, and the SDK would not set it either."""
_BYTES_PER_SPAN: Final = 1000
_BYTES_PER_EVENT: Final = 200
"""Of a link as well."""
_BYTES_PER_VALUE: Final = 32
_NUMBERS: Final = frozenset({bool, int, float})
_ONLY_TEXTS: Final = frozenset({str})
_UNSET: Final = Status(StatusCode.UNSET)
_KEEP = Guard("trace.keep")
_END = Guard("trace.end")
_ADD = Guard("trace.add")

Send: TypeAlias = "Callable[[HeldSpan], None]"
"""Sends a span that has ended."""

_ids: ContextVar[SpanContext | None] = ContextVar("langflow_otel_ids", default=None)


def preset_ids() -> SpanContext | None:
    """Whose trace id and span id the span must get which is being made; None for any."""
    return _ids.get()


def has_random_trace_id(context: SpanContext) -> bool:
    """True if the flags say so, or if this API does not know the flag."""
    return not _RANDOM or bool(context.trace_flags & _RANDOM)


def end_span(span: Span, end_time: int | None, *, is_denied: bool) -> None:
    """End a span of ours. Of one where content is denied nothing leaves that others have put on it in words."""
    if isinstance(span, HeldSpan):
        span.denied = is_denied
    if not is_denied or isinstance(span, HeldSpan):
        span.end(end_time)
        return
    token = otel_context.attach(otel_context.set_value(DENIED, True))
    try:
        span.end(end_time)
    finally:
        otel_context.detach(token)


@contextmanager
def with_ids(own: SpanContext) -> Iterator[None]:
    """The span that is made here gets these ids."""
    token = _ids.set(own)
    try:
        yield
    finally:
        _ids.reset(token)


def make_span(tracer: Tracer, own: SpanContext, name: str, *, context: Context, **kwargs: Any) -> Span:
    """A span with the ids of ``own``, whatever the sampler would say."""
    with with_ids(own):
        return tracer.start_span(name, context=otel_context.set_value(DECIDED, True, context), **kwargs)


def new_span_context(parent: SpanContext, *, sampled: bool = False) -> SpanContext:
    """Of a span below the parent, or of one that begins a trace if the parent is not valid."""
    span_id = random.getrandbits(64) or 1
    if not parent.is_valid:
        return SpanContext(random.getrandbits(128) or 1, span_id, False, TraceFlags(_RANDOM))
    flags = TraceFlags(parent.trace_flags & _RANDOM | (TraceFlags.SAMPLED if sampled else TraceFlags.DEFAULT))
    return SpanContext(parent.trace_id, span_id, False, flags, parent.trace_state)


@dataclass(frozen=True)
class Limits:
    """What a span holds at most; None for no limit. Those of the SDK have the same names."""

    max_span_attributes: int | None = 128
    max_events: int | None = 128
    max_links: int | None = 128
    max_event_attributes: int | None = 128
    max_link_attributes: int | None = 128
    max_span_attribute_length: int | None = None
    max_attribute_length: int | None = None


_DEFAULT_LIMITS: Final = Limits()


class HeldEvent(NamedTuple):
    """One event of a held span."""

    name: str
    attributes: Mapping[str, AttributeValue]
    timestamp: int
    size: int


class HeldSpan(Span):
    """The facts of one span. Where it is not sampled, its context goes out with flag 0.

    It holds no more than the span would that it may become, and each addition is weighed.

    It says that it records, for LangFlow 1.12 and later starts a new trace below a span that does not.

    Args:
        tracer: Makes the span, if it comes to that.
        name: Of the span.
        above: What it is below of: another held span is kept with this one.
        trace_: The run's other spans; None for a span that is held by itself.
        own: Its own context, if that is known already.
        send: Sends the span at its end; None for one that is not sampled.
        record_exception: Whether an exception that leaves the span's ``with`` block is recorded as an event.
        set_status_on_exception: Whether it makes the status an error.

    Attributes:
        dropped: How many of its ``_attributes``, ``_events`` and ``_links`` did not fit.
        claimed: True once a flow has started below, and decides.
        denied: True if it was made where content is denied.
        on_end: Called with the span at its end.
    """

    __slots__ = (
        "_above",
        "_context",
        "_discarded",
        "_limits",
        "_links",
        "_record_exception",
        "_send",
        "_set_status_on_exception",
        "_status",
        "_trace",
        "_tracer",
        "attributes",
        "claimed",
        "denied",
        "dropped",
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
        send: Send | None = None,
        record_exception: bool = True,
        set_status_on_exception: bool = True,
    ) -> None:
        self._tracer = tracer
        self._send = send
        self._record_exception = record_exception
        self._set_status_on_exception = set_status_on_exception
        self._above = above
        self._trace = trace_
        # Made when somebody asks: it is the dearest part of a span, and few ask for a component's.
        self._context = own
        self._limits: Any = getattr(tracer, "_span_limits", _DEFAULT_LIMITS)
        self._discarded = False
        self.dropped: dict[str, int] = {}
        self._status: Status | None = None
        self.name = name
        self.kind = kind
        self.attributes: dict[str, AttributeValue] = {}
        self.events: deque[HeldEvent] | None = None
        self._links: deque[tuple[Link, int]] | None = None
        self.start_time = time.time_ns() if start_time is None else start_time
        self.end_time: int | None = None
        self.claimed = False
        self.denied = False
        self.kept = send is not None
        self.made = False
        self.on_end: Callable[[HeldSpan], None] | None = None
        size = self._set_all(attributes) if attributes else 0
        for link in links or ():
            size += self._link(link.context, link.attributes)
        if trace_ is not None:
            trace_.weigh(1, _BYTES_PER_SPAN + sys.getsizeof(name) + size)

    def get_span_context(self) -> SpanContext:
        if self._context is None:
            self._context = new_span_context(self._above.get_span_context())
        return self._context

    @property
    def parent(self) -> SpanContext | None:
        """The context of the span above; None if this one begins a trace."""
        above = self._above.get_span_context()
        return above if above.is_valid else None

    @property
    def links(self) -> list[Link]:
        """What it is linked to, until it is made or given up."""
        return [] if self._links is None else [link for link, _ in self._links]

    @property
    def status(self) -> Status:
        return _UNSET if self._status is None else self._status

    @property
    def instrumentation_scope(self) -> Any:
        """That of its tracer, as the SDK's spans have it; None where the tracer has none."""
        return getattr(self._tracer, "_instrumentation_scope", None)

    def is_recording(self) -> bool:
        return self.end_time is None

    # Others call these. The SDK's contain what goes wrong with a value, and so do these.

    def set_attribute(self, key: str, value: AttributeValue) -> None:
        if self.end_time is None and not self._discarded:
            with _ADD:
                self._weigh(self._set(key, value))

    def set_attributes(self, attributes: Mapping[str, AttributeValue]) -> None:
        if self.end_time is None and not self._discarded:
            with _ADD:
                self._weigh(self._set_all(attributes))

    def take(self, attributes: Mapping[str, AttributeValue]) -> None:
        """The same, with attributes that this library has made itself: texts that are cut, and numbers. Where no limit
        is set they are not looked at one by one, which takes as long as all the rest of a span."""
        limits = self._limits
        most, longest = limits.max_span_attributes, limits.max_span_attribute_length
        fits = most is None or len(self.attributes) + len(attributes) <= most
        if fits and (longest is None or longest >= MAX_SPAN_TEXT) and self._trace is None and self.end_time is None:
            self.attributes.update(attributes)
        else:
            self.set_attributes(attributes)

    def add_event(
        self, name: str, attributes: Mapping[str, AttributeValue] | None = None, timestamp: int | None = None
    ) -> None:
        if self.end_time is None and not self._discarded:
            with _ADD:
                self._weigh(self._event(name, attributes, time.time_ns() if timestamp is None else timestamp))

    def add_link(self, context: SpanContext, attributes: Mapping[str, AttributeValue] | None = None) -> None:
        if self.end_time is None and not self._discarded:
            with _ADD:
                self._weigh(self._link(context, attributes))

    def update_name(self, name: str) -> None:
        if self.end_time is None and not self._discarded:
            with _ADD:
                size = sys.getsizeof(name) - sys.getsizeof(self.name)
                self.name = name
                self._weigh(size)

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
        if self.end_time is None and not self._discarded:
            with _ADD:
                before = self._status
                now = Status(status, description) if isinstance(status, StatusCode) else status
                if now.is_unset or (before is not None and before.status_code is StatusCode.OK):
                    return
                self._status = now
                self._weigh(_size_of(now.description) - (0 if before is None else _size_of(before.description)))

    def record_exception(
        self,
        exception: BaseException,
        attributes: Mapping[str, AttributeValue] | None = None,
        timestamp: int | None = None,
        escaped: bool = False,
    ) -> None:
        # The exception's own text is its author's code.
        with _ADD:
            module, name = type(exception).__module__, type(exception).__qualname__
            stack = "".join(traceback.format_exception(type(exception), exception, exception.__traceback__))
            facts = {
                semconv.EXCEPTION_TYPE: f"{module}.{name}" if module and module != "builtins" else name,
                semconv.EXCEPTION_MESSAGE: str(exception),
                semconv.EXCEPTION_STACKTRACE: stack,
                "exception.escaped": str(escaped),
                **(attributes or {}),
            }
            self.add_event(semconv.EXCEPTION, facts, timestamp)

    def __exit__(
        self, exc_type: type[BaseException] | None, exc_val: BaseException | None, exc_tb: TracebackType | None
    ) -> None:
        if exc_val is not None and self.end_time is None:
            if self._record_exception:
                self.record_exception(exc_val, escaped=True)
            if self._set_status_on_exception:
                # The exception's own text is its author's code.
                with _ADD:
                    self.set_status(StatusCode.ERROR, f"{type(exc_val).__name__}: {exc_val}")
        super().__exit__(exc_type, exc_val, exc_tb)

    def end(self, end_time: int | None = None) -> None:
        if self.end_time is not None:
            return
        self.end_time = time.time_ns() if end_time is None else end_time
        if self.on_end is not None or self._trace is not None:
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

    def discard(self) -> None:
        """It will not be kept: let go of what it holds, and take nothing more."""
        self._discarded = True
        self.attributes, self.events, self._links, self._status = {}, None, None, None

    def _set_all(self, attributes: Mapping[str, Any]) -> int:
        own, limits = self.attributes, self._limits
        most, longest = limits.max_span_attributes, limits.max_span_attribute_length
        if longest is None:
            longest = sys.maxsize
        is_weighed = self._trace is not None
        fits_whole = most is None or len(own) + len(attributes) <= most
        size = 0
        for key, value in attributes.items():
            kind = type(value)
            # The common case, without a call for each.
            if (
                fits_whole
                and type(key) is str
                and key
                and key not in own
                and (len(value) <= longest if kind is str else kind in _NUMBERS)
            ):
                own[key] = value
                if is_weighed:
                    size += _BYTES_PER_VALUE + len(key) + _size_of(value)
            else:
                size += self._set(key, value)
        return size

    def _set(self, key: str, value: AttributeValue) -> int:
        """Set an attribute as the SDK would; returns how many bytes more that are."""
        limits = self._limits
        is_valid = type(key) is str and key
        if not (is_valid and (type(value) in _NUMBERS or _is_plain(value, limits.max_span_attribute_length))):
            cleaned = _bounded({key: value}, None, limits.max_span_attribute_length)
            if key not in cleaned:
                return 0
            value = cleaned[key]
        size = _size_of(value)
        attributes = self.attributes
        if key in attributes:
            size -= _size_of(attributes.pop(key))
        else:
            size += _BYTES_PER_VALUE + len(key)
            if len(attributes) == limits.max_span_attributes:
                size -= self._push_out_attribute()
                if not limits.max_span_attributes:
                    return 0
        attributes[key] = value
        return size

    def _push_out_attribute(self) -> int:
        self._count_dropped("_attributes")
        oldest = next(iter(self.attributes), None)
        if oldest is None:
            return 0
        return _BYTES_PER_VALUE + len(oldest) + _size_of(self.attributes.pop(oldest))

    def _event(self, name: str, attributes: Mapping[str, AttributeValue] | None, timestamp: int) -> int:
        limits = self._limits
        if self.events is None:
            self.events = deque(maxlen=limits.max_events)
        kept = _bounded(attributes, limits.max_event_attributes, limits.max_attribute_length)
        size = _BYTES_PER_EVENT + sys.getsizeof(name) + _size_of(kept)
        pushed_out = self._pushed_out(self.events, "_events")
        self.events.append(HeldEvent(name, kept, timestamp, size))
        if not self.events:
            return 0
        return size if pushed_out is None else size - int(pushed_out.size)

    def _link(self, context: SpanContext, attributes: Mapping[str, AttributeValue] | None) -> int:
        limits = self._limits
        if self._links is None:
            self._links = deque(maxlen=limits.max_links)
        kept = _bounded(attributes, limits.max_link_attributes, limits.max_attribute_length)
        size = _BYTES_PER_EVENT + _size_of(kept)
        pushed_out = self._pushed_out(self._links, "_links")
        self._links.append((Link(context, kept), size))
        if not self._links:
            return 0
        return size if pushed_out is None else size - int(pushed_out[1])

    def _pushed_out(self, items: deque[Any], name: str) -> Any:
        """What the next item pushes out; None for nothing."""
        if len(items) != items.maxlen:
            return None
        self._count_dropped(name)
        return items[0] if items else None

    def _count_dropped(self, name: str) -> None:
        self.dropped[name] = self.dropped.get(name, 0) + 1

    def _weigh(self, size: int) -> None:
        if self._trace is not None:
            self._trace.weigh(0, size)

    def _make(self) -> None:
        if self.made or self.end_time is None:
            return
        self.made = True
        if self._send is not None:
            try:
                self._send(self)
            except Exception as exc:  # noqa: BLE001
                _KEEP.contain(exc)
            return
        with _KEEP:
            context, links = self._place()
            # Before the SDK gives the links other attributes.
            dropped_in_links = [_dropped_of(link.attributes) for link in links]
            if self.denied:
                context = otel_context.set_value(DENIED, True, context)
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
            for event in self.events or ():
                span.add_event(event.name, event.attributes, event.timestamp)
            if self._status is not None:
                span.set_status(self._status)
            self._count_dropped_on(span, dropped_in_links)
            span.end(self.end_time)

    def _count_dropped_on(self, span: Any, in_links: Sequence[int]) -> None:
        """The SDK counts only what it drops itself."""
        for name, count in self.dropped.items():
            _add_dropped(getattr(span, name, None), count)
        in_events = [_dropped_of(each.attributes) for each in self.events or ()]
        for name, counts in (("events", in_events), ("links", in_links)):
            for made, count in zip(getattr(span, name, ()), counts, strict=False):
                _add_dropped(made.attributes, count)

    def _place(self) -> tuple[Context, Sequence[Link]]:
        """The context to make it in, and its links: one to the caller, if nobody sends the caller's span, which
        cannot be the parent then."""
        above = self.parent
        links = [link for link, _ in self._links or ()]
        if above is None:
            return Context(), links
        if not above.trace_flags.sampled and not isinstance(self._above, HeldSpan):
            return Context(), [*links, Link(above)]
        flags = TraceFlags(above.trace_flags | TraceFlags.SAMPLED)
        sent = SpanContext(above.trace_id, above.span_id, above.is_remote, flags, above.trace_state)
        return trace.set_span_in_context(NonRecordingSpan(sent), Context()), links


def _bounded(
    attributes: Mapping[str, AttributeValue] | None, most: int | None, longest: int | None
) -> Mapping[str, AttributeValue]:
    """The attributes as a span of the SDK takes them: those that are valid, and copies of what may change."""
    if not attributes:
        return {}
    # Of the SDK's class, which says how many did not fit.
    found: Mapping[str, Any] = BoundedAttributes(most, attributes, max_value_len=longest)
    if None in found.values():
        dropped = _dropped_of(found)
        found = BoundedAttributes(None, {key: value for key, value in found.items() if value is not None})
        _add_dropped(found, dropped)
    return found


def _dropped_of(bounded: object) -> int:
    """What the SDK's class has counted; 0 for any other."""
    return getattr(bounded, "dropped", 0)


def _add_dropped(bounded: Any, count: int) -> None:
    """To what the SDK's class counts itself; nothing for any other."""
    if count and hasattr(bounded, "dropped"):
        bounded.dropped += count


def _is_plain(value: Any, longest: int | None) -> bool:
    """True for a text, or some, that a span takes as they are."""
    texts = value if type(value) is tuple else (value,)
    if not _ONLY_TEXTS.issuperset(map(type, texts)):
        return False
    return longest is None or not texts or max(map(len, texts)) <= longest


def _size_of(value: Any) -> int:
    """Bytes, about."""
    kind = type(value)
    if kind is str or kind is bytes:
        return sys.getsizeof(value)
    if kind in _NUMBERS:
        return _BYTES_PER_VALUE
    if kind is tuple:
        size = _BYTES_PER_VALUE
        for each in value:
            size += 8 + _size_of(each)
        return size
    if isinstance(value, Mapping):
        return _BYTES_PER_VALUE + sum(_BYTES_PER_VALUE + len(key) + _size_of(each) for key, each in value.items())
    return 0 if value is None else sys.getsizeof(value)

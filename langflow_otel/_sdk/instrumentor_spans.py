"""Spans of other instrumentors: noticed, counted once with ours, and recorded below our runs only."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from contextvars import Token
from typing import Any, Final

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace import Span as SdkSpan
from opentelemetry.sdk.trace import TracerProvider as SdkTracerProvider
from opentelemetry.trace import Link, NonRecordingSpan, Span, SpanKind, Tracer, TracerProvider
from opentelemetry.util.types import AttributeValue

from langflow_otel import _semconv as semconv
from langflow_otel._guard import Guard
from langflow_otel._runs.buffered_spans import DENIED, HeldSpan
from langflow_otel._runs.component import ComponentRun
from langflow_otel._runs.foreign_spans import is_of_a_service, spans_being_reported
from langflow_otel._runs.model_call import call_awaiting_answer
from langflow_otel._runs.parent_context import with_span
from langflow_otel._runs.recorder import active_recorder
from langflow_otel._runs.run import Run, current_run
from langflow_otel._runs.sampling import held_parent
from langflow_otel._runs.tail_sampling import HeldTrace
from langflow_otel._sdk import content_attributes
from langflow_otel._sdk.content_filter import deny_content, is_library, treat_as_library, without_url_values
from langflow_otel._sdk.versions import active_processor, global_tracer_provider

_NOTE = Guard("nested.note")
_DEPTH: Final = 2
"""Of objects in which a callback handler has its tracer."""


class NestedModelSpans(SpanProcessor):
    """Span processor that finds model spans of other instrumentors inside a component, and adds the flow's name and id.

    They are found by their start, since callbacks of models often end in another task or thread. Spans that start where
    content is denied, and spans of this library that end there, are marked for the content filter.

    Works for spans that pass through the provider that it is added to, and that are sent where ours are.
    """

    def __init__(self) -> None:
        # Weakly: there are instrumentors that never end a span whose stream was left.
        self._within: weakref.WeakValueDictionary[int, ComponentRun] = weakref.WeakValueDictionary()
        self._denied: weakref.WeakValueDictionary[int, SdkSpan] = weakref.WeakValueDictionary()
        # Asking two weak dictionaries for their lengths takes as long as all the rest of a span's end.
        self._has_noted = False

    def on_start(self, span: SdkSpan, parent_context: Context | None = None) -> None:
        # The SDK would raise an error in the code that makes the span.
        with _NOTE:
            scope = span.instrumentation_scope
            if scope is not None and scope.name == semconv.SCOPE:
                if otel_context.get_value(DENIED, parent_context):
                    self._note(self._denied, span, span)
                return
            run = current_run()
            if otel_context.get_value(DENIED, parent_context) or (run is not None and is_denied_in(run)):
                self._note(self._denied, span, span)
            if run is None or not _is_sent_with_ours(span):
                return
            if run.flow is not None:
                span.set_attributes(run.flow.named)
            if run.component is not None:
                self._note(self._within, span, run.component)
            if scope is not None and is_library(scope.name):
                note_start(span, run)

    def on_end(self, span: ReadableSpan) -> None:
        try:
            # Of one of ours it is known when it ends.
            if otel_context.get_value(DENIED):
                deny_content(span)
            if self._has_noted:
                self._take_notes(span)
        except Exception as exc:  # noqa: BLE001
            _NOTE.contain(exc)

    def _note(self, notes: MutableMapping[int, Any], span: SdkSpan, note: object) -> None:
        notes[_span_id(span)] = note
        self._has_noted = True

    def _take_notes(self, span: ReadableSpan) -> None:
        if self._denied.pop(_span_id(span), None) is not None:
            deny_content(span)
        component = self._within.pop(_span_id(span), None)
        if component is not None:
            note_tokens(component, span)


def _is_sent_with_ours(span: SdkSpan) -> bool:
    recorder = active_recorder()
    return recorder is None or (span.get_span_context().trace_flags.sampled and recorder.reaches(span))


def is_denied_in(run: Run) -> bool:
    """True if content of other instrumentors' spans is not exported from this run.

    They do not name the part that belongs to a denied tool: so all of it is denied where one may be called."""
    return run.is_denied or run.has_denied_tools


def note_start(span: Any, run: Run) -> None:
    """A span of another instrumentor has started inside the run: it may be of what is a run of ours."""
    reported, call = spans_being_reported(), call_awaiting_answer()
    if (reported is None and call is None) or is_of_a_service(span):
        return
    ours = run.nearest_span
    # One that began another trace is no part of ours.
    if ours is None or ours.get_span_context().trace_id != span.get_span_context().trace_id:
        return
    if reported is not None:
        reported.append(span)
    elif call is not None:
        call.theirs.append(span)


def note_tokens(component: ComponentRun, span: Any) -> None:
    """A span that another instrumentor made inside the component has ended."""
    if span.attributes and any(name in span.attributes for name in semconv.TOKENS_OF_OTHERS):
        component.tokens_are_below = True


def _span_id(span: Any) -> int:
    context = span.get_span_context()
    return context.span_id if context is not None else 0


_watched: weakref.WeakSet[Any] = weakref.WeakSet()


def watch_nested_model_spans(provider: object) -> None:
    """Add :class:`NestedModelSpans` to the provider, once in its life; nothing for a provider of another kind.

    A processor cannot be taken away again; without runs of ours this one does nothing.
    """
    if isinstance(provider, SdkTracerProvider):
        _watch(active_processor(provider), provider)


def _watch(processors: Any, adds: Any) -> None:
    if processors not in _watched:
        _watched.add(processors)
        adds.add_span_processor(NestedModelSpans())


_without_tracer: weakref.WeakSet[type] = weakref.WeakSet()
"""Classes of callback handlers that make no spans."""


def watch_other_tracers(handlers: Sequence[object]) -> None:
    """Watch the providers that may make a span of the call that is about to be reported: the global one, and those of
    LangChain's callback handlers.

    Args:
        handlers: Of the callback manager.
    """
    provider = global_tracer_provider()
    if provider is not None:
        watch_nested_model_spans(provider)
    for handler in handlers:
        if type(handler) not in _without_tracer:
            _watch_tracers_of(handler)


def _watch_tracers_of(handler: Any) -> None:
    found = list(_tracers(handler, _DEPTH))
    if not found:
        _without_tracer.add(type(handler))
    for tracer in found:
        processors = getattr(tracer, "span_processor", None)
        if hasattr(processors, "add_span_processor"):
            _watch(processors, processors)


def _tracers(holder: Any, depth: int) -> Iterator[Any]:
    for value in _values(holder):
        if isinstance(value, Tracer):
            yield value
        elif depth > 1:
            yield from _tracers(value, depth - 1)


def _values(holder: Any) -> list[Any]:
    """Values of an object's own attributes, in its dictionary or in slots."""
    slots = [name for cls in type(holder).__mro__ for name in cls.__dict__.get("__slots__", ())]
    return [*getattr(holder, "__dict__", {}).values(), *(getattr(holder, name, None) for name in slots)]


# Tracers for other instrumentors


_START = Guard("nested.start")
_ATTACH = Guard("nested.attach")
_DETACH = Guard("nested.detach")


class TracersBelowRuns(TracerProvider):
    """A provider to hand to an instrumentor. Outside of our runs, and in a flow that is not sampled, its spans
    do not record and have the context of the current span.

    There is one instrumentor of a kind per process, and some keep their tracer when they are uninstrumented: the
    provider can be replaced, so that no span goes to one that is shut down.

    Attributes:
        makes_spans: The provider that makes those that record; None if none shall.
        url_paths: True to hand over the paths of called URLs whole. A provider that is not ours has no filter before
            its exporters.
    """

    def __init__(self) -> None:
        self.makes_spans: TracerProvider | None = None
        self.url_paths = False

    def get_tracer(self, instrumenting_module_name: str, *args: Any, **kwargs: Any) -> Tracer:
        with _START:
            treat_as_library(instrumenting_module_name)
        return TracerBelowRuns(self, instrumenting_module_name, *args, **kwargs)


class TracerBelowRuns(Tracer):
    """See :class:`TracersBelowRuns`."""

    def __init__(self, provider: TracersBelowRuns, *args: Any, **kwargs: Any) -> None:
        self._provider = provider
        self._arguments = args, kwargs
        self._made: tuple[TracerProvider, Tracer] | None = None

    def start_span(self, name: str, context: Context | None = None, *args: Any, **kwargs: Any) -> Span:
        with _START:
            attributes = kwargs.get("attributes")
            if attributes and not content_attributes.URLS.isdisjoint(attributes):
                kwargs["attributes"] = without_url_values(attributes, whole_path=self._provider.url_paths)
            span = self._start_below_run(name, context, *args, **kwargs)
            if span is not None:
                return span
        return NonRecordingSpan(trace.get_current_span(context).get_span_context())

    def _start_below_run(self, name: str, context: Context | None, *args: Any, **kwargs: Any) -> Span | None:
        provider, run = self._provider.makes_spans, current_run()
        if provider is None or run is None:
            return None
        tracer = self._made_by(provider)
        context = otel_context.get_current() if context is None else context
        recorder = active_recorder()
        above = trace.get_current_span(context) if recorder is None else recorder.span_above(context, run)
        if run.flow is None or run.flow.sampled:
            return tracer.start_span(name, trace.set_span_in_context(above, context), *args, **kwargs)
        if run.flow.held is None or run.span is None:
            return None
        return _hold(run.flow.held, run, tracer, name, held_parent(above, run), *args, **kwargs)

    def _made_by(self, provider: TracerProvider) -> Tracer:
        made = self._made
        if made is None or made[0] is not provider:
            args, kwargs = self._arguments
            self._made = made = provider, provider.get_tracer(*args, **kwargs)
        return made[1]

    @contextmanager
    def _as_current(self, *args: Any, **kwargs: Any) -> Iterator[Span]:
        on_error = {name: kwargs.get(name, True) for name in ("record_exception", "set_status_on_exception")}
        end_on_exit = kwargs.pop("end_on_exit", True)
        span = self.start_span(*args, **kwargs)
        token: Token[Context] | None = None
        with _ATTACH:
            token = _attach(span)
        try:
            with trace.use_span(span, end_on_exit=end_on_exit, **on_error):
                yield span
        finally:
            if token is not None:
                with _DETACH:
                    otel_context.detach(token)

    # As an attribute, for the base class has it as a decorated generator that mypy cannot compare with this one.
    start_as_current_span: Any = _as_current


def _attach(span: Span) -> Token[Context] | None:
    """Remember the span as the nearest of ours, also for what starts below a span of another provider."""
    if isinstance(span, NonRecordingSpan):
        return None
    return otel_context.attach(with_span(span, otel_context.get_current()))


def _hold(
    held: HeldTrace,
    run: Run,
    tracer: Tracer,
    name: str,
    above: Span,
    kind: SpanKind = SpanKind.INTERNAL,
    attributes: Mapping[str, AttributeValue] | None = None,
    links: Sequence[Link] | None = None,
    start_time: int | None = None,
    record_exception: bool = True,
    set_status_on_exception: bool = True,
    *_: Any,
    **__: Any,
) -> HeldSpan:
    if run.flow is not None:
        attributes = {**run.flow.named, **(attributes or {})}
    span = held.start_span(
        tracer,
        name,
        above,
        kind=kind,
        attributes=attributes,
        links=links,
        start_time=start_time,
        record_exception=record_exception,
        set_status_on_exception=set_status_on_exception,
    )
    if run.component is not None:
        span.on_end = functools.partial(note_tokens, run.component)
    span.denied = is_denied_in(run)
    note_start(span, run)
    return span

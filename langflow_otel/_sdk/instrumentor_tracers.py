"""Tracers for other instrumentors: they record below a run of ours, and nowhere else."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import Token
from typing import Any

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, NonRecordingSpan, Span, SpanKind, Tracer, TracerProvider
from opentelemetry.util.types import AttributeValue

from langflow_otel._guard import Guard
from langflow_otel._runs.buffered_spans import HeldSpan
from langflow_otel._runs.parent_context import with_span
from langflow_otel._runs.recorder import active_recorder
from langflow_otel._runs.run import Run, current_run
from langflow_otel._runs.sampling import held_parent
from langflow_otel._runs.tail_sampling import HeldTrace
from langflow_otel._sdk import content_attributes
from langflow_otel._sdk.instrumentor_content import treat_as_library, without_url_values
from langflow_otel._sdk.instrumentor_spans import is_denied_in, note_start, note_tokens

_START = Guard("nested.start")
_ATTACH = Guard("nested.attach")
_DETACH = Guard("nested.detach")


class TracersBelowRuns(TracerProvider):
    """A provider to hand to an instrumentor. Outside of our runs, and in a flow that is not sampled, its spans
    do not record and stand for the span that is current anyway.

    Instrumentors are there once per process, and some do not let go of their tracer when they are taken away:
    what makes the spans can be exchanged, so that no span goes to a provider that is closed.

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

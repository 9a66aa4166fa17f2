"""Tracers for other instrumentors: they record below a run of ours, and nowhere else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import NonRecordingSpan, Span, Tracer, TracerProvider

from langflow_otel.export.content import treat_as_library
from langflow_otel.recording.runs import current_run


class TracersBelowRuns(TracerProvider):
    """A provider to hand to an instrumentor. Outside of our runs, and in a flow that is not sampled, its spans
    do not record and stand for the span that is current anyway.

    Instrumentors are there once per process, and some do not let go of their tracer when they are taken away:
    what makes the spans can be exchanged, so that no span goes to a provider that is closed.

    Attributes:
        makes_spans: The provider that makes those that record; None if none shall.
    """

    def __init__(self) -> None:
        self.makes_spans: TracerProvider | None = None

    def get_tracer(self, instrumenting_module_name: str, *args: Any, **kwargs: Any) -> Tracer:
        treat_as_library(instrumenting_module_name)
        return TracerBelowRuns(self, instrumenting_module_name, *args, **kwargs)


class TracerBelowRuns(Tracer):
    """See :class:`TracersBelowRuns`."""

    def __init__(self, provider: TracersBelowRuns, *args: Any, **kwargs: Any) -> None:
        self._provider = provider
        self._arguments = args, kwargs
        self._made: tuple[TracerProvider, Tracer] | None = None

    def start_span(self, name: str, context: Context | None = None, *args: Any, **kwargs: Any) -> Span:
        provider, run = self._provider.makes_spans, current_run()
        if provider is None or run is None or (run.flow is not None and not run.flow.sampled):
            return NonRecordingSpan(trace.get_current_span(context).get_span_context())
        return self._made_by(provider).start_span(name, context, *args, **kwargs)

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
        with trace.use_span(self.start_span(*args, **kwargs), end_on_exit=end_on_exit, **on_error) as span:
            yield span

    # As an attribute, for the base class has it as a decorated generator that mypy cannot compare with this one.
    start_as_current_span: Any = _as_current

"""Instrumentation for one command: on at its start, everything sent and off at its end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.sdk.trace import SpanProcessor

from langflow_otel.export.providers import build_tracer_provider
from langflow_otel.hooks.identity import entry_point
from langflow_otel.instrumentor import LangflowInstrumentor
from langflow_otel.settings import Settings


@contextmanager
def tracing(settings: Settings, *processors: SpanProcessor, own_process: bool = True) -> Iterator[None]:
    """Trace what LangFlow runs inside, to every destination of the settings and to these processors.

    Args:
        own_process: Nobody else sends traces from this process, so our provider becomes the global one
            and spans of other libraries join.
    """
    provider = build_tracer_provider(settings)
    for processor in processors:
        provider.add_span_processor(processor)
    if own_process and isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        trace.set_tracer_provider(provider)
    instrumentor = LangflowInstrumentor()
    if instrumentor.is_instrumented_by_opentelemetry:  # started by opentelemetry-instrument
        instrumentor.uninstrument()
    instrumentor.instrument(tracer_provider=provider, settings=settings)
    token = entry_point.set("cli")
    try:
        yield
    finally:
        entry_point.reset(token)
        instrumentor.uninstrument()
        provider.shutdown()


def destinations(settings: Settings) -> list[str]:
    """Where the traces go, one line each."""
    lines = []
    if settings.otlp is not None:
        lines.append(f"OTLP ({settings.otlp.protocol}): {settings.otlp.endpoint}")
    if settings.trace_file is not None:
        lines.append(f"trace file: {settings.trace_file}")
    return lines

"""Instrumentation for one command: on at its start, everything sent and off at its end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider

from langflow_otel._hooks.facts import entry_point
from langflow_otel._runs.run import end_open_runs
from langflow_otel._sdk.providers import build_tracer_provider
from langflow_otel._settings.settings import Settings
from langflow_otel.instrumentor import LangflowInstrumentor


@dataclass(frozen=True)
class Tracing:
    """What goes on while a command is instrumented."""

    provider: TracerProvider
    instrumentor: LangflowInstrumentor

    @property
    def scrape_url(self) -> str | None:
        """Where the metrics can be scraped; None if nobody asked for that, or if it cannot be listened on."""
        return self.instrumentor.scrape_url

    def flush(self) -> None:
        """Send the spans so far."""
        self.provider.force_flush()

    def give_up(self) -> None:
        """End what goes on as cancelled, and send it: the process is about to end."""
        end_open_runs("shutdown")
        self.flush()


@contextmanager
def tracing(
    settings: Settings,
    *processors: SpanProcessor,
    own_process: bool = True,
    meter_provider: MeterProvider | None = None,
) -> Iterator[Tracing]:
    """Trace and measure what LangFlow runs inside, to every destination of the settings and to these processors.

    Args:
        own_process: Nobody else sends traces from this process, so our provider becomes the global one
            and spans of other libraries join.
        meter_provider: Pushes the metrics, instead of one built from the settings; it is shut down in the end.
    """
    provider = build_tracer_provider(settings)
    for processor in processors:
        provider.add_span_processor(processor)
    if own_process and isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        trace.set_tracer_provider(provider)
    instrumentor = LangflowInstrumentor()
    _turn_off(instrumentor)  # started by opentelemetry-instrument
    with ExitStack() as stack:
        # The other way round: spans first, since the last push of metrics tells how many of them were lost.
        stack.callback(_turn_off, instrumentor)
        if meter_provider is not None:
            stack.callback(meter_provider.shutdown)
        stack.callback(provider.shutdown)
        instrumentor.instrument(tracer_provider=provider, meter_provider=meter_provider, settings=settings)
        stack.callback(entry_point.reset, entry_point.set("cli"))
        yield Tracing(provider, instrumentor)


def _turn_off(instrumentor: LangflowInstrumentor) -> None:
    if instrumentor.is_instrumented_by_opentelemetry:
        instrumentor.uninstrument()


def trace_destinations(settings: Settings) -> list[str]:
    """Where the traces go, one line each."""
    lines = []
    if settings.otlp is not None:
        lines.append(f"OTLP ({settings.otlp.protocol}): {settings.otlp.endpoint}")
    if settings.trace_file is not None:
        lines.append(f"trace file: {settings.trace_file}")
    return lines


def metric_destinations(settings: Settings, scrape_url: str | None) -> list[str]:
    """Where the metrics go, one line each."""
    lines = []
    if settings.metrics_otlp is not None:
        lines.append(f"OTLP ({settings.metrics_otlp.protocol}): {settings.metrics_otlp.endpoint}")
    if scrape_url is not None:
        lines.append(f"scrape (while this runs): {scrape_url}")
    return lines


def destinations(settings: Settings, scrape_url: str | None) -> list[str]:
    """Where everything goes."""
    return [
        *trace_destinations(settings),
        *(f"metrics, {line}" for line in metric_destinations(settings, scrape_url)),
    ]

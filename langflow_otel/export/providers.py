"""Which providers make our spans and metrics: those passed in, our own, or global ones that were found.

LangFlow 1.12 and later may install a global provider that drops foreign scopes, so ours is normally
not global. Contexts are shared all the same: our spans and LangFlow's form one tree.
"""

from __future__ import annotations

import inspect
import sys
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from opentelemetry import metrics, trace
from opentelemetry.metrics import MeterProvider
from opentelemetry.sdk.metrics import Counter, Histogram, ObservableCounter, ObservableGauge, UpDownCounter, _Gauge
from opentelemetry.sdk.metrics import MeterProvider as SdkMeterProvider
from opentelemetry.sdk.metrics.export import ConsoleMetricExporter, MetricExporter, PeriodicExportingMetricReader
from opentelemetry.sdk.trace import TracerProvider as SdkTracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor, SpanExporter
from opentelemetry.trace import TracerProvider

from langflow_otel.export.content import ContentFilter
from langflow_otel.export.counting import CountingBatchSpanProcessor, CountingMetricExporter, CountingSpanExporter
from langflow_otel.export.otlp import otlp_exporter
from langflow_otel.export.refusals import raise_too_large
from langflow_otel.export.resources import langflow_resource
from langflow_otel.export.sampling import let_recorder_decide
from langflow_otel.export.store_histograms import READ_FROM_STORE, StoreHistograms, store_has_what_is_wanted
from langflow_otel.recording.store import MemoryStore
from langflow_otel.settings import Settings

_INSTRUMENTS: Final = (Counter, Histogram, ObservableCounter, ObservableGauge, UpDownCounter, _Gauge)


Provider = TypeVar("Provider")


@dataclass(frozen=True)
class Choice(Generic[Provider]):
    """The provider that was chosen, and why.

    Attributes:
        own: The SDK provider that we made and must close; None if it is somebody else's.
        from_store: Names of histograms that need no instrument, since what is pushed is read from the store.
    """

    provider: Provider
    own: Any
    reason: str
    from_store: frozenset[str] = frozenset()

    def shutdown(self) -> None:
        """Send what is there and close the provider if it is ours; leave anybody else's alone."""
        if self.own is not None:
            self.own.shutdown()


def choose_tracer_provider(settings: Settings, given: TracerProvider | None) -> Choice[TracerProvider] | None:
    """None if instrumentation is off, or if spans would have nowhere to go."""
    if settings.sdk_disabled or settings.enabled == "false":
        return None
    if given is not None:
        return Choice(given, None, "the tracer provider that was passed in")
    if settings.spans_have_destination:
        own = build_tracer_provider(settings)
        return Choice(own, own, "our own tracer provider, built from the environment")
    found = trace.get_tracer_provider()
    if isinstance(found, SdkTracerProvider):
        return Choice(found, None, "the global SDK tracer provider; no destination of our own is configured")
    return None


def build_tracer_provider(settings: Settings) -> SdkTracerProvider:
    """A provider with every destination of the settings. Samplers, limits and batch sizes come from the
    standard variables, which the SDK reads itself."""
    provider = SdkTracerProvider(resource=langflow_resource(settings))
    if settings.samples:
        let_recorder_decide(provider, per_flow=bool(settings.sampling))
    if settings.otlp is not None:
        provider.add_span_processor(_batches(raise_too_large(otlp_exporter(settings.otlp, "traces")), settings))
    if settings.trace_file is not None:
        from langflow_otel.export.trace_file import TraceFileExporter

        provider.add_span_processor(_batches(TraceFileExporter(settings.trace_file), settings))
    if settings.console:
        provider.add_span_processor(SimpleSpanProcessor(ContentFilter(ConsoleSpanExporter(), settings)))
    return provider


def _batches(exporter: SpanExporter, settings: Settings) -> CountingBatchSpanProcessor:
    return CountingBatchSpanProcessor(CountingSpanExporter(ContentFilter(exporter, settings)))


def choose_meter_provider(
    settings: Settings, given: MeterProvider | None, store: MemoryStore | None = None
) -> Choice[MeterProvider] | None:
    """None if metrics are off, or are not to be pushed. A provider of our own takes histograms from the store, if
    there is one."""
    if settings.sdk_disabled or settings.enabled == "false":
        return None
    if given is not None:
        return Choice(given, None, "the meter provider that was passed in")
    if settings.metrics_are_pushed:
        read = store if store_has_what_is_wanted() else None
        own = build_meter_provider(settings, read)
        reason = "our own meter provider, built from the environment"
        return Choice(own, own, reason, frozenset() if read is None else READ_FROM_STORE)
    found = metrics.get_meter_provider()
    if settings.metrics_default and not settings.has_destination and isinstance(found, SdkMeterProvider):
        return Choice(found, None, "the global SDK meter provider; no destination of our own is configured")
    return None


def build_meter_provider(settings: Settings, store: MemoryStore | None = None) -> SdkMeterProvider:
    """A provider that pushes to every destination of the settings. Interval, temporality and aggregation
    come from the standard variables, which the SDK reads itself.

    Args:
        store: Its histograms are pushed with what the SDK collects.
    """
    exporters: list[MetricExporter] = []
    if settings.metrics_otlp is not None:
        exporters.append(raise_too_large(otlp_exporter(settings.metrics_otlp, "metrics")))
    if settings.metrics_console:
        exporters.append(ConsoleMetricExporter())
    readers = [_reader(exporter, None if store is None else StoreHistograms(store)) for exporter in exporters]
    return SdkMeterProvider(metric_readers=readers, resource=langflow_resource(settings))


def _reader(exporter: MetricExporter, histograms: StoreHistograms | None) -> PeriodicExportingMetricReader:
    kwargs: dict[str, Any] = {}
    # Newer SDKs count what is past 2,000 series of an instrument together. How many there are is for
    # LANGFLOW_OTEL_MAX_FLOWS to say, and the scrape has them all.
    if "cardinality_limits" in inspect.signature(PeriodicExportingMetricReader).parameters:
        kwargs["cardinality_limits"] = dict.fromkeys(_INSTRUMENTS, sys.maxsize)
    return PeriodicExportingMetricReader(CountingMetricExporter(exporter, histograms), **kwargs)


__all__ = [
    "Choice",
    "build_meter_provider",
    "build_tracer_provider",
    "choose_meter_provider",
    "choose_tracer_provider",
]

"""Chooses and builds the providers of spans and metrics: passed in, the library's own, or global.

LangFlow 1.12 and later may install a global provider that drops foreign scopes, so ours is normally
not global. Contexts are shared all the same: our spans and LangFlow's form one tree.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from opentelemetry import metrics, trace
from opentelemetry.metrics import MeterProvider
from opentelemetry.sdk.metrics import MeterProvider as SdkMeterProvider
from opentelemetry.sdk.metrics.export import ConsoleMetricExporter, MetricExporter, PeriodicExportingMetricReader
from opentelemetry.sdk.trace import SpanLimits, SpanProcessor
from opentelemetry.sdk.trace import TracerProvider as SdkTracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor, SpanExporter
from opentelemetry.trace import TracerProvider

from langflow_otel._content.limits import MAX_SPAN_TEXT
from langflow_otel._metrics.store import MemoryStore
from langflow_otel._sdk.batches import (
    CountingBatchSpanProcessor,
    CountingMetricExporter,
    CountingSpanExporter,
    raise_too_large,
)
from langflow_otel._sdk.content_filter import ContentFilter
from langflow_otel._sdk.instrumentor_spans import watch_nested_model_spans
from langflow_otel._sdk.otlp import otlp_exporter
from langflow_otel._sdk.resource import langflow_resource
from langflow_otel._sdk.sampling import let_recorder_decide
from langflow_otel._sdk.store_metrics import READ_FROM_STORE, StoreMetrics, store_has_what_is_wanted
from langflow_otel._sdk.versions import has_ended, no_cardinality_limits
from langflow_otel._settings.masking import one_line, shown_value
from langflow_otel._settings.settings import Settings
from langflow_otel._settings.standard import accepted_environment
from langflow_otel._settings.standard_variables import names_for

logger = logging.getLogger("langflow_otel")


Provider = TypeVar("Provider")
Made = TypeVar("Made")

_NOT_SENT: Final = (
    "langflow-otel: %s are not sent%s: the OpenTelemetry SDK does not start with its settings (%s: %s). %s. "
    "Everything else works."
)
_WORDS: Final = {"TRACES": "spans", "METRICS": "metrics", "LOGS": "log lines"}


@dataclass(frozen=True)
class Choice(Generic[Provider]):
    """The provider that was chosen, and why.

    Attributes:
        own: The SDK provider that this library built and must shut down; None for any other.
        from_store: Names of histograms that need no instrument, since what is pushed is read from the store.
    """

    provider: Provider
    own: Any
    reason: str
    from_store: frozenset[str] = frozenset()

    def shutdown(self) -> None:
        """Export what waits and shut the provider down, if it is the library's own; any other stays open."""
        if self.own is not None:
            self.own.shutdown()


def unless_refused(signal: str, choose: Callable[[], Choice[Provider] | None]) -> Choice[Provider] | None:
    """What is chosen for a signal (``TRACES``, ``METRICS``, ``LOGS``); None, and one line in the log, if it cannot be
    made: the other signals go on without it."""
    try:
        return choose()
    except Exception as exc:  # noqa: BLE001 - the SDK raises anything for a variable that it does not accept
        _log_refused(signal, "", exc)
        return None


def made(signal: str, makers: Mapping[str, Callable[[], Made]]) -> dict[str, Made]:
    """What can be made for the destinations of a signal, each by itself.

    Args:
        makers: By destination, in words.

    Raises:
        Exception: What the SDK raised for the first of them, if none can be made.
    """
    found: dict[str, Made] = {}
    errors: dict[str, Exception] = {}
    for destination, make in makers.items():
        try:
            found[destination] = make()
        except Exception as exc:  # noqa: BLE001 - the SDK raises anything for a variable that it does not accept
            errors[destination] = exc
    if errors and not found:
        raise next(iter(errors.values()))
    for destination, error in errors.items():
        _log_refused(signal, f" {destination}", error)
    return found


def _log_refused(signal: str, destination: str, exc: Exception) -> None:
    # What is known to be refused has never reached the SDK: so the one that is refused is not known here.
    texts = {name: os.environ[name] for name in names_for(signal) if os.environ.get(name, "").strip()}
    shown = one_line(", ".join(f"{name}={one_line(shown_value(name, text))}" for name, text in texts.items()))
    which = f"Set for them: {shown}" if shown else "None of their variables is set"
    logger.error(_NOT_SENT, _WORDS[signal], destination, type(exc).__name__, one_line(exc), which)


def choose_tracer_provider(settings: Settings, given: TracerProvider | None) -> Choice[TracerProvider] | None:
    """Choose the tracer provider; None if instrumentation is off, or if spans have no destination."""
    if settings.sdk_disabled or settings.enabled == "false":
        return None
    if given is not None:
        return Choice(given, None, "the tracer provider that was passed in")
    if settings.spans_have_destination:
        own = build_tracer_provider(settings)
        return Choice(own, own, "our own tracer provider, built from the environment")
    with accepted_environment():
        found = trace.get_tracer_provider()
    if isinstance(found, SdkTracerProvider) and not has_ended(found):
        return Choice(found, None, "the global SDK tracer provider; no destination of our own is configured")
    return None


def build_tracer_provider(settings: Settings) -> SdkTracerProvider:
    """A provider with every destination of the settings that can be made. Samplers, limits and batch sizes come from
    the standard variables, which the SDK reads itself.

    Raises:
        Exception: Whatever the SDK raises; nothing is left open then.
    """
    with accepted_environment():
        provider = SdkTracerProvider(resource=langflow_resource(settings), span_limits=_span_limits(settings))
        if settings.samples:
            let_recorder_decide(provider, per_flow=bool(settings.sampling))
        # Before the exporters: what it notes at a span's end, they have to know.
        watch_nested_model_spans(provider)
        try:
            for processor in made("TRACES", _span_processors(settings)).values():
                provider.add_span_processor(processor)
        except Exception:
            provider.shutdown()
            raise
    return provider


def _span_processors(settings: Settings) -> dict[str, Callable[[], SpanProcessor]]:
    otlp, path = settings.otlp, settings.trace_file
    makers: dict[str, Callable[[], SpanProcessor]] = {}
    if otlp is not None:
        makers["by OTLP"] = lambda: _batches(raise_too_large(otlp_exporter(otlp, "traces")), settings)
    if path is not None:
        from langflow_otel._sdk.trace_file import TraceFileExporter

        makers["to the trace file"] = lambda: _batches(TraceFileExporter(path), settings)
    if settings.console:
        makers["to the console"] = lambda: SimpleSpanProcessor(ContentFilter(ConsoleSpanExporter(), settings))
    return makers


def _span_limits(settings: Settings) -> SpanLimits:
    """Those of the standard variables. Without one for the length of texts, what comes past us is cut as well: spans of
    other instrumentors, and what is set on ours by OpenTelemetry's own API."""
    if os.environ.get("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT"):
        return SpanLimits()
    return SpanLimits(max_attribute_length=max(MAX_SPAN_TEXT, settings.content_length))


def _batches(exporter: SpanExporter, settings: Settings) -> CountingBatchSpanProcessor:
    return CountingBatchSpanProcessor(CountingSpanExporter(ContentFilter(exporter, settings)))


def choose_meter_provider(
    settings: Settings, given: MeterProvider | None, store: MemoryStore | None = None
) -> Choice[MeterProvider] | None:
    """Choose the meter provider; None if metrics are off or are not pushed.

    The library's own provider reads histograms and counters from the store, if there is one."""
    if settings.sdk_disabled or settings.enabled == "false":
        return None
    if given is not None:
        return Choice(given, None, "the meter provider that was passed in")
    if settings.metrics_are_pushed:
        with accepted_environment():
            read = store if store_has_what_is_wanted() else None
        own = build_meter_provider(settings, read)
        reason = "our own meter provider, built from the environment"
        return Choice(own, own, reason, frozenset() if read is None else READ_FROM_STORE)
    with accepted_environment():
        found = metrics.get_meter_provider()
    is_usable = isinstance(found, SdkMeterProvider) and not has_ended(found)
    if settings.metrics_default and not settings.has_destination and is_usable:
        return Choice(found, None, "the global SDK meter provider; no destination of our own is configured")
    return None


def build_meter_provider(settings: Settings, store: MemoryStore | None = None) -> SdkMeterProvider:
    """A provider that pushes to every destination of the settings. Interval, temporality and aggregation
    come from the standard variables, which the SDK reads itself.

    Args:
        store: Its histograms and counters are pushed with what the SDK collects.

    Raises:
        Exception: Whatever the SDK raises; nothing is left open then.
    """
    with accepted_environment():
        resource = langflow_resource(settings)
        readers = list(made("METRICS", _readers(settings, store)).values())
        try:
            return SdkMeterProvider(metric_readers=readers, resource=resource)
        except Exception:
            for reader in readers:
                reader.shutdown()
            raise


def _readers(settings: Settings, store: MemoryStore | None) -> dict[str, Callable[[], PeriodicExportingMetricReader]]:
    otlp = settings.metrics_otlp
    makers: dict[str, Callable[[], PeriodicExportingMetricReader]] = {}
    if otlp is not None:
        makers["by OTLP"] = lambda: _reader(raise_too_large(otlp_exporter(otlp, "metrics")), store)
    if settings.metrics_console:
        makers["to the console"] = lambda: _reader(ConsoleMetricExporter(), store)
    return makers


def _reader(exporter: MetricExporter, store: MemoryStore | None) -> PeriodicExportingMetricReader:
    of_store = None if store is None else StoreMetrics(store)
    # LANGFLOW_OTEL_MAX_FLOWS limits the series, and the scrape has them all.
    return PeriodicExportingMetricReader(CountingMetricExporter(exporter, of_store), **no_cardinality_limits())


__all__ = [
    "Choice",
    "build_meter_provider",
    "build_tracer_provider",
    "choose_meter_provider",
    "choose_tracer_provider",
]

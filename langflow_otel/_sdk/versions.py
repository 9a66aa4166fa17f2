"""Differences between versions of the OpenTelemetry SDK and of instrumentation packages, each as a named question.

The SDK from 1.30 to 1.45. What is read here under a private name has no public one in any of these versions; where it
is missing, each function returns what holds without it.

Logs are not stable in the SDK: their module is imported by the functions that need it, and not with this one.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint
from typing import Any, Final

from opentelemetry import trace
from opentelemetry.sdk.metrics import Counter, Histogram, ObservableCounter, ObservableGauge, UpDownCounter, _Gauge
from opentelemetry.sdk.metrics import MeterProvider as SdkMeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

# Providers and processors


def active_processor(provider: object) -> Any:
    """The processor through which a tracer provider passes its spans; None if it is none of the SDK's."""
    return getattr(provider, "_active_span_processor", None)


def processors_in(processor: object) -> tuple[Any, ...]:
    """The processors in one that combines several. It has another tuple after each that is added."""
    found: tuple[Any, ...] = getattr(processor, "_span_processors", ())
    return found


def global_tracer_provider() -> Any:
    """The global provider if one was set; None otherwise. The public function would create one."""
    return getattr(trace, "_TRACER_PROVIDER", None)


_ENDED: Final = ("_shutdown", "done", "_stopped")


def has_ended(provider: object) -> bool:
    """True for a provider of the SDK that was shut down.

    Such as LangFlow's own after its application ended: it would send nothing, and log that for each span or instrument.
    """
    if isinstance(provider, SdkMeterProvider):
        return bool(getattr(provider, "_shutdown", False))
    processors = processors_in(active_processor(provider))
    return bool(processors) and all(map(_is_shut_down, processors))


def _is_shut_down(processor: Any) -> bool:
    exporter = getattr(processor, "span_exporter", None)
    return any(getattr(each, name, False) is True for each in (_batch_of(processor), exporter) for name in _ENDED)


def _batch_of(processor: Any) -> Any:
    """What has the queue of a batch processor: since 1.33 an object inside of it."""
    return getattr(processor, "_batch_processor", processor)


def queue_of(processor: Any) -> Any:
    """The bounded deque of one of the SDK's batch processors."""
    batch = _batch_of(processor)
    return getattr(batch, "_queue", getattr(batch, "queue", ()))


def on_ending_of(processor: type) -> object:
    """The method that is called just before a span ends; None before 1.32, which has none."""
    return getattr(processor, "_on_ending", None)


# Sampling


def local_parent_sampled(sampler: object) -> object:
    """The sampler that a ``ParentBased`` asks below a sampled span of this process."""
    return getattr(sampler, "_local_parent_sampled", None)


def makes_random_trace_ids(generator: object) -> bool:
    """True if an id generator says so; older SDKs do not ask (W3C Trace Context, level 2)."""
    return bool(getattr(generator, "is_trace_id_random", bool)())


# Metrics


_INSTRUMENTS: Final = (Counter, Histogram, ObservableCounter, ObservableGauge, UpDownCounter, _Gauge)


def no_cardinality_limits() -> dict[str, Any]:
    """Arguments of a metric reader that lift its limit of series; none for SDKs without a limit.

    Newer SDKs count what is past 2,000 series of an instrument together.
    """
    if "cardinality_limits" not in inspect.signature(PeriodicExportingMetricReader).parameters:
        return {}
    return {"cardinality_limits": dict.fromkeys(_INSTRUMENTS, sys.maxsize)}


# OTLP exporters


def session_of(exporter: Any) -> Any:
    """The session of ``requests`` that an exporter sends with; None if it sends by other means.

    In 1.45 it is two levels further down than in 1.41.
    """
    transport = getattr(getattr(exporter, "_client", None), "_transport", None)
    return getattr(exporter, "_session", None) or getattr(transport, "_session", None)


def endpoint_of(exporter: object) -> str | None:
    """The address that an OTLP exporter sends to; None for an exporter without one."""
    endpoint = getattr(exporter, "_endpoint", None)
    return endpoint if isinstance(endpoint, str) else None


def replace_grpc_client(exporter: Any, wrap: Callable[[Any], Any]) -> None:
    """Wrap the client of an exporter that sends by gRPC; any other exporter stays as it is."""
    stub = getattr(exporter, "_stub", None)
    if stub is None or getattr(exporter, "_client", None) is None:
        return
    exporter._client = wrap(exporter._client)
    # From 1.36 on the exporter makes another client after it lost its connection.
    exporter._stub = lambda channel: wrap(stub(channel))


def lift_request_size(exporter: Any) -> None:
    """Let the exporter send requests of any size: from 1.44 on it drops those over 64 MiB, as a whole."""
    if hasattr(exporter, "_max_request_size"):
        exporter._max_request_size = 0


# Logs


def console_log_exporter() -> Any:
    """The class of the exporter that prints log records."""
    from opentelemetry.sdk._logs import export

    return getattr(export, "ConsoleLogRecordExporter", None) or export.ConsoleLogExporter


def in_memory_log_exporter() -> Any:
    """The class of the exporter that keeps log records."""
    from opentelemetry.sdk._logs import export

    return getattr(export, "InMemoryLogRecordExporter", None) or export.InMemoryLogExporter


def log_export_success() -> Any:
    """The result of an export of log records that succeeded; its class has had two names."""
    from opentelemetry.sdk._logs import export

    results: Any = getattr(export, "LogRecordExportResult", None) or export.LogExportResult
    return results.SUCCESS


def flush_log_exporter(exporter: Any, timeout_ms: int) -> bool:
    """Flush an exporter of log records. Those of older SDKs have nothing to flush."""
    return bool(getattr(exporter, "force_flush", lambda _: True)(timeout_ms))


def limits_of_records_are_refused(provider: object) -> bool:
    """True if the provider reads the limits of records from the environment for each record, and does not accept them.

    SDKs such as 1.38 and 1.40 do; later ones read them once.
    """
    from opentelemetry.sdk import _logs as sdk

    if hasattr(provider, "_log_record_limits"):
        return False
    limits: Any = getattr(sdk, "LogRecordLimits", None) or sdk.LogLimits
    try:
        limits()
    except ValueError:
        return True
    return False


def loggers_take_fields() -> bool:
    """True if ``Logger.emit`` takes a record's fields as arguments: from 1.38 on. Before, it takes a record."""
    from opentelemetry._logs import Logger

    return "body" in inspect.signature(Logger.emit).parameters


def log_record_class() -> Any:
    """The SDK's class of log records, before 1.38."""
    from opentelemetry.sdk import _logs as sdk

    return sdk.LogRecord  # type: ignore[attr-defined]


def log_records_take_context() -> bool:
    """True if a record takes the context, and not the ids of a span: from 1.35 on."""
    return "context" in inspect.signature(log_record_class()).parameters


# Instrumentation packages


def instrumentor_class(package: object, name: str) -> Any:
    """A class of an instrumentation package; None in a release without it, such as that of httpx2 in older ones."""
    return getattr(package, name, None)


def is_trace_config_of_aiohttp_instrumentor(config: object) -> bool:
    """True for the trace configuration that the aiohttp instrumentor adds to a session."""
    return hasattr(config, "_is_instrumented_by_opentelemetry")


AUTO_INSTRUMENTATION: Final = "opentelemetry.instrumentation.auto_instrumentation"
"""The module that ``opentelemetry-instrument`` imports."""

OPENLLMETRY_CONTENT: Final = "TRACELOOP_TRACE_CONTENT"
"""The variable by which OpenLLMetry records content; read at each call."""

OPENINFERENCE_CONTENT: Final = (
    "OPENINFERENCE_HIDE_INPUTS",
    "OPENINFERENCE_HIDE_OUTPUTS",
    "OPENINFERENCE_HIDE_LLM_INVOCATION_PARAMETERS",
    "OPENINFERENCE_HIDE_LLM_TOOLS",
    "OPENINFERENCE_HIDE_EMBEDDINGS_TEXT",
    "OPENINFERENCE_HIDE_PROMPTS",
    "OPENINFERENCE_HIDE_CHOICES",
    "OPENINFERENCE_HIDE_RETRIEVAL_DOCUMENTS",
)
"""The variables by which OpenInference hides content; read once, when an instrumentor is loaded."""

OPENINFERENCE_VECTORS: Final = ("OPENINFERENCE_HIDE_EMBEDDING_VECTORS", "OPENINFERENCE_HIDE_EMBEDDINGS_VECTORS")
"""The same for vectors: the older and the newer name."""


def is_of_openllmetry(entry: EntryPoint) -> bool:
    """True for an instrumentor of OpenLLMetry: all of its distributions require this package, and only they."""
    return _requires(entry, "opentelemetry-semantic-conventions-ai")


def takes_capture_mode(entry: EntryPoint) -> bool:
    """True for OpenTelemetry's newer GenAI instrumentors, which do not accept the older ``true`` for a capture mode."""
    return _requires(entry, "opentelemetry-util-genai")


def _requires(entry: EntryPoint, package: str) -> bool:
    requires = (entry.dist.requires if entry.dist is not None else None) or ()
    return any(each.startswith(package) for each in requires)

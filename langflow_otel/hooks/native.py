"""What LangFlow itself sends by OTLP, so that nothing is sent twice, or hangs below what is not sent."""

from __future__ import annotations

import sys
from typing import Any, Final

from opentelemetry import metrics, trace
from opentelemetry.trace import Span

PUSHED_BY_LANGFLOW: Final = frozenset(
    {
        "process.cpu.time",
        "process.cpu.utilization",
        "process.memory.usage",
        "process.memory.virtual",
        "process.thread.count",
    }
)
"""Of LangFlow 1.12 and later, while its own telemetry is on."""

_OBSERVABILITY = "lfx.observability"  # LangFlow 1.12 and later
_LANGFLOWS_PROCESSOR = "ApplicationOnlySpanProcessor"
_INSTRUMENTOR = "opentelemetry.instrumentation.system_metrics"


def already_pushed() -> frozenset[str]:
    """Names of metrics that LangFlow's own telemetry pushes from this process right now. It starts after
    this library, so ask at each export. Nothing is imported or made."""
    # The class must not be called: that would initialise the one instance again.
    known = getattr(sys.modules.get(_INSTRUMENTOR), "SystemMetricsInstrumentor", None)
    instance = getattr(known, "_instance", None)
    if instance is None or not instance.is_instrumented_by_opentelemetry:
        return frozenset()
    return PUSHED_BY_LANGFLOW if _metrics_are_pushed() else frozenset()


def requests_are_pushed() -> bool:
    """True if LangFlow's own telemetry pushes the durations of requests from this process right now."""
    return _OBSERVABILITY in sys.modules and _metrics_are_pushed()


def is_exported(span: Span) -> bool:
    """False for a span that does not record, or that LangFlow's own exporter drops: it lets only LangFlow's scopes
    pass (1.12 and later), and not FastAPI's own (0.165 and later)."""
    if not span.is_recording():
        return False
    get_scopes = getattr(sys.modules.get(_OBSERVABILITY), "exported_span_scopes", None)
    provider: Any = trace.get_tracer_provider()
    processors = getattr(getattr(provider, "_active_span_processor", None), "_span_processors", ())
    if get_scopes is None or not any(type(each).__name__ == _LANGFLOWS_PROCESSOR for each in processors):
        return True
    scope: Any = getattr(span, "instrumentation_scope", None)
    return scope is None or scope.name in get_scopes()


def _metrics_are_pushed() -> bool:
    provider: Any = metrics.get_meter_provider()
    # Where the SDK keeps them has changed over its versions.
    config = getattr(provider, "_sdk_config", None)
    readers: Any = getattr(provider, "_metric_readers", None) or getattr(config, "metric_readers", ())
    return any(type(reader).__name__ == "PeriodicExportingMetricReader" for reader in readers)

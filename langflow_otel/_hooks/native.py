"""What LangFlow itself sends, so that nothing is sent twice, or hangs below what is not sent."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Final

from opentelemetry import metrics

from langflow_otel._guard import Guard
from langflow_otel._hooks.native_spans import none_is_sent
from langflow_otel._runs.recorder import active_recorder
from langflow_otel._runs.run import StepTokens, step_out, step_outside

_OUTSIDE = Guard("tracers.start")
_CLIENTS = Guard("tracers.end")

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
_AROUND_TRACELOOPS = "_ApplicationScopeFilter"
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


def requests_are_in_default_registry() -> bool:
    """True if LangFlow shows the durations of requests in the default registry of ``prometheus_client``, from this
    process (1.12 and later)."""
    return _OBSERVABILITY in sys.modules and _has_reader("PrometheusMetricReader")


def passes(processor: object, scope: str) -> bool:
    """False for spans that a processor of LangFlow 1.12 and later drops: that of its own exporter lets only LangFlow's
    scopes pass, and not FastAPI's own (0.165 and later), the one around Traceloop's all but these."""
    name = type(processor).__name__
    get_scopes = getattr(sys.modules.get(_OBSERVABILITY), "exported_span_scopes", None)
    if get_scopes is None or name not in (_LANGFLOWS_PROCESSOR, _AROUND_TRACELOOPS):
        return True
    if name == _LANGFLOWS_PROCESSOR:
        return not none_is_sent() and scope in get_scopes()
    return scope not in sys.modules[_OBSERVABILITY].APPLICATION_INSTRUMENTATION_SCOPES


async def start_tracers(wrapped: Callable[..., Any], _: Any, args: Any, kwargs: Any) -> Any:
    """``TracingService.start_tracers``: at the start of a run LangFlow makes its tracers for Langfuse, Phoenix and so
    on, which call their servers and start spans. These are no calls of the flow's."""
    tokens: StepTokens | None = None
    with _OUTSIDE:
        tokens = step_outside()
    try:
        return await wrapped(*args, **kwargs)
    finally:
        with _OUTSIDE:
            if tokens is not None:
                step_out(tokens)


def http_clients_disabled(wrapped: Callable[..., Any], _: Any, args: Any, kwargs: Any) -> Any:
    """``HTTPClientInstrumentationManager.disable``: at the end of a run LangFlow's tracers for Phoenix and LangWatch
    take the instrumentors of HTTP clients away, ours as well."""
    result = wrapped(*args, **kwargs)
    with _CLIENTS:
        recorder = active_recorder()
        if recorder is not None and recorder.restore_clients is not None:
            recorder.restore_clients()
    return result


def _metrics_are_pushed() -> bool:
    return _has_reader("PeriodicExportingMetricReader")


def _has_reader(name: str) -> bool:
    provider: Any = metrics.get_meter_provider()
    # Where the SDK keeps them has changed over its versions.
    config = getattr(provider, "_sdk_config", None)
    readers: Any = getattr(provider, "_metric_readers", None) or getattr(config, "metric_readers", ())
    return any(type(reader).__name__ == name for reader in readers)

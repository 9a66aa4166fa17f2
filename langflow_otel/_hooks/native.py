"""LangFlow's own telemetry: what it exports, and which of its spans are exported."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Any, Final, cast

from opentelemetry import metrics
from opentelemetry.trace import SpanContext

from langflow_otel._guard import Guard
from langflow_otel._hooks.patching import Hook, Patches
from langflow_otel._runs import sent_traces
from langflow_otel._runs.recorder import active_recorder
from langflow_otel._runs.run import StepTokens, step_out, step_outside
from langflow_otel._settings.settings import Settings

_OUTSIDE = Guard("tracers.start")
_CLIENTS = Guard("tracers.end")
_SPAN_ENDED = Guard("native_spans.end")

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
        if recorder is not None and recorder.other_instrumentors is not None:
            recorder.other_instrumentors.restore()
    return result


def _metrics_are_pushed() -> bool:
    return _has_reader("PeriodicExportingMetricReader")


def _has_reader(name: str) -> bool:
    provider: Any = metrics.get_meter_provider()
    # Where the SDK keeps them has changed over its versions.
    config = getattr(provider, "_sdk_config", None)
    readers: Any = getattr(provider, "_metric_readers", None) or getattr(config, "metric_readers", ())
    return any(type(reader).__name__ == name for reader in readers)


WAIT_S: Final = 60.0
"""So long the spans of a trace wait for a flow, from the last of them on."""
MAX_WAITING: Final = 2000
"""Spans that wait at once in this process."""
MAX_WAITING_IN_TRACE: Final = 200
MAX_TRACES: Final = 10_000
"""With a flow that are remembered: the request's span ends last."""

FLOW_SPAN: Final = "flow.execute"
"""LangFlow's own span of a flow run."""

_Span = Any
"""The SDK's ``ReadableSpan``, which a span processor gets at a span's end."""
Send = Callable[[_Span], Any]
_Waiting = deque[tuple[Send, _Span]]


class NativeSpans:
    """Sends, delays or drops LangFlow's own spans: all, those of traces with a flow, or none. One per process.

    LangFlow 1.12 and later has a span for each request and each SQL statement, and sends them by a span processor of a
    class of its own. Its ``on_end`` is wrapped, so other processors get the same spans as before.

    A request's span ends after a flow that it runs; its SQL, or a request that only starts a flow, may end before. So
    spans of a trace without a flow wait for one, and are dropped after some time.

    Args:
        hooks: Where LangFlow hands an ended span to its exporter.
        now_s: A clock that only goes forward, in seconds.

    Attributes:
        none: True if none of them is sent.
    """

    none = False

    def __init__(self, hooks: tuple[Hook, ...] = (), now_s: Callable[[], float] = time.monotonic) -> None:
        self._patches = Patches(hooks)
        self._now_s = now_s
        self._lock = threading.Lock()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._lock._at_fork_reinit)  # type: ignore[attr-defined]
        self._with_flow: OrderedDict[int, None] = OrderedDict()
        self._waiting: OrderedDict[int, tuple[float, _Waiting]] = OrderedDict()
        self._number = 0

    @property
    def on(self) -> list[str]:
        """Names of the hooks that are applied now."""
        return self._patches.on

    @property
    def waiting(self) -> int:
        """How many spans wait now."""
        return self._number

    def switch_on(self, settings: Settings) -> None:
        """Apply ``LANGFLOW_OTEL_NATIVE_SPANS`` from here on; with ``keep`` nothing is wrapped."""
        global _active
        if settings.native_spans == "keep":
            return
        self.none = settings.native_spans == "none"
        _active = self
        if not self.none:
            sent_traces.listener = self.flow_in
        self._patches.apply()

    def switch_off(self) -> None:
        """Put everything back. What still waits is not sent."""
        global _active
        _active = sent_traces.listener = None
        self._patches.undo()
        with self._lock:
            left = [span for _, spans in self._waiting.values() for span in spans]
            self._waiting.clear()
            self._with_flow.clear()
            self._number = 0
        _give_up(left)

    def flow_in(self, trace_id: int) -> None:
        """That trace has a flow: what waited of it is sent, and so is what follows."""
        with self._lock:
            self._with_flow[trace_id] = None
            self._with_flow.move_to_end(trace_id)
            if len(self._with_flow) > MAX_TRACES:
                self._with_flow.popitem(last=False)
            _, spans = self._waiting.pop(trace_id, (0.0, ()))
            self._number -= len(spans)
        for send, span in spans:
            send(span)

    def holds(self, send: Send, span: _Span) -> bool:
        """True if that span is not to be sent, or not now: there is no flow in its trace yet.

        Args:
            send: Sends it, if there is one later.
            span: It has ended.
        """
        if self.none:
            _give_up([(send, span)])
            return True
        trace_id = _context_of(span).trace_id
        if span.name == FLOW_SPAN:
            self.flow_in(trace_id)
            return False
        given_up: list[tuple[Send, _Span]] = []
        with self._lock:
            if trace_id in self._with_flow:
                return False
            self._wait(trace_id, send, span, given_up)
        _give_up(given_up)
        return True

    def _wait(self, trace_id: int, send: Send, span: _Span, given_up: list[tuple[Send, _Span]]) -> None:
        now_s = self._now_s()
        _, spans = self._waiting.pop(trace_id, (0.0, deque()))
        spans.append((send, span))
        self._waiting[trace_id] = now_s + WAIT_S, spans  # now the last of all
        self._number += 1
        if len(spans) > MAX_WAITING_IN_TRACE:
            given_up.append(spans.popleft())
        oldest_id, (until_s, oldest) = next(iter(self._waiting.items()))
        if oldest_id != trace_id and (until_s <= now_s or self._number > MAX_WAITING):
            del self._waiting[oldest_id]
            given_up.extend(oldest)
        self._number -= len(given_up)


def span_ended(wrapped: Send, _: Any, args: Any, kwargs: Any) -> Any:
    """``ApplicationOnlySpanProcessor.on_end``: one span of LangFlow's has ended."""
    active = _active
    held = False
    if active is not None:
        with _SPAN_ENDED:
            held = active.holds(wrapped, args[0] if args else kwargs["span"])
    return None if held else wrapped(*args, **kwargs)


def _context_of(span: _Span) -> SpanContext:
    return cast("SpanContext", span.get_span_context())  # None only of a span that was made without one


def none_is_sent() -> bool:
    """True while LangFlow's own exporter gets none of its spans."""
    return _active is not None and _active.none and bool(_active.on)


def _give_up(spans: list[tuple[Send, _Span]]) -> None:
    """LangFlow's processor keeps account of each span until it has ended, so it gets them all, these as spans that are
    not sampled."""
    for send, span in spans:
        with _SPAN_ENDED:
            context = _context_of(span)
            send(
                type(span)(
                    span.name,
                    context=SpanContext(context.trace_id, context.span_id, is_remote=False),
                    parent=span.parent,
                    instrumentation_scope=span.instrumentation_scope,
                )
            )


_active: NativeSpans | None = None

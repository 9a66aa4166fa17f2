"""Exporters and processors that count what is lost on the way out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from opentelemetry.sdk.metrics.export import MetricExporter, MetricExportResult, MetricsData
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from langflow_otel.export.store_histograms import StoreHistograms
from langflow_otel.recording.guard import Guard
from langflow_otel.recording.recorder import count_dropped

_COUNT = Guard("traces.count")


class CountingSpanExporter(SpanExporter):
    """The same exporter; spans that it could not export are counted."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = None
        try:
            result = self._exporter.export(spans)
        finally:
            if result is not SpanExportResult.SUCCESS:
                count_dropped("traces", "export_failed", len(spans))
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        return self._exporter.force_flush(timeout_millis)


class CountingBatchSpanProcessor(BatchSpanProcessor):
    """The SDK's processor; spans that its full queue pushes out are counted, and those that are left in it when the
    SDK has waited long enough for a collector that does not answer."""

    def __init__(self, exporter: SpanExporter) -> None:
        super().__init__(exporter)
        self._waiting = queue_of(self)

    def on_end(self, span: ReadableSpan) -> None:
        # The SDK would hand an error on to whoever ends the span.
        with _COUNT:
            if span.context is not None and span.context.trace_flags.sampled and is_full(self._waiting):
                count_dropped("traces", "queue_full")
        super().on_end(span)

    def shutdown(self) -> None:
        super().shutdown()  # type: ignore[no-untyped-call]
        count_left("traces", self._waiting)


def queue_of(processor: Any) -> Any:
    """The bounded deque of one of the SDK's batch processors; since 1.33 it is one level further down."""
    inner = getattr(processor, "_batch_processor", processor)
    return getattr(inner, "_queue", getattr(inner, "queue", ()))


def is_full(queue: Any) -> bool:
    """True if the next item pushes one out."""
    return bool(queue) and len(queue) == queue.maxlen


def count_left(signal: str, queue: Any) -> None:
    """Nobody sends any more what is left in the queue of a processor that was shut down."""
    left = len(queue)
    if left:
        queue.clear()
        count_dropped(signal, "export_failed", left)


class CountingMetricExporter(MetricExporter):
    """The same exporter; data points that it could not export are counted (cumulative ones are not lost: the
    next export has them again).

    Bound to its process: a forked child inherits its parent's reader, and must not send the parent's numbers.

    Args:
        exporter: Sends.
        histograms: Are sent too; None if the SDK has them all.
    """

    def __init__(self, exporter: MetricExporter, histograms: StoreHistograms | None = None) -> None:
        super().__init__(
            preferred_temporality=exporter._preferred_temporality,
            preferred_aggregation=exporter._preferred_aggregation,
        )
        self._exporter = exporter
        self._histograms = histograms
        self._pid = os.getpid()

    def export(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any) -> MetricExportResult:
        if os.getpid() != self._pid:
            return MetricExportResult.SUCCESS
        if self._histograms is not None:
            metrics_data = self._histograms.added_to(metrics_data)
        result = None
        try:
            result = self._exporter.export(metrics_data, timeout_millis, **kwargs)
        finally:
            if result is not MetricExportResult.SUCCESS:
                count_dropped("metrics", "export_failed", _points_in(metrics_data))
        return result

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
        if os.getpid() == self._pid:
            self._exporter.shutdown(timeout_millis, **kwargs)

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        return self._exporter.force_flush(timeout_millis)


def _points_in(data: MetricsData) -> int:
    return sum(
        len(metric.data.data_points)
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    )

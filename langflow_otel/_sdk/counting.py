"""Exporters and processors that count what is lost on the way out."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any, NamedTuple

from opentelemetry.sdk.metrics.export import MetricExporter, MetricExportResult, MetricsData
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from langflow_otel._guard import Guard
from langflow_otel._runs.recorder import count_dropped
from langflow_otel._sdk.store_metrics import StoreMetrics
from langflow_otel._sdk.too_large import export_in_parts

_COUNT = Guard("traces.count")


class CountingSpanExporter(SpanExporter):
    """The same exporter; spans that it could not export are counted, a batch that is too large is sent in parts."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return export_in_parts(self._exporter.export, spans, "traces", SpanExportResult.SUCCESS)

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


class _Point(NamedTuple):
    """One data point, and what it is part of."""

    resource: Any
    scope: Any
    metric: Any
    point: Any


class CountingMetricExporter(MetricExporter):
    """The same exporter; data points that it could not export are counted (cumulative ones are not lost: the
    next export has them again). What is too large for one request is sent in parts.

    Bound to its process: a forked child inherits its parent's reader, and must not send the parent's numbers.

    Args:
        exporter: Sends.
        of_store: Are sent too; None if the SDK has them all.
    """

    def __init__(self, exporter: MetricExporter, of_store: StoreMetrics | None = None) -> None:
        super().__init__(
            preferred_temporality=exporter._preferred_temporality,
            preferred_aggregation=exporter._preferred_aggregation,
        )
        self._exporter = exporter
        self._of_store = of_store
        self._pid = os.getpid()

    def export(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any) -> MetricExportResult:
        if os.getpid() != self._pid:
            return MetricExportResult.SUCCESS
        if self._of_store is not None:
            metrics_data = self._of_store.added_to(metrics_data)

        def export(points: Sequence[_Point]) -> MetricExportResult:
            return self._exporter.export(_with_points(metrics_data, points), timeout_millis, **kwargs)

        return export_in_parts(export, list(_points_of(metrics_data)), "metrics", MetricExportResult.SUCCESS)

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
        if os.getpid() == self._pid:
            self._exporter.shutdown(timeout_millis, **kwargs)

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        return self._exporter.force_flush(timeout_millis)


def _points_of(data: MetricsData) -> Iterator[_Point]:
    for resource in data.resource_metrics:
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                for point in metric.data.data_points:
                    yield _Point(resource, scope, metric, point)


def _with_points(data: MetricsData, points: Sequence[_Point]) -> MetricsData:
    """The metrics with these of their points, which are in the order of the metrics."""
    if len(points) == sum(1 for _ in _points_of(data)):
        return data
    resources = []
    for resource, of_resource in _grouped(points, "resource"):
        scopes = []
        for scope, of_scope in _grouped(of_resource, "scope"):
            metrics = [
                replace(metric, data=replace(metric.data, data_points=[each.point for each in of_metric]))
                for metric, of_metric in _grouped(of_scope, "metric")
            ]
            scopes.append(replace(scope, metrics=metrics))
        resources.append(replace(resource, scope_metrics=scopes))
    return MetricsData(resource_metrics=resources)


def _grouped(points: Sequence[_Point], field: str) -> Iterator[tuple[Any, list[_Point]]]:
    for _, group in groupby(points, key=lambda each: id(getattr(each, field))):
        found = list(group)
        yield getattr(found[0], field), found

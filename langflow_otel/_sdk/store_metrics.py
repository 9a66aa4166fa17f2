"""Pushes histograms and counters from the cells of the scrape's store, instead of the SDK's instruments.

Recording into a histogram of the SDK takes half as long as a whole span, for each component, and a counter's series is
looked up at each addition. The cells are written anyway, so what is pushed is read from them, once for each push. Data
points are the OpenTelemetry data model's (https://opentelemetry.io/docs/specs/otel/metrics/data-model/), cumulative;
histograms without the optional ``min`` and ``max``.
"""

from __future__ import annotations

import operator
import os
import time
from dataclasses import replace
from typing import Final

from opentelemetry.sdk.metrics import Exemplar
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    HistogramDataPoint,
    Metric,
    MetricsData,
    NumberDataPoint,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.metrics.export import Histogram as HistogramData
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from langflow_otel import _semconv as semconv
from langflow_otel._metrics import catalogue
from langflow_otel._metrics.store import MemoryStore, Series
from langflow_otel._sdk.batches import PausingSequence
from langflow_otel.version import __version__

READ_FROM_STORE: Final = frozenset(
    metric.name
    for metric in catalogue.RECORDED
    # LangFlow may push the duration of requests itself: then its cells are for the scrape alone.
    if metric.kind in ("histogram", "counter") and metric is not catalogue.HTTP_REQUEST_DURATION
)

_DEFAULTS: Final = {
    "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": "cumulative",
    "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION": "explicit_bucket_histogram",
    "OTEL_METRICS_EXEMPLAR_FILTER": "trace_based",
}

_SCOPE: Final = InstrumentationScope(semconv.SCOPE, __version__, semconv.SCHEMA_URL)


def store_has_what_is_wanted() -> bool:
    """True unless the standard variables ask for metrics that the store does not have and the SDK can make: others
    than cumulative ones, with our buckets and with exemplars of sampled spans."""
    wanted = (os.environ.get(name, "").strip().lower() or default for name, default in _DEFAULTS.items())
    return all(map(operator.eq, wanted, _DEFAULTS.values()))


class StoreMetrics:
    """Adds the store's histograms and counters to what the SDK collected.

    Args:
        store: Of this process.
    """

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self._started_ns = time.time_ns()
        self._exemplars_until_s = 0.0

    def added_to(self, data: MetricsData) -> MetricsData:
        """The same metrics of the one resource, and the store's with them."""
        found = self._collect()
        if not found or not data.resource_metrics:
            return data
        resource, *more = data.resource_metrics
        ours = [scope for scope in resource.scope_metrics if scope.scope.name == semconv.SCOPE]
        others = [scope for scope in resource.scope_metrics if scope.scope.name != semconv.SCOPE]
        first = ours[0] if ours else ScopeMetrics(_SCOPE, [], semconv.SCHEMA_URL)
        scope = replace(first, metrics=[*first.metrics, *found])
        return MetricsData([replace(resource, scope_metrics=[*others, scope]), *more])

    def _collect(self) -> list[Metric]:
        now_s, since_s = time.time(), self._exemplars_until_s
        self._exemplars_until_s = now_s
        by_name: dict[str, list[Series]] = {}
        for series in self._store.all_series():
            if series.metric.name in READ_FROM_STORE:
                by_name.setdefault(series.metric.name, []).append(series)
        return [
            Metric(
                name=name,
                description=found[0].metric.description,
                unit=found[0].metric.unit,
                data=self._data(found, now_s, since_s),
            )
            for name, found in by_name.items()
        ]

    def _data(self, found: list[Series], now_s: float, since_s: float) -> HistogramData | Sum:
        if found[0].metric.kind == "counter":
            sums = PausingSequence([self._sum(series, now_s) for series in PausingSequence(found)])
            return Sum(sums, AggregationTemporality.CUMULATIVE, is_monotonic=True)
        points = PausingSequence([self._point(series, now_s, since_s) for series in PausingSequence(found)])
        return HistogramData(points, AggregationTemporality.CUMULATIVE)

    def _sum(self, series: Series, now_s: float) -> NumberDataPoint:
        return NumberDataPoint(
            attributes=dict(series.metric.shown_labels(series.labels)),
            start_time_unix_nano=self._start_ns(series),
            time_unix_nano=int(now_s * 1e9),
            value=self._store.read(series)[0],
        )

    def _point(self, series: Series, now_s: float, since_s: float) -> HistogramDataPoint:
        *buckets, total = self._store.read(series)
        counts = [int(count) for count in buckets]
        return HistogramDataPoint(
            attributes=dict(series.metric.shown_labels(series.labels)),
            start_time_unix_nano=self._start_ns(series),
            time_unix_nano=int(now_s * 1e9),
            count=sum(counts),
            sum=total,
            bucket_counts=counts,
            explicit_bounds=series.metric.buckets,
            min=None,  # type: ignore[arg-type]  # optional in the protocol, and so for the encoder
            max=None,  # type: ignore[arg-type]
            exemplars=[
                Exemplar({}, each.value, int(each.time_s * 1e9), each.span_id, each.trace_id)
                for each in series.exemplars or ()
                if each is not None and each.time_s > since_s
            ],
        )

    def _start_ns(self, series: Series) -> int:
        """When the series began, which backends that add up over restarts take for the time when it was 0."""
        return self._started_ns if series.created_s is None else int(series.created_s * 1e9)

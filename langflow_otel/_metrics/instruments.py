"""One record call, two sinks: the OpenTelemetry instrument and the cells that a scrape reads.

An instrument's series is looked up once and kept by whoever records often. Either sink may be absent.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.metrics import CallbackOptions, Meter, Observation
from opentelemetry.trace import Span, TraceFlags

from langflow_otel import _semconv as semconv
from langflow_otel._metrics.catalogue import Metric, Reading
from langflow_otel._metrics.store import Exemplar, MemoryStore, Series

_READING_LASTS_S = 0.5


class Recording:
    """One series of an instrument, ready to be written to both sinks."""

    __slots__ = ("_attributes", "_bounds", "_cells", "_instrument", "_lock", "_series", "_sum")

    def __init__(self, series: Series, instrument: Any, store: MemoryStore) -> None:
        self._series = series
        self._cells = series.cells
        self._bounds = series.metric.buckets
        self._sum = len(self._bounds) + 1
        self._lock = store.lock
        self._instrument = instrument
        self._attributes = {
            name: int(value) if name == semconv.HTTP_RESPONSE_STATUS_CODE and value.isdigit() else value
            for name, value in series.metric.shown_labels(series.labels)
        }

    def add(self, amount: float = 1.0) -> None:
        """Add to a counter or an up-down counter."""
        with self._lock:
            self._cells[0] += amount
        if self._instrument is not None:
            self._instrument.add(amount, self._attributes)

    def set(self, value: float) -> None:
        """Set a gauge."""
        self._cells[0] = value
        if self._instrument is not None:
            self._instrument.set(value, self._attributes)

    def record(self, value: float, context: Context | None = None, span: Span | None = None) -> None:
        """Put a value into a histogram.

        Args:
            value: In the metric's unit.
            context: Its span becomes the exemplar if it is sampled; default: no exemplar in the scrape, the
                current span in OpenTelemetry.
            span: The exemplar, where it is known without a context.
        """
        bucket = bisect_left(self._bounds, value)
        with self._lock:
            self._cells[bucket] += 1.0
            self._cells[self._sum] += value
        if self._instrument is not None:
            with_span = context if span is None else trace.set_span_in_context(span, context)
            self._instrument.record(value, self._attributes, with_span)
        exemplars = self._series.exemplars
        if exemplars is not None and (context is not None or span is not None):
            shown = (trace.get_current_span(context) if span is None else span).get_span_context()
            if shown.trace_flags & TraceFlags.SAMPLED and shown.is_valid:
                exemplars[bucket] = Exemplar(shown.trace_id, shown.span_id, value, time.time())


Amounts = list[tuple[Recording, float]]


def write_together(added: Amounts, recorded: Amounts) -> None:
    """What one event adds to several series of one store: 2 us for seven of them, and 4 us by a call for each.

    Args:
        added: See :meth:`Recording.add`.
        recorded: See :meth:`Recording.record`; without exemplars.
    """
    with added[0][0]._lock:
        for recording, amount in added:
            recording._cells[0] += amount
        for recording, value in recorded:
            cells = recording._cells
            cells[bisect_left(recording._bounds, value)] += 1.0
            cells[recording._sum] += value
    for recording, amount in added:
        if recording._instrument is not None:
            recording._instrument.add(amount, recording._attributes)
    for recording, value in recorded:
        if recording._instrument is not None:
            recording._instrument.record(value, recording._attributes)


class Instruments:
    """Makes series of metrics, with one OpenTelemetry instrument for each metric.

    Args:
        store: Keeps the cells.
        meter: Makes the OpenTelemetry instruments; None if metrics are only scraped.
        pushed_from_store: Names of metrics whose cells the exporter reads: they need no instrument.
    """

    def __init__(self, store: MemoryStore, meter: Meter | None, pushed_from_store: Collection[str] = ()) -> None:
        self.store = store
        self.meter = meter
        self._pushed_from_store = pushed_from_store
        self._instruments: dict[str, Any] = {}
        self._recordings: dict[tuple[str, tuple[str, ...], bool], Recording] = {}

    def recording(self, metric: Metric, *labels: str, pushed: bool = True) -> Recording:
        """The series with these label values; the same object each time. Without ``pushed`` for the scrape alone."""
        key = (metric.name, labels, pushed)
        found = self._recordings.get(key)
        if found is None:
            series = self.store.series(metric, labels)
            made = Recording(series, self._instrument(metric) if pushed else None, self.store)
            # Two threads may get here at once; both use the one that came first.
            found = self._recordings.setdefault(key, made)
        return found

    def _instrument(self, metric: Metric) -> Any:
        if self.meter is None or metric.name in self._pushed_from_store:
            return None
        with self.store.lock:
            if metric.name not in self._instruments:
                self._instruments[metric.name] = _create(self.meter, metric)
            return self._instruments[metric.name]

    def observe(self, metrics: Sequence[Metric], read: Callable[[], Iterable[Reading]]) -> None:
        """Push these metrics with the values that ``read`` has at the time of each export. One reading
        serves all of them. Called in the exporter's thread."""
        if self.meter is None:
            return
        shared = _SharedReading(read)
        for metric in metrics:
            create = (
                self.meter.create_observable_counter if metric.kind == "counter" else self.meter.create_observable_gauge
            )
            create(metric.name, [shared.callback(metric)], metric.unit, metric.description)


def _create(meter: Meter, metric: Metric) -> Any:
    if metric.kind == "histogram":
        return meter.create_histogram(
            metric.name, metric.unit, metric.description, explicit_bucket_boundaries_advisory=metric.buckets
        )
    create = {
        "counter": meter.create_counter,
        "up_down_counter": meter.create_up_down_counter,
        "gauge": meter.create_gauge,
    }[metric.kind]
    return create(metric.name, metric.unit, metric.description)


class _SharedReading:
    """One reading for all the instruments of one collection."""

    def __init__(self, read: Callable[[], Iterable[Reading]]) -> None:
        self._read = read
        self._read_at_s = float("-inf")
        self._values: dict[str, list[Observation]] = {}

    def callback(self, metric: Metric) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def observations(_: CallbackOptions) -> Iterable[Observation]:
            now_s = time.monotonic()
            if now_s - self._read_at_s > _READING_LASTS_S:
                self._values = _by_metric(self._read())
                self._read_at_s = now_s
            return self._values.get(metric.name, [])

        return observations


def _by_metric(readings: Iterable[Reading]) -> dict[str, list[Observation]]:
    found: dict[str, list[Observation]] = {}
    for reading in readings:
        attributes = dict(zip(reading.metric.labels, reading.labels, strict=True))
        found.setdefault(reading.metric.name, []).append(Observation(reading.value, attributes))
    return found

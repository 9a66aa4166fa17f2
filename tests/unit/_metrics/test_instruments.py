"""One record call, two sinks: both must say the same, from any number of threads."""

from __future__ import annotations

import gc
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    InMemoryMetricReader,
    Sum,
)
from opentelemetry.sdk.metrics.export import Metric as PushedMetric
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from langflow_otel._metrics import catalogue
from langflow_otel._metrics import instruments as instruments_module
from langflow_otel._metrics.catalogue import Cells, Metric, Reading
from langflow_otel._metrics.instruments import Instruments, Recording, write_together
from langflow_otel._metrics.labels import Cap
from langflow_otel._metrics.store import MemoryStore

unhurried = hypothesis_settings(deadline=None)

COUNTER = Metric("a.counter", "counter", "{x}", "Counts", ("one", "two"))
UP_DOWN = Metric("an.up_down_counter", "up_down_counter", "", "Goes up and down", ("one", "two"))
GAUGE = Metric("a.gauge", "gauge", "s", "Is set", ("one", "two"))
HISTOGRAM = Metric("a.histogram", "histogram", "s", "Is recorded", ("one", "two"), (0.1, 1.0, 10.0))
ALL = (COUNTER, UP_DOWN, GAUGE, HISTOGRAM)


class Sinks:
    """Instruments that write to memory and to a real meter."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.reader = InMemoryMetricReader()
        self.provider = MeterProvider([self.reader], shutdown_on_exit=False)
        self.instruments = Instruments(self.store, self.provider.get_meter("test"))

    def recording(self, metric: Metric, *labels: str) -> Recording:
        return self.instruments.recording(metric, *labels)

    def scraped(self) -> dict[tuple[str, ...], list[float]]:
        """Cells by name and labels."""
        return {(series.metric.name, *series.labels): self.store.read(series) for series in self.store.all_series()}

    def pushed(self) -> dict[tuple[str, ...], list[float]]:
        """The same from the other sink: what the SDK would export, brought into the form of cells."""
        return {
            (metric.name, *map(str, (point.attributes or {}).values())): cells_of(point)
            for metric in self.metrics()
            for point in metric.data.data_points
        }

    def metrics(self) -> list[PushedMetric]:
        data = self.reader.get_metrics_data()
        resources = [] if data is None else data.resource_metrics
        return [metric for resource in resources for scope in resource.scope_metrics for metric in scope.metrics]


def cells_of(point: Any) -> list[float]:
    if isinstance(point, HistogramDataPoint):
        assert point.count == sum(point.bucket_counts)
        return [*point.bucket_counts, point.sum]
    return [point.value]


@pytest.fixture
def sinks() -> Sinks:
    return Sinks()


# Both sinks agree

VALUES = st.floats(0, 1e9) | st.integers(0, 10**9) | st.sampled_from([0, 0.1, 1.0, 10.0, 10.0000001])
LABELS = st.sampled_from(["", "a", "b", "ü 日本", '"\n\\'])


@unhurried
@given(st.lists(st.tuples(st.sampled_from(ALL), LABELS, LABELS, VALUES, st.booleans()), max_size=80))
def test_both_sinks_agree_in_each_count_sum_and_bucket(operations):
    sinks = Sinks()
    for metric, one, two, value, negative in operations:
        recording = sinks.recording(metric, one, two)
        if metric is HISTOGRAM:
            recording.record(value)
        elif metric is GAUGE:
            recording.set(-value if negative else value)
        else:
            recording.add(-value if negative and metric is UP_DOWN else value)

    assert sinks.pushed() == sinks.scraped()
    assert len(sinks.scraped()) == len({operation[:3] for operation in operations})


def test_a_value_on_a_bound_belongs_to_the_bucket_below_it(sinks):
    for value in (0.0, 0.1, 0.10001, 1.0, 10.0, 10.1):
        sinks.recording(HISTOGRAM, "a", "b").record(value)
    name = ("a.histogram", "a", "b")

    assert sinks.scraped()[name] == sinks.pushed()[name] == [2, 2, 1, 1, pytest.approx(21.30001)]


def test_a_counter_goes_up_by_one_unless_told_otherwise(sinks):
    recording = sinks.recording(COUNTER, "a", "b")
    recording.add()
    recording.add(2.5)

    assert sinks.scraped() == sinks.pushed() == {("a.counter", "a", "b"): [3.5]}


def test_without_a_meter_the_cells_are_written_all_the_same():
    store = MemoryStore()
    instruments = Instruments(store, None)
    instruments.recording(COUNTER, "a", "b").add(2)
    instruments.recording(GAUGE, "a", "b").set(-3)
    instruments.recording(HISTOGRAM, "a", "b").record(5)

    assert [list(series.cells) for series in store.all_series()] == [[2], [-3], [0, 0, 1, 0, 5]]


def test_a_combination_that_never_occurs_makes_no_series(sinks):
    sinks.recording(COUNTER, "a", "b").add()

    assert set(sinks.scraped()) == set(sinks.pushed()) == {("a.counter", "a", "b")}


@pytest.mark.parametrize("metric", catalogue.RECORDED, ids=lambda metric: metric.name)
def test_each_metric_of_the_catalogue_is_pushed_as_it_is_documented(sinks, metric: Metric):
    recording = sinks.recording(metric, *metric.labels)
    if metric.kind == "histogram":
        recording.record(1)
    else:
        recording.add(1)
    (pushed,) = sinks.metrics()
    (point,) = pushed.data.data_points

    assert (pushed.name, pushed.unit, pushed.description) == (metric.name, metric.unit, metric.description)
    assert dict(point.attributes) == {label: label for label in metric.labels}
    assert pushed.data.aggregation_temporality is AggregationTemporality.CUMULATIVE
    if metric.kind == "histogram":
        assert isinstance(pushed.data, Histogram)
        assert point.explicit_bounds == metric.buckets
    else:
        assert isinstance(pushed.data, Sum)
        assert pushed.data.is_monotonic is (metric.kind == "counter")


def test_labels_that_no_sink_could_encode_are_mended_in_both(sinks):
    """Half of a surrogate pair, as a JSON file may hold it: one such name must not cost the whole scrape."""
    for _ in range(2):
        sinks.recording(COUNTER, "cut off \ud83d", "x").add()
    sinks.recording(COUNTER, "cut off ?", "x").add()

    assert sinks.scraped() == sinks.pushed() == {("a.counter", "cut off ?", "x"): [3]}


def test_a_name_without_end_is_cut_in_both(sinks):
    sinks.recording(COUNTER, "n" * 1_000_000, "x").add()
    sinks.recording(COUNTER, "n" * 300, "x").add()

    marks = ("... [cut, 1000000 characters]", "... [cut, 300 characters]")
    expected = {("a.counter", "n" * (256 - len(mark)) + mark, "x"): [1] for mark in marks}
    assert sinks.scraped() == sinks.pushed() == expected


# Series


def test_the_same_labels_give_the_same_recording(sinks):
    first = sinks.recording(COUNTER, "a", "b")

    assert sinks.recording(COUNTER, "a", "b") is first
    assert sinks.recording(COUNTER, "b", "a") is not first
    assert sinks.recording(UP_DOWN, "a", "b") is not first


def test_series_start_at_zero_and_come_in_the_order_of_their_making():
    store = MemoryStore()
    made = [store.series(metric, ("a", "b")) for metric in (HISTOGRAM, COUNTER, catalogue.FLOW_WINDOW)]

    assert store.all_series() == made
    assert [store.read(series) for series in made] == [[0.0] * 5, [0.0], [0.0] * (61 * 4)]
    assert store.series(COUNTER, ("a", "b")) is made[1]


def test_what_was_read_does_not_change_any_more(sinks):
    recording = sinks.recording(COUNTER, "a", "b")
    (series,) = sinks.store.all_series()
    before = sinks.store.read(series)
    recording.add()

    assert before == [0.0]
    assert sinks.store.read(series) == [1.0]


# Threads


@pytest.fixture
def impatient() -> Iterator[None]:
    """Threads take turns as often as they can."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


def at_once(work: Callable[[int], None], threads: int = 8) -> None:
    """Runs the work in so many threads that start together."""
    barrier = threading.Barrier(threads)
    errors: list[BaseException] = []

    def run(number: int) -> None:
        barrier.wait()
        try:
            work(number)
        except BaseException as exc:
            errors.append(exc)

    started = [threading.Thread(target=run, args=(number,)) for number in range(threads)]
    for thread in started:
        thread.start()
    for thread in started:
        thread.join()
    assert errors == []


@pytest.mark.slow
def test_eight_threads_lose_nothing(sinks, impatient):
    def work(number: int) -> None:
        for index in range(5000):
            # Every other time it is looked up anew, also for the first time in all threads at once.
            shared = sinks.recording(HISTOGRAM, "shared", str(index % 2))
            shared.record(0.5)
            if index % 10 == 0:
                sinks.recording(COUNTER, "shared", "").add()
                sinks.recording(UP_DOWN, "shared", "").add(1 if index % 20 else -1)
                sinks.recording(COUNTER, "own", str(number)).add()
            if index % 1000 == 0:
                for series in sinks.store.all_series():
                    sinks.store.read(series)

    at_once(work)

    expected: dict[tuple[str, ...], list[float]] = {
        ("a.histogram", "shared", "0"): [0, 20_000, 0, 0, 10_000.0],
        ("a.histogram", "shared", "1"): [0, 20_000, 0, 0, 10_000.0],
        ("a.counter", "shared", ""): [4000],
        ("an.up_down_counter", "shared", ""): [0],
        **{("a.counter", "own", str(number)): [500] for number in range(8)},
    }
    assert sinks.scraped() == expected
    assert sinks.pushed() == expected


class SlowStore(MemoryStore):
    """Making a series takes so long that other threads come along."""

    def _allocate(self, metric: Metric, labels: tuple[str, ...], created_s: float) -> Cells:
        time.sleep(0.002)
        return super()._allocate(metric, labels, created_s)


def test_threads_that_make_a_series_at_once_make_one():
    instruments = Instruments(SlowStore(), None)
    made: list[Recording] = []
    at_once(lambda _: made.extend(instruments.recording(COUNTER, "new", str(index)) for index in range(10)))

    for recording in made:
        recording.add()

    assert len(set(map(id, made))) == 10
    assert [list(series.cells) for series in instruments.store.all_series()] == [[8.0]] * 10


def test_a_run_that_the_garbage_collector_ends_is_counted(sinks):
    """It closes what was dropped half way at any moment, also while this thread holds the lock."""
    recording = sinks.recording(COUNTER, "a", "b")

    class Dropped:
        def __del__(self) -> None:
            recording.add()

    def work() -> None:
        with sinks.store.lock:
            dropped: Any = Dropped()
            dropped.itself = dropped
            del dropped
            gc.collect()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(10)

    assert not thread.is_alive()
    assert sinks.scraped() == {("a.counter", "a", "b"): [1]}


# Exemplars


def span_in_context(span_id: int, *, sampled: bool, trace_id: int = 0xABC) -> Context:
    flags = TraceFlags(TraceFlags.SAMPLED if sampled else TraceFlags.DEFAULT)
    span = SpanContext(trace_id, span_id, is_remote=False, trace_flags=flags)
    return trace.set_span_in_context(NonRecordingSpan(span))


def exemplars(sinks: Sinks) -> list[tuple[int, int, float] | None]:
    (series,) = sinks.store.all_series()
    assert series.exemplars is not None
    return [None if each is None else (each.trace_id, each.span_id, each.value) for each in series.exemplars]


def pushed_exemplars(sinks: Sinks) -> list[tuple[int, int, float]]:
    ((point,),) = [metric.data.data_points for metric in sinks.metrics()]
    return [(each.trace_id, each.span_id, each.value) for each in point.exemplars]


def test_a_bucket_shows_the_last_sampled_trace_that_fell_into_it(sinks):
    recording = sinks.recording(HISTOGRAM, "a", "b")
    for value, span_id in ((0.05, 1), (0.5, 2), (0.7, 3), (50.0, 4)):
        recording.record(value, span_in_context(span_id, sampled=True))

    assert exemplars(sinks) == [(0xABC, 1, 0.05), (0xABC, 3, 0.7), None, (0xABC, 4, 50.0)]
    assert pushed_exemplars(sinks) == [(0xABC, 1, 0.05), (0xABC, 3, 0.7), (0xABC, 4, 50.0)]


def test_a_span_is_the_exemplar_in_place_of_the_contexts(sinks):
    context, span = span_in_context(1, sampled=True), trace.get_current_span(span_in_context(2, sampled=True))
    sinks.recording(HISTOGRAM, "a", "b").record(0.5, context, span)

    assert exemplars(sinks) == [None, (0xABC, 2, 0.5), None, None]
    assert pushed_exemplars(sinks) == [(0xABC, 2, 0.5)]


def test_series_written_together_are_as_written_one_by_one(sinks):
    recordings = [(COUNTER, ("a", "b")), (COUNTER, ("c", "d")), (HISTOGRAM, ("a", "b")), (HISTOGRAM, ("c", "d"))]
    first, second, third, fourth = (sinks.recording(metric, *labels) for metric, labels in recordings)
    write_together([(first, 2), (second, 3)], [(third, 0.5), (fourth, 50.0)])
    write_together([(first, 2)], [])

    assert sinks.scraped() == {
        ("a.counter", "a", "b"): [4],
        ("a.counter", "c", "d"): [3],
        ("a.histogram", "a", "b"): [0, 1, 0, 0, 0.5],
        ("a.histogram", "c", "d"): [0, 0, 0, 1, 50.0],
    }
    assert sinks.pushed() == sinks.scraped()


@pytest.mark.parametrize(
    "context",
    [None, Context(), span_in_context(1, sampled=False), trace.set_span_in_context(trace.INVALID_SPAN)],
    ids=["no context", "no span", "not sampled", "invalid"],
)
def test_without_a_sampled_span_there_is_no_exemplar(sinks, context: Context | None):
    sinks.recording(HISTOGRAM, "a", "b").record(0.5, context)

    assert exemplars(sinks) == [None] * 4
    assert pushed_exemplars(sinks) == []
    assert sinks.scraped() == {("a.histogram", "a", "b"): [0, 1, 0, 0, 0.5]}


def test_a_span_without_an_id_is_no_exemplar(sinks):
    sinks.recording(HISTOGRAM, "a", "b").record(0.5, span_in_context(1, sampled=True, trace_id=0))

    assert exemplars(sinks) == [None] * 4


def test_only_histograms_have_exemplars():
    store = MemoryStore()

    assert store.series(COUNTER, ("a", "b")).exemplars is None
    assert store.series(catalogue.FLOW_WINDOW, ("a",)).exemplars is None


# What is read when somebody asks


def test_one_reading_serves_all_metrics_of_an_export(sinks):
    total = Metric("read.total", "counter", "By", "Bytes", ("direction",))
    level = Metric("read.level", "gauge", "1", "Level")
    absent = Metric("read.absent", "gauge", "1", "Not here")
    readings: list[list[Reading]] = []

    def read() -> list[Reading]:
        readings.append([Reading(total, 5, ("in",)), Reading(total, 7, ("out",)), Reading(level, len(readings) + 0.5)])
        return readings[-1]

    sinks.instruments.observe((total, level, absent), read)

    assert sinks.pushed() == {("read.total", "in"): [5], ("read.total", "out"): [7], ("read.level",): [0.5]}
    assert len(readings) == 1
    by_name = {metric.name: metric for metric in sinks.metrics()}
    assert isinstance(by_name["read.level"].data, Gauge)
    assert isinstance(by_name["read.total"].data, Sum)
    assert by_name["read.total"].data.is_monotonic
    assert (by_name["read.total"].unit, by_name["read.total"].description) == ("By", "Bytes")


def test_the_next_export_reads_anew(sinks, monkeypatch):
    monkeypatch.setattr(instruments_module, "_READING_LASTS_S", 0.0)
    level = Metric("read.level", "gauge", "1", "Level")
    values = iter((1.0, 2.0))
    sinks.instruments.observe((level,), lambda: [Reading(level, next(values))])

    assert [sinks.pushed(), sinks.pushed()] == [{("read.level",): [1.0]}, {("read.level",): [2.0]}]


def test_without_a_meter_nobody_asks():
    def read() -> list[Reading]:
        raise AssertionError

    Instruments(MemoryStore(), None).observe((GAUGE,), read)


# Caps


def test_the_first_values_have_series_of_their_own_and_one_line_says_that_others_have_not(caplog):
    cap = Cap("flow names", 2)
    with caplog.at_level(logging.WARNING, "langflow_otel"):
        labels = [cap.label(value) for value in ("a", "b", "a", "c", "d", "b", "c")]

    assert labels == ["a", "b", "a", "other", "other", "b", "other"]
    assert [record.getMessage() for record in caplog.records] == [
        "More than 2 flow names: metrics count further ones together as 'other'."
    ]


def test_a_cap_that_is_just_reached_says_nothing(caplog):
    cap = Cap("flow names", 2)

    assert [cap.has_room(value) for value in (("a", 1), ("b", 2), ("a", 1))] == [True] * 3
    assert caplog.records == []

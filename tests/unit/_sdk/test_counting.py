"""What is lost on the way out is counted, exactly."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from opentelemetry.sdk.metrics import Counter, MeterProvider
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    MetricExporter,
    MetricExportResult,
    MetricsData,
    PeriodicExportingMetricReader,
)
from opentelemetry.sdk.metrics.view import LastValueAggregation
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import SpanContext, TraceFlags

from langflow_otel._runs.recorder import set_active_recorder
from langflow_otel._sdk.batches import CountingBatchSpanProcessor, CountingMetricExporter, CountingSpanExporter
from langflow_otel.testing import Telemetry
from tests.support.recording import recording

WAIT_S = 30


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    """The SDK may log what it loses."""
    with recording(strict=False) as captured:
        yield captured


def dropped(telemetry: Telemetry) -> dict[str, float]:
    return telemetry.metrics("langflow_otel_dropped")


def lost(signal: str, reason: str, items: int) -> dict[str, float]:
    return {f'langflow_otel_dropped_total{{signal="{signal}",reason="{reason}"}}': float(items)}


def ended_span(name: str, *, sampled: bool = True) -> ReadableSpan:
    flags = TraceFlags(TraceFlags.SAMPLED if sampled else TraceFlags.DEFAULT)
    return ReadableSpan(name, SpanContext(1, 2, is_remote=False, trace_flags=flags))


class Spans(SpanExporter):
    """Does with each batch what it is told to."""

    def __init__(self, then: Callable[[], SpanExportResult] = lambda: SpanExportResult.SUCCESS) -> None:
        self.names: list[str] = []
        self.calls: list[object] = []
        self._then = then

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._then()
        self.names += [span.name for span in spans]
        return result

    def shutdown(self) -> None:
        self.calls.append("shutdown")

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        self.calls.append(timeout_millis)
        return False


def fail() -> Any:
    raise OSError("canary")


# Spans that cannot be exported


def test_spans_that_go_out_are_not_counted(telemetry):
    spans = Spans()
    result = CountingSpanExporter(spans).export([ended_span("a"), ended_span("b")])

    assert result is SpanExportResult.SUCCESS
    assert spans.names == ["a", "b"]
    assert dropped(telemetry) == {}


def test_spans_of_a_failed_export_are_counted(telemetry):
    exporter = CountingSpanExporter(Spans(lambda: SpanExportResult.FAILURE))
    for size in (3, 1, 0):
        assert exporter.export([ended_span("a")] * size) is SpanExportResult.FAILURE

    assert dropped(telemetry) == lost("traces", "export_failed", 4)


def test_spans_of_an_export_that_raises_are_counted_and_the_sdk_hears_of_it(telemetry):
    with pytest.raises(OSError, match="canary"):
        CountingSpanExporter(Spans(fail)).export([ended_span("a")] * 2)

    assert dropped(telemetry) == lost("traces", "export_failed", 2)


def test_all_else_is_the_exporters_own(telemetry):
    spans = Spans()
    exporter = CountingSpanExporter(spans)

    assert exporter.force_flush(123) is False
    exporter.shutdown()
    assert spans.calls == [123, "shutdown"]


def test_while_instrumentation_is_off_a_failure_is_still_one():
    set_active_recorder(None)

    assert CountingSpanExporter(Spans(lambda: SpanExportResult.FAILURE)).export([]) is SpanExportResult.FAILURE


# Spans that a full queue pushes out


class Gate:
    """An export that lasts until it is let through."""

    def __init__(self) -> None:
        self.reached, self.opened = threading.Event(), threading.Event()

    def __call__(self) -> SpanExportResult:
        self.reached.set()
        assert self.opened.wait(WAIT_S)
        return SpanExportResult.SUCCESS


@pytest.fixture
def small_queue(monkeypatch) -> None:
    for name, value in (("MAX_QUEUE_SIZE", 4), ("MAX_EXPORT_BATCH_SIZE", 2), ("SCHEDULE_DELAY", 3_600_000)):
        monkeypatch.setenv(f"OTEL_BSP_{name}", str(value))


def busy_processor(gate: Gate) -> tuple[CountingBatchSpanProcessor, Spans]:
    """Its queue is empty, and its exporter is busy with a first batch."""
    spans = Spans(gate)
    processor = CountingBatchSpanProcessor(spans)
    for name in ("first", "second"):
        processor.on_end(ended_span(name))
    assert gate.reached.wait(WAIT_S)
    return processor, spans


@pytest.mark.parametrize("sent", [0, 1, 4, 5, 9])
def test_spans_that_a_full_queue_pushes_out_are_counted(telemetry, small_queue, sent: int):
    gate = Gate()
    processor, spans = busy_processor(gate)
    for number in range(sent):
        processor.on_end(ended_span(str(number)))
    expected = max(0, sent - 4)
    counted = dropped(telemetry)
    gate.opened.set()
    processor.shutdown()

    assert counted == (lost("traces", "queue_full", expected) if expected else {})
    # The oldest ones are pushed out; all others arrive.
    assert spans.names == ["first", "second", *(str(number) for number in range(expected, sent))]
    assert dropped(telemetry) == counted


def test_a_span_that_is_not_sampled_takes_no_place_and_is_not_counted(telemetry, small_queue):
    gate = Gate()
    processor, spans = busy_processor(gate)
    for number in range(4):
        processor.on_end(ended_span(str(number)))
        processor.on_end(ended_span("not sampled", sampled=False))
    for _ in range(3):
        processor.on_end(ended_span("not sampled", sampled=False))
    counted = dropped(telemetry)
    gate.opened.set()
    processor.shutdown()

    assert counted == {}
    assert spans.names == ["first", "second", "0", "1", "2", "3"]


def test_once_the_exporter_goes_on_nothing_more_is_lost(telemetry, small_queue):
    gate = Gate()
    processor, spans = busy_processor(gate)
    for number in range(6):
        processor.on_end(ended_span(str(number)))
    gate.opened.set()
    processor.force_flush()
    for number in range(6, 10):
        processor.on_end(ended_span(str(number)))
    processor.shutdown()

    assert spans.names == ["first", "second", *"23456789"]
    assert dropped(telemetry) == lost("traces", "queue_full", 2)


def test_spans_that_fail_after_they_waited_are_counted_once(telemetry, small_queue):
    processor = CountingBatchSpanProcessor(CountingSpanExporter(Spans(fail)))
    for _ in range(3):
        processor.on_end(ended_span("a"))
        processor.force_flush()
    processor.shutdown()

    assert dropped(telemetry) == lost("traces", "export_failed", 3)


# Data points


class Points(MetricExporter):
    """Does with each export what it is told to."""

    def __init__(self, then: Callable[[], Any] = lambda: MetricExportResult.SUCCESS, **preferred: Any) -> None:
        super().__init__(**preferred)
        self.exported: list[MetricsData] = []
        self.calls: list[object] = []
        self._then = then

    def export(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any) -> MetricExportResult:
        self.calls.append(timeout_millis)
        result: MetricExportResult = self._then()
        self.exported.append(metrics_data)
        return result

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
        self.calls.append("shutdown")

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        self.calls.append("flush")
        return False


def push_twice(points: Points) -> None:
    """Six data points in two scopes, now and at the end."""
    reader = PeriodicExportingMetricReader(CountingMetricExporter(points), export_interval_millis=3_600_000)
    provider = MeterProvider([reader], shutdown_on_exit=False)
    for scope in ("one", "two"):
        counter = provider.get_meter(scope).create_counter("counter")
        for label in ("a", "b"):
            counter.add(1, {"label": label})
        provider.get_meter(scope).create_histogram("histogram").record(1)
    provider.force_flush()
    provider.shutdown()


def test_data_points_that_go_out_are_not_counted(telemetry):
    points = Points()
    push_twice(points)

    assert len(points.exported) == 2
    assert dropped(telemetry) == {}


@pytest.mark.parametrize("then", [lambda: MetricExportResult.FAILURE, fail], ids=["result", "exception"])
def test_data_points_of_a_failed_export_are_counted(telemetry, then: Callable[[], Any]):
    push_twice(Points(then))

    assert dropped(telemetry) == lost("metrics", "export_failed", 12)


def test_a_failed_export_is_told_to_the_sdk(telemetry):
    nothing = MetricsData(resource_metrics=[])
    exporter = CountingMetricExporter(Points(lambda: MetricExportResult.FAILURE))

    assert exporter.export(nothing) is MetricExportResult.FAILURE
    with pytest.raises(OSError, match="canary"):
        CountingMetricExporter(Points(fail)).export(nothing)


def test_what_the_exporter_prefers_is_what_the_reader_hears():
    preferred = {
        "preferred_temporality": {Counter: AggregationTemporality.DELTA},
        "preferred_aggregation": {Counter: LastValueAggregation()},
    }
    points = Points(**preferred)
    exporter = CountingMetricExporter(points)

    assert exporter._preferred_temporality == points._preferred_temporality == preferred["preferred_temporality"]
    assert exporter._preferred_aggregation == points._preferred_aggregation == preferred["preferred_aggregation"]


def test_timeouts_reach_the_exporter():
    points = Points()
    exporter = CountingMetricExporter(points)
    exporter.export(MetricsData(resource_metrics=[]), 123)

    assert exporter.force_flush() is False
    exporter.shutdown()
    assert points.calls == [123, "flush", "shutdown"]


def test_a_forked_child_sends_nothing_of_its_parents(monkeypatch, telemetry):
    """It inherits the reader, whose thread the SDK starts again in it."""
    points = Points(fail)
    exporter = CountingMetricExporter(points)
    parent = os.getpid()
    monkeypatch.setattr(os, "getpid", lambda: parent + 1)

    assert exporter.export(MetricsData(resource_metrics=[])) is MetricExportResult.SUCCESS
    # The connection is the parent's, too.
    exporter.shutdown()
    assert points.calls == []
    assert dropped(telemetry) == {}

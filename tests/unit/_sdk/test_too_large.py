"""Batches that a real receiver refuses as too large are sent in parts; what does not fit is counted."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from opentelemetry.sdk.metrics import MeterProvider as SdkMeterProvider
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.trace import SpanContext, TraceFlags
from otlp_receiver import Receiver, otlp_receiver

from langflow_otel._content.log_lines import LogLine
from langflow_otel._guard import WarnOnce
from langflow_otel._sdk import batches
from langflow_otel._sdk.batches import (
    MAX_REFUSED,
    CountingSpanExporter,
    TooLargeError,
    export_in_parts,
    raise_too_large,
)
from langflow_otel._sdk.log_records import emit_function, otlp_logger_provider
from langflow_otel._sdk.otlp import Signal, otlp_exporter
from langflow_otel._sdk.providers import build_meter_provider, build_tracer_provider
from langflow_otel._settings.otlp_target import OtlpTarget, otlp_target
from langflow_otel._settings.settings import Settings
from langflow_otel.testing import Telemetry
from tests.support.recording import recording

PROTOCOLS = ("grpc", "http/protobuf")
LIMIT = 12_000
LARGE = "x" * 14_000


@pytest.fixture(autouse=True)
def telemetry(monkeypatch: pytest.MonkeyPatch) -> Iterator[Telemetry]:
    monkeypatch.setattr(batches, "_warn_once", WarnOnce())
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "60")
    with recording(strict=False) as captured:
        yield captured


@pytest.fixture(params=PROTOCOLS)
def receiver(request: pytest.FixtureRequest) -> Iterator[tuple[Receiver, str]]:
    with otlp_receiver(request.param, LIMIT) as found:
        yield found, request.param


def target(signal: str, receiver: Receiver, protocol: str) -> OtlpTarget:
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{receiver.address}", "OTEL_EXPORTER_OTLP_PROTOCOL": protocol}
    problems: list[str] = []
    found = otlp_target(env, signal, problems, None)
    assert found is not None
    assert not problems
    return found


def dropped(telemetry: Telemetry) -> dict[str, float]:
    return telemetry.metrics("langflow_otel_dropped")


def counted(signal: str, reason: str, items: int) -> dict[str, float]:
    return {f'langflow_otel_dropped_total{{signal="{signal}",reason="{reason}"}}': float(items)}


def errors_of_the_sdk(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name.startswith("opentelemetry")]


# Real receivers


def test_spans_of_other_runs_arrive_beside_one_too_large(telemetry, receiver, caplog):
    found, protocol = receiver
    provider = build_tracer_provider(Settings(otlp=target("TRACES", found, protocol)))
    tracer = provider.get_tracer("x")
    with caplog.at_level(logging.WARNING):
        for number in range(13):
            tracer.start_span(f"run {number}", attributes={"text": LARGE if number == 5 else "x" * 900}).end()
        provider.force_flush()
    provider.shutdown()

    assert sorted(found.spans) == sorted(f"run {number}" for number in range(13) if number != 5)
    assert dropped(telemetry) == counted("traces", "too_large", 1)
    assert errors_of_the_sdk(caplog) == []
    (warning,) = [record.getMessage() for record in caplog.records if record.name == "langflow_otel"]
    assert warning.startswith("An OTLP receiver refuses traces as too large for one request: 1 dropped. ")


def test_each_span_arrives_once(telemetry, receiver):
    found, protocol = receiver
    provider = build_tracer_provider(Settings(otlp=target("TRACES", found, protocol)))
    tracer = provider.get_tracer("x")
    for number in range(20):
        tracer.start_span(f"run {number}", attributes={"text": "x" * 900}).end()
    provider.force_flush()
    provider.shutdown()
    names = [
        span.name
        for request in found.requests
        for resource_spans in request.message.resource_spans
        for scope_spans in resource_spans.scope_spans
        for span in scope_spans.spans
    ]

    assert names == [f"run {number}" for number in range(20)]
    assert len(found.requests) == 2
    assert dropped(telemetry) == {}


def test_log_records_arrive_beside_one_too_large(telemetry, receiver):
    found, protocol = receiver
    provider = otlp_logger_provider(Settings(), target("LOGS", found, protocol))
    emit = emit_function(provider, "x")
    for number in range(10):
        emit(LogLine("x", 9, "INFO", LARGE if number == 4 else f"{number} {'x' * 900}", {}))
    provider.force_flush()
    provider.shutdown()
    numbers = [int(record.body.string_value.split()[0]) for _, record in found.logs()]

    assert numbers == [number for number in range(10) if number != 4]
    assert dropped(telemetry) == counted("logs", "too_large", 1)


def test_metrics_arrive_in_parts(telemetry, receiver):
    found, protocol = receiver
    provider = build_meter_provider(Settings(metrics_otlp=target("METRICS", found, protocol)))
    record_points(provider)
    provider.force_flush()
    points = [
        (scope.scope.name, metric.name, point.attributes[0].value.string_value[:3])
        for request in range(len(found.metric_requests))
        for scope in found.scopes(request)
        for metric in scope.metrics
        for point in metric.sum.data_points
    ]
    provider.shutdown()

    assert sorted(points) == sorted(
        (scope, metric, f"{label:03}")
        for scope in ("a", "b")
        for metric in ("first", "second")
        for label in range(6)
        if (scope, metric, label) != ("b", "first", 3)
    )
    # One at the flush, one at the end.
    assert dropped(telemetry) == counted("metrics", "too_large", 2)


def record_points(provider: SdkMeterProvider) -> None:
    for scope in ("a", "b"):
        for name in ("first", "second"):
            counter = provider.get_meter(scope).create_counter(name)
            for label in range(6):
                text = LARGE if (scope, name, label) == ("b", "first", 3) else "x" * 900
                counter.add(1, {"label": f"{label:03}{text}"})


def test_a_refusal_that_is_not_about_size_is_a_failed_export(telemetry):
    """A receiver over its quota answers by gRPC with the same code, and a batch that is malformed is refused, too."""
    for answer in (busy, malformed):
        with pytest.raises(type(answer)):
            batches._Client(Answering(answer)).Export(request=None)

    with otlp_receiver("http/protobuf") as found:
        found.status = 400
        exporter = raise_too_large(otlp_exporter(target("TRACES", found, "http/protobuf"), "traces"))
        result = CountingSpanExporter(exporter).export([span("a"), span("b")])
        exporter.shutdown()

    assert result is SpanExportResult.FAILURE
    assert len(found.requests) == 1
    assert dropped(telemetry) == counted("traces", "export_failed", 2)


class GrpcError(grpc.RpcError):  # type: ignore[misc]
    def __init__(self, code: grpc.StatusCode, details: str) -> None:
        self.code, self.details = lambda: code, lambda: details


busy = GrpcError(grpc.StatusCode.RESOURCE_EXHAUSTED, "quota exceeded")
malformed = GrpcError(grpc.StatusCode.INVALID_ARGUMENT, "a name that is larger than max")


class Answering:
    def __init__(self, error: GrpcError) -> None:
        self._error = error

    def Export(self, *args: Any, **kwargs: Any) -> Any:
        raise self._error


@pytest.mark.parametrize(
    "details",
    [
        "SERVER: Received message larger than max (5242880 vs. 4194304)",
        "grpc: received message larger than max (5242880 vs. 4194304)",
        "grpc: received message after decompression larger than max (5242880 vs. 4194304)",
        "gRPC message exceeds maximum size 4194304: 5242880",
        "Received message exceeds the maximum configured message size.",
    ],
)
def test_what_grpc_says_about_size_is_understood(details: str):
    """In C++ and Python, in Go, in Java and in .NET."""
    client = batches._Client(Answering(GrpcError(grpc.StatusCode.RESOURCE_EXHAUSTED, details)))

    with pytest.raises(TooLargeError):
        client.Export(request=None)


# Any exporter


def span(name: str) -> ReadableSpan:
    return ReadableSpan(name, SpanContext(1, 2, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED)))


class Refusing:
    """Takes at most so many at once, and none of what does not fit."""

    def __init__(self, at_most: int, too_large: tuple[int, ...] = (), fails_from: int | None = None) -> None:
        self.at_most, self.too_large, self.fails_from = at_most, too_large, fails_from
        self.requests = 0
        self.taken: list[int] = []

    def __call__(self, part: Any) -> SpanExportResult:
        self.requests += 1
        if len(part) > self.at_most or set(part) & set(self.too_large):
            raise TooLargeError
        if self.fails_from is not None and max(part) >= self.fails_from:
            return SpanExportResult.FAILURE
        self.taken += part
        return SpanExportResult.SUCCESS


def send(receiver: Refusing, items: int) -> SpanExportResult:
    return export_in_parts(receiver, list(range(items)), "traces", SpanExportResult.SUCCESS)


@pytest.mark.parametrize("items", [0, 1, 2, 3, 7, 512])
def test_order_is_kept(telemetry, items: int):
    receiver = Refusing(at_most=3)

    assert send(receiver, items) is SpanExportResult.SUCCESS
    assert receiver.taken == list(range(items))
    assert dropped(telemetry) == {}


def test_only_what_does_not_fit_is_dropped(telemetry):
    receiver = Refusing(at_most=512, too_large=(0, 100, 511))

    assert send(receiver, 512) is SpanExportResult.SUCCESS
    assert receiver.taken == [each for each in range(512) if each not in (0, 100, 511)]
    assert dropped(telemetry) == counted("traces", "too_large", 3)


def test_parts_after_a_failed_one_are_not_tried(telemetry):
    """The receiver went away meanwhile."""
    receiver = Refusing(at_most=4, fails_from=8)

    assert send(receiver, 16) is SpanExportResult.FAILURE
    assert receiver.taken == list(range(8))
    assert dropped(telemetry) == counted("traces", "export_failed", 8)


def test_an_error_of_a_part_is_raised_and_the_rest_counted(telemetry):
    def export(part: Any) -> SpanExportResult:
        if len(part) > 2:
            raise TooLargeError
        if 2 in part:
            raise OSError("canary")
        return SpanExportResult.SUCCESS

    with pytest.raises(OSError, match="canary"):
        export_in_parts(export, [0, 1, 2, 3], "traces", SpanExportResult.SUCCESS)
    assert dropped(telemetry) == counted("traces", "export_failed", 2)


def test_a_receiver_that_takes_nothing_is_not_stormed(telemetry):
    receiver = Refusing(at_most=0)

    assert send(receiver, 2048) is SpanExportResult.SUCCESS
    assert receiver.requests <= 3 * MAX_REFUSED
    assert dropped(telemetry) == counted("traces", "too_large", 2048)


def test_the_limit_of_the_sdk_itself_is_off():
    """From 1.44 on its exporter drops a batch over 64 MiB as a whole."""
    signals: tuple[Signal, ...] = ("traces", "metrics", "logs")
    for signal in signals:
        exporter = raise_too_large(
            otlp_exporter(OtlpTarget("http/protobuf", "http://127.0.0.1:1", insecure=True), signal)
        )

        assert getattr(exporter, "_max_request_size", 0) == 0
        exporter.shutdown()

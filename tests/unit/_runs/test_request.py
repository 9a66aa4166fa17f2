"""A request to the server, without a server: its span, its measurement, and what is current meanwhile."""

from __future__ import annotations

from asyncio import CancelledError

import pytest
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanKind, StatusCode

from langflow_otel._runs.recorder import Recorder
from langflow_otel._runs.request import RequestInfo, RequestRun
from langflow_otel._settings.settings import Settings
from tests.support.recording import recorder, recording

INFO = RequestInfo("POST", "/api/v1/run/orders", "https")
COUNT = "http_server_request_duration_seconds_count"


def start(info: RequestInfo = INFO, context: Context | None = None) -> RequestRun:
    run = recorder().start_request(info, Context() if context is None else context)
    assert run is not None
    return run


def test_its_span_is_current_until_it_is_finished(telemetry):
    before = otel_context.get_current()
    run = start()
    assert trace.get_current_span().name == "POST"  # type: ignore[attr-defined]
    run.finish("/api/v1/run/{flow}", 200)

    assert otel_context.get_current() is before
    (span,) = telemetry.sdk_spans
    assert (span.name, span.kind) == ("POST /api/v1/run/{flow}", SpanKind.SERVER)
    assert span.instrumentation_scope.name == "langflow_otel"


@pytest.mark.parametrize(
    ("status", "error", "error_type"),
    [
        (200, None, None),
        (404, None, None),
        (500, None, "500"),
        (None, None, None),
        (None, KeyError("canary"), "KeyError"),
        (200, KeyError("canary"), "KeyError"),
        (None, CancelledError(), None),
        (200, CancelledError(), None),
    ],
)
def test_what_is_an_error(telemetry, status, error, error_type):
    start().finish(None, status, error)

    (span,) = telemetry.sdk_spans
    assert span.attributes.get("error.type") == error_type
    assert span.status.status_code is (StatusCode.UNSET if error_type is None else StatusCode.ERROR)
    assert span.attributes.get("http.response.status_code") == status
    assert span.events == ()


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"])
def test_methods_of_the_convention_are_kept(telemetry, method: str):
    start(RequestInfo(method, "/api/x", "http")).finish(None, 200)

    assert telemetry.names() == [method]


def test_where_the_host_has_a_span_it_is_only_measured(telemetry):
    caller = trace.set_span_in_context(telemetry.provider.get_tracer("host").start_span("theirs"), Context())
    run = start(RequestInfo("GET", "/api/x", "http", traced=False), caller)
    assert trace.get_current_span().name == "theirs"  # type: ignore[attr-defined]
    trace.get_current_span().end()
    run.finish("/api/x", 200)

    assert telemetry.names() == ["theirs"]
    assert sum(telemetry.metrics(COUNT).values()) == 1


def test_what_the_host_pushes_is_not_pushed_again(telemetry):
    start(RequestInfo("GET", "/api/x", "http", pushed=False)).finish("/api/x", 200)
    assert "http.server.request.duration" not in [metric.name for metric in telemetry.pushed_metrics()]
    start(RequestInfo("GET", "/api/x", "http")).finish("/api/x", 200)

    assert telemetry.metrics(COUNT).popitem()[1] == 2
    (pushed,) = [metric for metric in telemetry.pushed_metrics() if metric.name == "http.server.request.duration"]
    assert [point.count for point in pushed.data.data_points] == [1]


def test_without_a_provider_it_is_only_measured(telemetry):
    recorder().use_tracer_provider(None)
    start().finish("/api/x", 200)

    assert telemetry.spans == []
    assert sum(telemetry.metrics(COUNT).values()) == 1


def test_without_metrics_there_is_only_a_span(telemetry):
    recorder().use_metrics(None, None)
    start().finish("/api/x", 200)

    assert telemetry.names() == ["POST /api/x"]
    assert telemetry.metrics(COUNT) == {}


def test_without_both_there_is_nothing_to_start():
    assert Recorder(None, Settings()).start_request(INFO, Context()) is None


def test_a_request_that_is_not_sampled_is_measured_and_what_is_below_it_is_not_sampled_either():
    with recording(sampler=ALWAYS_OFF) as telemetry:
        run = start()
        assert trace.get_current_span().get_span_context().is_valid
        assert not trace.get_current_span().get_span_context().trace_flags.sampled
        run.finish("/api/x", 200)

    assert telemetry.spans == []
    assert sum(telemetry.metrics(COUNT).values()) == 1


def test_the_time_of_a_request(telemetry, monkeypatch):
    now_s = iter([10.0, 12.5])
    monkeypatch.setattr("langflow_otel._runs.request.time.perf_counter", lambda: next(now_s))
    start().finish("/api/x", 200)

    assert telemetry.metrics("http_server_request_duration_seconds_sum").popitem()[1] == 2.5


def test_what_is_put_off_is_done_for_the_first_request(telemetry):
    done: list[int] = []
    recorder().prepare_with(lambda: done.append(1))
    for _ in range(2):
        start().finish("/api/x", 200)

    assert done == [1]

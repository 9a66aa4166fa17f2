"""Which of LangFlow's own spans are sent: those of a trace with a flow, whichever of them ended first."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, TraceFlags

from langflow_otel._hooks import native
from langflow_otel._hooks.native import (
    MAX_TRACES,
    MAX_WAITING,
    MAX_WAITING_IN_TRACE,
    WAIT_S,
    NativeSpans,
    span_ended,
)
from langflow_otel._runs import sent_traces
from langflow_otel._runs.facts import OK, Outcome
from langflow_otel._settings.settings import Settings
from langflow_otel.testing import capture_telemetry
from tests.support.recording import FLOW, recorder

SQL = "opentelemetry.instrumentation.sqlalchemy"


class Langflow:
    """Its processor, and what it sends."""

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.ended: list[str] = []
        self.now_s = 0.0

    def on_end(self, span: ReadableSpan) -> None:
        self.ended.append(span.name)
        if span.context.trace_flags.sampled:
            self.sent.append(span.name)

    def end(self, name: str, trace_id: int = 1) -> None:
        context = SpanContext(trace_id, 1, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))
        span = ReadableSpan(name, context=context, instrumentation_scope=InstrumentationScope(SQL))
        span_ended(self.on_end, None, (span,), {})


@pytest.fixture
def langflow() -> Langflow:
    return Langflow()


@pytest.fixture
def own_spans(langflow: Langflow) -> Iterator[NativeSpans]:
    own_spans = NativeSpans(now_s=lambda: langflow.now_s)
    own_spans.switch_on(Settings(native_spans="flows"))
    yield own_spans
    own_spans.switch_off()


def test_spans_of_a_trace_with_a_flow_are_sent_in_their_order(langflow: Langflow, own_spans: NativeSpans):
    langflow.end("SELECT user")
    langflow.end("SELECT else", trace_id=2)
    assert langflow.sent == []

    own_spans.flow_in(1)
    langflow.end("UPDATE")
    langflow.end("POST /api/v1/run")

    assert langflow.sent == ["SELECT user", "UPDATE", "POST /api/v1/run"]
    assert own_spans.waiting == 1


def test_langflows_own_span_of_a_flow_counts_as_one(langflow: Langflow, own_spans: NativeSpans):
    langflow.end("SELECT user")
    langflow.end("flow.execute")
    langflow.end("POST /api/v1/run")

    assert langflow.sent == ["SELECT user", "flow.execute", "POST /api/v1/run"]


def test_what_waited_long_is_given_up_and_has_ended(langflow: Langflow, own_spans: NativeSpans):
    langflow.end("GET /api/v1/flows")
    langflow.now_s = WAIT_S - 1
    langflow.end("SELECT", trace_id=2)
    assert langflow.ended == []
    langflow.now_s = WAIT_S
    langflow.end("SELECT", trace_id=3)

    assert langflow.ended == ["GET /api/v1/flows"]
    assert langflow.sent == []
    assert own_spans.waiting == 2
    own_spans.flow_in(1)
    assert langflow.sent == []


def test_no_more_wait_than_may(langflow: Langflow, own_spans: NativeSpans):
    for number in range(MAX_WAITING_IN_TRACE + 3):
        langflow.end(f"SELECT {number}", trace_id=1)
    assert langflow.ended == ["SELECT 0", "SELECT 1", "SELECT 2"]
    assert own_spans.waiting == MAX_WAITING_IN_TRACE

    for number in range(2, MAX_WAITING + 2):
        langflow.end("GET", trace_id=number)
    assert own_spans.waiting <= MAX_WAITING
    assert len(langflow.ended) == MAX_WAITING_IN_TRACE + 3
    assert langflow.sent == []


def test_no_more_traces_are_remembered_than_may(langflow: Langflow, own_spans: NativeSpans):
    for trace_id in range(1, MAX_TRACES + 2):
        own_spans.flow_in(trace_id)
    langflow.end("the oldest", trace_id=1)
    langflow.end("the next", trace_id=2)

    assert langflow.sent == ["the next"]


def test_switched_off_what_waits_has_ended_and_the_rest_is_sent(langflow: Langflow, own_spans: NativeSpans):
    langflow.end("GET /")
    own_spans.switch_off()
    langflow.end("GET /health")

    assert langflow.ended == ["GET /", "GET /health"]
    assert langflow.sent == ["GET /health"]
    assert sent_traces.listener is None


@pytest.mark.parametrize(("wanted", "sent"), [("keep", ["GET /", "flow.execute"]), ("none", [])])
def test_all_or_none_are_sent(langflow: Langflow, wanted: str, sent: list[str]):
    own_spans = NativeSpans()
    own_spans.switch_on(Settings(native_spans=wanted))  # type: ignore[arg-type]
    try:
        langflow.end("GET /")
        langflow.end("flow.execute")
    finally:
        own_spans.switch_off()

    assert langflow.sent == sent
    assert langflow.ended == ["GET /", "flow.execute"]


def test_an_error_of_ours_lets_the_span_pass(langflow: Langflow, own_spans: NativeSpans, lenient: None, monkeypatch):
    def broken(*_: object) -> bool:
        raise RuntimeError

    monkeypatch.setattr(own_spans, "holds", broken)
    langflow.end("GET /")

    assert langflow.sent == ["GET /"]


# Which traces have a flow


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    told: list[int] = []
    monkeypatch.setattr(sent_traces, "listener", told.append)
    return told


def run_flow(settings: Settings, *, error: bool = False, queued_by: SpanContext | None = None) -> int:
    with capture_telemetry(settings=settings):
        run = recorder().start_flow(FLOW, queued_by=queued_by)
        assert run is not None
        assert run.span is not None
        run.finish(Outcome("error", ValueError()) if error else OK)
        return run.span.get_span_context().trace_id


def test_a_sent_flow_reports_its_trace_and_its_requests(told: list[int]):
    queue = SpanContext(7, 7, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))

    trace_id = run_flow(Settings(), queued_by=queue)

    assert told == [trace_id, 7]


def test_a_flow_that_is_not_sampled_reports_no_trace(told: list[int]):
    run_flow(Settings(sampling=(("*", 0.0),)))

    assert told == []


def test_a_flow_that_is_kept_for_its_error_reports_its_trace(told: list[int]):
    trace_id = run_flow(Settings(sampling=(("*", 0.0),), keep_errors=True), error=True)

    assert told == [trace_id]


def test_a_span_of_ours_outside_of_flows_reports_its_trace(told: list[int]):
    with capture_telemetry():
        run = recorder().start_span("lookup")
        assert run is not None
        run.finish()

    assert told == [run.span.get_span_context().trace_id]


def test_linked_traces_are_reported(told: list[int]):
    sent_traces.sent_in(SpanContext(1, 1, is_remote=False), [Link(SpanContext(2, 2, is_remote=True))])

    assert told == [1, 2]
    assert native.none_is_sent() is False

"""No text that others choose leaves longer than stated, whatever it travels as, and what is cut says so."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry import baggage
from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from otlp_receiver import otlp_receiver

from langflow_otel import metrics, record_retry, set_attributes, span, traced
from langflow_otel._content.gate import ContentGate, SpanContent
from langflow_otel._content.limits import MAX_NAME, MAX_SPAN_TEXT, MAX_VALUE, bounded, bounded_value, chosen, cut
from langflow_otel._content.log_lines import log_line
from langflow_otel._runs.facts import OK, ComponentInfo, FlowInfo, ModelUsage, Outcome, ToolInfo
from langflow_otel._runs.recorder import Recorder
from langflow_otel._runs.request import RequestInfo
from langflow_otel._sdk.providers import build_tracer_provider
from langflow_otel._settings.otlp_target import OtlpTarget
from langflow_otel._settings.settings import Settings
from langflow_otel._settings.standard_variables import STANDARD
from langflow_otel.testing import Telemetry
from tests.support.recording import recorder, recording

HUGE = "x" * 3_000_000
MARK = "... [cut, 3000000 characters]"
FLOW = FlowInfo(HUGE, "api", flow_id=HUGE, run_id=HUGE, session_id=HUGE, user_id=HUGE, component_count=1)
COMPONENT = ComponentInfo(HUGE, HUGE, HUGE, "agent", HUGE)
HUGE_ERROR = type(HUGE, (Exception,), {"__module__": HUGE})


def texts_of(finished: ReadableSpan) -> Iterator[str]:
    """Every text on a span."""
    yield finished.name
    for attributes in (finished.attributes, *(event.attributes for event in finished.events)):
        for name, value in (attributes or {}).items():
            yield name
            yield from value if isinstance(value, tuple) else [value]
    for event in finished.events:
        yield event.name


def assert_cut(telemetry: Telemetry) -> None:
    for finished in telemetry.sdk_spans:
        for text in texts_of(finished):
            # A name has the operation before it.
            assert not isinstance(text, str) or len(text) <= MAX_NAME + 20, text[:100]


# What becomes of it


def test_whatever_others_choose_is_cut_on_spans_and_metrics():
    settings = Settings(user_id=True, baggage_keys=("b",), detail="output", openinference=True)
    with recording(settings) as telemetry:
        flow = recorder().start_flow(FLOW, parent=baggage.set_baggage("b", HUGE))
        assert flow is not None
        flow.complete(HUGE, HUGE)
        flow.component_skipped(ComponentInfo("B" + HUGE, HUGE, HUGE))
        run = recorder().start_component(COMPONENT, flow)
        output = recorder().start_output(HUGE, run)
        assert output is not None
        tool = recorder().start_tool(ToolInfo(HUGE, HUGE, HUGE), run)
        tool.finish(Outcome("error", HUGE_ERROR()))
        output.finish()
        record_retry(1, 0.5, HUGE_ERROR())
        run.produced((HUGE, "b"))
        run.used_model(ModelUsage(HUGE, HUGE, 1, 2))
        run.finish(Outcome("error", HUGE_ERROR()))
        flow.finish()
        request = recorder().start_request(RequestInfo("POST", "/" + HUGE, "http"), Context())
        assert request is not None
        request.finish("/{path}", 200)
        page = telemetry.metrics()

    names = sorted(finished.name for finished in telemetry.sdk_spans)
    assert [name.partition(" ")[0] for name in names] == [
        "POST",
        "execute_tool",
        "invoke_agent",
        "invoke_workflow",
        "output",
    ]
    assert_cut(telemetry)
    assert all(name.endswith(MARK) for name in names[1:])
    (flow_span,) = [each for each in telemetry.sdk_spans if each.name.startswith("invoke_workflow")]
    attributes = flow_span.attributes or {}
    for name in ("session.id", "gen_ai.conversation.id", "langflow.flow.name", "langflow.run.id", "user.id", "b"):
        assert attributes[name] == "x" * (MAX_NAME - len(MARK)) + MARK
    assert max(map(len, page)) < 2_000
    assert any(MARK in sample for sample in page)


def test_what_an_author_sets_is_cut():
    @traced(HUGE, attributes={HUGE: HUGE})
    def work() -> None:
        set_attributes(a=HUGE, rows=[HUGE, HUGE], numbers=[0.5] * 100_000, fine="ü", few=[1, 2])

    with recording() as telemetry:
        work()
        with span(HUGE, a=HUGE) as inner:
            inner.set_attributes(**{HUGE: HUGE, "b": HUGE})

    assert_cut_at(telemetry, MAX_VALUE)
    decorated, block = (dict(each.attributes or {}) for each in telemetry.sdk_spans)
    assert (decorated["fine"], decorated["few"], decorated["numbers.length"]) == ("ü", (1, 2), 100_000)
    assert decorated["numbers"] == (0.5,) * 4096
    assert decorated["rows"][-1] == "... [cut, 2 items]"
    assert decorated["a"] == block["a"] == block["b"] == "x" * (MAX_VALUE - len(MARK)) + MARK


def assert_cut_at(telemetry: Telemetry, longest: int) -> None:
    for finished in telemetry.sdk_spans:
        assert max(len(text) for text in texts_of(finished) if isinstance(text, str)) == longest


def test_labels_of_an_author_are_cut():
    counter = metrics.counter("sizes_of_labels", labels=["region"])
    with recording() as telemetry:
        counter.add(1, region=HUGE)
        ((sample, value),) = telemetry.metrics("sizes_of_labels_total").items()

    assert value == 1
    assert sample == f'sizes_of_labels_total{{region="{"x" * (256 - len(MARK))}{MARK}"}}'


def test_names_of_inputs_are_cut():
    """They are an author's, or come with a flow from elsewhere."""
    content = SpanContent(ContentGate(Settings(content_on_spans=True)), lambda _: None)
    content.add(f"langflow.component.input.{HUGE}", "text")

    assert [len(name) for name in content.attributes] == [MAX_NAME]


@pytest.mark.parametrize("redacted", [False, True])
@pytest.mark.parametrize("bodies", [False, True])
def test_log_lines_are_cut(bodies: bool, redacted: bool):
    settings = Settings(log_bodies=bodies, error_messages="redacted" if redacted else "none")
    event = {"event": HUGE, "query": HUGE, HUGE: HUGE, "pathname": HUGE, "lineno": 7}
    line = log_line(HUGE, "info", event, HUGE_ERROR(), None, settings)

    assert len(line.scope) == MAX_NAME
    assert line.attributes["lineno"] == 7
    for text in (line.body, *line.attributes, *map(str, line.attributes.values())):
        assert len(text) <= MAX_VALUE
    if bodies:
        assert line.body.endswith(MARK)
        assert line.attributes["query"] == line.body
        assert len(line.body) == MAX_VALUE


def test_half_a_secret_at_the_cut_of_a_log_line_is_hidden():
    key = "sk-proj-" + "aB3dE5fG7h" * 4
    text = "x" * (MAX_VALUE - 60) + " " + key + " " + HUGE
    line = log_line("x", "info", {"event": text}, None, None, Settings(log_bodies=True, error_messages="redacted"))

    assert "sk-proj" not in line.body
    assert len(line.body) == MAX_VALUE


def test_ids_that_differ_behind_the_cut_share_a_series():
    with recording() as telemetry:
        for name in ("a", "b", "a"):
            flow = recorder().start_flow(FlowInfo(name + HUGE))
            assert flow is not None
            flow.finish()
        found = telemetry.metrics("langflow_flow_duration_seconds_count")

    assert sorted(found.values()) == [1, 2]


# A provider of our own cuts what comes past us


def finished_by(settings: Settings) -> ReadableSpan:
    provider, kept = build_tracer_provider(settings), InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(kept))
    run = Recorder(provider, settings).start_flow(FlowInfo("demo"))
    assert run is not None
    assert run.span is not None
    run.span.set_attribute("text", HUGE)
    run.span.add_event("x", {"text": HUGE})
    run.finish()
    provider.shutdown()
    (found,) = kept.get_finished_spans()
    return found


@pytest.mark.parametrize(
    ("environment", "content_length", "expected"),
    [
        ({}, 8192, (MAX_SPAN_TEXT, MAX_SPAN_TEXT)),
        ({}, 500_000, (500_000, 500_000)),
        ({"OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT": "200000"}, 8192, (200_000, 200_000)),
        ({"OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT": ""}, 8192, (MAX_SPAN_TEXT, MAX_SPAN_TEXT)),
        ({"OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT": "10"}, 8192, (10, MAX_SPAN_TEXT)),
    ],
)
def test_what_is_set_past_us_is_cut(monkeypatch, environment: dict[str, str], content_length: int, expected: Any):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    found = finished_by(Settings(content_length=content_length))

    assert (len((found.attributes or {})["text"]), len((found.events[0].attributes or {})["text"])) == expected


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_a_session_id_of_megabytes_costs_no_other_run_a_span(protocol: Any, caplog: pytest.LogCaptureFixture):
    with otlp_receiver(protocol, 4 * 2**20) as receiver:
        path = "" if protocol == "grpc" else "/v1/traces"
        settings = Settings(otlp=OtlpTarget(protocol, f"http://{receiver.address}{path}", insecure=True))
        provider = build_tracer_provider(settings)
        with caplog.at_level(logging.WARNING):
            for number in range(11):
                run = Recorder(provider, settings).start_flow(
                    FlowInfo(f"flow {number}", session_id=HUGE if number == 4 else "s")
                )
                assert run is not None
                run.finish(OK)
            provider.shutdown()

    assert len(receiver.requests) == 1
    assert len(receiver.spans) == 11
    assert [record for record in caplog.records if "ttribute" not in record.getMessage()] == []


# The functions


def test_limit_of_other_texts_is_the_one_of_the_check():
    (variable,) = [each for each in STANDARD if each.name == "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT"]

    assert variable.default == str(MAX_SPAN_TEXT)


def test_what_is_short_is_the_same_object():
    attributes = {"text": "x" * MAX_VALUE, "number": 1, "flag": True, "ratio": 0.5}

    assert bounded(attributes) is attributes
    assert cut("x" * MAX_NAME) == "x" * MAX_NAME
    assert chosen("ü" * MAX_NAME) == "ü" * MAX_NAME


@pytest.mark.parametrize("length", [MAX_NAME + 1, 5_000, 3_000_000])
def test_what_is_cut_says_how_long_it_was(length: int):
    found = cut("x" * length)

    assert len(found) == MAX_NAME
    assert found.endswith(f"x... [cut, {length} characters]")


def test_what_is_cut_twice_says_how_long_it_was_at_first():
    found = cut(cut("x" * 5_000), 256)

    assert found == "x" * (256 - 26) + "... [cut, 5000 characters]"


def test_half_a_surrogate_pair_is_replaced():
    assert chosen("a\ud800") == "a?"
    assert FlowInfo("a\ud800", session_id="\udfff").session_id == "?"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (("a", "b"), ("a", "b")),
        (["a", "b"], ["a", "b"]),
        (None, None),
        ({"a": [1, "b"]}, {"a": [1, "b"]}),
        (b"a", b"a"),
        (HUGE.encode(), b"x" * MAX_VALUE + b"... [cut, 3000000 bytes]"),
        (["x" * 10_000] * 3, ["x" * 10_000, "x" * (6384 - 27) + "... [cut, 10000 characters]", "... [cut, 3 items]"]),
        ({"a": HUGE, "b": 1}, {"a": "x" * (MAX_VALUE - 1 - len(MARK)) + MARK, "...": "... [cut, 2 entries]"}),
    ],
)
def test_values_of_each_type(value: Any, expected: Any):
    assert bounded_value(value) == expected


def test_a_mapping_of_many_entries_is_cut():
    found = bounded_value({str(number): {"x": [HUGE]} for number in range(100_000)})

    assert len(str(found)) < MAX_VALUE + 200

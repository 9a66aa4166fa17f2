"""Spans of ours that leave without a span of the SDK."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace import Span as SdkSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_ON,
    Decision,
    ParentBased,
    Sampler,
    SamplingResult,
    TraceIdRatioBased,
)
from opentelemetry.trace import Link, Span, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from langflow_otel import _guard as guard
from langflow_otel import _semconv as semconv
from langflow_otel import instrument, uninstrument
from langflow_otel._runs.buffered_spans import HeldSpan, new_span_context
from langflow_otel._runs.facts import ComponentInfo, FlowInfo, ModelInfo, ModelResponse
from langflow_otel._runs.model_call import ModelRun, calling_model
from langflow_otel._runs.recorder import Recorder, active_recorder
from langflow_otel._sdk.ended_span import EndedSpans
from langflow_otel._sdk.sampling import DecidedSampler
from langflow_otel._settings.settings import Settings
from langflow_otel.testing import capture_telemetry
from langflow_otel.version import __version__

INFO = ModelInfo("chat", "gpt", "openai", {semconv.GEN_AI_REQUEST_TEMPERATURE: 0.5})
ELSEWHERE = SpanContext(1, 2, True, TraceFlags(TraceFlags.SAMPLED))


def new_provider(sampler: Sampler | None = None) -> tuple[TracerProvider, InMemorySpanExporter]:
    """With where its spans are kept."""
    # An empty one, for the SDK reads packages' files for any other.
    provider, kept = TracerProvider(sampler, Resource({}), shutdown_on_exit=False), InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(kept))
    return provider, kept


def fail(span: Span) -> None:
    try:
        raise ValueError("\N{GRINNING FACE}" * 50)
    except ValueError as error:
        span.record_exception(error, {"a": 1}, timestamp=3)


class UnspeakableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError


CHANGES: dict[str, Callable[[Span], object]] = {
    "nothing": lambda span: None,
    "attributes": lambda span: span.set_attributes(
        {"a": 1, "b": "x", "c": True, "d": 0.5, "e": ("x", "y"), "f": "é" * 9}
    ),
    "lists": lambda span: span.set_attributes({"a": [1, 2], "b": [], "c": ["x" * 99], "d": b"bytes"}),
    "attribute again": lambda span: [span.set_attribute("a", value) for value in (1, "x", [2])],
    "too many attributes": lambda span: [span.set_attribute(str(number), number) for number in range(20)],
    "too many at once": lambda span: span.set_attributes({str(number): number for number in range(20)}),
    "long text": lambda span: span.set_attributes({"a": "x" * 1000, "b": ("y" * 1000,), "c": "short"}),
    "events": lambda span: [span.add_event(str(number), {"a": "x" * 99}, number) for number in range(1, 4)],
    "too many events": lambda span: [span.add_event(str(number), None, 7) for number in range(20)],
    "event with too many": lambda span: span.add_event("x", {str(number): number for number in range(200)}, 7),
    "links": lambda span: [span.add_link(SpanContext(1, number, False), {"a": 1}) for number in range(1, 4)],
    "too many links": lambda span: [span.add_link(SpanContext(1, number, True)) for number in range(1, 20)],
    "link with too many": lambda span: span.add_link(ELSEWHERE, {str(number): number for number in range(200)}),
    "name": lambda span: span.update_name("z"),
    "status": lambda span: span.set_status(Status(StatusCode.ERROR, "why")),
    "status that stays": lambda span: [span.set_status(code) for code in (StatusCode.OK, StatusCode.ERROR)],
    "status unset": lambda span: [span.set_status(code) for code in (StatusCode.ERROR, StatusCode.UNSET)],
    "exception": fail,
}
LIMITS = {
    "default": {},
    "few": {f"OTEL_SPAN_{kind}_COUNT_LIMIT": "8" for kind in ("ATTRIBUTE", "EVENT", "LINK")},
    "none": {f"OTEL_SPAN_{kind}_COUNT_LIMIT": "0" for kind in ("ATTRIBUTE", "EVENT", "LINK")},
    "of attributes": {"OTEL_ATTRIBUTE_COUNT_LIMIT": "3"},
    "of an event's and a link's": {f"OTEL_{kind}_ATTRIBUTE_COUNT_LIMIT": "2" for kind in ("EVENT", "LINK")},
    "of lengths": {"OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT": "3", "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT": "20"},
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=list(CHANGES))
@pytest.mark.parametrize("limits", LIMITS.values(), ids=list(LIMITS))
def test_it_is_encoded_as_one_of_the_sdks(
    monkeypatch: pytest.MonkeyPatch, change: Callable[[Span], object], limits: dict[str, str]
):
    monkeypatch.setenv("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "500")
    for name, value in limits.items():
        monkeypatch.setenv(name, value)
    provider, kept = new_provider()
    tracer = provider.get_tracer(semconv.SCOPE, __version__, schema_url=semconv.SCHEMA_URL)
    state = trace.TraceState([("a", "b")])
    above = trace.NonRecordingSpan(SpanContext(5, 6, True, TraceFlags(TraceFlags.SAMPLED), state))
    about: dict[str, Any] = {
        "kind": SpanKind.CLIENT, "attributes": {"first": "1"}, "links": [Link(ELSEWHERE, {"a": 1})], "start_time": 3
    }  # fmt: skip
    sdks = tracer.start_span("x", trace.set_span_in_context(above), **about)
    about["links"] = [Link(ELSEWHERE, {"a": 1})]  # the SDK changes the one that it gets
    ours = HeldSpan(tracer, "x", above, own=sdks.get_span_context(), send=EndedSpans(provider).sender(), **about)

    for span in (sdks, ours):
        change(span)
        span.end(9)
        span.end(10)
        assert not span.is_recording()

    theirs, found = kept.get_finished_spans()
    assert encode_spans([found]) == encode_spans([theirs])


def test_it_is_written_as_json_as_one_of_the_sdks():
    provider, kept = new_provider()
    with instrumented(provider) as recorder:
        call_of_a_model()
        recorder.use_tracer_provider(provider, reaches=recorder.reaches)
        call_of_a_model()

    spans = [json.loads(span.to_json()) for span in kept.get_finished_spans() if span.name == "chat gpt"]
    of_a_run = {"context", "parent_id", "start_time", "end_time"}
    ours, theirs = ({name: value for name, value in span.items() if name not in of_a_run} for span in spans)
    assert ours == theirs


@pytest.mark.parametrize("options", [{}, {"record_exception": False}, {"set_status_on_exception": False}], ids=str)
@pytest.mark.parametrize("error", [None, ValueError("why"), KeyboardInterrupt()], ids=["ok", "error", "interrupt"])
def test_a_block_that_fails_marks_it_as_one_of_the_sdks(options: dict[str, bool], error: BaseException | None):
    provider, kept = new_provider()
    sdks = provider.get_tracer(semconv.SCOPE, __version__).start_span("x", **options)
    own, send = sdks.get_span_context(), EndedSpans(provider).sender()
    ours = HeldSpan(provider.get_tracer(semconv.SCOPE), "x", trace.INVALID_SPAN, own=own, send=send, **options)
    for span in (sdks, ours):
        with suppress(ValueError, KeyboardInterrupt), span:
            if error is not None:
                raise error

    expected, found = map(_errors_on, kept.get_finished_spans())
    assert found == expected
    assert len(found[1]) == (error is not None and options.get("record_exception", True))


def _errors_on(span: ReadableSpan) -> tuple[Any, list[Any]]:
    names = ("exception.type", "exception.message")  # newer SDKs also say that it has left the span
    events = [(each.name, *((each.attributes or {}).get(name) for name in names)) for each in span.events]
    return (span.status.status_code, span.status.description), events


def test_a_block_that_fails_without_a_text_does_no_harm(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(guard, "strict", False)
    span = HeldSpan(trace.NoOpTracer(), "x", trace.INVALID_SPAN)

    with pytest.raises(UnspeakableError), span:
        raise UnspeakableError

    assert span.end_time is not None


def test_keys_that_are_none_are_not_taken():
    provider, kept = new_provider()
    tracer: Any = provider.get_tracer("x")
    above = trace.NonRecordingSpan(ELSEWHERE)
    span = HeldSpan(
        tracer, "x", above, own=new_span_context(ELSEWHERE, sampled=True), send=EndedSpans(provider).sender()
    )
    refused: Any = [("", 1), ("", "x"), (7, 1), (7, "x"), (None, 1), ((), 1)]

    for key, value in refused:
        span.set_attribute(key, value)
    span.set_attributes(dict(refused))
    span.end()

    (found,) = kept.get_finished_spans()
    assert not found.attributes
    assert encode_spans([found])


def test_an_exception_without_a_text_does_no_harm(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(guard, "strict", False)
    span = HeldSpan(trace.NoOpTracer(), "x", trace.INVALID_SPAN)

    span.record_exception(UnspeakableError())

    assert not span.events


def call_of_a_model() -> tuple[ModelRun, SpanContext]:
    """A call with a request below it, in a component of a flow; with the context of the request's span."""
    recorder = active_recorder()
    assert recorder is not None
    flow = recorder.start_flow(FlowInfo("demo"))
    component = recorder.start_component(ComponentInfo("Model-1", "Model", "Model", "llm"), flow)
    call = recorder.start_model(INFO, component)
    assert call is not None
    assert flow is not None
    assert calling_model() is call
    token = otel_context.attach(call.context)
    request = recorder.start_span("request")
    assert request is not None
    assert request.span is not None
    request.finish()
    otel_context.detach(token)
    call.answered(ModelResponse("gpt-4", input_tokens=3))
    call.end()
    component.finish()
    flow.finish()
    return call, request.span.get_span_context()


def test_calls_by_our_own_provider_leave_as_they_are(tmp_path: Path):
    path = tmp_path / "spans.jsonl"
    instrument(settings=Settings(trace_file=path))
    try:
        call, request = call_of_a_model()
    finally:
        uninstrument()

    assert type(call.span) is HeldSpan
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    spans = {
        span["name"]: span
        for line in lines
        for resource in line["resourceSpans"]
        for scope in resource["scopeSpans"]
        for span in scope["spans"]
    }
    chat = spans["chat gpt"]
    assert len({span["traceId"] for span in spans.values()}) == 1
    assert chat["parentSpanId"] == spans["component Model"]["spanId"]
    assert spans["request"]["parentSpanId"] == chat["spanId"]
    assert chat["flags"] == spans["component Model"]["flags"]
    assert {key["key"] for key in chat["attributes"]} >= {semconv.FLOW_NAME, semconv.GEN_AI_USAGE_INPUT_TOKENS}
    assert request.trace_flags.sampled


def test_calls_by_a_given_provider_are_the_sdks():
    with capture_telemetry() as telemetry:
        call, _ = call_of_a_model()

    assert isinstance(call.span, SdkSpan)
    assert telemetry.names().count("chat gpt") == 1


@contextmanager
def instrumented(provider: TracerProvider) -> Iterator[Recorder]:
    """With that provider, as if it were the library's own."""
    instrument(tracer_provider=provider, settings=Settings())
    try:
        recorder = active_recorder()
        assert recorder is not None
        recorder.use_tracer_provider(provider, reaches=recorder.reaches, sender=EndedSpans(provider).sender)
        yield recorder
    finally:
        uninstrument()


def test_both_make_the_same_of_a_call():
    found = []
    for is_own in (True, False):
        provider, kept = new_provider()
        with instrumented(provider) as recorder:
            if not is_own:
                recorder.use_tracer_provider(provider, reaches=recorder.reaches)
            call, _ = call_of_a_model()
        assert (type(call.span) is HeldSpan) is is_own
        (span,) = [span for span in kept.get_finished_spans() if span.name == "chat gpt"]
        context, parent = span.get_span_context(), span.parent
        assert context is not None
        assert parent is not None
        flags = (context.trace_flags, context.is_remote, parent.trace_flags, context.trace_id == parent.trace_id)
        about = (span.kind, span.status.status_code, span.resource is provider.resource)
        found.append((dict(span.attributes or {}), span.instrumentation_scope, *about, *flags))

    assert found[0] == found[1]


class Noting(SpanProcessor):
    """A processor of others."""

    def __init__(self) -> None:
        self.started: list[str] = []

    def on_start(self, span: SdkSpan, parent_context: Context | None = None) -> None:
        span.set_attribute("noted", True)
        self.started.append(span.name)


class Named(Sampler):
    """A sampler of others."""

    def should_sample(self, parent_context: Any, trace_id: int, name: str, *args: Any, **kwargs: Any) -> SamplingResult:
        return SamplingResult(Decision.DROP if name.startswith("chat") else Decision.RECORD_AND_SAMPLE)

    def get_description(self) -> str:
        return "Named"


def test_a_processor_of_others_gets_calls_when_they_start():
    (provider, _), noting = new_provider(), Noting()
    with instrumented(provider):
        before, _ = call_of_a_model()
        provider.add_span_processor(noting)
        after, _ = call_of_a_model()

    assert type(before.span) is HeldSpan
    assert isinstance(after.span, SdkSpan)
    assert noting.started.count("chat gpt") == 1


@pytest.mark.parametrize(
    "sampler", [Named(), DecidedSampler(Named()), ParentBased(Named(), local_parent_sampled=Named())]
)
def test_a_sampler_of_others_decides_on_each_call(sampler: Sampler):
    provider, _ = new_provider(sampler)
    with instrumented(provider):
        call, _ = call_of_a_model()

    assert call.span is not None
    assert not call.span.get_span_context().trace_flags.sampled


@pytest.mark.parametrize(
    "sampler",
    [ALWAYS_ON, TraceIdRatioBased(1.0), ParentBased(Named()), DecidedSampler(Named(), follows_parent=True)],
)
def test_a_sampler_that_takes_all_below_need_not_be_asked(sampler: Sampler):
    provider, _ = new_provider(sampler)
    with instrumented(provider):
        call, _ = call_of_a_model()

    assert type(call.span) is HeldSpan


def test_the_sdks_own_metrics_count_calls(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED", "true")
    provider, _ = new_provider()
    with instrumented(provider):
        call, _ = call_of_a_model()

    assert isinstance(call.span, SdkSpan)


def test_calls_of_a_flow_that_is_not_sampled_do_not_leave(tmp_path: Path):
    path = tmp_path / "spans.jsonl"
    instrument(settings=Settings(trace_file=path, sampling=(("*", 0.0),)))
    try:
        recorder = active_recorder()
        assert recorder is not None
        flow = recorder.start_flow(FlowInfo("demo"))
        assert flow is not None
        call = recorder.start_model(INFO, flow)
        assert call is None or type(call.span) is not HeldSpan
        if call is not None:
            call.end()
        flow.finish()
    finally:
        uninstrument()

    assert not path.exists() or not path.read_text()

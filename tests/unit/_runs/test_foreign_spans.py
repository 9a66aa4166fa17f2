"""Spans that other instrumentors make of a model call take the place of ours, where they are sent to the same place."""

from __future__ import annotations

import contextvars
from collections.abc import Iterator, Sequence

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Span

from langflow_otel._runs.facts import ComponentInfo, FlowInfo, ModelInfo, ModelResponse, Outcome, ToolInfo
from langflow_otel._runs.foreign_spans import ReportedSpans
from langflow_otel._runs.model_call import calling_model
from langflow_otel._runs.recorder import Recorder, set_active_recorder
from langflow_otel._sdk.content_filter import ContentFilter
from langflow_otel._sdk.destinations import reaches_same_backend
from langflow_otel._sdk.instrumentor_spans import TracersBelowRuns, watch_nested_model_spans, watch_other_tracers
from langflow_otel._sdk.sampling import let_recorder_decide
from langflow_otel._settings.settings import Settings
from tests.support.recording import recorder, recording

LIBRARY = "opentelemetry.instrumentation.some"
CHAT = {"gen_ai.operation.name": "chat"}
COMPONENT = ComponentInfo("Model-1", "Model", "Model")


class _Keeps(SpanExporter):
    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.spans += spans
        return SpanExportResult.SUCCESS


@pytest.mark.parametrize("share", [1.0, 0.0], ids=["sampled", "kept"])
@pytest.mark.parametrize("where", ["before", "component", "tool"])
def test_content_where_it_is_denied_does_not_leave_with_them(where: str, share: float):
    settings = Settings(content_on_spans=True, error_messages="full", sampling=(("*", share),), keep_errors=True)
    tracers = TracersBelowRuns()
    with recording(settings) as telemetry:
        let_recorder_decide(telemetry.provider, per_flow=True)
        recorder().use_tracer_provider(telemetry.provider, decides=True)
        watch_nested_model_spans(telemetry.provider)
        tracers.makes_spans = telemetry.provider
        flow = recorder().start_flow(FlowInfo("demo"))
        component = recorder().start_component(COMPONENT, flow)
        tool = recorder().start_tool(ToolInfo("look up"), component)
        component.denied, tool.denied = where == "component", where == "tool"
        attributes = {"input.value": "canary", "llm.model_name": "m"}
        with (
            pytest.raises(ValueError, match="canary"),
            tracers.get_tracer(LIBRARY).start_as_current_span("theirs", attributes=attributes),
        ):
            raise ValueError("canary")
        for run in (tool, component, flow):
            run.finish(Outcome("error", KeyError("x")))

    kept = _Keeps()
    ContentFilter(kept, settings).export(telemetry.sdk_spans)
    (theirs,) = [span for span in kept.spans if span.name == "theirs"]
    assert theirs.attributes["llm.model_name"] == "m"
    assert ("canary" in theirs.to_json()) is (where == "before")


class Process:
    """A recorder whose spans are kept, and providers of others."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = self.provider_to(self.exporter)
        self.recorder = Recorder(self.provider, Settings())
        reaches = reaches_same_backend(self.provider, lambda processor, scope: True)
        self.recorder.use_tracer_provider(self.provider, reaches=reaches)
        watch_nested_model_spans(self.provider)

    @staticmethod
    def provider_to(exporter: InMemorySpanExporter) -> TracerProvider:
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        return provider

    def run(self, during: object, *, before: bool = False, provider: TracerProvider | None = None) -> list[str]:
        """One model call, in which ``during`` starts a span. Returns the names of what was sent."""
        start = (provider or self.provider).get_tracer(LIBRARY).start_span
        flow = self.recorder.start_flow(FlowInfo("demo"))
        component = self.recorder.start_component(COMPONENT, flow)
        theirs: Span | None = None
        with ReportedSpans() as reported:
            if before:
                theirs = during(start)
        call = self.recorder.start_model(ModelInfo("chat", "m"), component, reported.of_call(0))
        if not before:
            theirs = during(start)
        call.answered(ModelResponse(input_tokens=3))
        call.end()
        if theirs is not None:
            theirs.end()
        component.finish()
        flow.finish()
        return [span.name for span in self.exporter.get_finished_spans()]


@pytest.fixture
def process() -> Iterator[Process]:
    process = Process()
    set_active_recorder(process.recorder)
    yield process
    set_active_recorder(None)


def chat(start: object) -> Span:
    return start("theirs", attributes=CHAT)


def test_the_one_made_at_langchains_report_is_taken(process):
    """Of what kind it is, it may say at its end only."""
    names = process.run(lambda start: start("theirs"), before=True)

    assert names == ["theirs", "component Model", "invoke_workflow demo"]
    component = process.exporter.get_finished_spans()[1]
    assert component.attributes["langflow.usage.input_tokens"] == 3


def test_the_one_made_in_the_providers_library_is_taken(process):
    assert process.run(chat) == ["theirs", "component Model", "invoke_workflow demo"]


@pytest.mark.parametrize("before", [True, False])
def test_one_of_a_watched_provider_to_the_same_place_is_taken(process, before):
    class Handler:
        def __init__(self, provider: TracerProvider) -> None:
            self.tracer = provider.get_tracer(LIBRARY)

    provider = process.provider_to(process.exporter)
    watch_other_tracers([Handler(provider)])

    assert "chat m" not in process.run(chat, before=before, provider=provider)


@pytest.mark.parametrize("before", [True, False])
def test_one_that_is_sent_elsewhere_leaves_ours(process, before):
    elsewhere = InMemorySpanExporter()
    provider = process.provider_to(elsewhere)
    watch_nested_model_spans(provider)

    assert "chat m" in process.run(chat, before=before, provider=provider)
    assert [span.name for span in elsewhere.get_finished_spans()] == ["theirs"]


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("attribute", ["http.request.method", "http.method", "db.system"])
def test_a_request_to_a_service_is_no_model_call(process, before, attribute):
    names = process.run(lambda start: start("theirs", attributes={attribute: "x"}), before=before)

    assert "chat m" in names


def test_a_span_of_another_kind_is_no_model_call(process):
    assert "chat m" in process.run(lambda start: start("theirs", attributes={"gen_ai.operation.name": "execute_tool"}))


@pytest.mark.parametrize("before", [True, False])
def test_a_users_own_span_is_no_model_call(process, before):
    tracer = process.provider.get_tracer("users.own")

    assert "chat m" in process.run(lambda _: tracer.start_span("theirs", attributes=CHAT), before=before)


def test_a_span_of_another_trace_is_no_model_call(process):
    from opentelemetry.context import Context

    assert "chat m" in process.run(lambda start: start("theirs", Context(), attributes=CHAT))


def test_a_span_after_the_first_chunk_is_no_part_of_the_call(process):
    flow = process.recorder.start_flow(FlowInfo("demo"))
    call = process.recorder.start_model(ModelInfo("chat", "m"), flow)
    call.first_chunk()
    chat(process.provider.get_tracer(LIBRARY).start_span).end()
    call.end()
    flow.finish()

    assert [span.name for span in process.exporter.get_finished_spans()] == ["theirs", "chat m", "invoke_workflow demo"]


def test_requests_are_below_the_one_that_is_taken(process):
    """Some instrumentors do not make their spans current."""
    flow = process.recorder.start_flow(FlowInfo("demo"))
    call = process.recorder.start_model(ModelInfo("chat", "m"), flow)
    theirs = chat(process.provider.get_tracer(LIBRARY).start_span)

    assert calling_model() is call
    request = process.provider.get_tracer(LIBRARY).start_span("POST", call.context)
    for each in (request, theirs):
        each.end()
    call.end()
    flow.finish()

    assert request.parent.span_id == theirs.get_span_context().span_id
    assert "chat m" not in [span.name for span in process.exporter.get_finished_spans()]


def test_a_report_may_end_in_another_context(caplog):
    """Where a coroutine was dropped half way."""
    reported = ReportedSpans()
    contextvars.copy_context().run(reported.__enter__)

    reported.__exit__(None, None, None)
    assert caplog.records == []

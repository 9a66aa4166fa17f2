"""Beside other instrumentors, the real packages: one tree, tokens once, and none of their content leaves.

They are not among the test dependencies, since opentelemetry-instrument would load them in every other test:
pip install langchain-openai openinference-instrumentation-langchain opentelemetry-instrumentation-langchain \
    opentelemetry-instrumentation-genai-openai opentelemetry-instrumentation-genai-langchain
(before 2026-06: opentelemetry-instrumentation-openai-v2 instead of the last two).
"""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.metadata import entry_points
from importlib.util import find_spec
from typing import Any

import pytest
from flows import chat_output
from langchain_core.callbacks import BaseCallbackManager
from langchain_core.tools import BaseTool
from lfx.components.input_output import ChatInput
from lfx.events.event_manager import create_default_event_manager
from lfx.graph import Graph
from nodes import nested
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from langflow_otel.export.content import ContentFilter
from langflow_otel.export.instrumentors import OtherInstrumentors
from langflow_otel.export.nested import watch_nested_model_spans
from langflow_otel.settings import Settings
from langflow_otel.testing import Telemetry, capture_telemetry

pytest.importorskip("openinference.instrumentation.langchain")
pytest.importorskip("opentelemetry.instrumentation.langchain")

OPENINFERENCE = "openinference-instrumentation-langchain:langchain"
OPENLLMETRY = "opentelemetry-instrumentation-langchain:langchain"
OFFICIAL = "opentelemetry-instrumentation-genai-langchain:langchain"
INSTALLED = {
    f"{each.dist.name.replace('_', '-')}:{each.name}": each for each in entry_points(group="opentelemetry_instrumentor")
}
LANGCHAIN = [name for name in (OPENINFERENCE, OPENLLMETRY, OFFICIAL) if name in INSTALLED]
OURS = "langflow_otel"
COUNTS_TOKENS = hasattr(nested.Answers(_id="Answers-0"), "_token_usage")  # LangFlow 1.9 and later
TOKENS = ("gen_ai.usage.input_tokens", "llm.token_count.prompt")


WRAPPED = ((BaseCallbackManager, "__init__"), (BaseTool, "run"), (BaseTool, "arun"))


@pytest.fixture(autouse=True)
def _content_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """As loud as they can be: what does not leave is then the filter's doing."""
    monkeypatch.setenv("TRACELOOP_TRACE_CONTENT", "true")
    newer = find_spec("opentelemetry.util.genai") is not None
    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "SPAN_ONLY" if newer else "true")
    monkeypatch.setenv("OTEL_SEMCONV_STABILITY_OPT_IN", "gen_ai_latest_experimental")
    for name in ("INPUTS", "OUTPUTS", "PROMPTS", "LLM_INVOCATION_PARAMETERS", "LLM_TOOLS"):
        monkeypatch.setenv(f"OPENINFERENCE_HIDE_{name}", "false")


@pytest.fixture(autouse=True)
def _each_test_for_itself() -> Iterator[None]:
    """What some of them leave behind: OpenLLMetry its callback, the official ones wrappers and what they share."""
    before = [(owner, name, vars(owner)[name]) for owner, name in WRAPPED]
    yield
    for owner, name, method in before:
        setattr(owner, name, method)
    if find_spec("opentelemetry.util.genai") is not None:
        from opentelemetry.util.genai import handler

        vars(handler.get_telemetry_handler).clear()


@contextmanager
def loaded(telemetry: Telemetry, *names: str, **settings: Any) -> Iterator[None]:
    watch_nested_model_spans(telemetry.provider)
    others = OtherInstrumentors(Settings(instrumentors=names, **settings), telemetry.provider, gated=True)
    others.load()
    try:
        yield
    finally:
        others.unload()


async def run_model(model: type, *, stream: bool = False) -> None:
    start = ChatInput(_id="ChatInput-in").set(should_store_message=False)
    node = model(_id="Model-m").set(input_value=start.message_response, stream=stream)
    events = create_default_event_manager(asyncio.Queue()) if stream else None
    graph = Graph(start, chat_output(node.text_response), flow_name="demo")
    await graph.arun([{"input_value": nested.PROMPT}], session_id="s1", event_manager=events)


async def run_agent() -> None:
    start = ChatInput(_id="ChatInput-in").set(should_store_message=False)
    agent = nested.LooksUpTwice(_id="Agent-a").set(input_value=start.message_response)
    graph = Graph(start, chat_output(agent.message_response), flow_name="demo")
    await graph.arun([{"input_value": nested.PROMPT}], session_id="s1")


class _Keeps(SpanExporter):
    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.spans += spans
        return SpanExportResult.SUCCESS


def check_content(telemetry: Telemetry) -> list[ReadableSpan]:
    """It was there, and it does not leave. Returns what leaves."""
    kept = _Keeps()
    ContentFilter(kept).export(telemetry.sdk_spans)
    assert nested.CANARY.encode() in encode_spans(telemetry.sdk_spans).SerializeToString()
    assert nested.CANARY.encode() not in encode_spans(kept.spans).SerializeToString()
    assert [span.context for span in kept.spans] == [span.context for span in telemetry.sdk_spans]
    return kept.spans


def of_others(telemetry: Telemetry) -> list[ReadableSpan]:
    return [span for span in telemetry.sdk_spans if span.instrumentation_scope.name != OURS]


def tokens_on_spans(telemetry: Telemetry) -> int:
    """All that a backend would add up."""
    return sum(span.attributes.get(name, 0) for span in telemetry.sdk_spans for name in TOKENS)


def check_one_tree(telemetry: Telemetry) -> None:
    assert [root.name for root in telemetry.roots()] == ["invoke_workflow demo"]
    ids = {span.context.span_id for span in telemetry.sdk_spans}
    assert [span.name for span in telemetry.sdk_spans if span.parent and span.parent.span_id not in ids] == []


def token_count(telemetry: Telemetry) -> float:
    """Input tokens that were counted."""
    return sum(telemetry.metrics("gen_ai_client_inference_usage_input_tokens_total").values())


MODEL_SPAN = {OPENINFERENCE: "Answers", OPENLLMETRY: "CountingChatModel.chat", OFFICIAL: "chat fake-1"}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", LANGCHAIN)
async def test_a_models_call(telemetry, name, stream):
    with loaded(telemetry, name):
        await run_model(nested.Answers, stream=stream)

    assert telemetry.tree(*TOKENS) == [
        "invoke_workflow demo",
        "  component Chat Input",
        "  component Answers",
        f"    {MODEL_SPAN[name]} {TOKENS[name == OPENINFERENCE]}=3",
        "  component Chat Output",
    ]
    check_content(telemetry)
    assert tokens_on_spans(telemetry) == 3
    assert token_count(telemetry) == (3 if COUNTS_TOKENS else 0)


@pytest.mark.parametrize("name", LANGCHAIN)
async def test_an_agent_with_three_model_calls(telemetry, name):
    with loaded(telemetry, name):
        await run_agent()

    check_one_tree(telemetry)
    check_content(telemetry)
    theirs = of_others(telemetry)
    agent = telemetry.only_span("invoke_agent Looks Up Twice")
    top = [span for span in theirs if f"{span.parent.span_id:016x}" == agent.span_id]
    assert len(top) == 1
    assert "AgentExecutor" in top[0].name
    with_tokens = [span for span in telemetry.sdk_spans if set(TOKENS) & set(span.attributes)]
    assert len(with_tokens) == 3
    assert all(span in theirs for span in with_tokens)
    assert tokens_on_spans(telemetry) == 9
    ours = [span for span in telemetry.sdk_spans if span.instrumentation_scope.name == OURS]
    assert sorted(span.name for span in ours) == [
        "component Chat Input",
        "component Chat Output",
        "execute_tool look_up",
        "execute_tool look_up",
        "invoke_agent Looks Up Twice",
        "invoke_workflow demo",
    ]
    assert token_count(telemetry) in (0, 9)


@pytest.mark.parametrize("name", LANGCHAIN)
async def test_a_model_that_fails(telemetry, name):
    with loaded(telemetry, name), pytest.raises(Exception, match=nested.FAULT):
        await run_model(nested.Breaks)

    check_one_tree(telemetry)
    errors = [span for span in check_content(telemetry) if not span.status.is_ok]
    assert {span.instrumentation_scope.name for span in errors} > {OURS}
    telemetry.warnings.clear()  # older releases of OpenLLMetry set a status as the SDK does not like it


CAPTURE = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
# Releases of OpenTelemetry's before 2026-06 have content in log records only, which are not made here.
CONTENT_ON_SPANS = [name for name in LANGCHAIN if name != OFFICIAL or find_spec("opentelemetry.util.genai") is not None]


def content_variables() -> dict[str, str]:
    """Those by which the instrumentors know whether to record content."""
    names = ("OPENINFERENCE_", "TRACELOOP_", CAPTURE)
    return {name: value for name, value in os.environ.items() if name.startswith(names)}


@pytest.fixture
def _content_as_by_default(monkeypatch: pytest.MonkeyPatch, _content_on: None) -> None:
    """Nothing but our own settings says whether content leaves."""
    for name in content_variables():
        monkeypatch.delenv(name)


def sent_by_others(telemetry: Telemetry, settings: Settings) -> bytes:
    kept = _Keeps()
    ContentFilter(kept, settings).export(of_others(telemetry))
    assert kept.spans
    return encode_spans(kept.spans).SerializeToString()


@pytest.mark.usefixtures("_content_as_by_default")
@pytest.mark.parametrize("mode", ["SPAN_ONLY", "SPAN_AND_EVENT", "true"])
@pytest.mark.parametrize("name", CONTENT_ON_SPANS)
async def test_content_arrives_where_it_may_leave(telemetry, monkeypatch, name, mode):
    monkeypatch.setenv(CAPTURE, mode)
    settings, before = Settings.from_env(), content_variables()
    assert settings.content_on_spans
    with loaded(telemetry, name, content_on_spans=True):
        await run_agent()

    sent = sent_by_others(telemetry, settings)
    assert [text for text in (nested.PROMPT, nested.ARGUMENT, nested.FOUND) if text.encode() not in sent] == []
    assert b"__REDACTED__" not in sent
    assert content_variables() == before
    denied = Settings(content_on_spans=True, content_length=100, redact="canary-[a-z]+")
    assert nested.CANARY.encode() not in sent_by_others(telemetry, denied)


@pytest.mark.usefixtures("_content_as_by_default")
@pytest.mark.parametrize("settings", [{}, {"content_in_events": True}], ids=["off", "events only"])
@pytest.mark.parametrize("name", LANGCHAIN)
async def test_content_that_may_not_leave_is_not_recorded(telemetry, name, settings):
    with loaded(telemetry, name, **settings):
        await run_agent()

    found = {
        name: value
        for span in of_others(telemetry)
        for name, value in (span.attributes or {}).items()
        # OpenInference has no switch for this one; it goes no further than the exporters' filter.
        if nested.CANARY in str(value) and not name.startswith("llm.prompt_template.")
    }
    assert found == {}


async def test_all_at_once(telemetry):
    with loaded(telemetry, *LANGCHAIN):
        await run_model(nested.Answers)

    check_one_tree(telemetry)
    check_content(telemetry)
    assert {span.name for span in of_others(telemetry)} == {MODEL_SPAN[name] for name in LANGCHAIN}
    assert TOKENS[0] not in telemetry.only_span("component Answers").attributes


@pytest.mark.parametrize("name", LANGCHAIN)
async def test_no_span_of_theirs_outside_of_flows_and_in_unsampled_ones(name):
    async def call() -> None:
        await nested.Answers(_id="Model-m").build_model().ainvoke("hi")

    with capture_telemetry(sampler=ALWAYS_OFF) as telemetry, loaded(telemetry, name):
        await run_model(nested.Answers)
    assert telemetry.tree() == []

    with capture_telemetry() as telemetry, loaded(telemetry, name):
        # In a context of its own: OpenLLMetry leaves things in it.
        await asyncio.create_task(call())
    assert telemetry.tree() == []


@pytest.mark.parametrize("name", LANGCHAIN)
async def test_loaded_again_after_a_stop(name):
    """OpenLLMetry's uninstrument() leaves its callback; its spans must not go to the provider that is closed."""
    for _ in range(2):
        with capture_telemetry() as telemetry, loaded(telemetry, name):
            await run_model(nested.Answers)

        assert MODEL_SPAN[name] in telemetry.names()
        check_one_tree(telemetry)


@pytest.mark.parametrize("name", LANGCHAIN)
async def test_one_that_is_active_with_a_provider_of_its_own(telemetry, name):
    """Their spans are theirs, and hang below ours by their ids; ours are as they are without them."""
    exporter = InMemorySpanExporter()
    theirs = TracerProvider(shutdown_on_exit=False)
    theirs.add_span_processor(SimpleSpanProcessor(exporter))
    instrumentor = INSTALLED[name].load()()
    instrumentor.instrument(tracer_provider=theirs)
    try:
        with loaded(telemetry, name):
            await run_model(nested.Answers)
        assert instrumentor.is_instrumented_by_opentelemetry
    finally:
        instrumentor.uninstrument()

    assert telemetry.tree() == [
        "invoke_workflow demo",
        "  component Chat Input",
        "  component Answers",
        "    chat fake-1",
        "  component Chat Output",
    ]
    (call,) = exporter.get_finished_spans()
    component = telemetry.only_span("component Answers")
    assert f"{call.parent.span_id:016x}" == component.span_id
    assert f"{call.context.trace_id:032x}" == component.trace_id
    # Once in each of the two backends.
    assert telemetry.only_span("chat fake-1").attributes[TOKENS[0]] == 3
    assert TOKENS[0] not in component.attributes


@pytest.fixture
def openai() -> Iterator[list[dict[str, str]]]:
    """A server that answers as OpenAI's chat completions do; it keeps the headers."""
    received: list[dict[str, str]] = []
    answer = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "gpt-4o-mini-2024",
        "choices": [
            {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": nested.ANSWER}},
        ],
        "usage": {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8},
    }

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            received.append({name.lower(): value for name, value in self.headers.items()})
            body = json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None: ...

    httpd = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    nested.seen["url"] = f"http://127.0.0.1:{httpd.server_port}/v1"
    yield received
    httpd.shutdown()
    thread.join()
    httpd.server_close()


async def test_openais_official_instrumentor_and_the_http_call_below_it(telemetry, openai):
    with loaded(telemetry, "openai"):
        await run_model(nested.AsksOpenAI)

    assert telemetry.tree(TOKENS[0], "gen_ai.response.finish_reasons") == [
        "invoke_workflow demo",
        "  component Chat Input",
        "  component Asks OpenAI",
        "    chat gpt-4o-mini gen_ai.usage.input_tokens=3 gen_ai.response.finish_reasons=('stop',)",
        "      POST",
        "  component Chat Output",
    ]
    assert openai[0]["traceparent"].split("-")[2] == telemetry.only_span("POST").span_id
    kept = _Keeps()
    ContentFilter(kept).export(telemetry.sdk_spans)
    assert nested.CANARY.encode() not in encode_spans(kept.spans).SerializeToString()
    (chat,) = [span for span in kept.spans if span.name.startswith("chat")]
    assert chat.attributes["gen_ai.response.model"] == "gpt-4o-mini-2024"
    assert token_count(telemetry) == (3 if COUNTS_TOKENS else 0)

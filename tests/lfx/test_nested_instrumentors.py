"""Beside other instrumentors, the real packages: one tree, tokens once, and none of their content leaves.

They are not among the test dependencies, since opentelemetry-instrument would load them in every other test:
pip install langchain-openai openinference-instrumentation-langchain opentelemetry-instrumentation-langchain \
    opentelemetry-instrumentation-genai-openai opentelemetry-instrumentation-genai-langchain \
    openinference-instrumentation-openai
(before 2026-06: opentelemetry-instrumentation-openai-v2 instead of the last two).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import entry_points
from importlib.util import find_spec
from typing import Any

import pytest
from flows import chat_output, run
from langchain_core.callbacks import AsyncCallbackManager, BaseCallbackManager, CallbackManager
from langchain_core.language_models import BaseChatModel
from langchain_core.retrievers import BaseRetriever
from langchain_core.tools import BaseTool
from lfx.components.input_output import ChatInput
from lfx.events.event_manager import create_default_event_manager
from lfx.graph import Graph
from nodes import models, nested
from openai_server import FakeOpenAI, fake_openai
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from test_denied_tools import ARGUMENT, Asking, wired

from langflow_otel._sdk.content_filter import ContentFilter
from langflow_otel._sdk.instrumentor_spans import watch_nested_model_spans
from langflow_otel._sdk.instrumentors import OtherInstrumentors
from langflow_otel._settings.settings import Settings
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
OFFICIAL_OPENAI = "opentelemetry-instrumentation-genai-openai:openai"
OPENAI = [
    name
    for name in (
        OFFICIAL_OPENAI,
        "openinference-instrumentation-openai:openai",
    )
    if name in INSTALLED
]
OURS = "langflow_otel"
TOKENS = ("gen_ai.usage.input_tokens", "llm.token_count.prompt")


def wrapped_owners() -> list[Any]:
    """Classes and modules whose functions they wrap."""
    modules = [import_module(f"langchain_core.runnables.{name}") for name in ("base", "branch", "fallbacks")]
    classes = {each for module in modules for each in vars(module).values() if isinstance(each, type)}
    own = [each for each in classes if each.__module__.startswith("langchain_core.runnables")]
    pregel = [import_module("langgraph.pregel").Pregel] if find_spec("langgraph") is not None else []
    managers = [BaseCallbackManager, CallbackManager, AsyncCallbackManager]
    return [*managers, BaseTool, BaseChatModel, BaseRetriever, *pregel, *own, *modules]


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
    """What some of them leave behind: OpenLLMetry its callback, the official ones wrappers, of which each time doubles
    the time that they take, and what they share."""
    before = [(owner, dict(vars(owner))) for owner in wrapped_owners()]
    yield
    for owner, attributes in before:
        for name, value in dict(vars(owner)).items():
            if callable(value) and hasattr(value, "__wrapped__") and value is not attributes.get(name):
                if name in attributes:
                    setattr(owner, name, attributes[name])
                else:
                    delattr(owner, name)
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
    assert token_count(telemetry) == 3


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
        "invoke_agent Looks Up Twice",
        "invoke_workflow demo",
    ]
    tools = [span for span in theirs if "look_up" in span.name]
    assert len(tools) == 2
    # One for each call, below the span that called it.
    above = {span.context.span_id: span.name for span in theirs}
    assert all("AgentExecutor" in above[span.parent.span_id] for span in tools)
    assert token_count(telemetry) == 9


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
@pytest.mark.parametrize("denied", ["Shout", "shout", "Agent-a"])
# The others have no content on a span that is held until it is known whether its run is kept.
@pytest.mark.parametrize(("name", "share"), [*((name, 1.0) for name in CONTENT_ON_SPANS), (OPENINFERENCE, 0.0)])
async def test_content_of_a_denied_tool_stays_on_their_spans(monkeypatch, name, denied, share):
    monkeypatch.setenv(CAPTURE, "true")

    async def sent(*deny: str) -> bytes:
        settings = Settings(content_on_spans=True, content_deny=deny, sampling=(("*", share),), keep_slow_s=0.0)
        with capture_telemetry(settings=settings) as telemetry, loaded(telemetry, name, content_on_spans=True):
            await run(await wired(Asking, models.Shout(_id="Shout-s")))
        check_one_tree(telemetry)
        return sent_by_others(telemetry, settings).lower()

    assert ARGUMENT.encode() in await sent()
    assert ARGUMENT.encode() not in await sent(denied)


@pytest.mark.usefixtures("_content_as_by_default")
@pytest.mark.parametrize("name", CONTENT_ON_SPANS)
async def test_content_of_a_denied_component_stays_on_their_spans(monkeypatch, name):
    monkeypatch.setenv(CAPTURE, "true")
    settings = Settings(content_on_spans=True, error_messages="full", content_deny=("Answers", "Breaks"))
    with capture_telemetry(settings=settings) as telemetry, loaded(telemetry, name, content_on_spans=True):
        await run_model(nested.Answers)
        with pytest.raises(Exception, match=nested.FAULT):
            await run_model(nested.Breaks)

    assert nested.ANSWER in str([dict(span.attributes) for span in of_others(telemetry)])
    assert nested.CANARY.encode() not in sent_by_others(telemetry, settings)
    telemetry.warnings.clear()  # older releases of OpenLLMetry set a status as the SDK does not like it


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


@contextmanager
def loaded_by_others(name: str, provider: TracerProvider) -> Iterator[None]:
    instrumentor = INSTALLED[name].load()()
    instrumentor.instrument(tracer_provider=provider)
    try:
        yield
    finally:
        instrumentor.uninstrument()


def provider_to_same_place(telemetry: Telemetry) -> TracerProvider:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(telemetry._exporter))
    return provider


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("provider", ["ours", "one to the same place"])
@pytest.mark.parametrize("name", LANGCHAIN)
async def test_one_loaded_by_others_to_the_same_place(telemetry, name, provider, stream):
    theirs = telemetry.provider if provider == "ours" else provider_to_same_place(telemetry)
    with loaded_by_others(name, theirs):
        await run_model(nested.Answers, stream=stream)

    assert telemetry.tree(*TOKENS, "langflow.usage.input_tokens") == [
        "invoke_workflow demo langflow.usage.input_tokens=3",
        "  component Chat Input",
        "  component Answers langflow.usage.input_tokens=3",
        f"    {MODEL_SPAN[name]} {TOKENS[name == OPENINFERENCE]}=3",
        "  component Chat Output",
    ]
    assert token_count(telemetry) == 3


@pytest.mark.parametrize("name", LANGCHAIN)
async def test_tools_of_an_agent_traced_by_others(telemetry, name):
    with loaded_by_others(name, provider_to_same_place(telemetry)):
        await run_agent()

    check_one_tree(telemetry)
    assert len([span for span in telemetry.sdk_spans if "look_up" in span.name]) == 2
    assert tokens_on_spans(telemetry) == 9
    assert token_count(telemetry) == 9


@pytest.fixture
def openai() -> Iterator[FakeOpenAI]:
    with fake_openai() as fake:
        nested.seen["url"] = fake.url
        yield fake


OPENAI_SPAN = {OFFICIAL_OPENAI: "chat gpt-4o-mini", "openinference-instrumentation-openai:openai": "ChatCompletion"}
FROM_OPENAI = 7
"""Input tokens of each answer."""


def openai_tree(name: str) -> list[str]:
    return [
        "invoke_workflow demo langflow.usage.input_tokens=7",
        "  component Chat Input",
        "  component Asks OpenAI langflow.usage.input_tokens=7",
        f"    {OPENAI_SPAN[name]} {TOKENS[name.startswith('openinference')]}=7",
        "      POST",
        "  component Chat Output",
    ]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", OPENAI)
async def test_the_providers_instrumentor(telemetry, openai, name, stream):
    with loaded(telemetry, name):
        await run_model(nested.AsksOpenAI, stream=stream)

    assert telemetry.tree(*TOKENS, "langflow.usage.input_tokens") == openai_tree(name)
    assert openai.received[0]["traceparent"].split("-")[2] == telemetry.only_span("POST").span_id
    kept = _Keeps()
    ContentFilter(kept).export(telemetry.sdk_spans)
    assert nested.CANARY.encode() not in encode_spans(kept.spans).SerializeToString()
    assert token_count(telemetry) == FROM_OPENAI


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("provider", ["ours", "the global one to the same place"])
@pytest.mark.parametrize("name", OPENAI)
async def test_the_providers_loaded_by_others(telemetry, openai, monkeypatch, name, provider, stream):
    theirs = telemetry.provider
    if provider != "ours":
        theirs = provider_to_same_place(telemetry)
        monkeypatch.setattr(trace, "_TRACER_PROVIDER", theirs)
    with loaded_by_others(name, theirs):
        await run_model(nested.AsksOpenAI, stream=stream)

    tree = telemetry.tree(*TOKENS, "langflow.usage.input_tokens")
    # LangFlow's own, by the global provider.
    assert [line for line in tree if line != "  flow.execute"] == openai_tree(name)
    assert token_count(telemetry) == FROM_OPENAI


@pytest.mark.parametrize("name", OPENAI)
async def test_the_providers_that_sends_elsewhere(telemetry, openai, monkeypatch, name):
    exporter = InMemorySpanExporter()
    theirs = TracerProvider(shutdown_on_exit=False)
    theirs.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", theirs)
    with loaded_by_others(name, theirs):
        await run_model(nested.AsksOpenAI)

    assert [span.name for span in exporter.get_finished_spans() if "openai" in span.instrumentation_scope.name]
    assert telemetry.tree(TOKENS[0]) == [
        "invoke_workflow demo",
        "  component Chat Input",
        "  component Asks OpenAI",
        f"    chat gpt-4o-mini {TOKENS[0]}={FROM_OPENAI}",
        "      POST",
        "  component Chat Output",
    ]


@pytest.mark.parametrize("name", OPENAI)
async def test_other_models_have_our_spans(telemetry, name):
    """An instrumentor of one provider's library says nothing about the models of others."""
    with loaded(telemetry, name):
        await run_model(nested.Answers)

    assert telemetry.tree(TOKENS[0]) == [
        "invoke_workflow demo",
        "  component Chat Input",
        "  component Answers",
        f"    chat fake-1 {TOKENS[0]}=3",
        "  component Chat Output",
    ]


@pytest.mark.parametrize("name", OPENAI)
async def test_a_call_of_the_providers_that_fails(telemetry, openai, name):
    openai.replies = [401]
    with loaded(telemetry, name), pytest.raises(Exception, match="401"):
        await run_model(nested.AsksOpenAI)

    names = [line.split(" [")[0] for line in telemetry.tree()]
    assert names[:3] == ["invoke_workflow demo", "  component Chat Input", "  component Asks OpenAI"]
    assert len([each for each in names if each.startswith("    ") and not each.startswith("     ")]) == 1
    telemetry.warnings.clear()


# OpenTelemetry's own names it as we do; those of LangChain make none.
EMBEDDINGS_SPAN = {"openinference-instrumentation-openai:openai": "CreateEmbeddings"}


@pytest.mark.parametrize("by", ["us", "others"])
@pytest.mark.parametrize("name", [*OPENAI, *LANGCHAIN])
async def test_a_call_of_an_embedding_model_has_one_span(telemetry, openai, name, by):
    with loaded(telemetry, name) if by == "us" else loaded_by_others(name, telemetry.provider):
        await run_model(nested.EmbedsWithOpenAI)

    assert [each["prompt_tokens"] for each in openai.sent_usage] == [1, 2]
    call, tokens = EMBEDDINGS_SPAN.get(name, "embeddings embed-1"), TOKENS[name in EMBEDDINGS_SPAN]
    assert telemetry.tree(*TOKENS, "langflow.usage.input_tokens") == [
        "invoke_workflow demo langflow.usage.input_tokens=3",
        "  component Chat Input",
        "  component Embeds With OpenAI langflow.usage.input_tokens=3",
        f"    {call} {tokens}=1",
        "      POST",
        f"    {call} {tokens}=2",
        "      POST",
        "  component Chat Output",
    ]
    calls = [span for span in telemetry.sdk_spans if span.name == call]
    assert {span.instrumentation_scope.name != OURS for span in calls} == {name in OPENAI}
    assert list(telemetry.metrics("gen_ai_client_embeddings_operation_input_tokens_sum").values()) == [3]
    recorded = nested.CANARY.encode() in encode_spans(telemetry.sdk_spans).SerializeToString()
    assert recorded is (name in EMBEDDINGS_SPAN)
    kept = _Keeps()
    ContentFilter(kept).export(telemetry.sdk_spans)
    assert nested.CANARY.encode() not in encode_spans(kept.spans).SerializeToString()

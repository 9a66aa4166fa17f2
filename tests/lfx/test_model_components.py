"""LangFlow's own components that call a model, over HTTP: each token is on one span, and sums are what was sent.

pip install langchain-openai trustcall
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flows import chat_input, chat_output, run
from lfx.graph import Graph
from lfx.io import Output
from nodes import basic
from nodes.rows import Rows
from openai_server import FakeOpenAI, fake_openai

from langflow_otel.testing import Telemetry

pytest.importorskip("langchain_openai")
pytest.importorskip("trustcall")
pytest.importorskip("lfx.components.llm_operations.guardrails_v2", reason="the components of LangFlow 1.13")

TOKENS = {"input": "gen_ai.usage.input_tokens", "output": "gen_ai.usage.output_tokens"}
SUMS = {"input": "langflow.usage.input_tokens", "output": "langflow.usage.output_tokens"}
SENT = {"input": "prompt_tokens", "output": "completion_tokens"}
SELECTED = [{"name": "gpt-4o-mini", "provider": "OpenAI"}]
OPERATIONS = "lfx.components.llm_operations."
AGENTS = "lfx.components.models_and_agents."
CHAT = "    chat gpt-4o-mini gen_ai.request.model=gpt-4o-mini gen_ai.provider.name=openai"
Make = Callable[[Any], Any]


@pytest.fixture
def openai(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeOpenAI]:
    with fake_openai() as fake:
        fake.counting = True
        monkeypatch.setenv("OPENAI_API_BASE", fake.url)
        monkeypatch.setenv("OPENAI_API_KEY", "none")
        yield fake


def component(name: str, id_: str = "", **fields: Any) -> Any:
    module, _, cls = name.rpartition(".")
    return getattr(importlib.import_module(module), cls)(_id=id_ or f"{cls}-m").set(**fields)


def language_model(id_: str, **fields: Any) -> Any:
    return component(AGENTS + "language_model.LanguageModelComponent", id_, model=SELECTED, **fields)


def check_tokens(telemetry: Telemetry, fake: FakeOpenAI) -> None:
    """Each token that was sent is on its own call, on no other span, and in each sum above it once."""
    spans = {span.span_id: span for span in telemetry.spans}
    asked = [each for each in fake.asked if each.usage]
    calls = [spans[str(spans[each.parent[1]].parent_id)] for each in asked]
    (root,) = telemetry.roots()
    for kind, name in TOKENS.items():
        sent = [each.usage[SENT[kind]] for each in asked]
        assert [call.attributes[name] for call in calls] == sent
        assert sum(name in span.attributes for span in spans.values()) == len(calls)
        assert root.attributes[SUMS[kind]] == sum(sent)
        for span in root.walk():
            if SUMS[kind] in span.attributes:
                assert span.attributes[SUMS[kind]] == sum(each.attributes.get(name, 0) for each in span.walk())
        counted = telemetry.metrics(f"gen_ai_client_inference_usage_{kind}_tokens_total")
        assert sum(counted.values()) == sum(sent)


def tree(telemetry: Telemetry) -> list[str]:
    """Without requests, and what is around."""
    lines = telemetry.tree("gen_ai.request.model", "gen_ai.provider.name")
    return [line for line in lines if not line.lstrip().startswith(("POST", "component Chat", "invoke_workflow"))]


def structured_output(start: Any) -> Any:
    schema = [{"name": "price", "description": "x", "type": "int", "multiple": "False"}]
    node = component(OPERATIONS + "structured_output.StructuredOutputComponent", model=SELECTED, output_schema=schema)
    return node.set(input_value=start.message_response).build_structured_output


def guardrails(name: str) -> Make:
    checks = ["PII", "Tokens/Passwords"]

    def make(start: Any) -> Any:
        node = component(OPERATIONS + name, model=SELECTED, enabled_guardrails=checks)
        return node.set(input_text=start.message_response).pass_message

    return make


def lambda_filter(start: Any) -> Any:
    node = component(OPERATIONS + "lambda_filter.LambdaFilterComponent", model=SELECTED, filter_instruction="keep all")
    return node.set(data=start.message_response).process_as_message


def smart_router(start: Any) -> Any:
    router = importlib.import_module(OPERATIONS + "llm_conditional_router").SmartRouterComponent
    outputs = [Output(display_name="One", name="category_1_result", method="process_case", group_outputs=True)]
    cls = type("Router", (router,), {"outputs": outputs, "name": "Router"})
    routes = [{"route_category": "one", "route_description": "", "output_value": ""}]
    return cls(_id="Router-m").set(model=SELECTED, routes=routes, input_text=start.message_response).process_case


def language_models(start: Any) -> Any:
    first = language_model("Model-a", input_value=start.message_response)
    return language_model("Model-b", input_value=first.text_response).text_response


def agent(start: Any) -> Any:
    node = component(AGENTS + "agent.AgentComponent", model=SELECTED, add_calculator_tool=True)
    return node.set(input_value=start.message_response).message_response


CASES: dict[str, tuple[Make, list[str]]] = {
    "Structured Output": (structured_output, ["  component Structured Output", CHAT]),
    "Guardrails of before": (
        guardrails("guardrails.GuardrailsComponent"),
        ["  component Guardrails (Legacy)", CHAT, CHAT],
    ),
    "Guardrails": (guardrails("guardrails_v2.GuardrailsV2Component"), ["  component Guardrails", CHAT, CHAT]),
    "Smart Transform": (lambda_filter, ["  component Smart Transform", CHAT]),
    "Smart Router": (smart_router, ["  component Smart Router", CHAT]),
    "the same model in two": (language_models, ["  component Language Model", CHAT] * 2),
    "Agent": (agent, ["  invoke_agent Agent", CHAT, "    execute_tool evaluate_expression", CHAT]),
}


@pytest.mark.parametrize("case", CASES)
async def test_tokens_are_on_the_calls_and_sums_are_what_was_sent(telemetry, openai, case):
    make, lines = CASES[case]
    openai.tools = {"evaluate_expression": {"expression": "1+1"}}
    openai.answers = {"guardrail": "NO\nfine", "lambda": "lambda x: x", "text classifier": "one"}
    start = chat_input()
    await run(Graph(start, chat_output(make(start)), flow_name="demo"))

    assert tree(telemetry) == lines
    check_tokens(telemetry, openai)


async def test_a_batch_has_a_call_for_each_row(telemetry, openai):
    rows = Rows(_id="Rows-r")
    node = component(OPERATIONS + "batch_run.BatchRunComponent", model=SELECTED, df=rows.rows, column_name="text")
    await run(Graph(rows, chat_output(node.run_batch), flow_name="demo"))

    assert tree(telemetry) == ["  component Rows", "  component Batch Run", CHAT, CHAT]
    check_tokens(telemetry, openai)


async def test_a_component_that_hands_its_model_on_is_no_call(telemetry, openai):
    """Backends take each span that names a model for a call."""
    openai.answers = {"JSON list": "0"}
    start = chat_input()
    given = [language_model(f"Model-{name}") for name in "abc"]
    node = component(OPERATIONS + "llm_selector.LLMSelectorComponent", use_openrouter_specs=False)
    node.set(input_value=start.message_response, models=[each.build_model for each in given[:2]])
    node.set(judge_llm=given[2].build_model)
    await run(Graph(start, chat_output(node.route_to_model), flow_name="demo"))

    assert tree(telemetry) == [*["  component Language Model"] * 3, "  component LLM Selector", CHAT, CHAT]
    check_tokens(telemetry, openai)


async def test_a_flow_within_a_flow_counts_its_tokens_in_both(telemetry, openai):
    def inner() -> Graph:
        start = chat_input()
        return Graph(start, chat_output(language_models(start)), flow_name="inner")

    basic.seen["inner"] = inner
    start = chat_input()
    node = basic.RunsFlow(_id="RunsFlow-r").set(value=start.message_response)
    await run(Graph(start, chat_output(node.run_out), flow_name="demo"))

    for kind in TOKENS:
        sums = [telemetry.only_span(f"invoke_workflow {name}").attributes[SUMS[kind]] for name in ("inner", "demo")]
        assert sums == [sum(each.usage[SENT[kind]] for each in openai.asked)] * 2
    check_tokens(telemetry, openai)


async def test_tokens_estimated_for_a_failed_call_count_nowhere(telemetry, openai):
    openai.replies = ["answer", 401]
    start = chat_input()
    with pytest.raises(Exception, match="401"):
        await run(Graph(start, chat_output(language_models(start)), flow_name="demo"))

    check_tokens(telemetry, openai)

"""What Langfuse and SigNoz make of our spans, by the part of their documented mapping that concerns us.

Langfuse: https://langfuse.com/integrations/native/opentelemetry. SigNoz:
https://signoz.io/docs/ai-observability-telemetry-requirements. Phoenix converts by the same conventions.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from flows import chat_input, chat_output, run
from lfx.graph import Graph
from nodes import models
from test_retrieval import store_flow
from test_tools import agent_flow

from langflow_otel._settings.settings import Settings
from langflow_otel.testing import Telemetry, capture_telemetry

BY_OPENINFERENCE = {
    "LLM": "GENERATION",
    **{kind: kind for kind in ("CHAIN", "AGENT", "TOOL", "RETRIEVER", "EMBEDDING")},
}
BY_OPERATION = {"chat": "GENERATION", "text_completion": "GENERATION", "embeddings": "EMBEDDING"}
BY_OPERATION |= {"invoke_agent": "AGENT", "execute_tool": "TOOL"}
MODELS = ("gen_ai.response.model", "gen_ai.request.model")
CONTENT = (
    ("input.value", "output.value"),
    ("gen_ai.input.messages", "gen_ai.output.messages"),
    ("gen_ai.tool.call.arguments", "gen_ai.tool.call.result"),
)
"""The first pair of which there is one."""


def observation(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """As Langfuse stores a span."""
    model = next((attributes[name] for name in MODELS if name in attributes), None)
    kind = BY_OPENINFERENCE.get(attributes.get("openinference.span.kind", ""))
    kind = kind or BY_OPERATION.get(attributes.get("gen_ai.operation.name", ""))
    pair = next((pair for pair in CONTENT if any(name in attributes for name in pair)), CONTENT[0])
    prefix = "gen_ai.usage."
    return {
        "type": kind or ("SPAN" if model is None else "GENERATION"),
        "model": model,
        "usage": {name.removeprefix(prefix): value for name, value in attributes.items() if name.startswith(prefix)},
        "session": attributes.get("session.id"),
        "input": attributes.get(pair[0]),
        "output": attributes.get(pair[1]),
    }


async def recorded(*, openinference: bool, agent: bool = False, detail: Any = "model") -> Telemetry:
    with capture_telemetry(
        settings=Settings(content_on_spans=True, openinference=openinference, detail=detail)
    ) as telemetry:
        if agent:
            await run(await agent_flow(models.FakeAgent))
        else:
            start = chat_input()
            model = models.FakeModel(_id="FakeModel-1").set(input_value=start.message_response)
            await run(Graph(start, chat_output(model.text_response), flow_name="demo"))
    return telemetry


def said(text: str | None) -> Any:
    """Of messages their texts, of anything else what it is."""
    if text is None or not text.startswith("[{"):
        return text
    return [part["content"] for each in json.loads(text) for part in each["parts"]]


@pytest.mark.parametrize("openinference", [False, True])
async def test_langfuse_shows_a_run_and_its_model_call(openinference: bool):
    telemetry = await recorded(openinference=openinference)
    (flow,) = telemetry.roots()
    found = {span.name: observation(span.attributes) for span in telemetry.spans}
    shown = {name: (each["type"], said(each["input"]), said(each["output"])) for name, each in found.items()}

    plain, texts = "CHAIN" if openinference else "SPAN", (lambda text: text if openinference else [text])
    assert shown == {
        "invoke_workflow demo": (plain, texts("hi"), texts("one two three")),
        "component Chat Input": (plain, *(("hi", "hi") if openinference else (None, None))),
        "component Fake Model": (plain, texts("hi"), texts("one two three")),
        "chat fake-1": ("GENERATION", texts("hi"), texts("one two three")),
        "component Chat Output": (plain, *(("one two three",) * 2 if openinference else (None, None))),
    }
    assert {name: each["usage"] for name, each in found.items() if each["usage"]} == {
        "chat fake-1": {"input_tokens": 3, "output_tokens": 5}
    }
    assert {name: each["model"] for name, each in found.items() if each["model"]} == {"chat fake-1": "fake-1"}
    # Those of a trace are its root's.
    assert (flow.name, found[flow.name]["session"]) == ("invoke_workflow demo", "s1")


@pytest.mark.parametrize("openinference", [False, True])
async def test_langfuse_shows_agents_and_their_tools(openinference: bool):
    telemetry = await recorded(openinference=openinference, agent=True)
    found = {span.name: observation(span.attributes) for span in telemetry.spans}

    assert found["invoke_agent Fake Agent"]["type"] == "AGENT"
    tool = found["execute_tool add"]
    assert (tool["type"], json.loads(tool["input"]), tool["output"]) == ("TOOL", {"a": 2, "b": 3}, "5")
    assert found["chat"]["type"] == "GENERATION"


@pytest.mark.parametrize(
    ("detail", "calls"), [("model", ["chat fake-1"]), ("component", ["component Fake Model"]), ("flow", [])]
)
@pytest.mark.parametrize("openinference", [False, True])
async def test_model_call_is_one_generation_with_all_tokens(detail: str, calls: list[str], openinference: bool):
    telemetry = await recorded(openinference=openinference, detail=detail)
    found = {span.name: observation(span.attributes) for span in telemetry.spans}

    assert [name for name, each in found.items() if each["type"] == "GENERATION"] == calls
    assert [name for name, each in found.items() if each["usage"]] == calls
    # SigNoz takes each span with a model for a call.
    assert [span.name for span in telemetry.spans if "gen_ai.request.model" in span.attributes] == calls


@pytest.mark.parametrize("openinference", [False, True])
async def test_langfuse_shows_embeddings_and_searches(openinference: bool):
    settings = Settings(content_on_spans=True, openinference=openinference)
    with capture_telemetry(settings=settings) as telemetry:
        await run(store_flow())
    found = {span.name: observation(span.attributes) for span in telemetry.spans}

    search = found["component Vector Store"]
    assert found["embeddings"]["type"] == "EMBEDDING"
    assert (search["type"], search["input"], search["model"]) == (
        ("RETRIEVER", "pears", None) if openinference else ("SPAN", None, None)
    )


async def test_signoz_counts_each_tool_call():
    telemetry = await recorded(openinference=False, agent=True)

    assert [span.name for span in telemetry.spans if "gen_ai.tool.name" in span.attributes] == ["execute_tool add"]

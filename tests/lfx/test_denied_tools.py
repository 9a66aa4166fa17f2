"""Of a denied tool neither arguments nor results leave, wherever the conversation with it shows."""

from __future__ import annotations

import json
from typing import Any

import pytest
from flows import chat_input, chat_output, line, run
from langchain_core.messages import AIMessage, FunctionMessage, HumanMessage, ToolMessage
from langchain_core.tools import StructuredTool
from lfx.custom.custom_component.component import Component
from lfx.graph import Graph
from lfx.io import HandleInput, MessageTextInput, Output
from lfx.schema.message import Message
from nodes import basic, models

from langflow_otel import traced
from langflow_otel._content.gate import ContentGate, SpanContent
from langflow_otel._hooks.model_content import model_content
from langflow_otel._settings.settings import Settings
from langflow_otel.testing import Telemetry, capture_telemetry

ARGUMENT = "canary-argument"
HIDDEN = "[redacted:tool]"


class Asking(models.ShoutAgent):
    """Its model calls the tool with a canary, which the tool returns in capitals."""

    display_name = "Asking"
    name = "Asking"
    tool_args = {"text": ARGUMENT}


class OptsOut(models.Shout):
    langflow_otel_content = False


class MethodOptsOut(models.Shout):
    @traced(content=False)
    def shout(self) -> Message:
        return Message(text=str(self.text).upper())


def everything(*denied: str) -> Settings:
    return Settings(content_on_spans=True, content_in_events=True, openinference=True, content_deny=denied)


async def wired(agent: type, tool: Component, output: Any = None) -> Graph:
    """An agent with the tool by an edge, as on the canvas, and its answer shown."""
    start, asking = chat_input(), agent(_id="Agent-a")
    if output is None:
        tool._append_tool_to_outputs_map()
    end = chat_output("")
    graph = Graph(flow_name="demo")
    for each in (start, tool, asking, end):
        graph.add_component(each)
    graph.add_component_edge("ChatInput-in", ("message", "input_value"), "Agent-a")
    graph.add_component_edge(tool._id, (output or "component_as_tool", "tools"), "Agent-a")
    graph.add_component_edge("Agent-a", ("response", "input_value"), end._id)
    graph.prepare()
    return graph


async def told(graph: Graph, settings: Settings) -> Telemetry:
    with capture_telemetry(settings=settings) as telemetry:
        await run(graph)
    return telemetry


def sent(telemetry: Telemetry) -> str:
    """All that left, in lower case: the tool returns what it gets in capitals."""
    spans = [(span.name, dict(span.attributes), span.events) for span in telemetry.spans]
    logs = [(record.body, dict(record.attributes)) for record in telemetry.logs()]
    return repr((spans, logs, telemetry.metrics())).lower()


def chats(telemetry: Telemetry) -> list[dict[str, Any]]:
    """What each model call has of its messages, opened."""
    found = [span.attributes for span in telemetry.spans if span.attributes.get("gen_ai.operation.name") == "chat"]
    return [{name: json.loads(str(span[name])) for name in span if name.endswith(".messages")} for span in found]


async def test_a_tools_arguments_and_results_leave_where_nothing_denies_them():
    telemetry = await told(await wired(Asking, models.Shout(_id="Shout-s")), everything())

    (asked, called) = chats(telemetry)
    part = {"type": "tool_call", "id": "call-1", "name": "shout", "arguments": {"text": ARGUMENT}}
    assert asked["gen_ai.output.messages"][0]["parts"] == [part]
    assert called["gen_ai.input.messages"][-1]["parts"][0]["response"] == ARGUMENT.upper()


@pytest.mark.parametrize(
    ("tool", "denied"),
    [
        *((models.Shout, name) for name in ("Shout", "Shout-s", "shout", "text", "out")),
        (models.ShoutAsync, "ShoutAsync"),
        (OptsOut, None),
        (MethodOptsOut, None),
    ],
)
async def test_nothing_of_a_denied_tool_leaves_anywhere(tool: type, denied: str | None):
    settings = everything(*([] if denied is None else [denied]))
    telemetry = await told(await wired(Asking, tool(_id="Shout-s")), settings)

    assert "canary" not in sent(telemetry)
    (asked, called) = chats(telemetry)
    part = {"type": "tool_call", "id": "call-1", "name": "shout", "arguments": HIDDEN}
    assert asked["gen_ai.output.messages"][0]["parts"] == [part]
    assert called["gen_ai.input.messages"][-1]["parts"] == [
        {"type": "tool_call_response", "id": "call-1", "response": HIDDEN}
    ]
    # The rest of the conversation leaves.
    assert called["gen_ai.input.messages"][0]["parts"] == [{"type": "text", "content": "hi"}]
    assert called["gen_ai.output.messages"][0]["parts"] == [{"type": "text", "content": "it is five"}]
    assert "it is five" in telemetry.only_span("invoke_workflow demo").attributes["output.value"]


async def test_of_a_denied_tool_models_are_shown_the_name_alone():
    telemetry = await told(await wired(Asking, models.Shout(_id="Shout-s")), everything("Shout"))

    (span, _) = [span for span in telemetry.spans if "gen_ai.tool.definitions" in span.attributes]
    assert json.loads(span.attributes["gen_ai.tool.definitions"]) == [{"type": "function", "name": "shout"}]


async def test_a_failed_denied_tool_leaves_its_type_of_error_alone():
    class Refuses(models.Shout):
        def shout(self) -> Message:
            raise ValueError(f"no access to {self.text}")

    telemetry = await told(await wired(Asking, Refuses(_id="Shout-s")), everything("Shout"))

    assert telemetry.only_span("execute_tool shout").attributes["error.type"] == "ValueError"
    assert "canary" not in sent(telemetry)


async def test_a_renamed_copy_of_a_denied_tool_is_denied():
    first, second = models.Shout(_id="Shout-s"), models.Shout(_id="Shout-t")

    class Renames(Asking):
        tool_name = "shout_again"

        def build_agent(self) -> Any:
            self.tools = [each.model_copy() for each in self.tools]
            self.tools[0].name = self.tool_name
            return super().build_agent()

    start, agent = chat_input(), Renames(_id="Agent-a")
    agent.set(input_value=start.message_response)
    with capture_telemetry(settings=everything("Shout-s")) as telemetry:
        agent.set(tools=[*await first.to_toolkit(), *await second.to_toolkit()])
        await run(Graph(start, agent, flow_name="demo"))

    assert "execute_tool shout_again" in {span.name for span in telemetry.spans}
    assert "canary" not in sent(telemetry)


class MakesTool(Component):
    """Makes a tool of its own, as LangFlow's MCP component does: nothing of the tool says whose it is."""

    display_name = "Makes Tool"
    name = "MakesTool"
    inputs = [MessageTextInput(name="server", display_name="Server")]
    outputs = [Output(display_name="Tools", name="made", method="make", types=["Tool"])]

    async def make(self) -> list:
        def shout(text: str) -> str:
            return text.upper()

        return [StructuredTool.from_function(shout, name="shout", description="Shouts.")]


@pytest.mark.parametrize("denied", ["MakesTool", "MakesTool-m", "Makes Tool"])
async def test_a_tool_that_a_denied_component_makes_is_denied(denied: str):
    telemetry = await told(await wired(Asking, MakesTool(_id="MakesTool-m"), "made"), everything(denied))

    assert telemetry.only_span("execute_tool shout").attributes.get("gen_ai.tool.call.arguments") is None
    assert "canary" not in sent(telemetry)


async def test_a_tool_that_another_component_makes_is_not():
    telemetry = await told(await wired(Asking, MakesTool(_id="MakesTool-m"), "made"), everything("Shout"))

    assert ARGUMENT in telemetry.only_span("execute_tool shout").attributes["gen_ai.tool.call.arguments"]


class AgentOptsOut(Asking):
    langflow_otel_content = False


async def test_the_tools_of_an_agent_that_opts_out_stay():
    telemetry = await told(await wired(AgentOptsOut, models.Shout(_id="Shout-s")), everything())

    assert "canary" not in sent(telemetry)


class AsksWithTools(Component):
    """Lets a model call the tools that it has, and is a tool itself."""

    display_name = "Asks With Tools"
    name = "AsksWithTools"
    inputs = [
        MessageTextInput(name="text", display_name="Text", tool_mode=True),
        HandleInput(name="tools", display_name="Tools", input_types=["Tool"], is_list=True),
    ]
    outputs = [Output(display_name="Out", name="out", method="ask")]

    async def ask(self) -> Message:
        call = {"name": "shout", "args": {"text": ARGUMENT}, "id": "call-2", "type": "tool_call"}
        answers = [AIMessage(content="", tool_calls=[call]), AIMessage(content="it was shouted")]
        model = models.CallsOneTool(responses=answers).bind_tools(self.tools)
        said = [HumanMessage("shout"), await model.ainvoke("shout")]
        said.append(await self.tools[0].ainvoke(said[1].tool_calls[0]))
        return Message(text=(await model.ainvoke(said)).content)


@pytest.mark.parametrize(("denied", "leaves"), [("Shout", False), ("NotThere", True)])
async def test_a_tool_that_lets_a_model_call_denied_tools_keeps_them(denied: str, leaves: bool):
    class Outer(models.FakeAgent):
        tool_name = "ask"
        tool_args = {"text": "go"}

    inner = AsksWithTools(_id="Inner-i")
    with capture_telemetry(settings=everything(denied)) as telemetry:
        inner.set(tools=await models.Shout(_id="Shout-s").to_toolkit())
        await run(await wired(Outer, inner))

    assert len(chats(telemetry)) == 4
    assert "it was shouted" in sent(telemetry)
    assert ("canary" in sent(telemetry)) is leaves


@pytest.mark.parametrize(("denied", "leaves"), [("Shout", False), ("NotThere", True)])
async def test_a_model_that_calls_a_denied_tool_in_text_keeps_its_messages(denied: str, leaves: bool):
    telemetry = await told(await wired(models.InTextAgent, models.Shout(_id="Shout-s")), everything(denied))

    assert [len(each) for each in chats(telemetry)] == [2 * leaves, 2 * leaves]
    tools = [dict(span.attributes) for span in telemetry.spans if span.name.startswith(("chat", "execute_tool"))]
    assert ("canary" in repr(tools).lower()) is leaves
    # What LangFlow takes for the agent's answer is the agent's own.
    assert "it is five" in telemetry.only_span("invoke_workflow demo").attributes["output.value"]


@pytest.mark.parametrize(("denied", "leaves"), [("RunsFlow", False), ("NotThere", True)])
async def test_a_flow_that_a_denied_component_runs_keeps_its_content(denied: str, leaves: bool):
    basic.seen["inner"] = lambda: line(basic.Echo, name="inner")
    with capture_telemetry(settings=everything(denied)) as telemetry:
        await line(basic.RunsFlow).arun([{"input_value": ARGUMENT}], session_id="s")

    inner = [span for span in telemetry.spans if span.name in ("component Echo", "invoke_workflow inner")]
    assert len(inner) == 2
    assert ("canary" in repr([dict(span.attributes) for span in inner])) is leaves


def content_of(messages: list[Any], *denied: str) -> SpanContent:
    return model_content(ContentGate(everything()), messages, {}, (), frozenset(denied))


@pytest.mark.parametrize(
    "message",
    [
        FunctionMessage(name="shout", content=ARGUMENT),
        ToolMessage(name="shout", content=ARGUMENT, tool_call_id="c1"),
        # The call itself was left out of a history that was cut: nothing says whose result it is.
        ToolMessage(content=ARGUMENT, tool_call_id="c1"),
        ToolMessage(content=[{"type": "text", "text": ARGUMENT}], tool_call_id="c1"),
    ],
    ids=["function", "named", "unknown", "parts"],
)
def test_a_denied_result_has_a_mark_in_its_place(message: Any):
    found = content_of([HumanMessage("hi"), message], "shout").attributes["gen_ai.input.messages"]

    assert json.loads(found)[1]["parts"][0]["response"] == HIDDEN
    assert ARGUMENT not in found
    others = ["other"] if message.name else []
    assert ARGUMENT in content_of([message], *others).attributes["gen_ai.input.messages"]

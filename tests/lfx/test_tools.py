"""Tool calls under the agent, or other component, that made them."""

from __future__ import annotations

import importlib.util

import pytest
from flows import chat_input, chat_output, run
from lfx.graph import Graph
from nodes import models


async def agent_flow(agent: type, tool: type | None = None) -> Graph:
    start = chat_input()
    node = agent(_id="Agent-a").set(input_value=start.message_response)
    if tool is not None:
        node.set(tools=await tool(_id="Shout-s").to_toolkit())
    return Graph(start, node, flow_name="demo")


async def test_an_agents_tool_call_nests_below_the_agent(telemetry):
    await run(await agent_flow(models.FakeAgent))

    assert telemetry.tree("gen_ai.operation.name", "gen_ai.tool.call.id") == [
        "invoke_workflow demo gen_ai.operation.name=invoke_workflow",
        "  component Chat Input",
        "  invoke_agent Fake Agent gen_ai.operation.name=invoke_agent",
        "    chat gen_ai.operation.name=chat",
        "    execute_tool add gen_ai.operation.name=execute_tool",
        "    chat gen_ai.operation.name=chat",
    ]
    assert telemetry.only_span("execute_tool add").attributes == {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "add",
        "gen_ai.tool.type": "function",
        "langflow.flow.name": "demo",
        "langflow.status": "ok",
    }


@pytest.mark.parametrize(("most", "reason"), [(2, "iteration_limit"), (0, None)])
async def test_agent_that_stops_at_its_limit_says_so_on_its_span(telemetry, most, reason):
    agent = models.StuckAgent if most else models.FakeAgent
    graph = await agent_flow(agent)
    if most:
        graph.get_vertex("Agent-a").custom_component.set(max_iterations=most)
    await run(graph)

    span = telemetry.only_span(f"invoke_agent {agent.display_name}")
    assert span.attributes["langflow.status"] == "ok"
    assert span.attributes.get("langflow.agent.stop_reason") == reason


HAS_MIDDLEWARE = importlib.util.find_spec("langchain.agents.middleware") is not None


@pytest.mark.parametrize(
    ("agent", "reason"),
    # LangChain 1.0 and later.
    [(models.MiddlewareAgent, None), (models.LimitedMiddlewareAgent, "iteration_limit")]
    if HAS_MIDDLEWARE
    else [(models.FakeAgent, None)],
)
async def test_agent_on_langgraph_that_stops_at_its_limit_says_so(telemetry, agent, reason):
    await run(await agent_flow(agent))

    (span,) = [span for span in telemetry.spans if span.attributes.get("langflow.component.id") == "Agent-a"]
    assert span.attributes.get("langflow.agent.stop_reason") == reason


@pytest.mark.parametrize("tool", [models.Shout, models.ShoutAsync])
async def test_a_component_used_as_a_tool(telemetry, tool):
    await run(await agent_flow(models.ShoutAgent, tool))

    assert telemetry.tree("langflow.component.id") == [
        "invoke_workflow demo",
        "  component Chat Input langflow.component.id=ChatInput-in",
        "  invoke_agent Fake Agent langflow.component.id=Agent-a",
        "    chat",
        "    execute_tool shout langflow.component.id=Shout-s",
        "    chat",
    ]


async def test_a_component_that_only_offered_its_tools_says_so(telemetry):
    start, tool, agent = chat_input(), models.Shout(_id="Shout-s"), models.ShoutAgent(_id="Agent-a")
    tool._append_tool_to_outputs_map()
    graph = Graph(flow_name="demo")
    for each in (start, tool, agent):
        graph.add_component(each)
    graph.add_component_edge("ChatInput-in", ("message", "input_value"), "Agent-a")
    graph.add_component_edge("Shout-s", ("component_as_tool", "tools"), "Agent-a")
    graph.prepare()
    await run(graph)

    offered = [span.name for span in telemetry.spans if "langflow.component.only_offered_tools" in span.attributes]
    assert offered == ["component Shout"]
    assert telemetry.only_span("execute_tool shout").status == "ok"


async def test_a_tool_that_fails_is_an_error_though_langchain_makes_text_of_it(telemetry):
    await run(await agent_flow(models.ShoutAgent, models.ShoutBroken))

    assert telemetry.tree("error.type", "langflow.error.category") == [
        "invoke_workflow demo",
        "  component Chat Input",
        "  invoke_agent Fake Agent",
        "    chat",
        "    execute_tool shout [error] error.type=ZeroDivisionError langflow.error.category=tool",
        "    chat",
    ]
    assert "canary" not in repr([(span.attributes, span.events) for span in telemetry.spans])


async def test_an_agent_whose_provider_fails_has_the_providers_error(telemetry):
    with pytest.raises(Exception, match="canary"):
        await run(await agent_flow(models.LimitedAgent))

    fault = "[error] error.type=ProviderError langflow.error.category=rate_limit"
    assert telemetry.tree("error.type", "langflow.error.category") == [
        f"invoke_workflow demo {fault}",
        "  component Chat Input",
        f"  invoke_agent Limited Agent {fault}",
        f"    chat {fault}",
    ]


async def test_a_model_whose_provider_fails_has_the_providers_error(telemetry):
    start = chat_input()
    model = models.LimitedModel(_id="LimitedModel-m").set(input_value=start.message_response)
    with pytest.raises(Exception, match="canary"):
        await run(Graph(start, chat_output(model.text_response), flow_name="demo"))

    fault = "[error] error.type=ProviderError langflow.error.category=rate_limit"
    assert telemetry.tree("error.type", "langflow.error.category") == [
        f"invoke_workflow demo {fault}",
        "  component Chat Input",
        f"  component Limited Model {fault}",
        f"    chat fake-1 {fault}",
    ]


async def test_a_tool_called_by_a_component_that_is_no_agent(telemetry):
    start = chat_input()
    node = models.CallsTool(_id="CallsTool-c").set(value=start.message_response)
    await run(Graph(start, node, flow_name="demo"))

    assert telemetry.tree() == [
        "invoke_workflow demo",
        "  component Chat Input",
        "  component Calls Tool",
        "    execute_tool add",
    ]


async def test_a_tool_outside_of_any_flow_is_not_ours(telemetry):
    assert await models.plain_tool().arun({"a": 1, "b": 2}) == 3
    assert models.plain_tool().run({"a": 1, "b": 2}) == 3

    assert telemetry.tree() == []

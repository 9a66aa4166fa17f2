"""Tools of a real MCP server, over stdio, called by an agent."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from flows import chat_input, run
from lfx.base.mcp.util import MCPStdioClient, update_tools
from lfx.graph import Graph
from made_traces import made_lines, write
from nodes import models

pytestmark = pytest.mark.slow

SERVER = Path(__file__).parent / "mcp_server.py"


async def test_an_mcp_tool_call_nests_below_the_agent_that_made_it(telemetry):
    client = MCPStdioClient()
    config = {"command": sys.executable, "args": [str(SERVER)]}
    try:
        _, tools, _ = await update_tools("arithmetic", config, mcp_stdio_client=client)
        start = chat_input()
        agent = models.MultiplyAgent(_id="Agent-a").set(input_value=start.message_response, tools=tools)
        await run(Graph(start, agent, flow_name="demo"))
    finally:
        await client.disconnect()
        await client._get_session_manager().cleanup_all()

    assert sorted(tool.name for tool in tools) == ["divide", "multiply"]
    assert telemetry.tree("gen_ai.tool.name") == [
        "invoke_workflow demo",
        "  component Chat Input",
        "  invoke_agent Fake Agent",
        "    chat",
        "    execute_tool multiply gen_ai.tool.name=multiply",
        "    chat",
    ]


async def test_langflow_can_ask_about_its_own_runs(telemetry, tmp_path, monkeypatch):
    """``langflow-otel mcp`` as LangFlow's MCP Tools component uses a server, with what a flow's run has written."""
    made = tmp_path / "spans.jsonl"
    write(made, made_lines(20))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    client = MCPStdioClient()
    config = {"command": sys.executable, "args": ["-m", "langflow_otel", "mcp", str(made)]}
    try:
        _, tools, by_name = await update_tools("langflow-otel", config, mcp_stdio_client=client)
        answer = await by_name["overview"].ainvoke({})
    finally:
        await client.disconnect()
        await client._get_session_manager().cleanup_all()

    assert {"overview", "why", "runs"} <= {tool.name for tool in tools}
    assert json.loads(answer.content[0].text)["runs"] == 20

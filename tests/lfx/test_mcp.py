"""Tools of a real MCP server, over stdio, called by an agent."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from flows import chat_input, run
from lfx.base.mcp.util import MCPStdioClient, update_tools
from lfx.graph import Graph
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

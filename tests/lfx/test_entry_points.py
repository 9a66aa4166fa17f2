"""The entry point of a run, from what LangFlow (1.12 and later) says about its request."""

from __future__ import annotations

import pytest
from flows import line, run
from nodes import basic

observability = pytest.importorskip(
    "lfx.observability", reason="this LangFlow does not say how a run came in; 1.12 and later do"
)


@pytest.mark.parametrize(
    ("protocol", "client", "entry_point"),
    [
        ("v2", None, "api"),
        ("v2", "sdk", "api"),
        ("v2", "playground", "playground"),
        ("v2.public", "playground", "playground"),
        ("v1.build", None, "playground"),
        ("v2.background", "playground", "job"),
        ("mcp", "playground", "mcp"),
    ],
)
async def test_the_interface_is_the_playground_whichever_api_it_uses(telemetry, protocol, client, entry_point):
    with observability.execution_protocol(protocol), observability.execution_client(client):
        await run(line(basic.Echo))
    flow = next(span for span in telemetry.spans if span.name == "invoke_workflow demo")
    assert flow.attributes["langflow.entry_point"] == entry_point

"""W3C context in MCP messages: out with what a component calls, in with what calls a flow. Real sessions."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from flows import line, run
from injector import Step, failing, steps_in
from lfx.schema.message import Message
from mcp import ClientSession, types
from mcp.server.lowlevel import Server
from mcp.shared.memory import create_connected_server_and_client_session
from nodes import basic
from opentelemetry import baggage, trace
from opentelemetry import context as otel_context
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from langflow_otel import _guard as guard
from langflow_otel._hooks import mcp as hook
from langflow_otel._runs.parent_context import with_span
from langflow_otel._settings.settings import Settings
from langflow_otel.testing import capture_telemetry

TRACE_ID, CALLER_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
CALLER = {"traceparent": f"00-{TRACE_ID}-{CALLER_ID}-01", "tracestate": "vendor=1", "baggage": "tenant=acme"}

told: list[dict[str, Any]] = []
"""What each request to the server had in its ``_meta``."""
open_sessions: list[ClientSession] = []


class CallsTool(basic.Echo):
    """As LangFlow's MCP component does it, in a session that was opened elsewhere."""

    display_name = "Calls Tool"
    name = "CallsTool"

    async def run_out(self) -> Message:
        await open_sessions[0].list_tools()
        result = await open_sessions[0].call_tool("echo", {"text": "hi"})
        return Message(text=result.content[0].text)


def echo_server() -> Server[Any]:
    server: Server[Any] = Server("echo")

    @server.list_tools()
    async def list_tools() -> list[types.Tool]:
        remember(server)
        return [types.Tool(name="echo", inputSchema={"type": "object"})]

    @server.call_tool()
    async def call_tool(name: str, arguments: dict[str, Any]) -> list[types.TextContent]:
        remember(server)
        return [types.TextContent(type="text", text=str(arguments["text"]))]

    return server


def remember(server: Server[Any]) -> None:
    meta = server.request_context.meta
    told.append({} if meta is None else meta.model_dump(exclude_none=True))


@asynccontextmanager
async def session_with(server: Server[Any]) -> AsyncIterator[ClientSession]:
    async with create_connected_server_and_client_session(server) as session:
        await session.list_tools()
        told.clear()
        yield session


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    yield
    open_sessions.clear()
    told.clear()


# Out


async def call_in_a_flow() -> None:
    async with session_with(echo_server()) as session:
        open_sessions.append(session)
        await run(line(CallsTool))


async def test_a_components_tool_call_tells_where_it_comes_from(telemetry):
    token = otel_context.attach(baggage.set_baggage("tenant", "acme"))
    try:
        await call_in_a_flow()
    finally:
        otel_context.detach(token)

    listed, called = told
    assert listed == {}
    component = telemetry.only_span("component Calls Tool")
    version, trace_id, span_id, flags = called["traceparent"].split("-")
    assert (version, trace_id, span_id) == ("00", component.trace_id, component.span_id)
    assert int(flags, 16) & 1
    assert called["baggage"] == "tenant=acme"


async def test_a_call_outside_of_flows_is_left_alone(telemetry):
    async with session_with(echo_server()) as session:
        with telemetry.provider.get_tracer("author").start_as_current_span("theirs"):
            await session.call_tool("echo", {"text": "hi"})

    assert told == [{}]


async def test_off_a_call_is_left_alone():
    await call_in_a_flow()

    assert told == [{}, {}]


async def test_a_flow_that_is_not_sampled_says_so():
    with capture_telemetry(sampler=ALWAYS_OFF):
        await call_in_a_flow()

    assert int(told[1]["traceparent"].rpartition("-")[2], 16) & 1 == 0


async def test_what_the_caller_has_put_there_stays(telemetry):
    class Asks(CallsTool):
        async def run_out(self) -> Message:
            meta = types.RequestParams.Meta(progressToken="p1", traceparent=CALLER["traceparent"])
            params = types.CallToolRequestParams(name="echo", arguments={"text": "hi"}, _meta=meta)
            request = types.ClientRequest(types.CallToolRequest(method="tools/call", params=params))
            await open_sessions[0].send_request(request, types.CallToolResult)
            return Message(text="done")

    async with session_with(echo_server()) as session:
        open_sessions.append(session)
        await run(line(Asks))

    assert told == [{"progressToken": "p1", "traceparent": CALLER["traceparent"]}]


async def test_an_error_of_ours_costs_no_call(monkeypatch):
    def broken(_: Any) -> None:
        raise ValueError("canary")

    with capture_telemetry(strict=False):
        monkeypatch.setattr(hook.propagate, "inject", broken)
        await call_in_a_flow()

    assert told == [{}, {}]
    assert guard.faults["mcp.out"] == 1


# In


def flow_server() -> Server[Any]:
    """LangFlow's, as far as it matters here: a tool is a flow."""
    server: Server[Any] = Server("flows")

    async def run_the_flow(name: str, arguments: dict[str, Any], server: Server[Any]) -> list[types.TextContent]:
        await run(line(basic.ReadsContext, name=name))
        return [types.TextContent(type="text", text="done")]

    @server.list_tools()
    async def list_tools() -> list[types.Tool]:
        return [types.Tool(name="orders", inputSchema={"type": "object"})]

    @server.call_tool()
    async def call_tool(name: str, arguments: dict[str, Any]) -> Any:
        before = otel_context.get_current()
        try:
            # In place of langflow.api.v1.mcp_utils.handle_call_tool, which is not installed here.
            return await hook.handle_call_tool(run_the_flow, None, (name, arguments), {"server": server})
        finally:
            assert otel_context.get_current() is before

    return server


async def call_a_flow(meta: dict[str, Any] | None) -> None:
    async with session_with(flow_server()) as session:
        params = types.CallToolRequestParams(
            name="orders", arguments={}, _meta=None if meta is None else types.RequestParams.Meta(**meta)
        )
        request = types.ClientRequest(types.CallToolRequest(method="tools/call", params=params))
        result = await session.send_request(request, types.CallToolResult)
    assert [content.text for content in result.content] == ["done"]
    assert not result.isError


async def test_a_flow_joins_the_trace_of_the_client_that_calls_it(telemetry):
    await call_a_flow(CALLER)

    assert {span.trace_id for span in telemetry.spans} == {TRACE_ID}
    assert telemetry.only_span("invoke_workflow orders").parent_id == CALLER_ID
    assert basic.seen["span"].trace_state.to_header() == "vendor=1"
    assert basic.seen["baggage"] == {"tenant": "acme"}


@pytest.mark.parametrize("remote_parent", ["continue", "link"])
async def test_meta_of_a_call_wins_over_the_sessions_request(remote_parent):
    """The request that opened a session, or that carries its message, may be another caller's."""
    with capture_telemetry(settings=Settings(remote_parent=remote_parent)) as telemetry:
        request = telemetry.provider.get_tracer("host").start_span("POST /mcp")
        token = otel_context.attach(with_span(request, otel_context.get_current()))
        try:
            await call_a_flow(CALLER)
        finally:
            otel_context.detach(token)
            request.end()

    (flow,) = [span for span in telemetry.sdk_spans if span.name == "invoke_workflow orders"]
    caller = flow.parent if remote_parent == "continue" else flow.links[0].context
    assert f"{caller.trace_id:032x}" == TRACE_ID
    assert (flow.parent is None) == (remote_parent == "link")


@pytest.mark.parametrize(
    "meta", [None, {}, {"progressToken": 3}, {"traceparent": "00-xyz"}, {"traceparent": 3}, {"baggage": ["a"]}]
)
async def test_a_client_that_tells_nothing_of_use_gets_a_trace_of_its_own(telemetry, meta):
    await call_a_flow(meta)

    assert telemetry.only_span("invoke_workflow orders").parent_id is None


async def test_a_client_that_tells_nothing_leaves_the_requests_own_context(telemetry):
    server: Any = type("Server", (), {"request_context": type("Context", (), {"meta": None})})()
    with telemetry.provider.get_tracer("host").start_as_current_span("POST /mcp"):
        await hook.handle_call_tool(look, None, ("orders", {}, server), {})

    assert f"{basic.seen['span'].span_id:016x}" == telemetry.only_span("POST /mcp").span_id


async def look(*_: Any) -> None:
    basic.seen["span"] = trace.get_current_span().get_span_context()


@pytest.mark.parametrize("remote_parent", ["link", "ignore"])
async def test_nothing_of_a_distrusted_client_goes_on(remote_parent):
    with capture_telemetry(settings=Settings(remote_parent=remote_parent)) as telemetry:
        await call_a_flow(CALLER)

    links = [link.context for span in telemetry.sdk_spans for link in span.links]
    assert [f"{each.span_id:016x}" for each in links] == ([CALLER_ID] if remote_parent == "link" else [])
    assert "vendor" not in str(links)

    assert TRACE_ID not in {span.trace_id for span in telemetry.spans}
    assert basic.seen["span"].trace_state.to_header() == ""
    assert basic.seen["baggage"] == {}


async def test_off_a_clients_context_is_nobodys():
    await call_a_flow(CALLER)

    assert basic.seen["baggage"] == {}


async def test_an_error_of_ours_costs_no_flow(monkeypatch):
    def broken(*_: Any, **__: Any) -> Any:
        raise ValueError("canary")

    with capture_telemetry(strict=False):
        monkeypatch.setattr(hook.propagate, "extract", broken)
        await call_a_flow(CALLER)

    assert guard.faults["mcp.in"] == 1


@pytest.mark.parametrize("step", [step for step in steps_in(hook.__name__) if not step.holds_host_code], ids=str)
async def test_a_fault_in_any_function_costs_no_call_and_no_flow(step: Step):
    with capture_telemetry(strict=False), failing(step) as calls:
        await call_in_a_flow()
        await call_a_flow(CALLER)

    assert calls
    assert guard.faults.total() == len(calls)


async def test_from_flow_to_flow_it_is_one_trace(telemetry):
    """A component calls a flow of another server as its tool."""

    class CallsFlow(CallsTool):
        display_name = "Calls Flow"

        async def run_out(self) -> Message:
            await open_sessions[0].call_tool("orders", {})
            return Message(text="done")

    async with session_with(flow_server()) as session:
        open_sessions.append(session)
        await run(line(CallsFlow, name="outer"))

    assert telemetry.tree() == [
        "invoke_workflow outer",
        "  component Chat Input",
        "  component Calls Flow",
        "    invoke_workflow orders",
        "      component Chat Input",
        "      component Reads Context",
        "      component Chat Output",
        "  component Chat Output",
    ]

"""Every way in by which a flow runs in a server, as its user takes it over HTTP.

Each takes the request's headers (``traceparent``, ``baggage``) and gives what the client saw.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import httpx
from langflow_server import Server
from mcp import ClientSession, types
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamablehttp_client
from waiting import wait_until

Headers = Mapping[str, str]


@dataclass
class Answer:
    """What a client saw.

    Attributes:
        status: HTTP status; of MCP calls 200, or 500 where the result says that it is an error.
        text: The body, or all that was streamed.
        events: Names of the streamed events.
        job: Identifier of a playground's build or of a background job.
    """

    status: int
    text: str = ""
    events: list[str] = field(default_factory=list)
    job: str = ""


def _answer(response: httpx.Response) -> Answer:
    return Answer(response.status_code, response.text)


# The API


def api_run(server: Server, flow: str, text: str = "hi", headers: Headers | None = None) -> Answer:
    body = {"input_value": text, "session_id": "s1"}
    return _answer(server.client.post(f"/api/v1/run/{flow}", json=body, headers=headers))


def api_run_stream(
    server: Server, flow: str, text: str = "hi", headers: Headers | None = None, *, leave: bool = False
) -> Answer:
    """Args: leave: Go after the component waits, see :func:`wait_until_waiting`."""
    body = {"input_value": text, "session_id": "s1"}
    with server.client.stream("POST", f"/api/v1/run/{flow}?stream=true", json=body, headers=headers) as response:
        if leave:
            wait_until_waiting(server, text)
            return Answer(response.status_code)
        return _read_events(response)


def responses(
    server: Server, flow: str, text: str = "hi", headers: Headers | None = None, *, stream: bool = False
) -> Answer:
    """The API in the form of OpenAI's."""
    body = {"model": server.flows[flow], "input": text, "stream": stream}
    return _answer(server.client.post("/api/v1/responses", json=body, headers=headers))


def webhook(server: Server, flow: str, text: str = "hi", headers: Headers | None = None) -> Answer:
    return _answer(server.client.post(f"/api/v1/webhook/{flow}", json={"text": text}, headers=headers))


# The playground


def playground(
    server: Server, flow: str, text: str = "hi", headers: Headers | None = None, *, delivery: str = "streaming"
) -> Answer:
    """Press run and read all events. Args: delivery: streaming, polling or direct."""
    if delivery == "direct":
        with server.browser.stream("POST", **_build(server, flow, text, headers, delivery)) as response:
            return _read_events(response)
    job = playground_start(server, flow, text, headers, delivery=delivery)
    url = f"/api/v1/build/{job}/events?event_delivery={delivery}"
    if delivery == "streaming":
        with server.browser.stream("GET", url) as response:
            answer = _read_events(response)
    else:
        answer = _poll_events(server, url)
    answer.job = job
    return answer


def _build(server: Server, flow: str, text: str, headers: Headers | None, delivery: str) -> dict[str, Any]:
    return {
        "url": f"/api/v1/build/{server.flows[flow]}/flow?event_delivery={delivery}",
        "json": {"inputs": {"input_value": text, "session": "s1"}},
        "headers": headers,
    }


def playground_start(
    server: Server, flow: str, text: str = "hi", headers: Headers | None = None, *, delivery: str = "streaming"
) -> str:
    """Press run; the build's identifier."""
    response = server.browser.post(**_build(server, flow, text, headers, delivery))
    assert response.status_code == 200, response.text
    return str(response.json()["job_id"])


def playground_cancel(server: Server, flow: str, text: str = "hi", headers: Headers | None = None) -> Answer:
    """Press run, and stop once the flow is in its slow component."""
    job = playground_start(server, flow, text, headers)
    wait_until_waiting(server, text)
    return _answer(server.browser.post(f"/api/v1/build/{job}/cancel"))


def playground_gone(
    server: Server, flow: str, text: str = "hi", headers: Headers | None = None, *, delivery: str = "streaming"
) -> Answer:
    """Press run and close the window once the flow is in its slow component."""
    if delivery == "direct":
        with server.browser.stream("POST", **_build(server, flow, text, headers, delivery)) as response:
            wait_until_waiting(server, text)
            return Answer(response.status_code)
    job = playground_start(server, flow, text, headers)
    with server.browser.stream("GET", f"/api/v1/build/{job}/events?event_delivery=streaming") as response:
        wait_until_waiting(server, text)
        return Answer(response.status_code, job=job)


def _poll_events(server: Server, url: str, timeout_s: float = 60.0) -> Answer:
    deadline_s = time.monotonic() + timeout_s
    whole = Answer(200)
    while "end" not in whole.events:
        assert time.monotonic() < deadline_s, whole
        response = server.browser.get(url, headers={"Accept": "application/x-ndjson"})
        assert response.status_code == 200, response.text
        whole.text += response.text
        whole.events += _event_names(response.text)
        time.sleep(0.05)
    return whole


# MCP


def mcp_streamable(
    server: Server,
    flow: str,
    text: str = "hi",
    headers: Headers | None = None,
    *,
    meta: Mapping[str, str] | None = None,
    path: str = "/api/v1/mcp/streamable",
) -> Answer:
    """Call the flow as a tool over streamable HTTP. Args: meta: The call's ``_meta``, such as ``traceparent``."""

    async def call() -> Answer:
        async with (
            streamablehttp_client(server.url + path, _mcp_headers(server, headers)) as (read, write, _),
            ClientSession(read, write) as session,
        ):
            return await _call_tool(session, flow, text, meta)

    return asyncio.run(call())


def mcp_project(server: Server, flow: str, *args: Any, **kwargs: Any) -> Answer:
    """The same on the server that LangFlow has for each project; the flow is exposed there first."""
    # LangFlow 1.7 and 1.8 take the endpoint's name away if it is not told again.
    body = {"mcp_enabled": True, "endpoint_name": flow}
    stored = server.browser.patch(f"/api/v1/flows/{server.flows[flow]}", json=body)
    assert stored.status_code == 200, stored.text
    path = f"/api/v1/mcp/project/{stored.json()['folder_id']}/streamable"
    return mcp_streamable(server, flow, *args, path=path, **kwargs)


def mcp_sse(
    server: Server,
    flow: str,
    text: str = "hi",
    headers: Headers | None = None,
    *,
    meta: Mapping[str, str] | None = None,
) -> Answer:
    """Call the flow as a tool over SSE."""

    async def call() -> Answer:
        async with (
            sse_client(f"{server.url}/api/v1/mcp/sse", _mcp_headers(server, headers)) as (read, write),
            ClientSession(read, write) as session,
        ):
            return await _call_tool(session, flow, text, meta)

    return asyncio.run(call())


def _mcp_headers(server: Server, headers: Headers | None) -> dict[str, str]:
    # With an API key, LangFlow 1.7 and 1.8 note its use in a transaction that lasts as long as the request: over
    # SQLite the flow then waits for it.
    return {"Authorization": f"Bearer {server.token}", **(headers or {})}


async def _call_tool(session: ClientSession, flow: str, text: str, meta: Mapping[str, str] | None) -> Answer:
    await session.initialize()
    params = types.CallToolRequestParams(name=flow, arguments={"input_value": text})
    if meta:
        params.meta = types.RequestParams.Meta(**meta)  # type: ignore[arg-type]
    request = types.ClientRequest(types.CallToolRequest(method="tools/call", params=params))
    result = await session.send_request(request, types.CallToolResult, timedelta(seconds=30))
    shown = "".join(part.text for part in result.content if isinstance(part, types.TextContent))
    return Answer(500 if result.isError else 200, shown)


# Workflows, the second version of the API


def workflow(
    server: Server, flow: str, text: str = "hi", headers: Headers | None = None, *, mode: str = "sync"
) -> Answer:
    """Args: mode: sync, stream or background; waits for the end of each."""
    body: dict[str, Any] = {"flow_id": server.flows[flow], "input_value": text, "session_id": "s1", "mode": mode}
    if server.version < (1, 11):
        inputs = {"ChatInput-in.input_value": text, "ChatInput-in.session_id": "s1"}
        body = {"flow_id": server.flows[flow], "inputs": inputs, f"{mode}": True}
        body.pop("sync", None)
    with server.client.stream("POST", "/api/v2/workflows", json=body, headers=headers) as response:
        answer = _read_events(response)
    if mode == "background":
        answer.job = json.loads(answer.text)["job_id"]
        _wait_for_job(server, answer)
    return answer


def _wait_for_job(server: Server, answer: Answer, timeout_s: float = 60.0) -> None:
    deadline_s = time.monotonic() + timeout_s
    while True:
        found = server.client.get("/api/v2/workflows", params={"job_id": answer.job})
        status = found.json().get("status") if found.status_code == 200 else None
        if found.status_code >= 500 or status in {"completed", "failed", "error", "cancelled"}:
            answer.events.append(str(status))
            return
        assert time.monotonic() < deadline_s, found.text
        time.sleep(0.05)


# Common


def _read_events(response: httpx.Response) -> Answer:
    text = "".join(response.iter_text())
    return Answer(response.status_code, text, _event_names(text))


def _event_names(text: str) -> list[str]:
    """Of LangFlow's own lines of JSON, with or without ``data:`` before."""
    names = []
    for line in text.splitlines():
        with suppress(ValueError, TypeError, KeyError):
            names.append(str(json.loads(line.removeprefix("data:"))["event"]))
    return names


def wait_until_waiting(server: Server, text: str) -> None:
    """Until the slow component says that it waits; ``text`` is what it was given."""
    wait_until((server.folder / f"waits-{text}").exists, "the slow component is not reached")

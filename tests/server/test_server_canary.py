"""Secrets in all that a client of LangFlow's server can send, by each way in: none leaves; texts only where asked."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import paths
import pytest
from canaries import Canaries, found_in
from langflow_server import TRACE_FILE, Server, langflow_server, langflow_version
from mcp import ClientSession
from mcp.client.streamable_http import streamablehttp_client
from paths import Answer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

VERSION = langflow_version()
ZERO_CODE = () if VERSION >= (1, 8) else ("langflow-otel", "exec", "--")
DESTINATIONS = {
    "LANGFLOW_OTEL_TRACE_FILE": TRACE_FILE,
    "OTEL_METRICS_EXPORTER": "otlp,prometheus",
    "OTEL_EXPORTER_PROMETHEUS_PORT": "0",
    # As JSON, since it draws tracebacks for up to 20 s. Not DEBUG: what LangFlow 1.12 and later sends by itself, then
    # has a line about each request that sends it, and so on.
    "LANGFLOW_LOG_LEVEL": "INFO",
    "LANGFLOW_LOG_ENV": "container",
    "LANGFLOW_OTEL_LOG_LEVEL": "debug",
    "OTEL_BLRP_SCHEDULE_DELAY": "50",
}
WITH_CONTENT = {
    "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "SPAN_AND_EVENT",
    "LANGFLOW_OTEL_ERROR_MESSAGES": "redacted",
}
WAYS: dict[str, Callable[..., Answer]] = {
    "run": paths.api_run,
    "stream": paths.api_run_stream,
    "responses": paths.responses,
    "playground": paths.playground,
    "mcp": paths.mcp_streamable,
    "mcp over sse": paths.mcp_sse,
}
STREAMED = b"one two three"
"""What the model of the flow ``streaming`` says, word by word."""


@dataclass
class Sent:
    """All bytes that left, by the place where they arrived."""

    by_place: dict[str, bytes]

    def canaries(self, *places: str) -> set[int]:
        return {number for place in places or self.by_place for number in found_in(self.by_place[place])}


def headers(canaries: Canaries, way: str) -> dict[str, str]:
    """Secrets of every name, and those that LangFlow gives to the flow as variables."""
    names = ("Cookie", "X-Api-Token", "Proxy-Authorization", "X-Langflow-Global-Var-Key", "Referer")
    planted = {name: canaries.plant("secret", f"{name} of {way}") for name in names}
    return {**planted, "baggage": f"tenant=acme,secret={canaries.plant('secret', f'baggage of {way}')}"}


def drive(server: Server, canaries: Canaries) -> None:
    """Each way in, with a text and secrets beside and inside it."""
    for way, drive_one in WAYS.items():
        for flow in ("ok", "streaming"):
            name = f"{way} {flow}"
            more: dict[str, Any] = {"meta": _meta(canaries, name)} if way.startswith("mcp") else {}
            text = canaries.text("content", f"input of {name}")
            answer = drive_one(server, flow, text, headers(canaries, name), **more)
            assert answer.status == 200, answer
        drive_one(server, "keyed", canaries.text("error", f"fail: input of {way}"), headers(canaries, f"{way} failing"))
    paths.webhook(server, "hooked", canaries.text("content", "body of the webhook"), headers(canaries, "webhook"))
    _with_keys(server, canaries)
    _with_wrong_credentials(server, canaries)
    asyncio.run(_with_wrong_arguments(server, canaries))


def _meta(canaries: Canaries, way: str) -> dict[str, str]:
    return {"progressToken": "1", "api_key": canaries.plant("secret", f"_meta of {way}")}


def _with_keys(server: Server, canaries: Canaries) -> None:
    """A key for a component, which hands it on, in the body and in the query."""
    for said in ("hi", "fail"):
        body = {
            "input_value": f"{said} {canaries.plant('content' if said == 'hi' else 'error', f'{said} with a key')}",
            "tweaks": {"Keyed-1": {"key": canaries.plant("secret", f"tweaked key, {said}")}},
        }
        query = {"token": canaries.plant("secret", f"query, {said}")}
        response = server.client.post("/api/v1/run/keyed", params=query, json=body)
        assert (response.status_code == 200) == (said == "hi"), response.text


def _with_wrong_credentials(server: Server, canaries: Canaries) -> None:
    """And what no flow ever sees."""
    # The path of a request is on its span, as in any service.
    for path in ("/api/v1/run/nobodys-flow", f"/api/v1/run/{canaries.plant('attribute', 'path')}", "/api/v1/nothing"):
        key = {"x-api-key": canaries.plant("secret", f"API key to {path}")}
        server.client.post(path, json={"input_value": canaries.plant("secret", f"body to {path}")}, headers=key)


async def _with_wrong_arguments(server: Server, canaries: Canaries) -> None:
    """A tool that is not there, and arguments that no flow takes."""
    url, token = f"{server.url}/api/v1/mcp/streamable", {"Authorization": f"Bearer {server.token}"}
    async with streamablehttp_client(url, token) as (read, write, _), ClientSession(read, write) as session:
        await session.initialize()
        for tool in ("nothing", "ok"):
            await session.call_tool(tool, {"password": canaries.plant("secret", f"argument of {tool}")})


def everything(server: Server) -> Sent:
    server.wait_until_quiet()
    # Log records come on their own, 0.05 s after the lines.
    time.sleep(1)
    received = server.receiver
    return Sent(
        {
            "spans": _bytes_of(received.requests),
            "logs": _bytes_of(received.log_requests),
            "metrics": _bytes_of(received.metric_requests),
            "trace file": (server.folder / TRACE_FILE).read_bytes(),
        }
    )


def _bytes_of(requests: list[Any]) -> bytes:
    assert requests
    return b"".join(
        each.message.SerializeToString() + f"{each.path} {each.headers}".encode() for each in list(requests)
    )


@pytest.fixture(scope="module", params=[{}, WITH_CONTENT], ids=["no content", "content"])
def driven(request: pytest.FixtureRequest) -> Iterator[tuple[bool, Canaries, Sent, Server]]:
    """Whether content was asked for; what was planted; what left; the server."""
    canaries = Canaries()
    with langflow_server(prefix=ZERO_CODE, environment={**DESTINATIONS, **request.param}) as server:
        drive(server, canaries)
        yield bool(request.param), canaries, everything(server), server


def test_no_secret_leaves(driven):
    _, canaries, sent, server = driven

    found = {place: canaries.named(sent.canaries(place) & canaries.of("secret")) for place in sent.by_place}
    assert found == {place: [] for place in sent.by_place}
    for key in (server.client.headers["x-api-key"], server.token):
        assert [place for place, said in sent.by_place.items() if key.encode() in said] == []
    assert len(canaries.of("secret")) > 100


def test_the_servers_log_says_what_leaves(driven):
    with_content, *_, server = driven

    # LangFlow's first process may load its plugins as well.
    said = [line for line in server.output().splitlines() if "langflow-otel audit: pid=" in line]
    assert said
    assert all(("content=off" in line) != with_content for line in said)


def test_texts_leave_where_they_were_asked_for(driven):
    with_content, canaries, sent, _ = driven

    texts, errors = canaries.of("content"), canaries.of("error")
    for place in ("spans", "trace file"):
        assert canaries.named((texts | errors if with_content else set()) - sent.canaries(place)) == []
    assert canaries.named((texts if with_content else set()) - sent.canaries("logs")) == []
    if not with_content:
        assert canaries.named(sent.canaries() - canaries.of("attribute")) == []
    assert canaries.named(sent.canaries("metrics")) == []


def test_what_a_model_streams_leaves_where_it_was_asked_for(driven):
    with_content, _, sent, _ = driven

    found = {place: STREAMED in said for place, said in sent.by_place.items()}
    assert found == {"spans": with_content, "trace file": with_content, "logs": with_content, "metrics": False}

"""Errors of a model's provider in whole runs: LangChain and LangFlow raise errors of their own from them.

pip install langchain-openai
"""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from flows import chat_input, run
from lfx.graph import Graph
from lfx.log.logger import configure
from nodes import asking, models
from openai_server import FakeOpenAI, fake_openai

from langflow_otel._hooks.versions import lfx_version
from langflow_otel.testing import Telemetry

langchain_openai = pytest.importorskip("langchain_openai")

CLOSED_PORT = "http://127.0.0.1:1/v1"
CASES = {
    "401": ([401], "AuthenticationError", "authentication"),
    "403": ([403], "PermissionDeniedError", "authentication"),
    "404": ([404], "NotFoundError", "invalid_request"),
    "400": ([400], "BadRequestError", "invalid_request"),
    "content filter": (["refuse"], "BadRequestError", "content_filter"),
    "429 always": ([429, 429, 429], "RateLimitError", "rate_limit"),
    "500 three times": ([500, 500, 500], "InternalServerError", "provider"),
    # Of the HTTP client where the answer had begun.
    "timeout": (["wait"], ("APITimeoutError", "ReadTimeout"), "timeout"),
    "connection refused": ([], "APIConnectionError", "network"),
    # Of the HTTP client, or of openai from 3.0 on.
    "cut stream": (["cut"], ("RemoteProtocolError", "APIConnectionError"), "network"),
}
FLOW, AGENT, CALL = "invoke_workflow demo", "invoke_agent Agent", "chat gpt-4o-mini"


@pytest.fixture
def openai() -> Iterator[FakeOpenAI]:
    with fake_openai() as fake:
        yield fake
    asking.seen.clear()


def use_model(fake: FakeOpenAI, case: str) -> None:
    fields = {"base_url": CLOSED_PORT if case == "connection refused" else fake.url, "api_key": "none"}
    if case == "timeout":
        fields.update(timeout=0.2, max_retries=0)
    asking.seen["model"] = lambda: langchain_openai.ChatOpenAI(
        model="gpt-4o-mini", stream_usage=True, streaming=case == "cut stream", **fields
    )


async def model_flow() -> Graph:
    start = chat_input()
    return Graph(start, asking.OpenAIModel(_id="Model-m").set(input_value=start.message_response), flow_name="demo")


async def agent_flow(*tools: object) -> Graph:
    start = chat_input()
    agent = asking.langflows_agent()(_id="Agent-a").set(
        input_value=start.message_response,
        model=[{"name": "gpt-4o-mini", "provider": "OpenAI"}],
        tools=list(tools) or [models.plain_tool()],
    )
    return Graph(start, agent, flow_name="demo")


def errors(telemetry: Telemetry, above: str) -> set[tuple[str, str]]:
    """Of the flow, the component and the call: they agree."""
    spans = [telemetry.only_span(name) for name in (FLOW, above, CALL)]
    assert {span.status for span in spans} == {"error"}
    return {(span.attributes["error.type"], span.attributes["langflow.error.category"]) for span in spans}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(("make", "above"), [(model_flow, "component OpenAI Model"), (agent_flow, AGENT)])
async def test_a_providers_error_is_the_same_on_spans_and_metrics(telemetry, openai, case, make, above):
    replies, types, category = CASES[case]
    openai.replies = list(replies)
    use_model(openai, case)
    with pytest.raises(Exception, match=r"\w"):
        await run(await make())
    others = asyncio.all_tasks() - {asyncio.current_task()}
    if others:  # LangChain's, which still report the error
        await asyncio.wait(others, timeout=60)

    ((error, found),) = errors(telemetry, above)
    assert found == category
    assert error in types if isinstance(types, tuple) else error == types
    (counted,) = telemetry.metrics("langflow_component_errors_total")
    assert f'error_type="{error}"' in counted
    assert "langflow.usage.input_tokens" not in telemetry.only_span(above).attributes


@pytest.mark.parametrize(("make", "above"), [(model_flow, "component OpenAI Model"), (agent_flow, AGENT)])
async def test_a_call_that_succeeds_after_429_is_no_error(telemetry, openai, make, above):
    openai.replies = [429]
    use_model(openai, "429")
    await run(await make())

    assert [telemetry.only_span(name).status for name in (FLOW, above, CALL)] == ["ok"] * 3
    assert telemetry.metrics("langflow_component_errors_total") == {}
    assert telemetry.only_span(CALL).attributes["langflow.model.retries"] == 1


async def test_a_tool_that_raises_below_an_agent_is_a_tools_error(telemetry, openai):
    openai.replies = ["tool"]
    openai.tools = {"shout": {"text": "hi"}}
    use_model(openai, "tool")
    await run(await agent_flow(*await models.ShoutBroken(_id="Shout-s").to_toolkit()))

    tool = telemetry.only_span("execute_tool shout")
    assert (tool.attributes["error.type"], tool.attributes["langflow.error.category"]) == ("ZeroDivisionError", "tool")
    assert [telemetry.only_span(name).status for name in (FLOW, AGENT)] == ["ok", "ok"]


@pytest.mark.slow
@pytest.mark.parametrize(("make", "above"), [(model_flow, "component OpenAI Model"), (agent_flow, AGENT)])
async def test_what_failed_ends_before_langflow_renders_its_traceback(telemetry, openai, monkeypatch, make, above):
    rendered: list[int] = []

    class Stream(io.StringIO):
        def write(self, text: str) -> int:
            return len(text)

    render = structlog.dev.RichTracebackFormatter.__call__

    def timed(formatter: Any, stream: Any, exc_info: Any) -> None:
        if "401" in str(exc_info[1]):
            rendered.append(time.time_ns())
        render(formatter, stream, exc_info)

    monkeypatch.setattr(structlog.dev.RichTracebackFormatter, "__call__", timed)
    monkeypatch.setattr("sys.stdout", Stream())
    monkeypatch.setenv("LANGFLOW_PRETTY_LOGS", "true")
    configure(log_level="ERROR", cache=False)
    openai.replies = [401]
    use_model(openai, "401")
    try:
        with pytest.raises(Exception, match="401"):
            await run(await make())
    finally:
        configure(log_level="CRITICAL", cache=False)

    ended = telemetry.only_span(above).end_ns
    assert telemetry.only_span(CALL).end_ns <= ended
    assert [each for each in rendered if each < ended] == []
    # The oldest engine logs it without a traceback.
    assert rendered or str(lfx_version()).startswith("0.2")

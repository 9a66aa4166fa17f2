"""Model calls of LangChain's own OpenAI client over HTTP: the requests are below their call, retries too.

pip install langchain-openai
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from flows import line, run
from nodes import asking
from openai_server import FakeOpenAI, fake_openai
from test_tools import agent_flow

from langflow_otel.settings import Settings
from langflow_otel.testing import Telemetry, capture_telemetry

langchain_openai = pytest.importorskip("langchain_openai")

RETRIES = "langflow.model.retries"


@pytest.fixture
def openai() -> Iterator[FakeOpenAI]:
    with fake_openai() as fake:
        asking.seen["model"] = lambda: langchain_openai.ChatOpenAI(
            base_url=fake.url, api_key="none", model="gpt-4o-mini", temperature=0.5, stream_usage=True
        )
        yield fake
    asking.seen.clear()


async def invoke(_: Any) -> Any:
    return asking.seen["model"]().invoke("hi")


async def ainvoke(_: Any) -> Any:
    return await asking.seen["model"]().ainvoke("hi")


async def stream(_: Any) -> Any:
    return list(asking.seen["model"]().stream("hi"))


async def astream(_: Any) -> Any:
    return [chunk async for chunk in asking.seen["model"]().astream("hi")]


async def structured(_: Any) -> Any:
    schema = {"title": "add", "description": "Adds.", "type": "object", "properties": {"a": {"type": "integer"}}}
    return await asking.seen["model"]().with_structured_output(schema, method="function_calling").ainvoke("hi")


async def batch(_: Any) -> Any:
    return await asking.seen["model"]().abatch(["a", "b"])


def tree(telemetry: Telemetry, *attributes: str) -> list[str]:
    """Without the components around."""
    lines = [text for text in telemetry.tree(*attributes) if not text.startswith("  component Chat ")]
    return [text.replace("HTTP POST", "POST") for text in lines]


@pytest.mark.parametrize("way", [invoke, ainvoke, stream, astream])
async def test_the_request_is_below_its_call(telemetry, openai, way):
    asking.seen["ask"] = way
    await run(line(asking.Asks))

    assert tree(telemetry) == [
        "invoke_workflow demo",
        "  component Asks",
        "    chat gpt-4o-mini",
        "      POST",
    ]
    attributes = dict(telemetry.only_span("chat gpt-4o-mini").attributes)
    streamed = way in (stream, astream)
    assert ("gen_ai.response.time_to_first_chunk" in attributes) is streamed
    attributes.pop("gen_ai.response.time_to_first_chunk", None)
    attributes.pop("gen_ai.response.id", None)  # LangChain does not tell it of a stream.
    assert attributes == {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "gpt-4o-mini",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.temperature": 0.5,
        **({"gen_ai.request.stream": True} if streamed else {}),
        "gen_ai.response.model": "gpt-4o-mini-2024",
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.usage.input_tokens": 7,
        "gen_ai.usage.output_tokens": 5,
        "gen_ai.usage.cache_read.input_tokens": 2,
        "gen_ai.usage.reasoning.output_tokens": 1,
        "server.address": "127.0.0.1",
        "server.port": int(openai.url.split(":")[2].split("/")[0]),
        "langflow.flow.name": "demo",
        "session.id": "s1",
        "gen_ai.conversation.id": "s1",
        "langflow.status": "ok",
    }
    post = telemetry.roots()[0].children[1].children[0].children[0]
    assert openai.received[0]["traceparent"].split("-")[2] == post.span_id


@pytest.mark.parametrize("way", [ainvoke, astream])
async def test_retries_inside_the_library_are_requests_of_one_call(telemetry, openai, way):
    openai.replies = [429, 429, "answer"]
    asking.seen["ask"] = way
    await run(line(asking.Asks))

    assert tree(telemetry, RETRIES, "http.response.status_code", "http.status_code") == [
        "invoke_workflow demo",
        "  component Asks",
        f"    chat gpt-4o-mini {RETRIES}=2",
        *telemetry_posts(telemetry),
    ]
    assert len(openai.received) == 3


def telemetry_posts(telemetry: Telemetry) -> list[str]:
    """Three of them; how the status is called is the HTTP instrumentor's."""
    found = [text for text in tree(telemetry, "http.response.status_code", "http.status_code") if "POST" in text]
    assert [text.rpartition("=")[2] for text in found] == ["429", "429", "200"]
    return found


async def test_a_refused_call_has_the_error_of_the_providers_library(telemetry, openai):
    openai.replies = [401]
    asking.seen["ask"] = ainvoke
    with pytest.raises(Exception, match="401"):
        await run(line(asking.Asks))

    call = telemetry.only_span("chat gpt-4o-mini")
    assert (call.status, call.attributes["error.type"]) == ("error", "AuthenticationError")
    assert RETRIES not in call.attributes
    assert len(call.children or telemetry.roots()[0].children[1].children[0].children) == 1


async def test_a_stream_that_is_cut_is_an_error(telemetry, openai):
    openai.replies = ["cut"]
    asking.seen["ask"] = astream
    with pytest.raises(Exception, match=r"\w"):
        await run(line(asking.Asks))

    call = telemetry.only_span("chat gpt-4o-mini")
    assert call.status == "error"
    assert call.attributes["gen_ai.response.time_to_first_chunk"] >= 0


@pytest.mark.parametrize("way", [structured, batch])
async def test_structured_output_and_batches(telemetry, openai, way):
    openai.replies = ["tool"] if way is structured else []
    asking.seen["ask"] = way
    await run(line(asking.Asks))

    calls = 1 if way is structured else 2
    assert tree(telemetry, "langflow.usage.input_tokens") == [
        f"invoke_workflow demo langflow.usage.input_tokens={7 * calls}",
        f"  component Asks langflow.usage.input_tokens={7 * calls}",
        *["    chat gpt-4o-mini", "      POST"] * calls,
    ]


AGENT = ["    chat gpt-4o-mini", "      POST", "    execute_tool add", "    chat gpt-4o-mini", "      POST"]


async def test_an_agent_with_a_tool(telemetry, openai):
    openai.replies = ["tool", "answer"]
    await run(await agent_flow(asking.OpenAIAgent))

    assert tree(telemetry) == ["invoke_workflow demo", "  invoke_agent OpenAI Agent", *AGENT]
    agent = telemetry.only_span("invoke_agent OpenAI Agent").attributes
    assert (agent["langflow.usage.input_tokens"], agent["langflow.usage.output_tokens"]) == (14, 10)
    assert sum(telemetry.metrics("gen_ai_client_inference_usage_input_tokens_total").values()) == 14
    assert sum(telemetry.metrics("gen_ai_client_inference_usage_output_tokens_total").values()) == 10


async def test_the_requests_of_a_kept_run_are_below_their_calls(openai):
    openai.replies = [429, "answer"]
    asking.seen["ask"] = ainvoke
    settings = Settings(sampling=(("*", 0.0),), keep_slow_s=0.0)
    with capture_telemetry(settings=settings) as telemetry:
        await run(line(asking.Asks))

    assert tree(telemetry, RETRIES) == [
        "invoke_workflow demo",
        "  component Asks",
        f"    chat gpt-4o-mini {RETRIES}=1",
        "      POST [error]",
        "      POST",
    ]


async def test_two_components_at_once_have_their_own_requests(telemetry, openai):
    asking.seen["ask"] = astream
    await asyncio.gather(*(run(line(asking.Asks, asking.AsksAgain, name=name)) for name in "ab"))

    for root in telemetry.roots():
        assert [[call.name, len(call.children)] for each in root.children for call in each.children] == [
            ["chat gpt-4o-mini", 1],
            ["chat gpt-4o-mini", 1],
        ]


async def test_without_model_spans_the_request_is_below_the_component(openai):
    asking.seen["ask"] = ainvoke
    with capture_telemetry(settings=Settings(detail="component")) as telemetry:
        await run(line(asking.Asks))

    assert tree(telemetry, "gen_ai.request.model") == [
        "invoke_workflow demo",
        "  component Asks gen_ai.request.model=gpt-4o-mini",
        "    POST",
    ]

"""Model calls of LangChain's own OpenAI client over HTTP: the requests are below their call, retries too.

pip install langchain-openai
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from flows import line, run
from langchain_core.messages import HumanMessage
from lfx.graph import Graph
from nodes import asking
from openai_server import DIMENSIONS, FakeOpenAI, fake_openai
from test_tools import agent_flow

from langflow_otel._settings.settings import Settings
from langflow_otel.testing import Telemetry, capture_telemetry

langchain_openai = pytest.importorskip("langchain_openai")

RETRIES = "langflow.model.retries"
EMBEDDING_MODEL = "text-embedding-3-small"


@pytest.fixture
def openai() -> Iterator[FakeOpenAI]:
    with fake_openai() as fake:
        asking.seen["model"] = lambda: langchain_openai.ChatOpenAI(
            base_url=fake.url, api_key="none", model="gpt-4o-mini", temperature=0.5, stream_usage=True
        )
        asking.seen["embeddings"] = lambda: langchain_openai.OpenAIEmbeddings(
            base_url=fake.url, api_key="none", model=EMBEDDING_MODEL, check_embedding_ctx_length=False
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


async def embed(_: Any) -> Any:
    model = asking.seen["embeddings"]()
    return [model.embed_query("one"), model.embed_documents(["one", "two"])]


async def aembed(_: Any) -> Any:
    model = asking.seen["embeddings"]()
    return [await model.aembed_query("one"), await model.aembed_documents(["one", "two"])]


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


class Watched(langchain_openai.ChatOpenAI):
    """Says when it waits for its second chunk. Where a chunk arrives together with a cancellation, Python before 3.12
    forgets the latter (``asyncio.wait_for``): the call then goes on, and ends well."""

    async def _astream(self, *args: Any, **kwargs: Any) -> Any:
        async for chunk in super()._astream(*args, **kwargs):
            yield chunk
            asking.seen["started"].set()


async def cancelled(graph: Graph, openai: FakeOpenAI, *, streamed: bool = True, **options: Any) -> None:
    """Run it, and cancel it while the server has not answered, or not to the end."""
    openai.replies = ["wait"]
    started = asking.seen["started"] = asyncio.Event()
    asking.seen["model"] = lambda: Watched(base_url=openai.url, api_key="none", model="gpt-4o-mini", **options)
    task = asyncio.create_task(run(graph))
    await (started.wait() if streamed else asyncio.to_thread(openai.waiting.wait, 60))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert openai.sent_usage == []


@pytest.mark.parametrize("way", [ainvoke, astream])
async def test_a_call_that_is_cancelled_in_its_request(telemetry, openai, way):
    asking.seen["ask"] = way
    await cancelled(line(asking.Asks), openai, streamed=way is astream)

    assert [text.replace(" [error]", "") for text in tree(telemetry, "langflow.error.category")] == [
        "invoke_workflow demo [cancelled] langflow.error.category=cancelled",
        "  component Asks [cancelled] langflow.error.category=cancelled",
        "    chat gpt-4o-mini [cancelled] langflow.error.category=cancelled",
        "      POST",
    ]
    assert sum(telemetry.metrics("gen_ai_client_inference_duration_seconds_count").values()) == 1


@pytest.mark.parametrize("streaming", [False, True])
async def test_an_agent_that_is_cancelled_in_its_models_request(telemetry, openai, streaming):
    await cancelled(await agent_flow(asking.OpenAIAgent), openai, streamed=streaming, streaming=streaming)

    assert tree(telemetry) == [
        "invoke_workflow demo [cancelled]",
        "  invoke_agent OpenAI Agent [cancelled]",
        "    chat gpt-4o-mini [cancelled]",
        "      POST",
    ]


@pytest.mark.parametrize("way", ["stream", "astream"])
async def test_a_stream_over_http_that_its_reader_leaves(telemetry, openai, way):
    openai.replies = ["wait"]

    async def ask(_: Any) -> Any:
        model = asking.seen["model"]()
        if way == "stream":
            chunks = model.stream("hi")
            next(chunks)
            return chunks.close()
        achunks = model.astream("hi")
        await achunks.__anext__()
        return await achunks.aclose()

    asking.seen["ask"] = ask
    await run(line(asking.Asks))

    assert tree(telemetry) == [
        "invoke_workflow demo",
        "  component Asks",
        "    chat gpt-4o-mini [cancelled]",
        "      POST",
    ]


async def retried(_: Any) -> Any:
    return (
        await asking.seen["model"]()
        .model_copy(update={"max_retries": 0})
        .with_retry(wait_exponential_jitter=False)
        .ainvoke("hi")
    )


async def fallen_back(_: Any) -> Any:
    model = asking.seen["model"]()
    return await model.with_fallbacks([model]).ainvoke("hi")


@pytest.mark.parametrize("way", [retried, fallen_back])
async def test_each_attempt_of_langchain_is_a_call_of_its_own(telemetry, openai, way):
    openai.replies = [401, "answer"]
    asking.seen["ask"] = way
    await run(line(asking.Asks))

    assert tree(telemetry, "error.type", RETRIES, "langflow.usage.input_tokens") == [
        "invoke_workflow demo langflow.usage.input_tokens=7",
        "  component Asks langflow.usage.input_tokens=7",
        "    chat gpt-4o-mini [error] error.type=AuthenticationError",
        tree(telemetry, "error.type")[3],
        "    chat gpt-4o-mini",
        "      POST",
    ]


async def several_lists(_: Any) -> Any:
    return await asking.seen["model"]().agenerate([[HumanMessage("a")], [HumanMessage("b")]])


async def events_v2(_: Any) -> Any:
    return [event async for event in asking.seen["model"]().astream_events("hi", version="v2")]


async def events_v3(_: Any) -> Any:
    events = await asking.seen["model"]().astream_events("hi", version="v3")
    return [event async for event in events]


async def sync_events_v3(_: Any) -> Any:
    return list(asking.seen["model"]().stream_events("hi", version="v3"))


# LangChain 1.3 and later.
HAS_V3 = hasattr(langchain_openai.ChatOpenAI, "stream_events")
EVENTS = [events_v2, *((events_v3, sync_events_v3) if HAS_V3 else ())]


@pytest.mark.parametrize(("way", "calls"), [(several_lists, 2), *((way, 1) for way in EVENTS)])
async def test_several_lists_at_once_and_streams_of_events(telemetry, openai, way, calls):
    asking.seen["ask"] = way
    await run(line(asking.Asks))

    found = tree(telemetry)
    assert found[:3] == ["invoke_workflow demo", "  component Asks", "    chat gpt-4o-mini"]
    assert [name for name in telemetry.names() if name.startswith("chat")] == ["chat gpt-4o-mini"] * calls
    assert telemetry.roots()[0].attributes["langflow.usage.input_tokens"] == 7 * calls
    if way is not several_lists:  # Nothing tells the requests of two calls from each other.
        assert found[3:] == ["      POST"]
        assert telemetry.only_span("chat gpt-4o-mini").attributes["gen_ai.response.time_to_first_chunk"] > 0


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


@pytest.mark.parametrize("way", [embed, aembed])
async def test_embeddings_have_the_servers_tokens(telemetry, openai, way):
    asking.seen["ask"] = way
    await run(line(asking.Asks))

    assert [each["prompt_tokens"] for each in openai.sent_usage] == [1, 2]
    assert tree(telemetry, "gen_ai.usage.input_tokens", "langflow.usage.input_tokens") == [
        "invoke_workflow demo langflow.usage.input_tokens=3",
        "  component Asks langflow.usage.input_tokens=3",
        f"    embeddings {EMBEDDING_MODEL} gen_ai.usage.input_tokens=1",
        "      POST",
        f"    embeddings {EMBEDDING_MODEL} gen_ai.usage.input_tokens=2",
        "      POST",
    ]
    calls = telemetry.roots()[0].children[1].children
    assert [each.parent[1] for each in openai.asked] == [call.children[0].span_id for call in calls]
    assert dict(calls[1].attributes) == {
        "gen_ai.operation.name": "embeddings",
        "gen_ai.request.model": EMBEDDING_MODEL,
        "gen_ai.provider.name": "openai",
        "gen_ai.response.model": EMBEDDING_MODEL,
        "gen_ai.usage.input_tokens": 2,
        "gen_ai.embeddings.dimension.count": DIMENSIONS,
        "langflow.embeddings.text_count": 2,
        "server.address": "127.0.0.1",
        "server.port": int(openai.url.split(":")[2].split("/")[0]),
        "langflow.flow.name": "demo",
        "session.id": "s1",
        "gen_ai.conversation.id": "s1",
        "langflow.status": "ok",
    }


@pytest.mark.parametrize("way", [embed, aembed])
async def test_refused_embeddings_have_the_librarys_error(telemetry, openai, way):
    openai.replies = [401]
    asking.seen["ask"] = way
    with pytest.raises(Exception, match="401"):
        await run(line(asking.Asks))

    assert [text.split(" [")[0] for text in tree(telemetry)] == [
        "invoke_workflow demo",
        "  component Asks",
        f"    embeddings {EMBEDDING_MODEL}",
        "      POST",
    ]
    attributes = telemetry.only_span(f"embeddings {EMBEDDING_MODEL}").attributes
    assert attributes["error.type"] == "AuthenticationError"
    assert attributes["langflow.error.category"] == "authentication"
    assert "gen_ai.usage.input_tokens" not in attributes


async def test_embeddings_that_are_cancelled_in_their_request(telemetry, openai):
    openai.replies = ["wait"]
    asking.seen["ask"] = aembed
    task = asyncio.create_task(run(line(asking.Asks)))
    await asyncio.to_thread(openai.waiting.wait, 60)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert openai.sent_usage == []
    assert [text.replace(" [error]", "") for text in tree(telemetry, "langflow.error.category")] == [
        "invoke_workflow demo [cancelled] langflow.error.category=cancelled",
        "  component Asks [cancelled] langflow.error.category=cancelled",
        f"    embeddings {EMBEDDING_MODEL} [cancelled] langflow.error.category=cancelled",
        "      POST",
    ]
    assert sum(telemetry.metrics("gen_ai_client_embeddings_duration_seconds_count").values()) == 1
    assert telemetry.metrics("gen_ai_client_embeddings_operation_input_tokens_count") == {}

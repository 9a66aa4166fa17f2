"""Runs flows until it is stopped, and lets itself be scraped: the process that test_queries.py looks at.

Started as ``python flows_process.py``, with the library's own variables in the environment. With a number as argument
it runs so many rounds, says how many runs these were, and waits.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from lfx.components.flow_controls.conditional_router import ConditionalRouterComponent
from lfx.graph import Graph
from lfx.graph.graph import base
from lfx.io import MessageInput, MessageTextInput, Output
from lfx.log.logger import configure
from lfx.schema.message import Message

sys.path.insert(0, str(Path(__file__).parent.parent / "lfx"))

from flows import Cache, chat_input, line
from nodes.basic import Echo
from nodes.models import FakeModel

from langflow_otel import instrument, record_retry
from langflow_otel._hooks.server import ServerMiddleware
from langflow_otel._runs.recorder import count_dropped

cache = Cache()
base.get_chat_service = lambda: cache
configure(log_level="CRITICAL")


class Search(Echo):
    display_name = "Search"
    name = "Search"

    async def run_out(self) -> Message:
        await asyncio.sleep(0.03)
        return Message(text=str(self.value))


class TimesOut(Echo):
    display_name = "Times Out"
    name = "TimesOut"

    async def run_out(self) -> Message:
        raise TimeoutError


class Flaky(Echo):
    """Fails three times of four."""

    display_name = "Flaky"
    name = "Flaky"

    async def run_out(self) -> Message:
        if next(attempts) % 4:
            raise TimeoutError
        return Message(text=str(self.value))


attempts = itertools.count()
started = itertools.count()


class Retries(Echo):
    display_name = "Retries"
    name = "Retries"

    async def run_out(self) -> Message:
        record_retry(1)
        return Message(text=str(self.value))


class Streams(Echo):
    display_name = "Streams"
    name = "Streams"

    def run_out(self) -> Message:
        return Message(text=(chunk for chunk in ("a", "b")))


class Reads(Echo):
    """Reads the stream that it is given."""

    display_name = "Reads"
    name = "Reads"
    inputs = [MessageInput(name="value", display_name="Value"), MessageTextInput(name="other", display_name="Other")]
    outputs = [Output(display_name="Out", name="out", method="run_out")]

    def run_out(self) -> Message:
        stream = getattr(self.value, "text_stream", None) or self.value.__dict__["text"]
        return Message(text="".join(stream))


def cached() -> Graph:
    graph = line(Search, name="cached")
    graph.get_vertex("Search-0").frozen = True
    return graph


class Refuses(GenericFakeChatModel):
    def _generate(self, *_: Any, **__: Any) -> Any:
        raise PermissionError


class AsksInVain(Echo):
    """Gets no answer from its model, and does without."""

    display_name = "Asks in Vain"
    name = "AsksInVain"

    async def run_out(self) -> Message:
        with suppress(PermissionError):
            await Refuses(messages=iter([])).ainvoke("hi")
        return Message(text=str(self.value))


class Telling(GenericFakeChatModel):
    """Answers in chunks, and says what it used."""

    model_name: str = "telling"


class AsksAndEmbeds(Echo):
    """Has the answer of a model told in chunks, asks it once more, and asks an embedding model."""

    display_name = "Asks and Embeds"
    name = "AsksAndEmbeds"

    async def run_out(self) -> Message:
        used = {
            "input_tokens": 20,
            "output_tokens": 10,
            "total_tokens": 30,
            "input_token_details": {"cache_read": 8, "cache_creation": 4},
            "output_token_details": {"reasoning": 5},
        }
        model = Telling(messages=iter([AIMessage("one two three"), AIMessage("four", usage_metadata=used)]))
        async for _ in model.astream("hi"):
            pass
        await model.ainvoke("hi")
        DeterministicFakeEmbedding(size=3).embed_query("hi")
        return Message(text=str(self.value))


def chat(model: str = "fake-1") -> Graph:
    start = chat_input()
    asked = FakeModel(_id="Model-m").set(input_value=start.message_response, model_name=model)
    return Graph(start, asked, flow_name="chat")


def fork() -> Graph:
    """One of two branches is taken."""
    graph = Graph(flow_name="fork")
    graph.add_component(chat_input())
    router = ConditionalRouterComponent(_id="Router-r").set(
        match_text="hi", operator="equals", true_case_message="yes", false_case_message="no"
    )
    graph.add_component(router)
    for each in ("taken", "other"):
        graph.add_component(Echo(_id=f"Echo-{each}"))
    graph.add_component_edge("ChatInput-in", ("message", "input_text"), "Router-r")
    graph.add_component_edge("Router-r", ("true_result", "value"), "Echo-taken")
    graph.add_component_edge("Router-r", ("false_result", "value"), "Echo-other")
    graph.prepare()
    return graph


async def run(graph: Graph) -> bool:
    next(started)
    try:
        await graph.arun([{"input_value": "hi"}], session_id="s")
    except ValueError:
        return False
    return True


class Api:
    """A server of one route, behind the library's own middleware: 200 when the flow succeeds, 503 when it fails."""

    def __init__(self) -> None:
        self._app = ServerMiddleware(self._answer)

    async def post(self, flow: str) -> None:
        scope = {"type": "http", "method": "POST", "path": f"/api/v1/run/{flow}", "scheme": "http", "headers": []}
        await self._app(scope, _receive, _send)

    async def _answer(self, scope: Any, _receive: Any, send: Any) -> None:
        node = TimesOut if scope["path"].endswith("broken") else Search
        found = await run(line(node, name="by api"))
        await send({"type": "http.response.start", "status": 200 if found else 503, "headers": []})
        await send({"type": "http.response.body", "body": b""})


async def _receive() -> dict[str, Any]:
    return {"type": "http.request", "body": b""}


async def _send(_: dict[str, Any]) -> None:
    return None


async def drive(rounds: Iterable[int]) -> None:
    api = Api()
    # Over before any scrape can see the first of them: see test_queries.py.
    await asyncio.gather(*(run(line(node, name="seven")) for node in (*[Echo] * 7, *[TimesOut] * 3)))
    for _ in rounds:
        # Two versions of one flow; the second fails.
        await asyncio.gather(
            *(run(line(Search, name="shop")) for _ in range(4)), run(line(Search, Retries, name="shop"))
        )
        await run(line(Search, TimesOut, name="shop"))
        # One that mostly fails, and recovers now and then.
        for _ in range(4):
            await run(line(Flaky, name="broken"))
        for graph in (cached(), chat(), chat("fake-2"), fork(), line(Streams, Reads, name="stream")):
            await run(graph)
        await run(line(AsksInVain, name="refused"))
        await run(line(AsksAndEmbeds, name="asked"))
        waiting = asyncio.create_task(run(line(Search, name="cancelled")))
        await asyncio.sleep(0.01)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        for flow in ("shop", "shop", "broken"):
            await api.post(flow)
        count_dropped("traces", "queue_full")
        await asyncio.sleep(0.2)


if __name__ == "__main__":
    instrument()
    rounds = range(int(sys.argv[1])) if len(sys.argv) > 1 else itertools.count()
    asyncio.run(drive(rounds))
    print("runs:", next(started), flush=True)
    sys.stdin.read()

"""A server that runs a real flow of LangFlow's engine for each request; started by test_workers.py.

Environment:
    FLOW_APP_INSTRUMENT: ``lifespan`` (in each worker) or ``import`` (before the server forks its workers).
    FLOW_APP_RUNS: Each finished run is appended to this file: the truth, whatever becomes of its worker.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any

from fastapi import FastAPI
from lfx.components.input_output import ChatInput, ChatOutput
from lfx.custom.custom_component.component import Component
from lfx.graph import Graph
from lfx.graph.graph import base
from lfx.io import MessageTextInput, Output
from lfx.log.logger import configure
from lfx.schema.message import Message
from lfx.services.cache.utils import CacheMiss

from langflow_otel import instrument, uninstrument

BEFORE_FORK = os.environ["FLOW_APP_INSTRUMENT"] == "import"


class Echo(Component):
    display_name = "Echo"
    name = "Echo"
    inputs = [MessageTextInput(name="value", display_name="Value")]
    outputs = [Output(display_name="Out", name="out", method="run_out")]

    async def run_out(self) -> Message:
        return Message(text=str(self.value))


class Broken(Echo):
    display_name = "Broken"
    name = "Broken"

    async def run_out(self) -> Message:
        raise LookupError


class Slow(Echo):
    display_name = "Slow"
    name = "Slow"

    async def run_out(self) -> Message:
        await asyncio.sleep(0.2)
        return Message(text=str(self.value))


class Cache:
    """Stands in for the LangFlow server's cache service; one for each worker."""

    kept: dict[str, Any] = {}

    async def get_cache(self, key: str, **_: Any) -> Any:
        if key in self.kept:
            kinds.get().append("cached")
        return self.kept.get(key, CacheMiss())

    async def set_cache(self, key: str, data: Any, **_: Any) -> bool:
        self.kept[key] = {"result": data}
        return True


kinds: ContextVar[list[str]] = ContextVar("kinds")
"""What this request turned out to be."""
cache = Cache()
base.get_chat_service = lambda: cache
configure(log_level="CRITICAL")
runs = os.open(os.environ["FLOW_APP_RUNS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)


def flow(kind: str) -> Graph:
    start = ChatInput(_id="ChatInput-in").set(should_store_message=False)
    node = {"ok": Echo, "frozen": Echo, "failing": Broken, "slow": Slow}[kind](_id="Node-n")
    node.set(value=start.message_response)
    end = ChatOutput(_id="ChatOutput-out").set(input_value=node.run_out, should_store_message=False)
    graph = Graph(start, end, flow_name=kind)
    graph.get_vertex("Node-n").frozen = kind == "frozen"
    return graph


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    if not BEFORE_FORK:
        instrument()
    yield
    if not BEFORE_FORK:
        uninstrument()


app = FastAPI(lifespan=lifespan)


@app.get("/run")
async def run(kind: str) -> dict[str, Any]:
    found = [kind]
    kinds.set(found)
    status = "ok"
    try:
        await flow(kind).arun([{"input_value": "hi"}], session_id="s")
    except ValueError:
        status = "error"
    # From the measurement to this line nothing is awaited.
    os.write(runs, f"{'-'.join(found)} {status}\n".encode())
    return {"pid": os.getpid(), "status": status}


if BEFORE_FORK:
    instrument()

"""A server that runs a real flow of LangFlow's engine for each request; started by test_workers.py.

Environment:
    FLOW_APP_INSTRUMENT: ``lifespan`` (in each worker) or ``import`` (before the server forks its workers).
    FLOW_APP_RUNS: Each finished run is appended to this file: the truth, whatever becomes of its worker.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from lfx.graph import Graph
from lfx.graph.graph import base
from lfx.log.logger import configure
from lfx.schema.message import Message

sys.path.insert(0, str(Path(__file__).parent.parent / "lfx"))

from flows import Cache, line
from nodes import basic

from langflow_otel import instrument, uninstrument

BEFORE_FORK = os.environ["FLOW_APP_INSTRUMENT"] == "import"


class Broken(basic.Broken):
    error = LookupError()


class Slow(basic.Echo):
    display_name = "Slow"
    name = "Slow"

    async def run_out(self) -> Message:
        await asyncio.sleep(0.2)
        return Message(text=str(self.value))


class WatchedCache(Cache):
    """One for each worker."""

    async def get_cache(self, key: str, **_: Any) -> Any:
        if key in self.kept:
            kinds.get().append("cached")
        return await super().get_cache(key)


kinds: ContextVar[list[str]] = ContextVar("kinds")
"""What this request turned out to be."""
cache = WatchedCache()
base.get_chat_service = lambda: cache
configure(log_level="CRITICAL")
runs = os.open(os.environ["FLOW_APP_RUNS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)


def flow(kind: str) -> Graph:
    node = {"failing": Broken, "slow": Slow}.get(kind, basic.Echo)
    graph = line(node, name=kind)
    graph.get_vertex(f"{node.__name__}-0").frozen = kind == "frozen"
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

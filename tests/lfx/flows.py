"""Builds the graphs of the tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lfx.components.input_output import ChatInput, ChatOutput
from lfx.graph import Graph
from lfx.services.cache.utils import CacheMiss
from opentelemetry import context as otel_context

from langflow_otel._runs.run import current_run

INPUT = [{"input_value": "hi"}]


class Cache:
    """Stands in for the server's chat service, which keeps what frozen components made; bare lfx does not have it."""

    def __init__(self) -> None:
        self.kept: dict[str, Any] = {}

    async def get_cache(self, key: str, **_: Any) -> Any:
        return self.kept.get(key, CacheMiss())

    async def set_cache(self, key: str, data: Any, **_: Any) -> bool:
        self.kept[key] = {"result": data}
        return True


def chat_input(**kwargs: Any) -> ChatInput:
    return ChatInput(_id="ChatInput-in", **kwargs).set(should_store_message=False)


def chat_output(source: Any) -> ChatOutput:
    return ChatOutput(_id="ChatOutput-out").set(input_value=source, should_store_message=False)


def line(*classes: type, name: str = "demo") -> Graph:
    """chat input > each component in turn > chat output."""
    start = chat_input()
    previous = start.message_response
    for index, cls in enumerate(classes):
        node = cls(_id=f"{cls.__name__}-{index}").set(value=previous)
        previous = getattr(node, node.outputs[0].method)
    return Graph(start, chat_output(previous), flow_name=name)


async def run(graph: Graph, **kwargs: Any) -> Any:
    with context_unchanged():
        return await graph.arun(INPUT, session_id="s1", **kwargs)


async def steps(graph: Graph, **kwargs: Any) -> list[Any]:
    with context_unchanged():
        return [item async for item in graph.async_start(INPUT, **kwargs)]


@contextmanager
def context_unchanged() -> Iterator[None]:
    """The caller's own context is what it was, also when the run fails."""
    before = otel_context.get_current()
    try:
        yield
    finally:
        assert otel_context.get_current() is before
        assert current_run() is None

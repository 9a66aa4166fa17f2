"""A component costs the same in a long flow as in a short one, and among many runs as in one.

Counted are calls of functions, of ours and of the SDK's, since times say little about a machine that does other things.
"""

from __future__ import annotations

import asyncio
import gc
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import opentelemetry.sdk
import pytest
from flows import INPUT, line
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessageChunk
from langchain_core.outputs import ChatGenerationChunk
from nodes import basic

import langflow_otel
from langflow_otel._metrics import event_loop
from langflow_otel._runs.facts import FlowInfo
from langflow_otel._runs.recorder import active_recorder

OURS = str(Path(langflow_otel.__path__[0]))
COUNTED = (OURS, str(Path(opentelemetry.sdk.__path__[0])))
ENDS = 2  # chat input and chat output are components, too
SHORT, LONG = 10, 200


def is_of_event_loop_probe(frame: FrameType | None) -> bool:
    """True for the probe, and for what it calls: it runs once a second, whatever else does."""
    while frame is not None and frame.f_code.co_filename != event_loop.__file__:
        frame = frame.f_back
    return frame is not None


@contextmanager
def counted_calls(within: tuple[str, ...] = COUNTED) -> Iterator[list[str]]:
    calls: list[str] = []

    def note(frame: FrameType, event: str, _: Any) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(within) and not is_of_event_loop_probe(frame):
            calls.append(frame.f_code.co_name)

    sys.setprofile(note)
    try:
        yield calls
    finally:
        sys.setprofile(None)


async def calls_per_component(components: int, runs: int = 1) -> float:
    graphs = [line(*[basic.Echo] * components) for _ in range(runs)]
    with counted_calls() as calls:
        await asyncio.gather(*(graph.arun(INPUT, session_id="s1") for graph in graphs))
    return len(calls) / (runs * (components + ENDS))


async def test_a_component_of_a_long_flow_costs_what_one_of_a_short_flow_does(telemetry):
    await calls_per_component(SHORT)  # Series and tracers are made.

    assert await calls_per_component(LONG) == pytest.approx(await calls_per_component(SHORT), rel=0.15)


async def test_a_component_costs_the_same_with_fifty_runs_at_once(telemetry):
    await calls_per_component(SHORT)

    assert await calls_per_component(SHORT, runs=50) == pytest.approx(await calls_per_component(SHORT), rel=0.15)


class Wordy(GenericFakeChatModel):
    """Answers in so many chunks."""

    chunks: int

    def _stream(self, *_: Any, **__: Any) -> Any:
        for _ in range(self.chunks):
            yield ChatGenerationChunk(message=AIMessageChunk(content="one "))


async def stream(model: Any) -> None:
    assert list(model.stream("hi"))


async def astream(model: Any) -> None:
    assert [chunk async for chunk in model.astream("hi")]


async def calls_of_a_stream(way: Callable[[Any], Awaitable[None]], chunks: int) -> list[str]:
    model = Wordy(messages=iter([]), chunks=chunks)
    gc.collect()  # What other tests left would call ours when it goes.
    with counted_calls((OURS,)) as calls:  # Whether the SDK keeps an exemplar is chance.
        await way(model)
    return calls


@pytest.mark.parametrize("way", [stream, astream])
async def test_a_long_stream_costs_what_a_short_one_does(telemetry, way):
    # Without LangFlow's engine: its own tasks would be counted, too.
    recorder = active_recorder()
    flow = recorder.start_flow(FlowInfo("demo"))
    await calls_of_a_stream(way, SHORT)
    of_short, of_long = [Counter(await calls_of_a_stream(way, chunks)) for chunks in (SHORT, LONG)]
    flow.finish()

    assert of_short.total() > 30
    assert of_long - of_short == of_short - of_long == Counter()


async def test_what_the_event_loop_probe_calls_is_not_counted(telemetry):
    probe, loop = active_recorder().metrics.probe, asyncio.get_running_loop()
    with counted_calls((OURS,)) as calls:
        probe._note(loop, loop.time())

    assert calls == []


@pytest.mark.parametrize("way", [stream, astream])
async def test_outside_of_runs_a_model_call_costs_few_calls(telemetry, way):
    await calls_of_a_stream(way, SHORT)

    assert len(await calls_of_a_stream(way, LONG)) <= 6

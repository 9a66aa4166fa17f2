"""A component costs the same in a long flow as in a short one, and among many runs as in one.

Counted are calls of functions, of ours and of the SDK's, since times say little about a machine that does other things.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import opentelemetry.sdk
import pytest
from flows import INPUT, line
from nodes import basic

import langflow_otel

COUNTED = tuple(str(Path(package.__path__[0])) for package in (langflow_otel, opentelemetry.sdk))
ENDS = 2  # chat input and chat output are components, too
SHORT, LONG = 10, 200


@contextmanager
def counted_calls() -> Iterator[list[str]]:
    calls: list[str] = []

    def note(frame: FrameType, event: str, _: Any) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(COUNTED):
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

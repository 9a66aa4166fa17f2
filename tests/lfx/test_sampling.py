"""Flows that are not sampled, with LangFlow's real engine: what is kept of one is what a sampled one has."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from flows import chat_input, chat_output, line, run, steps
from lfx.graph import Graph
from nodes import basic, models

from langflow_otel._settings.settings import Settings
from langflow_otel.testing import Telemetry, capture_telemetry


def settings(ratio: float) -> Settings:
    return Settings(sampling=(("*", ratio),), keep_errors=True, detail="output")


def one_that_runs_a_flow() -> Graph:
    basic.seen["inner"] = lambda: line(basic.Echo, basic.Broken, name="inner")
    return line(basic.RunsFlow)


def agent_that_fails_later() -> Graph:
    start = chat_input()
    agent = models.FakeAgent(_id="FakeAgent-1").set(input_value=start.message_response)
    broken = basic.Broken(_id="Broken-1").set(value=agent.message_response)
    return Graph(start, chat_output(broken.run_out), flow_name="demo")


FAILING: dict[str, Callable[[], Graph]] = {
    "a line": lambda: line(basic.Echo, basic.Broken),
    "a thread": lambda: line(basic.Blocking, basic.BrokenInThread),
    "spans of an author": lambda: line(basic.TracedOutput, basic.Broken),
    "a flow in a flow": one_that_runs_a_flow,
    "tools": agent_that_fails_later,
}


async def failed(graph: Graph, drive: Callable[..., Any], ratio: float) -> Telemetry:
    with capture_telemetry(settings=settings(ratio)) as telemetry, suppress(Exception):
        await drive(graph)
    return telemetry


@pytest.mark.parametrize("drive", [run, steps])
@pytest.mark.parametrize("make", FAILING.values(), ids=FAILING)
async def test_a_failed_run_is_kept_whole(make: Callable[[], Graph], drive: Callable[..., Any]):
    kept, sampled = await failed(make(), drive, 0.0), await failed(make(), drive, 1.0)

    assert kept.tree("langflow.component.output.names") == sampled.tree("langflow.component.output.names")
    assert len(kept.tree()) > 2
    assert kept.roots()[0].attributes["langflow.kept"] == "error"
    assert [sorted(span.attributes) for span in kept.roots()[0].children] == [
        sorted(span.attributes) for span in sampled.roots()[0].children
    ]


async def test_of_a_run_that_is_as_it_should_be_nothing_is_left():
    with capture_telemetry(settings=settings(0.0)) as telemetry:
        await run(line(basic.Echo))

    assert telemetry.tree() == []
    assert telemetry.metrics("langflow_flow_duration_seconds_count") == {
        'langflow_flow_duration_seconds_count{flow="demo",status="ok",entry_point="sdk"}': 1.0,
        'langflow_flow_duration_seconds_count{flow="demo",status="error",entry_point="sdk"}': 0.0,
    }


async def test_what_the_flow_calls_learns_that_it_is_not_sampled():
    with capture_telemetry(settings=settings(0.0)):
        await run(line(basic.ReadsContext))

    assert basic.seen["span"].is_valid
    assert not basic.seen["span"].trace_flags.sampled

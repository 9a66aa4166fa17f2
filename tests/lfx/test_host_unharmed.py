"""LangFlow's engine behaves as it does without instrumentation: the same flows, run with and without, give the same
results, errors, steps, events, and leave the graph in the same state. On any version of LangFlow by this one command:
``pytest tests/lfx/test_host_unharmed.py``; with ``LONG_TESTS=1`` each flow is run in each way."""

from __future__ import annotations

import asyncio
import os

import pytest
from flows import line
from nodes import basic
from observations import DRIVES, EVERYTHING, FLOWS, observed

from langflow_otel.testing import Telemetry, capture_telemetry

ALL_IN_ALL_WAYS = "LONG_TESTS" in os.environ
# LangFlow takes a second for the error of a component.
SLOW = ("failing", "failing model", "failing stream")
PAIRS = [
    pytest.param(flow, drive, marks=[pytest.mark.slow] if flow in SLOW or ALL_IN_ALL_WAYS else [])
    for flow in FLOWS
    for drive in DRIVES
    if ALL_IN_ALL_WAYS
    or drive == "arun with events"
    or (drive == "async_start with events" and flow in ("router", "loop", "parallel", "agent"))
    or flow == "line"
    or (flow, drive) in (("frozen", "twice"), ("failing", "async_start"))
]


@pytest.mark.parametrize(("flow", "drive"), PAIRS)
def test_the_engine_behaves_as_without_instrumentation(flow: str, drive: str):
    expected = asyncio.run(observed(FLOWS[flow], DRIVES[drive]))
    with capture_telemetry(settings=EVERYTHING) as telemetry:
        got = asyncio.run(observed(FLOWS[flow], DRIVES[drive]))

    assert got == expected
    assert telemetry.tree()


async def test_the_exception_is_the_very_object_that_the_component_raised(telemetry: Telemetry):
    graph = line(basic.Broken)
    with pytest.raises(ValueError, match="canary") as caught:
        await graph.arun([{"input_value": "hi"}], session_id="s1")

    assert caught.value.__cause__.__cause__ is basic.Broken.error


def test_events_are_seen_where_there_are_any():
    (results, events), _ = asyncio.run(observed(FLOWS["streaming model"], DRIVES["arun with events"]))

    assert results
    assert events

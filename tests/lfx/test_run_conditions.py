"""What the process did while a flow ran: real flows that use the CPU, block the event loop, and overlap."""

from __future__ import annotations

import asyncio
import time

from flows import line, run
from lfx.schema.message import Message
from nodes import basic

from langflow_otel._metrics.event_loop import CLOSE_INTERVAL_S

CPU = "langflow.flow.process.cpu.time"
DELAY = "langflow.flow.event_loop.delay.peak"
ACTIVE = "langflow.flow.active.peak"


class Burns(basic.Echo):
    """Takes 300 ms of CPU time in LangFlow's worker thread."""

    name = "Burns"

    def run_out(self) -> Message:
        until_s = time.thread_time() + 0.3
        while time.thread_time() < until_s:
            pass
        return Message(text=str(self.value))


class Sleeps(basic.Echo):
    """Takes as long, and lets the CPU and the event loop alone."""

    name = "Sleeps"

    async def run_out(self) -> Message:
        await asyncio.sleep(0.3)
        return Message(text=str(self.value))


class BlocksTheLoop(basic.Echo):
    name = "BlocksTheLoop"

    async def run_out(self) -> Message:
        time.sleep(0.3)  # noqa: ASYNC251 - that is the point
        return Message(text=str(self.value))


class Meets(basic.Echo):
    """Goes on once two runs are in it."""

    name = "Meets"
    there = 0
    both: asyncio.Event

    async def run_out(self) -> Message:
        Meets.there += 1
        if Meets.there == 2:
            Meets.both.set()
        await Meets.both.wait()
        return Message(text=str(self.value))


async def test_a_run_that_uses_the_cpu_differs_from_one_that_waits(telemetry):
    await run(line(Burns, name="burns"))
    await run(line(Sleeps, name="sleeps"))
    burns, sleeps = (telemetry.only_span(f"invoke_workflow {name}").attributes[CPU] for name in ("burns", "sleeps"))

    assert burns >= 0.3
    assert sleeps < burns


async def test_a_run_that_blocks_the_event_loop_says_for_how_long(telemetry):
    await run(line(BlocksTheLoop))

    assert telemetry.only_span("invoke_workflow demo").attributes[DELAY] >= 0.3 - CLOSE_INTERVAL_S


async def test_a_run_beside_one_that_blocks_has_its_delay(telemetry):
    await asyncio.gather(line(Sleeps, name="other").arun([{}]), line(BlocksTheLoop).arun([{}]))

    assert telemetry.only_span("invoke_workflow other").attributes[DELAY] >= 0.3 - CLOSE_INTERVAL_S


async def test_runs_at_once_are_counted(telemetry):
    Meets.there, Meets.both = 0, asyncio.Event()
    await run(line(basic.Echo, name="alone"))
    await asyncio.gather(*(line(Meets, name="together").arun([{}]) for _ in range(2)))

    assert telemetry.only_span("invoke_workflow alone").attributes[ACTIVE] == 1
    together = [root.attributes[ACTIVE] for root in telemetry.roots() if root.name == "invoke_workflow together"]
    assert max(together) == 2
    assert len(together) == 2


async def test_a_flow_in_a_flow_is_no_run_beside_it(telemetry):
    basic.seen["inner"] = lambda: line(basic.Echo, name="inner")
    await run(line(basic.RunsFlow))

    assert telemetry.only_span("invoke_workflow demo").attributes[ACTIVE] == 1
    assert telemetry.only_span("invoke_workflow inner").attributes[ACTIVE] == 1

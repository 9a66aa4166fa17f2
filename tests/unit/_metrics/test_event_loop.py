"""How late a loop is: a blocked one is seen, and nothing of the probe stays behind."""

from __future__ import annotations

import asyncio
import gc
import itertools
import threading
import time
import weakref

import pytest
from waiting import wait_in_loop

from langflow_otel import _guard as guard
from langflow_otel._metrics import event_loop
from langflow_otel._metrics.event_loop import EventLoopProbe
from tests.support.recording import FLOW, at_once, recorder

SOON_S = 0.02


@pytest.fixture(autouse=True)
def _often(monkeypatch) -> None:
    monkeypatch.setattr(event_loop, "INTERVAL_S", SOON_S)


def scheduled() -> int:
    """Timers of the running loop."""
    loop: object = asyncio.get_running_loop()
    return len(loop._scheduled)  # type: ignore[attr-defined]


async def test_a_blocked_loop_is_seen():
    delays: list[float] = []
    EventLoopProbe(delays.append).watch_running_loop()
    time.sleep(0.2)  # noqa: ASYNC251 - that is the point
    await wait_in_loop(lambda: bool(delays))

    # Due 0.02 s after the start, and run after 0.2 s at the earliest.
    assert delays[0] >= 0.2 - SOON_S


async def test_a_loop_is_late_while_it_is_blocked():
    probe = EventLoopProbe(lambda _: None)
    probe.watch_running_loop()
    seen: list[float | None] = []
    asking = threading.Thread(target=lambda: (time.sleep(0.1), seen.append(probe.lateness_s())))
    asking.start()
    asking.join()  # Blocks the loop, as a component would.

    assert seen[0] is not None
    assert seen[0] >= 0.1 - SOON_S
    await wait_in_loop(lambda: probe.lateness_s() == 0.0)


def test_no_loop_is_late_where_none_runs():
    probe = EventLoopProbe(lambda _: None)
    assert probe.lateness_s() is None

    async def flow() -> None:
        probe.watch_running_loop()
        assert probe.lateness_s() == 0.0

    asyncio.run(flow())
    assert probe.lateness_s() is None


async def test_a_loop_is_watched_again_and_again_without_making_up_for_what_was_missed():
    moments: list[float] = []
    EventLoopProbe(lambda delay_s: moments.append(time.monotonic())).watch_running_loop()
    time.sleep(10 * SOON_S)  # noqa: ASYNC251
    await wait_in_loop(lambda: len(moments) >= 4)

    assert min(later - earlier for earlier, later in itertools.pairwise(moments)) >= SOON_S - 0.001


async def test_a_loop_that_is_in_time_is_not_late_by_less_than_nothing():
    delays: list[float] = []
    EventLoopProbe(delays.append).watch_running_loop()
    await wait_in_loop(lambda: len(delays) >= 3)

    assert min(delays) >= 0.0


async def test_a_loop_is_watched_once_however_many_flows_it_runs():
    probe = EventLoopProbe(lambda _: None)
    before = scheduled()
    for _ in range(5):
        probe.watch_running_loop()

    assert scheduled() == before + 1


def test_several_loops_are_watched_each():
    delays: dict[int, list[float]] = {}
    probe = EventLoopProbe(lambda delay_s: delays.setdefault(threading.get_ident(), []).append(delay_s))

    def run() -> None:
        async def flow() -> None:
            probe.watch_running_loop()
            await wait_in_loop(lambda: len(delays.get(threading.get_ident(), [])) >= 2)

        asyncio.run(flow())

    at_once(3, run)

    assert len(delays) == 3


def test_without_a_loop_there_is_nothing_to_watch():
    EventLoopProbe(lambda _: pytest.fail("nothing is late")).watch_running_loop()


def test_a_closed_loop_is_forgotten():
    """The next one is watched, also if it takes the place of the first in memory."""
    delays: list[float] = []
    probe = EventLoopProbe(delays.append)
    loops: list[weakref.ref[asyncio.AbstractEventLoop]] = []

    async def flow() -> None:
        loops.append(weakref.ref(asyncio.get_running_loop()))
        probe.watch_running_loop()
        seen = len(delays)
        await wait_in_loop(lambda: len(delays) > seen)

    for _ in range(3):
        asyncio.run(flow())
    gc.collect()

    assert len(delays) >= 3
    assert [loop() for loop in loops] == [None] * 3


async def test_a_probe_that_was_stopped_says_nothing_and_schedules_nothing():
    delays: list[float] = []
    errors: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
    probe = EventLoopProbe(delays.append)
    before = scheduled()
    probe.watch_running_loop()
    await wait_in_loop(lambda: bool(delays))
    probe.stop()
    said = len(delays)
    await wait_in_loop(lambda: scheduled() == before)
    await asyncio.sleep(3 * SOON_S)

    assert len(delays) == said
    assert scheduled() == before
    assert errors == []


async def test_it_has_no_task_and_no_thread():
    tasks, threads = asyncio.all_tasks(), threading.active_count()
    delays: list[float] = []
    EventLoopProbe(delays.append).watch_running_loop()
    await wait_in_loop(lambda: bool(delays))

    assert asyncio.all_tasks() == tasks
    assert threading.active_count() == threads


async def test_an_error_in_recording_is_contained_and_the_watch_goes_on(lenient, caplog):
    calls: list[float] = []

    def fail(delay_s: float) -> None:
        calls.append(delay_s)
        raise OSError

    probe = EventLoopProbe(fail)
    probe.watch_running_loop()
    await wait_in_loop(lambda: len(calls) >= 3)
    probe.stop()

    assert guard.faults["metrics.event_loop"] >= 3
    assert [record.name for record in caplog.records] == ["langflow_otel"]


async def test_a_loop_that_cannot_be_watched_is_left_alone(lenient, monkeypatch):
    class Loop:
        __slots__ = ()

    monkeypatch.setattr(asyncio, "_get_running_loop", Loop)
    EventLoopProbe(lambda _: None).watch_running_loop()
    monkeypatch.undo()

    assert guard.faults == {"metrics.event_loop": 1}


async def test_the_loop_of_a_flow_is_watched(telemetry):
    count = "langflow_event_loop_delay_seconds_count"

    def delays() -> float:
        return telemetry.metrics("langflow_event_loop")[count]

    assert delays() == 0
    for _ in range(2):
        flow = recorder().start_flow(FLOW)
        assert flow is not None
        await wait_in_loop(lambda: delays() >= 2)
        flow.finish()
    measured = recorder().metrics
    assert measured is not None
    measured.probe.stop()


def test_a_flow_without_a_loop_is_no_problem(telemetry):
    flow = recorder().start_flow(FLOW)
    assert flow is not None
    flow.finish()

    assert telemetry.metrics("langflow_event_loop_delay_seconds_count") == {
        "langflow_event_loop_delay_seconds_count": 0
    }

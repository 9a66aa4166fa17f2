"""What the process did while a run was active: peak of its memory, CPU time, delay of the event loop, other runs."""

from __future__ import annotations

import asyncio
import gc
import importlib.util
import subprocess
import sys
import time
import weakref
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from langflow_otel._metrics import catalogue, event_loop
from langflow_otel._metrics.catalogue import Reading
from langflow_otel._process.conditions import RunConditions
from langflow_otel._runs import process_watch
from langflow_otel._runs.facts import CANCELLED, OK, FlowInfo, Outcome
from langflow_otel._runs.process_watch import ProcessWatch, Usage
from langflow_otel._runs.recorder import Recorder, set_active_recorder
from langflow_otel._settings.settings import Settings
from langflow_otel.testing import Telemetry
from tests.support.recording import FLOW, recorder, recording

PEAK = "langflow.flow.process.memory.peak"
CPU = "langflow.flow.process.cpu.time"
DELAY = "langflow.flow.event_loop.delay.peak"
ACTIVE = "langflow.flow.active.peak"


class System:
    """The account of a process: a high-water mark, which only rises, and CPU time."""

    def __init__(self) -> None:
        self.high_water = 500
        self.cpu_s = 7.0

    def __call__(self) -> Usage:
        return Usage(self.high_water, self.cpu_s)


@pytest.fixture
def system(monkeypatch) -> System:
    system = System()
    monkeypatch.setattr(process_watch, "_usage", system)
    return system


@pytest.fixture
def watch(system) -> ProcessWatch:
    return ProcessWatch()


def entered(watch: ProcessWatch, **kwargs: bool) -> object:
    run = object()
    watch.enter(run, **kwargs)
    return run


def sample(watch: ProcessWatch, resident: int) -> None:
    watch.sample({PEAK: resident})


# Memory


def test_the_peak_is_the_highest_sample_of_the_runs_own_time(watch):
    sample(watch, 400)
    sample(watch, 100)
    run = entered(watch)
    for resident in (200, 300, 150):
        sample(watch, resident)
    left = watch.leave(run)
    sample(watch, 490)

    assert left[PEAK] == 300


def test_runs_that_overlap_have_their_own_peaks(watch):
    first = entered(watch)
    sample(watch, 300)
    second = entered(watch)
    sample(watch, 200)
    of_first = watch.leave(first)
    third = entered(watch)
    sample(watch, 250)
    of_second, of_third = watch.leave(second), watch.leave(third)

    assert (of_first[PEAK], of_second[PEAK], of_third[PEAK]) == (300, 300, 250)


def test_a_run_between_two_samples_has_what_was_resident_before_it(watch):
    sample(watch, 123)

    assert watch.leave(entered(watch))[PEAK] == 123


def test_what_rose_and_fell_between_two_samples_is_known_from_the_system(watch, system):
    run, outer = entered(watch), entered(watch)
    sample(watch, 200)
    system.high_water = 900
    left = watch.leave(run)
    sample(watch, 210)

    assert (left[PEAK], watch.leave(outer)[PEAK]) == (900, 900)


def test_a_mark_that_was_set_before_the_run_is_not_its_own(watch, system):
    first = entered(watch)
    system.high_water = 900
    watch.leave(first)
    sample(watch, 200)

    assert watch.leave(entered(watch))[PEAK] == 200


def test_before_the_first_sample_nothing_is_known(watch):
    assert PEAK not in watch.leave(entered(watch))


def test_a_run_that_leaves_twice_keeps_its_peak(watch, system):
    run = entered(watch)
    sample(watch, 200)
    left = watch.leave(run)
    system.high_water = 900

    assert left[PEAK] == 200
    assert watch.leave(run) == {}


def test_runs_come_and_go_while_a_sample_is_taken(watch):
    """In other threads; here, in the middle of it."""
    others = [entered(watch) for _ in range(3)]

    class Readings(dict):
        def items(self):
            if others:
                watch.leave(others.pop())
                entered(watch)
            return super().items()

    last = entered(watch)
    watch.sample(Readings({PEAK: 100}))

    assert watch.leave(last)[PEAK] == 100


# CPU time, other readings, other runs


def test_cpu_time_is_what_the_process_took_during_the_run(watch, system):
    first = entered(watch)
    system.cpu_s += 0.25
    second = entered(watch)
    system.cpu_s += 0.5

    assert watch.leave(first)[CPU] == 0.75
    assert watch.leave(second)[CPU] == 0.5


def test_other_readings_have_their_peaks_and_last_until_the_next(watch):
    watch.sample({"cpu": 0.9})
    watch.sample({"cpu": 0.1, "gpu": 0.8})
    first = entered(watch)
    watch.sample({"cpu": 0.4})
    watch.sample({"cpu": 0.2})
    second = entered(watch)
    watch.sample({"gpu": 0.9})

    left = watch.leave(first)
    assert (left["cpu"], left["gpu"]) == (0.4, 0.9)
    left = watch.leave(second)
    assert (left["cpu"], left["gpu"]) == (0.2, 0.9)


def test_runs_at_once_are_counted_from_each_ones_view(watch):
    first = entered(watch)
    second = entered(watch)
    of_first = watch.leave(first)
    third = entered(watch)
    of_second = watch.leave(second)
    of_third = watch.leave(third)
    alone = watch.leave(entered(watch))

    assert [left[ACTIVE] for left in (of_first, of_second, of_third, alone)] == [2, 2, 2, 1]


def test_runs_that_came_and_went_in_between_are_seen_by_a_sample(watch):
    run = entered(watch)
    others = [entered(watch) for _ in range(3)]
    sample(watch, 100)
    for other in others:
        watch.leave(other)

    assert watch.leave(run)[ACTIVE] == 4


def test_a_run_that_is_not_observed_counts_and_gets_nothing(watch):
    hidden = entered(watch, observed=False)
    run = entered(watch)

    assert watch.leave(run)[ACTIVE] == 2
    assert watch.leave(hidden) == {}
    assert watch.leave(entered(watch))[ACTIVE] == 1


def test_a_flow_that_a_flow_runs_is_no_run_beside_it(watch):
    outer = entered(watch)
    inner = entered(watch, counts=False)

    assert watch.leave(inner)[ACTIVE] == 1
    assert watch.leave(outer)[ACTIVE] == 1


def test_a_forked_child_has_none_of_its_parents_runs(watch):
    run = entered(watch)
    watch.forget()

    assert watch.leave(run) == {}
    assert watch.leave(entered(watch))[ACTIVE] == 1


# On a real process


SCRIPT = """
import psutil
from langflow_otel._runs.process_watch import ProcessWatch, _usage

PEAK = "langflow.flow.process.memory.peak"
MIB = 1 << 20
watch, process = ProcessWatch(), psutil.Process()
# Linux hands the mark on from the process that started this one: begin where it is.
ballast = bytearray(b"x") * max(0, _usage().high_water - process.memory_info().rss)

def run(allocate):
    run = object()
    before = process.memory_info().rss
    watch.sample({PEAK: before})
    watch.enter(run)
    filled = bytearray(b"x") * (allocate * MIB)
    del filled
    print(round((watch.leave(run)[PEAK] - before) / MIB))

run(50)
run(0)
run(100)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows keeps no such mark")
def test_an_allocation_during_a_run_raises_its_peak():
    """In a process of its own: the mark of this one was set long ago."""
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True, timeout=60)
    with_50, with_0, with_100 = map(int, done.stdout.split())

    assert 45 <= with_50 <= 60
    assert with_0 == 0
    assert 90 <= with_100 <= 115


@pytest.mark.parametrize(("platform", "bytes_of_a_unit"), [("linux", 1024), ("darwin", 1)])
def test_the_mark_is_in_bytes(monkeypatch, platform: str, bytes_of_a_unit: int):
    pytest.importorskip("resource")
    monkeypatch.setattr(sys, "platform", platform)
    module = fresh_module()
    usage = SimpleNamespace(
        RUSAGE_SELF=0, getrusage=lambda who: SimpleNamespace(ru_maxrss=7, ru_utime=1.5, ru_stime=0.5)
    )
    monkeypatch.setattr(module, "resource", usage)

    assert module._usage() == (7 * bytes_of_a_unit, 2.0)


def test_without_the_systems_mark_samples_have_to_do(monkeypatch):
    """On Windows, where the module is missing."""
    monkeypatch.setitem(sys.modules, "resource", None)
    module = fresh_module()
    assert module.resource is None
    watch = module.ProcessWatch()
    run = entered(watch)
    sample(watch, 200)
    before_s = time.process_time()
    while time.process_time() == before_s:
        pass
    left = watch.leave(run)

    assert left[PEAK] == 200
    assert left[CPU] > 0


def fresh_module() -> Any:
    """The module as it would be imported now."""
    spec = importlib.util.spec_from_file_location("process_watch_anew", process_watch.__file__)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# On the span


def run_flow(telemetry: Telemetry, watch: ProcessWatch, outcome: Outcome = OK) -> None:
    set_active_recorder(Recorder(telemetry.provider, Settings(), watch=watch))
    flow = recorder().start_flow(FLOW)
    assert flow is not None
    sample(watch, 200)
    flow.finish(outcome)


@pytest.mark.parametrize("outcome", [OK, CANCELLED, Outcome("error", ValueError())], ids=lambda outcome: outcome.status)
def test_a_flows_span_has_the_peak_however_it_ends(telemetry, watch, outcome: Outcome):
    run_flow(telemetry, watch, outcome)

    assert telemetry.only_span("invoke_workflow demo").attributes[PEAK] == 200
    assert (watch._seen, watch._active) == ({}, set())


def test_a_peak_that_is_not_known_is_not_on_the_span(telemetry, watch, monkeypatch):
    monkeypatch.setattr(watch, "sample", lambda readings: None)
    run_flow(telemetry, watch)

    assert PEAK not in telemetry.only_span("invoke_workflow demo").attributes


def test_a_run_that_is_not_sampled_is_not_watched(watch, monkeypatch):
    monkeypatch.setattr(process_watch, "_usage", lambda: pytest.fail("nobody will see it"))
    monkeypatch.setattr(watch._delays, "enter", lambda: pytest.fail("nobody will see it"))
    with recording(sampler=ALWAYS_OFF) as telemetry:
        run_flow(telemetry, watch)


def test_a_flow_within_a_flow_is_not_counted_on_spans(telemetry, watch):
    set_active_recorder(Recorder(telemetry.provider, Settings(), watch=watch))
    outer = recorder().start_flow(FLOW)
    assert outer is not None
    inner = recorder().start_flow(FlowInfo("inner"))
    assert inner is not None
    inner.finish()
    outer.finish()

    assert [span.attributes[ACTIVE] for span in telemetry.spans] == [1, 1]


# The delay of a run's event loop


async def test_a_block_during_a_run_is_seen_also_at_its_end(watch):
    """The loop does not get to its callback before the run ends."""
    run = entered(watch)
    time.sleep(0.3)  # noqa: ASYNC251 - that is the point

    assert watch.leave(run)[DELAY] >= 0.3 - event_loop.CLOSE_INTERVAL_S


async def test_a_block_of_another_task_counts_for_each_run_of_the_loop(watch):
    first, second = entered(watch), entered(watch)

    async def block() -> None:
        time.sleep(0.3)  # noqa: ASYNC251

    await asyncio.create_task(block())
    await asyncio.sleep(2 * event_loop.CLOSE_INTERVAL_S)
    later = entered(watch)

    assert min(watch.leave(run)[DELAY] for run in (first, second)) >= 0.3 - event_loop.CLOSE_INTERVAL_S
    assert watch.leave(later)[DELAY] < watch.leave(first).get(DELAY, 0.3)


async def test_a_loop_has_no_timer_of_ours_once_no_run_goes_on(watch):
    loop: Any = asyncio.get_running_loop()
    before = len(loop._scheduled)
    runs = [entered(watch) for _ in range(5)]
    assert len(loop._scheduled) == before + 1
    for run in runs:
        watch.leave(run)
    while len(loop._scheduled) > before:  # noqa: ASYNC110 - nobody sets an event here
        await asyncio.sleep(0.01)


def test_a_run_without_a_loop_has_no_delay(watch):
    assert DELAY not in watch.leave(entered(watch))


def test_a_run_that_ends_outside_of_its_loop_has_what_was_seen(watch):
    """That the loop does not run any more is no delay."""

    async def start() -> object:
        return entered(watch)

    run = asyncio.run(start())
    time.sleep(2 * event_loop.CLOSE_INTERVAL_S)

    assert watch.leave(run)[DELAY] == 0


def test_a_loop_that_is_closed_is_forgotten(watch):
    async def start() -> weakref.ref[Any]:
        watch.leave(entered(watch))
        return weakref.ref(asyncio.get_running_loop())

    loop = asyncio.run(start())
    gc.collect()

    assert loop() is None


# What the sampler reads


def test_the_machine_is_read_once_a_second_and_not_at_once(monkeypatch):
    now_s = 100.0
    gpus = SimpleNamespace(
        read=lambda: [
            Reading(catalogue.GPU_UTILIZATION, 0.25, ("a", "")),
            Reading(catalogue.GPU_MEMORY_USAGE, 10, ("a", "")),
            Reading(catalogue.GPU_UTILIZATION, 0.75, ("b", "")),
            Reading(catalogue.GPU_MEMORY_UTILIZATION, 0.5, ("a", "")),
        ]
    )
    times = psutil.cpu_times()
    busy = [times, times._replace(user=times.user + 3, idle=times.idle + 1)]
    monkeypatch.setattr(psutil, "cpu_times", lambda: busy.pop(0))
    conditions = RunConditions(gpus, clock=lambda: now_s)  # type: ignore[arg-type]

    assert list(conditions.read()) == [PEAK]
    now_s += 1.0
    readings = conditions.read()
    assert readings.pop(PEAK) > 0
    assert readings == {
        "langflow.flow.system.cpu.utilization.peak": 0.75,
        "langflow.flow.hw.gpu.utilization.peak": 0.75,
        "langflow.flow.hw.gpu.memory.utilization.peak": 0.5,
    }
    now_s += 0.9
    assert list(conditions.read()) == [PEAK]

"""The peak of the process's memory while a run was active."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from langflow_otel.recording import memory
from langflow_otel.recording.facts import CANCELLED, OK, Outcome
from langflow_otel.recording.memory import MemoryWatch
from langflow_otel.recording.recorder import Recorder, set_active_recorder
from langflow_otel.settings import Settings
from langflow_otel.testing import Telemetry

from .support import FLOW, recorder, recording

PEAK = "langflow.flow.process.memory.peak"


class Run:
    memory_peak = -1


class System:
    """The high-water mark of a process, which only rises."""

    def __init__(self) -> None:
        self.high_water = 500

    def __call__(self) -> int:
        return self.high_water


@pytest.fixture
def system(monkeypatch) -> System:
    system = System()
    monkeypatch.setattr(memory, "_high_water_mark", system)
    return system


@pytest.fixture
def watch(system) -> MemoryWatch:
    return MemoryWatch()


def entered(watch: MemoryWatch) -> Run:
    run = Run()
    watch.enter(run)
    return run


def test_the_peak_is_the_highest_sample_of_the_runs_own_time(watch):
    watch.sample(400)
    watch.sample(100)
    run = entered(watch)
    for resident in (200, 300, 150):
        watch.sample(resident)
    watch.leave(run)
    watch.sample(490)

    assert run.memory_peak == 300


def test_runs_that_overlap_have_their_own_peaks(watch):
    first = entered(watch)
    watch.sample(300)
    second = entered(watch)
    watch.sample(200)
    watch.leave(first)
    third = entered(watch)
    watch.sample(250)
    for run in (second, third):
        watch.leave(run)

    assert (first.memory_peak, second.memory_peak, third.memory_peak) == (300, 300, 250)


def test_a_run_between_two_samples_has_what_was_resident_before_it(watch):
    watch.sample(123)
    run = entered(watch)
    watch.leave(run)

    assert run.memory_peak == 123


def test_what_rose_and_fell_between_two_samples_is_known_from_the_system(watch, system):
    run, outer = entered(watch), entered(watch)
    watch.sample(200)
    system.high_water = 900
    watch.leave(run)
    watch.sample(210)
    watch.leave(outer)

    assert (run.memory_peak, outer.memory_peak) == (900, 900)


def test_a_mark_that_was_set_before_the_run_is_not_its_own(watch, system):
    first = entered(watch)
    system.high_water = 900
    watch.leave(first)
    watch.sample(200)
    second = entered(watch)
    watch.leave(second)

    assert second.memory_peak == 200


def test_before_the_first_sample_nothing_is_known(watch):
    run = entered(watch)
    watch.leave(run)

    assert run.memory_peak == 0


def test_a_run_that_leaves_twice_keeps_its_peak(watch, system):
    run = entered(watch)
    watch.sample(200)
    watch.leave(run)
    system.high_water = 900
    watch.leave(run)

    assert run.memory_peak == 200


def test_runs_come_and_go_while_a_sample_is_taken(watch):
    """In other threads; here, in the middle of it."""
    others = [entered(watch) for _ in range(3)]

    class Busy:
        @property
        def memory_peak(self) -> int:
            if others:
                watch.leave(others.pop())
                entered(watch)
            return 0

        @memory_peak.setter
        def memory_peak(self, value: int) -> None: ...

    watch.enter(Busy())
    last = entered(watch)
    watch.sample(100)

    assert last.memory_peak == 100


# On a real process


SCRIPT = """
import psutil
from langflow_otel.recording.memory import MemoryWatch, _high_water_mark

class Run:
    memory_peak = 0

MIB = 1 << 20
watch, process = MemoryWatch(), psutil.Process()
# Linux hands the mark on from the process that started this one: begin where it is.
ballast = bytearray(b"x") * max(0, _high_water_mark() - process.memory_info().rss)

def run(allocate):
    run = Run()
    before = process.memory_info().rss
    watch.sample(before)
    watch.enter(run)
    filled = bytearray(b"x") * (allocate * MIB)
    del filled
    watch.leave(run)
    print(round((run.memory_peak - before) / MIB))

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
    usage = SimpleNamespace(RUSAGE_SELF=0, getrusage=lambda who: SimpleNamespace(ru_maxrss=7))
    monkeypatch.setattr(module, "resource", usage)

    assert module._high_water_mark() == 7 * bytes_of_a_unit


def test_without_the_systems_mark_samples_have_to_do(monkeypatch):
    """On Windows, where the module is missing."""
    monkeypatch.setitem(sys.modules, "resource", None)
    module = fresh_module()
    assert module.resource is None
    watch = module.MemoryWatch()
    run = entered(watch)
    watch.sample(200)
    watch.leave(run)

    assert run.memory_peak == 200


def fresh_module() -> Any:
    """The module as it would be imported now."""
    spec = importlib.util.spec_from_file_location("memory_anew", memory.__file__)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# On the span


def run_flow(telemetry: Telemetry, watch: MemoryWatch, outcome: Outcome = OK) -> None:
    set_active_recorder(Recorder(telemetry.provider, Settings(), memory=watch))
    flow = recorder().start_flow(FLOW)
    assert flow is not None
    watch.sample(200)
    flow.finish(outcome)


@pytest.mark.parametrize("outcome", [OK, CANCELLED, Outcome("error", ValueError())], ids=lambda outcome: outcome.status)
def test_a_flows_span_has_the_peak_however_it_ends(telemetry, watch, outcome: Outcome):
    run_flow(telemetry, watch, outcome)

    assert telemetry.only_span("invoke_workflow demo").attributes[PEAK] == 200
    assert watch._high_water_at_start == {}


def test_a_peak_that_is_not_known_is_not_on_the_span(telemetry, watch, monkeypatch):
    monkeypatch.setattr(watch, "sample", lambda resident: None)
    run_flow(telemetry, watch)

    assert PEAK not in telemetry.only_span("invoke_workflow demo").attributes


def test_a_run_that_is_not_sampled_is_not_watched(watch, monkeypatch):
    monkeypatch.setattr(watch, "enter", lambda run: pytest.fail("nobody will see it"))
    with recording(sampler=ALWAYS_OFF) as telemetry:
        run_flow(telemetry, watch)

"""LangFlow's own pool of background jobs and its job queue, without a server or a database."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest
from waiting import read_in_loop

pytest.importorskip("langflow.services.background_execution.executor", reason="LangFlow 1.11 and later")

from langflow.services.background_execution import executor as executor_module
from langflow.services.background_execution.service import BackgroundExecutionService
from langflow.services.job_queue.service import JobQueueService
from langflow.services.schema import ServiceType
from lfx.services.manager import get_service_manager

sys.path.append(str(Path(__file__).parents[1] / "lfx"))

from injector import Step, failing, steps_in

from langflow_otel import _guard as guard
from langflow_otel._hooks import queues
from langflow_otel._hooks.patching import Hook, Patches
from langflow_otel._hooks.queues import queue_readings
from langflow_otel._runs.recorder import Recorder, set_active_recorder
from langflow_otel._settings.settings import Settings

pytestmark = pytest.mark.slow

HOOK = Hook(
    "langflow.services.background_execution.executor",
    "InProcessExecutor.submit",
    queues.submit,
    ("key", "coro_factory"),
)
IDLE = {"depth": 0, "oldest_age": 0, "running": 0, "capacity": 2}


def read(queue: str) -> dict[str, float]:
    return {r.metric.name.rpartition(".")[2]: r.value for r in queue_readings() if r.labels == (queue,)}


async def until(queue: str, **expected: float) -> None:
    found = await read_in_loop(lambda: read(queue), lambda found: expected.items() <= found.items())
    assert expected.items() <= found.items(), found


@pytest.fixture
def patches() -> Iterator[Patches]:
    patches = Patches((HOOK,))
    set_active_recorder(Recorder(None, Settings()))
    patches.apply()
    yield patches
    patches.undo()
    set_active_recorder(None)


@pytest.fixture
async def background(patches: Patches) -> AsyncIterator[BackgroundExecutionService]:
    """LangFlow's service, where LangFlow keeps it."""
    settings = SimpleNamespace(background_backend_is_scaled=False, background_max_concurrency=2)
    service = BackgroundExecutionService(SimpleNamespace(settings=settings))
    services = get_service_manager().services
    services[ServiceType.BACKGROUND_EXECUTION_SERVICE] = service
    await service._executor.start()
    yield service
    await service._executor.stop()
    del services[ServiceType.BACKGROUND_EXECUTION_SERVICE]


@pytest.fixture
async def job_queue() -> AsyncIterator[JobQueueService]:
    service = JobQueueService()
    services = get_service_manager().services
    services[ServiceType.JOB_QUEUE_SERVICE] = service
    service.start()
    yield service
    await service.stop()
    del services[ServiceType.JOB_QUEUE_SERVICE]


async def test_jobs_wait_run_and_end(background):
    release = asyncio.Event()
    done: list[int] = []

    async def body(number: int) -> None:
        await release.wait()
        done.append(number)

    assert read("background") == IDLE
    for number in range(5):
        await background._executor.submit(str(number), lambda number=number: body(number))
    await until("background", depth=3, running=2, capacity=2)

    first = read("background")["oldest_age"]
    await asyncio.sleep(0.05)
    assert read("background")["oldest_age"] >= first + 0.04

    release.set()
    await until("background", **IDLE)
    assert sorted(done) == [0, 1, 2, 3, 4]
    assert len(queues._waiting) == 0


async def test_a_cancelled_job_makes_room_for_the_next(background):
    forever = asyncio.Event()
    for key in ("a", "b", "c"):
        await background._executor.submit(key, forever.wait)
    await until("background", depth=1, running=2)

    assert await background._executor.cancel("a")
    await until("background", depth=0, oldest_age=0, running=2)
    assert await background._executor.cancel("b")
    assert await background._executor.cancel("c")
    await until("background", **IDLE)


@pytest.mark.skipif(not hasattr(executor_module, "is_paused"), reason="LangFlow 1.13 and later")
async def test_jobs_wait_while_langflow_is_paused(background, monkeypatch):
    monkeypatch.setattr(executor_module, "is_paused", lambda: True)
    forever = asyncio.Event()
    for key in ("a", "b", "c"):
        await background._executor.submit(key, forever.wait)
    await asyncio.sleep(0.05)

    assert background._executor._queue.qsize() == 1
    assert {**read("background"), "oldest_age": 0} == {**IDLE, "depth": 3}
    assert read("background")["oldest_age"] >= 0.04

    await background._executor.stop()
    assert read("background")["depth"] == 3
    monkeypatch.undo()
    await background._executor.start()
    await until("background", depth=1, running=2)


HOLD_HOST_CODE = (queues.submit, queues._WaitingJob.__call__, queue_readings)


@pytest.mark.parametrize(
    "step", [step for step in steps_in(queues.__name__) if step.function not in HOLD_HOST_CODE], ids=str
)
async def test_a_fault_in_any_function_costs_no_job(background, job_queue, monkeypatch, step: Step):
    monkeypatch.setattr(guard, "strict", False)
    ran = asyncio.Event()

    async def body() -> None:
        ran.set()

    with failing(step) as calls:
        await background._executor.submit("a", body)
        queue_readings()
        await ran.wait()

    assert calls
    assert guard.faults.total() >= 1
    await until("background", **IDLE)


async def test_a_failing_job_is_not_left_behind(background):
    async def fails() -> None:
        raise RuntimeError

    await background._executor.submit("fails", fails)
    await until("background", **IDLE)


async def test_a_job_of_a_closed_pool_is_refused_as_ever(background):
    await background._executor.stop()

    with pytest.raises(RuntimeError, match="closed"):
        await background._executor.submit("late", asyncio.Event().wait)
    assert read("background") == IDLE


async def test_the_pool_can_be_read_from_another_thread_at_any_time(background):
    stop = threading.Event()

    def read_on() -> int:
        readings = 0
        while not stop.is_set():
            assert set(read("background")) == set(IDLE)
            readings += 1
        return readings

    async def body() -> None:
        await asyncio.sleep(0)

    with ThreadPoolExecutor(2) as threads:
        readers = [threads.submit(read_on) for _ in range(2)]
        for number in range(2000):
            await background._executor.submit(str(number), body)
            if number % 50 == 0:
                await asyncio.sleep(0)
        await until("background", **IDLE)
        stop.set()
        assert all(reader.result() > 0 for reader in readers)


async def test_the_hook_is_put_back(patches, background):
    patches.undo()
    await background._executor.submit("plain", asyncio.Event().wait)
    await until("background", running=1)

    assert len(queues._waiting) == 0


async def test_builds_run_until_their_task_ends(job_queue):
    release = asyncio.Event()
    assert read("job_queue") == {"running": 0}
    for job_id in ("a", "b"):
        job_queue.create_queue(job_id)
        job_queue.start_job(job_id, release.wait())
    assert read("job_queue") == {"running": 2}

    release.set()
    await until("job_queue", running=0)
    assert len(job_queue._queues) == 2


async def test_services_are_not_made_by_reading_them():
    before = dict(get_service_manager().services)

    assert read("background") == read("job_queue") == {}
    assert get_service_manager().services == before

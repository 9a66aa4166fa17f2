"""LangFlow's queues, without LangFlow: absent where it is, and read from objects of the same shape."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.context import attach, detach
from opentelemetry.trace import SpanContext, TraceFlags

from langflow_otel._hooks import flow, queues
from langflow_otel._hooks.facts import queued_by, request_entry_point
from langflow_otel._hooks.queues import queue_readings
from langflow_otel._hooks.versions import queued_by_elsewhere
from langflow_otel._runs.recorder import Recorder, set_active_recorder
from langflow_otel._settings.settings import Settings
from tests.support.recording import recording

MANAGER = "lfx.services.manager"


class Executor:
    """LangFlow's, as far as it is read."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[Any] = asyncio.Queue()
        self._in_flight: dict[str, Any] = {}
        self._max_concurrency = 2

    async def submit(self, key: str, coro_factory: Any) -> None:
        await self._queue.put((key, coro_factory))


class Finished:
    def done(self) -> bool:
        return True


class Running:
    def done(self) -> bool:
        return False


async def job() -> str:
    return "done"


async def submit(executor: Executor, key: str) -> None:
    await queues.submit(executor.submit, executor, (key, job), {})


def values() -> dict[str, float]:
    return {f"{reading.metric.name}{{{reading.labels[0]}}}": reading.value for reading in queue_readings()}


@pytest.fixture(autouse=True)
def services(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What LangFlow's manager of services holds."""
    alive: dict[str, Any] = {}
    monkeypatch.setitem(sys.modules, MANAGER, SimpleNamespace(_service_manager=SimpleNamespace(services=alive)))
    return alive


@pytest.fixture
def executor(services: dict[str, Any]) -> Executor:
    executor = Executor()
    services["background_execution_service"] = SimpleNamespace(_executor=executor, _backend=None)
    return executor


@pytest.fixture
def on() -> Iterator[None]:
    set_active_recorder(Recorder(None, Settings()))
    yield
    set_active_recorder(None)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    clock = SimpleNamespace(now_s=1000.0, monotonic=lambda: clock.now_s)
    monkeypatch.setattr(queues, "time", clock)
    return clock


def test_without_langflow_there_are_no_queues_and_nothing_is_imported(monkeypatch):
    monkeypatch.delitem(sys.modules, MANAGER)
    before = set(sys.modules)

    assert queue_readings() == []
    assert set(sys.modules) == before


@pytest.mark.parametrize("manager", [SimpleNamespace(_service_manager=None), SimpleNamespace()])
def test_before_langflow_has_made_its_services_there_are_no_queues(monkeypatch, manager):
    monkeypatch.setitem(sys.modules, MANAGER, manager)

    assert queue_readings() == []


def test_an_idle_pool_has_its_capacity(executor):
    assert values() == {
        "langflow.queue.depth{background}": 0,
        "langflow.queue.oldest_age{background}": 0,
        "langflow.queue.running{background}": 0,
        "langflow.queue.capacity{background}": 2,
    }


def test_a_backend_in_another_process_leaves_nothing_to_read_here(services, executor):
    services["background_execution_service"]._backend = object()

    assert queue_readings() == []


async def test_the_age_is_that_of_the_job_that_waits_longest(executor, on, clock):
    for key in ("first", "second"):
        await submit(executor, key)
        clock.now_s += 10
    _, first = executor._queue.get_nowait()

    assert values()["langflow.queue.oldest_age{background}"] == 20
    assert await first() == "done"
    assert values()["langflow.queue.oldest_age{background}"] == 10
    assert values()["langflow.queue.depth{background}"] == 1


async def test_the_wait_of_a_job_ends_when_a_worker_starts_it(executor, clock):
    with recording(strict=False) as telemetry:
        for wait_s in (0.2, 20):
            await submit(executor, "job")
            clock.now_s += wait_s
            await executor._queue.get_nowait()[1]()
            clock.now_s += 100
        found = telemetry.metrics("langflow_queue_wait_seconds")

    assert found['langflow_queue_wait_seconds_count{queue="background"}'] == 2
    assert found['langflow_queue_wait_seconds_sum{queue="background"}'] == pytest.approx(20.2)


async def test_a_job_that_a_paused_worker_holds_still_waits(executor, on, clock):
    await submit(executor, "held")
    _, held = executor._queue.get_nowait()
    clock.now_s += 5

    assert values()["langflow.queue.depth{background}"] == 1
    assert values()["langflow.queue.oldest_age{background}"] == 5
    await held()
    assert values()["langflow.queue.depth{background}"] == 0


async def test_the_age_of_jobs_submitted_before_we_were_on_is_not_guessed(executor):
    await submit(executor, "early")

    assert executor._queue.get_nowait() == ("early", job)
    executor._queue.put_nowait(("early", job))
    assert values()["langflow.queue.depth{background}"] == 1
    assert "langflow.queue.oldest_age{background}" not in values()


async def test_a_job_started_after_we_are_off_still_runs_and_is_forgotten(executor, on):
    await submit(executor, "late")
    set_active_recorder(None)
    _, late = executor._queue.get_nowait()

    assert await late() == "done"
    assert len(queues._waiting) == 0


async def test_the_job_may_be_given_by_its_name(executor, on):
    await queues.submit(executor.submit, executor, ("key",), {"coro_factory": job})

    assert values()["langflow.queue.oldest_age{background}"] >= 0
    assert await executor._queue.get_nowait()[1]() == "done"


async def test_jobs_that_never_start_go_with_their_queue(services, executor, on):
    await submit(executor, "never")
    assert len(queues._waiting) == 1

    services.clear()
    executor._queue = asyncio.Queue()
    gc.collect()

    assert len(queues._waiting) == 0


async def test_a_submit_of_another_shape_is_left_alone(executor, on, lenient):
    seen = []
    queues.submit(lambda *args, **kwargs: seen.append((args, kwargs)), executor, ("key",), {"later": True})

    assert seen == [(("key",), {"later": True})]


def test_ended_jobs_of_the_job_queue_are_not_running(services):
    entries = {"a": Running(), "b": Finished(), "c": None}
    services["job_queue_service"] = SimpleNamespace(
        _queues={key: (None, None, task, None) for key, task in entries.items()}
    )

    assert values() == {"langflow.queue.running{job_queue}": 1}


def test_a_queue_of_another_shape_does_not_hide_the_other_one(services, executor, lenient):
    services["job_queue_service"] = SimpleNamespace(_queues={"a": ()})

    assert values()["langflow.queue.capacity{background}"] == 2
    assert "langflow.queue.running{job_queue}" not in values()


# Who submitted a job


@pytest.fixture
def seen() -> list[Any]:
    return []


async def work_through(executor: Executor) -> None:
    """LangFlow's worker: it makes a task of each job."""
    while not executor._queue.empty():
        _, coro_factory = executor._queue.get_nowait()
        await asyncio.create_task(coro_factory())


async def submit_below(executor: Executor, span_id: int, coro_factory: Any) -> None:
    context = SpanContext(0xA, span_id, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))
    token = attach(trace.set_span_in_context(trace.NonRecordingSpan(context)))
    try:
        await queues.submit(executor.submit, executor, (str(span_id), coro_factory), {})
    finally:
        detach(token)


async def test_a_job_knows_the_span_that_submitted_it_and_that_it_is_a_job(executor, on, seen):
    async def look() -> None:
        seen.append((queued_by.get(), request_entry_point.get()))

    for number in (1, 2):
        await submit_below(executor, number, look)
    await submit_below(executor, 0, look)
    await asyncio.create_task(work_through(executor))

    assert [(found.span_id, entry_point) for found, entry_point in seen] == [(1, "job"), (2, "job"), (0, "job")]
    assert (queued_by.get(), request_entry_point.get()) == (None, None)


async def test_a_playground_run_of_a_job_is_linked_to_its_submitter(executor, telemetry):
    async def job() -> None:
        await flow.generate_flow_events(job_done, None, (), {"flow_id": "f", "flow_name": "demo"})

    async def job_done(**_: Any) -> None: ...

    with telemetry.provider.get_tracer("host").start_as_current_span("submit"):
        await queues.submit(executor.submit, executor, ("key", job), {})
    with telemetry.provider.get_tracer("host").start_as_current_span("worker"):
        await asyncio.create_task(work_through(executor))

    spans = {span.name: span for span in telemetry.sdk_spans}
    run = spans["invoke_workflow demo"]
    assert run.parent is None
    assert [link.context for link in run.links] == [spans["submit"].context]
    assert run.attributes["langflow.entry_point"] == "job"


async def test_a_job_of_another_process_is_linked_as_langflow_says(monkeypatch, telemetry):
    """LangFlow 1.12 and later keep the submitter with the job."""
    submitter = SpanContext(0xA, 0xB, is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED))
    known = SimpleNamespace(
        get_queued_trace_link=lambda: trace.Link(submitter), get_execution_protocol=lambda: "v2.background"
    )
    monkeypatch.setitem(sys.modules, "lfx.observability", known)

    async def job_done(**_: Any) -> None: ...

    await flow.generate_flow_events(job_done, None, (), {"flow_id": "f", "flow_name": "demo"})

    (run,) = telemetry.sdk_spans
    assert (run.parent, [link.context for link in run.links]) == (None, [submitter])
    assert run.attributes["langflow.entry_point"] == "job"


@pytest.mark.parametrize("known", [SimpleNamespace(), SimpleNamespace(get_queued_trace_link=lambda: None)])
def test_where_langflow_keeps_no_submitter_there_is_none(monkeypatch, known):
    monkeypatch.setitem(sys.modules, "lfx.observability", known)

    assert queued_by_elsewhere() is None

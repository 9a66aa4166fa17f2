"""How long LangFlow's own queues are: its services are looked at where they live, and never created or imported.

``background``: the pool that runs background jobs (LangFlow 1.11 and later). ``job_queue``: builds of the
playground and LangFlow's own tasks, such as ingestion; each starts at once, so only the running ones are told.
What runs in another process (Celery, a Redis backend of the background jobs) is not known here, and absent.
"""

from __future__ import annotations

import sys
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any

from opentelemetry import trace

from langflow_otel._guard import Guard
from langflow_otel._hooks.facts import queued_by, request_entry_point
from langflow_otel._metrics import catalogue
from langflow_otel._metrics.catalogue import Reading
from langflow_otel._runs.recorder import active_recorder, nearest_context

Call = Callable[..., Any]

_SUBMIT = Guard("queue.submit")
_START = Guard("queue.start")
_READ = Guard("queue.read")


class _WaitingJob:
    """A submitted job: LangFlow calls it as soon as a worker starts it, and gets the job's coroutine."""

    __slots__ = ("__weakref__", "_coro_factory", "_submitter", "executor", "since_s")

    def __init__(self, executor: Any, coro_factory: Call) -> None:
        self.executor = weakref.ref(executor)
        self.since_s = time.monotonic()
        self._coro_factory = coro_factory
        self._submitter = trace.get_current_span(nearest_context()).get_span_context()

    def __call__(self) -> Any:
        with _START:
            _waiting.pop(self, None)
            # In the context of the worker, which its task for the job copies; the next job sets them anew.
            queued_by.set(self._submitter)
            request_entry_point.set("job")
            recorder = active_recorder()
            if recorder is not None and recorder.metrics is not None:
                wait = recorder.metrics.recording(catalogue.QUEUE_WAIT, {"queue": "background"})
                wait.record(max(time.monotonic() - self.since_s, 0.0))
        return self._coro_factory()


_waiting: weakref.WeakKeyDictionary[_WaitingJob, None] = weakref.WeakKeyDictionary()
"""Weak: jobs that never start go with the queue that holds them. A job cancelled before its start stays in
LangFlow's queue until a worker comes to it, and so it does here."""


def submit(wrapped: Call, executor: Any, args: Any, kwargs: Any) -> Any:
    """``InProcessExecutor.submit``: the queue does not know since when a job waits, so that is noted here."""
    with _SUBMIT:
        if active_recorder() is not None:
            args, kwargs = _noted(executor, *args, **kwargs)
    return wrapped(*args, **kwargs)


def _noted(executor: Any, key: str, coro_factory: Call) -> tuple[tuple[Any, ...], dict[str, Any]]:
    job = _WaitingJob(executor, coro_factory)
    _waiting[job] = None
    return (key, job), {}


def queue_readings() -> list[Reading]:
    """The queues that this process has, empty without LangFlow. From any thread; never raises."""
    readings: list[Reading] = []
    with _READ:
        readings += _background()
    with _READ:
        readings += _job_queue()
    return readings


def _background() -> Iterator[Reading]:
    service = _live_service("background_execution_service")
    executor = getattr(service, "_executor", None)
    # With a backend elsewhere, LangFlow makes an executor all the same, and does not start it.
    if executor is None or getattr(service, "_backend", None) is not None:
        return
    queue = getattr(executor, "_queue", None)
    if queue is not None:
        yield from _waiting_jobs(executor, queue.qsize())
    in_flight = getattr(executor, "_in_flight", None)
    if in_flight is not None:
        yield Reading(catalogue.QUEUE_RUNNING, len(in_flight), ("background",))
    capacity = getattr(executor, "_max_concurrency", None)
    if capacity is not None:
        yield Reading(catalogue.QUEUE_CAPACITY, capacity, ("background",))


def _waiting_jobs(executor: Any, queued: int) -> Iterator[Reading]:
    jobs = [ref() for ref in _waiting.keyrefs()]
    since_s = [job.since_s for job in jobs if job is not None and job.executor() is executor]
    # While LangFlow is paused (1.13 and later) its workers hold jobs that are in the queue no more, and not
    # started; what was submitted before we were on is only in the queue.
    depth = max(queued, len(since_s))
    yield Reading(catalogue.QUEUE_DEPTH, depth, ("background",))
    if since_s:
        yield Reading(catalogue.QUEUE_OLDEST_AGE, max(time.monotonic() - min(since_s), 0.0), ("background",))
    elif depth == 0:
        yield Reading(catalogue.QUEUE_OLDEST_AGE, 0.0, ("background",))


def _job_queue() -> Iterator[Reading]:
    queues = getattr(_live_service("job_queue_service"), "_queues", None)
    if queues is None:
        return
    # (queue, event manager, task, time of its end); it stays for minutes after its end.
    tasks = [entry[2] for entry in list(queues.values())]
    running = sum(1 for task in tasks if task is not None and not task.done())
    yield Reading(catalogue.QUEUE_RUNNING, running, ("job_queue",))


def _live_service(name: str) -> Any:
    """A service of LangFlow's that exists already, else None."""
    manager = getattr(sys.modules.get("lfx.services.manager"), "_service_manager", None)
    return getattr(manager, "services", {}).get(name)

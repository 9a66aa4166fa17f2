"""Real processes for tests: forked from a clean one, talked to through a pipe, and killed at the end."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from typing import Any


@dataclass
class Worker:
    process: Any
    pipe: Connection

    @property
    def pid(self) -> int:
        return int(self.process.pid)

    def tell(self, message: object = True) -> Any:
        """The worker's answer."""
        self.pipe.send(message)
        return self.pipe.recv()

    def kill(self) -> None:
        self.process.kill()
        self.process.join()


Start = Callable[..., Worker]

# Not from the test's own process: what other tests have left there (threads that hold locks, gRPC's own handling
# of forks) is no concern of theirs.
_CLEAN = multiprocessing.get_context("forkserver")
_CLEAN.set_forkserver_preload(["tests.unit._metrics.test_workers", "tests.unit._process.test_metrics"])


@contextmanager
def processes() -> Iterator[Start]:
    """Gives what starts a process: it calls a function with its end of a pipe, and has said "ready" through it
    when it is there."""
    started: list[Worker] = []
    _start_server()

    def start(function: Callable[..., None], *args: object) -> Worker:
        ours, theirs = _CLEAN.Pipe()
        process = _CLEAN.Process(target=_alone, args=(dict(os.environ), theirs, function, *args))
        process.start()
        theirs.close()
        worker = Worker(process, ours)
        started.append(worker)
        assert ours.recv() == "ready"
        return worker

    try:
        yield start
    finally:
        for worker in started:
            worker.kill()
            worker.pipe.close()


def _start_server() -> None:
    """With the modules loaded: else each process would load them. The server is not told where they are, and says
    nothing when it does not find them (CPython issue 126631)."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)
    try:
        forkserver.ensure_running()
    finally:
        del os.environ["PYTHONPATH"]
        if before is not None:
            os.environ["PYTHONPATH"] = before


def _alone(environment: dict[str, str], pipe: Connection, function: Callable[..., None], *args: object) -> None:
    os.environ.clear()
    os.environ.update(environment)
    try:
        function(pipe, *args)
    finally:
        os._exit(1)


def parent() -> int:
    """The test's process, from inside of one that it started."""
    found = multiprocessing.parent_process()
    assert found is not None
    assert found.pid is not None
    return found.pid

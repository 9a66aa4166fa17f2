"""How late an event loop runs what is due: the sign that something blocks it."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable
from typing import Final

from langflow_otel.recording.guard import Guard

INTERVAL_S: Final = 1.0

_RECORD = Guard("metrics.event_loop")


class EventLoopProbe:
    """Once a second, on each loop that runs flows, a callback notes how late it is. No task, no thread.

    Args:
        record: Gets each delay in seconds; None stops the probe.
    """

    def __init__(self, record: Callable[[float], None]) -> None:
        self._record: Callable[[float], None] | None = record
        self._loops: weakref.WeakSet[asyncio.AbstractEventLoop] = weakref.WeakSet()

    def watch_running_loop(self) -> None:
        """Watch the loop that runs here, if one does and it is not watched yet."""
        with _RECORD:
            loop = asyncio._get_running_loop()
            if loop is not None and loop not in self._loops:
                self._loops.add(loop)
                self._wait(loop)

    def stop(self) -> None:
        """No loop is watched from now on; what is scheduled does nothing."""
        self._record = None

    def _wait(self, loop: asyncio.AbstractEventLoop) -> None:
        due_s = loop.time() + INTERVAL_S
        loop.call_at(due_s, self._note, loop, due_s)

    def _note(self, loop: asyncio.AbstractEventLoop, due_s: float) -> None:
        if self._record is not None:
            with _RECORD:
                self._record(max(0.0, loop.time() - due_s))
            self._wait(loop)

"""How late an event loop runs what is due: the sign that something blocks it."""

from __future__ import annotations

import asyncio
import time
import weakref
from collections.abc import Callable
from typing import Final

from langflow_otel._guard import Guard

INTERVAL_S: Final = 1.0
CLOSE_INTERVAL_S: Final = 0.05
"""While runs go on: what blocks a loop for less than this may be missed."""

_RECORD = Guard("metrics.event_loop")


class EventLoopProbe:
    """Once a second, on each loop that runs flows, a callback notes how late it is. No task, no thread.

    Args:
        record: Gets each delay in seconds; None stops the probe.
    """

    def __init__(self, record: Callable[[float], None]) -> None:
        self._record: Callable[[float], None] | None = record
        self._due_s: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, float] = weakref.WeakKeyDictionary()

    def watch_running_loop(self) -> None:
        """Watch the loop that runs here, if one does and it is not watched yet."""
        with _RECORD:
            loop = asyncio._get_running_loop()
            if loop is not None and loop not in self._due_s:
                self._wait(loop)

    def lateness_s(self) -> float | None:
        """By how much the latest of the watched loops that run is late now, in seconds. From any thread.

        None while no watched loop runs.
        """
        due_s = [due_s for loop, due_s in tuple(self._due_s.items()) if loop.is_running()]
        return max(0.0, time.monotonic() - min(due_s)) if due_s else None

    def stop(self) -> None:
        """No loop is watched from now on; what is scheduled does nothing."""
        self._record = None

    def _wait(self, loop: asyncio.AbstractEventLoop) -> None:
        # Not by the loop's clock: uvloop's stands still while the loop is blocked.
        self._due_s[loop] = time.monotonic() + INTERVAL_S
        due_s = loop.time() + INTERVAL_S
        loop.call_at(due_s, self._note, loop, due_s)

    def _note(self, loop: asyncio.AbstractEventLoop, due_s: float) -> None:
        if self._record is not None:
            with _RECORD:
                self._record(max(0.0, loop.time() - due_s))
            self._wait(loop)


class SeenDelay:
    """The largest delay of a loop since a run's start.

    Attributes:
        largest_s: So far.
        timer: Of the loop.
    """

    __slots__ = ("largest_s", "timer")

    def __init__(self, timer: _Timer) -> None:
        self.largest_s = 0.0
        self.timer = timer


class _Timer:
    """Of one loop; does not hold the loop.

    Attributes:
        due_s: When the next callback is due, by the loop's clock; None while there is none.
        seen: Those that get the delays.
    """

    __slots__ = ("due_s", "seen")

    def __init__(self) -> None:
        self.due_s: float | None = None
        self.seen: set[SeenDelay] = set()

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        if self.due_s is None:
            self.due_s = loop.time() + CLOSE_INTERVAL_S
            loop.call_at(self.due_s, self._note, loop)

    def note_lateness(self, loop: asyncio.AbstractEventLoop) -> None:
        if self.due_s is not None:
            delay_s = loop.time() - self.due_s
            for seen in tuple(self.seen):
                seen.largest_s = max(seen.largest_s, delay_s)

    def _note(self, loop: asyncio.AbstractEventLoop) -> None:
        with _RECORD:
            self.note_lateness(loop)
            self.due_s = None
            if self.seen:
                self.start(loop)


class LoopDelays:
    """The largest delay during each run: 20 callbacks a second on a loop, as long as runs go on in it."""

    def __init__(self) -> None:
        self._timers: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Timer] = weakref.WeakKeyDictionary()

    def enter(self) -> SeenDelay | None:
        """A run starts in the running loop; None without one."""
        loop = asyncio._get_running_loop()
        if loop is None:
            return None
        timer = self._timers.get(loop)
        if timer is None:
            timer = self._timers[loop] = _Timer()
        seen = SeenDelay(timer)
        timer.seen.add(seen)
        timer.start(loop)
        return seen

    def leave(self, seen: SeenDelay) -> float:
        """The run ends; returns the largest delay in seconds. One that goes on is in it: the run may have ended before
        the loop got to the callback that is due."""
        loop = asyncio._get_running_loop()
        if loop is not None and self._timers.get(loop) is seen.timer:
            seen.timer.note_lateness(loop)
        seen.timer.seen.discard(seen)
        return seen.largest_s

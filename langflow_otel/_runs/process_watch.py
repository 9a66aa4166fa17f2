"""What the process and its machine did while a run was active: memory, CPU, event loop, other runs, GPUs.

A process has one memory, one CPU account and few event loops for all its runs, so this says under what conditions a
run took place, and not what the run itself used. Three sources: readings of a sampler's thread; the operating system's
account of the process at the start and at the end of a run; and a timer on the run's event loop.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import NamedTuple

from langflow_otel import _semconv as semconv
from langflow_otel._metrics.event_loop import LoopDelays, SeenDelay
from langflow_otel._runs.span_attributes import Attributes

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

_RSS_UNIT = 1 if sys.platform == "darwin" else 1024


class Usage(NamedTuple):
    """Of the whole life of the process.

    Attributes:
        high_water: The highest resident memory, bytes; 0 where the system does not keep it.
        cpu_s: CPU time, user and system.
    """

    high_water: int
    cpu_s: float


class _Seen:
    """What was seen since a run's start."""

    __slots__ = ("active", "delay", "peaks", "start")

    def __init__(self, peaks: dict[str, float], active: int, delay: SeenDelay | None) -> None:
        self.peaks = peaks
        self.active = active
        self.delay = delay
        self.start = _usage()


class ProcessWatch:
    """Watches the process for every run that is going on. :meth:`sample` is called by a thread, now and then."""

    def __init__(self) -> None:
        self._latest: dict[str, float] = {}
        self._active: set[object] = set()
        self._seen: dict[object, _Seen] = {}
        self._delays = LoopDelays()

    def enter(self, run: object, *, counts: bool = True, observed: bool = True) -> None:
        """A run starts.

        Args:
            run: Any object that stands for it.
            counts: True if it is one of the runs that go on at once; a flow that a flow runs is not.
            observed: True if its span will have what is seen.
        """
        if counts:
            self._active.add(run)
        if observed:
            self._seen[run] = _Seen(dict(self._latest), len(self._active), self._delays.enter())

    def leave(self, run: object) -> Attributes:
        """A run ends.

        Returns:
            Attributes for its span, without those of which nothing is known; empty if the run was not observed, or has
            left before.
        """
        active = len(self._active)
        self._active.discard(run)
        seen = self._seen.pop(run, None)
        if seen is None:
            return {}
        attributes: Attributes = {**seen.peaks}
        usage = _usage()
        if usage.high_water > seen.start.high_water:
            attributes[semconv.FLOW_MEMORY_PEAK] = usage.high_water
        attributes[semconv.FLOW_CPU_TIME] = round(max(0.0, usage.cpu_s - seen.start.cpu_s), 6)
        attributes[semconv.FLOW_ACTIVE_PEAK] = max(seen.active, active)
        if seen.delay is not None:
            attributes[semconv.FLOW_EVENT_LOOP_DELAY_PEAK] = round(self._delays.leave(seen.delay), 6)
        return attributes

    def sample(self, readings: Mapping[str, float]) -> None:
        """The process and the machine are in this state now.

        Args:
            readings: By the attribute that gets the highest of them; those that are missing are unchanged.
        """
        self._latest = {**self._latest, **readings}
        active = len(self._active)
        for seen in tuple(self._seen.values()):
            seen.active = max(seen.active, active)
            for name, value in readings.items():
                seen.peaks[name] = max(seen.peaks.get(name, value), value)

    def forget(self) -> None:
        """In a child that was forked: the runs that go on are its parent's."""
        self._active, self._seen, self._delays = set(), {}, LoopDelays()


def _usage() -> Usage:
    """One system call (getrusage(2)), no file is read."""
    if resource is None:
        return Usage(0, time.process_time())
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return Usage(usage.ru_maxrss * _RSS_UNIT, usage.ru_utime + usage.ru_stime)

"""The process's peak of resident memory while a run was active.

A process has one memory for all its runs, so this is honest about one thing only: how far the process went
while this run was going on. Two sources: a sampler's readings, and the operating system's own high-water
mark, which is exact if it rose during the run.
"""

from __future__ import annotations

import sys
from typing import Protocol

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

_RSS_UNIT = 1 if sys.platform == "darwin" else 1024


class _Run(Protocol):
    memory_peak: int


class MemoryWatch:
    """Keeps the peak of every run that is going on. :meth:`sample` is called by a thread, now and then."""

    def __init__(self) -> None:
        self._resident = 0
        self._high_water_at_start: dict[_Run, int] = {}

    def enter(self, run: _Run) -> None:
        """A run starts."""
        run.memory_peak = self._resident
        self._high_water_at_start[run] = _high_water_mark()

    def leave(self, run: _Run) -> None:
        """A run ends; ``run.memory_peak`` is its peak in bytes, 0 if nothing is known."""
        high_water = _high_water_mark()
        if high_water > self._high_water_at_start.pop(run, high_water):
            run.memory_peak = high_water

    def sample(self, resident: int) -> None:
        """The process has this much resident memory now, in bytes."""
        self._resident = resident
        for run in tuple(self._high_water_at_start):
            run.memory_peak = max(run.memory_peak, resident)


def _high_water_mark() -> int:
    """Of the whole life of the process, bytes (getrusage(2)); one system call, no file is read."""
    return 0 if resource is None else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _RSS_UNIT

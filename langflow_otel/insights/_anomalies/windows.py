"""Executions of flows and components in event time: panes of one second, and windows that slide over them.

A pane is what ended in one second under one key: counts, and a sketch of the durations. Panes are merged into windows
of any length, so each execution is looked at once however many windows it is in (J. Li et al., "No pane, no gain",
SIGMOD Record 34, 2005). Merging is associative and commutative: panes that were counted in several processes give the
windows of one. Nothing here reads a clock or a file.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

WINDOW_S: Final = 5
STEP_S: Final = 1
LATENESS_S: Final = 10
MAX_KEYS: Final = 10_000
NS: Final = 1_000_000_000

_ACCURACY: Final = 0.01
_GAMMA: Final = (1 + _ACCURACY) / (1 - _ACCURACY)
_LOG_GAMMA: Final = math.log(_GAMMA)
_SHORTEST_S: Final = 1e-6
_LONGEST_S: Final = 1e7


class Key(NamedTuple):
    """What is watched: the components of one type in one flow; with an empty type the runs of the flow itself."""

    flow: str
    component_type: str


OTHER: Final = Key("other", "other")
"""All keys beyond :data:`MAX_KEYS`."""


class Execution(NamedTuple):
    """One run of a flow or execution of a component that has ended.

    Attributes:
        status: ``ok``, ``error`` or ``cancelled``; what was answered from a cache or paused is none.
    """

    key: Key
    end_ns: int
    duration_s: float
    status: str


@dataclass
class Sketch:
    """How often values occur, in buckets whose width is 2 % of the value: quantiles are off by 1 % at most.

    C. Masson, J. E. Rim and H. K. Lee, "DDSketch: a fast and fully-mergeable quantile sketch with relative-error
    guarantees", VLDB 12, 2019. Values below 1 microsecond count as that.
    """

    # Not the package ddsketch: from its sketches nothing can be taken away again and their buckets are not public, both
    # of which the history of an hour needs; and one of a single value took 7.7 instead of 0.8 us to make and 1,900
    # instead of 330 bytes (ddsketch 3.0.1), of which there is one each second and key.

    buckets: dict[int, int] = field(default_factory=dict)
    count: int = 0

    def add(self, value_s: float) -> None:
        bucket = math.ceil(math.log(min(max(value_s, _SHORTEST_S), _LONGEST_S)) / _LOG_GAMMA)
        self.buckets[bucket] = self.buckets.get(bucket, 0) + 1
        self.count += 1

    def merge(self, other: Sketch) -> None:
        for bucket, count in other.buckets.items():
            self.buckets[bucket] = self.buckets.get(bucket, 0) + count
        self.count += other.count

    def take_away(self, other: Sketch) -> None:
        """The reverse of :meth:`merge`, for what was merged before."""
        for bucket, count in other.buckets.items():
            left = self.buckets[bucket] - count
            if left:
                self.buckets[bucket] = left
            else:
                del self.buckets[bucket]
        self.count -= other.count

    def quantile(self, share: float) -> float | None:
        """In seconds; None without any value."""
        wanted = share * (self.count - 1)
        below = 0
        for bucket in sorted(self.buckets):
            below += self.buckets[bucket]
            if below > wanted:
                return float(2 * _GAMMA**bucket / (_GAMMA + 1))
        return None


@dataclass
class Pane:
    """What ended in one second under one key, or in several that were merged.

    Attributes:
        count: Executions, those that were cancelled too.
        failures: With the status ``error``.
        finished: With the status ``ok`` or ``error``.
        durations: Of those that ended ``ok``: a failure that comes at once, or after a timeout, is no change of speed.
        total_ns: Sum of these durations; whole nanoseconds, so that their order does not matter.
    """

    count: int = 0
    failures: int = 0
    finished: int = 0
    total_ns: int = 0
    durations: Sketch = field(default_factory=Sketch)

    def add(self, duration_s: float, status: str) -> None:
        self.count += 1
        if status == "error":
            self.failures += 1
            self.finished += 1
        elif status == "ok":
            self.finished += 1
            self.total_ns += round(duration_s * NS)
            self.durations.add(duration_s)

    def merge(self, other: Pane) -> None:
        self.count += other.count
        self.failures += other.failures
        self.finished += other.finished
        self.total_ns += other.total_ns
        self.durations.merge(other.durations)

    @property
    def mean_s(self) -> float | None:
        """Of the durations; None without any."""
        return self.total_ns / NS / self.durations.count if self.durations.count else None

    @property
    def error_share(self) -> float | None:
        """0 to 1; None if nothing ended ``ok`` or ``error``."""
        return self.failures / self.finished if self.finished else None


class Second(NamedTuple):
    """The panes of one second of event time; seconds without any are left out."""

    at_s: int
    panes: dict[Key, Pane]


class Panes:
    """Executions in nearly any order become panes in the order of time.

    A second is complete when an execution that ended so much later has been seen (the watermark). What comes after
    that is late: it is counted, and left out.

    Args:
        lateness_s: How much later; 0 for executions that are in order.
        max_keys: Keys beyond so many are :data:`OTHER`.

    Attributes:
        late: Executions that were left out, since their second was complete.
        unusable: Executions that were left out, since their duration is no number or negative.
        keys: The keys that were seen.
    """

    def __init__(self, lateness_s: int = LATENESS_S, max_keys: int = MAX_KEYS) -> None:
        self.late = 0
        self.unusable = 0
        self.keys: set[Key] = set()
        self._lateness_s = lateness_s
        self._max_keys = max_keys
        self._waiting: dict[int, dict[Key, Pane]] = {}
        self._newest_s = -1
        self._complete_s = -1

    def add(self, execution: Execution) -> None:
        second = execution.end_ns // NS
        if second <= self._complete_s:
            self.late += 1
        elif not 0 <= execution.duration_s < math.inf:
            self.unusable += 1
        else:
            key = self._bounded(execution.key)
            panes = self._waiting.setdefault(second, {})
            panes.setdefault(key, Pane()).add(execution.duration_s, execution.status)
            self._newest_s = max(self._newest_s, second)

    def _bounded(self, key: Key) -> Key:
        if key not in self.keys:
            if len(self.keys) >= self._max_keys:
                return OTHER
            self.keys.add(key)
        return key

    def complete(self, until_s: int | None = None) -> Iterator[Second]:
        """The seconds that are complete, each once.

        Args:
            until_s: All before this second are, whatever was seen: for a stream in which nothing comes.
        """
        until_s = max(self._newest_s - self._lateness_s, until_s or 0)
        for second in sorted(each for each in self._waiting if each < until_s):
            yield Second(second, self._waiting.pop(second))
        self._complete_s = max(self._complete_s, until_s - 1)

    def rest(self) -> Iterator[Second]:
        """All that waits: nothing more will come."""
        yield from self.complete(self._newest_s + 1)


@dataclass(frozen=True, slots=True)
class Window:
    """What ended in some seconds under one key.

    Attributes:
        start_s, end_s: Unix time; the end is excluded.
        throughput: Executions a second.
        error_share: 0 to 1; None if nothing ended ``ok`` or ``error``.
        mean_s: Of the durations of those that ended ``ok``; None without any.
        p50_s, p95_s, p99_s: The same, off by 1 % at most.
    """

    key: Key
    start_s: int
    end_s: int
    count: int
    failures: int
    throughput: float
    error_share: float | None
    mean_s: float | None
    p50_s: float | None
    p95_s: float | None
    p99_s: float | None


def window_of(key: Key, panes: Iterable[Pane], end_s: int, length_s: int = WINDOW_S) -> Window:
    """The window that ends there, of the panes in it."""
    merged = merged_panes(panes)
    p50_s, p95_s, p99_s = (merged.durations.quantile(share) for share in (0.5, 0.95, 0.99))
    throughput = merged.count / length_s
    start_s = end_s - length_s
    means = (throughput, merged.error_share, merged.mean_s)
    return Window(key, start_s, end_s, merged.count, merged.failures, *means, p50_s, p95_s, p99_s)


def merged_panes(panes: Iterable[Pane]) -> Pane:
    """One pane of many; they are left as they are."""
    merged = Pane()
    for pane in panes:
        merged.merge(pane)
    return merged


class SlidingWindows:
    """Of each key the windows in which something ended, in the order of their ends.

    Args:
        length_s: Of a window; a multiple of the step.
        step_s: From the end of one to the end of the next; windows end at its multiples.
    """

    def __init__(self, length_s: int = WINDOW_S, step_s: int = STEP_S) -> None:
        self._length_s = length_s
        self._step_s = step_s
        self._recent: deque[Second] = deque()
        self._end_s = 0

    def advance(self, second: Second) -> Iterator[Window]:
        """The windows that end before or with the start of this second, which is later than all before."""
        while self._recent and self._end_s <= second.at_s:
            yield from self._next()
        if not self._recent:
            self._end_s = (second.at_s // self._step_s + 1) * self._step_s
        self._recent.append(second)

    def finish(self) -> Iterator[Window]:
        """The windows that hold what came last."""
        while self._recent:
            yield from self._next()

    def _next(self) -> Iterator[Window]:
        while self._recent and self._recent[0].at_s < self._end_s - self._length_s:
            self._recent.popleft()
        by_key: dict[Key, list[Pane]] = {}
        for second in self._recent:
            for key, pane in second.panes.items():
                by_key.setdefault(key, []).append(pane)
        for key in sorted(by_key):
            yield window_of(key, by_key[key], self._end_s, self._length_s)
        self._end_s += self._step_s


def sliding_windows(seconds: Iterable[Second], length_s: int = WINDOW_S, step_s: int = STEP_S) -> Iterator[Window]:
    """All windows of these seconds, which are in the order of time."""
    sliding = SlidingWindows(length_s, step_s)
    for second in seconds:
        yield from sliding.advance(second)
    yield from sliding.finish()

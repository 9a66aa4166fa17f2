"""A day of flow runs on replicas that come and go: who waits, for how long, and what runs meanwhile.

Arrivals flow evenly within each second. A replica carries some runs at once; what comes beyond that waits for the
next free place, first come first served, on any replica.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from autoscaler import SYNC_S, Reading
from manifests import Scaling, Trigger

DAY_S = 24 * 3600


@dataclass(frozen=True)
class Workload:
    """What one run and one replica are like; measure yours."""

    run_s: int = 6
    run_cpu_s: float = 0.4
    runs_at_once: int = 12
    idle_memory: float = 0.3
    """Share of a replica's memory, whatever it does."""
    ready_after_s: int = 90
    """From a new replica's start until it takes runs."""
    metrics_age_s: int = 30
    """Of what the autoscaler sees: a scrape interval and a sync period."""


@dataclass
class Replay:
    """The day as it went: one entry a second, and the waits."""

    arrivals: list[float] = field(default_factory=list)
    replicas: list[int] = field(default_factory=list)
    waiting: list[float] = field(default_factory=list)
    waits: list[tuple[int, float]] = field(default_factory=list)
    """Seconds that runs waited, and how many runs."""

    @property
    def replica_hours(self) -> float:
        return sum(self.replicas) / 3600

    def mean_wait_s(self) -> float:
        return sum(wait * runs for wait, runs in self.waits) / sum(runs for _, runs in self.waits)

    def wait_quantile_s(self, quantile: float) -> int:
        left = quantile * sum(runs for _, runs in self.waits)
        for wait, runs in sorted(self.waits):
            left -= runs
            if left <= 0:
                return wait
        return max(self.waits)[0]

    def longest_wait_s(self) -> int:
        return max(self.waits)[0]


def replay(load: Callable[[int], float], scaling: Scaling | int, workload: Workload) -> Replay:
    """A day with this load, in runs a second, on an autoscaler or on a fixed number of replicas."""
    return _Day(load, scaling, workload).run()


class _Day:
    def __init__(self, load: Callable[[int], float], scaling: Scaling | int, workload: Workload) -> None:
        self.load = load
        self.scaling = None if isinstance(scaling, int) else scaling
        self.workload = workload
        self.replay = Replay()
        start = scaling if isinstance(scaling, int) else scaling.minimum
        self.ready_at = [0.0] * start
        self.queue: deque[tuple[int, float]] = deque()
        self.started: deque[float] = deque([0.0] * workload.run_s, maxlen=workload.run_s)
        self.running = 0.0
        self.waiting = 0.0
        self.in_flight: list[float] = []
        self.running_history: list[float] = []
        self.finished: list[float] = []
        self.last_active_s = 0

    def run(self) -> Replay:
        for now in range(DAY_S):
            self._serve(now)
            if self.scaling is not None:
                self._scale(now, self.scaling)
        return self.replay

    def _serve(self, now: int) -> None:
        arrivals = self.load(now)
        ended = self.started[0]
        if arrivals:
            self.queue.append((now, arrivals))
        places = max(self._ready(now) * self.workload.runs_at_once - (self.running - ended), 0)
        begun = self._begin(now, places)
        self.started.append(begun)
        self.running += begun - ended
        # What is left by rounding is nobody.
        self.waiting = self.waiting + arrivals - begun if self.queue else 0.0
        self.in_flight.append(self.running + self.waiting)
        self.running_history.append(self.running)
        self.finished.append(ended)
        self.replay.arrivals.append(arrivals)
        self.replay.replicas.append(len(self.ready_at))
        self.replay.waiting.append(self.waiting)

    def _begin(self, now: int, places: float) -> float:
        begun = 0.0
        while self.queue and places > begun:
            since, runs = self.queue.popleft()
            taken = min(runs, places - begun)
            if taken < runs:
                self.queue.appendleft((since, runs - taken))
            if taken > 0:
                self.replay.waits.append((now - since, taken))
            begun += taken
        return begun

    def _ready(self, now: float) -> int:
        return sum(1 for at in self.ready_at if at <= now)

    def _scale(self, now: int, scaling: Scaling) -> None:
        if scaling.minimum == 0 and now % scaling.polling_s == 0:
            self._from_and_to_zero(now, scaling)
        if self.ready_at and now % SYNC_S == 0:
            readings = [self._reading(now, trigger) for trigger in scaling.triggers]
            self._set(now, scaling.autoscaler.next(now, len(self.ready_at), self._ready(now), readings))

    def _from_and_to_zero(self, now: int, scaling: Scaling) -> None:
        """KEDA's own part: one replica as soon as a trigger is active, none when none has been for a while."""
        if any(t.active_above is not None and self._value(now, t) > t.active_above for t in scaling.triggers):
            self.last_active_s = now
            self._set(now, max(len(self.ready_at), 1))
        elif now - self.last_active_s >= scaling.cooldown_s:
            self._set(now, 0)

    def _set(self, now: int, replicas: int) -> None:
        self.ready_at = self.ready_at[:replicas]
        self.ready_at += [now + self.workload.ready_after_s] * (replicas - len(self.ready_at))

    def _reading(self, now: int, trigger: Trigger) -> Reading:
        # A schedule is told to the autoscaler as that many replicas' worth of a target of one.
        target = 1 if trigger.hours else trigger.target
        return Reading(self._value(now, trigger), target, trigger.averaged)

    def _value(self, now: int, trigger: Trigger) -> float:
        if trigger.hours is not None:
            return trigger.target if trigger.hours[0] <= now / 3600 < trigger.hours[1] else 0
        seen = max(now - self.workload.metrics_age_s, 0)
        return _READ[trigger.name](self, seen)

    def _cpu(self, seen: int) -> float:
        busy = self.running_history[seen] * self.workload.run_cpu_s / self.workload.run_s
        return busy / max(self._ready(seen), 1)

    def _rate(self, of: list[float], seen: int) -> float:
        window = of[max(seen - 119, 0) : seen + 1]
        return sum(window) / len(window)


_READ: dict[str, Callable[[_Day, int], float]] = {
    "runs-in-flight": lambda day, seen: day.in_flight[seen],
    # The load has no background jobs.
    "queue-depth": lambda day, seen: 0,
    "throughput": lambda day, seen: day._rate(day.finished, seen),
    "requests-at-the-ingress": lambda day, seen: day._rate(day.replay.arrivals, seen),
    "cpu": lambda day, seen: day._cpu(seen),
    "memory": lambda day, seen: day.workload.idle_memory,
}
"""What each trigger, by its name, is told."""

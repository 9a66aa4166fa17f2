"""What the HorizontalPodAutoscaler does with its metrics, one round at a time.

Source: https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/ ("Algorithm details",
"Configurable scaling behavior"); where the text is silent, pkg/controller/podautoscaler of Kubernetes.
KEDA hands its triggers to such an autoscaler as external metrics, and adds only the way from and to no replica.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal

TOLERANCE = 0.1
SYNC_S = 15

Choice = Callable[[Iterable[int]], int]


@dataclass(frozen=True)
class Policy:
    """At most so many replicas, or per cent of them, within a period."""

    kind: Literal["Pods", "Percent"]
    value: int
    period_s: int


@dataclass(frozen=True)
class Rules:
    """One direction of ``behavior``."""

    window_s: int
    policies: tuple[Policy, ...]
    select: Literal["Max", "Min", "Disabled"] = "Max"


DEFAULT_UP = Rules(0, (Policy("Percent", 100, 15), Policy("Pods", 4, 15)))
DEFAULT_DOWN = Rules(300, (Policy("Percent", 100, 15),))


@dataclass(frozen=True)
class Reading:
    """One metric at this moment.

    Attributes:
        value: A total over all replicas, or the mean over the ready ones.
        target: Of one replica.
        averaged: Whether ``value`` is a mean already, as CPU and memory are.
    """

    value: float
    target: float
    averaged: bool = False

    def wants(self, replicas: int, ready: int) -> int:
        """desired = ceil(current * value / target), unless that is within the tolerance."""
        pods = ready if self.averaged else replicas
        ratio = self.value / self.target if self.averaged else self.value / (self.target * max(replicas, 1))
        return replicas if abs(ratio - 1) <= TOLERANCE else math.ceil(round(ratio * max(pods, 1), 9))


@dataclass
class Autoscaler:
    """Its settings, and what it remembers: recommendations and changes of the last minutes."""

    minimum: int
    maximum: int
    up: Rules = DEFAULT_UP
    down: Rules = DEFAULT_DOWN
    _recommended: list[tuple[float, int]] = field(default_factory=list)
    _changed: list[tuple[float, int]] = field(default_factory=list)

    def next(self, now_s: float, replicas: int, ready: int, readings: list[Reading]) -> int:
        """How many replicas there shall be from now on."""
        wanted = max(reading.wants(replicas, ready) for reading in readings)
        steady = self._stabilized(now_s, replicas, wanted)
        allowed = self._limited(now_s, replicas, steady)
        if allowed != replicas:
            self._changed.append((now_s, allowed - replicas))
        return allowed

    def _stabilized(self, now_s: float, replicas: int, wanted: int) -> int:
        """The least that was recommended lately where it goes up, the most where it goes down."""
        longest_s = max(self.up.window_s, self.down.window_s)
        self._recommended = [entry for entry in self._recommended if entry[0] > now_s - longest_s]
        self._recommended.append((now_s, wanted))
        least = min([wanted, *(count for at, count in self._recommended if at > now_s - self.up.window_s)])
        most = max([wanted, *(count for at, count in self._recommended if at > now_s - self.down.window_s)])
        return min(max(replicas, least), most)

    def _limited(self, now_s: float, replicas: int, wanted: int) -> int:
        if wanted > replicas:
            return min(wanted, max(self._ceiling(now_s, replicas), replicas), self.maximum)
        if wanted < replicas:
            return max(wanted, min(self._floor(now_s, replicas), replicas), self.minimum)
        return min(max(replicas, self.minimum), self.maximum)

    def _ceiling(self, now_s: float, replicas: int) -> int:
        proposals = []
        for policy in self.up.policies:
            before = self._at_start_of_period(now_s, replicas, policy)
            grown = before + policy.value if policy.kind == "Pods" else before * (1 + policy.value / 100)
            proposals.append(math.ceil(grown))
        return self._selected(self.up, replicas, proposals, most=max, least=min)

    def _floor(self, now_s: float, replicas: int) -> int:
        proposals = []
        for policy in self.down.policies:
            before = self._at_start_of_period(now_s, replicas, policy)
            # Rounded towards fewer replicas: 10 % of 72 lets 8 go.
            shrunk = before - policy.value if policy.kind == "Pods" else int(before * (1 - policy.value / 100))
            proposals.append(shrunk)
        return self._selected(self.down, replicas, proposals, most=min, least=max)

    def _at_start_of_period(self, now_s: float, replicas: int, policy: Policy) -> int:
        return replicas - sum(change for at, change in self._changed if at > now_s - policy.period_s)

    @staticmethod
    def _selected(rules: Rules, replicas: int, proposals: list[int], *, most: Choice, least: Choice) -> int:
        if rules.select == "Disabled":
            return replicas
        return most(proposals) if rules.select == "Max" else least(proposals)

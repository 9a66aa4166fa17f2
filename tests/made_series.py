"""Executions of one key over some hours, with anomalies of which it is known where they are."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass

from langflow_otel.insights._anomalies.windows import NS, Execution, Key

START_S = 1_800_000_000
KEY = Key("shop", "LLM")


@dataclass
class Day:
    """How a key behaves, and what happens to it.

    Attributes:
        hours: How long.
        rate: Executions a second.
        slowness: Random, of the logarithm of durations; their median is 1 s.
        errors: Share of them.
        linked: How much the level of the durations depends on that of the minute before, 0 to 1, and by how much it
            varies: ``(0.9, 0.2)``.
        bursts: Traffic comes in groups of up to so many.
        season: By how much the rate swings over 24 hours, 0 to 1.
        heavy: Of the durations, one in a hundred is ten times as long.
        from_s, to_s: Where the anomaly is, seconds after the start; the same without any.
        slower: By how much durations are multiplied in it; ``drift`` lets that grow from 1.
        failing: Share of errors in it.
        busier: By how much the rate is multiplied.
    """

    hours: float = 3
    rate: float = 1.0
    slowness: float = 0.4
    errors: float = 0.01
    linked: tuple[float, float] = (0.0, 0.0)
    bursts: int = 1
    season: float = 0.0
    heavy: bool = False
    from_s: int = 0
    to_s: int = 0
    slower: float = 1.0
    drift: bool = False
    failing: float | None = None
    busier: float = 1.0

    def executions(self, seed: int, key: Key = KEY) -> Iterator[Execution]:
        """In the order of their ends."""
        rand = random.Random(seed)
        level, at_s, minute = 0.0, 0.0, -1
        memory, varies = self.linked
        while True:
            inside = self.from_s <= at_s < self.to_s
            rate = self.rate * (self.busier if inside else 1) / ((1 + self.bursts) / 2)
            rate *= 1 + self.season * math.sin(2 * math.pi * at_s / 86_400)
            step_s = rand.expovariate(rate) if rate > 0 else self.to_s - at_s
            # A change of the rate begins where it is said.
            if at_s < self.from_s < at_s + step_s or at_s < self.to_s < at_s + step_s:
                at_s = float(self.from_s if at_s < self.from_s else self.to_s)
                continue
            at_s += step_s
            if at_s >= self.hours * 3600:
                return
            if at_s // 60 != minute:
                minute = at_s // 60
                level = memory * level + math.sqrt(1 - memory**2) * rand.gauss(0, varies)
            for _ in range(rand.randint(1, self.bursts)):
                yield self._one(rand, level, at_s, key)

    def _one(self, rand: random.Random, level: float, at_s: float, key: Key) -> Execution:
        inside = self.from_s <= at_s < self.to_s
        duration_s = math.exp(level + rand.gauss(0, self.slowness))
        if self.heavy and rand.random() < 0.01:
            duration_s *= 10
        if inside:
            part = (at_s - self.from_s) / (self.to_s - self.from_s) if self.drift else 1
            duration_s *= 1 + (self.slower - 1) * part
        failing = self.failing if inside and self.failing is not None else self.errors
        status = "error" if rand.random() < failing else "ok"
        return Execution(key, int((START_S + at_s) * NS), duration_s, status)

"""How early ``forecast --risk`` says that something will be exhausted, and how often it does so for nothing.

Run ``python tests/benchmarks/risks.py``; it prints the tables of docs/insights/forecasts.md. Each curve is looked at
again and again while it goes on, as someone does who runs the command every few hours.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

from langflow_otel.insights._forecasts.risks import KINDS, LEVEL, MIN_STEPS, grows

STEPS = 54
LOOKED_AT = (20, 24, 28, 32, 36, 40, 44, 48, 54)
COMPARED = 10
"""Curves that are looked at together, by which the level is divided."""
SEEDS = range(40)

Shape = Callable[[float, random.Random], float]
"""A value at a time between 0 and 1, at which the limit is reached where there is one."""


@dataclass(frozen=True)
class Made:
    """Attributes:
    kind: Of :data:`~langflow_otel.insights._forecasts.risks.KINDS`.
    shape: Without noise.
    noise: Its size; each value's depends on that of the value before it.
    """

    name: str
    kind: str
    shape: Shape
    noise: float


def grown(first: float, last: float, *, since: float = 0.0) -> Shape:
    return lambda x, _: first + (last - first) * max(0.0, x - since) / (1 - since)


def day(level: float, swing: float, *, begins: float = 0.0) -> Shape:
    """Two and a half days, from the middle of the load on, or so many half days later."""
    return lambda x, _: level + swing * math.sin((5 * x + begins) * math.pi)


def filled(speed: float) -> Shape:
    """From 1 to 2 GiB; its time constant is that part of the whole time."""
    return lambda x, _: 2 - math.exp(-speed * x)


GOES_WRONG = (
    Made("memory: leak, from 1 to 2 GiB", "memory", grown(1.0, 2.0), 0.03),
    Made("descriptors: not closed, from 80 to 1,024", "descriptors", grown(80, 1024), 8),
    Made("disk: from 40 % to full", "disk", grown(0.4, 1.0), 0.005),
    Made("memory: leak, from 1 to 1.3 GiB", "memory", grown(1.0, 1.3), 0.03),
    Made("memory: leak in the second half, from 1 to 2 GiB", "memory", grown(1.0, 2.0, since=0.5), 0.03),
    Made("memory: leak in the last third, from 1 to 2 GiB", "memory", grown(1.0, 2.0, since=0.67), 0.03),
    Made("disk: from 40 % to full in the second half", "disk", grown(0.4, 1.0, since=0.5), 0.005),
    Made("queue: from 2 to 100 jobs that wait", "queue", grown(2, 100), 5),
    Made("GPU: from 60 to 85 °C", "gpu temperature", grown(60, 85), 1.5),
    Made("GPU: slowed, from 0 to half of the time", "gpu slowed", grown(0, 0.5), 0.03),
    Made("GPU: corrected ECC errors, from 1 to 60 an hour", "gpu errors", grown(1, 60), 4),
    Made("runs that fail: from 1 % to 30 %", "errors", grown(0.01, 0.3), 0.02),
)
STAYS = (
    Made("memory: stays", "memory", grown(1, 1), 0.03),
    Made("memory: a cache that fills up", "memory", filled(8), 0.03),
    Made("memory: a cache that fills up twice as fast", "memory", filled(16), 0.03),
    Made("memory: a cache that fills up half as fast", "memory", filled(4), 0.03),
    Made("memory: one step up, by half", "memory", lambda x, _: 1.0 + 0.5 * (x > 0.4), 0.03),
    Made("memory: follows the load of the day, from night on", "memory", day(1, 0.15, begins=-0.5), 0.03),
    Made("memory: follows the load of the day", "memory", day(1, 0.15), 0.03),
    Made("descriptors: follow the load of the day", "descriptors", day(200, 60), 10),
    Made("disk: logs are deleted four times", "disk", lambda x, _: 0.4 + 0.3 * (4 * x % 1), 0.005),
    Made("queue: bursts that are worked off", "queue", lambda _, rand: 60.0 * (rand.random() < 0.1), 3),
    Made("GPU: temperature follows the day", "gpu temperature", day(65, 10), 1.5),
    Made("GPU: slowed now and then", "gpu slowed", lambda _, rand: 0.3 * (rand.random() < 0.05), 0.01),
    Made("GPU: few ECC errors", "gpu errors", lambda _, rand: float(rand.random() < 0.1), 0.0),
    Made("runs that fail: 2 %", "errors", grown(0.02, 0.02), 0.015),
)


def values_of(made: Made, seed: int) -> list[float]:
    rand, level, values = random.Random(seed), 0.0, []
    for step in range(STEPS):
        level = 0.7 * level + math.sqrt(1 - 0.7**2) * rand.gauss(0, made.noise)
        values.append(max(0.0, made.shape(step / (STEPS - 1), rand) + level))
    return values


def first_claim(made: Made, values: list[float]) -> int | None:
    """After how many values it is first said."""
    _, least, part = KINDS[made.kind]
    for count in LOOKED_AT:
        known = values[:count]
        times_s = [60.0 * step for step in range(count)]
        if grows(times_s, known, level=LEVEL / COMPARED, by=max(least, part * median(known))) is not None:
            return count
    return None


def lead(made: Made) -> tuple[float, float]:
    """Share of the curves in which it was said before the end, and how much of the time was left (median)."""
    claims = [first_claim(made, values_of(made, seed)) for seed in SEEDS]
    found = [1 - count / STEPS for count in claims if count is not None and count < STEPS]
    return len(found) / len(claims), median(found) if found else 0.0


def false_alarms(made: Made) -> float:
    """Share of the curves in which anything was claimed at any look."""
    return sum(first_claim(made, values_of(made, seed)) is not None for seed in SEEDS) / len(SEEDS)


def main() -> None:
    print("| what happens | found before the limit | time left, as a part of all |\n| --- | --- | --- |")
    for made in GOES_WRONG:
        found, left = lead(made)
        print(f"| {made.name} | {found:.0%} | {left:.0%} |")
    print(f"\n| nothing happens | claimed in any of {len(LOOKED_AT)} looks |\n| --- | --- |")
    for made in STAYS:
        print(f"| {made.name} | {false_alarms(made):.0%} |")


assert min(LOOKED_AT) >= MIN_STEPS

if __name__ == "__main__":
    main()

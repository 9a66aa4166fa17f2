"""How far ``forecast`` is off on made series of which it is known what comes, against the two naive forecasts.

Run ``python tests/benchmarks/forecasts.py --series 20``; it prints the table of docs/insights/forecasts.md. Of each
kind there are several series: 60 days are known, 30 are forecast and compared with what came. So this is a test with
data that no model was chosen by, beside the back-tests in the past that each forecast shows of itself.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable
from statistics import fmean, median

from langflow_otel.insights._forecasts.daily import DAY_S, Series
from langflow_otel.insights._forecasts.forecast import MODELS, NAIVE, SEASONAL_NAIVE, forecast

KNOWN = 60
AHEAD = 30
WEEK = 7

Shape = Callable[[int], float]
"""The level of a day, without noise."""


def week(size: float) -> Shape:
    """Five days alike, and two with so much less."""
    return lambda day: -size * (day % WEEK >= 5)


KINDS: dict[str, tuple[Shape, float, float]] = {
    # What it is: level, noise of a day, steps of a level that wanders
    "a level, with noise of 10 %": (lambda _: 100.0, 10.0, 0.0),
    "growth by 2 % of the first day a day": (lambda day: 100 + 2.0 * day, 10.0, 0.0),
    "a week: weekends with half": (lambda day: 100 + week(50)(day), 10.0, 0.0),
    "growth and a week": (lambda day: 100 + 2.0 * day + week(50)(day), 10.0, 0.0),
    "growth that has ended by half of the time": (lambda day: 100 + 3.0 * min(day, 30), 10.0, 0.0),
    "a step up by half, 15 days ago": (lambda day: 100 + 50.0 * (day >= 45), 10.0, 0.0),
    "a level that wanders by 5 % a day": (lambda _: 100.0, 2.0, 5.0),
}


def made(kind: str, seed: int) -> list[float]:
    shape, noise, wandering = KINDS[kind]
    rand, level, values = random.Random(seed), 0.0, []
    for day in range(KNOWN + AHEAD):
        level += rand.gauss(0, wandering)
        values.append(max(0.0, shape(day) + level + rand.gauss(0, noise)))
    return values


def mean_error(expected: list[float], came: list[float]) -> float:
    return fmean(abs(one - other) for one, other in zip(expected, came, strict=True))


def row(kind: str, seeds: int) -> str:
    ours, naive, seasonal, held, chosen = [], [], [], [], []
    for seed in range(seeds):
        values = made(kind, seed)
        known, came = values[:KNOWN], values[KNOWN:]
        found = forecast(Series("runs", "runs", 20_000 * DAY_S, DAY_S, known, is_sum=True), AHEAD)
        ours.append(mean_error([day.value for day in found.days], came))
        naive.append(mean_error([known[-1]] * AHEAD, came))
        seasonal.append(mean_error([known[-WEEK + day % WEEK] for day in range(AHEAD)], came))
        held.append(fmean(day.low <= value <= day.high for day, value in zip(found.days, came, strict=True)))
        chosen.append(found.model)
    most = max(set(chosen), key=chosen.count)
    level = fmean(each for seed in range(seeds) for each in made(kind, seed)[KNOWN:])
    errors = " | ".join(f"{100 * median(each) / level:.0f} %" for each in (ours, naive, seasonal))
    return f"| {kind} | {errors} | {100 * fmean(held):.0f} % | {most}, {chosen.count(most)} of {seeds} |"


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--series", type=int, default=10, help="of each kind")
    seeds = arguments.parse_args().series
    assert {NAIVE, SEASONAL_NAIVE} < {each.name for each in MODELS}
    print(f"| 60 days of | off by | {NAIVE} | {SEASONAL_NAIVE} | in the 95 % interval | chosen most often |")
    print("| --- | --- | --- | --- | --- | --- |")
    for kind in KINDS:
        print(row(kind, seeds), flush=True)


if __name__ == "__main__":
    main()

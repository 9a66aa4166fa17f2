"""How well anomalies are found where it is known where they are, and how often chance is taken for one.

    python tests/benchmarks/anomalies.py              # the table of docs/insights/anomalies.md; some minutes
    python tests/benchmarks/anomalies.py --seeds 3

Made series of 1 key: three hours with 1 or 0.1 executions a second, durations with a spread of 40 %, 1 % of errors. Two
hours after the start something happens, or nothing. ``calibrated`` is what ``langflow-otel anomalies`` does; ``arima``
is each minute, or 5 minutes, outside of the interval that ARIMA(2,1,2) predicted; ``sigma`` is three standard
deviations from the mean of the hour before, ``mad`` the same by median and median absolute deviation, both in windows
of 5 seconds that slide by 1.

An anomaly that overlaps with the true one (a minute of grace after it) is right, every other is false. Precision is
the right ones of all; recall the series in which there is a right one; delay from the beginning to the window that
found it.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parents[1]))

from made_series import START_S, Day

from langflow_otel.insights._anomalies.episodes import Anomaly
from langflow_otel.insights._anomalies.search import METHODS, watch_of
from langflow_otel.insights._anomalies.windows import Panes

GRACE_S = 60
AT_S = 7200

BUSY = Day(hours=3, rate=1.0)
CALM = Day(hours=6, rate=0.1)


def kinds() -> Iterator[tuple[str, Day]]:
    """What happens, at each of two rates."""
    for name, day in (("1/s", BUSY), ("0.1/s", CALM)):
        start = AT_S if day is BUSY else 2 * AT_S
        long_s = 600 if day is BUSY else 1800
        yield f"spike, {name}: 5 times as slow for 30 s", replace(day, from_s=start, to_s=start + 30, slower=5)
        yield f"step, {name}: twice as slow", replace(day, from_s=start, to_s=start + 3600, slower=2)
        yield (
            f"drift, {name}: to 3 times in 40 min",
            replace(day, from_s=start, to_s=start + 2400, slower=3, drift=True),
        )
        yield f"drop, {name}: a fifth of the traffic", replace(day, from_s=start, to_s=start + long_s, busier=0.2)
        yield f"silence, {name}", replace(day, from_s=start, to_s=start + long_s, busier=0)
        yield (
            f"error burst, {name}: 50 % for {long_s // 300} min",
            replace(day, from_s=start, to_s=start + long_s // 5, failing=0.5),
        )
        yield f"rush, {name}: 5 times the traffic", replace(day, from_s=start, to_s=start + long_s, busier=5)


def quiet() -> Iterator[tuple[str, Day]]:
    """Nothing happens."""
    yield "noise, 1/s", replace(BUSY, hours=6)
    yield "noise, 0.1/s", replace(CALM, hours=6)
    yield "noise, 5/s", Day(hours=3, rate=5)
    yield "durations with a long tail, 1/s", replace(BUSY, hours=6, slowness=1.0, heavy=True)
    yield "level that wanders by 20 %, 1/s", replace(BUSY, hours=6, linked=(0.9, 0.2))
    yield "traffic in bursts of up to 8, 1/s", replace(BUSY, hours=6, bursts=8)
    yield "swing of 80 % over the day, 1/s", replace(BUSY, hours=12, season=0.8)
    yield "5 % of errors, 1/s", replace(BUSY, hours=6, errors=0.05)


@dataclass
class Score:
    """Of one method on one kind."""

    series: int = 0
    found: int = 0
    right: int = 0
    false: int = 0
    delays: list[int] = field(default_factory=list)


def anomalies(method: str, day: Day, seed: int) -> list[Anomaly]:
    watch, panes = watch_of(method), Panes(lateness_s=0)
    found: dict[int, Anomaly] = {}
    for execution in day.executions(seed):
        panes.add(execution)
    for second in panes.rest():
        found.update((id(each), each) for each in watch.advance(second))
    last = watch.pass_time(int(START_S + day.hours * 3600))
    found.update((id(each), each) for each in [*last, *watch.finish()])
    return list(found.values())


def score(method: str, day: Day, seeds: range) -> Score:
    result = Score()
    start_s, end_s = START_S + day.from_s, START_S + day.to_s + GRACE_S
    for seed in seeds:
        result.series += 1
        right = []
        for each in anomalies(method, day, seed):
            is_right = day.to_s > 0 and each.since_s < end_s and start_s < (each.until_s or each.raised_s) + 1
            if is_right:
                right.append(max(each.raised_s - start_s, 0))
            else:
                result.false += 1
        result.right += len(right)
        result.found += bool(right)
        result.delays += [min(right)] if right else []
    return result


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--seeds", type=int, default=10)
    arguments.add_argument("--methods", default=",".join(METHODS))
    arguments.add_argument("--only", default="", help="kinds whose name has this")
    given = arguments.parse_args()
    methods, seeds = given.methods.split(","), range(given.seeds)
    print(f"{given.seeds} series of each kind")
    print("| what happens | " + " | ".join(f"{each}: recall, precision, delay" for each in methods) + " |")
    print("| --- |" + " --- |" * len(methods))
    for name, day in kinds():
        if given.only in name:
            print(f"| {name} | " + " | ".join(_found(score(each, day, seeds)) for each in methods) + " |", flush=True)
    print("\n| nothing happens | " + " | ".join(f"{each}: false a day" for each in methods) + " |")
    print("| --- |" + " --- |" * len(methods))
    for name, day in quiet():
        if given.only in name:
            print(
                f"| {name} | " + " | ".join(_false(score(each, day, seeds), day) for each in methods) + " |", flush=True
            )
    print(f"\nCPU: {time.process_time():.0f} s")


def _found(result: Score) -> str:
    every = result.right + result.false
    precision = f"{result.right / every:.0%}" if every else "-"
    delay = f"{median(result.delays):.0f} s" if result.delays else "-"
    return f"{result.found / result.series:.0%}, {precision}, {delay}"


def _false(result: Score, day: Day) -> str:
    return f"{24 * result.false / (result.series * day.hours):.2g}"


if __name__ == "__main__":
    main()

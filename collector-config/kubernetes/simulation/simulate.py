"""Replays a day's load through the autoscalers of the overlays, and what goes wrong, with their committed settings.

python simulate.py            # the tables
python simulate.py --write    # the tables into ../README.md, the plot beside this file (needs matplotlib)
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import recovery
from day import DAY_S, Replay, Workload, replay
from manifests import horizontal_pod_autoscaler, scaled_object

README = Path(__file__).parents[1] / "README.md"
PLOT = Path(__file__).with_name("scaling.png")
BEGIN, END = "<!-- simulation -->\n", "<!-- end of simulation -->\n"
RECOVERY_BEGIN, RECOVERY_END = "<!-- recovery -->\n", "<!-- end of recovery -->\n"

WORKLOAD = Workload()
LARGEST = 10


def production(second: int) -> float:
    """Runs a second: a quiet night, a working day, a rush hour from 9 to 11, a spike of ten minutes at 15."""
    hour = second / 3600
    if 15 <= hour < 15 + 10 / 60:
        return 18
    return _between(
        hour, [(0, 0.1), (6, 0.1), (8.5, 3), (9.25, 12), (10.5, 12), (11, 4), (17, 4), (19, 0.5), (22, 0.1), (24, 0.1)]
    )


def staging(second: int) -> float:
    """Runs a second where hardly anybody works: half an hour twice in the day, ten minutes once in the evening."""
    hour = second / 3600
    return 0.5 if 10 <= hour < 10.5 or 14 <= hour < 14.5 or 21 <= hour < 21 + 10 / 60 else 0


def _between(hour: float, points: list[tuple[float, float]]) -> float:
    for (start, before), (end, after) in pairwise(points):
        if start <= hour < end:
            return before + (after - before) * (hour - start) / (end - start)
    return points[-1][1]


def production_day() -> dict[str, Replay]:
    return {
        f"fixed, {LARGEST} replicas": replay(production, LARGEST, WORKLOAD),
        "fixed, 4 replicas": replay(production, 4, WORKLOAD),
        "overlay `hpa`: CPU and memory": replay(production, horizontal_pod_autoscaler(), WORKLOAD),
        "overlay `production`: KEDA": replay(production, scaled_object("production"), WORKLOAD),
    }


def staging_day() -> dict[str, Replay]:
    return {
        "fixed, 1 replica": replay(staging, 1, WORKLOAD),
        "overlay `idle`: KEDA, to zero": replay(staging, scaled_object("idle"), WORKLOAD),
    }


def tables(busy: dict[str, Replay], quiet: dict[str, Replay]) -> str:
    return f"A production day:\n\n{_table(busy)}\nA staging day:\n\n{_table(quiet)}"


def _table(days: dict[str, Replay]) -> str:
    lines = [
        "| size | replica hours | cost, of the first row | most replicas | mean wait | P95 wait | longest wait |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    first = next(iter(days.values())).replica_hours
    for name, day in days.items():
        cells = [
            name,
            f"{day.replica_hours:.1f}",
            f"{day.replica_hours / first:.0%}".replace("%", " %"),
            str(max(day.replicas)),
            f"{day.mean_wait_s():.1f} s",
            f"{day.wait_quantile_s(0.95)} s",
            f"{day.longest_wait_s()} s",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def write_table(begin: str, text: str, end: str) -> None:
    readme = README.read_text()
    head, _, rest = readme.partition(begin)
    _, _, tail = rest.partition(end)
    README.write_text(f"{head}{begin}{text}{end}{tail}")


def plot(days: dict[str, Replay], load: Callable[[int], float]) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    every_s = 30
    seconds = range(0, DAY_S, every_s)
    hours = [second / 3600 for second in seconds]
    figure, (top, middle, bottom) = plt.subplots(3, 1, sharex=True, figsize=(9, 7), height_ratios=[1, 1.6, 1.2])
    top.fill_between(hours, [load(second) for second in seconds], color="0.8")
    top.set_ylabel("runs a second")
    for (name, day), style in zip(days.items(), [("0.6", ":"), ("0.3", "--"), ("C1", "-"), ("C0", "-")], strict=True):
        colour, line = style
        label = name.replace("`", "")
        middle.plot(hours, [day.replicas[s] for s in seconds], line, color=colour, label=label, drawstyle="steps-post")
        # The most of each interval: a short queue would fall between two points.
        waiting = [max(day.waiting[s : s + every_s]) for s in seconds]
        bottom.plot(hours, [max(runs, 0.5) for runs in waiting], line, color=colour, label=label)
    middle.set_ylabel("replicas")
    middle.set_ylim(0, LARGEST + 1)
    middle.legend(loc="upper right", fontsize=8)
    bottom.set_ylabel("runs waiting")
    bottom.set_yscale("log")
    bottom.set_xlabel("hour of the day")
    bottom.set_xlim(0, 24)
    bottom.set_xticks(range(0, 25, 2))
    figure.suptitle("A production day on fixed sizes and on the overlays", fontsize=11)
    figure.tight_layout()
    figure.savefig(PLOT, dpi=90)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--write", action="store_true", help="into the README, and the plot")
    given = arguments.parse_args()
    busy = production_day()
    text = tables(busy, staging_day())
    sys.stdout.write(f"{text}\n{recovery.table()}")
    if given.write:
        write_table(BEGIN, text, END)
        write_table(RECOVERY_BEGIN, recovery.table(), RECOVERY_END)
        plot(busy, production)


if __name__ == "__main__":
    main()

"""The predicted intervals of ``langflow-otel anomalies --method arima`` on public labelled series.

    pip download --no-deps streamad==0.3.1 sktime==1.2.0
    python tests/benchmarks/labelled_series.py *.whl

Two packages on PyPI have hourly series with labelled anomalies, in the form of Yahoo's S5: they are read out of the
wheels, nothing is installed. What runs in LangFlow is not in them: each hour has one value, which may be negative. So
``calibrated``, which compares executions by their ranks, has nothing to compare here; beside ``arima`` (as for false
alarms once in ten days) are 3 standard deviations from the mean of the week before, and the same by median and MAD.

A labelled point counts as found if it, or one of the two after it, is raised; labelled points that follow each other
are one. What is raised elsewhere is false.
"""

from __future__ import annotations

import csv
import io
import sys
import zipfile
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from statistics import fmean, median, stdev

from langflow_otel.insights.arima import Curve
from langflow_otel.insights.tails import less_certain, z_of

HOUR_S = 3600
WEEK = 168
NEAR = 2
FALSE_A_DAY = 0.1
LEARNING = 60
SERIES = {"uniDS.csv": "value", "yahoo.csv": "data"}
"""Names of files in the wheels, and of the column with the values; labels are in ``label``."""


def series_of(wheel: Path) -> Iterator[tuple[str, list[float], list[bool]]]:
    """The labelled series in a package."""
    with zipfile.ZipFile(wheel) as files:
        for name in files.namelist():
            column = SERIES.get(Path(name).name)
            if column is not None:
                rows = list(csv.DictReader(io.StringIO(files.read(name).decode())))
                yield (
                    f"{wheel.name.partition('-')[0]} {name}",
                    [float(row[column]) for row in rows],
                    [float(row["label"]) > 0 for row in rows],
                )


def by_arima(values: Sequence[float]) -> list[bool]:
    curve, raised = Curve(0, HOUR_S), []
    level = z_of(FALSE_A_DAY / 24 / 2)
    for value in values:
        predicted = curve.predict()
        sigmas = 0.0
        if predicted is not None and curve.scale:
            sigmas = less_certain((value - predicted) / curve.scale, curve.known - 4)
        raised.append(abs(sigmas) >= level)
        curve.add(value, predicted, is_unusual=raised[-1])
    return raised


def by_spread(
    centre: Callable[..., float], spread: Callable[[Sequence[float], float], float]
) -> Callable[..., list[bool]]:
    def found(values: Sequence[float]) -> list[bool]:
        raised = [False] * min(LEARNING, len(values))
        for place in range(len(raised), len(values)):
            before = values[max(0, place - WEEK) : place]
            middle = centre(before)
            raised.append(abs(values[place] - middle) > 3 * spread(before, middle))
        return raised

    return found


ARMS = {
    "arima": by_arima,
    "3 sigma": by_spread(fmean, lambda values, _: stdev(values)),
    "median and MAD": by_spread(
        median, lambda values, middle: 1.4826 * median([abs(each - middle) for each in values])
    ),
}


def score(raised: Sequence[bool], labels: Sequence[bool]) -> str:
    starts = [place for place, (before, now) in enumerate(pairwise([False, *labels])) if now and not before]
    near = {each + by for each, label in enumerate(labels) if label for by in range(NEAR + 1)}
    episodes = []
    for start in starts:
        end = next((each for each in range(start, len(labels)) if not labels[each]), len(labels))
        episodes.append([each - start for each in range(start, min(end + NEAR, len(raised))) if raised[each]])
    found = [each[0] for each in episodes if each]
    right = sum(each in near for each, is_raised in enumerate(raised) if is_raised)
    every = sum(raised)
    false = every - right
    precision = f"{right / every:.0%}" if every else "-"
    delay = f"{median(found):.0f} h" if found else "-"
    return f"{len(found)} of {len(starts)}, {precision}, {delay}, {24 * false / len(raised):.2g}"


def main() -> None:
    print("| series | " + " | ".join(f"{name}: found, precision, delay, false a day" for name in ARMS) + " |")
    print("| --- |" + " --- |" * len(ARMS))
    for wheel in map(Path, sys.argv[1:]):
        for name, values, labels in series_of(wheel):
            shown = " | ".join(score(arm(values), labels) for arm in ARMS.values())
            print(f"| {name}, {len(values)} hours | {shown} |", flush=True)


if __name__ == "__main__":
    main()

"""The predicted intervals of ``langflow-otel anomalies --method arima`` on public labelled series.

    pip download --no-deps streamad==0.3.1 sktime==1.2.0 aeon==1.6.0
    python tests/benchmarks/labelled_series.py *.whl

Three packages on PyPI have series with labelled anomalies: they are read out of the wheels, nothing is installed. Two
are hourly, in the form of Yahoo's S5. Three are heartbeats and blood pressure, hundreds of values a beat, of which each
counts as one minute here. What runs in LangFlow is not in them: each step has one value, which may be negative. So
``calibrated``, which compares executions by their ranks, has nothing to compare here; beside ``arima`` (as for false
alarms once in ten days) are 3 standard deviations from the mean of the 168 values before, and the same by median and
MAD.

A labelled point counts as found if it, or one of the two after it, is raised; labelled points that follow each other
are one. What is raised elsewhere is false.

Not used are Daphnet_S06R02E0 of aeon, in which nothing is labelled, and seatbelts of sktime, in which a change for good
is.
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

from langflow_otel.insights._anomalies.arima import Curve
from langflow_otel.insights._statistics.tails import less_certain, z_of

DAY_S = 86_400
HOUR_S = 3600
MINUTE_S = 60
BEFORE = 168
LASTING = 60
"""Steps: what is unusual for so long is what is usual from then on, as in ``ArimaWatch`` after an hour of minutes."""
QUIET = 5
NEAR = 2
FALSE_A_DAY = 0.1
LEARNING = 60
SERIES = {
    "uniDS.csv": ("value", "label", HOUR_S),
    "yahoo.csv": ("data", "label", HOUR_S),
    "mitdb.csv": ("data", "label", MINUTE_S),
    "135_UCR_Anomaly_InternalBleeding16_TEST.csv": ("value", "is_anomaly", MINUTE_S),
    "ecg-diff-count-3_TEST.csv": ("value-0", "is_anomaly", MINUTE_S),
}
"""Names of files in the wheels, of the columns with values and labels, and for what length of time a value stands."""


def series_of(wheel: Path) -> Iterator[tuple[str, int, list[float], list[bool]]]:
    """The labelled series in a package: name, seconds of a step, values, labels."""
    with zipfile.ZipFile(wheel) as files:
        for name in files.namelist():
            file = Path(name).name
            if file in SERIES:
                column, label, step_s = SERIES[file]
                rows = list(csv.DictReader(io.StringIO(files.read(name).decode())))
                yield (
                    f"{wheel.name.partition('-')[0]} {file}",
                    step_s,
                    [float(row[column]) for row in rows],
                    [float(row[label]) > 0 for row in rows],
                )


def by_arima(values: Sequence[float], step_s: int) -> list[bool]:
    curve, raised = Curve(0, step_s), []
    level = z_of(FALSE_A_DAY * step_s / DAY_S / 2)
    since = last = -QUIET
    for place, value in enumerate(values):
        predicted = curve.predict()
        sigmas = 0.0
        if predicted is not None and curve.scale:
            sigmas = less_certain((value - predicted) / curve.scale, curve.known - 4)
        raised.append(abs(sigmas) >= level)
        curve.add(value, predicted, is_unusual=raised[-1])
        if raised[-1]:
            since, last = (place if place - last > QUIET else since), place
            if place - since >= LASTING:
                curve.move_to_what_came()
                since = place
    return raised


def by_spread(
    centre: Callable[..., float], spread: Callable[[Sequence[float], float], float]
) -> Callable[..., list[bool]]:
    def found(values: Sequence[float], _: int) -> list[bool]:
        raised = [False] * min(LEARNING, len(values))
        for place in range(len(raised), len(values)):
            before = values[max(0, place - BEFORE) : place]
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


def score(raised: Sequence[bool], labels: Sequence[bool], step_s: int) -> str:
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
    delay = f"{median(found):.0f} steps" if found else "-"
    return f"{len(found)} of {len(starts)}, {precision}, {delay}, {DAY_S * false / (step_s * len(raised)):.2g}"


def main() -> None:
    print("| series | " + " | ".join(f"{name}: found, precision, delay, false a day" for name in ARMS) + " |")
    print("| --- |" + " --- |" * len(ARMS))
    for wheel in map(Path, sys.argv[1:]):
        for name, step_s, values, labels in series_of(wheel):
            shown = " | ".join(score(arm(values, step_s), labels, step_s) for arm in ARMS.values())
            print(f"| {name}, {len(values)} values | {shown} |", flush=True)


if __name__ == "__main__":
    main()

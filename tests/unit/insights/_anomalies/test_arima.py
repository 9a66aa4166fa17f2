"""Anomalies by what ARIMA(2,1,2) predicts: found where they are, seldom where none is."""

from __future__ import annotations

import json
import math
import random
import sys
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from made_series import KEY, START_S, Day

pytest.importorskip("statsforecast", reason="pip install 'langflow-otel[forecast]'")

import numpy as np
from statsforecast.models import ARIMA

from langflow_otel.insights._anomalies.arima import LEARNING, ArimaWatch, Curve
from langflow_otel.insights._anomalies.search import find_anomalies, watch_of
from langflow_otel.insights._anomalies.windows import NS, Execution, Key, Pane, Second
from tests.support.made_spans import START_NS
from tests.unit.cli.test_anomalies import anomalies as cli
from tests.unit.insights.test_anomalies import anomalies, connection, made  # noqa: F401

AT_S = 6000
DAY = Day(hours=2, rate=1.0)


def followed(values: list[float], *, step_s: int = 60) -> tuple[Curve, list[float]]:
    """The curve of these values, and how far each was from what was predicted."""
    curve, errors = Curve(0, step_s), []
    for value in values:
        predicted = curve.predict()
        errors += [value - predicted] if predicted is not None else []
        curve.add(value, predicted, is_unusual=False)
    return curve, errors


def wandering(steps: int) -> list[float]:
    rand, values, moved, errors = random.Random(1), [10.0], 0.0, [0.0, 0.0]
    for _ in range(steps):
        errors.append(rand.gauss(0, 1))
        moved = 0.6 * moved + errors[-1] - 0.5 * errors[-2]
        values.append(values[-1] + moved)
    return values


def test_prediction_is_that_of_the_library():
    values = wandering(120)
    curve, _ = followed(values)
    fitted_at = 120
    library = ARIMA(order=(2, 1, 2)).fit(np.array(values[:fitted_at])).forward(np.array(values), h=1)

    assert curve.predict() == pytest.approx(float(library["mean"][0]), abs=0.1)


def test_errors_have_the_size_that_is_said():
    curve, errors = followed(wandering(600))

    assert np.std(errors[200:]) == pytest.approx(1.0, abs=0.15)
    assert curve.scale == pytest.approx(1.0, abs=0.2)


def test_nothing_is_predicted_of_little():
    curve, errors = followed([1.0] * (LEARNING[60] - 1))

    assert (curve.predict(), errors) == (None, [])


def test_equal_values_predict_themselves():
    curve, errors = followed([3.0] * 200)

    assert (curve.predict(), max(map(abs, errors)), curve.scale) == (3.0, 0.0, 0.0)


def test_time_of_day_is_learned_from_two_days():
    rand = random.Random(2)
    values = [10 * math.sin(2 * math.pi * step / 48) ** 3 + rand.gauss(0, 0.3) for step in range(48 * 3)]
    _, errors = followed(values, step_s=1800)

    assert np.std(errors[-48:]) < 0.5
    assert np.std([late - early for early, late in pairwise(values)]) > 0.5


@pytest.mark.parametrize(
    ("figure", "sign", "changes"),
    [
        ("duration", 1, {"slower": 3}),
        ("errors", 1, {"failing": 0.5}),
        ("throughput", -1, {"busier": 0.0}),
        ("throughput", 1, {"busier": 5}),
    ],
)
def test_gross_faults_are_found_once_each(figure: str, sign: int, changes: dict[str, float]):
    day = replace(DAY, from_s=AT_S, to_s=AT_S + 600, **changes)
    (found,) = anomalies(day.executions(1), "arima")

    assert (found.key, found.figure, found.sigmas * sign > 4) == (KEY, figure, True)
    assert (found.since_s, found.until_s) == (START_S + AT_S, START_S + AT_S + 600)
    assert found.raised_s == found.since_s + 60
    assert found.minutes[0][0] <= found.since_s - 3500


@pytest.mark.parametrize(
    "day",
    [DAY, replace(DAY, linked=(0.9, 0.2)), replace(DAY, rate=0.05, hours=8)],
    ids=["noise", "wandering", "seldom"],
)
def test_noise_is_no_anomaly(day: Day):
    assert anomalies(day.executions(3), "arima") == []


def test_seldom_runs_are_looked_at_in_five_minutes():
    day = replace(DAY, rate=0.06, hours=8, from_s=21_600, to_s=25_200, slower=6)
    found = [each for each in anomalies(day.executions(4), "arima") if each.figure == "duration"]

    assert {each.window_s for each in found} == {300}
    assert any(abs(each.since_s - START_S - 21_600) <= 300 for each in found)


def test_what_stays_becomes_usual():
    day = replace(DAY, hours=4, from_s=AT_S, to_s=4 * 3600, slower=3)
    (found,) = (each for each in anomalies(day.executions(5), "arima") if each.figure == "duration")

    assert (found.is_lasting, found.until_s) == (True, None)


def test_key_that_is_gone_is_forgotten():
    watch = ArimaWatch()
    for at_s in (0, 60, 3 * 86_400):
        for number in range(2):
            execution = Execution(Key("shop", str(number)), at_s * NS, 1.0, "ok")
            pane = Pane()
            pane.add(execution.duration_s, execution.status)
            watch.advance(Second(at_s, {execution.key: pane}))

    assert watch.learning == {Key("shop", "0"), Key("shop", "1")}
    assert watch.pass_time(10 * 86_400) == []
    assert watch.learning == set()


@pytest.mark.parametrize("method", ["arima", "mad", "sigma"])
def test_other_methods_have_curve_and_correlation_too(
    connection: Any,  # noqa: F811
    method: str,
):
    found = find_anomalies(connection, method=method).found
    slow = [
        around
        for anomaly, around in found
        if anomaly.figure == "duration" and abs(anomaly.since_s - START_NS // NS - 5000) < 120
    ]

    assert any("memory" in {each.name for each in around.together} for around in slow)
    assert all(around.points for around in slow)


def test_command_takes_the_method(tmp_path):
    path = made().write(tmp_path / "spans.jsonl")
    found = json.loads(cli(path, "--method", "arima", "--json").stdout)["anomalies"]
    shown = cli(path, "--method", "arima").stdout

    slow = next(each for each in found if each["component_type"] is None and each["figure"] == "duration")
    assert abs(slow["since_s"] - START_NS // NS - 5000) < 120
    memory = next(each for each in slow["resources"]["together"] if each["name"] == "memory")
    assert memory["size"] > 0.3
    assert isinstance(memory["lag"], int)
    assert len(slow["resources"]["points"]) > 60
    assert "correlation +" in shown


def test_without_the_extra_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "statsforecast.models", None)
    monkeypatch.delitem(sys.modules, "langflow_otel.insights._anomalies.arima")

    said = cli(tmp_path, "--method", "arima", code=2).stderr

    assert said == (
        "langflow-otel: statsforecast is not installed; this needs: pip install 'langflow-otel[insights,forecast]'\n"
    )


def test_it_is_one_of_the_methods():
    assert isinstance(watch_of("arima"), ArimaWatch)

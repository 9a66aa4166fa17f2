"""Figures day by day."""

from __future__ import annotations

import math
from typing import Any

import pytest

from langflow_otel.insights._forecasts.daily import DAY_S, Series, filled, series_from_prometheus, series_from_runs
from langflow_otel.insights.prometheus_source import Curve
from langflow_otel.insights.selection import Selection
from tests.support.made_spans import START_NS, MadeTraces

START_DAY = START_NS // 10**9 // DAY_S
DAY_START = START_DAY * DAY_S - START_NS // 10**9


def said(cpu_s: float, memory: int) -> dict[str, Any]:
    return {"langflow.flow.process.cpu.time": cpu_s, "langflow.flow.process.memory.peak": memory}


def made() -> MadeTraces:
    traces = MadeTraces()
    for day, runs in enumerate((1, 2, 0, 3, 1)):
        for number in range(runs):
            at_s = DAY_START + day * DAY_S + 60 * (number + 1)
            cost = {"cost": 0.25, "currency": "EUR"} if day == 1 else {}
            one = number % 2
            traces.run(
                10.0,
                at_s=at_s,
                instance=f"worker {one}",
                attributes=said(5.0, 100 + day),
                input_tokens=10,
                output_tokens=5,
                **cost,
            )
    return traces


def test_whole_days_have_the_figures_of_their_runs():
    found = {each.name: each for each in series_from_runs(made().connect())}

    assert {name: list(each.values) for name, each in found.items() if name not in ("cpu", "memory")} == {
        "runs": [2, 0, 3],
        "tokens": [30, 0, 45],
        "cost EUR": [0.5, 0, 0],
    }
    cpu, memory = found["cpu"], found["memory"]
    assert (cpu.values[0], cpu.values[2]) == (1.0, 1.0)
    assert (memory.values[0], memory.values[2]) == (202, 206)
    assert math.isnan(cpu.values[1])
    assert (cpu.known, cpu.is_sum, found["runs"].is_sum) == (2, False, True)
    assert {each.start_s for each in found.values()} == {(START_DAY + 1) * DAY_S}


def test_figures_that_the_spans_lack_are_no_series():
    traces = MadeTraces()
    for day in range(4):
        traces.run(1.0, at_s=day * DAY_S)

    assert [each.name for each in series_from_runs(traces.connect())] == ["runs"]
    assert series_from_runs(traces.connect(), Selection(flow="other")) == []


class Prometheus:
    """Answers as a source does: a point says what was in the step before it."""

    def __init__(self, curves: dict[str, list[Curve]]) -> None:
        self._curves = curves

    def curve(self, name: str, start_s: float, end_s: float, *, points: int = 240) -> list[Curve]:
        assert (end_s - start_s) / points == DAY_S
        return self._curves.get(name, [])


def test_prometheus_gives_the_same_days():
    points = [(DAY_S * (100 + day), value) for day, value in ((3, 7.0), (4, 8.0), (6, 9.0))]
    source = Prometheus(
        {
            "runs": [Curve({}, points)],
            "input_tokens": [Curve({}, points)],
            "output_tokens": [Curve({}, points)],
            "cost": [Curve({"currency": "EUR"}, points)],
            "memory": [Curve({}, points)],
        }
    )
    found = {each.name: each for each in series_from_prometheus(source, 100 * DAY_S, 110 * DAY_S)}  # type: ignore[arg-type]

    assert list(found) == ["runs", "tokens", "cost EUR", "memory"]
    assert found["tokens"].values[:2] == [14.0, 16.0]
    assert (found["runs"].start_s, found["runs"].known, len(found["runs"].values)) == (102 * DAY_S, 3, 4)
    assert [each.unit for each in found.values()] == ["runs", "tokens", "EUR", "bytes"]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1.0, math.nan, 3.0], [1, 2, 3]),
        ([math.nan, 2.0, math.nan], [2, 2, 2]),
        ([math.nan], []),
        ([], []),
        ([1.0, math.nan, math.nan, 4.0], [1, 2, 3, 4]),
    ],
)
def test_gaps_are_filled_by_the_line_between(values: list[float], expected: list[float]):
    assert filled(values) == expected


def test_end_of_a_series_is_that_of_its_last_step():
    assert Series("runs", "runs", 0, DAY_S, [1, 2], is_sum=True).end_s == 2 * DAY_S

"""Forecasts, how far they are off, and limits."""

from __future__ import annotations

import json
import math
import random
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

pytest.importorskip("statsforecast", reason="pip install 'langflow-otel[forecast]'")

from langflow_otel.cli.forecast import limits_of
from langflow_otel.cli.main import app
from langflow_otel.insights._forecasts.daily import DAY_S, Series
from langflow_otel.insights._forecasts.forecast import MODELS, NAIVE, SEASONAL_NAIVE, Forecast, TooShortError, forecast
from tests.support.made_spans import MadeTraces

START_S = 20_000 * DAY_S


def series(days: int, *, growth: float = 0.0, week: float = 0.0, noise: float = 2.0, seed: int = 1) -> Series:
    """100 a day at the start, growing by so much a day, with a swing over the week."""
    rand = random.Random(seed)
    values = [100 + growth * day + week * math.sin(2 * math.pi * day / 7) + rand.gauss(0, noise) for day in range(days)]
    return Series("runs", "runs", START_S, DAY_S, values, is_sum=True)


@pytest.fixture(scope="module")
def growing() -> Forecast:
    return forecast(series(60, growth=2.0, week=20.0), 30, limit=250.0)


def test_growth_and_the_week_are_found(growing: Forecast):
    assert len(growing.days) == 30
    for ahead, day in enumerate(growing.days):
        expected = 100 + 2 * (60 + ahead) + 20 * math.sin(2 * math.pi * (60 + ahead) / 7)
        assert day.value == pytest.approx(expected, abs=15)
        assert day.low <= day.value <= day.high
        assert day.start_s == START_S + (60 + ahead) * DAY_S
    assert growing.total == pytest.approx(sum(day.value for day in growing.days))


def test_it_is_tried_on_the_past_beside_naive_models(growing: Forecast):
    assert {NAIVE, SEASONAL_NAIVE, growing.model} <= set(growing.back_tests)
    best = growing.back_test
    assert best.mean_error == min(each.mean_error for each in growing.back_tests.values())
    assert best.scaled_error < 0.5
    assert growing.back_tests[NAIVE].scaled_error == 1
    assert (growing.origins, growing.tried_days) == (8, 20)
    assert best.widening >= 1


def test_day_of_a_limit_is_said(growing: Forecast):
    crossing = growing.crossing
    assert crossing is not None
    assert crossing.expected_s is not None
    assert crossing.earliest_s is not None
    assert not crossing.is_over
    # The line with the week's swing is above 250 on the 66th day first.
    assert abs(crossing.expected_s - START_S - 66 * DAY_S) <= 7 * DAY_S
    assert crossing.earliest_s <= crossing.expected_s
    assert crossing.latest_s is None or crossing.latest_s >= crossing.expected_s


def test_noise_has_no_trend():
    """Nothing is above the naive models then, and the intervals hold what comes."""
    found = forecast(series(70, noise=10.0, seed=3), 14, limit=1000.0)
    later = series(84, noise=10.0, seed=3).values[70:]

    assert found.crossing is not None
    assert (found.crossing.expected_s, found.crossing.earliest_s) == (None, None)
    assert sum(day.low <= value <= day.high for day, value in zip(found.days, later, strict=True)) >= 12


def test_limit_that_is_reached_already():
    found = forecast(series(30, noise=1.0), 7, limit=50.0)

    assert found.crossing is not None
    assert found.crossing.is_over


def test_nothing_is_below_zero():
    found = forecast(series(40, growth=-2.4), 30)

    assert min(day.low for day in found.days) == 0
    assert all(day.value >= 0 for day in found.days)


def test_equal_days_are_forecast_as_they_are():
    found = forecast(Series("runs", "runs", 0, DAY_S, [5.0] * 30, is_sum=True), 7)

    assert [round(day.value, 6) for day in found.days] == [5.0] * 7


@pytest.mark.parametrize(
    ("days", "ahead", "message"),
    [
        (20, 7, "20 whole days of history; for 7 days ahead 21 are needed"),
        (29, 30, "29 whole days of history; for 30 days ahead 30 are needed"),
    ],
)
def test_short_history_is_refused(days: int, ahead: int, message: str):
    with pytest.raises(TooShortError, match=message):
        forecast(series(days), ahead)


def test_history_with_too_many_gaps_is_refused():
    values = [1.0, math.nan] * 15
    with pytest.raises(TooShortError, match="15 of 30 days have a value"):
        forecast(Series("cpu", "cores", 0, DAY_S, values, is_sum=False), 7)


def test_each_model_can_be_made():
    assert len({each.name for each in MODELS}) == 5
    for model in MODELS:
        assert hasattr(model.make(), "forecast")


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """32 whole days with 3 runs on the first and one more on each tenth day; their memory grows."""
    traces = MadeTraces()
    for day in range(34):
        for number in range(3 + day // 10):
            memory = {"langflow.flow.process.memory.peak": (1000 + 10 * day) * 2**20}
            traces.run(1.0, at_s=day * DAY_S + 60 * number, attributes=memory)
    return traces.write(tmp_path_factory.mktemp("made") / "spans.jsonl")


def run(*arguments: str | Path, code: int = 0) -> Result:
    result = CliRunner().invoke(app, ["forecast", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result


def test_command_shows_the_forecast_and_how_good_it_is(path: Path):
    shown = run(path, "--days", "14", "--limit", "memory=1.4GiB").stdout

    assert "runs  a day, from 32 days until 2027-02-16 (UTC)" in shown
    assert "memory  level of a day" in shown
    assert "The limit of 1.4 GiB is expected to be reached on 2027-0" in shown
    assert "it was off by" in shown
    assert "as the last day: " in shown


def test_command_gives_all_as_json(path: Path):
    found = json.loads(run(path, "--days", "7", "--json").stdout)

    runs, memory = found["forecasts"]
    assert (runs["figure"], memory["figure"], found["refused"]) == ("runs", "memory", [])
    assert len(runs["days"]) == 7
    assert runs["total"] == pytest.approx(sum(each["value"] for each in runs["days"]))
    assert "total" not in memory
    assert runs["history"]["values"][:2] == [3, 3]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--days", "60"], "no forecast: 32 whole days of history; for 60 days ahead 60 are needed"),
        (
            ["--limit", "space=5"],
            "--limit space=5: a figure (runs, tokens, cost, cpu, memory, disk, descriptors, queue, temperature), = and "
            "a number are accepted, with k, M, G, MB, GB, TB, MiB, GiB, TiB or % behind it: memory=4GiB, tokens=2M, "
            "disk=90%",
        ),
        (["--limit", "tokens=5"], "--limit tokens: the data have no tokens; they have runs, memory"),
        (["--history", "9"], "--history is for --prometheus: of trace files all is looked at"),
        (["--flow", "x"], "--flow x: no run of it is in these files; there are runs of shop"),
        (
            ["--prometheus", "http://127.0.0.1:1"],
            "--prometheus takes no files, and forecasts all flows together",
        ),
    ],
)
def test_wrong_use_is_one_line(path: Path, arguments: list[str], message: str):
    assert run(path, *arguments, code=2).stderr == f"langflow-otel: {message}\n"


def test_limits_have_the_usual_units():
    assert limits_of(["memory=4GB", "disk=90%", "tokens=2 M"]) == {"memory": 4e9, "disk": 0.9, "tokens": 2e6}


def test_few_days_say_how_many_are_needed(tmp_path: Path):
    made = MadeTraces()
    made.run(1)

    assert "no forecast: there are less than three days of runs, and 21 are needed" in (
        run(made.write(tmp_path / "spans.jsonl"), code=2).stderr
    )


def test_what_is_missing_is_named(path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "statsforecast.models", None)
    monkeypatch.delitem(sys.modules, "langflow_otel.insights._forecasts.forecast", raising=False)

    assert run(path, code=2).stderr == (
        "langflow-otel: statsforecast is not installed; this needs: pip install 'langflow-otel[forecast]'\n"
    )

"""What grows and does not stop, and what only seems to."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from statistics import median

import pytest
from typer.testing import CliRunner, Result

from langflow_otel.cli.main import app
from langflow_otel.insights._forecasts.risks import Risk, Trend, find_risks, grows, trend_of
from tests.support.made_spans import START_NS, MadeTraces

GIB = 2**30
STEPS = 54


def curve(shape: str, seed: int, memory: float = 0.7, noise: float = 0.03) -> list[float]:
    """Memory of a process over time: a shape, and noise that depends on itself a step before."""
    rand, level, values = random.Random(seed), 0.0, []
    for step in range(STEPS):
        x = step / STEPS
        level = memory * level + math.sqrt(1 - memory**2) * rand.gauss(0, noise)
        shapes = {
            "flat": 1.0,
            "leak": 1 + 0.3 * x,
            "late leak": 1 + 2 * max(0.0, x - 0.5),
            "cache that fills": 2 - math.exp(-8 * x),
            "one step": 1 + 0.5 * (x > 0.4),
            "restarts": 1 + 0.3 * (4 * x % 1),
            "two days": 1 + 0.2 * math.sin(4 * math.pi * x),
            "falling": 2 - x,
        }
        values.append(shapes[shape] + level)
    return values


def claims(shape: str, memory: float, steps: int = STEPS) -> list[Trend]:
    """Of 25 curves, when so much of each is known."""
    times_s = [60.0 * step for step in range(steps)]
    curves = [curve(shape, seed, memory)[:steps] for seed in range(25)]
    found = [grows(times_s, each, level=0.01, by=0.05 * median(each)) for each in curves]
    return [each for each in found if each is not None]


@pytest.mark.parametrize("memory", [0.0, 0.7, 0.9])
def test_leaks_are_found_and_other_shapes_are_not(memory: float):
    assert len(claims("leak", memory)) >= 22
    for shape in ("flat", "restarts", "two days", "falling", "one step"):
        assert claims(shape, memory) == []
    assert len(claims("cache that fills", memory)) <= 3


@pytest.mark.parametrize("steps", [24, 30, 40])
def test_cache_that_is_nearly_full_is_no_leak(steps: int):
    """By then it has 3 %, 1 % and 0.3 % still to grow; a line through it rises all the same."""
    assert len(claims("cache that fills", 0.7, steps)) <= 4


def test_leak_that_began_late_is_found_with_its_beginning():
    found = claims("late leak", 0.7)

    assert len(found) >= 22
    assert all(each.start_s / 60 == pytest.approx(STEPS / 2, abs=8) for each in found)
    assert median(each.slope * 60 * STEPS for each in found) == pytest.approx(2, rel=0.1)


def test_slope_has_its_interval():
    times_s = [60.0 * step for step in range(STEPS)]
    found = [trend_of(times_s, curve("leak", seed, memory=0.0)) for seed in range(40)]
    true = 0.3 / (60 * STEPS)

    assert sum(each is not None and each.low <= true <= each.high for each in found) >= 35
    (first, *_) = found
    assert first is not None
    assert (first.first, first.last) == (pytest.approx(1, abs=0.05), pytest.approx(1.3, abs=0.05))
    expected_s, earliest_s, latest_s = first.reached_s(1.6)
    assert expected_s == pytest.approx(2 * 60 * STEPS, rel=0.25)
    assert earliest_s is not None
    assert latest_s is not None
    assert earliest_s < expected_s < latest_s
    assert first.reached_s(1.0) == (first.end_s,) * 3


def test_few_or_equal_values_have_no_trend():
    assert trend_of([0.0, 1.0], [1.0, 2.0]) is None
    assert trend_of([0.0, 1.0, 2.0], [1.0, 1.0, 1.0]) is None


def made() -> MadeTraces:
    """Six hours of two processes, of which one leaks; more and more runs of a flow fail, and of another are retried."""
    rand, traces = random.Random(1), MadeTraces()
    for minute in range(360):
        for instance in ("leaking", "well"):
            grown = minute / 360 if instance == "leaking" else 0.0
            memory = int((1 + grown + rand.gauss(0, 0.02)) * GIB)
            attributes = {"langflow.flow.process.memory.peak": memory}
            for flow in ("calm", "failing", "retried"):
                failed = flow == "failing" and rand.random() < 0.6 * minute / 360
                status = "error" if failed else "ok"
                columns = {"flow": flow, "instance": instance, "attributes": attributes, "status": status}
                run = traces.run(1.0, at_s=60.0 * minute + rand.random(), **columns)
                if flow == "retried" and rand.random() < 0.8 * minute / 360:
                    run.add("chat m", 0.1, 0.5, what="model", retries=2)
    return traces


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made().write(tmp_path_factory.mktemp("made") / "spans.jsonl")


def test_each_risk_is_found_where_it_is():
    risks = find_risks(made().connect())

    found: dict[tuple[str, str], Risk] = {(each.kind, each.subject): each for each in risks.found}
    assert set(found) == {("memory", "leaking"), ("errors", "failing"), ("retries", "retried")}
    leak = found["memory", "leaking"].trend
    assert leak.slope * 3600 == pytest.approx(GIB / 6, rel=0.1)
    assert leak.low < GIB / 6 / 3600 < leak.high
    assert found["errors", "failing"].trend.last == pytest.approx(0.6, abs=0.15)
    assert {each.grows_for_s for each in found.values()} == {each.age_s for each in found.values()}
    assert (risks.compared, risks.too_short) == (8, 0)


def test_process_that_began_to_leak_late_says_for_how_long():
    rand, traces = random.Random(1), MadeTraces()
    for minute in range(360):
        memory = int((1 + max(0.0, minute / 180 - 1) + rand.gauss(0, 0.02)) * GIB)
        traces.run(1.0, at_s=60.0 * minute, attributes={"langflow.flow.process.memory.peak": memory})

    (risk,) = find_risks(traces.connect()).found

    assert risk.grows_for_s / 3600 == pytest.approx(3, abs=0.5)
    assert risk.age_s / 3600 == pytest.approx(6, abs=0.1)
    assert risk.trend.slope * 3600 == pytest.approx(GIB / 3, rel=0.1)


def run(*arguments: str | Path, code: int = 0) -> Result:
    result = CliRunner().invoke(app, ["forecast", "--risk", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result


def test_command_says_when_memory_is_full(path: Path):
    shown = run(path, "--limit", "memory=3GiB").stdout
    (row,) = (line for line in shown.splitlines() if line.startswith(" memory "))

    assert "3 risks  of 8 curves" in shown
    assert "leaking" in row
    assert "MiB/h" in row
    assert "The memory of leaking reaches 3.0 GiB: 2027-01-15 " in shown
    found = json.loads(run(path, "--limit", "memory=3GiB", "--json").stdout)
    (leak,) = (each for each in found["found"] if each["kind"] == "memory")
    assert leak["reaches"]["expected_s"] == pytest.approx(START_NS / 1e9 + 12 * 3600, abs=3600)


def test_short_history_is_said(tmp_path: Path):
    traces = MadeTraces()
    traces.run(1.0, attributes={"langflow.flow.process.memory.peak": 1})
    result = run(traces.write(tmp_path / "spans.jsonl"), code=2)

    assert "0 risks  of 0 curves" in result.stdout
    assert "3 more are known for too short a time" in result.stdout
    assert "too short a history to say what grows" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--limit", "runs=3"], "--risk of trace files takes a limit of memory, and no other: --prometheus knows more"),
        (
            ["--limit", "queue=3"],
            "--risk of trace files takes a limit of memory, and no other: --prometheus knows more",
        ),
        (["--history", "2"], "--history is for --prometheus: of trace files all is looked at"),
        (["--prometheus", "http://localhost:9"], "--prometheus takes no files, and forecasts all flows together"),
    ],
)
def test_wrong_use_is_one_line(path: Path, arguments: list[str], message: str):
    assert run(path, *arguments, code=2).stderr == f"langflow-otel: {message}\n"

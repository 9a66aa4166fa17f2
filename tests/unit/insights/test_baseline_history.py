"""``langflow-otel baseline history``: what changed for good, since when, and what it says where it cannot tell."""

from __future__ import annotations

import json
import random
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ruptures", reason="pip install 'langflow-otel[forecast]'")

from langflow_otel.insights._baselines.baselines import Baseline, Entry, save
from langflow_otel.insights._baselines.history import Began, FigureHistory, Step, history
from langflow_otel.insights.prometheus_source import NoSeriesError, PrometheusSource
from tests.support.made_spans import MadeTraces
from tests.support.recording import LONG
from tests.unit.cli.test_baseline import cli
from tests.unit.insights.test_baseline_comparison import measured

DAY_NS = 86_400 * 10**9
COMPONENTS = ("Prompt", "LLM", "Parser", "Tool")


def made_steps(
    rand: random.Random,
    steps: int,
    *,
    since: int | None = None,
    slower: float = 1.0,
    tokens: float = 1.0,
    failing: float = 0.02,
    together: float = 0.02,
    linked: float = 0.0,
    count: int = 200,
) -> list[Step]:
    """Of a flow with four components; from the day ``since`` on its LLM is slower.

    Args:
        failing: Share of runs that fail, from then on.
        together: By how much days differ, all components alike.
        linked: How much a day is like the one before.
    """
    found, common = [], 0.0
    for step in range(steps):
        common = linked * common + (1 - linked**2) ** 0.5 * rand.gauss(0, together)
        is_late = since is not None and step >= since
        entries = []
        for name in (None, *COMPONENTS):
            is_slow = is_late and name in (None, "LLM")
            level = (1 + common) * (slower if is_slow else 1.0)
            figures = {
                f"duration.{statistic}": base * level * rand.lognormvariate(0, spread)
                for statistic, base, spread in (("p50", 1.0, 0.02), ("p95", 2.0, 0.06), ("p99", 3.0, 0.1))
            }
            share = failing if is_slow else 0.02
            figures["error_rate"] = sum(rand.random() < share for _ in range(count)) / count
            if name in (None, "LLM"):
                figures["input_tokens"] = 900 * rand.lognormvariate(0, 0.05)
                figures["output_tokens"] = 150 * rand.lognormvariate(0, 0.05) * (tokens if is_late else 1.0)
            version = ("v2" if is_late else "v1",) if name is None else ()
            code = (("new" if is_late else "old") if name == "LLM" else "same",) if name else ()
            entries.append(
                Entry("shop", name and f"{name}-1", name or "shop", name, count, version, code, figures=figures)
            )
        at_ns = step * DAY_NS
        found.append(Step(f"day {step:02}", Baseline("traces", at_ns, at_ns + DAY_NS - 1, tuple(entries))))
    return found


def changed(figures: tuple[FigureHistory, ...]) -> dict[tuple[str, str, str], str]:
    return {(each.name, each.measured, each.statistic): each.changes[-1].since for each in figures if each.changes}


def test_change_is_found_with_what_was_new_then():
    found = history(made_steps(random.Random(1), 40, since=30, slower=1.3, tokens=1.5, failing=0.2))

    places = changed(found.figures)
    assert {("LLM", "duration", "p50"), ("shop", "duration", "p50"), ("LLM", "output_tokens", "mean")} <= set(places)
    assert {("shop", "failed", "rate"), ("LLM", "failed", "rate")} <= set(places)
    assert {name for name, _, _ in places} == {"LLM", "shop"}
    llm = next(each for each in found.figures if (each.name, each.statistic) == ("LLM", "p50")).changes[0]
    assert (llm.since, llm.until, llm.steps_before, llm.steps_after) == ("day 30", None, 30, 10)
    assert llm.earliest <= "day 30" <= llm.latest
    assert llm.relative == pytest.approx(0.3, abs=0.05)
    assert llm.low < 0.3 < llm.high
    assert llm.since_ns == 30 * DAY_NS
    assert llm.began == (Began("day 30", "version", "shop", "v2"), Began("day 30", "code", "LLM", "new"))
    assert (found.judged, len(found.steps)) == (len(found.figures), 40)


def test_change_that_is_too_small_is_left_out():
    steps = made_steps(random.Random(1), 40, since=20, slower=1.3)

    assert changed(history(steps, over=0.5).figures) == {}


def test_durations_below_a_millisecond_are_left_out():
    steps = made_steps(random.Random(1), 40, since=20, slower=1.3)
    short = [
        replace(step, baseline=replace(step.baseline, entries=tuple(
            replace(entry, figures={name: value / 1e4 for name, value in entry.figures.items()})
            for entry in step.baseline.entries
        )))
        for step in steps
    ]  # fmt: skip

    assert {measured for _, measured, _ in changed(history(short).figures)} <= {"failed"}


def test_new_component_is_said_without_its_code():
    steps = made_steps(random.Random(2), 40, since=30, slower=1.4)
    entry = Entry("shop", "Cache-1", "Cache", "Cache", 200, (), ("abc",), ("m",), {"duration.p50": 0.1})
    steps = [
        replace(step, baseline=replace(step.baseline, entries=(*step.baseline.entries, entry))) if place >= 30 else step
        for place, step in enumerate(steps)
    ]

    (llm,) = next(each for each in history(steps).figures if (each.name, each.statistic) == ("LLM", "p50")).changes

    assert [each.what for each in llm.began if each.name == "Cache"] == ["component"]


def test_steps_with_few_runs_have_no_value():
    found = history(made_steps(random.Random(3), 12, count=15))

    assert {each.statistic for each in found.figures} == {"p50", "rate", "mean"}


def test_too_short_a_history_judges_nothing():
    found = history(made_steps(random.Random(4), 8, since=4, slower=2.0))

    assert found.judged == 0
    assert found.needed > 8
    assert history(made_steps(random.Random(4), found.needed, since=found.needed // 2, slower=2.0)).judged > 0


def test_few_figures_need_fewer_steps_beside_many():
    """What is too short costs the other figures nothing."""
    steps = made_steps(random.Random(5), 18, since=9, slower=2.0)
    one = Entry("rare", None, "rare", None, 200, figures={"duration.p50": 1.0})
    steps[-1] = replace(steps[-1], baseline=replace(steps[-1].baseline, entries=(*steps[-1].baseline.entries, one)))

    found = history(steps)

    assert found.judged == len(found.figures) - 1
    assert ("LLM", "duration", "p50") in changed(found.figures)


def write_days(path: Path, days: int, *, since: int, runs: int = 24, versions: bool = False) -> Path:
    """Runs of so many days; from one on the LLM takes longer, has other code, and the flow another version."""
    made, rand = MadeTraces(), random.Random(6)
    for day in range(days):
        slow, version = (1.5, "v-late") if day >= since else (1.0, "v-early")
        for run in range(runs):
            took_s = slow * rand.lognormvariate(0, 0.1)
            version = f"v{day:02}" if versions else version
            one = made.run(took_s + 0.1, at_s=day * 86_400 + run * 600, flow_version=version)
            one.add("component Prompt", 0, 0.1 * rand.lognormvariate(0, 0.1), component_type="Prompt")
            one.add("component LLM", 0.1, took_s, component_type="Model", code_hash=version)
    return made.write(path)


@pytest.fixture(scope="module")
def spans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_days(tmp_path_factory.mktemp("history") / "spans.jsonl", 20, since=12)


def test_days_of_a_trace_file(spans):
    result = cli("history", spans)

    lines = result.stdout.splitlines()
    assert "2027-01-15 to 2027-02-03" in lines[1]
    row = next(line for line in lines if line.startswith(" LLM") and "P50" in line)
    assert "2027-01-27" in row
    assert "New on 2027-01-27: version v-late, LLM: code v-late" in result.stdout
    assert not any(line.startswith(" Prompt") for line in lines)
    assert "figures changed for good by 5 % or more, in 20 steps" in result.stdout
    assert "have too short a history: 20 days" not in result.stdout


def test_json_has_every_value(spans):
    found = json.loads(cli("history", spans, "--json").stdout)

    (llm,) = (each for each in found["figures"] if (each["name"], each["statistic"]) == ("LLM", "p50"))
    assert len(llm["values"]) == len(llm["steps"]) == 20
    (change,) = llm["changes"]
    assert change["since"] == "2027-01-27"
    assert change["relative"] == pytest.approx(0.5, abs=0.1)
    assert change["low"] < change["shift"] < change["high"]
    assert change["adjusted_p"] < 0.05
    assert found["judged"] == sum(not each["is_too_short"] for each in found["figures"])


def test_versions_of_a_trace_file(tmp_path):
    path = write_days(tmp_path / "spans.jsonl", 20, since=12, versions=True)

    result = cli("history", path, "--by", "version", "--flow", "shop")

    assert "20 steps, v00 to v19" in result.stdout
    assert next(line for line in result.stdout.splitlines() if line.startswith(" LLM")).split()[3] == "v12"


def test_baselines_that_were_saved(tmp_path):
    for number, step in enumerate(made_steps(random.Random(7), 20, since=10, slower=1.6)):
        save(step.baseline, tmp_path / f"{20 - number}.json")

    result = cli("history", *sorted(tmp_path.glob("*.json")))

    assert "20 steps, 1970-01-01 20.json to 1970-01-20 1.json" in result.stdout
    assert "1970-01-11 10.json" in result.stdout


def test_days_of_a_prometheus(monkeypatch):
    asked: list[float] = []

    def of_day(*_: Any, at_s: float, **__: Any) -> Any:
        asked.append(at_s)
        if len(asked) == 1:
            raise NoSeriesError("none")
        return measured(slow=0.5 if len(asked) < 10 else 2.0)

    monkeypatch.setattr(PrometheusSource, "measured", of_day)

    result = cli("history", "--prometheus", "http://localhost:9090", "--since", "20d")

    assert "19 steps" in result.stdout
    assert {at_s % 86_400 for at_s in asked} == {0}
    assert "duration P50" in result.stdout


def test_too_short_a_history_is_one_line(tmp_path):
    path = write_days(tmp_path / "spans.jsonl", 6, since=3)

    result = cli("history", path, code=2)

    assert "too short a history: 6 steps with enough runs (a day, a version or a baseline each), and 1" in result.stderr
    assert result.stdout == ""


def test_without_the_extra_it_says_what_to_install(spans, monkeypatch):
    monkeypatch.setitem(sys.modules, "ruptures", None)
    for name in ("_baselines.history", "_statistics.level_shifts"):
        monkeypatch.delitem(sys.modules, f"langflow_otel.insights.{name}")
    monkeypatch.delitem(sys.modules, "langflow_otel.cli.baseline.history", raising=False)

    assert "ruptures is not installed; this needs: pip install" in cli("history", spans, code=2).stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["{spans}", "--by", "week"], "--by week: day and version are accepted"),
        (["{spans}", "--at-least", "x"], "--at-least x: a percentage"),
        (["{spans}", "--flow", "none"], "--flow none: no run of it"),
        (["{spans}", "--since", "1d"], "no run of the last 1d is in these files"),
        (["{spans}", "{baseline}"], "is no baseline, and others are"),
        (["{baseline}", "--by", "version"], "--by and --since are for trace files"),
        (["{baseline}", "--flow", "none"], "it is in none of these baselines"),
        (["{baseline}", "{histograms}"], "some of these baselines are from traces, others from a Prometheus"),
        (["--prometheus", "http://localhost:1"], "--prometheus needs --since"),
        (["--prometheus", "http://localhost:1", "--since", "9d", "--by", "version"], "metrics do not have the version"),
        (["{spans}", "--prometheus", "http://localhost:1", "--since", "9d"], "--prometheus takes no files"),
    ],
)
def test_wrong_use_is_one_line(spans, tmp_path, monkeypatch, arguments, said):
    monkeypatch.setattr("time.time_ns", lambda: 19 * 10**17)
    (step,) = made_steps(random.Random(1), 1)
    save(step.baseline, tmp_path / "baseline.json")
    save(replace(step.baseline, source="prometheus"), tmp_path / "histograms.json")
    names = {"spans": spans, "baseline": tmp_path / "baseline.json", "histograms": tmp_path / "histograms.json"}

    result = cli("history", *(each.format(**names) for each in arguments), code=2)

    assert said in result.stderr
    assert "Traceback" not in result.stderr


UNCHANGED = {
    "days alike": {},
    "days that differ by 10 %, all components together": {"together": 0.1},
    "days that are a little like the one before": {"together": 0.1, "linked": 0.3},
    "days that are much like the one before": {"together": 0.1, "linked": 0.6},
}
ALLOWED = {"days that are much like the one before": 0.15}


@pytest.mark.slow
@pytest.mark.any_version
@pytest.mark.parametrize("days", [21, 60])
@pytest.mark.parametrize("name", UNCHANGED)
def test_unchanged_histories_seldom_have_a_change(name, days):
    """Any of their 24 figures."""
    rand, times = random.Random(name), 100 if LONG else 30

    alarms = sum(
        bool(changed(history(made_steps(rand, days, **UNCHANGED[name]), over=0).figures)) for _ in range(times)
    )

    print(f"{name}, {days} days: {alarms} of {times} with a false alarm")
    assert alarms <= ALLOWED.get(name, 0.08) * times


POWER = {"10 %": 1.1, "20 %": 1.2, "50 %": 1.5}


@pytest.mark.slow
@pytest.mark.any_version
@pytest.mark.parametrize("days_after", [5, 7, 14])
@pytest.mark.parametrize("name", POWER)
def test_changes_are_found(name, days_after):
    """Of 35 days, which differ by 5 %: the LLM's median duration."""
    rand, times, found, right = random.Random(name), 60 if LONG else 20, 0, 0
    for _ in range(times):
        steps = made_steps(rand, 35, since=35 - days_after, slower=POWER[name], together=0.05)
        figures = history(steps).figures
        (llm,) = (each for each in figures if (each.name, each.measured, each.statistic) == ("LLM", "duration", "p50"))
        found += bool(llm.changes)
        right += any(each.earliest <= f"day {35 - days_after:02}" <= each.latest for each in llm.changes)
    print(f"{name} longer since {days_after} days: found in {found} of {times}, at the right time in {right}")
    assert found - right <= 1 + 0.1 * found
    if name != "10 %":
        assert found >= times * {5: 0.2, 7: 0.5, 14: 0.85}[days_after]

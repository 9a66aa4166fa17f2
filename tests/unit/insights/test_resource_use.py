"""Which attribute goes with the use of time, CPU and memory, on runs of which it is known."""

from __future__ import annotations

import csv
import io
import json
import math
import random
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

pytest.importorskip("numpy", reason="pip install 'langflow-otel[forecast]'")

import numpy as np

from langflow_otel.cli.main import app
from langflow_otel.insights._statistics import robust_regression
from langflow_otel.insights._statistics.robust_regression import independent, regression
from langflow_otel.insights._usage.resource_use import Effect, Resource, use_of
from tests.support.made_spans import MadeTraces
from tests.support.made_use import MIB, Facts, made_runs
from tests.support.recording import LONG

HISTORIES = 100 if LONG else 40


def use(seed: int, count: int = 300, **options: Any) -> dict[str, Resource]:
    runs = made_runs(seed, count, **options)
    return {each.name: each for each in use_of(runs, [True] * len(runs))}


def effect(resource: Resource, attribute: str, value: str = "") -> Effect:
    return next(each for each in resource.effects if (each.attribute, each.value) == (attribute, value))


def certain(resource: Resource) -> set[tuple[str, str]]:
    return {(each.attribute, each.value) for each in resource.effects if each.is_certain}


def cpu_s(facts: Facts) -> float:
    return 0.4 * (facts["model"] == "b") + 0.05 * facts["documents"]


def memory(facts: Facts) -> float:
    return 60 * MIB * (facts["tier"] == "paid")


def time_s(facts: Facts) -> float:
    return 0.002 * facts["tokens"] + 1.5 * (facts["user.id"] == "user 3")


@pytest.mark.parametrize("at_once", [0.3, 1.0])
def test_planted_effects_are_found_though_runs_share_them(at_once: float):
    found = use(1, cpu_s=cpu_s, memory=memory, time_s=time_s, at_once=at_once)

    assert certain(found["cpu"]) == {("model", "b"), ("documents", "")}
    assert certain(found["memory"]) == {("tier", "paid")}
    assert certain(found["time"]) == {("tokens", ""), ("user.id", "user 3")}
    model, documents = effect(found["cpu"], "model", "b"), effect(found["cpu"], "documents")
    assert model.amount == pytest.approx(0.4, rel=0.1)
    assert documents.high is not None
    assert documents.low is not None
    assert documents.amount == pytest.approx(0.05 * (documents.high - documents.low), rel=0.1)
    assert documents.amount_low < documents.amount < documents.amount_high
    assert (model.instead, documents.low, documents.high) == ("a", pytest.approx(2, abs=1), pytest.approx(19, abs=1))
    assert found["time"].typical == pytest.approx(3.4, abs=0.4)


def test_process_and_its_age_are_no_attributes():
    """The hosts are the processes, and memory wanders by more than a run uses; what is old changed once."""
    found = use(2, drift=15.0)

    for resource in found.values():
        assert {"host = one", "host = two"} & set(resource.not_told_apart)
        assert certain(resource) == set()


def test_runs_with_unknown_neighbours_are_left_out_where_it_matters():
    found = use(3, known=0.6, at_once=1.0)

    assert found["time"].shared == 0
    assert found["cpu"].shared == found["memory"].shared > 20
    assert found["cpu"].runs + found["cpu"].shared == found["time"].runs


def test_few_runs_say_nothing():
    found = use(4, count=50)

    assert {each.problem for each in found.values()} == {"50 runs that can be judged, and 60 are needed"}
    assert all(not each.effects for each in found.values())


def test_failed_runs_are_not_judged_and_still_neighbours():
    runs = made_runs(5, 240, cpu_s=cpu_s)
    chosen = [place % 2 == 0 for place in range(len(runs))]
    (_, cpu, _) = use_of(runs, chosen)

    assert (cpu.runs, cpu.shared) == (120, 0)
    assert ("model", "b") in certain(cpu)


def test_same_attribute_in_other_units_is_one():
    runs = made_runs(6, 120)
    for run in runs:
        run.facts["documents in dozens"] = run.facts["documents"] / 12  # type: ignore[operator]
    (time, _, _) = use_of(runs, [True] * len(runs))

    assert effect(time, "documents").also == ("documents in dozens",)


def test_standard_errors_of_independent_runs_are_hc2(monkeypatch: pytest.MonkeyPatch):
    """Without limit on residuals, and with a cluster for each run, CR2 is HC2 (MacKinnon and White, 1985)."""
    monkeypatch.setattr(robust_regression, "HUBER", 1e9)
    rand = np.random.default_rng(1)
    columns = np.column_stack([np.ones(200), rand.normal(size=200), rand.random(200) < 0.1]).astype(float)
    outcome = columns @ [1, 2, 3] + rand.normal(size=200) * (1 + columns[:, 2])

    found = regression(columns, outcome, np.zeros(200), [np.arange(200)], [[0, 1, 2]])

    inverse = np.linalg.inv(columns.T @ columns)
    beta = inverse @ columns.T @ outcome
    leverage = np.sum(columns @ inverse * columns, axis=1)
    squares = (outcome - columns @ beta) ** 2 / (1 - leverage)
    errors = np.sqrt(np.diag(inverse @ (columns.T * squares) @ columns @ inverse))
    for place, each in found.items():
        assert each.value == pytest.approx(beta[place])
        # Student's t of 36 to 170 degrees of freedom.
        assert 1.97 < (each.high - each.value) / errors[place] < 2.04


def test_column_that_others_determine_is_dropped():
    rand = np.random.default_rng(2)
    columns = rand.normal(size=(50, 3))
    columns = np.column_stack([columns, columns[:, 0] - 2 * columns[:, 2], np.zeros(50)])

    assert independent(columns) == [0, 1, 2]


def test_level_of_few_clusters_has_few_degrees_of_freedom():
    """Three of 30 clusters have it: 3 degrees at most, and not the 600 of independent runs."""
    rand = np.random.default_rng(3)
    clusters = np.repeat(np.arange(30), 20)
    columns = np.column_stack([np.ones(600), (clusters < 3).astype(float)])
    outcome = rand.normal(size=30)[clusters] + rand.normal(size=600)

    found = regression(columns, outcome, np.zeros(600), [clusters, np.arange(600)], [[1], [1]])

    assert found[1].degrees < 4


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"session_spread": 1.0},
        {"drift": 5.0},
        {"at_once": 2.0, "count": 600},
        {"at_once": 1.0, "known": 0.7},
    ],
    ids=str,
)
def test_equal_data_seldom_have_a_finding(options: dict[str, Any]):
    """Of histories in which nothing has an effect, about forty comparisons each."""
    claims = 0
    for seed in range(HISTORIES):
        found = use(seed, **options)
        claims += any(each.is_certain for resource in found.values() for each in resource.effects)
    print(f"{options}: {claims} of {HISTORIES} claim something")

    assert claims <= 0.05 * HISTORIES


@pytest.mark.slow
@pytest.mark.parametrize(("at_once", "count"), [(0.3, 300), (1.0, 300), (3.0, 1000)])
def test_intervals_hold_the_truth_and_effects_are_found(at_once: float, count: int):
    held: dict[str, int] = {}
    seen: dict[str, int] = {}
    for seed in range(HISTORIES):
        found = use(seed, count, cpu_s=cpu_s, memory=memory, time_s=time_s, at_once=at_once)
        documents = effect(found["cpu"], "documents")
        step = (documents.high or 0) - (documents.low or 0)
        truths = {
            "model": (effect(found["cpu"], "model", "b"), 0.4),
            "documents": (documents, 0.05 * step),
            "tier": (effect(found["memory"], "tier", "paid"), 60 * MIB),
            "user 3": (effect(found["time"], "user.id", "user 3"), 1.5),
        }
        for name, (each, true) in truths.items():
            held[name] = held.get(name, 0) + (each.amount_low <= true <= each.amount_high)
            seen[name] = seen.get(name, 0) + each.is_certain
    print(f"at once {at_once}: held {held}, found {seen}")

    # Of intervals that hold 95 %, one in a thousand of these counts is lower by more: 88 of 100, or 34 of 40.
    least = HISTORIES * 0.95 - 3.3 * math.sqrt(HISTORIES * 0.95 * 0.05)
    assert all(count >= least for count in held.values()), held


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two flows; version v2 of shop takes a second longer, and runs that call the model b use 0.3 s more CPU."""
    rand, made = random.Random(7), MadeTraces()
    for number in range(240):
        flow = "shop" if number % 2 else "news"
        version, model = rand.choice(("v1", "v2")), rand.choice(("a", "b"))
        duration_s = 2 + (flow == "shop" and version == "v2") + rand.gauss(0, 0.2)
        attributes = {
            "langflow.flow.process.cpu.time": 0.5 + 0.3 * (model == "b") + rand.gauss(0, 0.02),
            "langflow.flow.process.memory.peak": int((500 + rand.gauss(0, 5)) * MIB),
            "langflow.flow.active.peak": 1,
        }
        run = made.run(duration_s, flow=flow, flow_version=version, attributes=attributes)
        run.add(f"chat {model}", 0, 0.5, what="model", model=model, provider=f"provider of {model}")
    return made.write(tmp_path_factory.mktemp("made") / "spans.jsonl")


def cli(*arguments: object, code: int = 0) -> Any:
    result = CliRunner().invoke(app, ["usage", "--resources", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result


def test_command_shows_what_is_certain(path: Path):
    shown = cli(path).stdout
    time, cpu, memory = _blocks(shown)

    assert "shop: langflow.flow.version = v" in time
    assert "+1.0" in time or "-1.0" in time or "0.9" in time
    assert "gen_ai.request.model = " in cpu
    assert "gen_ai.provider.name)" in cpu
    assert "gen_ai.request.model" not in memory
    assert "without a difference that chance does not explain" in memory


def _blocks(shown: str) -> list[str]:
    starts = [shown.index(each) for each in ("Time of a run", "CPU time, of", "Memory, the highest")]
    return [shown[start:end] for start, end in zip(starts, [*starts[1:], len(shown)], strict=True)]


def test_json_and_csv_have_every_attribute(path: Path):
    found = {each["name"]: each for each in json.loads(cli(path, "--json").stdout)["resources"]}
    table = list(csv.DictReader(io.StringIO(cli(path, "--csv").stdout)))

    (version,) = (each for each in found["time"]["effects"] if each["attribute"] == "shop: langflow.flow.version")
    sign = 1 if version["value"] == "v2" else -1
    assert sign * version["amount"] == pytest.approx(1.0, abs=0.15)
    assert version["p_value"] < 0.01
    assert len(table) == sum(len(each["effects"]) for each in found.values())
    assert {row["resource"] for row in table} == {"time", "cpu", "memory"}


def test_one_flow_is_judged_alone(path: Path):
    found = {each["name"]: each for each in json.loads(cli(path, "--flow", "news", "--json").stdout)["resources"]}

    assert {each["runs"] for each in found.values()} == {120}
    assert [each["attribute"] for each in found["time"]["effects"] if each["p_value"] < 0.01] == []
    assert [each["attribute"] for each in found["cpu"]["effects"] if each["p_value"] < 0.01] == ["gen_ai.request.model"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--budget", "5"], "--resources takes no --budget"),
        (["--idle", "5"], "--resources takes no --idle"),
        (["--flow", "none"], "none"),
    ],
)
def test_wrong_use_is_one_line(path: Path, arguments: list[str], said: str):
    assert said in cli(path, *arguments, code=2).stderr


def test_short_history_is_said(tmp_path: Path):
    made = MadeTraces()
    for _ in range(5):
        made.run(1.0)
    result = cli(made.write(tmp_path / "spans.jsonl"), code=2)

    assert "Nothing can be said: 5 runs that can be judged, and 60 are needed." in result.stdout
    assert "there are too few runs to say anything" in result.stderr

"""``langflow-otel baseline``: what it prints, and when a deployment is stopped."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from langflow_otel.cli.main import app
from langflow_otel.insights.prometheus_source import PrometheusSource
from tests.support.made_spans import MadeTraces
from tests.unit.insights.test_baseline_comparison import measured


@pytest.fixture(autouse=True)
def no_default_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LANGFLOW_OTEL_TRACE_FILE", raising=False)


def add_runs(made: MadeTraces, runs: int, *, seed: int, llm_s: float = 1.0, version: str = "v1", **code: str) -> None:
    """With a prompt and a model, a minute apart."""
    rand = random.Random(seed)
    for _ in range(runs):
        prompt_s, took_s = 0.1 * rand.lognormvariate(0, 0.2), llm_s * rand.lognormvariate(0, 0.2)
        run = made.run(prompt_s + took_s, flow_version=version)
        run.add("component Prompt", 0, prompt_s, component_type="Prompt")
        run.add("component LLM", prompt_s, took_s, component_type="Model", **code)


def file_of(path: Path, runs: int = 120, *, seed: int, **options: Any) -> Path:
    """A trace file, whose traces are not those of one with another seed."""
    made = MadeTraces()
    add_runs(made, runs, seed=seed, **options)
    return with_ids(made, seed).write(path)


def with_ids(made: MadeTraces, seed: int) -> MadeTraces:
    for row in made.rows:
        row["trace_id"] = f"{seed:08x}{row['trace_id'][8:]}"
    return made


def cli(*arguments: object, code: int = 0) -> Any:
    result = CliRunner().invoke(app, ["baseline", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A baseline, and files to compare with it: one that is equal, one with a slow model, a faster one."""
    folder = tmp_path_factory.mktemp("baseline")
    found = {
        "before": file_of(folder / "before.jsonl", seed=1),
        "equal": file_of(folder / "equal.jsonl", seed=2),
        "slow": file_of(folder / "slow.jsonl", seed=3, llm_s=1.5, version="v2", code_hash="f00d"),
        "fast": file_of(folder / "fast.jsonl", seed=4, llm_s=0.5),
        "baseline": folder / "baseline.json",
    }
    CliRunner().invoke(app, ["baseline", "save", str(found["before"]), "-o", str(found["baseline"])])
    return found


def test_save_says_what_is_in_it(files, tmp_path):
    result = cli("save", files["before"], "-o", tmp_path / "own.json", "--flow", "shop", "--version", "v1")

    assert result.stderr == f"{tmp_path / 'own.json'}: 120 runs of 1 flow with 2 components\n"
    assert json.loads((tmp_path / "own.json").read_text())["format"] == "langflow-otel baseline"


def test_equal_runs_pass(files):
    result = cli("compare", files["baseline"], files["equal"])

    assert "Nothing is worse by more than 10 %, as far as chance does not explain it." in result.stdout
    assert "0 worse, 0 better" in result.stdout
    assert "120 runs before, 120 now; version v1 to v1" in result.stdout


def test_what_few_runs_may_hide_is_said(files):
    result = cli("compare", files["baseline"], files["equal"], "--fail-over", "1%")

    assert "by its interval, the median duration may be longer by up to shop (+" in result.stdout
    assert "cannot exclude" not in cli("compare", files["baseline"], files["equal"], "--fail-over", "50%").stdout


def test_slow_component_stops_the_deployment(files):
    result = cli("compare", files["baseline"], files["slow"], code=1)

    assert "Worse by more than 10 %: shop duration P50" in result.stdout
    assert "shop: LLM duration P50" in result.stdout
    assert "Prompt" not in result.stdout
    assert "the whole run   duration P50   1." in result.stdout
    assert "Prompt" in cli("compare", files["baseline"], files["slow"], "--all", code=1).stdout


def test_limit_lets_it_pass(files):
    assert (
        "Nothing is worse by more than 80 %"
        in cli("compare", files["baseline"], files["slow"], "--fail-over", "80%").stdout
    )


def test_improvement_is_shown_and_passes(files):
    assert "better" in cli("compare", files["baseline"], files["fast"]).stdout


def test_json_has_every_figure(files):
    found = json.loads(cli("compare", files["baseline"], files["slow"], "--json", code=1).stdout)

    (median,) = (
        each
        for each in found["changes"]
        if (each["component_id"], each["measured"], each["statistic"]) == ("LLM-1", "duration", "p50")
    )
    assert median["relative"] == pytest.approx(0.5, abs=0.2)
    assert median["difference"]["low"] > 0.2
    assert (median["verdict"], median["fails"]) == ("worse", True)
    assert {each["verdict"] for each in found["changes"] if each["statistic"] == "p99"} == {"too few"}
    assert (found["failed"], found["fail_over"]) == (len([e for e in found["changes"] if e["fails"]]), 0.1)
    assert found["executions"] == {"shop": [120, 120]}


def test_two_versions_of_one_file(files, tmp_path):
    made = MadeTraces()
    add_runs(made, 100, seed=1, code_hash="aaa")
    add_runs(made, 100, seed=2, llm_s=2.0, version="v2", code_hash="bbb")
    path = made.write(tmp_path / "spans.jsonl")

    result = cli("compare", "--version", "v1", "--version", "v2", path, code=1)

    assert "100 runs before, 100 now; version v1 to v2" in result.stdout
    assert "LLM (Model): other code: aaa before, bbb now" in result.stdout
    assert "shop: LLM duration P50" in result.stdout
    cli("compare", "--version", "v1", "--version", "v9", path, code=2)


def test_runs_of_the_baseline_are_not_compared_with_it(files, tmp_path):
    made = MadeTraces()
    add_runs(made, 60, seed=1)
    path = made.write(tmp_path / "spans.jsonl")
    baseline = tmp_path / "baseline.json"
    cli("save", path, "-o", baseline)

    assert "no run newer than the baseline is in these files" in cli("compare", baseline, path, code=2).stderr
    add_runs(made, 80, seed=2)
    result = cli("compare", baseline, made.write(path))
    assert "60 runs before, 80 now" in result.stdout
    assert "only newer ones are compared" in result.stderr


def test_flow_within_another_has_its_components(tmp_path):
    paths = []
    for seed, llm_s in ((1, 1.0), (2, 2.0)):
        made, rand = MadeTraces(), random.Random(seed)
        for _ in range(40):
            took_s = llm_s * rand.lognormvariate(0, 0.1)
            inner = made.run(took_s, flow="outer").add("invoke_workflow inner", 0, took_s, what="flow")
            inner.add("component LLM", 0, took_s)
        paths.append(with_ids(made, seed).write(tmp_path / f"{seed}.jsonl"))
    cli("save", paths[0], "-o", tmp_path / "baseline.json")

    result = cli("compare", tmp_path / "baseline.json", paths[1], code=1)

    assert "inner  within other flows" in result.stdout
    assert "inner: LLM duration P50" in result.stdout


def test_too_few_runs_tell_nothing(files, tmp_path):
    baseline = tmp_path / "baseline.json"
    cli("save", file_of(tmp_path / "few.jsonl", 3, seed=9), "-o", baseline)

    result = cli("compare", baseline, file_of(tmp_path / "slow.jsonl", 3, seed=8, llm_s=9.0), code=2)

    assert "Too few runs to tell anything: P50 needs" in result.stdout
    assert "too few runs to compare" in result.stderr


def test_other_flows_are_said(files, tmp_path):
    made = MadeTraces()
    made.run(1, flow="other")
    other = with_ids(made, 8).write(tmp_path / "other.jsonl")

    result = cli("compare", files["baseline"], other, code=2)
    assert "they have no flow in common: shop before, other now" in result.stderr

    both = cli("compare", files["baseline"], other, files["equal"])
    assert "note: not compared, since not in the baseline: other" in both.stderr
    assert "other" not in cli("compare", files["baseline"], other, files["equal"], "--flow", "shop").stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["compare"], "name the baseline to compare with, or two versions"),
        (["compare", "{before}", "{equal}"], "it is no baseline"),
        (["compare", "nowhere.json", "{equal}"], "nowhere.json cannot be read: No such file"),
        (["compare", "{baseline}", "{equal}", "--fail-over", "much"], "--fail-over much: a percentage from 0"),
        (
            ["compare", "{baseline}", "{equal}", "--flow", "none"],
            "--flow none: no run of it is in these files; there are runs of shop",
        ),
        (["compare", "{baseline}"], "no trace files: name some, or set LANGFLOW_OTEL_TRACE_FILE"),
        (["compare", "--version", "1", "--version", "2", "--version", "3", "{equal}"], "--version can be given twice"),
        (
            ["compare", "{baseline}", "--prometheus", "http://localhost:1"],
            "is from traces, and percentiles of histograms",
        ),
        (["save", "--prometheus", "http://localhost:1"], "--prometheus needs --since"),
        (["save", "--prometheus", "ftp://x", "--since", "1h"], "the address of a Prometheus is a URL"),
        (["save", "{equal}", "-o", "/nowhere/x.json"], "/nowhere/x.json cannot be written: No such file"),
        (["save", "{equal}", "--version", "v9"], "--version v9: no run of it is in these files; there are runs of v1"),
        (["compare", "--version", "v1", "--version", "v9", "{equal}"], "--version v9: no run of it"),
        (["compare", "--version", "v1", "--version", "v1", "{equal}"], "--version v1 is given twice"),
        (["save", "{equal}", "--prometheus", "http://x", "--since", "1h"], "--prometheus takes no trace files"),
        (["save", "--prometheus", "http://x", "--version", "v1"], "metrics do not have the version of a flow"),
    ],
)
def test_wrong_use_is_one_line(files, arguments, said):
    result = cli(*(each.format(**files) for each in arguments), code=2)

    assert said in result.stderr
    assert "Traceback" not in result.stderr


def test_prometheus_gives_a_baseline(tmp_path, monkeypatch):
    found = [measured(), measured(slow=2.0)]
    monkeypatch.setattr(PrometheusSource, "measured", lambda *_, **__: found.pop(0))
    baseline = tmp_path / "baseline.json"
    wanted = ["--prometheus", "http://localhost:9090", "--since", "1h"]

    cli("save", *wanted, "-o", baseline)
    cli("compare", baseline, *wanted, code=2)  # It ends just now.
    document = json.loads(baseline.read_text())
    baseline.write_text(json.dumps({**document, "last_ns": document["last_ns"] - 600 * 10**9}))
    result = cli("compare", baseline, *wanted, "--json", code=1)

    assert "only the time after the baseline is compared" in result.stderr
    (median,) = (
        each
        for each in json.loads(result.stdout)["changes"]
        if (each["component_id"], each["statistic"]) == (None, "p50")
    )
    assert (median["bucket"], median["bucket_after"]) == ([0.5, 1.0], [1.0, 2.5])


def test_names_are_shown_without_control_codes(tmp_path):
    made = MadeTraces()
    for _ in range(2):
        made.run(1, flow="\x1b[31m[bold]evil").add("component \x1b[2J", 0, 1)
    path = made.write(tmp_path / "spans.jsonl")
    baseline = tmp_path / "baseline.json"
    cli("save", path, "-o", baseline)

    shown = cli("compare", baseline, with_ids(made, 7).write(path), "--all", code=2).stdout

    assert "\x1b" not in shown
    assert "[bold]evil" in shown

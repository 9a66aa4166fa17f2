"""``langflow-otel mcp``: what comes, what changed for good, and what a flow will take before it runs."""

from __future__ import annotations

import importlib
import json
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from langflow_otel.cli.main import app
from langflow_otel.cli.mcp.context import Given, Source
from langflow_otel.cli.mcp.toolbox import Toolbox
from langflow_otel.insights._estimates.flow_graph import flow_graph
from langflow_otel.insights.prometheus_source import PrometheusError
from tests.support.made_spans import MadeTraces
from tests.unit.cli.mcp.test_toolbox import CANARY, CONTENT, asked, refused
from tests.unit.insights.test_estimate import line_of
from tests.unit.insights.test_metric_risks import HOUR_S, HOURS, Curve
from tests.unit.insights.test_metric_risks import Source as MadeCurves

DAY_S = 86_400
DAYS = 30


@pytest.fixture(scope="module")
def spans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Days of six runs; from the 18th on the model takes twice as long. Content is in every span."""
    made, rand = MadeTraces(), random.Random(4)
    planted = {name: f"{CANARY} {name}" for name in CONTENT}
    for day in range(DAYS):
        for number in range(6):
            took_s = (2 if day >= 18 else 1) * rand.lognormvariate(0, 0.1)
            version = "v2" if day >= 18 else "v1"
            run = made.run(
                took_s, at_s=day * DAY_S + 600 * number, flow_version=version, input_tokens=100, attributes=planted
            )
            llm = run.add("component LLM", 0, took_s, component_type="LLM", attributes=planted)
            llm.add("chat gpt-a", 0, took_s, what="model", model="gpt-a", input_tokens=100 + day, attributes=planted)
    return made.write(tmp_path_factory.mktemp("outlook") / "spans.jsonl")


@pytest.fixture(scope="module")
def source(spans):
    source = Source([spans], cache_dir=spans.parent / "cache")
    yield source
    source.close()


def growing_disk() -> MadeCurves:
    now_s = time.time()
    points = [(now_s - (HOURS - 1 - hour) * HOUR_S, 0.3 + 0.005 * hour) for hour in range(HOURS)]
    labels = {"instance": "web", "system_filesystem_mountpoint": f"/data {CANARY[:3]}\x1b[31m"}
    return MadeCurves(system_filesystem_utilization_ratio=[Curve(labels, points)])


def with_forecast() -> None:
    pytest.importorskip("statsforecast", reason="pip install 'langflow-otel[forecast]'")
    pytest.importorskip("ruptures", reason="pip install 'langflow-otel[forecast]'")


def test_forecast_says_when_a_limit_is_reached(source):
    with_forecast()
    answer = asked(Toolbox(source), "forecast", days=10, flow="shop", limits={"tokens": 10_000})

    runs, tokens = (each for each in answer["forecasts"] if each["figure"] in ("runs", "tokens"))
    assert [day["day"] for day in runs["days"]][-1] == "2027-02-22"
    assert runs["days"][0]["value"] == 6
    assert tokens["limit"].startswith("The limit of 10,000 is not reached within 10 days")
    assert "it was off by" in tokens["how_good"]
    assert CANARY not in json.dumps(answer)


def test_lasting_changes_are_found(source):
    with_forecast()
    answer = asked(Toolbox(source), "baseline_history", flow="shop")

    llm = next(row for row in answer["changes"]["rows"] if (row["component"], row["figure"]) == ("LLM", "duration P50"))
    assert (llm["since"], llm["relative"] > 0.8) == ("2027-02-02", True)
    assert "shop: version v2" in llm["new_at_that_time"]
    assert "changed for good by 5 % or more, in 30 steps" in answer["summary"]
    assert CANARY not in json.dumps(answer)


def test_flow_is_estimated_only_if_one_was_given(source):
    assert "there is no tool estimate" in refused(Toolbox(source), "estimate", flow="shop")
    toolbox = Toolbox(source, given=Given(flows=[flow_graph(line_of("LLM-1"))]))

    answer = asked(toolbox, "estimate", flow="shop")

    figures = {each["figure"]: each for each in answer["figures"]}
    assert answer["runs_of_this_flow"] == 6 * DAYS
    assert 1 < figures["seconds"]["mean"] < 2
    assert answer["components"]["rows"][0]["executions"] == 6 * DAYS
    assert any("off by" in note for note in answer["notes"])
    assert CANARY not in json.dumps(answer)
    assert refused(toolbox, "estimate", flow="other") == "there is no flow other; there are shop"


def test_metrics_say_what_grows_where_there_are_no_traces(tmp_path):
    """The tool reads no trace file; names that are labels are data."""
    nothing = Source([tmp_path / "none.jsonl"])
    assert "there is no tool risks_of_metrics" in refused(Toolbox(nothing), "risks_of_metrics")

    answer = asked(Toolbox(nothing, given=Given(prometheus=growing_disk())), "risks_of_metrics")  # type: ignore[arg-type]

    (disk,) = answer["rows"]
    assert (disk["what"], disk["unit"]) == ("disk", "share")
    assert disk["slope"] == pytest.approx(0.005, rel=0.01)
    assert disk["full"] > time.strftime("%Y-%m-%d")
    assert "\x1b" not in json.dumps(answer, ensure_ascii=False)


def test_prometheus_that_does_not_answer_is_a_clear_line(tmp_path):
    class Silent:
        def gauge_curves(self, *_: Any) -> Any:
            raise PrometheusError("http://127.0.0.1:1 cannot be reached: nothing listens there")

    toolbox = Toolbox(Source([tmp_path]), given=Given(prometheus=Silent()))  # type: ignore[arg-type]

    said = refused(toolbox, "risks_of_metrics")
    assert said == "http://127.0.0.1:1 cannot be reached: nothing listens there"


@pytest.mark.parametrize(
    ("tool", "arguments", "problem"),
    [
        ("forecast", {"flow": "shop", "limits": {"space": 5}}, "limits: there is no space; there are runs, tokens"),
        ("forecast", {"flow": "shop", "days": 200}, "runs: "),
        ("forecast", {"days": 0}, "days: input should be greater than or equal to 1"),
        ("baseline_history", {"by": "version"}, "too short a history: 2 steps with enough runs"),
        ("baseline_history", {"by": "hour"}, "by: input should be 'day' or 'version'"),
        ("baseline_history", {"flow": "nope"}, "no such run; there are runs of shop"),
    ],
)
def test_wrong_questions_get_a_clear_line(source, tool, arguments, problem):
    with_forecast()
    said = refused(Toolbox(source), tool, **arguments)

    assert said.startswith(problem)
    assert "\n" not in said


@pytest.mark.parametrize(
    ("tool", "package", "module"),
    [
        ("forecast", "statsforecast.models", "langflow_otel.insights._forecasts.forecast"),
        ("baseline_history", "ruptures", "langflow_otel.insights._statistics.level_shifts"),
    ],
)
def test_missing_extra_is_said(source, monkeypatch, tool, package, module):
    monkeypatch.setitem(sys.modules, package, None)
    for name in (module, "langflow_otel.insights._baselines.history", "langflow_otel.cli.baseline.history"):
        monkeypatch.delitem(sys.modules, name, raising=False)

    said = refused(Toolbox(source), tool)

    assert said == (
        f"{package.partition('.')[0]} is not installed where this server runs; it needs: "
        "pip install 'langflow-otel[forecast]'"
    )


def test_what_cannot_be_used_at_start_is_one_line(spans, tmp_path):
    importlib.import_module("langflow_otel.cli.mcp.server")
    no_flow = tmp_path / "flow.json"
    no_flow.write_text("{}")

    flow = CliRunner().invoke(app, ["mcp", str(spans), "--flow", str(no_flow)])
    address = CliRunner().invoke(app, ["mcp", str(spans), "--prometheus", "localhost"])

    assert (flow.exit_code, flow.stderr) == (2, f"langflow-otel: {no_flow}: it is no flow: it has no nodes\n")
    assert (address.exit_code, address.stderr.count("\n")) == (2, 1)
    assert "the address of a Prometheus is a URL" in address.stderr


WITHOUT_FORECAST = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("statsforecast", "ruptures"):
            raise ModuleNotFoundError(name=name)

sys.meta_path.insert(0, Missing())
import langflow_otel.cli.mcp.toolbox
"""


@pytest.mark.slow
@pytest.mark.any_version
def test_server_needs_no_packages_of_forecasts() -> None:
    subprocess.run([sys.executable, "-c", WITHOUT_FORECAST], check=True)

"""The report from a real Prometheus says the same as the one from the trace file of the same runs, where both can."""

from __future__ import annotations

import itertools
import json
import re
import shutil
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from live import HERE, environment, free_port, process

from langflow_otel._metrics import catalogue

pytestmark = [pytest.mark.slow, pytest.mark.any_version]

ROUNDS = 4
SCRAPE = """
scrape_configs:
  - job_name: langflow
    scrape_interval: 1s
    static_configs:
      - targets: ["{}"]
"""


def report(*arguments: str) -> Any:
    command = [sys.executable, "-c", "from langflow_otel.cli.main import main; main()", "report", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def figures(*arguments: str) -> dict[str, Any]:
    done = report(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A Prometheus over a process that has run some flows and waits; and its trace file."""
    if shutil.which("prometheus") is None:
        pytest.skip("Prometheus is not installed: apt-get install prometheus")
    pytest.importorskip("lfx", reason="these are flows on LangFlow's engine: pip install 'langflow-otel[lfx]'")
    folder = tmp_path_factory.mktemp("report")
    scraped, prometheus = (f"127.0.0.1:{free_port()}" for _ in range(2))
    (folder / "prometheus.yml").write_text(SCRAPE.format(scraped))
    command = ["prometheus", f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}"]
    flows = [sys.executable, str(HERE / "flows_process.py"), str(ROUNDS)]
    with (
        process([*command, f"--web.listen-address={prometheus}"], folder / "prometheus.log"),
        process(flows, folder / "flows.log", stdin=subprocess.PIPE, **environment(scraped, folder)),
    ):
        yield f"http://{prometheus}", folder


@pytest.fixture(scope="module")
def both(servers: tuple[str, Path]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The figures from the file and from the Prometheus, when both have every run."""
    url, folder = servers
    deadline_s = time.monotonic() + 300
    while True:
        runs = re.search(r"^runs: (\d+)$", (folder / "flows.log").read_text(), re.MULTILINE)
        if runs is not None:
            answers = [
                report(str(folder / "traces.json"), "--json"),
                report("--prometheus", url, "--since", "1h", "--json"),
            ]
            found = [json.loads(each.stdout) if each.returncode == 0 else {"all": {"runs": 0}} for each in answers]
            if [each["all"]["runs"] for each in found] == [int(runs[1])] * 2:
                return found[0], found[1]
            assert time.monotonic() < deadline_s, ([each["all"] for each in found], runs[0])
        assert time.monotonic() < deadline_s, (folder / "flows.log").read_text()
        time.sleep(1)


def within_a_bucket(of_file: float, of_metrics: float) -> bool:
    bounds = (0.0, *catalogue.FLOW_DURATION.buckets)
    return abs(of_file - of_metrics) <= max(
        upper - lower for lower, upper in itertools.pairwise(bounds) if lower <= max(of_file, of_metrics)
    )


def test_counts_tokens_and_costs_are_the_same(both: tuple[dict[str, Any], dict[str, Any]]) -> None:
    of_file, of_metrics = both

    for name in ("runs", "errors", "cancelled", "input_tokens", "output_tokens"):
        assert of_metrics["all"][name] == of_file["all"][name], name
    assert of_file["all"]["errors"]
    assert of_file["all"]["input_tokens"]
    assert of_metrics["all"]["cost"] == pytest.approx(of_file["all"]["cost"])


def test_flows_are_the_same(both: tuple[dict[str, Any], dict[str, Any]]) -> None:
    of_file, of_metrics = ({each["flow"]: each for each in found["flows"]} for found in both)

    assert set(of_metrics) == set(of_file)
    for flow, figures_of_file in of_file.items():
        for name in ("runs", "errors", "cancelled", "input_tokens", "output_tokens"):
            assert of_metrics[flow][name] == figures_of_file[name], (flow, name)


def test_percentiles_are_within_a_bucket(both: tuple[dict[str, Any], dict[str, Any]]) -> None:
    """Of flows with many runs: between two of few runs that differ much, each way to interpolate finds its own."""
    of_file, of_metrics = ({each["flow"]: each for each in found["flows"]} for found in both)
    many = [flow for flow, found in of_file.items() if found["runs"] >= 20]

    assert many
    for flow in many:
        for name in ("p50_s", "p95_s"):
            assert within_a_bucket(of_file[flow][name], of_metrics[flow][name]), (flow, name)


TYPES = {"Model": "FakeModel", "Router": "ConditionalRouter"}
"""Of components whose ids do not begin with their type."""


def by_type(found: dict[str, Any], name: Any) -> dict[tuple[str, str], dict[str, float]]:
    sums: dict[tuple[str, str], dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for each in found["components"]:
        for column in ("count", "errors", "cached", "skipped", "total_s"):
            sums[each["flow"], name(each)][column] += each[column]
    return sums


def test_components_are_the_same(both: tuple[dict[str, Any], dict[str, Any]]) -> None:
    prefixes = {each["component_id"]: each["component_id"].rpartition("-")[0] for each in both[0]["components"]}
    of_file = by_type(both[0], lambda each: TYPES.get(prefixes[each["component_id"]], prefixes[each["component_id"]]))
    of_metrics = by_type(both[1], lambda each: each["name"])

    assert set(of_metrics) == set(of_file)
    for key, columns in of_file.items():
        for name in ("count", "errors", "cached", "skipped"):
            assert of_metrics[key][name] == columns[name], (key, name)
        assert of_metrics[key]["total_s"] == pytest.approx(columns["total_s"], rel=0.1, abs=0.02), key
    assert any(columns["cached"] for columns in of_file.values())
    assert any(columns["skipped"] for columns in of_file.values())


def test_models_are_the_same(both: tuple[dict[str, Any], dict[str, Any]]) -> None:
    of_file, of_metrics = ({(each["provider"], each["model"]): each for each in found["models"]} for found in both)

    assert set(of_metrics) == set(of_file)
    for key, use in of_file.items():
        for name in ("calls", "errors", "retries", "input_tokens", "output_tokens"):
            assert of_metrics[key][name] == (use[name] or 0), (key, name)
        assert of_metrics[key]["cost"] == pytest.approx(use["cost"] or {}), key


def test_errors_of_components_are_the_same(both: tuple[dict[str, Any], dict[str, Any]]) -> None:
    counts: list[dict[str, int]] = []
    for found in both:
        counts.append(defaultdict(int))
        for each in found["errors"]:
            if each["error_type"] == "TimeoutError":
                counts[-1][each["flow"]] += each["count"]

    assert counts[0] == counts[1]
    assert counts[0]


def test_one_flow_is_the_same(servers: tuple[str, Path], both: tuple[dict[str, Any], dict[str, Any]]) -> None:
    found = figures("--prometheus", servers[0], "--since", "1h", "--flow", "shop")

    (flow,) = found["flows"]
    assert flow == next(each for each in both[1]["flows"] if each["flow"] == "shop")
    assert found["all"]["runs"] == flow["runs"]
    assert {each["flow"] for each in found["components"]} == {"shop"}


def test_page_says_what_metrics_lack(servers: tuple[str, Path], both: object, tmp_path: Path) -> None:
    done = report("--prometheus", servers[0], "--since", "10m", "-o", str(tmp_path / "page.html"))

    assert done.returncode == 0, done.stderr
    page = (tmp_path / "page.html").read_text("utf-8")
    data = json.loads(re.search(r'id="data">(.*?)</script>', page, re.DOTALL)[1])  # type: ignore[index]
    over = data["overview"]["all"]["over"]
    assert sum(over["runs"]) == pytest.approx(both[1]["all"]["runs"], abs=1)  # type: ignore[index]
    assert data["runs"] is None
    assert data["missing"][0][0] == "Single runs."
    assert {"Memory", "Runs at once", "Event loop delay"} <= {each["title"] for each in data["resources"]}


def test_unknown_flow_is_one_line_with_those_that_are_there(servers: tuple[str, Path], both: object) -> None:
    done = report("--prometheus", servers[0], "--flow", "nothing")

    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "has no run of that flow in that time; there are runs of" in line
    assert "shop" in line

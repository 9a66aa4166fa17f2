"""The real Prometheus and VictoriaMetrics as a source, compared with the trace file of the same runs."""

from __future__ import annotations

import itertools
import shutil
import statistics
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from live import Live, fetch, free_port, process

from langflow_otel._metrics import catalogue
from langflow_otel.insights._baselines.baselines import baseline_of_prometheus
from langflow_otel.insights._baselines.comparison import compare
from langflow_otel.insights._report import report_from_metrics
from langflow_otel.insights.components import percentile
from langflow_otel.insights.figures import Figures
from langflow_otel.insights.prometheus_source import (
    GAUGES_OVER_TIME,
    OVER_TIME,
    NoSeriesError,
    PrometheusAccess,
    PrometheusError,
    PrometheusSource,
)
from langflow_otel.insights.resources import resources_from_prometheus
from langflow_otel.insights.trace import TraceSpan, from_file

pytestmark = [pytest.mark.slow, pytest.mark.any_version]

SCRAPED_WITHIN_S = 10.0
"""A run may be in the file so long before it is in the store."""
WINDOW_S = 600.0


@dataclass(frozen=True)
class Asked:
    """A server, and the time of the questions."""

    source: PrometheusSource
    at_s: float


@pytest.fixture(scope="module")
def victoria(live: Live, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asked | None]:
    """VictoriaMetrics, which scrapes the same process by itself; from later on, and with the same counts."""
    if shutil.which("victoria-metrics") is None:
        yield None
        return
    folder: Path = tmp_path_factory.mktemp("victoria")
    target = live.now("langflow_otel_start_time_seconds")[0]["metric"]["instance"]
    config = folder / "scrape.yml"
    job = f"  - job_name: langflow\n    scrape_interval: 1s\n    static_configs:\n      - targets: ['{target}']\n"
    config.write_text(f"scrape_configs:\n{job}")
    address = f"127.0.0.1:{free_port()}"
    command = ["victoria-metrics", f"-httpListenAddr={address}", f"-storageDataPath={folder / 'data'}"]
    command += [f"-promscrape.config={config}", "-search.latencyOffset=0s"]
    source = PrometheusSource(PrometheusAccess(f"http://{address}"))
    with process(command, folder / "store.log"):
        until(lambda: source.figures(WINDOW_S).runs > 0)
        began_s = time.time()
        until(lambda: source.figures(5, at_s=began_s + 10).runs > 0)
        yield Asked(source, began_s + 10)


def until(is_so: Callable[[], bool]) -> None:
    """What cannot be asked yet is not so yet."""
    deadline_s = time.monotonic() + 240
    while time.monotonic() < deadline_s:
        with suppress(PrometheusError):
            if is_so():
                return
        time.sleep(0.5)
    raise AssertionError("nothing was scraped")


@pytest.fixture(params=["prometheus", "victoria-metrics"])
def asked(request: pytest.FixtureRequest, live: Live) -> Asked:
    if request.param == "prometheus":
        return Asked(PrometheusSource(PrometheusAccess.of(live.prometheus, env={})), live.at_s)
    found: Asked | None = request.getfixturevalue("victoria")
    if found is None:
        pytest.skip("VictoriaMetrics is not installed: apt-get install victoria-metrics")
    return found


@pytest.fixture
def found(asked: Asked) -> Figures:
    return asked.source.figures(WINDOW_S, at_s=asked.at_s)


@pytest.fixture
def spans(live: Live, asked: Asked) -> list[TraceSpan]:
    """All that ended before the figures' time: they are written in batches, some seconds later."""
    deadline_s = time.monotonic() + 120
    while True:
        found = [span for span in from_file(live.folder / "traces.json") if span.scope == "langflow_otel"]
        if found and found[-1].end_ns > asked.at_s * 1e9:
            return found
        assert time.monotonic() < deadline_s, "spans are not written any more"
        time.sleep(0.5)


def flows_until(spans: list[TraceSpan], at_s: float) -> dict[str, list[TraceSpan]]:
    flows = defaultdict(list)
    for span in spans:
        if span.name.startswith("invoke_workflow") and span.end_ns <= at_s * 1e9:
            flows[str(span.attributes["langflow.flow.name"])].append(span)
    return flows


def test_runs_and_failures_are_those_of_the_file(found: Figures, spans: list[TraceSpan], asked: Asked) -> None:
    at_least, at_most = (flows_until(spans, asked.at_s - ago_s) for ago_s in (SCRAPED_WITHIN_S, 0))

    assert {flow.flow for flow in found.flows} >= set(at_least)
    for flow in found.flows:
        # VictoriaMetrics and Prometheus alike count the seven that were over before the first scrape.
        assert len(at_least[flow.flow]) - 0.1 <= flow.runs <= len(at_most[flow.flow]) + 0.1, flow
        failed = [Counter(run.status for run in runs[flow.flow])["error"] for runs in (at_least, at_most)]
        assert failed[0] - 0.1 <= flow.failed <= failed[1] + 0.1, flow


def bucket_width(seconds: float) -> float:
    bounds = (0.0, *catalogue.FLOW_DURATION.buckets)
    return next(upper - lower for lower, upper in itertools.pairwise(bounds) if seconds <= upper)


def test_percentiles_are_those_of_the_file(found: Figures, spans: list[TraceSpan], asked: Asked) -> None:
    """Off by a bucket's width at most."""
    at_least, at_most = (flows_until(spans, asked.at_s - ago_s) for ago_s in (SCRAPED_WITHIN_S, 0))
    compared = 0
    for flow in found.flows:
        if len(at_least[flow.flow]) < 20:
            continue
        compared += 1
        for share, percentile_s in ((50, flow.durations.p50_s), (95, flow.durations.p95_s)):
            in_file = [
                statistics.quantiles((run.duration_s for run in runs), n=100, method="inclusive")[share - 1]
                for runs in (at_least[flow.flow], at_most[flow.flow])
            ]
            off_s = bucket_width(max(in_file))
            assert percentile_s is not None
            assert min(in_file) - off_s <= percentile_s <= max(in_file) + off_s, (flow, share, in_file)
    assert compared


def test_components_tokens_and_costs_are_in_it(found: Figures) -> None:
    types = {component.component_type for component in found.components}
    chat = next(model for model in found.models if model.model == "fake-1")

    assert {"Search", "TimesOut", "ChatInput"} <= types
    assert sum(component.share for component in found.components) == pytest.approx(1.0)
    assert chat.calls > 0
    assert chat.input_tokens > 0
    assert {cost.currency for cost in found.costs}
    assert found.workers
    assert all(worker.memory_bytes for worker in found.workers)


def test_baseline_has_the_same_figures(found: Figures, asked: Asked) -> None:
    baseline = baseline_of_prometheus(asked.source.measured(WINDOW_S, at_s=asked.at_s), end_s=asked.at_s)

    flows = {flow.flow: flow for flow in found.flows if flow.runs >= 1}
    assert set(baseline.flows) == set(flows)
    for name, entry in baseline.flows.items():
        median_s = percentile(entry.sample("duration").values, 0.5)
        assert entry.count == pytest.approx(flows[name].runs, abs=0.6)
        assert median_s is not None
        assert median_s == pytest.approx(flows[name].durations.p50_s, abs=bucket_width(median_s))
    assert {entry.component_type for entry in baseline.entries} >= {"Search", "TimesOut", "ChatInput"}
    assert compare(baseline, baseline).failed == ()


def test_one_flow_alone(asked: Asked) -> None:
    found = asked.source.figures(WINDOW_S, at_s=asked.at_s, flow="shop")

    assert [flow.flow for flow in found.flows] == ["shop"]
    assert {component.flow for component in found.components} == {"shop"}


def test_runs_of_a_short_time_are_not_all_runs(asked: Asked, found: Figures) -> None:
    """The process and its series are older than the time: what was before it does not count."""
    short = asked.source.figures(5, at_s=asked.at_s)

    assert 0 < short.runs < found.runs / 2


@pytest.mark.parametrize("name", [*OVER_TIME, *GAUGES_OVER_TIME])
def test_each_curve_has_points(asked: Asked, name: str) -> None:
    curves = asked.source.curve(name, asked.at_s - 60, asked.at_s)

    assert curves
    assert all(curve.points for curve in curves)


def test_report_is_made_of_the_same(asked: Asked, found: Figures) -> None:
    """Of both servers; see test_report.py for what is in it."""
    report = report_from_metrics(asked.source, WINDOW_S, at_s=asked.at_s)
    over = report.data["overview"]["all"]["over"]

    assert report.figures["all"]["runs"] == round(found.runs)
    # What was over before the first scrape is in the whole time, since the process began in it, and in no step.
    assert 0 < sum(over["runs"]) <= found.runs * 1.01
    assert 0 < sum(over["errors"]) <= found.failed * 1.01
    assert {each["error_type"] for each in report.figures["errors"]} >= {"TimeoutError"}
    for curve in report.data["resources"]:
        assert any(value is not None for value in curve["over"]["median"]), curve["title"]


def test_resources_are_known_over_time(asked: Asked) -> None:
    points = resources_from_prometheus(asked.source, int((asked.at_s - 60) * 1e9), int(asked.at_s * 1e9))

    assert any(point.cpu for point in points)
    assert any(point.memory for point in points)
    assert [point.time_ns for point in points] == sorted(point.time_ns for point in points)


def test_a_time_without_langflow_is_one_line(asked: Asked) -> None:
    with pytest.raises(NoSeriesError, match="has no series of langflow-otel"):
        asked.source.figures(60, at_s=asked.at_s - 30 * 86400)


def test_top_shows_it(live: Live) -> None:
    command = ["langflow-otel", "top", "--once", "--prometheus", live.prometheus, "--window", "600"]
    done = subprocess.run(
        [sys.executable, "-c", "from langflow_otel.cli.main import main; main()", *command[1:]],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    assert "shop" in done.stdout
    assert "Search" in done.stdout


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An empty store that wants user and password."""
    if shutil.which("victoria-metrics") is None:
        pytest.skip("VictoriaMetrics is not installed: apt-get install victoria-metrics")
    folder: Path = tmp_path_factory.mktemp("guarded")
    address = f"127.0.0.1:{free_port()}"
    command = ["victoria-metrics", f"-httpListenAddr={address}", f"-storageDataPath={folder / 'data'}"]
    command += ["-httpAuth.username=me", "-httpAuth.password=s3cr3t"]
    with process(command, folder / "store.log"):
        deadline_s = time.monotonic() + 60
        while time.monotonic() < deadline_s:
            try:
                fetch(f"http://{address}/health")
            except OSError as exc:
                if getattr(exc, "code", None) == 401:
                    break
            else:
                break
            time.sleep(0.1)
        yield address


@pytest.mark.parametrize(
    ("user", "line"),
    [("", "wants credentials"), ("me:wrong@", "refuses these credentials"), ("me:s3cr3t@", "has no series")],
)
def test_a_server_that_wants_credentials(guarded: str, user: str, line: str) -> None:
    source = PrometheusSource(PrometheusAccess.of(f"http://{user}{guarded}", env={}))
    with pytest.raises(PrometheusError, match=line) as raised:
        source.figures(60)

    assert "s3cr3t" not in str(raised.value)

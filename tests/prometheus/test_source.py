"""The real Prometheus and VictoriaMetrics as a source, compared with the trace file of the same runs."""

from __future__ import annotations

import itertools
import math
import shutil
import statistics
import subprocess
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
from live import Live, fetch, free_port, process

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
from langflow_otel.recording import metrics

pytestmark = [pytest.mark.slow, pytest.mark.any_version]

SCRAPED_WITHIN_S = 4.0
"""A run may be in the file so long before it is in the store."""
WINDOW_S = 600.0


@pytest.fixture(params=["prometheus", "victoria-metrics"])
def source(request: pytest.FixtureRequest, live: Live) -> PrometheusSource:
    url = live.prometheus if request.param == "prometheus" else live.store
    if url is None:
        pytest.skip("VictoriaMetrics is not installed: apt-get install victoria-metrics")
    return PrometheusSource(PrometheusAccess.of(url, env={}))


@pytest.fixture
def found(source: PrometheusSource, live: Live) -> Figures:
    return source.figures(WINDOW_S, at_s=live.at_s)


@pytest.fixture
def spans(live: Live) -> list[TraceSpan]:
    return [span for span in from_file(live.folder / "traces.json") if span.scope == "langflow_otel"]


def flows_until(spans: list[TraceSpan], at_s: float) -> dict[str, list[TraceSpan]]:
    flows = defaultdict(list)
    for span in spans:
        if span.name.startswith("invoke_workflow") and span.end_ns <= at_s * 1e9:
            flows[str(span.attributes["langflow.flow.name"])].append(span)
    return flows


def test_runs_and_failures_are_those_of_the_file(found: Figures, spans: list[TraceSpan], live: Live) -> None:
    at_least, at_most = (flows_until(spans, live.at_s - ago_s) for ago_s in (SCRAPED_WITHIN_S, 0))

    assert {flow.flow for flow in found.flows} >= set(at_least)
    for flow in found.flows:
        # VictoriaMetrics and Prometheus alike count the seven that were over before the first scrape.
        assert len(at_least[flow.flow]) - 0.1 <= flow.runs <= len(at_most[flow.flow]) + 0.1, flow
        failed = [Counter(run.status for run in runs[flow.flow])["error"] for runs in (at_least, at_most)]
        assert failed[0] - 0.1 <= flow.failed <= failed[1] + 0.1, flow


def bucket_of(seconds: float) -> tuple[float, float]:
    bounds = (0.0, *metrics.FLOW_DURATION.buckets, math.inf)
    return next((lower, upper) for lower, upper in itertools.pairwise(bounds) if seconds <= upper)


def test_percentiles_are_those_of_the_file_within_a_bucket(found: Figures, spans: list[TraceSpan], live: Live) -> None:
    at_least, at_most = (flows_until(spans, live.at_s - ago_s) for ago_s in (SCRAPED_WITHIN_S, 0))
    for flow in found.flows:
        if len(at_least[flow.flow]) < 20:
            continue
        for share, percentile_s in ((50, flow.durations.p50_s), (95, flow.durations.p95_s)):
            buckets = []
            for runs in (at_least[flow.flow], at_most[flow.flow]):
                quantiles = statistics.quantiles((run.duration_s for run in runs), n=100, method="inclusive")
                buckets.append(bucket_of(quantiles[share - 1]))
            assert percentile_s is not None
            lowest, highest = min(lower for lower, _ in buckets), max(upper for _, upper in buckets)
            assert lowest <= percentile_s <= highest, (flow, share, buckets)


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


def test_one_flow_alone(source: PrometheusSource, live: Live) -> None:
    found = source.figures(WINDOW_S, at_s=live.at_s, flow="shop")

    assert [flow.flow for flow in found.flows] == ["shop"]
    assert {component.flow for component in found.components} == {"shop"}


def test_runs_of_a_short_time_are_not_all_runs(source: PrometheusSource, found: Figures, live: Live) -> None:
    """The process and its series are older than the time: what was before it does not count."""
    short = source.figures(5, at_s=live.at_s)

    assert 0 < short.runs < found.runs / 2


@pytest.mark.parametrize("name", [*OVER_TIME, *GAUGES_OVER_TIME])
def test_each_curve_has_points(source: PrometheusSource, live: Live, name: str) -> None:
    curves = source.curve(name, live.at_s - 60, live.at_s)

    assert curves
    assert all(curve.points for curve in curves)


def test_resources_are_known_over_time(source: PrometheusSource, live: Live) -> None:
    points = resources_from_prometheus(source, int((live.at_s - 60) * 1e9), int(live.at_s * 1e9))

    assert any(point.cpu for point in points)
    assert any(point.memory for point in points)
    assert [point.time_ns for point in points] == sorted(point.time_ns for point in points)


def test_a_time_without_langflow_is_one_line(source: PrometheusSource, live: Live) -> None:
    with pytest.raises(NoSeriesError, match="has no series of langflow-otel"):
        source.figures(60, at_s=live.at_s - 30 * 86400)


def test_top_shows_it(live: Live) -> None:
    command = ["langflow-otel", "top", "--once", "--prometheus", live.prometheus, "--window", "600"]
    import sys

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
                fetch(f"http://me:s3cr3t@{address}/health".replace("me:s3cr3t@", ""))
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

"""Each query of each panel and each alert finds data in a real Prometheus that scrapes real runs."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import subprocess
import time

import pytest

pytest.importorskip("promql_parser", reason="takes the queries apart: pip install 'langflow-otel[configs]'")

from live import Live, ask, fetch
from promql import CONFIG, PanelQuery, alerts, annotation_queries, dashboards, operands, panel_queries, recordings

pytestmark = pytest.mark.slow

EXEMPT = {
    "hw_gpu_": "no GPU here; tests/unit/_metrics/test_gpu.py reads them",
    'resource="gpu': "no GPU here",
    "langflow_queue_": "the pool of background jobs is LangFlow's server's, and these flows run on its engine alone",
    'resource="background_jobs"': "the same",
    "otelcol_": "no collector runs here; its own tests scrape it",
    "kube_": "no Kubernetes here",
    "probe_": "no blackbox exporter here",
    'namespace!=""': "nor a target with a namespace",
    'alertname="LangflowFlowNeverSucceeds"': "each flow that fails has failed often before, or has ended well",
    'job="host"': "no collector runs here; tests/collector/test_agent.py has what the agent measures",
}
if shutil.which("prometheus-alertmanager") is None:
    EXEMPT["alertmanager_"] = "no Alertmanager is installed here"
"""What has no data in this test, and why: by a part of the query."""


NOT_FOR_A_YEAR = {
    "langflow-resources /": "of single replicas, pods and hosts; the shares of what may be used are recorded",
    "langflow-telemetry /": "of single processes and targets",
    " / Alerts that fire": "ALERTS is no recorded series, and is about now",
    " / Answers": "the prober's",
    " / Probes": "the prober's",
    " / Runs by version": "versions are a label that is off by default",
    " / P95 by version": "the same",
    " / Failed by version": "the same",
    " / Not run, and tried again": "a detail of some days",
    " / First chunk of streams (P95)": "a detail of some days; that of models is recorded",
    " / Time to recovery": "a detail of some days",
    " / Tokens of one call": "a detail of some days; their sums are recorded",
    " / Requests sent again": "a detail of some days",
    " / Model calls without a price": "a detail of some days",
    " / Calls without a price": "a detail of some days",
    "langflow-models / How long calls take": "the percentiles are recorded",
    " / Duration of embeddings (P95)": "a detail of some days",
    " / Calls of embeddings": "a detail of some days",
}
"""Panels without data in the long-term store, and why."""


def is_exempt(query: str) -> bool:
    return any(part in query for part in EXEMPT)


def by_name(query: PanelQuery) -> str:
    return query.name


def has_values(series: list[dict]) -> bool:
    values = [value for each in series for _, value in each.get("values") or [each["value"]]]
    return any(not math.isnan(float(value)) for value in values)


@pytest.mark.parametrize("query", panel_queries(), ids=by_name)
def test_a_panel_has_data(live: Live, query: PanelQuery):
    found = live.now(query.expr) if query.instant else live.lines(query.expr)

    # One that finds something has no need to be exempt.
    assert has_values(found) != is_exempt(query.expr), query.expr


@pytest.mark.parametrize("query", annotation_queries(), ids=by_name)
def test_an_annotation_has_marks(live: Live, query: PanelQuery):
    assert has_values(live.lines(query.expr)), query.expr


@pytest.fixture(scope="module")
def store(live: Live) -> str:
    """The long-term store, when the rules' newest group has arrived there."""
    if live.store is None:
        pytest.skip("VictoriaMetrics is not installed: apt-get install victoria-metrics")
    deadline_s = time.monotonic() + 60
    while True:
        fetch(f"{live.store}/internal/force_flush")
        if ask(live.store, "query", query="job_flow:langflow_error_budget_left:ratio")["result"]:
            return live.store
        assert time.monotonic() < deadline_s
        time.sleep(0.2)


def test_panels_have_data_in_the_long_term_store(live: Live, store: str):
    """Each of them, in one test: a query there takes milliseconds."""
    found: dict[str, bool] = {}
    for query in panel_queries():
        if is_exempt(query.expr):
            continue
        if query.instant:
            series = ask(store, "query", query=query.expr, time=live.at_s)["result"]
        else:
            series = ask(store, "query_range", query=query.expr, start=live.started_s, end=live.at_s, step=1)["result"]
        found[query.name] = found.get(query.name, False) or has_values(series)

    empty = {name for name, has in found.items() if not has}
    assert {name for name in empty if not any(part in name for part in NOT_FOR_A_YEAR)} == set()
    assert {part for part in NOT_FOR_A_YEAR if not any(part in name for name in empty) and "rob" not in part} == set()


@pytest.mark.parametrize(
    ("hours", "window"), [(0.25, "1m"), (6, "1m"), (7, "5m"), (72, "5m"), (24 * 7, "1h"), (24 * 30, "1h")]
)
def test_the_rollup_is_that_of_the_time_range(live: Live, hours: float, window: str):
    found = {
        each["query"]: each["regex"]
        for dashboard in dashboards()
        for each in dashboard["templating"]["list"]
        if each["name"] == "window"
    }
    [(query, regex)] = found.items()
    promql = re.fullmatch(r"query_result\((.+)\)", query)[1].replace("$__range_s", str(int(hours * 3600)))
    [series] = live.now(promql)

    # As Grafana makes text of it.
    text = f'{{window="{series["metric"]["window"]}"}} 1 {int(live.at_s * 1000)}'
    assert re.search(regex.strip("/"), text)[1] == window


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: alert["alert"])
def test_an_alert_parses_and_what_it_compares_is_there(live: Live, alert: dict):
    live.now(alert["expr"])  # parsed, and matched without an error

    for operand in operands(alert["expr"]):
        query = re.sub("offset (1w|15m)", "offset 5s", operand)
        # Over the drive: the age of a run is there while a run goes on.
        found = live.lines(f"vector({query})" if "scalar(" in query else query)
        assert has_values(found) != is_exempt(operand), operand


@pytest.mark.parametrize("rule", recordings(), ids=lambda rule: rule["record"])
def test_a_recording_rule_makes_series(live: Live, rule: dict):
    labels = "".join(f'{name}="{value}",' for name, value in rule.get("labels", {}).items())
    query = f"{rule['record']}{{{labels}}}"

    assert has_values(live.lines(query)) != is_exempt(query + rule["expr"]), query


def test_no_rule_and_no_scrape_fails(live: Live):
    groups = ask(live.prometheus, "rules")["groups"]
    faults = [(rule["name"], rule["lastError"]) for group in groups for rule in group["rules"] if rule.get("lastError")]
    assert faults == []
    assert {rule["health"] for group in groups for rule in group["rules"]} == {"ok"}
    targets = {each["labels"]["job"]: each["health"] for each in ask(live.prometheus, "targets")["activeTargets"]}
    assert targets == {
        "langflow": "up",
        "prometheus": "up",
        "alertmanager": "up" if live.alertmanager else "down",
        "otel-collector": "down",
        "probe-langflow": "down",
    }


def test_ratios_are_those_of_the_counters(live: Live):
    """Of the flow "broken" three runs of four fail, and one of six of "shop"."""
    ratio = {
        each["metric"]["flow"]: float(each["value"][1])
        for each in live.now("job_flow:langflow_flow_runs_failed:ratio_rate1m")
    }

    assert ratio["broken"] == pytest.approx(3 / 4, abs=0.1)
    assert ratio["shop"] == pytest.approx(1 / 6, abs=0.05)
    assert ratio["chat"] == 0


def counted(series: list[dict]) -> dict[tuple[str, str], float]:
    return {(each["metric"]["flow"], each["metric"]["status"]): float(each["value"][1]) for each in series}


@pytest.mark.parametrize("window", ["5m", "1h"])
def test_runs_that_end_before_they_are_scraped_count(live: Live, window: str):
    found = counted(live.now(f'job_flow_status_entry_point:langflow_flow_runs:increase{window}{{flow="seven"}}'))

    assert found == {("seven", "ok"): 7, ("seven", "error"): 3}
    # What the rule is for.
    missed = counted(live.now(f'increase(langflow_flow_duration_seconds_count{{flow="seven"}}[{window}])'))
    assert sum(missed.values()) < 10


def test_increase_of_all_flows_is_what_their_process_counted(live: Live):
    found = counted(live.now("job_flow_status_entry_point:langflow_flow_runs:increase1h"))
    counter = "langflow_flow_duration_seconds_count"

    assert len(found) > 10
    # Of what was scraped before the rule was evaluated, and that before the question: seconds on a busy machine.
    earlier, later = (counted(live.now(f"sum by (flow, status) ({counter}{offset})")) for offset in (" offset 6s", ""))
    assert {key for key, value in found.items() if not earlier.get(key, 0) <= value <= later[key]} == set()


def test_births_are_no_series_of_their_own(live: Live):
    assert live.now('{__name__=~".+_created"}') == []
    [started] = live.now("langflow_otel_start_time_seconds")
    assert live.started_s - 60 < float(started["value"][1]) < live.started_s


def test_a_percentile_is_in_its_bucket(live: Live):
    [p95] = live.now('job_flow:langflow_flow_duration_seconds:p95_1m{flow="cached"}')
    [search] = live.now('job_component_type:langflow_component_duration_seconds:p50_1m{component_type="Search"}')

    # A search takes 30 ms; cached, it takes none.
    assert float(p95["value"][1]) < 1
    assert 0.025 < float(search["value"][1]) < 0.25


def test_exemplars_lead_to_traces_that_were_sent(live: Live):
    # What the heatmap of a flow asks, and so Grafana for its dots.
    [query] = [
        query.expr.replace('flow=~".+"', 'flow="shop"')
        for query in panel_queries()
        if query.name == "langflow-flow / How long runs take" and "rate1m" in query.expr
    ]
    found = ask(live.prometheus, "query_exemplars", query=query, start=live.started_s, end=live.at_s)
    assert {series["seriesLabels"]["flow"] for series in found} == {"shop"}
    exemplars = {each["labels"]["trace_id"] for series in found for each in series["exemplars"]}

    assert exemplars
    # Spans are written some seconds after their run.
    deadline_s = time.monotonic() + 30
    while missing := exemplars - written_trace_ids(live):
        assert time.monotonic() < deadline_s, missing
        time.sleep(0.5)


def written_trace_ids(live: Live) -> set[str]:
    text = (live.folder / "traces.json").read_text()
    # The last line may be on its way.
    lines = [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]
    return {
        span["traceId"]
        for line in lines
        for resource in line.get("resourceSpans", ())
        for scope in resource["scopeSpans"]
        for span in scope["spans"]
    }


def test_the_flow_that_fails_is_paged_with_its_values(live: Live):
    firing = [each for each in ask(live.prometheus, "alerts")["alerts"] if each["state"] == "firing"]

    failing = {each["labels"]["flow"]: each for each in firing if each["labels"]["alertname"] == "LangflowFlowFailing"}
    assert set(failing) == {"broken"}
    assert failing["broken"]["annotations"]["summary"].startswith("Flow broken: 7")
    assert not [each for each in firing if "error expanding" in str(each["annotations"])]


def test_alertmanager_pages_the_cause_and_holds_back_what_follows(live: Live):
    if live.alertmanager is None:
        pytest.skip("Alertmanager is not installed: apt-get install prometheus-alertmanager")
    found = {}
    chain = [(name, "broken") for name in ("LangflowApiTimeouts", "LangflowComponentFailing", "LangflowFlowFailing")]
    for _ in range(50):
        alerts_ = json.loads(fetch(f"{live.alertmanager}/api/v2/alerts"))
        found = {(each["labels"]["alertname"], each["labels"].get("flow")): each for each in alerts_}
        if found.keys() >= set(chain):
            break
        time.sleep(0.2)

    cause, between, consequence = (found[each] for each in chain)
    assert [each["name"] for each in cause["receivers"]] == ["page"]
    assert cause["status"]["state"] != "suppressed"
    assert consequence["status"]["state"] == "suppressed"
    assert between["status"]["inhibitedBy"] == [cause["fingerprint"]]
    # Both inhibit it, and Alertmanager names the one that it meets first.
    [inhibitor] = consequence["status"]["inhibitedBy"]
    assert inhibitor in (cause["fingerprint"], between["fingerprint"])
    [ticket] = [each for (name, _), each in found.items() if name == "LangflowTelemetryLost"]
    assert [each["name"] for each in ticket["receivers"]] == ["ticket"]


def test_the_long_term_store_gets_the_aggregates_and_nothing_else(live: Live):
    if live.store is None:
        pytest.skip("VictoriaMetrics is not installed: apt-get install victoria-metrics")
    names: set[str] = set()
    for _ in range(50):
        fetch(f"{live.store}/internal/force_flush")
        names = set(ask(live.store, "label/__name__/values"))
        if "job_flow:langflow_flow_duration_seconds:p95_1m" in names:
            break
        time.sleep(0.2)

    assert "job_flow:langflow_flow_duration_seconds:p95_1m" in names
    assert {name for name in names if ":" not in name} == set()
    assert ask(live.store, "query", query='job_flow_status:langflow_flow_runs:rate1m{flow="shop"}')["result"]


def test_the_runbook_is_where_the_alerts_say(live: Live):
    assert '<h2 id="langflowdown">' in fetch(f"{live.prometheus}/user/RUNBOOK.html")


def test_of_the_query_log_what_people_asked_is_kept(live: Live):
    log, kept = live.folder / "query.log", live.folder / "asked.log"
    asked = f"vector({int(live.at_s)})"
    live.now(asked)
    assert '"ruleGroup"' in log.read_text()

    subprocess.run(
        [CONFIG / "prometheus" / "query_log.sh", log, kept],
        check=True,
        timeout=120,
        env={**os.environ, "PROMETHEUS_PID": str(live.prometheus_pid)},
    )

    lines = [json.loads(line) for line in kept.read_text().splitlines()]
    [entry] = [line for line in lines if line["params"]["query"] == asked]
    assert entry["httpRequest"]["clientIP"] == "127.0.0.1"
    assert not [line for line in lines if "ruleGroup" in line]
    # It goes on in a file of the same name.
    again = f"{asked} + 1"
    live.now(again)
    assert again in log.read_text()

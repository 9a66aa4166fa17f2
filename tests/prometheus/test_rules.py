"""The rules are valid, every alert fires and keeps silent where it should, and says where to look and what to do."""

from __future__ import annotations

import functools
import os
import re
import runpy
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

pytest.importorskip("promql_parser", reason="takes the queries apart: pip install 'langflow-otel[configs]'")

from promql import CONFIG, RULES, alerts, metrics_in, panel_queries, panels, recordings, rules

from langflow_otel._metrics.catalogue import CATALOGUE

TESTS = Path(__file__).parent / "rules"
FILES = sorted(TESTS.glob("*.yml"))
RUNBOOK = (CONFIG / "prometheus" / "RUNBOOK.md").read_text()

NOT_OURS = {
    "up": "Prometheus, of each scrape",
    "ALERTS": "Prometheus, of each alert",
    "scrape_": "Prometheus, of each scrape",
    "prometheus_": "Prometheus about itself",
    "otelcol_": "the collector about itself",
    "alertmanager_": "Alertmanager about itself",
    "probe_": "the blackbox exporter",
    "kube_": "kube-state-metrics",
    "system_cpu_logical_count": "the collector's agent, of its host",
    "system_cpu_load_average_1m": "the same",
    "system_disk_io_time_seconds_total": "the same",
}
"""Metrics that are not the library's, by the beginning of their names, and whose they are."""

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="Prometheus is not installed: apt-get install prometheus"
)


def by_alert(alert: dict) -> str:
    return alert["alert"]


def promtool(*arguments: str, cwd: Path = RULES) -> str:
    # A sixth of its work is to look for garbage that it may as well leave for so short a time.
    seldom = {**os.environ, "GOGC": "400"}
    done = subprocess.run(["promtool", *arguments], cwd=cwd, env=seldom, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@needs_promtool
def test_promtool_accepts_the_rules():
    assert promtool("check", "rules", *(path.name for path in RULES.glob("*.yml"))).count("SUCCESS") == 6


@needs_promtool
@pytest.mark.slow
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_cases_of_the_rules(path: Path):
    assert "SUCCESS" in promtool("test", "rules", path.name, cwd=TESTS)


@functools.cache
def cases() -> list[dict]:
    return [
        case
        for path in FILES
        for group in yaml.safe_load(path.read_text())["tests"]
        for case in group.get("alert_rule_test", [])
    ]


@pytest.mark.parametrize("alert", alerts(), ids=by_alert)
def test_an_alert_has_a_case_that_fires_and_one_that_must_not(alert: dict):
    expected = [case["exp_alerts"] for case in cases() if case["alertname"] == alert["alert"]]

    assert [case for case in expected if case]
    # What a Watchdog says is that it fires always.
    assert [case for case in expected if not case] or alert["expr"] == "vector(1)"


def test_no_case_is_about_an_alert_that_is_not_there():
    assert {case["alertname"] for case in cases()} == {alert["alert"] for alert in alerts()}


def test_the_quiet_situations_are_all_tried():
    groups = [group for path in FILES for group in yaml.safe_load(path.read_text())["tests"]]
    quiet = {
        group["name"]: group
        for group in groups
        if any(t["expr"] == 'ALERTS{alertname!="Watchdog"}' for t in group.get("promql_expr_test", []))
    }
    assert set(quiet) == {
        "idle",
        "an hour of steady load",
        "restart of all workers while runs go on",
        "one failed run among few",
        "missing series",
    }
    # Idle is no matter of missing series: each metric that an alert depends on is there.
    there = {re.match(r"\w+", series["series"])[0] for series in quiet["idle"]["input_series"]}
    patterns = {name for alert in alerts() for name in raw_metrics(alert["expr"])}
    wanted = {name for name in patterns if not any(re.fullmatch(name, each) for each in there)}
    # The collector's losses of data points and log records are the same rule as of spans. Quiet is without alerts.
    assert {name for name in wanted if not re.search(r"metric_points|log_records|ALERTS", name)} == set()


def raw_metrics(expr: str) -> set[str]:
    """What an expression reads, through recording rules."""
    found: set[str] = set()
    for name in metrics_in(expr):
        made_by = [rule["expr"] for rule in recordings() if rule["record"] == name]
        found |= {raw for each in made_by for raw in raw_metrics(each)} if made_by else {name}
    return found


@pytest.mark.parametrize("alert", alerts(), ids=by_alert)
def test_an_alert_says_how_bad_it_is_and_what_to_do(alert: dict):
    told = alert["annotations"]
    uids = {uid for uid, _ in panels()}

    assert alert["labels"]["severity"] in ("page", "ticket", "log", "watchdog")
    assert set(told) == {"summary", "description", "impact", "dashboard_url", "runbook_url"}
    assert re.search(r"\{\{ (with )?\$", told["summary"])
    assert re.fullmatch(r"http://localhost:3000/d/([\w-]+)(\?.+)?", told["dashboard_url"])[1] in uids
    assert told["runbook_url"] == f"http://localhost:9090/user/RUNBOOK.html#{alert['alert'].lower()}"
    section = re.search(rf"^## {alert['alert']}\n(.+?)(?=^## |\Z)", RUNBOOK, re.MULTILINE | re.DOTALL)
    assert section, "no section in the runbook"
    assert alert["labels"]["severity"] in section[1]
    assert "**Means:**" in section[1]


@pytest.mark.parametrize("alert", alerts(), ids=by_alert)
def test_a_dashboard_opens_with_what_the_alert_is_about(alert: dict):
    """Its deployment and flow, and on Kubernetes its namespace and pod."""
    # The time is appended by Alertmanager, which knows when the alert began.
    url = alert["annotations"]["dashboard_url"]
    given = set(re.findall(r"[?&]var-(\w+)=", url))
    labels = {name for case in cases() if case["alertname"] == alert["alert"] for name in of_alerts(case)}

    assert "?" in url
    if alert["alert"].startswith("Langflow"):
        assert given >= {"job", "namespace"}
        assert given >= {"flow"} & labels or "langflow-flow?" not in url
        assert given >= {"pod"} or "langflow-resources?" not in url


def test_what_leads_to_the_dashboard_of_a_pod_has_the_pod():
    """Not left out by the alert, nor by the rule whose series it reads."""
    of_pods = [alert for alert in alerts() if "var-pod=" in alert["annotations"]["dashboard_url"]]
    recorded = {name for alert in of_pods for name in metrics_in(alert["expr"])}
    exprs = [alert["expr"] for alert in of_pods] + [r["expr"] for r in recordings() if r["record"] in recorded]

    grouped = [labels for expr in exprs for labels in re.findall(r"by \(([^)]*)\)", expr) if "instance" in labels]
    assert len(grouped) > 10
    assert [labels for labels in grouped if "pod" not in labels.split(", ")] == []


def of_alerts(case: dict) -> set[str]:
    return {name for expected in case["exp_alerts"] or () for name in expected["exp_labels"]}


def test_the_link_of_an_alert_opens_at_its_section():
    pytest.importorskip("markdown_it", reason="makes HTML of the runbook: pip install markdown-it-py")
    script = runpy.run_path(str(CONFIG / "prometheus" / "runbook.py"))

    assert script["MADE"].read_text() == script["page"](RUNBOOK), "run collector-config/prometheus/runbook.py"
    places = set(re.findall(r'<h2 id="(\w+)">', script["MADE"].read_text()))
    assert places == {alert["annotations"]["runbook_url"].partition("#")[2] for alert in alerts()}
    # The dashboards' tables of alerts have their names alone.
    named = re.findall(r'<a id="(\w+)"', script["MADE"].read_text())
    assert sorted(named) == sorted(alert["alert"] for alert in alerts())


def test_an_alert_says_what_users_notice_and_a_page_what_to_do_first():
    sections = re.split(r"^## ", RUNBOOK, flags=re.MULTILINE)[1:]
    pages = {alert["alert"] for alert in alerts() if alert["labels"]["severity"] == "page"}

    told = {section.partition("\n")[0]: section for section in sections}
    noticed = {name: re.findall(r"\*\*Users notice:\*\* (.+?\.)(?: \*\*|$)", told[name], re.MULTILINE) for name in told}
    assert noticed == {
        alert["alert"]: [alert["annotations"]["impact"].removeprefix("Users notice: ")] for alert in alerts()
    }
    assert {name: says for name, [says] in noticed.items() if ". " in says} == {}
    assert {name for name in pages if "**Do first" not in told[name]} == set()


def test_each_part_of_a_section_is_a_line_of_its_own():
    sections = re.split(r"^## ", RUNBOOK, flags=re.MULTILINE)[1:]
    parts = r"\*\*(?:Means|Users notice|Do first|Look|Do)\b[^*]*\*\*"

    crowded = [part for section in sections for part in re.findall(rf"^(?!- {parts}).*{parts}", section, re.MULTILINE)]
    assert crowded == []
    assert all(section.partition("\n\n")[2].startswith("- **Means:**") for section in sections)


def test_commands_of_the_runbook_name_what_they_are_about():
    for command in ("kubectl", "docker compose"):
        calls = re.findall(rf"{command} (?!compose)\S+ \S+", RUNBOOK)
        assert calls
        wanted = r"-n (langflow|monitoring)$" if command == "kubectl" else r"-f collector-config/compose/compose\.yaml$"
        assert [call for call in calls if not re.search(wanted, call)] == []


def test_panels_that_the_runbook_names_are_there():
    titles = {panel["title"] for _, panel in panels()}
    text = re.sub(r"```.*?```|`[^`]*`", "", RUNBOOK, flags=re.DOTALL)

    assert len(named := set(re.findall(r'"([^"]+)"', text))) > 5
    assert named - titles == set()


def test_the_runbook_has_a_section_for_each_alert_and_no_other():
    assert sorted(re.findall(r"^## (\w+)$", RUNBOOK, re.MULTILINE)) == sorted(alert["alert"] for alert in alerts())


def test_what_the_runbook_asks_is_there():
    asked = set(
        re.findall(
            r"\b((?:langflow|process|job_\w+:|job:)[\w:]*_(?:total|seconds|ratio|bytes|count|depth|running|capacity|rate5m|p95_5m))(?![:\w])",
            RUNBOOK,
        )
    )
    assert asked
    assert {name for name in asked if not is_known(name)} == set()


def test_names_are_the_librarys_own_or_recorded():
    asked = {name for rule in rules() for name in metrics_in(rule["expr"])}
    asked |= {name for query in panel_queries() for name in metrics_in(query.expr)}

    assert len(asked) > 50
    assert {name for name in asked if not is_known(name)} == set()


def is_known(name: str) -> bool:
    ours = {metric.prometheus_name for metric in CATALOGUE} | {rule["record"] for rule in recordings()}
    histograms = {metric.prometheus_name for metric in CATALOGUE if metric.kind == "histogram"}
    family = re.sub(r"_(bucket|sum|count)$", "", name)
    return name in ours or (family in histograms and family != name) or name.startswith(tuple(NOT_OURS))


@pytest.mark.parametrize("window", ["5m", "1h"])
def test_the_rollups_differ_in_their_window_alone(window: str):
    groups = {g["name"]: g["rules"] for g in yaml.safe_load((RULES / "recording.yml").read_text())["groups"]}

    text = yaml.safe_dump(groups["langflow-1m"], width=1000)
    text = re.sub(r"(rate|increase|p\d\d_|\[|offset )1m", rf"\g<1>{window}", text)
    seconds = {"5m": 300, "1h": 3600}[window]
    text = text.replace("/ 60", f"/ {seconds}").replace("time() - 120", f"time() - {seconds + 60}")
    assert text == yaml.safe_dump(groups[f"langflow-{window}"], width=1000)


def test_a_rate_is_of_one_metric():
    """Without their names, series of several metrics are the same, and the rule fails."""
    several = {rule["expr"] for rule in rules() if re.search(r'__name__=~"[^"]*\|', rule["expr"])}

    assert several == set()


def test_a_deployment_is_a_job_and_its_namespace():
    of_others = re.compile(r"prometheus_|alertmanager_")

    for rule in rules():
        for grouped in re.findall(r"\b(?:by|on) \((job[^)]*)\)", rule["expr"]):
            # By the job alone: what has no namespace is matched with what may have one.
            alone = grouped == "job" and rule.get("alert") in (
                "LangflowDown",
                "LangflowNotAnswering",
                "LangflowNotScraped",
            )
            assert "namespace" in grouped or alone or of_others.search(rule["expr"]), rule


def test_recorded_names_tell_level_metric_and_operation():
    for rule in recordings():
        assert re.fullmatch(r"[a-z_]+:[a-z_]+:[a-z]\w+", rule["record"]), rule["record"]
        # What the level says is what the rule groups by; more labels are the rule's own. A pod goes with its instance.
        by = re.search(r"by \((.+?)\)", rule["expr"])
        if by and rule["record"].startswith("job"):
            # A namespace goes with each job, where there is one.
            grouped = {*by[1].split(", "), *rule.get("labels", {})} - {"le", "namespace", "pod"}
            assert all(label in rule["record"].split(":")[0] for label in grouped), rule["record"]

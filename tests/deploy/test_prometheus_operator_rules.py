"""The PrometheusRules hold the rule files, and nothing else."""

from __future__ import annotations

import re

import yaml
from overlays import KUBERNETES
from scripts import load


def test_the_rules_of_the_operator_are_made_from_the_rule_files() -> None:
    script = load(KUBERNETES / "prometheus_rule.py")

    assert script.MADE.read_text() == script.prometheus_rules(), "run collector-config/kubernetes/prometheus_rule.py"


def test_the_rules_of_the_operator_hold_each_group_of_the_rule_files() -> None:
    script = load(KUBERNETES / "prometheus_rule.py")
    groups = [group for path in script.RULES.glob("*.yml") for group in yaml.safe_load(path.read_text())["groups"]]
    made = [group for file in yaml.safe_load_all(script.MADE.read_text()) for group in file["spec"]["groups"]]

    assert len(groups) > 0
    assert sorted(made, key=lambda group: group["name"]) == sorted(groups, key=lambda group: group["name"])


def test_alerts_can_name_another_grafana_and_runbook() -> None:
    script = load(KUBERNETES / "prometheus_rule.py")
    made = yaml.safe_load_all(script.prometheus_rules("https://grafana.test", "https://wiki.test/RUNBOOK.md"))
    alerts = [rule for file in made for group in file["spec"]["groups"] for rule in group["rules"] if "alert" in rule]

    assert len(alerts) > 0
    for alert in alerts:
        assert alert["annotations"]["dashboard_url"].startswith("https://grafana.test/d/")
        assert re.fullmatch(r"https://wiki\.test/RUNBOOK\.md#\w+", alert["annotations"]["runbook_url"])

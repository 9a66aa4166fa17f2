"""The PrometheusRules hold the rule files, and nothing else."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
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


@pytest.mark.parametrize("option", ["--grafana", "--runbook"])
def test_an_address_without_a_scheme_is_refused_in_a_line(option: str) -> None:
    script = KUBERNETES / "prometheus_rule.py"
    written = (KUBERNETES / "base" / "monitoring" / "prometheus_rules.yaml").read_bytes()

    refused = subprocess.run([sys.executable, script, option, "grafana.test"], capture_output=True, text=True)

    assert refused.returncode == 2
    assert refused.stderr.splitlines()[-1].endswith(
        f"argument {option}: 'grafana.test' is no address: it begins with https:// or http://"
    )
    assert (KUBERNETES / "base" / "monitoring" / "prometheus_rules.yaml").read_bytes() == written


def test_an_address_may_end_with_a_slash() -> None:
    assert load(KUBERNETES / "prometheus_rule.py")._address("https://grafana.test/") == "https://grafana.test"


def test_without_pyyaml_it_says_what_to_install() -> None:
    without = (
        f"import runpy, sys; sys.modules['yaml'] = None; runpy.run_path({str(KUBERNETES / 'prometheus_rule.py')!r})"
    )

    refused = subprocess.run([sys.executable, "-c", without], capture_output=True, text=True)

    assert refused.stderr == "prometheus_rule.py needs PyYAML: pip install pyyaml\n"
    assert refused.returncode == 1

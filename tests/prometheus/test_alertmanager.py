"""Alertmanager accepts its configuration, and each alert goes where its severity says."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest
import yaml

pytest.importorskip("promql_parser", reason="reads the rules: pip install 'langflow-otel[configs]'")

from promql import CONFIG, alerts

FILE = CONFIG / "alertmanager" / "alertmanager.yml"
SECRETS = ("key", "token", "secret", "password", "api_url", "credentials")

pytestmark = pytest.mark.skipif(
    shutil.which("amtool") is None, reason="Alertmanager is not installed: apt-get install prometheus-alertmanager"
)


def amtool(*arguments: str) -> str:
    done = subprocess.run(["amtool", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_amtool_accepts_the_configuration():
    assert "SUCCESS" in amtool("check-config", str(FILE))


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: alert["alert"])
def test_an_alert_goes_where_its_severity_says(alert: dict):
    severity = alert["labels"]["severity"]
    labels = (f"alertname={alert['alert']}", f"severity={severity}", "job=langflow")

    amtool("config", "routes", "test", f"--config.file={FILE}", f"--verify.receivers={severity}", *labels)


def test_an_alert_without_a_severity_is_a_ticket():
    amtool("config", "routes", "test", f"--config.file={FILE}", "--verify.receivers=ticket", "alertname=Unknown")


def test_inhibition_is_about_alerts_that_are_there():
    names = {alert["alert"] for alert in alerts()}
    for rule in yaml.safe_load(FILE.read_text())["inhibit_rules"]:
        for matcher in rule["source_matchers"] + rule["target_matchers"]:
            label, operator, value = matcher.split(" ", 2)
            if label == "alertname" and operator in ("=", "=~"):
                assert any(re.fullmatch(value.strip('"'), name) for name in names), matcher


def test_what_is_sent_again_is_still_remembered():
    """Alertmanager keeps what it has sent for 120 h, and warns of a longer repeat_interval."""
    hours = {"m": 1 / 60, "h": 1, "d": 24}
    found = re.findall(r"repeat_interval: (\d+)([mhd])\n", FILE.read_text())

    assert len(found) == 5
    assert all(int(number) * hours[unit] < 120 for number, unit in found)


def test_secrets_are_files():
    def settings(value: object, path: str = "") -> list[tuple[str, object]]:
        if isinstance(value, dict):
            return [found for name, each in value.items() for found in settings(each, f"{path}.{name}")]
        if isinstance(value, list):
            return [found for each in value for found in settings(each, path)]
        return [(path, value)]

    named = [
        (path, value)
        for path, value in settings(yaml.safe_load(FILE.read_text())["receivers"])
        if any(s in path for s in SECRETS)
    ]
    assert len(named) == 3
    assert all(path.endswith("_file") and str(value).startswith("/etc/alertmanager/secrets/") for path, value in named)

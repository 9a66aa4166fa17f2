"""The dashboards are what their source makes, complete, and fit for the provisioning files."""

from __future__ import annotations

import configparser
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

pytest.importorskip("promql_parser", reason="takes the queries apart: pip install 'langflow-otel[configs]'")

from promql import CONFIG, DASHBOARDS, panel_queries, panels

GRAFANA = CONFIG / "grafana"
UIDS = {"langflow-overview", "langflow-flow", "langflow-resources", "langflow-telemetry"}


def board(uid: str) -> dict:
    return json.loads((DASHBOARDS / f"{uid}.json").read_text())


def sources() -> dict[str, dict]:
    found = yaml.safe_load((GRAFANA / "provisioning" / "datasources" / "langflow.yml").read_text())["datasources"]
    return {each["uid"]: each for each in found}


def test_the_files_are_what_the_source_makes(tmp_path: Path):
    pytest.importorskip("grafana_foundation_sdk", reason="makes the dashboards: pip install 'langflow-otel[configs]'")
    subprocess.run([sys.executable, "-B", str(GRAFANA / "generate.py"), str(tmp_path)], check=True)

    made = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert made == {path.name: path.read_text() for path in DASHBOARDS.iterdir()}


def test_all_dashboards_are_there():
    assert {path.stem for path in DASHBOARDS.iterdir()} == UIDS
    assert {board(uid)["uid"] for uid in UIDS} == UIDS
    assert len(panel_queries()) > 100


@pytest.mark.parametrize("uid", sorted(UIDS))
def test_a_dashboard_leads_to_live_7_days_and_30_days(uid: str):
    links = {link["title"]: link for link in board(uid)["links"]}

    for title, start, window in (("Live", "now-15m", "1m"), ("7 days", "now-7d", "5m"), ("30 days", "now-30d", "1h")):
        assert links[title]["url"].startswith(f"/d/{uid}?from={start}&to=now&")
        assert f"var-window={window}" in links[title]["url"]
    variables = {each["name"] for each in board(uid)["templating"]["list"]}
    kept = set(re.findall(r"\$\{(\w+):queryparam\}", links["Live"]["url"]))
    assert kept == variables - {"window"}


@pytest.mark.parametrize("uid", sorted(UIDS))
def test_a_dashboard_uses_no_variable_that_it_does_not_have(uid: str):
    variables = {each["name"] for each in board(uid)["templating"]["list"]} | {"__rate_interval", "__rate_interval_ms"}
    for panel in board(uid)["panels"]:
        for target in panel.get("targets", ()):
            assert set(re.findall(r"\$([a-z_]+)", target["expr"])) <= variables


def test_every_panel_is_explained_and_on_the_grid():
    for uid, panel in panels():
        place = panel["gridPos"]
        assert panel["description"], (uid, panel["title"])
        assert place["x"] + place["w"] <= 24, (uid, panel["title"])
        refs = [target["refId"] for target in panel["targets"]]
        assert refs == sorted(set(refs)), (uid, panel["title"])
        assert all(refs), (uid, panel["title"])


def test_no_panel_covers_another():
    for uid in UIDS:
        taken: set[tuple[int, int]] = set()
        for panel in board(uid)["panels"]:
            place = panel["gridPos"]
            cells = {
                (x, y)
                for x in range(place["x"], place["x"] + place["w"])
                for y in range(place["y"], place["y"] + place["h"])
            }
            assert not taken & cells, (uid, panel["title"])
            taken |= cells


def test_data_sources_that_are_linked_to_are_there():
    found = sources()
    text = json.dumps(list(found.values()))

    assert set(re.findall(r'"datasourceUid": "(\w[\w-]*)"', text)) <= set(found)
    assert found["prometheus"]["jsonData"]["exemplarTraceIdDestinations"] == [
        {"name": "trace_id", "datasourceUid": "tempo"}
    ]
    assert found["tempo"]["jsonData"]["tracesToLogsV2"]["datasourceUid"] == "loki"
    assert {field["datasourceUid"] for field in found["loki"]["jsonData"]["derivedFields"]} == {"tempo"}
    assert [uid for uid, each in found.items() if each.get("isDefault")] == ["prometheus"]


def test_a_line_of_json_has_its_trace_id_found():
    [field] = [each for each in sources()["loki"]["jsonData"]["derivedFields"] if each.get("matcherType") != "label"]

    line = '{"event": "ran", "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736", "span_id": "00f067aa0ba902b7"}'
    assert re.search(field["matcherRegex"], line)[1] == "4bf92f3577b34da6a3ce929d0e0e4736"


def test_whoever_logs_in_is_a_viewer():
    settings = configparser.ConfigParser(interpolation=None)
    settings.read(GRAFANA / "grafana.ini")

    assert settings["users"]["auto_assign_org_role"] == "Viewer"
    assert not settings["auth.anonymous"].getboolean("enabled")
    assert not settings["users"].getboolean("viewers_can_edit")
    assert "langflow-editors" in settings["auth.generic_oauth"]["role_attribute_path"]

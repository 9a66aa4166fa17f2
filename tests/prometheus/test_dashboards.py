"""The dashboards are what their source makes, complete, and fit for the provisioning files."""

from __future__ import annotations

import configparser
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import yaml

pytest.importorskip("promql_parser", reason="takes the queries apart: pip install 'langflow-otel[configs]'")

from promql import CONFIG, DASHBOARDS, alerts, panel_queries, panels

from langflow_otel._metrics import catalogue

GRAFANA = CONFIG / "grafana"
UIDS = {"langflow-overview", "langflow-flow", "langflow-models", "langflow-resources", "langflow-telemetry"}
BUILT_IN = {"__rate_interval", "__rate_interval_ms", "__range_s", "__from", "__to", "__url_time_range"}
"""Variables of Grafana's own, beside those of a field and a value."""


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

    for title, start in (("Live", "now-15m"), ("7 days", "now-7d"), ("30 days", "now-30d")):
        assert links[title]["url"].startswith(f"/d/{uid}?from={start}&to=now&")
    kept = set(re.findall(r"\$\{(\w+):queryparam\}", links["Live"]["url"]))
    assert kept == variables(uid) - {"window", "jaeger", "runbook"}


def variables(uid: str) -> set[str]:
    return {each["name"] for each in board(uid)["templating"]["list"]}


@pytest.mark.parametrize("uid", sorted(UIDS))
def test_a_dashboard_uses_the_variables_that_it_has(uid: str):
    dashboard = board(uid)
    text = json.dumps([dashboard["panels"], dashboard["annotations"], dashboard["templating"]])
    used = set(re.findall(r"\$\{?(\w+)", text)) - {"__all", "__field", "__value"} - {"1"}

    assert used - BUILT_IN == variables(uid)


def test_a_link_leads_to_a_dashboard_and_gives_it_its_variables():
    text = json.dumps([board(uid) for uid in UIDS]) + json.dumps([alert["annotations"] for alert in alerts()])
    links = re.findall(r"/d/([\w-]+)\?([^\"]*)", text)

    assert len(links) > 40
    for uid, parameters in links:
        assert uid in UIDS
        given = set(re.findall(r"var-(\w+)=", parameters)) | set(re.findall(r"\$\{(\w+):queryparam\}", parameters))
        assert given <= variables(uid), (uid, parameters)


def test_a_data_link_gives_each_variable_that_both_dashboards_have():
    seen = 0
    for uid in UIDS:
        for leads_to, parameters in re.findall(r"/d/([\w-]+)\?([^\"]*)", json.dumps(board(uid)["panels"])):
            # The rollup follows the time range, versions are those of a flow, and the others are hidden.
            shared = variables(uid) & variables(leads_to) - {"window", "version", "jaeger", "runbook"}
            given = {*re.findall(r"var-(\w+)=", parameters), *re.findall(r"\$\{(\w+):queryparam\}", parameters)}
            assert shared <= given, (uid, parameters)
            seen += 1
    assert seen >= 10


def test_a_flow_leads_to_its_dashboard_and_that_to_traces():
    by_flow = [
        (uid, panel["title"], json.dumps(panel["fieldConfig"]))
        for uid, panel in panels()
        if any("{{flow}}" in target.get("legendFormat", "") for target in panel["targets"]) and uid != "langflow-flow"
    ]
    assert len(by_flow) > 5
    for uid, title, config in by_flow:
        # Shares of a cost are of flows and currencies.
        assert "/d/langflow-flow?var-flow=${__field.labels.flow}" in config or title == "Who spends it", (uid, title)
    [flows] = [panel for uid, panel in panels() if (uid, panel["title"]) == ("langflow-overview", "Flows")]
    assert "/d/langflow-flow?var-flow=${__value.raw}" in json.dumps(flows["fieldConfig"])
    of_the_flow = [panel for uid, panel in panels() if uid == "langflow-flow"]
    leading = {panel["title"] for panel in of_the_flow if "/explore?" in json.dumps(panel["fieldConfig"])}
    assert leading == {"Duration", "Failed", "Errors by type"}
    asked = [target for panel in of_the_flow for target in panel["targets"] if "expr" not in target]
    assert [each["queryType"] for each in asked] == ["traceql", "search"]


def test_an_alert_that_fires_leads_to_its_section_of_the_runbook():
    firing = {uid: panel for uid, panel in panels() if (panel["title"], panel["type"]) == ("Alerts that fire", "table")}
    addresses = {alert["annotations"]["runbook_url"].partition("#")[0] for alert in alerts()}

    assert firing.keys() == {"langflow-overview", "langflow-flow"}
    for uid, panel in firing.items():
        columns = {each["matcher"]["options"]: each["properties"] for each in panel["fieldConfig"]["overrides"]}
        [link] = columns["alert"][0]["value"]
        assert link["url"] == "${runbook}#${__value.raw}"
        assert link["targetBlank"] is True
        [variable] = [each for each in board(uid)["templating"]["list"] if each["name"] == "runbook"]
        assert variable["type"] == "constant"
        assert {variable["query"]} == addresses


def test_a_click_opens_explore_with_a_query_of_traces():
    for uid, panel in panels():
        for link in panel["fieldConfig"]["defaults"].get("links", ()):
            if "/explore?" in link["url"]:
                [(_, pane)] = json.loads(unquote(link["url"].partition("panes=")[2])).items()
                assert pane["queries"][0]["query"].startswith("{ "), (uid, panel["title"])
                assert pane["datasource"] == "${traces}"


def test_a_quantile_says_when_it_is_above_the_largest_bucket():
    """Prometheus answers with the bound of the largest bucket: 300 s may be an hour."""
    largest = {
        metric.prometheus_name: metric.buckets[-1] for metric in catalogue.CATALOGUE if metric.kind == "histogram"
    }
    seen = 0
    for uid, panel in panels():
        config = panel["fieldConfig"]
        by_name = {each["matcher"]["options"]: each["properties"] for each in config["overrides"]}
        for target in panel["targets"]:
            expr = target.get("expr", "")
            if "histogram_quantile" not in expr and not re.search(r":p\d\d_", expr):
                continue
            bounds = {bound for name, bound in largest.items() if re.search(rf"\b{name}(_bucket\b|:p\d\d_)", expr)}
            column = {each["id"]: each["value"] for each in by_name.get(target["legendFormat"], ())}
            [mapping] = column.get("mappings") or config["defaults"]["mappings"]
            assert {mapping["options"]["from"]} == bounds, (uid, panel["title"])
            assert mapping["options"]["result"]["text"] == f"> {max(bounds):g} s"
            seen += 1
    assert seen > 25


def test_a_quantile_of_nothing_is_absent():
    """Not NaN, which Grafana shows as "NaN s"."""
    asked = [query for query in panel_queries() if "histogram_quantile" in query.expr]

    assert len(asked) > 20
    assert {query.name for query in asked if ">= 0" not in query.expr} == set()


def test_units_are_grafanas_own():
    units = pytest.importorskip("grafana_foundation_sdk.models.units", reason="pip install 'langflow-otel[configs]'")
    known = {value for value in vars(units).values() if isinstance(value, str)}
    used = set(re.findall(r'"unit": "([^"]+)"', json.dumps([board(uid) for uid in UIDS])))

    assert len(used) > 5
    assert {unit for unit in used if unit not in known and not unit.startswith("suffix:")} == set()


@pytest.mark.parametrize("uid", sorted(UIDS))
def test_the_newest_grafanas_schema_has_each_field(uid: str):
    """Read and written again by the types of the SDK: what they do not know would be lost."""
    types = pytest.importorskip(
        "grafana_foundation_sdk.models.dashboard", reason="pip install 'langflow-otel[configs]'"
    )
    from grafana_foundation_sdk.cog.encoder import JSONEncoder
    from grafana_foundation_sdk.cog.plugins import register_default_plugins

    register_default_plugins()
    read = json.loads(JSONEncoder().encode(types.Dashboard.from_json(board(uid))))

    # The SDK has no data source Jaeger: such a target is kept as it is.
    assert without_placement(read) == without_placement(board(uid))


def without_placement(found: Any) -> Any:
    """The SDK's readers put its default into each link and annotation that has none."""
    if isinstance(found, dict):
        return {name: without_placement(value) for name, value in found.items() if name != "placement"}
    return [without_placement(each) for each in found] if isinstance(found, list) else found


@pytest.mark.parametrize("uid", sorted(UIDS))
def test_a_dashboard_fits_a_config_map(uid: str):
    """kubectl apply keeps a copy of what it applied in an annotation, which may be 256 KiB."""
    assert (DASHBOARDS / f"{uid}.json").stat().st_size < 200_000


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
        # With each row open.
        for panel in [each for top in board(uid)["panels"] for each in (top, *top.get("panels", ()))]:
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

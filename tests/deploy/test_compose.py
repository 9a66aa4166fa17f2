"""The compose file and the Dockerfile name only files, hosts, ports and variables that are there."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from overlays import ALL_BUILT, ROOT, built, kustomize, tools
from variables import check_langflow_variables, collector_variables

from langflow_otel._metrics.scrape_request import AllowedHosts
from langflow_otel._settings.settings import ScrapeSettings

COMPOSE = ROOT / "collector-config" / "compose"

LISTENS_BY_DEFAULT = {
    "prometheus": {9090},
    "alertmanager": {9093},
    "blackbox": {9115},
    "grafana": {3000},
    "victoria-metrics": {8428},
}
"""What the images listen on without being told."""

SOMEBODY_ELSES = {"tickets", "watchdog"}
"""Hosts in the configurations that stand for the reader's own."""


FURTHER = ["compose.logs.yaml", "compose.tls.yaml"]
MADE_BY_THE_SCRIPT = COMPOSE / "certs"


@cache
def loaded(*further: str) -> dict[str, Any]:
    """As Docker Compose itself reads compose.yaml and further files: interpolated, with absolute paths."""
    folder = tools()
    if folder is None:
        pytest.skip("no loader of compose files: run .ci/deploy-tools")
    read = subprocess.run(
        [folder / "bin" / "compose-spec", "-format", "json", *(COMPOSE / name for name in ("compose.yaml", *further))],
        cwd=COMPOSE,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (read.returncode, read.stderr) == (0, "")
    project: dict[str, Any] = json.loads(read.stdout)
    for service in project["services"].values():
        # A list where several files were merged.
        if isinstance(service.get("environment"), list):
            service["environment"] = dict(entry.split("=", 1) for entry in service["environment"])
    return project


def mounted(service: dict[str, Any]) -> Iterator[tuple[Path, str]]:
    for volume in service.get("volumes", []):
        if volume["type"] == "bind":
            yield Path(volume["source"]), volume["target"]


@pytest.mark.slow
def test_docker_compose_refuses_a_misspelled_key(tmp_path: Path) -> None:
    loaded()
    wrong = (COMPOSE / "compose.yaml").read_text().replace("stop_grace_period", "stop_graze_period")
    (tmp_path / "compose.yaml").write_text(wrong)
    folder = tools()
    assert folder is not None

    read = subprocess.run(
        [folder / "bin" / "compose-spec", tmp_path / "compose.yaml"], capture_output=True, check=False
    )

    assert read.returncode != 0
    assert b"stop_graze_period" in read.stdout + read.stderr


@pytest.mark.slow
@pytest.mark.parametrize("further", [[], FURTHER])
def test_each_mounted_path_is_there_and_read_only(further: list[str]) -> None:
    for service in loaded(*further)["services"].values():
        for source, target in mounted(service):
            assert source.exists() or source.parent == MADE_BY_THE_SCRIPT, source
            assert ROOT in source.parents
            assert [v["read_only"] for v in service["volumes"] if v["target"] == target] == [True]


@pytest.mark.slow
def test_docker_makes_no_empty_folder_of_missing_certificates() -> None:
    made = [
        volume
        for service in loaded(*FURTHER)["services"].values()
        for volume in service.get("volumes", [])
        if volume["type"] == "bind" and Path(volume["source"]).parent == MADE_BY_THE_SCRIPT
    ]

    assert len(made) == 2
    assert all(not volume["bind"].get("create_host_path", False) for volume in made)


@pytest.mark.slow
@pytest.mark.parametrize("further", [[], FURTHER])
def test_each_file_that_a_command_names_is_mounted(further: list[str]) -> None:
    for name, service in loaded(*further)["services"].items():
        targets = {target for _, target in mounted(service)}
        for argument in service.get("command") or []:
            option, _, path = argument.partition("=")
            if "config" in option and path.startswith("/"):
                assert path in targets, f"{name}: {argument}"


@pytest.mark.slow
@pytest.mark.parametrize("further", [[], FURTHER])
def test_each_address_is_a_service_that_listens_there(further: list[str]) -> None:
    services = loaded(*further)["services"]
    listening = {name: listens(name, service) for name, service in services.items()}
    named = {address for service in services.values() for address in addresses(service)}

    assert len(named) > 5
    for host, port in named - {address for address in named if address[0] in SOMEBODY_ELSES}:
        assert port in listening[host], f"{host}:{port}"


def listens(name: str, service: dict[str, Any]) -> set[int]:
    environment = service.get("environment", {})
    told = {
        int(value.rpartition(":")[2])
        for variable, value in environment.items()
        if variable.endswith("_PORT") or variable.startswith("COLLECTOR_OTLP_")
    }
    for source, _ in mounted(service):
        if name in ("tempo", "loki"):
            told |= {int(port) for port in re.findall(r"(?:http_listen_port: |0\.0\.0\.0:)(\d+)", source.read_text())}
    return told | LISTENS_BY_DEFAULT.get(name, set())


def addresses(service: dict[str, Any]) -> Iterator[tuple[str, int]]:
    """Of other services: in its variables, and in what is mounted, but not in what is switched off by a "#"."""
    texts = list(service.get("environment", {}).values())
    for source, _ in mounted(service):
        files = [source] if source.is_file() else [path for path in source.rglob("*") if path.is_file()]
        texts += [path.read_text() for path in files if path.suffix in (".yml", ".yaml") and path.stem != "gateway"]
    for text in texts:
        live = "\n".join(line.partition("#")[0] for line in text.splitlines())
        for host, port in re.findall(r"(?:https?://|[\[\s\"'])([a-z][a-z-]+):(\d{2,5})(?=[/\]\s\"',]|$)", live):
            if host != "localhost":
                yield host, int(port)


@pytest.mark.slow
def test_prometheus_scrapes_langflow_and_the_collector_where_they_are() -> None:
    jobs = yaml.safe_load((ROOT / "collector-config/prometheus/prometheus.yml").read_text())["scrape_configs"]
    targets = {target for job in jobs for config in job["static_configs"] for target in config["targets"]}
    services = loaded()["services"]
    langflow, collector = services["langflow"]["environment"], services["otel-collector"]["environment"]

    target = f"langflow:{langflow['OTEL_EXPORTER_PROMETHEUS_PORT']}"
    assert target in targets
    # Prometheus names its target as the host of its request, and there is no token.
    assert AllowedHosts(ScrapeSettings(langflow["OTEL_EXPORTER_PROMETHEUS_HOST"]), "0.0.0.0").allow(target)
    assert langflow["OTEL_EXPORTER_PROMETHEUS_HOST"] == collector["COLLECTOR_METRICS_HOST"] == "0.0.0.0"
    assert f"otel-collector:{collector['COLLECTOR_METRICS_PORT']}" in targets


@pytest.mark.slow
def test_ports_are_open_to_this_machine_only() -> None:
    published = [port for service in loaded()["services"].values() for port in service.get("ports", [])]

    assert {port["published"] for port in published} == {"7860", "9090", "9093", "3000"}
    assert {port["host_ip"] for port in published} == {"127.0.0.1"}


@pytest.mark.slow
def test_links_in_alerts_lead_to_what_is_published() -> None:
    services = loaded()["services"]
    served = {Path(target).name for _, target in mounted(services["prometheus"]) if target.startswith("/usr/share")}
    alerts = "".join(path.read_text() for path in (ROOT / "collector-config/prometheus/rules").glob("*.yml"))

    assert {origin for origin, _ in re.findall(r"dashboard_url: (http://[^/]+)(/d/)", alerts)} == {
        "http://localhost:3000"
    }
    assert set(re.findall(r"runbook_url: (http://[^#]+)", alerts)) == {"http://localhost:9090/user/RUNBOOK.html"}
    assert "RUNBOOK.html" in served
    assert "--web.user-assets=/usr/share/prometheus/user" in services["prometheus"]["command"]


@pytest.mark.slow
def test_the_collectors_read_each_variable_that_they_are_given() -> None:
    services = loaded(*FURTHER)["services"]
    given, logs = services["otel-collector"]["environment"], services["otel-logs"]["environment"]

    assert set(given) - {"GOMEMLIMIT"} <= collector_variables("gateway.yaml")
    assert set(logs) - {"GOMEMLIMIT"} <= collector_variables("logs.yaml")


@pytest.mark.slow
def test_langflow_reads_each_variable_that_it_is_given() -> None:
    check_langflow_variables(set(loaded(*FURTHER)["services"]["langflow"]["environment"]))


@pytest.mark.slow
def test_certificates_are_where_the_services_read_them(tmp_path: Path) -> None:
    subprocess.run(["sh", COMPOSE / "certificates.sh", tmp_path], check=True, capture_output=True, timeout=60)
    services = loaded("compose.tls.yaml")["services"]
    for name in ("langflow", "otel-collector"):
        folders = {target: source for source, target in mounted(services[name]) if source.parent == MADE_BY_THE_SCRIPT}
        ((target, source),) = folders.items()
        made = {path.name for path in (tmp_path / source.name).iterdir()}
        files = {value for value in services[name]["environment"].values() if value.startswith(f"{target}/")}

        assert made == {"ca.crt", "tls.crt", "tls.key"}
        assert {file.rpartition("/")[2] for file in files} == made


@pytest.mark.slow
def test_the_log_agent_reads_the_file_that_langflow_writes() -> None:
    services = loaded("compose.logs.yaml")["services"]
    langflow, agent = services["langflow"], services["otel-logs"]
    shared = [volume for volume in agent["volumes"] if volume.get("source") == "langflow"]

    assert langflow["environment"]["LANGFLOW_LOG_FILE"] == agent["environment"]["LANGFLOW_LOG_FILE"]
    assert langflow["environment"]["OTEL_LOGS_EXPORTER"] == "none"
    assert [volume["target"] for volume in shared] == ["/app/data"]
    assert agent["environment"]["LANGFLOW_LOG_FILE"].startswith("/app/data/")
    # Of its own: how far it has read is kept there.
    assert agent["environment"]["COLLECTOR_STORAGE"] in {v["target"] for v in agent["volumes"] if v["type"] == "volume"}


def test_the_collectors_image_is_the_release_that_the_configurations_were_tested_with() -> None:
    built_with = yaml.safe_load((ROOT / ".ci" / "collector-builder.yaml").read_text())["dist"]["version"]
    composed = yaml.safe_load((COMPOSE / "compose.yaml").read_text())["services"]["otel-collector"]["image"]
    images = yaml.safe_load((ROOT / "collector-config/kubernetes/base/collector/kustomization.yaml").read_text())[
        "images"
    ]

    assert composed == f"otel/opentelemetry-collector-contrib:{built_with}"
    assert f"{images[0]['newName']}:{images[0]['newTag']}" == composed


def test_the_dockerfile_copies_what_is_there_and_let_through() -> None:
    lines = (COMPOSE / "Dockerfile").read_text().replace("\\\n", " ").splitlines()
    copied = {path for line in lines if line.startswith("COPY ") for path in line.split()[1:-1]}
    let_through = {
        line[1:] for line in (COMPOSE / "Dockerfile.dockerignore").read_text().splitlines() if line[0] == "!"
    }

    assert copied == let_through
    assert {"langflow_otel", "pyproject.toml"} <= copied
    assert all((ROOT / path).exists() for path in copied)


@pytest.mark.slow
def test_dockerfile_and_compose_file_name_the_same_langflow() -> None:
    build = loaded()["services"]["langflow"]["build"]
    (default,) = re.findall(r"^ARG LANGFLOW=(.+)$", (COMPOSE / "Dockerfile").read_text(), re.MULTILINE)

    assert build["args"]["LANGFLOW"] == default
    assert Path(build["context"]) == ROOT
    assert ROOT / build["dockerfile"] == COMPOSE / "Dockerfile"


@pytest.mark.slow
@pytest.mark.skipif(kustomize() is None, reason="neither kubectl nor kustomize is here: .ci/deploy-tools")
@pytest.mark.parametrize("overlay", ALL_BUILT)
def test_the_manifests_give_langflow_and_the_collectors_variables_that_they_read(overlay: str) -> None:
    for workload in built(overlay):
        if workload["kind"] not in ("Deployment", "DaemonSet", "StatefulSet"):
            continue
        spec = workload["spec"]["template"]["spec"]
        given = {variable["name"] for variable in spec["containers"][0].get("env", [])}
        if workload["metadata"]["name"] == "langflow":
            check_langflow_variables(given - {"POD_NAME", "POD_NAMESPACE", "NODE_NAME"})
        else:
            config = {"otel-loadbalancer": "gateway-loadbalancer"}.get(
                workload["metadata"]["name"], workload["metadata"]["name"].removeprefix("otel-")
            )
            known = collector_variables(f"{config}.yaml") if given else set()
            known |= {"GOMEMLIMIT", "NODE_NAME", "OTEL_RESOURCE_ATTRIBUTES"}
            assert given <= known


def test_the_example_of_the_secret_has_variables_that_langflow_reads() -> None:
    lines = (ROOT / "collector-config/kubernetes/langflow.env.example").read_text().splitlines()
    names = {line.partition("=")[0] for line in lines if line and not line.startswith("#")}

    assert "LANGFLOW_DATABASE_URL" in names
    check_langflow_variables({name for name in names if not name.startswith("AWS_")})

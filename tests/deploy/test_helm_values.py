"""The values for LangFlow's own charts: keys that the charts read, and pods as their templates make them of these.

The charts are in no package registry. The keys are those of their values.yaml and templates at
github.com/langflow-ai/langflow-helm-charts, read in November 2026.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from overlays import KUBERNETES, custom_schemas, tools
from variables import check_langflow_variables

kubernetes_validate = pytest.importorskip("kubernetes_validate", reason="pip install 'langflow-otel[configs]'")
jsonschema = pytest.importorskip("jsonschema", reason="pip install 'langflow-otel[configs]'")

pytestmark = pytest.mark.slow

HELM = KUBERNETES / "helm"
IDE, RUNTIME = "langflow-ide.values.yaml", "langflow-runtime.values.yaml"

BACKEND_KEYS = {
    *("replicaCount", "service", "backendOnly", "numWorkers", "image", "resources", "probe", "env", "nodeSelector"),
    *("tolerations", "affinity", "externalDatabase", "volumes", "volumeMounts", "sqlite", "autoLogin"),
    *("securityContext", "podSecurityContext", "superuser", "superuserPassword", "secretKey", "newUserIsActive"),
}
RUNTIME_KEYS = {
    *("replicaCount", "image", "downloadFlows", "imagePullSecrets", "nameOverride", "fullnameOverride", "podLabels"),
    *("serviceAccount", "podAnnotations", "securityContext", "podSecurityContext", "env", "service", "ingress"),
    *("resources", "livenessProbe", "readinessProbe", "volumes", "volumeMounts", "nodeSelector", "tolerations"),
    "affinity",
}
CHARTS_OWN_ENVIRONMENT = {"LANGFLOW_PORT", "LANGFLOW_ALEMBIC_LOG_FILE", "LANGFLOW_LOG_LEVEL"}


def values(name: str) -> dict[str, Any]:
    return yaml.safe_load((HELM / name).read_text())


def of_the_pod(name: str) -> dict[str, Any]:
    return values(name) if name == RUNTIME else values(name)["langflow"]["backend"]


def probes(name: str) -> dict[str, Any]:
    given = of_the_pod(name)
    if name == RUNTIME:
        return {"livenessProbe": given["livenessProbe"], "readinessProbe": given["readinessProbe"]}
    probe = {"httpGet": {"path": "/health", "port": "http"}, **given["probe"]}
    return {"livenessProbe": probe, "readinessProbe": probe}


def rendered(name: str) -> dict[str, Any]:
    """The container and its volumes, where the templates put them."""
    given = of_the_pod(name)
    container = {
        "name": "langflow",
        "image": f"{given['image']['repository']}:{given['image']['tag']}",
        "ports": [{"name": "http", "containerPort": 7860}],
        "env": given["env"],
        "resources": given["resources"],
        "volumeMounts": given["volumeMounts"],
        **probes(name),
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "langflow"},
        "spec": {
            "selector": {"matchLabels": {"app": "langflow"}},
            "template": {
                "metadata": {"labels": {"app": "langflow", **values(name).get("podLabels", {})}},
                "spec": {"containers": [container], "volumes": given["volumes"]},
            },
        },
    }


def test_keys_are_those_that_the_charts_read() -> None:
    ide = values(IDE)

    assert set(ide) == {"langflow"}
    assert set(ide["langflow"]) == {"backend"}
    assert set(ide["langflow"]["backend"]) <= BACKEND_KEYS
    assert set(values(RUNTIME)) <= RUNTIME_KEYS


@pytest.mark.parametrize("name", [IDE, RUNTIME])
def test_the_pod_that_the_chart_makes_fits_the_strict_schema(name: str) -> None:
    kubernetes_validate.validate(rendered(name), kubernetes_validate.latest_version(), strict=True)


@pytest.mark.parametrize("name", [IDE, RUNTIME])
def test_each_volume_is_mounted_and_each_mount_is_a_volume(name: str) -> None:
    given = of_the_pod(name)

    assert {each["name"] for each in given["volumes"]} == {each["name"] for each in given["volumeMounts"]}
    (token,) = [each["value"] for each in given["env"] if each["name"] == "LANGFLOW_OTEL_SCRAPE_TOKEN_FILE"]
    assert token.rpartition("/")[0] in {each["mountPath"] for each in given["volumeMounts"]}


def by_name(given: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for variable in given["env"]:
        yield variable["name"], variable.get("value", "")


@pytest.mark.parametrize("name", [IDE, RUNTIME])
def test_variables_are_those_of_the_manifests(name: str) -> None:
    documents = yaml.safe_load_all((KUBERNETES / "base" / "langflow" / "deployment.yaml").read_text())
    (deployment,) = [each for each in documents if each["kind"] == "Deployment"]
    ours = dict(by_name(deployment["spec"]["template"]["spec"]["containers"][0]))
    given = {key: value for key, value in by_name(of_the_pod(name)) if key not in CHARTS_OWN_ENVIRONMENT}

    assert given.items() <= ours.items()
    assert {key for key in ours if "OTEL" in key} == {key for key in given if "OTEL" in key}
    check_langflow_variables(set(given) - {"POD_NAME", "POD_NAMESPACE", "NODE_NAME"})


@pytest.mark.skipif(tools() is None, reason="no schemas of the Prometheus operator: run .ci/deploy-tools")
@pytest.mark.parametrize("name", [IDE, RUNTIME])
def test_the_pod_monitor_fits_its_strict_schema_and_leads_to_the_librarys_port(name: str) -> None:
    monitor = pod_monitors()[name]
    folder = tools()
    assert folder is not None
    jsonschema.Draft7Validator(custom_schemas(folder)[monitor["apiVersion"], monitor["kind"]]).validate(monitor)

    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    replaced = {each["targetLabel"]: each["replacement"] for each in endpoint["relabelings"]}
    assert replaced == {
        "__address__": f"$1:{dict(by_name(of_the_pod(name)))['OTEL_EXPORTER_PROMETHEUS_PORT']}",
        "job": "langflow",
    }


def pod_monitors() -> dict[str, dict[str, Any]]:
    """By the file of values that goes with each."""
    monitors = yaml.safe_load_all((HELM / "pod_monitor.yaml").read_text())
    return {f"{monitor['metadata']['name']}.values.yaml": monitor for monitor in monitors}


def test_the_pods_of_each_chart_are_scraped_once() -> None:
    selected = {name: monitor["spec"]["selector"]["matchLabels"] for name, monitor in pod_monitors().items()}
    # langflow-scope is the chart's own label of the backend's pods.
    labels = {IDE: {"langflow-scope": "backend"}, RUNTIME: values(RUNTIME)["podLabels"]}

    assert selected.keys() == labels.keys()
    for name, given in labels.items():
        assert [each for each, wanted in selected.items() if wanted.items() <= given.items()] == [name]

"""Each overlay builds, fits the strict schemas of what will read it, and its parts fit one another."""

from __future__ import annotations

import copy
import json
import re
from functools import cache

import pytest
import yaml
from overlays import (
    ALL_BUILT,
    COMPONENTS,
    EVERY_COMPONENT,
    KUBERNETES,
    ROOT,
    Resource,
    built,
    containers,
    custom_schemas,
    kustomize,
    named,
    of_kind,
    pod,
    tools,
    workloads,
)

from langflow_otel._metrics.catalogue import CATALOGUE

kubernetes_validate = pytest.importorskip("kubernetes_validate", reason="pip install 'langflow-otel[configs]'")
jsonschema = pytest.importorskip("jsonschema", reason="pip install 'langflow-otel[configs]'")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(kustomize() is None, reason="neither kubectl nor kustomize is here: .ci/deploy-tools"),
]

each_overlay = pytest.mark.parametrize("overlay", ALL_BUILT)
needs_definitions = pytest.mark.skipif(tools() is None, reason="no schemas of KEDA and others: run .ci/deploy-tools")

NOT_OURS = {"nginx_ingress_controller_requests", "kube_pod_deletion_timestamp"}
"""Metrics that the triggers ask for, of the ingress and of kube-state-metrics."""

MADE_BY_THE_OPERATOR = {"langflow", "langflow-scrape", "otel-gateway"}
"""Secrets that README.md tells to create."""

AS_ROOT = {"otel-logs"}
"""The log agent reads files that are root's alone."""


def check(resource: Resource) -> None:
    """Raises where a field is missing, wrong or unknown."""
    _check_once(json.dumps(resource))


@cache
def _check_once(text: str) -> None:
    """Most resources are the same in each overlay."""
    resource = json.loads(text)
    kind = (resource["apiVersion"], resource["kind"])
    folder = tools()
    assert folder is not None
    custom = custom_schemas(folder)
    if kind in custom:
        jsonschema.Draft7Validator(custom[kind]).validate(resource)
    else:
        kubernetes_validate.validate(resource, kubernetes_validate.latest_version(), strict=True)


@needs_definitions
@each_overlay
def test_each_resource_fits_its_strict_schema(overlay: str) -> None:
    for resource in built(overlay):
        check(resource)


@needs_definitions
@pytest.mark.parametrize(
    "kind",
    [
        *("Deployment", "DaemonSet", "NetworkPolicy", "Ingress", "PriorityClass"),
        *("ScaledObject", "PodMonitor", "Probe", "PrometheusRule", "Certificate", "ClusterIssuer", "HTTPRoute"),
    ],
)
def test_a_misspelled_field_is_refused(kind: str) -> None:
    wrong = copy.deepcopy(of_kind(built(EVERY_COMPONENT), kind)[0])
    wrong.setdefault("spec", {})
    wrong["spec"]["langflow"] = True

    with pytest.raises((jsonschema.ValidationError, kubernetes_validate.ValidationError)):
        check(wrong)


@needs_definitions
def test_a_value_of_the_wrong_kind_is_refused() -> None:
    wrong = copy.deepcopy(named(built("production"), "ScaledObject", "langflow"))
    wrong["spec"]["fallback"]["behavior"] = "currentReplicasIfHigh"

    with pytest.raises(jsonschema.ValidationError, match="currentReplicasIfHigh"):
        check(wrong)


@each_overlay
def test_the_load_balancer_knows_each_gateway(overlay: str) -> None:
    resources = built(overlay)
    gateway = named(resources, "StatefulSet", "otel-gateway")
    balancer = pod(named(resources, "Deployment", "otel-loadbalancer"))["containers"][0]
    (given,) = [variable["value"] for variable in balancer["env"] if variable["name"] == "GATEWAYS"]
    service = f"{gateway['spec']['serviceName']}.{gateway['metadata']['namespace']}"

    assert yaml.safe_load(given) == [f"otel-gateway-{n}.{service}:4317" for n in range(gateway["spec"]["replicas"])]
    assert named(resources, "Service", "otel-gateway")["spec"]["clusterIP"] == "None"


@each_overlay
def test_addresses_in_the_cluster_are_services_and_open_ports(overlay: str) -> None:
    resources = built(overlay)
    ports = {
        (f"{service['metadata']['name']}.{service['metadata']['namespace']}", port["port"])
        for service in of_kind(resources, "Service")
        for port in service["spec"]["ports"]
    }
    values = [variable.get("value", "") for c in containers(resources) for variable in c.get("env", [])]
    values += [probe["spec"]["prober"]["url"] for probe in of_kind(resources, "Probe")]
    values += [
        url for probe in of_kind(resources, "Probe") for url in probe["spec"]["targets"]["staticConfig"]["static"]
    ]
    used = {
        (host, int(port))
        for value in values
        for host, port in re.findall(r"([\w-]+\.(?:telemetry|langflow)):(\d+)", value)
    }

    assert {("otel-agent.telemetry", 4318), ("otel-loadbalancer.telemetry", 4317)} <= used
    assert used <= ports


@each_overlay
def test_collectors_have_more_memory_than_their_limiter_and_runtime_take(overlay: str) -> None:
    for container in containers(built(overlay)):
        given = {variable["name"]: variable.get("value", "") for variable in container.get("env", [])}
        if "COLLECTOR_MEMORY_MIB" in given:
            memory = int(container["resources"]["limits"]["memory"].removesuffix("Mi"))
            assert int(given["COLLECTOR_MEMORY_MIB"]) < memory * 0.8
            assert int(given["GOMEMLIMIT"].removesuffix("MiB")) == pytest.approx(memory * 0.8, rel=0.01)


def test_the_overlay_that_the_readme_tells_to_write_names_each_component() -> None:
    readme = (KUBERNETES / "README.md").read_text()
    (text,) = re.findall(r"```yaml\n(apiVersion: kustomize.*?)```", readme, re.DOTALL)
    written, ours = yaml.safe_load(text), KUBERNETES / "overlays" / "ours"
    with_prober = yaml.safe_load((KUBERNETES / "overlays" / "production" / "kustomization.yaml").read_text())

    assert [(ours / path).resolve() for path in written["resources"]] == [KUBERNETES / "overlays" / "production"]
    named_there = {(ours / path).resolve() for path in [*written["components"], *with_prober["components"]]}
    # One of two ways in, the other as a comment.
    assert KUBERNETES / "components" / "ingress" in named_there
    assert "  # or ../../components/gateway" in text
    assert named_there == {KUBERNETES / "components" / name for name in COMPONENTS if name != "gateway"}


def test_each_dashboard_is_handed_to_grafana() -> None:
    maps = of_kind(built("production"), "ConfigMap")
    handed = [each for each in maps if each["metadata"].get("labels", {}).get("grafana_dashboard") == "1"]

    names = [name for each in handed for name in each["data"]]
    assert sorted(names) == sorted(path.name for path in (ROOT / "collector-config/grafana/dashboards").glob("*.json"))
    assert {each["metadata"]["name"] for each in handed} == {f"langflow-dashboard-{n[9:-5]}" for n in names}


@each_overlay
def test_an_overlay_has_one_autoscaler_and_no_fixed_size(overlay: str) -> None:
    resources = built(overlay)

    assert len(of_kind(resources, "HorizontalPodAutoscaler", "ScaledObject")) == 1
    assert "replicas" not in named(resources, "Deployment", "langflow")["spec"]


@each_overlay
def test_what_is_referred_to_is_there(overlay: str) -> None:
    resources = built(overlay)
    there = {(r["kind"], r["metadata"].get("namespace", ""), r["metadata"]["name"]) for r in resources}
    namespaces = {namespace["metadata"]["name"] for namespace in of_kind(resources, "Namespace")}
    certified = {(c["metadata"]["namespace"], c["spec"]["secretName"]) for c in of_kind(resources, "Certificate")}

    assert {namespace for _, namespace, _ in there} - {"", "cert-manager"} <= namespaces
    for workload in workloads(resources):
        namespace = workload["metadata"]["namespace"]
        spec = pod(workload)
        assert ("ServiceAccount", namespace, spec["serviceAccountName"]) in there
        assert ("PriorityClass", "", spec["priorityClassName"]) in there
        for volume in spec.get("volumes", []):
            if "configMap" in volume:
                assert ("ConfigMap", namespace, volume["configMap"]["name"]) in there
            if "secret" in volume:
                secret = volume["secret"]["secretName"]
                assert secret in MADE_BY_THE_OPERATOR or (namespace, secret) in certified
        mounted = {mount["name"] for c in spec["containers"] for mount in c.get("volumeMounts", [])}
        claimed = {claim["metadata"]["name"] for claim in workload["spec"].get("volumeClaimTemplates", [])}
        assert mounted == {volume["name"] for volume in spec.get("volumes", [])} | claimed
    for scaler in of_kind(resources, "HorizontalPodAutoscaler", "ScaledObject"):
        assert ("Deployment", "langflow", scaler["spec"]["scaleTargetRef"]["name"]) in there


@each_overlay
def test_selectors_and_port_names_find_pods(overlay: str) -> None:
    resources = built(overlay)
    for selecting in of_kind(resources, "Service", "PodMonitor", "PodDisruptionBudget", "NetworkPolicy"):
        found = [w for w in workloads(resources) if _selects(selecting, w)]
        assert found, f"{selecting['kind']} {selecting['metadata']['name']} selects nothing"
        for workload in found:
            ports = {port["name"] for c in pod(workload)["containers"] for port in c["ports"]}
            assert _port_names(selecting) <= ports, (
                f"{selecting['metadata']['name']} and {workload['metadata']['name']}"
            )


def _selects(selecting: Resource, workload: Resource) -> bool:
    spec = selecting["spec"]
    wanted = spec.get("selector") or spec["podSelector"]
    labels = workload["spec"]["template"]["metadata"]["labels"]
    same_namespace = selecting["metadata"]["namespace"] == workload["metadata"]["namespace"]
    return same_namespace and (wanted.get("matchLabels") or wanted).items() <= labels.items()


def _port_names(selecting: Resource) -> set[str]:
    spec = selecting["spec"]
    named_by_services = [port["targetPort"] for port in spec.get("ports", [])]
    named_by_monitors = [endpoint["port"] for endpoint in spec.get("podMetricsEndpoints", [])]
    named_by_policies = [port["port"] for rule in spec.get("ingress", []) for port in rule["ports"]]
    return {*named_by_services, *named_by_monitors, *named_by_policies}


@each_overlay
def test_pods_run_without_privileges_and_say_what_they_need(overlay: str) -> None:
    for workload in workloads(built(overlay)):
        as_root = not pod(workload)["securityContext"].get("runAsNonRoot")
        assert as_root == (workload["metadata"]["name"] in AS_ROOT)
        assert pod(workload)["automountServiceAccountToken"] is False
    for container in containers(built(overlay)):
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert {"cpu", "memory", "ephemeral-storage"} <= container["resources"]["requests"].keys()
        assert container["resources"]["limits"]["memory"] == container["resources"]["requests"]["memory"]
        assert "latest" not in container["image"]
        assert ":" in container["image"]


@each_overlay
def test_a_pod_is_given_the_time_that_its_drain_takes(overlay: str) -> None:
    langflow = pod(named(built(overlay), "Deployment", "langflow"))
    command = langflow["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
    drain_s = int(command[command.index("--at-most") + 1])

    # gunicorn and the library's last flush come after it.
    assert langflow["terminationGracePeriodSeconds"] >= drain_s + 45
    assert command[1] == "/opt/langflow-drain/drain.py"


def triggers(overlay: str) -> list[Resource]:
    return named(built(overlay), "ScaledObject", "langflow")["spec"]["triggers"]


@pytest.mark.parametrize("overlay", ["production", "gpu", "idle"])
def test_triggers_ask_for_metrics_of_the_librarys_catalogue(overlay: str) -> None:
    ours = {metric.prometheus_name for metric in CATALOGUE}
    ours |= {f"{metric.prometheus_name}_count" for metric in CATALOGUE if metric.kind == "histogram"}
    asked = set()
    for trigger in triggers(overlay):
        query = re.sub(r"\{.*?\}", "", trigger["metadata"].get("query", ""))
        asked |= set(re.findall(r"[a-z]+(?:_[a-z0-9]+)+(?!\w*\()", query)) - {"avg_over_time"}

    assert asked - NOT_OURS <= ours
    assert {"langflow_flow_active", "langflow_queue_depth"} <= asked


@pytest.mark.parametrize("overlay", ["production", "gpu", "idle"])
def test_missing_metrics_are_an_error_with_a_fallback(overlay: str) -> None:
    spec = named(built(overlay), "ScaledObject", "langflow")["spec"]
    asking = [trigger for trigger in spec["triggers"] if trigger["type"] == "prometheus"]

    assert all(trigger["metadata"]["ignoreNullValues"] == "false" for trigger in asking)
    assert spec["fallback"]["behavior"] == "currentReplicasIfHigher"
    # KEDA refuses a fallback without one.
    assert any(trigger["metricType"] == "AverageValue" for trigger in asking)
    assert 1 <= spec["fallback"]["replicas"] <= spec["maxReplicaCount"]


@pytest.mark.parametrize("overlay", ["production", "gpu"])
def test_keda_scales_on_work_first_and_then_as_the_autoscaler_does(overlay: str) -> None:
    autoscaler = named(built("hpa"), "HorizontalPodAutoscaler", "langflow")["spec"]
    scaled = named(built(overlay), "ScaledObject", "langflow")["spec"]
    names = [trigger["name"] for trigger in scaled["triggers"]]
    percent = {trigger["type"]: int(trigger["metadata"].get("value", 0)) for trigger in scaled["triggers"]}

    assert names[:3] == ["runs-in-flight", "queue-depth", "throughput"]
    assert (scaled["minReplicaCount"], scaled["maxReplicaCount"]) == (2, 10)
    assert (autoscaler["minReplicas"], autoscaler["maxReplicas"]) == (2, 10)
    targets = {m["resource"]["name"]: m["resource"]["target"]["averageUtilization"] for m in autoscaler["metrics"]}
    assert targets == {"cpu": 70, "memory": 80}
    assert (percent["cpu"], percent["memory"]) == (70, 80)
    assert scaled["advanced"]["horizontalPodAutoscalerConfig"]["behavior"] == autoscaler["behavior"]
    assert autoscaler["behavior"]["scaleDown"] == {
        "stabilizationWindowSeconds": 600,
        "policies": [{"type": "Percent", "value": 10, "periodSeconds": 60}],
    }


def test_only_the_overlay_with_gpus_scales_on_them() -> None:
    assert "gpu-busy" in [trigger["name"] for trigger in triggers("gpu")]
    assert "gpu-busy" not in [trigger["name"] for trigger in triggers("production")]
    limits = pod(named(built("gpu"), "Deployment", "langflow"))["containers"][0]["resources"]["limits"]
    assert limits["nvidia.com/gpu"] == "1"


def test_an_idle_environment_goes_to_zero_and_something_else_than_langflow_wakes_it() -> None:
    spec = named(built("idle"), "ScaledObject", "langflow")["spec"]

    assert spec["minReplicaCount"] == 0
    assert all("activationThreshold" in t["metadata"] for t in spec["triggers"] if t["type"] == "prometheus")
    waking = [t["name"] for t in spec["triggers"] if "langflow_" not in t["metadata"].get("query", "")]
    assert waking == ["requests-at-the-ingress", "working-hours"]


@each_overlay
def test_the_budget_holds_the_most_replicas_and_one_of_a_rollout(overlay: str) -> None:
    resources = built(overlay)
    quota = named(resources, "ResourceQuota", "langflow-budget")["spec"]["hard"]
    scaler = of_kind(resources, "HorizontalPodAutoscaler", "ScaledObject")[0]["spec"]
    most = scaler.get("maxReplicas") or scaler["maxReplicaCount"]
    needs = pod(named(resources, "Deployment", "langflow"))["containers"][0]["resources"]

    pods = int(quota["pods"])
    assert most + 1 <= pods <= most + 4
    assert int(quota["requests.cpu"]) == pods * int(needs["requests"]["cpu"])
    assert int(quota["limits.cpu"]) == pods * int(needs["limits"]["cpu"])
    assert quota["requests.memory"] == quota["limits.memory"] == f"{pods * int(needs['limits']['memory'][:-2])}Gi"
    assert quota.get("requests.nvidia.com/gpu", "0") == ("0" if "nvidia.com/gpu" not in needs["limits"] else str(pods))
    # Pods of other namespaces do not count, and a DaemonSet here would.
    assert {w["metadata"]["name"] for w in workloads(resources) if w["metadata"]["namespace"] == "langflow"} == {
        "langflow"
    }

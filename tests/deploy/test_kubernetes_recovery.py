"""A pod that hangs is replaced soon, one that is busy is not, and work on nodes leaves a replica that serves."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from overlays import (
    ALL_BUILT,
    KUBERNETES,
    Resource,
    built,
    containers,
    kustomize,
    named,
    of_kind,
    pod,
    workloads,
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(kustomize() is None, reason="neither kubectl nor kustomize is here: .ci/deploy-tools"),
]

each_overlay = pytest.mark.parametrize("overlay", ALL_BUILT)
README = (KUBERNETES / "README.md").read_text()
UNITS = {"Mi": 2**20, "Gi": 2**30}


def size(text: str) -> int:
    """In bytes."""
    return int(text[:-2]) * UNITS[text[-2:]]


def langflow(overlay: str) -> Resource:
    return pod(named(built(overlay), "Deployment", "langflow"))


@each_overlay
def test_the_start_may_take_twice_the_documented_migration(overlay: str) -> None:
    probe = langflow(overlay)["containers"][0]["startupProbe"]
    (minutes,) = re.findall(r"first start migrates the database[^.]* (\d+) min", README)

    assert probe["periodSeconds"] * probe["failureThreshold"] == 2 * 60 * int(minutes)


@each_overlay
def test_a_busy_server_is_out_of_the_service_before_it_is_restarted(overlay: str) -> None:
    container = langflow(overlay)["containers"][0]
    liveness, readiness = container["livenessProbe"], container["readinessProbe"]

    assert liveness["timeoutSeconds"] >= 3 * readiness["timeoutSeconds"]
    assert liveness["timeoutSeconds"] * liveness["failureThreshold"] >= 90
    # It asks the process alone: an outage of the database restarts nothing.
    assert liveness["httpGet"]["path"] == "/health"
    assert readiness["httpGet"]["path"] == "/health_check"
    # Not the drain's ten minutes: the runs of a blocked event loop do not end.
    assert liveness["terminationGracePeriodSeconds"] <= 30


@pytest.mark.parametrize("overlay", [overlay for overlay in ALL_BUILT if overlay != "idle"])
def test_an_eviction_leaves_a_replica_that_serves(overlay: str) -> None:
    resources = built(overlay)
    (scaler,) = of_kind(resources, "HorizontalPodAutoscaler", "ScaledObject")
    least = scaler["spec"].get("minReplicas") or scaler["spec"]["minReplicaCount"]
    budget = named(resources, "PodDisruptionBudget", "langflow")["spec"]

    assert least - budget["maxUnavailable"] >= 1
    assert budget["unhealthyPodEvictionPolicy"] == "AlwaysAllow"


def configuration(workload: Resource, overlay: str) -> Resource:
    (container,) = pod(workload)["containers"]
    (name,) = [volume["configMap"]["name"] for volume in pod(workload)["volumes"] if volume["name"] == "config"]
    path = Path(container["args"][0].removeprefix("--config="))
    return yaml.safe_load(named(built(overlay), "ConfigMap", name)["data"][path.name])


def queues_on_disk(config: Resource) -> set[tuple[str, str]]:
    """Exporter and signal: each such pair has a file of its own, and so has a receiver that stores where it is."""
    exporters = {
        (name, pipeline.partition("/")[0])
        for pipeline, parts in config["service"]["pipelines"].items()
        for name in parts["exporters"]
        if "storage" in str(config.get("exporters", {}).get(name, ""))
    }
    receivers = {(name, "") for name, settings in config["receivers"].items() if "storage" in (settings or {})}
    return exporters | receivers


def disks(workload: Resource) -> Iterator[tuple[str, int]]:
    """The volumes of limited size, by name, in bytes."""
    for volume in pod(workload).get("volumes", []):
        if "emptyDir" in volume:
            yield volume["name"], size(volume["emptyDir"]["sizeLimit"])
    for claim in workload["spec"].get("volumeClaimTemplates", []):
        yield claim["metadata"]["name"], size(claim["spec"]["resources"]["requests"]["storage"])


@each_overlay
def test_full_queues_fit_their_disk_also_while_they_are_compacted(overlay: str) -> None:
    collectors = [w for w in workloads(built(overlay)) if pod(w)["containers"][0]["name"] == "collector"]

    assert len(collectors) >= 3
    for workload in collectors:
        given = {v["name"]: v.get("value") for v in pod(workload)["containers"][0]["env"]}
        queues = queues_on_disk(configuration(workload, overlay))
        disk = dict(disks(workload)).get("storage")
        assert len(queues) >= 2
        # The log agent's disk is the node's.
        if disk is not None:
            assert 2 * len(queues) * int(given["COLLECTOR_STORAGE_BYTES"]) <= 0.95 * disk, workload["metadata"]["name"]


@each_overlay
def test_a_pod_may_use_the_disk_that_its_volumes_may(overlay: str) -> None:
    for workload in workloads(built(overlay)):
        (container,) = pod(workload)["containers"]
        in_the_pod = sum(
            bytes_ for name, bytes_ in disks(workload) if name in {v["name"] for v in pod(workload).get("volumes", [])}
        )
        limit = size(container["resources"]["limits"]["ephemeral-storage"])
        # Beside the volumes: the container's log, of which the kubelet keeps 50 MiB.
        assert limit >= in_the_pod + 100 * 2**20
        assert size(container["resources"]["requests"]["ephemeral-storage"]) <= limit
    assert len(list(containers(built(overlay)))) >= 4


@each_overlay
def test_langflow_is_kept_before_the_collectors(overlay: str) -> None:
    value = {each["metadata"]["name"]: each["value"] for each in of_kind(built(overlay), "PriorityClass")}
    classes = {w["metadata"]["name"]: pod(w)["priorityClassName"] for w in workloads(built(overlay))}

    collectors = [value[each] for name, each in classes.items() if name != "langflow"]
    assert value[classes["langflow"]] > max(collectors)
    assert min(collectors) > 0

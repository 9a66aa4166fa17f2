"""The autoscalers of the overlays, as their committed files have them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from autoscaler import DEFAULT_DOWN, DEFAULT_UP, Autoscaler, Policy, Rules

OVERLAYS = Path(__file__).parents[1] / "overlays"


@dataclass(frozen=True)
class Trigger:
    """One metric that is scaled on.

    Attributes:
        target: Of one replica; for a schedule, the replicas themselves.
        active_above: What counts as work, for the way from and to no replica.
        hours: From and until, in hours of the day, for a schedule.
    """

    name: str
    target: float
    averaged: bool = False
    active_above: float | None = None
    hours: tuple[float, float] | None = None


@dataclass(frozen=True)
class Scaling:
    """One overlay's autoscaler."""

    autoscaler: Autoscaler
    triggers: tuple[Trigger, ...]
    minimum: int
    polling_s: int = 30
    cooldown_s: int = 300


def horizontal_pod_autoscaler() -> Scaling:
    """The overlay hpa."""
    spec = _load("hpa/autoscaler.yaml")
    triggers = tuple(
        Trigger(metric["resource"]["name"], metric["resource"]["target"]["averageUtilization"] / 100, averaged=True)
        for metric in spec["metrics"]
    )
    return Scaling(
        _autoscaler(spec["minReplicas"], spec["maxReplicas"], spec["behavior"]), triggers, spec["minReplicas"]
    )


def scaled_object(overlay: str) -> Scaling:
    """The ScaledObject of an overlay. With no replica as its minimum, the autoscaler below it begins at one."""
    spec = _load(f"{overlay}/scaled_object.yaml")
    behavior = spec.get("advanced", {}).get("horizontalPodAutoscalerConfig", {}).get("behavior", {})
    minimum = spec["minReplicaCount"]
    return Scaling(
        _autoscaler(max(minimum, 1), spec["maxReplicaCount"], behavior),
        tuple(_trigger(trigger) for trigger in spec["triggers"]),
        minimum,
        spec.get("pollingInterval", 30),
        spec.get("cooldownPeriod", 300),
    )


def _load(path: str) -> dict[str, Any]:
    return yaml.safe_load((OVERLAYS / path).read_text())["spec"]


def _autoscaler(minimum: int, maximum: int, behavior: dict[str, Any]) -> Autoscaler:
    return Autoscaler(
        minimum, maximum, _rules(behavior.get("scaleUp"), DEFAULT_UP), _rules(behavior.get("scaleDown"), DEFAULT_DOWN)
    )


def _rules(given: dict[str, Any] | None, default: Rules) -> Rules:
    if given is None:
        return default
    policies = tuple(Policy(policy["type"], policy["value"], policy["periodSeconds"]) for policy in given["policies"])
    return Rules(given["stabilizationWindowSeconds"], policies, given.get("selectPolicy", "Max"))


def _trigger(given: dict[str, Any]) -> Trigger:
    metadata = given["metadata"]
    if given["type"] == "cron":
        hours = (_hour(metadata["start"]), _hour(metadata["end"]))
        return Trigger(given["name"], float(metadata["desiredReplicas"]), active_above=0, hours=hours)
    if given["type"] in ("cpu", "memory"):
        return Trigger(given["name"], float(metadata["value"]) / 100, averaged=True)
    return Trigger(
        given["name"], float(metadata["threshold"]), active_above=float(metadata.get("activationThreshold", 0))
    )


def _hour(cron: str) -> float:
    minute, hour, *days = cron.split()
    if days != ["*", "*", "1-5"]:
        raise ValueError(f"the simulated day is a working day; {cron!r} is not one on each of them")
    return int(hour) + int(minute) / 60


@dataclass(frozen=True)
class Probe:
    """A kubelet's probe, in seconds.

    Attributes:
        failures: In a row, until it acts.
        grace_s: How long the container may take to stop then.
    """

    period_s: int
    timeout_s: int
    failures: int
    grace_s: int


@dataclass(frozen=True)
class Protection:
    """What LangFlow's Deployment does against failures, and against planned work.

    Attributes:
        replicas: At least.
        drain_s: How long a pod that stops waits for its runs, at most.
    """

    replicas: int
    liveness: Probe
    readiness: Probe
    drain_s: int


def protection(overlay: str) -> Protection:
    """As the committed Deployment and the overlay's ScaledObject have it.

    Raises:
        ValueError: An update or an eviction takes more than one replica at a time: the simulation does not know that.
    """
    deployment = _langflow("deployment.yaml", "Deployment")
    budget = _langflow("disruption_budget.yaml", "PodDisruptionBudget")
    rolling = deployment["strategy"]["rollingUpdate"]
    if (rolling["maxUnavailable"], rolling["maxSurge"], budget["maxUnavailable"]) != (0, 1, 1):
        raise ValueError("more than one replica goes at a time, or one before its successor is ready")
    pod = deployment["template"]["spec"]
    (container,) = pod["containers"]
    drain = container["lifecycle"]["preStop"]["exec"]["command"]
    grace_s = pod["terminationGracePeriodSeconds"]
    return Protection(
        replicas=_load(f"{overlay}/scaled_object.yaml")["minReplicaCount"],
        liveness=_probe(container["livenessProbe"], grace_s),
        readiness=_probe(container["readinessProbe"], grace_s),
        drain_s=int(drain[drain.index("--at-most") + 1]),
    )


def _probe(given: dict[str, Any], pods_grace_s: int) -> Probe:
    grace_s = given.get("terminationGracePeriodSeconds", pods_grace_s)
    return Probe(given["periodSeconds"], given["timeoutSeconds"], given["failureThreshold"], grace_s)


def _langflow(file: str, kind: str) -> dict[str, Any]:
    resources = yaml.safe_load_all((OVERLAYS.parent / "base" / "langflow" / file).read_text())
    return next(resource["spec"] for resource in resources if resource["kind"] == kind)

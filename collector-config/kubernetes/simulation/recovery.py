"""What users notice of a pod that hangs, of nodes that are upgraded and of a new version, second by second.

Runs come evenly, one a second, and go to the replicas that serve in turn. The kubelet's probes, the disruption budget
and the Deployment's strategy are those of the committed files; ``EARLIER`` is what this repository had before.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from day import Workload
from manifests import Probe, Protection, protection

READY_AFTER_S = Workload().ready_after_s
KILL_S = 2
"""What a kubelet leaves for SIGTERM where a hook took the whole grace period."""
EVENT_AT_S = 1800

EARLIER = Protection(
    replicas=1,
    liveness=Probe(period_s=15, timeout_s=5, failures=4, grace_s=660),
    readiness=Probe(period_s=10, timeout_s=5, failures=3, grace_s=660),
    drain_s=600,
)


def noticed_s(probe: Probe) -> int:
    """From a hang until the probe has failed often enough, at worst: it began just after a success."""
    between_s = max(probe.period_s, math.ceil(probe.timeout_s / probe.period_s) * probe.period_s)
    return probe.period_s + (probe.failures - 1) * between_s + probe.timeout_s


@dataclass
class Pod:
    """One replica.

    Attributes:
        serves_from_s, serves_until_s: When the Service knows it.
        ends_at_s: When its container is killed, with the runs that it has.
        hangs_at_s: From when on no run goes on.
    """

    serves_from_s: float
    serves_until_s: float = math.inf
    ends_at_s: float = math.inf
    hangs_at_s: float = math.inf

    def serves(self, now_s: float) -> bool:
        return self.serves_from_s <= now_s < self.serves_until_s

    def ends_run(self, ends_s: float) -> bool:
        """Whether a run that takes until then comes to its end."""
        return ends_s <= min(self.ends_at_s, self.hangs_at_s)


@dataclass
class Outcome:
    """What users noticed, and for how long the event went on."""

    runs: int = 0
    refused: int = 0
    lost: int = 0
    serving: list[int] = field(default_factory=list)
    whole_after_s: float = 0.0


def hung_pod(given: Protection, run_s: int) -> Outcome:
    """The event loop of one replica is blocked for good: it is taken out of the Service, then restarted."""
    hung, *others = _replicas(given)
    hung.hangs_at_s = EVENT_AT_S
    hung.serves_until_s = EVENT_AT_S + noticed_s(given.readiness)
    # The hook waits for runs that cannot end: it takes the whole grace period, if that is not longer than the drain.
    grace_s = given.liveness.grace_s
    stop_s = grace_s + KILL_S if grace_s <= given.drain_s else grace_s
    hung.ends_at_s = EVENT_AT_S + noticed_s(given.liveness) + stop_s
    restarted = Pod(hung.ends_at_s + READY_AFTER_S)
    return _replay([hung, *others, restarted], given.replicas, run_s)


def node_upgrade(given: Protection, run_s: int) -> Outcome:
    """Each replica is on a node of its own, and each node is emptied, one after the other, by evictions."""
    pods = _replicas(given)
    now_s: float = EVENT_AT_S
    for pod in list(pods):
        # The budget allows one that is not available: the successor of the one before must be ready.
        now_s = max([now_s, *(other.serves_from_s for other in pods)])
        _stop(pod, now_s, given, run_s)
        pods.append(Pod(now_s + READY_AFTER_S))
    return _replay(pods, given.replicas, run_s)


def new_version(given: Protection, run_s: int) -> Outcome:
    """A rolling update: an old replica stops when a new one is ready, and the runs in it end first."""
    pods = _replicas(given)
    now_s: float = EVENT_AT_S
    for pod in list(pods):
        ready_s = now_s + READY_AFTER_S
        pods.append(Pod(ready_s))
        _stop(pod, ready_s, given, run_s)
        now_s = ready_s
    return _replay(pods, given.replicas, run_s)


def _replicas(given: Protection) -> list[Pod]:
    return [Pod(serves_from_s=0) for _ in range(given.replicas)]


def _stop(pod: Pod, at_s: float, given: Protection, run_s: int) -> None:
    """It gets no new runs; the drain waits for those that it has, and then it is killed."""
    pod.serves_until_s = at_s
    pod.ends_at_s = at_s + min(run_s, given.drain_s)


def _replay(pods: list[Pod], replicas: int, run_s: int) -> Outcome:
    changes = [at for pod in pods for at in (pod.serves_from_s, pod.ends_at_s) if at < math.inf]
    outcome = Outcome(whole_after_s=max(changes) - EVENT_AT_S)
    for now_s in range(EVENT_AT_S - run_s, EVENT_AT_S + int(outcome.whole_after_s) + run_s):
        serving = [pod for pod in pods if pod.serves(now_s)]
        outcome.runs += 1
        outcome.serving.append(len(serving))
        if not serving:
            outcome.refused += 1
        elif not serving[now_s % len(serving)].ends_run(now_s + run_s):
            outcome.lost += 1
    return outcome


def table() -> str:
    """Before and now, as the README has it."""
    lines = [
        "| what happens | settings | over after | fewest replicas that serve | runs refused with 503 | runs lost |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    now = protection("production")
    for name, scenario, run_s in (
        ("a pod hangs; runs of 6 s", hung_pod, 6),
        ("each node is upgraded; runs of 6 s", node_upgrade, 6),
        ("each node is upgraded; runs of 9 min", node_upgrade, 540),
        ("a new version; runs of 6 s", new_version, 6),
        ("a new version; runs of 9 min", new_version, 540),
        ("a new version; runs of 20 min", new_version, 1200),
    ):
        for label, given in (("earlier", EARLIER), ("committed", now)):
            of = scenario(given, run_s)
            cells = [name, label, f"{of.whole_after_s:.0f} s", str(min(of.serving)), str(of.refused), str(of.lost)]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"

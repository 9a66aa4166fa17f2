"""The faults by name: how each is made, when a user notices it, and who is to be told."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from deployments import NAMESPACE, Deployment
from waiting import wait_until

PATIENCE_S = 60.0
"""After so long without an answer a user notices that something is wrong: the objective for latency as shipped."""
HOUR_S, WEEK_S = 3600, 7 * 24 * 3600
HABIT = "habit"
"""The deployment of which Prometheus has known the traffic before."""
BLOCKED_S = 150.0

Drive = Callable[[Deployment], float]
"""Makes the fault; returns when a user notices it, in seconds since the epoch."""


@dataclass(frozen=True)
class Fault:
    """One fault.

    Attributes:
        name: For the command.
        what: What happens, for the table.
        deployment: Where. Its faults with a flow happen at the same time, its others one after the other.
        drive: Makes it.
        told: The alerts that people are to be told of, each once: pages and tickets. Nothing else.
        watched_s: For so long after a user noticed it is noted who is told.
        flow: To which it happens; empty if to all.
    """

    name: str
    what: str
    deployment: str
    drive: Drive
    told: tuple[str, ...]
    watched_s: float
    flow: str = ""


def first_failure(deployment: Deployment) -> float:
    return _from_the_first(deployment, "billing")


def three_flows(deployment: Deployment) -> float:
    return min(_from_the_first(deployment, flow) for flow in ("orders", "billing", "support"))


def _from_the_first(deployment: Deployment, flow: str, every_s: float = 2.0) -> float:
    deployment.ask(flow, "fail")
    noticed_s = time.time()
    deployment.keep_asking(flow, "fail", every_s)
    return noticed_s


def hung(deployment: Deployment) -> float:
    deployment.keep_asking("orders", "wait 3600", every_s=20)
    return time.time() + 20 + PATIENCE_S


def slow(deployment: Deployment) -> float:
    deployment.keep_asking("support", "wait 68", every_s=5)
    return time.time() + 5 + PATIENCE_S


def quiet(deployment: Deployment) -> float:
    return _from_the_first(deployment, "returns", every_s=60)


def blocked(deployment: Deployment) -> float:
    threading.Thread(target=deployment.ask, args=("billing", f"block {BLOCKED_S}"), daemon=True).start()
    return time.time()


def stopped(deployment: Deployment) -> float:
    deployment.signal(signal.SIGSTOP)
    return time.time()


def worker_killed(deployment: Deployment) -> float:
    _kill_a_worker(deployment)
    return time.time()


def workers_killed(deployment: Deployment) -> float:
    """One after the other, as by a lack of memory."""
    noticed_s = time.time()
    for _ in range(5):
        _kill_a_worker(deployment)
        time.sleep(20)
    return noticed_s


def _kill_a_worker(deployment: Deployment) -> None:
    """As soon as it is not the only one."""
    found = wait_until(lambda: deployment.workers()[1:], "there is one worker", 300)
    os.kill(found[0], signal.SIGKILL)


def dead(deployment: Deployment) -> float:
    """All processes die, and Kubernetes starts the pod again and again, with its pauses."""
    deployment.signal(signal.SIGKILL)
    noticed_s = time.time()
    for restarts, pause_s in enumerate((10, 20, 40, 80), start=1):
        deployment.in_kubernetes(available=0, restarts=restarts, waits=True)
        time.sleep(pause_s)
    return noticed_s


def queue(deployment: Deployment) -> float:
    for _ in range(3):
        assert deployment.in_background("nightly-import", "wait 700") < 300
    return time.time() + PATIENCE_S


def traffic_gone(deployment: Deployment) -> float:
    deployment.stop_asking()
    return time.time()


def history_of_traffic(now_s: float) -> str:
    """OpenMetrics of a deployment that was used in the last hour and in the same hours a week ago."""
    labels = f'job="langflow-{HABIT}",namespace="{NAMESPACE}"'
    lines = []
    for start_s, end_s in ((now_s - WEEK_S - 2 * HOUR_S, now_s - WEEK_S + 2 * HOUR_S), (now_s - HOUR_S, now_s - 60)):
        lines += [
            f"job:langflow_flow_runs:increase5m{{{labels}}} 150 {at_s}" for at_s in range(int(start_s), int(end_s), 30)
        ]
    return "# TYPE job:langflow_flow_runs:increase5m gauge\n" + "\n".join(lines) + "\n# EOF\n"


def nothing(_: Deployment) -> float:
    return time.time()


WORKERS = {"pair": 2, "killed": 2}
"""Of a deployment, where more than one."""
ENVIRONMENT = {"flows": {"LANGFLOW_BACKGROUND_MAX_CONCURRENCY": "1"}}
FAULTS = (
    Fault(
        "first-failure",
        "a flow that never failed fails, every 2 s",
        "flows",
        first_failure,
        ("LangflowComponentFailing",),
        300,
        "billing",
    ),
    Fault("hung", "the runs of a flow do not end", "flows", hung, ("LangflowRunHangs",), 420, "orders"),
    Fault("slow", "the runs of a flow take 68 s", "flows", slow, ("LangflowSlow",), 480, "support"),
    Fault(
        "quiet-flow",
        "a flow that runs once a minute fails each time",
        "flows",
        quiet,
        ("LangflowFlowNeverSucceeds",),
        600,
        "returns",
    ),
    Fault("queue", "background jobs wait behind one that takes long", "flows", queue, ("LangflowQueueWaits",), 600),
    Fault("three-flows", "three flows fail at once", "many", three_flows, ("LangflowFlowsFailing",), 240),
    Fault(
        "deployment-dead", "all processes die, and Kubernetes starts them in vain", "many", dead, ("LangflowDown",), 300
    ),
    Fault(
        "blocked-loop",
        "the event loop of one of two workers is blocked",
        "pair",
        blocked,
        ("LangflowEventLoopStopped",),
        BLOCKED_S,
    ),
    Fault("process-stopped", "all processes are stopped (SIGSTOP)", "pair", stopped, ("LangflowDown",), 300),
    Fault("worker-killed", "one of two workers is killed, once", "killed", worker_killed, (), 240),
    Fault(
        "workers-killed", "a worker is killed again and again", "killed", workers_killed, ("LangflowCrashLoop",), 600
    ),
    Fault("traffic-gone", "nobody asks any more, unlike last week", HABIT, traffic_gone, ("LangflowTrafficGone",), 840),
    Fault("steady", "nothing: steady load", "steady", nothing, (), 840),
)

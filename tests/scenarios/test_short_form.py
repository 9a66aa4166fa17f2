"""The short form of ``python tests/scenarios``: faults of one server, one after the other, in a quarter of the time."""

from __future__ import annotations

import runpy
import shutil
import signal
import sys
import threading
from itertools import cycle
from pathlib import Path

import pytest
from waiting import read_until

TESTS = Path(__file__).parents[1]
sys.path += [str(TESTS / "server"), str(TESTS / "scenarios")]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(
        shutil.which("prometheus-alertmanager") is None or shutil.which("prometheus") is None,
        reason="Prometheus or Alertmanager is not installed: apt-get install prometheus prometheus-alertmanager",
    ),
]

import langflow_server  # noqa: E402, F401 - skips these tests where LangFlow is not installed
from deployments import Deployment, Told, deployment, opened, watch  # noqa: E402
from fault_list import FAULTS  # noqa: E402

DEADLINE_S = 240.0
"""Of a page, on a busy machine: on an idle one each is there after 10 to 30 s."""


@pytest.mark.parametrize(
    ("alert", "busy", "is_as_wanted"),
    [
        ("LangflowEventLoopBlocked", 0.95, True),
        ("LangflowEventLoopBlocked", 0.5, False),
        ("LangflowEventLoopStopped", 0.95, False),
    ],
)
def test_a_busy_machine_is_no_alert_too_much(alert: str, busy: float, *, is_as_wanted: bool) -> None:
    """What the command exits with: all rows are as wanted."""
    row = runpy.run_path(str(TESTS / "scenarios" / "__main__.py"))["Row"]
    [queue] = [fault for fault in FAULTS if fault.name == "queue"]
    told = [Told(1, "ticket", "langflow-flows", name, name) for name in ("LangflowQueueWaits", alert)]

    made = row(queue, 0, told, [], busy)

    assert made.is_as_wanted is is_as_wanted
    assert ("(of the machine)" in made.cells()[1]) is is_as_wanted


def test_each_worse_fault_is_one_page_more(tmp_path: Path) -> None:
    """Kubernetes says at the end what has been paged for before."""
    paged: list[str] = []
    with (
        watch(tmp_path, factor=4, limits={"returns": 10}) as watched,
        deployment(watched, "faults", probed=False) as made,
    ):

        def are_paged(*alerts: str) -> None:
            paged.extend(alerts)
            assert read_until(pages, lambda found: found == sorted(paged), DEADLINE_S) == sorted(paged), watched.told

        def pages() -> list[str]:
            return sorted(each.alert for each in opened(watched.of(made.job)) if each.receiver == "page")

        # These were well before, and no other users ask for them.
        flows = ("billing", "support", "nightly-import")
        assert [made.ask(flow) for flow in flows] == [200, 200, 200]
        stop = _keep_failing(made, "billing")
        _in_background(made, "returns", "wait 3600")
        are_paged("LangflowComponentFailing", "LangflowRunHangs")
        stop.set()

        _keep_failing(made, *flows)
        are_paged("LangflowFlowsFailing")

        _in_background(made, "shop", "block 3600")
        are_paged("LangflowEventLoopStopped")

        made.signal(signal.SIGSTOP)
        are_paged("LangflowDown")

        made.signal(signal.SIGKILL)
        made.in_kubernetes(available=0, restarts=4, waits=True)
        of_kubernetes = {"LangflowDeploymentUnavailable", "LangflowPodCrashLoop"}
        muted = read_until(lambda: watched.muted(made.job), of_kubernetes.issubset, DEADLINE_S)
        assert of_kubernetes <= muted
        assert pages() == sorted(paged)


def _keep_failing(made: Deployment, *flows: str) -> threading.Event:
    """Until it is set, runs of these flows fail in turn, each when the last one has: so many as the machine can do."""
    stop = threading.Event()

    def ask() -> None:
        for flow in cycle(flows):
            made.ask(flow, "fail")
            if stop.wait(0.3):
                return

    threading.Thread(target=ask, daemon=True).start()
    return stop


def _in_background(made: Deployment, flow: str, text: str) -> None:
    threading.Thread(target=made.ask, args=(flow, text), daemon=True).start()

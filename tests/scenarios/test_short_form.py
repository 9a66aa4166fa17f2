"""The short form of ``python tests/scenarios``: three faults of one server, in a quarter of the time."""

from __future__ import annotations

import shutil
import signal
import sys
import threading
from pathlib import Path

import pytest
from waiting import read_until

TESTS = Path(__file__).parents[1]
sys.path += [str(TESTS / "server"), str(TESTS / "scenarios")]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(
        shutil.which("prometheus-alertmanager") is None or shutil.which("prometheus") is None,
        reason="Prometheus or Alertmanager is not installed: apt-get install prometheus prometheus-alertmanager",
    ),
]

import langflow_server  # noqa: E402, F401 - skips these tests where LangFlow is not installed
from deployments import deployment, opened, watch  # noqa: E402


def test_each_worse_fault_is_one_page_more(tmp_path: Path) -> None:
    """Three flows fail, then the event loop is blocked, then all processes are gone."""
    paged: list[str] = []
    with watch(tmp_path, factor=4) as watched, deployment(watched, "faults", probed=False) as made:

        def is_paged(alert: str) -> None:
            paged.append(alert)
            assert read_until(found, lambda pages: pages == paged, 180) == paged

        def found() -> list[str]:
            return [each.alert for each in opened(watched.of(made.job)) if each.receiver == "page"]

        failing = [made.keep_asking(flow, "fail", every_s=0.5) for flow in ("orders", "billing", "support")]
        is_paged("LangflowFlowsFailing")
        for each in failing:
            each.set()
        threading.Thread(target=made.ask, args=("shop", "block 300"), daemon=True).start()
        is_paged("LangflowEventLoopStopped")
        made.signal(signal.SIGKILL)
        is_paged("LangflowDown")

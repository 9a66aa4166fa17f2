"""By how much a counter has grown, as it is asked of a Prometheus: what ``increase()`` alone gets wrong."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from langflow_otel.insights.prometheus_source import PrometheusAccess, PrometheusSource

pytestmark = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="Prometheus is not installed: apt-get install prometheus"
)

LABELS = 'job="langflow",instance="one"'
UP = "1+0x8"


@pytest.mark.parametrize(
    ("counter", "up", "started_s", "grown"),
    [
        ("0+10x8", UP, 0, 20),
        ("_x7 5", UP, 0, 5),
        ("_x7 5", "_x7 1", 110, 5),
        ("0 10 20 30 40 50 stale 70 80", "1 1 1 1 1 1 0 1 1", 0, 30),
        ("0 10 20 30 stale stale stale 70 80", "1 1 1 1 0 0 0 1 1", 0, 50),
        ("0 10 20 30 40 50 stale 3 8", "1 1 1 1 1 1 0 1 1", 100, 8),
    ],
    ids=["steady", "new series", "new process", "a failed scrape", "failed scrapes", "restarted meanwhile"],
)
def test_growth_in_the_last_thirty_seconds(tmp_path: Path, counter: str, up: str, started_s: int, grown: int):
    """A value each 15 s, for two minutes."""
    query = PrometheusSource(PrometheusAccess("http://p"))._growth("requests_total", 30, None)
    series = {"requests_total": counter, "up": up, "langflow_otel_start_time_seconds": f"{started_s}+0x8"}
    case = {
        "interval": "15s",
        "input_series": [{"series": f"{name}{{{LABELS}}}", "values": values} for name, values in series.items()],
        "promql_expr_test": [
            {"expr": f"sum({query})", "eval_time": "2m", "exp_samples": [{"labels": "{}", "value": grown}]}
        ],
    }
    path = tmp_path / "case.yml"
    path.write_text(json.dumps({"evaluation_interval": "15s", "tests": [case]}))
    done = subprocess.run(["promtool", "test", "rules", str(path)], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr

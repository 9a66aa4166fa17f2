"""What Prometheus answers to the triggers' queries: with runs, before the first run, and with nothing to scrape."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from overlays import KUBERNETES

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not shutil.which("promtool"), reason="Prometheus is not installed: apt-get install prometheus"),
]

SCRAPED = ['langflow_throughput{namespace="langflow",pod="a"}', 'langflow_throughput{namespace="langflow",pod="b"}']
IDLE = dict.fromkeys(SCRAPED, "0x20")
ELSEWHERE = {
    'langflow_throughput{namespace="other"}': "5x20",
    'langflow_flow_active{namespace="other",flow="f",entry_point="api"}': "50x20",
    'langflow_queue_depth{namespace="other",queue="background"}': "50x20",
    'langflow_flow_duration_seconds_count{namespace="other",flow="f",entry_point="api"}': "0+600x20",
}
BUSY = {
    **IDLE,
    'langflow_flow_active{namespace="langflow",pod="a",flow="f",entry_point="api"}': "7x20",
    'langflow_flow_active{namespace="langflow",pod="b",flow="g",entry_point="playground"}': "6x20",
    # Runs in the run that started them: that one counts.
    'langflow_flow_active{namespace="langflow",pod="b",flow="h",entry_point="flow"}': "3x20",
    'langflow_queue_depth{namespace="langflow",pod="a",queue="background"}': "4x20",
    'langflow_flow_duration_seconds_count{namespace="langflow",pod="a",status="ok",entry_point="api"}': "0+60x20",
    'langflow_flow_duration_seconds_count{namespace="langflow",pod="b",status="error",entry_point="api"}': "0+30x20",
}


def queries(overlay: str) -> dict[str, str]:
    triggers = yaml.safe_load((KUBERNETES / "overlays" / overlay / "scaled_object.yaml").read_text())["spec"][
        "triggers"
    ]
    return {trigger["name"]: trigger["metadata"]["query"] for trigger in triggers if trigger["type"] == "prometheus"}


def gpu_query() -> str:
    (patch,) = yaml.safe_load((KUBERNETES / "overlays" / "gpu" / "gpu_trigger.yaml").read_text())
    return patch["value"]["metadata"]["query"]


def check_answers(folder: Path, series: dict[str, str], answers: dict[str, float | None]) -> None:
    """That Prometheus gives each query this one value without labels, or none."""
    expected: list[dict[str, Any]] = [
        {
            "expr": query,
            "eval_time": "15m",
            "exp_samples": [] if value is None else [{"labels": "{}", "value": value}],
        }
        for query, value in answers.items()
    ]
    inputs = [{"series": name, "values": values} for name, values in {**series, **ELSEWHERE}.items()]
    file = folder / "queries.yml"
    file.write_text(
        yaml.safe_dump({"tests": [{"interval": "1m", "input_series": inputs, "promql_expr_test": expected}]})
    )
    told = subprocess.run(["promtool", "test", "rules", file], capture_output=True, text=True, timeout=60, check=False)
    assert told.returncode == 0, told.stdout + told.stderr


def test_the_work_of_all_replicas_is_added_up(tmp_path: Path) -> None:
    asked = queries("production")

    check_answers(tmp_path, BUSY, {asked["runs-in-flight"]: 13, asked["queue-depth"]: 4, asked["throughput"]: 1.5})


def test_before_the_first_run_there_is_no_work_and_no_error(tmp_path: Path) -> None:
    check_answers(tmp_path, IDLE, dict.fromkeys(queries("production").values(), 0.0))


def test_without_a_scrape_there_is_no_answer_which_is_an_error_to_keda(tmp_path: Path) -> None:
    check_answers(tmp_path, {}, {**dict.fromkeys(queries("production").values()), gpu_query(): None})


def test_with_no_replica_an_idle_environment_has_no_work_and_no_error(tmp_path: Path) -> None:
    check_answers(tmp_path, {}, dict.fromkeys(queries("idle").values(), 0.0))


def test_requests_at_the_ingress_wake_an_idle_environment(tmp_path: Path) -> None:
    series = {'nginx_ingress_controller_requests{exported_namespace="langflow",status="503",pod="x"}': "0+6x20"}

    check_answers(tmp_path, series, {queries("idle")["requests-at-the-ingress"]: 0.1})


@pytest.mark.parametrize(
    ("start_time_s", "runs", "throughput"),
    [
        pytest.param(830, 12, 0.1, id="of a new replica"),
        pytest.param(-86400, 1200, 0, id="of an old one, to a new Prometheus"),
    ],
)
def test_runs_before_the_first_scrape_count_when_new(
    tmp_path: Path, start_time_s: int, runs: int, throughput: float
) -> None:
    pod = 'namespace="langflow",job="langflow",instance="b:9464",pod="b"'
    series = {
        f"up{{{pod}}}": "_x14 1x6",
        f"langflow_otel_start_time_seconds{{{pod}}}": f"_x14 {start_time_s}x6",
        f'langflow_flow_duration_seconds_count{{{pod},flow="f",status="ok",entry_point="api"}}': f"_x14 {runs}x6",
    }

    check_answers(tmp_path, {**IDLE, **series}, {queries("production")["throughput"]: throughput})


def test_first_requests_at_the_ingress_wake_an_idle_environment(tmp_path: Path) -> None:
    target = 'job="ingress",instance="i:10254"'
    requests = f'nginx_ingress_controller_requests{{{target},exported_namespace="langflow",status="503"}}'
    series = {f"up{{{target}}}": "1x20", requests: "_x14 12x6"}

    check_answers(tmp_path, series, {queries("idle")["requests-at-the-ingress"]: 0.1})


def gpus(*values: str) -> dict[str, str]:
    return {
        f'hw_gpu_utilization_ratio{{namespace="langflow",pod="{pod}",hw_id="gpu-{pod}"}}': value
        for pod, value in zip("ab", values, strict=False)
    }


def test_gpus_that_are_busy_for_five_minutes_want_one_replica_more(tmp_path: Path) -> None:
    check_answers(tmp_path, {**IDLE, **gpus("0.97x20", "0.93x20")}, {gpu_query(): 3})


def test_a_short_burst_on_the_gpus_wants_nothing(tmp_path: Path) -> None:
    check_answers(tmp_path, {**IDLE, **gpus("0.2x13 1x6", "0.2x13 1x6")}, {gpu_query(): 0})


STOPS = {'kube_pod_deletion_timestamp{namespace="langflow",pod="b",job="kube-state-metrics"}': "1000x20"}
"""Pod b drains: it still answers scrapes, and its last runs go on."""


def test_work_of_a_pod_that_stops_is_none_for_the_others(tmp_path: Path) -> None:
    asked = queries("production")

    check_answers(tmp_path, {**BUSY, **STOPS}, {asked["runs-in-flight"]: 7, asked["queue-depth"]: 4})


def test_where_all_pods_stop_there_is_no_work_and_no_error(tmp_path: Path) -> None:
    stops = {**STOPS, 'kube_pod_deletion_timestamp{namespace="langflow",pod="a",job="kube-state-metrics"}': "1000x20"}
    asked = queries("production")

    check_answers(tmp_path, {**BUSY, **stops}, {asked["runs-in-flight"]: 0, asked["queue-depth"]: 0})


def test_the_gpu_of_a_pod_that_stops_counts_in_neither_number_nor_use(tmp_path: Path) -> None:
    check_answers(tmp_path, {**IDLE, **STOPS, **gpus("0.97x20", "0.1x20")}, {gpu_query(): 2})


def test_a_busy_gpu_of_a_pod_that_stops_wants_nothing(tmp_path: Path) -> None:
    check_answers(tmp_path, {**IDLE, **STOPS, **gpus("0.2x20", "1x20")}, {gpu_query(): 0})


def test_one_busy_gpu_of_two_wants_nothing(tmp_path: Path) -> None:
    check_answers(tmp_path, {**IDLE, **gpus("1x20", "0.5x20")}, {gpu_query(): 0})

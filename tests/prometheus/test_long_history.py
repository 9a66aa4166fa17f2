"""Forecasts and risks from a real Prometheus that holds weeks of made history."""

from __future__ import annotations

import json
import math
import random
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from live import ask, free_port, process
from typer.testing import CliRunner

pytest.importorskip("statsforecast", reason="pip install 'langflow-otel[forecast]'")

from langflow_otel.cli.main import app

pytestmark = [pytest.mark.slow, pytest.mark.any_version]

DAYS = 45
STEP_S = 240
DAY_S = 86_400
GIB = 2**30
PROCESS = 'instance="web",job="langflow",worker="7"'
GPU = 'instance="web",job="langflow",hw_id="GPU-1",hw_name="NVIDIA H200"'

Level = Callable[[float, random.Random], float]
"""A value by the days since the beginning, which is a midnight of UTC."""


def a_day(day: float) -> float:
    """Runs a day: more each day, and fewer at the weekend."""
    return (200 + 4 * day) * (0.5 if int(day) % 7 >= 5 else 1.0)


def last(days: float, growth: float) -> Callable[[float], float]:
    """0 until so many days before today, and then growing by so much a day."""
    return lambda day: max(0.0, day - (DAYS - days)) * growth


GAUGES: dict[str, Level] = {
    f"process_uptime_seconds{{{PROCESS}}}": lambda day, _: day * DAY_S if day < DAYS - 5 else (day - DAYS + 5) * DAY_S,
    # A leak since the restart five days ago, and descriptors that are not closed.
    f"process_memory_usage_bytes{{{PROCESS}}}": lambda day, rand: (1 + last(5, 0.1)(day) + rand.gauss(0, 0.02)) * GIB,
    f"process_open_fds{{{PROCESS}}}": lambda day, rand: round(80 + last(5, 40)(day) + rand.gauss(0, 3)),
    f"process_cpu_utilization_ratio{{{PROCESS}}}": lambda day, rand: 0.2 + 0.002 * day + rand.gauss(0, 0.01),
    'langflow_queue_depth{instance="web",job="langflow",queue="jobs"}': lambda _, rand: max(0, rand.gauss(2, 3)),
    'system_filesystem_utilization_ratio{instance="web",job="langflow",system_filesystem_mountpoint="/data"}': (
        lambda day, rand: 0.3 + 0.012 * day + rand.gauss(0, 0.001)
    ),
    f"hw_temperature_celsius{{{GPU}}}": lambda day, rand: 60 + 8 * math.sin(2 * math.pi * day) + rand.gauss(0, 1),
    f'hw_status{{{GPU},hw_type="gpu",hw_state="degraded"}}': lambda day, rand: float(rand.random() < last(5, 0.1)(day)),
}
COUNTERS: dict[str, Callable[[float], float]] = {
    'langflow_flow_duration_seconds_count{instance="web",job="langflow",flow="shop",status="ok"}': (
        lambda day: a_day(day) * (1 - last(5, 0.05)(day))
    ),
    # The share of runs that fail grows in the last five days.
    'langflow_flow_duration_seconds_count{instance="web",job="langflow",flow="shop",status="error"}': (
        lambda day: a_day(day) * last(5, 0.05)(day)
    ),
    f'hw_errors_total{{{GPU},hw_type="gpu",error_type="uncorrected"}}': lambda day: last(2, 3)(day),
}


def today() -> float:
    """How much of the day is over."""
    return time.time() % DAY_S / DAY_S


def openmetrics(path: Path, end_s: int) -> None:
    rand = random.Random(1)
    start_s = (end_s // DAY_S - DAYS) * DAY_S
    steps = range((end_s - start_s) // STEP_S + 1)
    with path.open("w") as file:
        names: dict[str, list[str]] = {}
        for series in (*GAUGES, *COUNTERS):
            names.setdefault(series.partition("{")[0], []).append(series)
        for name, of_name in names.items():
            file.write(f"# TYPE {name.removesuffix('_total')} {'counter' if name.endswith('_total') else 'unknown'}\n")
            for series in of_name:
                total = 0.0
                for step in steps:
                    day = step * STEP_S / DAY_S
                    if series in GAUGES:
                        value = GAUGES[series](day, rand)
                    else:
                        total += COUNTERS[series](day) * STEP_S / DAY_S
                        value = math.floor(total)
                    file.write(f"{series} {value} {start_s + step * STEP_S}\n")
        file.write("# EOF\n")


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    for program in ("prometheus", "promtool"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed: apt-get install prometheus")
    folder: Path = tmp_path_factory.mktemp("history")
    openmetrics(folder / "history.txt", int(time.time()))
    # In blocks of two hours, as by default, it would read the file for each of them.
    command = ["promtool", "tsdb", "create-blocks-from", "openmetrics", "--max-block-duration=1440h"]
    command += [str(folder / "history.txt"), str(folder / "data")]
    subprocess.run(command, check=True, capture_output=True, timeout=250)
    (folder / "prometheus.yml").write_text("{}\n")
    address = f"127.0.0.1:{free_port()}"
    command = ["prometheus", f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}"]
    command += [f"--web.listen-address={address}", "--storage.tsdb.retention.time=2y"]
    with process(command, folder / "prometheus.log"):
        deadline_s = time.monotonic() + 120
        while True:
            try:
                found = ask(f"http://{address}", "query", query="process_open_fds")
            except OSError:
                found = {"result": []}
            if found["result"]:
                break
            assert time.monotonic() < deadline_s, "Prometheus does not have the history"
            time.sleep(0.2)
        yield f"http://{address}"


def cli(prometheus: str, *arguments: str) -> Any:
    result = CliRunner().invoke(app, ["forecast", "--prometheus", prometheus, *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result


def test_forecast_has_growth_week_and_date(prometheus: str) -> None:
    found = json.loads(cli(prometheus, "--days", "14", "--limit", "disk=90%", "--json").stdout)
    forecasts = {each["figure"]: each for each in found["forecasts"]}

    assert set(forecasts) == {"runs", "cpu", "memory", "disk"}
    runs = forecasts["runs"]
    assert len(runs["history"]["values"]) == pytest.approx(DAYS, abs=2)
    for ahead, day in enumerate(runs["days"]):
        assert day["value"] == pytest.approx(a_day(DAYS + ahead + 0.5), rel=0.2), ahead
    disk = forecasts["disk"]["crossing"]
    in_days = (0.9 - 0.3) / 0.012 - DAYS - today()
    assert (disk["expected_s"] - time.time()) / DAY_S == pytest.approx(in_days, abs=3)


def test_risks_are_those_that_were_made(prometheus: str) -> None:
    limits = ("--limit", "descriptors=1024", "--limit", "memory=4GiB")
    found = json.loads(cli(prometheus, "--risk", *limits, "--json").stdout)
    risks = {each["kind"]: each for each in found["found"]}

    assert set(risks) == {"memory", "descriptors", "disk", "gpu slowed", "errors"}
    assert risks["memory"]["trend"]["slope"] * DAY_S == pytest.approx(0.1 * GIB, rel=0.15)
    # The process is five days old, and the history asked for seven.
    assert risks["memory"]["age_s"] == pytest.approx((5 + today()) * DAY_S, rel=0.1)
    assert risks["memory"]["subject"] == "web 7"
    in_days = (1024 - 80) / 40 - 5 - today()
    reached = risks["descriptors"]["reaches"]
    assert (reached["expected_s"] - time.time()) / DAY_S == pytest.approx(in_days, rel=0.15)
    assert reached["earliest_s"] < reached["expected_s"] < reached["latest_s"]
    full = risks["disk"]["reaches"]
    assert (full["expected_s"] - time.time()) / DAY_S == pytest.approx((1 - 0.3) / 0.012 - DAYS - today(), abs=3)
    assert set(found["uncorrected"]) == {"web GPU-1"}


def test_risks_are_shown_as_a_table(prometheus: str) -> None:
    shown = cli(prometheus, "--risk", "--limit", "temperature=85").stdout

    assert "ECC errors that could not be corrected" in shown
    assert "open file descriptors" in shown
    assert "The disk of web /data reaches 100 %: 20" in shown

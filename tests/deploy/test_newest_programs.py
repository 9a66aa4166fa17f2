"""The current releases of Prometheus and Alertmanager take our files, scrape and alert with them."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from newest_programs import newest_program
from overlays import ROOT

CONFIG = ROOT / "collector-config"
PROMETHEUS = CONFIG / "prometheus"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        newest_program("prometheus") is None,
        reason="there is no Prometheus 3: .ci/newest-programs builds one",
    ),
]


def run(program: str, *arguments: str | Path) -> str:
    done = subprocess.run([str(newest_program(program)), *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("name", ["alone.yml", "prometheus.yml"])
def test_promtool_3_accepts_configuration_and_rules(name: str) -> None:
    said = run("promtool", "check", "config", PROMETHEUS / name)

    assert said.count("rules found") == len(list((PROMETHEUS / "rules").glob("*.yml")))


WINDOWED = ("costs", "dashboards", "days", "few-runs", "minutes", "monitoring", "never-succeeds")
"""Cases on long windows. Those of Prometheus 3 do not contain their beginning, so samples must not lie on it."""


@pytest.mark.parametrize("name", WINDOWED)
def test_cases_on_windows_hold_in_prometheus_3_as_in_2(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # A third less of the processors, for four times the memory.
    monkeypatch.setenv("GOGC", "400")

    assert "SUCCESS" in run("promtool", "test", "rules", ROOT / "tests" / "prometheus" / "rules" / f"{name}.yml")


def test_amtool_accepts_the_routes() -> None:
    assert "SUCCESS" in run("amtool", "check-config", CONFIG / "alertmanager" / "alertmanager.yml")


def test_compose_runs_the_releases_that_are_tested() -> None:
    built = (ROOT / ".ci" / "newest-programs").read_text()
    images = (CONFIG / "compose" / "compose.yaml").read_text()

    # The Go module of Prometheus 3.16.0 is v0.316.0.
    major, minor, patch = re.search(r"prometheus_version=v0\.(\d)(\d\d)\.(\d+)", built).groups()
    assert f"image: prom/prometheus:v{major}.{int(minor)}.{patch}\n" in images
    alertmanager = re.search(r"alertmanager@(v[\d.]+)", built)[1]
    assert f"image: prom/alertmanager:{alertmanager}\n" in images


def free_address() -> str:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return f"localhost:{found.getsockname()[1]}"


@contextmanager
def started(log: Path, program: str, *arguments: str) -> Iterator[None]:
    with log.open("wb") as output:
        process = subprocess.Popen([str(newest_program(program)), *arguments], stdout=output, stderr=output)
    try:
        yield
    finally:
        process.terminate()
        process.wait(30)
        print(log.read_text()[-2000:])


def eventually(claim: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 120
    while True:
        # Refused: it has not started yet.
        with suppress(OSError):
            if claim():
                return
        assert time.monotonic() < deadline_s
        time.sleep(0.2)


def test_prometheus_3_tells_the_current_alertmanager(tmp_path: Path) -> None:
    prometheus, alertmanager = free_address(), free_address()
    text = (PROMETHEUS / "alone.yml").read_text()
    text = text.replace("localhost:9090", prometheus).replace("localhost:9093", alertmanager)
    text = re.sub(r"_interval: \d+s", "_interval: 1s", text)
    (tmp_path / "alone.yml").write_text(text)
    (tmp_path / "rules").symlink_to(PROMETHEUS / "rules")

    def there(address: str, path: str) -> list[dict]:
        with urllib.request.urlopen(f"http://{address}{path}", timeout=5) as answer:
            found = json.load(answer)
        return found["data"]["result"] if isinstance(found, dict) else found

    with ExitStack() as running:
        running.enter_context(
            started(
                tmp_path / "alertmanager.log",
                "alertmanager",
                f"--config.file={CONFIG / 'alertmanager' / 'alertmanager.yml'}",
                f"--storage.path={tmp_path / 'alertmanager'}",
                f"--web.listen-address={alertmanager}",
                "--cluster.listen-address=",
            )
        )
        running.enter_context(
            started(
                tmp_path / "prometheus.log",
                "prometheus",
                f"--config.file={tmp_path / 'alone.yml'}",
                f"--storage.tsdb.path={tmp_path / 'data'}",
                "--storage.tsdb.retention.time=30d",
                f"--web.listen-address={prometheus}",
                "--enable-feature=exemplar-storage",
            )
        )
        eventually(lambda: len(there(prometheus, "/api/v1/query?query=up%3D%3D1")) == 2)
        eventually(
            lambda: "Watchdog" in {alert["labels"]["alertname"] for alert in there(alertmanager, "/api/v2/alerts")}
        )

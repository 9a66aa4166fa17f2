"""The real Prometheus with our configuration, over a process that runs real flows.

What of the configuration is changed for the test, in a copy: intervals and waiting times (1 s; ``offset 1w`` and
``15m`` become ``offset 5s``), and addresses. The windows of the rules stay: rates over an hour or three days are taken
of what there is.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from promql import CONFIG, RULES

HERE = Path(__file__).parent
DRIVEN_S = 18.0


@dataclass
class Live:
    """Servers that run, and when the flows were driven."""

    prometheus: str
    alertmanager: str | None
    store: str | None
    folder: Path
    prometheus_pid: int
    started_s: float
    at_s: float

    def now(self, promql: str) -> list[dict[str, Any]]:
        """Series with one value each."""
        return ask(self.prometheus, "query", query=promql, time=self.at_s)["result"]

    def lines(self, promql: str) -> list[dict[str, Any]]:
        """Series with their values over the drive."""
        span = {"start": self.started_s, "end": self.at_s, "step": 1}
        return ask(self.prometheus, "query_range", query=promql, **span)["result"]


def ask(server: str, what: str, **parameters: Any) -> Any:
    answer = json.loads(fetch(f"{server}/api/v1/{what}?{urllib.parse.urlencode(parameters)}"))
    assert answer["status"] == "success"
    return answer["data"]


def fetch(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as response:
        return response.read().decode()


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@contextmanager
def process(
    command: list[str], log: Path, *, stdin: int | None = None, **environment: str
) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as output:
        started = subprocess.Popen(
            command, stdin=stdin, stdout=output, stderr=output, cwd=log.parent, env={**os.environ, **environment}
        )
    try:
        yield started
    finally:
        started.terminate()
        try:
            started.wait(20)
        except subprocess.TimeoutExpired:
            started.kill()
        print(log.name, log.read_text(errors="replace")[-2000:])


@contextmanager
def living(folder: Path, made: str | None = None) -> Iterator[Live]:
    """Starts everything, lets the flows run for a while, and hands it over.

    Args:
        folder: Of its files.
        made: host:port of a page of made series that is scraped as well; see board_series.py.
    """
    flows, prometheus, alertmanager, store, nobody = (f"127.0.0.1:{free_port()}" for _ in range(5))
    addresses = {
        "langflow:9464": flows,
        "localhost:9090": prometheus,
        "alertmanager:9093": alertmanager,
        "victoria-metrics:8428": store,
        "otel-collector:8888": nobody,
        "blackbox:9115": nobody,
    }
    config = rewritten(folder, addresses)
    if made is not None:
        _scrape(config, made)
    with ExitStack() as running:
        has_store = shutil.which("victoria-metrics") is not None
        if has_store:
            command = ["victoria-metrics", f"-httpListenAddr={store}", f"-storageDataPath={folder / 'store'}"]
            running.enter_context(
                process([*command, "-retentionPeriod=1y", "-search.latencyOffset=0s"], folder / "store.log")
            )
        has_alertmanager = shutil.which("prometheus-alertmanager") is not None
        if has_alertmanager:
            command = ["prometheus-alertmanager", f"--config.file={CONFIG / 'alertmanager' / 'alertmanager.yml'}"]
            command += [f"--web.listen-address={alertmanager}", "--cluster.listen-address="]
            running.enter_context(process([*command, f"--storage.path={folder}"], folder / "alertmanager.log"))
        started = running.enter_context(process(prometheus_command(config, prometheus), folder / "prometheus.log"))
        running.enter_context(
            process(
                [sys.executable, str(HERE / "flows_process.py")], folder / "flows.log", **environment(flows, folder)
            )
        )
        found = Live(
            f"http://{prometheus}",
            f"http://{alertmanager}" if has_alertmanager else None,
            f"http://{store}" if has_store else None,
            folder,
            started.pid,
            time.time(),
            time.time(),
        )
        wait_for_first_run(found)
        found.started_s = time.time()
        time.sleep(DRIVEN_S)
        wait_for_a_scrape(found)
        yield found


def prometheus_command(config: Path, address: str) -> list[str]:
    """As the README says, on a port of its own."""
    return [
        "prometheus",
        f"--config.file={config}",
        f"--storage.tsdb.path={config.parent / 'data'}",
        f"--web.listen-address={address}",
        "--storage.tsdb.retention.time=30d",
        "--storage.remote.flush-deadline=1s",
        "--enable-feature=exemplar-storage",
        f"--web.user-assets={user_assets(config.parent)}",
    ]


def user_assets(folder: Path) -> Path:
    assets = folder / "user"
    assets.mkdir()
    shutil.copy(CONFIG / "prometheus" / "RUNBOOK.html", assets)
    return assets


def environment(address: str, folder: Path) -> dict[str, str]:
    host, _, port = address.rpartition(":")
    return {
        "OTEL_METRICS_EXPORTER": "prometheus",
        "OTEL_EXPORTER_PROMETHEUS_HOST": host,
        "OTEL_EXPORTER_PROMETHEUS_PORT": port,
        "LANGFLOW_OTEL_TRACE_FILE": str(folder / "traces.json"),
        "LANGFLOW_OTEL_METRIC_LABELS": "flow,component_type,flow_version",
        "LANGFLOW_OTEL_PRICES": str(HERE / "prices.yaml"),
        "OTEL_RESOURCE_ATTRIBUTES": "service.version=1.2.3",
    }


def rewritten(folder: Path, addresses: dict[str, str]) -> Path:
    """Our prometheus.yml and rules, in a hurry."""
    (folder / "rules").mkdir()
    for path in RULES.glob("*.yml"):
        text = re.sub(r"(interval|for): \d+[smh]\b", r"\1: 1s", path.read_text())
        (folder / "rules" / path.name).write_text(re.sub("offset (1w|15m)", "offset 5s", text))
    text = (CONFIG / "prometheus" / "prometheus.yml").read_text()
    for before, after in addresses.items():
        assert before in text, before
        text = text.replace(before, after)
    # The audit log, which is off by itself.
    text, switched = re.subn(r"# query_log_file: .*", f"query_log_file: {folder / 'query.log'}", text)
    assert switched == 1
    text = re.sub(r"(scrape_interval|evaluation_interval|batch_send_deadline): \d+s", r"\1: 1s", text)
    config = folder / "prometheus.yml"
    config.write_text(text)
    return config


def _scrape(config: Path, made: str) -> None:
    """Series keep the labels that they have on the page."""
    settings = yaml.safe_load(config.read_text())
    job = {"job_name": "made", "honor_labels": True, "static_configs": [{"targets": [made]}]}
    settings["scrape_configs"].append(job)
    config.write_text(yaml.safe_dump(settings))


def wait_for_a_scrape(found: Live) -> None:
    """Until the newest scrapes of the flows were answered: on a busy machine one may take longer than its second, and
    no gauge has a value then."""
    deadline_s = time.monotonic() + 120
    while True:
        found.at_s = time.time() - 0.5
        answered = found.now('min_over_time(up{job="langflow"}[3s])')
        if {series["value"][1] for series in answered} == {"1"}:
            return
        assert time.monotonic() < deadline_s, "the flows' process does not answer"
        time.sleep(0.5)


def wait_for_first_run(found: Live) -> None:
    deadline_s = time.monotonic() + 240
    while time.monotonic() < deadline_s:
        found.at_s = time.time()
        # Refused: it has not started yet.
        with suppress(OSError):
            if found.now("langflow_flow_duration_seconds_count"):
                return
        time.sleep(0.2)
    log = (found.folder / "flows.log").read_text()
    raise AssertionError(f"Prometheus sees no run of a flow:\n{log[-2000:]}")

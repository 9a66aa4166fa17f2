"""The README's commands, pasted: Prometheus, Alertmanager and dashboards stand, and its checks show what it says."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from live import fetch, free_port, process
from promql import CONFIG

pytest.importorskip("lfx", reason="the demo runs a flow on LangFlow's engine: pip install 'langflow-otel[lfx]'")

pytestmark = pytest.mark.slow

START = "Prometheus, alerts and dashboards in 15 minutes"


def commands(text: str, heading: str) -> list[str]:
    """What is to be pasted below a heading, block by block."""
    section = text.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    return re.findall(r"^```sh\n(.*?)^```", section, re.MULTILINE | re.DOTALL)


class Grafana(BaseHTTPRequestHandler):
    """A stand-in: Grafana itself cannot be installed here. Keeps what was posted."""

    posted: list[tuple[str, Any]]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.posted.append((self.path, json.loads(body)))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


class Pasted:
    """A shell in which the README's blocks were pasted, the servers on ports of the test's own."""

    def __init__(self, folder: Path) -> None:
        self.ports = {port: str(free_port()) for port in ("3000", "9090", "9093", "9464")}
        self.home = folder / "home"
        self.home.mkdir()
        self.clone = folder / "clone"
        self.clone.mkdir()
        shutil.copytree(CONFIG, self.clone / "collector-config")
        for name in ("README.md", "prometheus/alone.yml"):
            path = self.clone / "collector-config" / name
            path.write_text(self._moved(path.read_text()))
        self.readme = (self.clone / "collector-config" / "README.md").read_text()
        self.blocks = commands(self.readme, START)

    def _moved(self, text: str) -> str:
        return re.sub(r"(?<=localhost:)\d{4}\b", lambda port: self.ports.get(port[0], port[0]), text)

    def url(self, port: str) -> str:
        return f"http://localhost:{self.ports[port]}"

    def script(self, *blocks: str) -> str:
        lines = [line for block in blocks for line in block.splitlines()]
        left = "\n".join(line for line in lines if not line.startswith(("sudo ", "pip ")))
        return left.replace("langflow run", f"{sys.executable} -m langflow_otel demo --serve > ~/langflow.log 2>&1")

    def shown(self, script: str) -> str:
        """What the commands print, whether they succeed or not."""
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=self.clone / "collector-config" / "prometheus",
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
            check=False,
        )
        return done.stdout

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "HOME": str(self.home), "OTEL_EXPORTER_PROMETHEUS_PORT": self.ports["9464"]}


@pytest.fixture(scope="module")
def pasted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pasted]:
    for program in ("prometheus", "promtool", "prometheus-alertmanager", "amtool", "curl"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed: apt-get install prometheus prometheus-alertmanager curl")
    found = Pasted(tmp_path_factory.mktemp("start"))
    langflow, _, servers, *_ = found.blocks
    # As a terminal, it stays while what it started in the background runs.
    shell = subprocess.Popen(
        ["bash", "-euc", f"{found.script(langflow, servers)}\nwait"],
        cwd=found.clone,
        env=found.environment,
        start_new_session=True,
    )
    try:
        yield found
    finally:
        os.killpg(shell.pid, signal.SIGTERM)
        shell.wait(30)
        for log in found.home.rglob("*.log"):
            print(log.name, log.read_text()[-2000:])


def until(pasted: Pasted, script: str, expected: list[str]) -> str:
    """The output of the commands as soon as all of it is there."""
    deadline_s = time.monotonic() + 180
    shown = ""
    while time.monotonic() < deadline_s:
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=pasted.clone,
            env=pasted.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        shown = done.stdout + done.stderr
        if all(re.search(each, shown) for each in expected):
            return shown
        time.sleep(1)
    raise AssertionError(f"{expected} are not all in:\n{shown}")


def test_the_checks_show_what_the_readme_says(pasted: Pasted):
    checks = pasted.blocks[3]
    assert "promtool" in checks

    up = [rf'job="{job}"\S* => 1 ' for job in ("langflow", "prometheus", "alertmanager")]
    until(pasted, checks, [*up, r'flow="[^"]+", status="ok"\} => [1-9]', r"(?m)^Watchdog"])


def test_the_addresses_that_it_names_answer(pasted: Pasted):
    assert '<h2 id="watchdog">' in fetch(f"{pasted.url('9090')}/user/RUNBOOK.html")
    # Debian's package has the older pages only.
    assert "LangflowDown" in fetch(f"{pasted.url('9090')}/classic/alerts")


def test_the_dashboards_are_posted_to_grafana(pasted: Pasted):
    dashboards = pasted.blocks[4]
    Grafana.posted = []
    server = HTTPServer(("127.0.0.1", int(pasted.ports["3000"])), Grafana)
    with ThreadPoolExecutor(1) as pool:
        pool.submit(server.serve_forever, 0.05)
        try:
            assert pasted.shown(dashboards) == ""
        finally:
            server.shutdown()
            server.server_close()

    (path, source), *boards = Grafana.posted
    assert (path, source["uid"], source["url"]) == ("/api/datasources", "prometheus", pasted.url("9090"))
    assert {path for path, _ in boards} == {"/api/dashboards/db"}
    shipped = {json.loads(file.read_text())["uid"] for file in (CONFIG / "grafana" / "dashboards").glob("*.json")}
    assert {body["dashboard"]["uid"] for _, body in boards} == shipped
    assert all(body["overwrite"] is True for _, body in boards)


def test_its_own_start_with_tls_is_as_the_readme_says(tmp_path: Path):
    if shutil.which("prometheus") is None:
        pytest.skip("Prometheus is not installed: apt-get install prometheus")
    folder, dashboards = tmp_path / "prometheus", tmp_path / "grafana" / "dashboards"
    shutil.copytree(CONFIG / "prometheus", folder)
    shutil.copytree(CONFIG / "grafana" / "dashboards", dashboards)
    addresses, start, certificate = commands((CONFIG / "prometheus" / "README.md").read_text(), "Start")
    made = subprocess.run(["bash", "-euc", addresses + certificate], cwd=folder, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    assert "https://grafana.example.com" in (folder / "rules" / "alerts-seconds.yml").read_text()
    assert "https://prometheus.example.com/user/RUNBOOK.html" in (dashboards / "langflow-overview.json").read_text()
    address = f"localhost:{free_port()}"
    options = ["--web.config.file=web.yml", f"--web.listen-address={address}", "--storage.remote.flush-deadline=1s"]
    context = ssl.create_default_context(cafile=str(folder / "certs" / "prometheus.crt"))

    with process(["bash", "-c", f"exec {start.strip()} {' '.join(options)}"], folder / "log"):
        deadline_s = time.monotonic() + 60
        while (status := answered(f"https://{address}/-/ready", context)) is None:
            assert time.monotonic() < deadline_s, (folder / "log").read_text()
            time.sleep(0.2)

    # It wants a password.
    assert status == 401


def answered(url: str, context: ssl.SSLContext) -> int | None:
    """The status of the answer, if there is one."""
    try:
        with urllib.request.urlopen(url, timeout=5, context=context) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return None

"""The blackbox exporter takes blackbox.yml, and says of a server whether it answers its users."""

from __future__ import annotations

import shutil
import socket
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlencode

import pytest
import yaml
from overlays import EVERY_COMPONENT, ROOT, built, kustomize, of_kind
from waiting import wait_until

CONFIG = ROOT / "collector-config" / "prometheus" / "blackbox.yml"
EXPORTER = shutil.which("prometheus-blackbox-exporter") or shutil.which("blackbox_exporter")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        EXPORTER is None,
        reason="the blackbox exporter is not installed: apt-get install prometheus-blackbox-exporter",
    ),
]


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.fixture(scope="module")
def prober() -> Iterator[str]:
    """The exporter's address."""
    assert EXPORTER is not None
    port = free_port()
    process = subprocess.Popen([EXPORTER, f"--config.file={CONFIG}", f"--web.listen-address=127.0.0.1:{port}"])
    try:
        wait_until(lambda: is_open(port), "the blackbox exporter does not listen", 30)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


def is_open(port: int) -> bool:
    with socket.socket() as tried:
        return tried.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def server(status: int) -> Iterator[str]:
    """Answers /health_check with this; its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/health_check" else 404)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=listening.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listening.server_port}"
    finally:
        listening.shutdown()
        listening.server_close()


def probe_success(prober: str, target: str) -> float:
    """As Prometheus asks: the module of its scrape job, and the target."""
    (module,) = job()["params"]["module"]
    query = urlencode({"module": module, "target": target})
    with urllib.request.urlopen(f"{prober}/probe?{query}", timeout=30) as response:
        lines = response.read().decode().splitlines()
    (value,) = [line.split()[1] for line in lines if line.startswith("probe_success ")]
    return float(value)


def job() -> dict[str, dict[str, list[str]]]:
    jobs = yaml.safe_load((ROOT / "collector-config/prometheus/prometheus.yml").read_text())["scrape_configs"]
    return next(each for each in jobs if each["job_name"] == "probe-langflow")


def test_a_server_that_answers_is_told_from_one_that_does_not(prober: str) -> None:
    with server(200) as healthy, server(500) as ill:
        assert probe_success(prober, f"{healthy}/health_check") == 1
        assert probe_success(prober, f"{ill}/health_check") == 0
    assert probe_success(prober, f"{healthy}/health_check") == 0


@pytest.mark.skipif(kustomize() is None, reason="neither kubectl nor kustomize is here: .ci/deploy-tools")
def test_kubernetes_asks_with_the_same_module_and_job_as_compose() -> None:
    (probe,) = of_kind(built(EVERY_COMPONENT), "Probe")
    spec = probe["spec"]
    modules = yaml.safe_load(CONFIG.read_text())["modules"]

    assert spec["jobName"] == "probe-langflow"
    assert [spec["module"]] == job()["params"]["module"]
    # A scrape that ends before the module's timeout would be an error in place of an answer.
    assert int(spec["scrapeTimeout"][:-1]) >= int(modules[spec["module"]]["timeout"][:-1])
    assert Path(spec["targets"]["staticConfig"]["static"][0]).name == "health_check"
    # The alert is by namespace: that of the Probe.
    assert probe["metadata"]["namespace"] == "langflow"

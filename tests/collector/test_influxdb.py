"""What Telegraf and the gateway write is read back from a real InfluxDB 1.x; for 2 and 3, what is sent is looked at."""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from backends import send_total
from collector_process import CONFIGS, Collector, answers, eventually, free_ports
from newest_programs import newest_program

pytestmark = pytest.mark.slow

INFLUXDB = CONFIGS / "influxdb"
README = (INFLUXDB / "README.md").read_text()
TELEGRAF = shutil.which("telegraf") or newest_program("telegraf")
MINUTES = 6

needs_telegraf = pytest.mark.skipif(
    TELEGRAF is None, reason="there is no Telegraf: .ci/newest-programs builds one (with Go, some minutes)"
)


class InfluxDB:
    """A real one."""

    def __init__(self, address: str) -> None:
        self.url = f"http://{address}"

    def query(self, influxql: str, database: str = "langflow") -> list[dict[str, Any]]:
        """The series of the answer."""
        body = urllib.parse.urlencode({"q": influxql, "db": database}).encode()
        with urllib.request.urlopen(f"{self.url}/query", data=body, timeout=10) as answer:
            [result] = json.load(answer)["results"]
        assert "error" not in result, result
        return result.get("series", [])


@pytest.fixture(scope="module")
def influxdb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InfluxDB]:
    if shutil.which("influxd") is None:
        pytest.skip("InfluxDB is not installed: apt-get install influxdb")
    folder = tmp_path_factory.mktemp("influxdb")
    http, rpc = (f"127.0.0.1:{port}" for port in free_ports(2))
    (folder / "influxdb.conf").write_text(
        f'reporting-disabled = true\nbind-address = "{rpc}"\n'
        f'[meta]\ndir = "{folder}/meta"\n[data]\ndir = "{folder}/data"\nwal-dir = "{folder}/wal"\n'
        f'[http]\nbind-address = "{http}"\n[monitor]\nstore-enabled = false\n'
    )
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(["influxd", "-config", folder / "influxdb.conf"], stdout=log, stderr=log)
    try:
        found = InfluxDB(http)
        eventually(lambda: answers(f"{found.url}/ping"), what="InfluxDB does not answer")
        yield found
    finally:
        process.terminate()
        process.wait(20)


class Answers(HTTPServer):
    """What came in at a server of the test's own, and what it answers."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.received: list[tuple[str, dict[str, str], str]] = []

    def page(self) -> str:
        return ""


class _Handler(BaseHTTPRequestHandler):
    server: Answers

    def _answer(self, status: int, body: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def do_GET(self) -> None:
        self._answer(200, self.server.page())

    def do_POST(self) -> None:
        # Telegraf sends it in chunks, packed.
        body = gzip.decompress(b"".join(iter(self._chunk, b""))).decode()
        self.server.received.append((self.path, dict(self.headers), body))
        self._answer(204, "")

    def _chunk(self) -> bytes:
        content = self.rfile.read(int(self.rfile.readline(), 16))
        self.rfile.readline()
        return content

    def log_message(self, *_: object) -> None:
        pass


class LangFlow(Answers):
    """Shows known runs: a minute later at each scrape, for the first six; 8 a minute end well, and 2 fail."""

    scrapes = -1

    def page(self) -> str:
        self.scrapes += 1
        minute = min(self.scrapes, MINUTES - 1)
        now_s = time.time() // 60 * 60 + 5
        time_ms = int(now_s - (MINUTES - minute) * 60) * 1000
        flow, component = "langflow_flow_duration_seconds", "langflow_component_duration_seconds"
        return "".join(
            [
                f"# TYPE {flow} histogram\n",
                histogram(flow, 'flow="shop",status="ok"', 100 + 8 * minute, time_ms),
                histogram(flow, 'flow="shop",status="error"', 2 * minute, time_ms),
                f"# TYPE {component} histogram\n",
                histogram(component, 'flow="shop",component_type="Agent",status="ok"', 100 + 30 * minute, time_ms),
                histogram(component, 'flow="shop",component_type="Agent",status="error"', 10 * minute, time_ms),
                histogram(component, 'flow="shop",component_type="Prompt",status="ok"', 40 * minute, time_ms),
            ]
        )


def histogram(name: str, labels: str, count: int, time_ms: int) -> str:
    return (
        f'{name}_bucket{{{labels},le="1"}} {count} {time_ms}\n{name}_bucket{{{labels},le="+Inf"}} {count} {time_ms}\n'
        f"{name}_sum{{{labels}}} {count / 2} {time_ms}\n{name}_count{{{labels}}} {count} {time_ms}\n"
    )


@contextmanager
def serving(server: Answers) -> Iterator[Answers]:
    with ThreadPoolExecutor(1) as pool:
        pool.submit(server.serve_forever, 0.05)
        try:
            yield server
        finally:
            server.shutdown()
            server.server_close()


@contextmanager
def telegraf(config: Path, log: Path, **environment: str) -> Iterator[None]:
    with log.open("wb") as output:
        process = subprocess.Popen(
            [str(TELEGRAF), "--config", str(config)],
            env={"PATH": os.environ["PATH"], "INTERVAL": "1s", **environment},
            stdout=output,
            stderr=output,
        )
    try:
        yield
    finally:
        process.terminate()
        process.wait(20)
        print(log.read_text()[-2000:])


def queries(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


@needs_telegraf
def test_the_queries_give_the_known_figures_of_what_telegraf_wrote(influxdb, tmp_path):
    runs_a_minute, failure_rate = queries("influxql")
    with (
        serving(LangFlow()) as langflow,
        telegraf(
            INFLUXDB / "telegraf.conf",
            tmp_path / "log",
            LANGFLOW_METRICS=f"{langflow.url}/metrics",
            INFLUXDB_URL=influxdb.url,
        ),
    ):
        eventually(lambda: ["langflow"] in influxdb.query("SHOW DATABASES", "")[0].get("values", []))
        counted = "SELECT count(\"count\") FROM langflow_flow_duration_seconds WHERE status = 'ok'"
        eventually(lambda: [series["values"][0][1] for series in influxdb.query(counted)] == [MINUTES])

    [series] = influxdb.query(runs_a_minute)
    assert [runs for _, runs in series["values"]] == [10] * (MINUTES - 1)
    rates = {series["tags"]["component_type"]: series["values"][0][1] for series in influxdb.query(failure_rate)}
    assert rates == {"Agent": 0.25, "Prompt": None}


@needs_telegraf
def test_to_influxdb_2_and_3_goes_what_their_api_asks_for(tmp_path):
    """A stand-in for both: it looks at path, bucket, organisation, token and lines."""
    text = (INFLUXDB / "telegraf.conf").read_text()
    before, shown = text.partition("[[outputs.influxdb]]")[0], text.partition("the output above:\n")[2]
    (tmp_path / "telegraf.conf").write_text(before + shown.replace("# ", ""))

    with serving(LangFlow()) as langflow, serving(Answers()) as store:
        environment = {
            "LANGFLOW_METRICS": f"{langflow.url}/metrics",
            "INFLUXDB_URL": store.url,
            "INFLUXDB_TOKEN": "secret",
            "INFLUXDB_ORGANIZATION": "shop",
        }
        with telegraf(tmp_path / "telegraf.conf", tmp_path / "log", **environment):
            eventually(lambda: store.received)

    target, headers, body = store.received[0]
    url = urllib.parse.urlsplit(target)
    assert url.path == "/api/v2/write"
    assert urllib.parse.parse_qs(url.query) == {"bucket": ["langflow"], "org": ["shop"]}
    assert headers["Authorization"] == "Token secret"
    lines = [line for line in body.splitlines() if line.startswith("langflow_flow_duration_seconds,")]
    assert all(re.fullmatch(r"[^ ]+,status=(ok|error) [^ ]*count=\d+[^ ]* \d{19}", line) for line in lines)
    assert len(lines) == 2


def test_the_gateway_writes_to_it_as_to_a_prometheus(influxdb, tmp_path):
    influxdb.query("CREATE DATABASE written")
    now_ns = time.time_ns()
    times_ns = [now_ns - 2 * 10**9, now_ns - 10**9, now_ns]
    write = f"{influxdb.url}/api/v1/prom/write?db=written"

    with Collector("gateway.yaml", tmp_path, PROMETHEUS_REMOTE_WRITE=write) as gateway:
        send_total(gateway.grpc, "made_total", [1, 2, 3], times_ns)
        found = eventually(lambda: influxdb.query("SELECT value, job FROM made_total", "written"))

    assert found[0]["columns"] == ["time", "value", "job"]
    assert [values[1:] for values in found[0]["values"]] == [[1, "made"], [2, "made"], [3, "made"]]

"""Deployments of LangFlow that are watched as the documentation says, and what people were told of them.

A :class:`Watch` is one Prometheus and one Alertmanager with the shipped files, a receiver in the place of PagerDuty and
the webhooks, a stand-in for kube-state-metrics and one for the blackbox exporter. A :class:`Deployment` is a real
``langflow run`` that is scraped under a job of its own, and asked by users all the time.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import socket
import subprocess
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml
from langflow_server import Server, langflow_server
from misbehaves import Misbehaves
from server_flows import line
from waiting import wait_until

CONFIG = Path(__file__).parents[2] / "collector-config"
NAMESPACE = "scenarios"
FLOWS = ("shop", "orders", "billing", "support", "returns", "nightly-import")
ASKED_EVERY_S = 4.0
PROBE_TIMEOUT_S = 10.0
NEEDED = ("prometheus", "promtool", "prometheus-alertmanager")


@dataclass(frozen=True)
class Told:
    """One notification: when, by which receiver, about which alerts of which job."""

    at_s: float
    receiver: str
    job: str
    alert: str
    summary: str
    flow: str = ""
    incident: str = ""
    ended: bool = False


def _flow_in(summary: str) -> str:
    found = re.search(r"\b[Ff]low ([\w-]+)", summary)
    return found[1] if found else ""


def _label(name: str, body: dict[str, Any]) -> str:
    """Where PagerDuty's fields are empty, as in other versions of alertmanager.yml: from its own list of labels."""
    details = body["payload"]["custom_details"]
    found = re.findall(rf"\b{name} = (\S+)", details["firing"] or details["resolved"])
    return " and ".join(sorted(set(found)))


def opened(told: Iterable[Told]) -> list[Told]:
    """Those that opened an incident or a ticket: a further notification of an open one calls nobody."""
    open_now: set[str] = set()
    found = []
    for each in told:
        key = each.incident or f"{each.receiver} {each.alert} {each.flow}"
        if each.ended:
            open_now.discard(key)
        elif key not in open_now:
            open_now.add(key)
            found.append(each)
    return found


@dataclass
class Watch:
    """What watches the deployments.

    Attributes:
        folder: Of its files.
        factor: By this much all intervals and waiting times are shorter than shipped. Windows and limits are not, nor
            is ``keep_firing_for``, which outlasts a window.
        told: All notifications so far.
        kubernetes: What the stand-in for kube-state-metrics says: value by series.
        alertmanager: host:port.
    """

    folder: Path
    factor: float = 1.0
    told: list[Told] = field(default_factory=list)
    kubernetes: dict[str, float] = field(default_factory=dict)
    alertmanager: str = ""
    _targets: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def scrape(self, kind: str, job: str, address: str) -> None:
        """From now on. Args: kind: The shipped job: langflow, probe-langflow or otel-collector."""
        labels = {"job": job} if kind == "otel-collector" else {"job": job, "namespace": NAMESPACE}
        self._targets.setdefault(kind, []).append({"targets": [address], "labels": labels})
        path = self.folder / "targets" / f"{kind}.json"
        written = path.with_suffix(".new")
        written.write_text(json.dumps(self._targets[kind]))
        written.rename(path)

    def of(self, job: str) -> list[Told]:
        """What people were told about a deployment, in order."""
        return sorted((each for each in list(self.told) if each.job == job), key=lambda each: each.at_s)

    def muted(self, job: str) -> set[str]:
        """Alerts of a deployment that fire, and that nobody is told of because another one does."""
        with urllib.request.urlopen(f"http://{self.alertmanager}/api/v2/alerts?active=false", timeout=30) as answer:
            alerts = json.load(answer)
        return {each["labels"]["alertname"] for each in alerts if each["labels"].get("job") == job}

    def note(self, path: str, body: dict[str, Any]) -> None:
        now_s = time.time()
        if path == "/page":
            payload = body["payload"]
            ended = body["event_action"] == "resolve"
            self.told.append(
                Told(
                    now_s,
                    "page",
                    payload.get("group") or _label("job", body),
                    payload.get("class") or _label("alertname", body),
                    payload["summary"],
                    _flow_in(payload["summary"]),
                    body["dedup_key"],
                    ended,
                )
            )
        elif path == "/ticket":
            for alert in body["alerts"]:
                labels, summary = alert["labels"], alert["annotations"]["summary"]
                job, flow = labels.get("job", ""), labels.get("flow", "")
                ended = alert["status"] == "resolved"
                self.told.append(Told(now_s, "ticket", job, labels["alertname"], summary, flow, ended=ended))


@contextmanager
def watch(
    folder: Path,
    factor: float = 1.0,
    history: str = "",
    limits: Mapping[str, float] | None = None,
    config: Path = CONFIG,
    beside: Watch | None = None,
) -> Iterator[Watch]:
    """Prometheus, Alertmanager and the receiver, until the end.

    Args:
        factor: See :class:`Watch`.
        history: OpenMetrics that Prometheus has known before.
        limits: In seconds, of flows, as in rules/limits.yml.
        config: The folder ``collector-config``, which may be that of another version.
        beside: Another one, whose deployments this one watches, too.
    """
    alertmanager, prometheus = (f"127.0.0.1:{_free_port()}" for _ in range(2))
    found = Watch(folder, factor, alertmanager=alertmanager)
    folder.mkdir(exist_ok=True)
    if beside is not None:
        found.kubernetes = beside.kubernetes
        (folder / "targets").symlink_to(beside.folder / "targets")
    else:
        (folder / "targets").mkdir()
    with ExitStack() as running:
        receiver = running.enter_context(_serving(_receiver(found)))
        kubernetes = running.enter_context(_serving(_pages(lambda _: _exposition(found.kubernetes))))
        prober = running.enter_context(_serving(_pages(lambda query: _probe(query["target"][0], factor))))
        command = ["prometheus-alertmanager", f"--config.file={_alertmanager_config(config, folder, receiver, factor)}"]
        command += [f"--web.listen-address={alertmanager}", "--cluster.listen-address=", f"--storage.path={folder}"]
        running.enter_context(_process(command, folder / "alertmanager.log"))
        written = _prometheus_config(config, folder, factor, prometheus, alertmanager, kubernetes, prober)
        if limits:
            _write_limits(folder / "rules" / "more-limits.yml", limits)
        if history:
            (folder / "history").write_text(history)
            fill = ["promtool", "tsdb", "create-blocks-from", "openmetrics", "history", "data"]
            subprocess.run(fill, cwd=folder, check=True, capture_output=True)
        command = ["prometheus", f"--config.file={written}", f"--storage.tsdb.path={folder / 'data'}"]
        command += [f"--web.listen-address={prometheus}", "--storage.tsdb.retention.time=30d"]
        running.enter_context(_process(command, folder / "prometheus.log"))
        for address in (prometheus, alertmanager):
            wait_until(lambda address=address: _answers(f"http://{address}/-/ready"), f"{address} is not ready")
        yield found


@dataclass
class Deployment:
    """A LangFlow that is scraped and asked.

    Attributes:
        job: Its name in Prometheus.
        server: Its processes.
        metrics: host:port of its scrape endpoint.
        watch: What watches it.
    """

    job: str
    server: Server
    metrics: str
    watch: Watch
    _stop: threading.Event = field(default_factory=threading.Event)
    _users: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(80))

    def ask(self, flow: str, text: str = "hello", timeout_s: float = 3600.0) -> int | None:
        """A user's request to run a flow, by a connection of its own: its status, None without an answer."""
        body = json.dumps({"input_value": text, "session_id": "s"})
        headers = {"x-api-key": self.server.client.headers["x-api-key"], "Content-Type": "application/json"}
        address = urllib.parse.urlsplit(self.server.url).netloc
        connection = http.client.HTTPConnection(address, timeout=timeout_s)
        try:
            connection.request("POST", f"/api/v1/run/{flow}", body, {**headers, "Connection": "close"})
            return connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()

    def keep_asking(self, flow: str, text: str = "hello", every_s: float = ASKED_EVERY_S) -> threading.Event:
        """Ask again and again, whether or not there were answers; until the event that is returned is set."""
        stop = threading.Event()

        def users() -> None:
            while not (stop.is_set() or self._stop.wait(every_s)):
                with suppress(RuntimeError):  # the end
                    self._users.submit(self.ask, flow, text)

        threading.Thread(target=users, daemon=True).start()
        return stop

    def stop_asking(self) -> None:
        """No user is left; requests that go on do."""
        self._stop.set()

    def in_background(self, flow: str, text: str) -> int:
        """Submit a background job; the status."""
        body = {"flow_id": self.server.flows[flow], "input_value": text, "session_id": "s", "mode": "background"}
        return self.server.client.post("/api/v2/workflows", json=body).status_code

    def workers(self) -> list[int]:
        """Process ids of LangFlow's workers, as the scrape names them; none while it is not answered."""
        with suppress(OSError), urllib.request.urlopen(f"http://{self.metrics}/metrics", timeout=10) as answer:
            page = answer.read().decode()
            return sorted({int(pid) for pid in re.findall(r'process_uptime_seconds\{.*?worker="(\d+)"', page)})
        return []

    def signal(self, number: int) -> None:
        """To all of its processes."""
        for pid in self.server.process_ids():
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def in_kubernetes(self, available: int, restarts: int = 0, waits: bool = False) -> None:
        """What kube-state-metrics says of it from now on."""
        of = f'namespace="{NAMESPACE}",deployment="{self.job}"'
        pod = f'namespace="{NAMESPACE}",pod="{self.job}-7d9f8b6c5-x2x4z",container="langflow"'
        self.watch.kubernetes.update(
            {
                f"kube_deployment_spec_replicas{{{of}}}": 1,
                f"kube_deployment_status_replicas_available{{{of}}}": available,
                f"kube_pod_container_status_restarts_total{{{pod}}}": restarts,
                f'kube_pod_container_status_waiting_reason{{{pod},reason="CrashLoopBackOff"}}': int(waits),
            }
        )

    def close(self) -> None:
        self.stop_asking()
        self._users.shutdown(wait=False, cancel_futures=True)


@contextmanager
def deployment(
    watched: Watch,
    name: str,
    *,
    workers: int = 1,
    probed: bool = True,
    every_s: float = ASKED_EVERY_S,
    **environment: str,
) -> Iterator[Deployment]:
    """One that runs, is scraped, perhaps probed, and is asked by users for the flows ``shop`` and ``orders``."""
    metrics = f"127.0.0.1:{_free_port()}"
    host, _, port = metrics.partition(":")
    settings = {
        # Of this working tree, whatever the environment has installed.
        "PYTHONPATH": str(CONFIG.parent),
        "OTEL_METRICS_EXPORTER": "prometheus",
        "OTEL_TRACES_EXPORTER": "none",
        "OTEL_EXPORTER_PROMETHEUS_HOST": host,
        "OTEL_EXPORTER_PROMETHEUS_PORT": port,
        **environment,
    }
    with langflow_server(workers=workers, environment=settings, endpoint=False) as server:
        for flow in FLOWS:
            server.create_flow(line(Misbehaves(_id="Misbehaves-1")), flow)
        made = Deployment(f"langflow-{name}", server, metrics, watched)
        wait_until(lambda: _answers(f"http://{metrics}/metrics"), "the scrape is not answered")
        watched.scrape("langflow", made.job, metrics)
        if probed:
            watched.scrape("probe-langflow", f"probe-{made.job}", f"{server.url}/health_check")
        made.in_kubernetes(available=1)
        for flow in ("shop", "orders"):
            made.keep_asking(flow, every_s=every_s)
        try:
            yield made
        finally:
            made.close()


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _answers(url: str) -> bool:
    with suppress(OSError), urllib.request.urlopen(url, timeout=5) as answer:
        return bool(answer.status == 200)
    return False


@contextmanager
def _process(command: list[str], log: Path) -> Iterator[None]:
    with log.open("wb") as output:
        started = subprocess.Popen(command, stdout=output, stderr=output, cwd=log.parent)
    try:
        yield
    finally:
        started.terminate()
        started.wait(30)


@contextmanager
def _serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


class _Quiet(BaseHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


def _receiver(watched: Watch) -> type[BaseHTTPRequestHandler]:
    class Receiver(_Quiet):
        def do_POST(self) -> None:
            watched.note(self.path, json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(202)
            self.end_headers()

    return Receiver


def _pages(page: Callable[[dict[str, list[str]]], str]) -> type[BaseHTTPRequestHandler]:
    class Pages(_Quiet):
        def do_GET(self) -> None:
            body = page(urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)).encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.end_headers()
            with suppress(OSError):  # Prometheus has gone
                self.wfile.write(body)

    return Pages


def _exposition(values: dict[str, float]) -> str:
    return "".join(f"{series} {value}\n" for series, value in dict(values).items())


def _probe(url: str, factor: float) -> str:
    """As the blackbox exporter with blackbox.yml: does the address answer 200 in time?"""
    try:
        with urllib.request.urlopen(url, timeout=0.9 * PROBE_TIMEOUT_S / factor) as answer:
            return f"probe_success {int(answer.status == 200)}\n"
    except OSError:
        return "probe_success 0\n"


def _shorter(text: str, setting: str, factor: float) -> str:
    """The YAML with all durations under a key of such a name divided."""
    units = {"s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
    return re.sub(
        rf"\b({setting}): (\d+)([smhd])\b",
        lambda found: f"{found[1]}: {max(1, round(int(found[2]) * units[found[3]] / factor))}ms",
        text,
    )


def _prometheus_config(
    source: Path, folder: Path, factor: float, prometheus: str, alertmanager: str, kubernetes: str, prober: str
) -> Path:
    """The shipped prometheus.yml with our addresses. All deployments are of its job for LangFlow, by other names."""
    (folder / "rules").mkdir()
    for path in (source / "prometheus" / "rules").glob("*.yml"):
        text = _shorter(path.read_text(), "interval|for", factor)
        (folder / "rules" / path.name).write_text(text)
    shipped = _shorter((source / "prometheus" / "prometheus.yml").read_text(), r"\w+_interval", factor)
    shipped = shipped.replace("alertmanager:9093", alertmanager).replace("localhost:9090", prometheus)
    shipped = shipped.replace("blackbox:9115", prober)
    config = yaml.safe_load(shipped)
    del config["remote_write"]
    config["global"]["scrape_timeout"] = f"{round(min(10_000, 15_000 / factor))}ms"  # a busy machine isn't faster
    jobs = {job["job_name"]: job for job in config["scrape_configs"]}
    for kind in {"langflow", "otel-collector", "probe-langflow"} & jobs.keys():
        del jobs[kind]["static_configs"]
        jobs[kind]["file_sd_configs"] = [{"files": [f"targets/{kind}.json"]}]
    state = {"job_name": "kube-state-metrics", "honor_labels": True, "static_configs": [{"targets": [kubernetes]}]}
    config["scrape_configs"].append(state)
    path = folder / "prometheus.yml"
    path.write_text(yaml.safe_dump(config))
    return path


def _write_limits(path: Path, limits: Mapping[str, float]) -> None:
    rules = [
        {"record": "flow:langflow_flow_duration_limit:seconds", "expr": f"vector({limit_s})", "labels": {"flow": flow}}
        for flow, limit_s in limits.items()
    ]
    path.write_text(yaml.safe_dump({"groups": [{"name": "more-limits", "interval": "1s", "rules": rules}]}))


def _alertmanager_config(source: Path, folder: Path, receiver: str, factor: float) -> Path:
    text = _shorter((source / "alertmanager" / "alertmanager.yml").read_text(), r"\w+_(?:wait|interval)", factor)
    for name, value in (
        ("pagerduty_routing_key", "k"),
        ("tickets_token", "t"),
        ("slack_url", f"http://{receiver}/log"),
    ):
        (folder / name).write_text(value)
    text = text.replace("/etc/alertmanager/secrets", str(folder))
    text = re.sub(r"( +)- routing_key_file: .+", rf"\g<0>\n\1  url: http://{receiver}/page", text)
    text = re.sub(r"http://tickets:8080/\w+", f"http://{receiver}/ticket", text)
    text = re.sub(r"http://watchdog:8080/\w+", f"http://{receiver}/watchdog", text)
    path = folder / "alertmanager.yml"
    path.write_text(text)
    return path


def missing_programs() -> list[str]:
    return [name for name in NEEDED if shutil.which(name) is None]

"""Series of what is not here: Kubernetes, GPUs, a queue of LangFlow's server, a prober, a collector and its host.

So that those panels can be looked at, too. A page that a Prometheus scrapes; its values move as real ones do.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PODS = tuple(f"langflow-7d9f8b6c5-{name}" for name in ("x2x4z", "k8q7m"))
WAITS_S = (0.25, 1, 5, 30, 120, 300)


def page(since_s: float) -> str:
    """In the text format, some seconds after the first one."""
    lines = [line for series in (_replicas, _kubernetes, _outside, _collector, _host) for line in series(since_s)]
    return "\n".join(lines) + "\n"


def _wave(since_s: float, low: float, high: float, phase: float = 0.0) -> float:
    return low + (high - low) * (1 + math.sin(since_s / 4 + phase)) / 2


def _line(name: str, value: float, **labels: object) -> str:
    given = ",".join(f'{label}="{of}"' for label, of in labels.items())
    return f"{name}{{{given}}} {value}"


def _replicas(since_s: float) -> Iterator[str]:
    for number, pod in enumerate(PODS):
        of: dict[str, Any] = {"job": "langflow", "namespace": "ai", "pod": pod, "instance": f"10.0.0.{number + 1}:9464"}
        yield _line("up", 1, **of)
        yield _line("langflow_queue_depth", round(_wave(since_s, 0, 9, number)), **of, queue="background")
        yield _line("langflow_queue_running", round(_wave(since_s, 2, 5, number)), **of, queue="background")
        yield _line("langflow_queue_capacity", 5, **of, queue="background")
        yield _line("langflow_queue_oldest_age_seconds", _wave(since_s, 0, 40, number), **of, queue="background")
        for most, bound in enumerate((*WAITS_S, "+Inf")):
            count = int(since_s * (1 + number) * (1 + min(most, 4)))
            yield _line("langflow_queue_wait_seconds_bucket", count, **of, queue="background", le=bound)
        gpu = {**of, "hw_id": f"GPU-{number}", "hw_name": "NVIDIA H200"}
        yield _line("hw_gpu_utilization_ratio", _wave(since_s, 0.3, 0.95, number), **gpu)
        yield _line("hw_gpu_memory_utilization_ratio", _wave(since_s, 0.5, 0.85, number), **gpu)
        yield _line("hw_gpu_memory_usage_bytes", _wave(since_s, 70, 120, number) * 2**30, **gpu)
        yield _line("hw_gpu_memory_limit_bytes", 140 * 2**30, **gpu)


def _kubernetes(since_s: float) -> Iterator[str]:
    deployment = {"namespace": "ai", "deployment": "langflow"}
    yield _line("kube_deployment_spec_replicas", 2, **deployment)
    yield _line("kube_deployment_status_replicas_available", 1 if 6 < since_s < 12 else 2, **deployment)
    for number, pod in enumerate(PODS):
        container = {"namespace": "ai", "pod": pod, "container": "langflow"}
        yield _line("kube_pod_container_status_restarts_total", number * (since_s // 6), **container)
        waits = int(number == 1 and 6 < since_s < 12)
        yield _line("kube_pod_container_status_waiting_reason", waits, **container, reason="CrashLoopBackOff")


def _outside(since_s: float) -> Iterator[str]:
    probe = {"job": "probe-langflow", "instance": "http://langflow:7860/health_check"}
    yield _line("probe_success", 1, **probe)
    yield _line("probe_duration_seconds", _wave(since_s, 0.02, 0.3), **probe)


def _collector(since_s: float) -> Iterator[str]:
    collector: dict[str, Any] = {"job": "otel-collector", "instance": "otel-collector:8888"}
    yield _line("up", 1, **collector)
    for number, item in enumerate(("spans", "metric_points", "log_records"), start=1):
        yield _line(f"otelcol_receiver_accepted_{item}_total", int(since_s * 40 / number), **collector)
        yield _line(f"otelcol_receiver_refused_{item}_total", int(since_s / number), **collector)
        of_exporter = {**collector, "exporter": "otlp/traces"}
        yield _line(f"otelcol_exporter_send_failed_{item}_total", int(since_s / 2 / number), **of_exporter)
        yield _line(f"otelcol_exporter_enqueue_failed_{item}_total", int(since_s / 3 / number), **of_exporter)
    for exporter in ("otlp/traces", "otlp/logs"):
        of_exporter = {**collector, "exporter": exporter}
        yield _line("otelcol_exporter_queue_size", _wave(since_s, 0, 900, len(exporter)), **of_exporter)
        yield _line("otelcol_exporter_queue_capacity", 1000, **of_exporter)
    yield _line("otelcol_process_memory_rss_bytes", _wave(since_s, 90, 140) * 2**20, **collector)


def _host(since_s: float) -> Iterator[str]:
    for number, name in enumerate(("node-a", "node-b")):
        host = {"job": "host", "instance": name}
        yield _line("system_cpu_utilization_ratio", _wave(since_s, 0.2, 0.8, number), **host, state="idle")
        yield _line("system_cpu_load_average_1m", _wave(since_s, 1, 9, number), **host)
        yield _line("system_cpu_logical_count", 8, **host)
        yield _line("system_memory_utilization_ratio", _wave(since_s, 0.5, 0.7, number), **host, state="used")
        yield _line("system_filesystem_utilization_ratio", 0.6 + 0.2 * number, **host, mountpoint="/")
        yield _line("system_disk_io_time_seconds_total", since_s * (0.2 + 0.3 * number), **host, device="nvme0n1")
        for direction in ("receive", "transmit"):
            moved = since_s * (1 + number) * 2**20 * len(direction)
            yield _line("system_network_io_bytes_total", moved, **host, direction=direction)


@contextmanager
def served() -> Iterator[str]:
    """The page, at this host:port."""
    began_s = time.monotonic()

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = page(time.monotonic() - began_s).encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()

"""What stands behind the collectors: a receiver that wants a certificate and a token, a Prometheus that is written to,
and spans in great numbers."""

from __future__ import annotations

import json
import os
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import yaml
from certificates import GATEWAY_TOKEN
from collector_process import CONFIGS, answers, eventually, free_ports
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2_grpc import MetricsServiceStub
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    TraceServiceStub,
    add_TraceServiceServicer_to_server,
)
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from otlp_receiver import Receiver, Request


def spans_in(message: Any) -> Iterator[Span]:
    """All spans of one request."""
    for resource_spans in message.resource_spans:
        for scope_spans in resource_spans.scope_spans:
            yield from scope_spans.spans


def arrived(receiver: Receiver) -> list[str]:
    """The id of each span that came in, as often as it came."""
    return [span.span_id.hex() for request in list(receiver.requests) for span in spans_in(request.message)]


@contextmanager
def tls_receiver(tls: Path) -> Iterator[Receiver]:
    """An OTLP receiver for traces, for who has a certificate of this folder's authority and the gateway's token."""
    server = grpc.server(ThreadPoolExecutor(2))
    credentials = grpc.ssl_server_credentials(
        [((tls / "server-key.pem").read_bytes(), (tls / "server.pem").read_bytes())],
        (tls / "ca.pem").read_bytes(),
        require_client_auth=True,
    )
    receiver = Receiver(f"127.0.0.1:{server.add_secure_port('127.0.0.1:0', credentials)}")

    class Service(TraceServiceServicer):  # type: ignore[misc]
        def Export(self, request: Any, context: Any) -> Any:
            headers = {key: str(value) for key, value in context.invocation_metadata()}
            if headers.get("authorization") != f"Bearer {GATEWAY_TOKEN}":
                context.abort(grpc.StatusCode.UNAUTHENTICATED, "no token")
            receiver.requests.append(Request(request, headers))
            return ExportTraceServiceResponse()

    add_TraceServiceServicer_to_server(Service(), server)
    server.start()
    try:
        yield receiver
    finally:
        server.stop(None).wait()


class Prometheus:
    """A real one, that takes remote write."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.write_url = f"http://{address}/api/v1/write"

    def query(self, promql: str) -> list[dict[str, Any]]:
        url = f"http://{self.address}/api/v1/query?{urllib.parse.urlencode({'query': promql})}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            found: list[dict[str, Any]] = json.load(answer)["data"]["result"]
        return found

    def value(self, promql: str) -> float | None:
        found = self.query(promql)
        return float(found[0]["value"][1]) if found else None


@contextmanager
def remote_written_prometheus(
    folder: Path, address: str | None = None, *, receiver: tuple[str, ...] = ("--web.enable-remote-write-receiver",)
) -> Iterator[Prometheus]:
    shipped = yaml.safe_load((CONFIGS / "prometheus" / "prometheus.yml").read_text())
    (folder / "prometheus.yml").write_text(yaml.safe_dump({"storage": shipped["storage"]}))
    prometheus = Prometheus(address or f"127.0.0.1:{free_ports(1)[0]}")
    command = [
        "prometheus",
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={prometheus.address}",
        *receiver,
    ]
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        eventually(lambda: answers(f"http://{prometheus.address}/-/ready"))
        yield prometheus
    finally:
        process.terminate()
        process.wait(20)


def made_span(
    trace_id: bytes,
    *,
    parent: bytes = b"",
    name: str = "invoke_workflow made",
    failed: bool = False,
    seconds: float = 0.1,
    flow: str = "made",
) -> Span:
    now = time.time_ns()
    span = Span(
        trace_id=trace_id,
        span_id=os.urandom(8),
        parent_span_id=parent,
        name=name,
        kind=Span.SPAN_KIND_INTERNAL,
        start_time_unix_nano=now - int(seconds * 1e9),
        end_time_unix_nano=now,
    )
    span.attributes.add(key="langflow.flow.name").value.string_value = flow
    if failed:
        span.status.code = 2
    return span


def send_total(grpc_address: str, name: str, values: Sequence[int], times_ns: Sequence[int]) -> None:
    """A counter's value at each of the times, in a request of its own."""
    with grpc.insecure_channel(grpc_address) as channel:
        stub = MetricsServiceStub(channel)
        for value, time_ns in zip(values, times_ns, strict=True):
            request = ExportMetricsServiceRequest()
            resource_metrics = request.resource_metrics.add()
            resource_metrics.resource.attributes.add(key="service.name").value.string_value = "made"
            metric = resource_metrics.scope_metrics.add().metrics.add(name=name)
            metric.sum.is_monotonic = True
            metric.sum.aggregation_temporality = AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
            metric.sum.data_points.add(as_int=value, start_time_unix_nano=times_ns[0], time_unix_nano=time_ns)
            stub.Export(request, timeout=30)


def send(grpc_address: str, batches: Iterable[list[Span]]) -> None:
    """Each batch in a request of its own, over one connection."""
    with grpc.insecure_channel(grpc_address) as channel:
        stub = TraceServiceStub(channel)
        for spans in batches:
            request = ExportTraceServiceRequest()
            resource_spans = request.resource_spans.add()
            resource_spans.resource.attributes.add(key="service.name").value.string_value = "made"
            resource_spans.scope_spans.add().spans.extend(spans)
            stub.Export(request, timeout=30)

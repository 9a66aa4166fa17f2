"""Real OTLP receivers on 127.0.0.1 and a free port, over gRPC and over HTTP."""

from __future__ import annotations

import gzip
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

import grpc
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)
from opentelemetry.proto.collector.logs.v1.logs_service_pb2_grpc import (
    LogsServiceServicer,
    add_LogsServiceServicer_to_server,
)
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2_grpc import (
    MetricsServiceServicer,
    add_MetricsServiceServicer_to_server,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric, ScopeMetrics
from opentelemetry.proto.trace.v1.trace_pb2 import Span


@dataclass
class Request:
    """One request as it came in. Header names are in lower case; gRPC has no path; the time is ``time.monotonic()``."""

    message: Any
    headers: dict[str, str]
    path: str = ""
    received_s: float = field(default_factory=time.monotonic)


@dataclass
class Receiver:
    """What came in.

    Attributes:
        address: host:port, without a scheme.
        requests: Those with spans.
        metric_requests: Those with metrics; over HTTP, those with "metrics" in the path.
        log_requests: Those with log records; over HTTP, those with "logs" in the path.
        status: What HTTP requests are answered with.
        refused: How many HTTP requests were refused for their size; gRPC does not say.
    """

    address: str
    requests: list[Request] = field(default_factory=list)
    metric_requests: list[Request] = field(default_factory=list)
    log_requests: list[Request] = field(default_factory=list)
    status: int = 200
    refused: int = 0

    @property
    def spans(self) -> dict[str, Span]:
        """The received spans by name."""
        return {
            span.name: span
            for request in self.requests
            for resource_spans in request.message.resource_spans
            for scope_spans in resource_spans.scope_spans
            for span in scope_spans.spans
        }

    def scopes(self, request: int = -1) -> list[ScopeMetrics]:
        """What one request with metrics brought, by scope; by default the last one."""
        message: Any = self.metric_requests[request].message
        return [scope for resource in message.resource_metrics for scope in resource.scope_metrics]

    def logs(self) -> list[tuple[str, LogRecord]]:
        """All log records that came in, each with the name of its scope."""
        return [
            (scope_logs.scope.name, record)
            for request in self.log_requests
            for resource_logs in request.message.resource_logs
            for scope_logs in resource_logs.scope_logs
            for record in scope_logs.log_records
        ]

    def metrics(self, request: int = -1) -> dict[str, Metric]:
        """The metrics of one request by name."""
        return {metric.name: metric for scope in self.scopes(request) for metric in scope.metrics}


@contextmanager
def otlp_receiver(protocol: Literal["grpc", "http/protobuf"], max_bytes: int = 2**30) -> Iterator[Receiver]:
    """A receiver that refuses requests of more bytes, as gRPC and as web servers do."""
    with _grpc_receiver(max_bytes) if protocol == "grpc" else _http_receiver(max_bytes) as receiver:
        yield receiver


@contextmanager
def _grpc_receiver(max_bytes: int) -> Iterator[Receiver]:
    server = grpc.server(ThreadPoolExecutor(1), options=[("grpc.max_receive_message_length", max_bytes)])
    receiver = Receiver(f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}")

    class Service(TraceServiceServicer):  # type: ignore[misc]
        def Export(self, request: Any, context: Any) -> Any:
            headers = {key: str(value) for key, value in context.invocation_metadata()}
            receiver.requests.append(Request(request, headers))
            return ExportTraceServiceResponse()

    class MetricsService(MetricsServiceServicer):  # type: ignore[misc]
        def Export(self, request: Any, context: Any) -> Any:
            headers = {key: str(value) for key, value in context.invocation_metadata()}
            receiver.metric_requests.append(Request(request, headers))
            return ExportMetricsServiceResponse()

    class LogsService(LogsServiceServicer):  # type: ignore[misc]
        def Export(self, request: Any, context: Any) -> Any:
            headers = {key: str(value) for key, value in context.invocation_metadata()}
            receiver.log_requests.append(Request(request, headers))
            return ExportLogsServiceResponse()

    add_LogsServiceServicer_to_server(LogsService(), server)
    add_TraceServiceServicer_to_server(Service(), server)
    add_MetricsServiceServicer_to_server(MetricsService(), server)
    server.start()
    try:
        yield receiver
    finally:
        server.stop(None).wait()


@contextmanager
def _http_receiver(max_bytes: int) -> Iterator[Receiver]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if len(body) > max_bytes:
                receiver.refused += 1
                self.send_response(413)
                self.end_headers()
                return
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            headers = {key.lower(): value for key, value in self.headers.items()}
            if "metrics" in self.path:
                message = ExportMetricsServiceRequest.FromString(body)
                receiver.metric_requests.append(Request(message, headers, self.path))
            elif "logs" in self.path:
                receiver.log_requests.append(Request(ExportLogsServiceRequest.FromString(body), headers, self.path))
            else:
                receiver.requests.append(Request(ExportTraceServiceRequest.FromString(body), headers, self.path))
            self.send_response(receiver.status)
            self.send_header("Content-Type", "application/x-protobuf")
            self.end_headers()
            # The same for both signals: nothing was rejected.
            self.wfile.write(ExportTraceServiceResponse().SerializeToString())

        def log_message(self, format: str, *args: Any) -> None: ...  # noqa: A002

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver = Receiver(f"127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

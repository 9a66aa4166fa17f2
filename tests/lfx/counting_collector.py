"""A collector that can be stopped and started again at its address, and knows each span that it has taken."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

Protocol = Literal["grpc", "http/protobuf"]


class CountingCollector:
    """Over HTTP or gRPC, on 127.0.0.1 and always the same port.

    Attributes:
        spans: Ids of the spans that it has taken.
        delay_s: How long it takes for each request.
        refuses: How many requests are answered with 503 (UNAVAILABLE) before the next one is taken.
    """

    def __init__(self, protocol: Protocol) -> None:
        self.protocol = protocol
        self.spans: set[bytes] = set()
        self.delay_s = 0.0
        self.refuses = 0
        self._port = 0
        self._server: Any = None
        self.start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._port}"

    def start(self) -> None:
        self._server = (_Grpc if self.protocol == "grpc" else _Http)(self, self._port)
        self._port = self._server.port

    def stop(self) -> None:
        """What it is answering is answered to its end; nothing more is taken."""
        if self._server is not None:
            self._server.stop()
            self._server = None

    def take(self, path: str, body: bytes) -> bool:
        """False if this request is refused."""
        time.sleep(self.delay_s)
        if self.refuses:
            self.refuses -= 1
            return False
        if "trace" in path.lower():
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                self.spans |= {span.span_id for scope in resource.scope_spans for span in scope.spans}
        return True


class _Http:
    def __init__(self, collector: CountingCollector, port: int) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(200 if collector.take(self.path, body) else 503)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None: ...  # noqa: A002

        class Server(ThreadingHTTPServer):
            daemon_threads = False
            block_on_close = True

            def handle_error(self, request: Any, client_address: Any) -> None: ...

        self._server = Server(("127.0.0.1", port), Handler)
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Grpc(grpc.GenericRpcHandler):  # type: ignore[misc]
    def __init__(self, collector: CountingCollector, port: int) -> None:
        self._collector = collector
        self._workers = ThreadPoolExecutor(2)
        # Without SO_REUSEPORT, so that a port that is still held is an error and not a second server.
        self._server = grpc.server(self._workers, handlers=[self], options=[("grpc.so_reuseport", 0)])
        self.port = _bound(self._server, port)
        self._server.start()

    def service(self, details: Any) -> Any:
        def answer(request: bytes, context: Any) -> bytes:
            if not self._collector.take(details.method, request):
                context.abort(grpc.StatusCode.UNAVAILABLE, "later")
            return b""

        return grpc.unary_unary_rpc_method_handler(answer)

    def stop(self) -> None:
        self._server.stop(60).wait()
        self._workers.shutdown()


def _bound(server: Any, port: int) -> int:
    """The port is free as soon as the server before has closed its last connection."""
    for _ in range(400):
        with suppress(RuntimeError):
            bound = int(server.add_insecure_port(f"127.0.0.1:{port}"))
            if bound:
                return bound
        time.sleep(0.05)
    raise RuntimeError(f"port {port} stays taken")

"""Stands where collectors and vendors stand, on 127.0.0.1: takes whatever is sent, and counts the bytes.

    python tests/benchmarks/compare_sink.py fast|slow|hanging|refusing

Prints its port. GET /taken answers what has come in so far.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SLOW_S = 0.1
PROJECT = {"id": "benchmark", "name": "benchmark", "organization": {"id": "o", "name": "o"}, "metadata": {}}


class Sink(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, behaviour: str) -> None:
        super().__init__(("127.0.0.1", 0), Taker)
        self.behaviour = behaviour
        self.lock = threading.Lock()
        self.taken = {"requests": 0, "bytes": 0}


class Taker(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Sink

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        with self.server.lock:
            self.server.taken["requests"] += 1
            self.server.taken["bytes"] += len(body)
        if self.server.behaviour == "slow":
            time.sleep(SLOW_S)
        if self.server.behaviour == "hanging":
            time.sleep(3600)
        self.answer(503 if self.server.behaviour == "refusing" else 200, b"")

    def do_GET(self) -> None:
        if self.path == "/taken":
            self.answer(200, json.dumps(self.server.taken).encode())
        else:
            # What Langfuse asks for to see whether its keys are good.
            self.answer(200, json.dumps({"data": [PROJECT]}).encode())

    def answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json" if body else "application/x-protobuf")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None: ...  # noqa: A002


if __name__ == "__main__":
    sink = Sink(sys.argv[1])
    print(sink.server_port, flush=True)
    sink.serve_forever()

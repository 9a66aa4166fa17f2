"""The probe tells a server that answers from one that does not, and says so by its exit code."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from typer.testing import CliRunner

from langflow_otel.cli.main import app


class LangFlow(BaseHTTPRequestHandler):
    """LangFlow's two routes; the flow ``broken`` fails, and another wants a key."""

    requests: list[tuple[str, str | None, str]]

    def do_GET(self) -> None:
        self._answer(200 if self.path.endswith("/health_check") else 404, {"status": "ok"})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        key = self.headers["x-api-key"]
        self.requests.append((self.path, key, body))
        if key != "secret-key":
            self._answer(403, {"detail": "An API key must be passed"})
        elif "broken" in self.path:
            self._answer(500, {"detail": "Error running graph [bold]"})
        else:
            self._answer(200, {"outputs": []})

    def _answer(self, status: int, body: dict[str, Any]) -> None:
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def langflow() -> Iterator[tuple[str, list[tuple[str, str | None, str]]]]:
    handler = type("Handler", (LangFlow,), {"requests": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", handler.requests
    finally:
        server.shutdown()
        server.server_close()


def probe(*arguments: str, key: str = "secret-key") -> tuple[int, str]:
    result = CliRunner().invoke(app, ["probe", *arguments], env={"LANGFLOW_API_KEY": key}, catch_exceptions=False)
    return result.exit_code, result.output


def test_a_server_that_answers_is_well():
    with langflow() as (url, requests):
        code, told = probe(f"{url}/")

    assert (code, requests) == (0, [])
    assert "health  answered (" in told


def test_a_flow_is_run_with_the_key_of_the_environment():
    with langflow() as (url, requests):
        code, told = probe(f"{url}/behind/a/proxy", "--flow", "my canary", "--input", "hello", "--json")

    health, flow = json.loads(told)
    assert code == 0
    assert (health["check"], health["ok"], health["status"]) == ("health", True, 200)
    assert (flow["check"], flow["ok"], flow["problem"]) == ("flow", True, "")
    [(path, key, body)] = requests
    assert path == "/behind/a/proxy/api/v1/run/my%20canary?stream=false"
    assert key == "secret-key"
    assert json.loads(body)["input_value"] == "hello"


@pytest.mark.parametrize(
    ("flow", "key", "problem"),
    [
        ("broken", "secret-key", '500 Internal Server Error: {"detail": "Error running graph [bold]"}'),
        ("canary", "", '403 Forbidden: {"detail": "An API key must be passed"}'),
    ],
)
def test_a_flow_that_fails_is_told_with_its_answer(flow: str, key: str, problem: str):
    with langflow() as (url, _):
        code, told = probe(url, "--flow", flow, key=key)

    assert code == 1
    assert "health  answered" in told
    assert f"flow    {problem} (" in told


def test_where_nothing_listens_is_told():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        code, told = probe(f"http://127.0.0.1:{free.getsockname()[1]}")

    assert code == 1
    assert "Connection refused" in told


def test_a_server_that_hangs_is_given_up():
    """It takes the connection, as a blocked event loop's system does, and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as hanging:
        code, told = probe(f"http://127.0.0.1:{hanging.getsockname()[1]}", "--timeout", "0.1")

    assert code == 1
    assert "no answer within 0.1 s" in told


@pytest.mark.parametrize(
    "url", ["localhost:7860", "ftp://host", "http://", "http://[", "http://host:x", "http://u:p@host:x"]
)
def test_what_is_no_address_of_a_server_is_refused(url: str):
    code, told = probe(url)

    assert code == 2
    assert told.startswith("langflow-otel: ")
    assert "u:p" not in told

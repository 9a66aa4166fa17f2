"""What is asked of a Prometheus-compatible API, and what becomes of each kind of answer. The real ones are in
tests/prometheus/test_source.py."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest

from langflow_otel.cli.main import app
from langflow_otel.insights import prometheus_source
from langflow_otel.insights.figures import GROWN, NOW
from langflow_otel.insights.prometheus_source import (
    GAUGES_OVER_TIME,
    OVER_TIME,
    PrometheusAccess,
    PrometheusError,
    PrometheusSource,
)

SECRET = "s3cr3t-canary"


@dataclass
class Server:
    """Answers each request the same, and keeps what was asked."""

    status: int = 200
    body: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    url: str = ""
    asked: list[dict[str, str]] = field(default_factory=list)
    authorizations: list[str | None] = field(default_factory=list)


def result(*series: dict[str, Any]) -> str:
    return json.dumps({"status": "success", "data": {"resultType": "vector", "result": series}})


@contextmanager
def serving(server: Server) -> Iterator[Server]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            server.asked.append({"path": self.path, **{name: found[0] for name, found in parse_qs(body).items()}})
            server.authorizations.append(self.headers["Authorization"])
            self.send_response(server.status)
            for name, value in server.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(server.body.encode())

        def log_message(self, *_: object) -> None: ...

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=listening.serve_forever, args=(0.01,))
    thread.start()
    server.url = f"http://127.0.0.1:{listening.server_address[1]}"
    try:
        yield server
    finally:
        listening.shutdown()
        listening.server_close()
        thread.join()


def problem(server: Server, **access: Any) -> str:
    """The one line of what goes wrong with this answer."""
    with serving(server), pytest.raises(PrometheusError) as raised:
        PrometheusSource(PrometheusAccess.of(server.url, **{"env": {}, **access})).figures(60)
    line = str(raised.value)
    assert "\n" not in line
    assert SECRET not in line
    return line.replace(server.url, "URL")


@pytest.mark.parametrize(
    ("server", "line"),
    [
        (Server(401, "no"), "URL wants credentials (401)"),
        (Server(403, "no"), "URL wants credentials (403)"),
        (Server(404, "<html>not here"), "URL is no Prometheus API: it answers 404 Not Found"),
        (Server(302, "", {"Location": "http://elsewhere/"}), "URL is no Prometheus API: it answers 302 Found"),
        (Server(200, "<html>hello"), "URL is no Prometheus API: what it answers is none of its results"),
        (Server(200, '{"data": {"result": 7}}'), "URL is no Prometheus API: what it answers is none of its results"),
        (Server(200, "[" * 100_000), "URL is no Prometheus API: what it answers is none of its results"),
        (Server(413, ""), "URL refuses so large a question (413)"),
        (
            Server(422, '{"status": "error", "error": "query processing would load too many samples into memory"}'),
            "URL cannot answer (422): query processing would load too many samples into memory: ask for less time or "
            "one flow",
        ),
        (Server(503, '{"status": "error", "error": "a\\u001b[2J\\nb"}'), "URL cannot answer (503): a [2J b"),
        (Server(200, result()), "URL has no series of langflow-otel in that time; is LangFlow scraped?"),
    ],
)
def test_each_wrong_answer_is_one_line(server: Server, line: str):
    assert problem(server) == line


def test_an_answer_that_is_too_large_is_not_read_to_its_end(monkeypatch):
    monkeypatch.setattr(prometheus_source, "_MAX_BYTES", 1 << 20)

    line = problem(Server(200, " " * (1 << 20) + result()))

    assert line == "URL answers with more than 1 MiB: ask for less time or one flow"


def test_nothing_that_listens_is_one_line():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        source = PrometheusSource(PrometheusAccess(f"http://127.0.0.1:{taken.getsockname()[1]}"))
        with pytest.raises(PrometheusError, match="cannot be reached: nothing listens there"):
            source.figures(60)


def test_a_host_that_does_not_exist_is_one_line(monkeypatch):
    def unknown(*_: Any, **__: Any) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(PrometheusError, match=r"http://nowhere cannot be found: no such host"):
        PrometheusSource(PrometheusAccess("http://nowhere")).figures(60)


def test_a_server_that_does_not_answer_is_not_waited_for():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        access = PrometheusAccess(f"http://127.0.0.1:{silent.getsockname()[1]}", timeout_s=0.2)
        started_s = time.monotonic()
        with pytest.raises(PrometheusError, match=r"did not answer within 0\.2 s"):
            PrometheusSource(access).figures(60)
    assert time.monotonic() - started_s < 30


def test_tls_on_a_port_of_plain_text_is_one_line():
    with serving(Server(200, result())) as server:
        source = PrometheusSource(PrometheusAccess(server.url.replace("http:", "https:")))
        with pytest.raises(PrometheusError, match="does not speak TLS"):
            source.figures(60)


@pytest.mark.parametrize("text", ["", "no certificate"])
def test_a_file_without_certificates_is_one_line(tmp_path: Path, text: str):
    path = tmp_path / "ca.pem"
    path.write_text(text)
    with pytest.raises(PrometheusError, match=r"ca\.pem cannot be used as certificates to trust"):
        PrometheusSource(PrometheusAccess("https://x", ca_file=path))


@pytest.mark.parametrize("url", ["", "localhost:9090", "ftp://x", "http://", "http://x:port", "http://[::1"])
def test_what_is_no_url_is_one_line(url: str):
    with pytest.raises(PrometheusError, match="a URL such as"):
        PrometheusAccess.of(url, env={})


# Credentials


@pytest.mark.parametrize(
    ("env", "sent"),
    [
        ({}, None),
        ({"PROMETHEUS_TOKEN": SECRET}, f"Bearer {SECRET}"),
        ({"PROMETHEUS_USER": "me", "PROMETHEUS_PASSWORD": SECRET}, "Basic bWU6czNjcjN0LWNhbmFyeQ=="),
    ],
)
def test_credentials_of_the_environment_are_sent(env: dict[str, str], sent: str | None):
    server = Server(200, result())
    problem(server, env=env)

    assert set(server.authorizations) == {sent}


def test_a_token_in_a_file_is_sent(tmp_path: Path):
    path = tmp_path / "token"
    path.write_text(SECRET + "\n")
    server = Server(401)

    assert problem(server, token_file=path) == "URL refuses these credentials (401)"
    assert server.authorizations == [f"Bearer {SECRET}"]


def test_a_token_that_cannot_be_used_is_one_line(tmp_path: Path):
    assert problem(Server(), token_file=tmp_path / "none").startswith("the file of the token cannot be read: No such")
    path = tmp_path / "token"
    path.write_text(f"{SECRET}\n{SECRET}")
    assert problem(Server(), token_file=path) == "the token has characters that no header may have"


def test_user_and_password_in_the_url_are_sent_and_never_shown(capsys):
    with serving(Server(401)) as server:
        url = server.url.replace("//", f"//me:{SECRET}@")
        access = PrometheusAccess.of(url, env={})
        with pytest.raises(SystemExit) as end:
            app(["top", "--prometheus", url, "--once"])

    captured = capsys.readouterr()
    assert end.value.code == 2
    assert captured.err == f"langflow-otel: {server.url} refuses these credentials (401)\n"
    assert captured.out == ""
    assert access.authorization() == {"Authorization": "Basic bWU6czNjcjN0LWNhbmFyeQ=="}
    assert SECRET not in repr(access)


def test_credentials_go_to_no_other_server():
    with serving(Server(200, result())) as other:
        server = Server(307, "", {"Location": f"{other.url}/api/v1/query"})
        problem(server, env={"PROMETHEUS_TOKEN": SECRET})

    assert other.asked == []


# Questions and answers


def test_every_metric_is_asked_for_once_and_with_the_selector():
    with serving(Server(200, result({"metric": {"flow": "a", "status": "ok"}, "value": [1, "3"]}))) as server:
        PrometheusSource(PrometheusAccess(server.url), 'job="langflow"').measured(60.4, at_s=100.0)

    assert len(server.asked) == len(GROWN) + len(NOW)
    assert all(each["path"] == "/api/v1/query" and each["time"] == "100.000" for each in server.asked)
    for name in (*GROWN, *NOW):
        assert sum(f'{name}{{job="langflow"}}' in each["query"] for each in server.asked) == 1
    assert all("[60s]" in each["query"] for each in server.asked if "increase" in each["query"])


def test_the_name_of_a_flow_cannot_change_the_question():
    with serving(Server(200, result({"metric": {}, "value": [1, "3"]}))) as server:
        PrometheusSource(PrometheusAccess(server.url)).measured(60, flow='x"} or vector(1) #\n\\')

    asked = [each["query"] for each in server.asked if "langflow_flow_duration_seconds_count" in each["query"]]
    assert all(r'{flow="x\"} or vector(1) #\n\\"}' in query for query in asked)


def test_values_that_are_no_numbers_are_left_out():
    values = (("a", "NaN"), ("b", "2"))
    series = [{"metric": {"flow": flow, "status": "ok"}, "value": [1, value]} for flow, value in values]
    with serving(Server(200, result(*series))) as server:
        found = PrometheusSource(PrometheusAccess(server.url)).figures(60)

    assert {flow.flow for flow in found.flows} == {"b"}


@pytest.mark.parametrize("series", [{"metric": {}}, {"metric": {}, "value": []}, {"metric": {}, "value": [1, "x"]}])
def test_results_of_another_shape_are_one_line(series: dict[str, Any]):
    line = "URL is no Prometheus API: what it answers is none of its results"
    assert problem(Server(200, result(series))) == line


@pytest.mark.parametrize("name", [*OVER_TIME, *GAUGES_OVER_TIME])
def test_a_curve_has_points_and_no_gaps_of_nan(name: str):
    curve = {"metric": {}, "values": [[0, "1"], [36, "NaN"], [72, "3"]]}
    with serving(Server(200, result(curve))) as server:
        (found,) = PrometheusSource(PrometheusAccess(server.url)).curve(name, 0, 8640)

    (asked,) = server.asked
    assert found.points == [(0.0, 1.0), (72.0, 3.0)]
    assert (asked["path"], asked["step"]) == ("/api/v1/query_range", "36")
    assert "[36s]" in asked["query"]

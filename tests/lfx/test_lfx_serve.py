"""``lfx serve`` and ``lfx run`` as real processes, which load no plugins: by ``langflow-otel exec``."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from flows import chat_input, chat_output
from lfx.graph import Graph
from otlp_receiver import Receiver, otlp_receiver

from langflow_otel.cli.demo.flow.order_lookup import OrderLookup
from langflow_otel.insights.trace import TraceSpan, build_trees, from_file

pytestmark = pytest.mark.slow

OURS = "from langflow_otel.cli.main import main; main()"
TRACE_ID, CALLER_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
KEY = "sk-test"
START_S = 150.0


@pytest.fixture
def flow_file(tmp_path: Path) -> Path:
    question = chat_input()
    order = OrderLookup(_id="OrderLookup-o").set(question=question.message_response)
    flow: dict[str, Any] = Graph(question, chat_output(order.find_order)).dump(name="orders")
    path = tmp_path / "orders.json"
    path.write_text(json.dumps(flow, default=str))
    return path


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with otlp_receiver("http/protobuf") as receiver:
        yield receiver


def environment(**variables: str) -> dict[str, str]:
    env = {name: value for name, value in os.environ.items() if "OTEL" not in name}
    soon = {"OTEL_BSP_SCHEDULE_DELAY": "50", "OTEL_METRIC_EXPORT_INTERVAL": "500"}
    return env | soon | {"PYTHONIOENCODING": "utf-8", "LANGFLOW_API_KEY": KEY, "COLUMNS": "200"} | variables


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-c", OURS, "exec", "--", *map(str, arguments)]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


@dataclass
class Server:
    url: str
    process: subprocess.Popen[str]

    def run(self, question: str, **headers: str) -> httpx.Response:
        flow_id = httpx.get(f"{self.url}/flows", headers={"x-api-key": KEY}).json()[0]["id"]
        return httpx.post(
            f"{self.url}/flows/{flow_id}/run",
            json={"input_value": question},
            headers={"x-api-key": KEY, **headers},
            timeout=60,
        )

    def stop(self) -> str:
        """What it has written."""
        self.process.send_signal(signal.SIGTERM)
        output, _ = self.process.communicate(timeout=30)
        return output


@contextmanager
def serving(flow_file: Path, **variables: str) -> Iterator[Server]:
    port = free_port()
    process = subprocess.Popen(
        command("lfx", "serve", flow_file, "--port", port),
        env=environment(**variables),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
    )
    server = Server(f"http://127.0.0.1:{port}", process)
    try:
        deadline = time.monotonic() + START_S
        while True:
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < deadline, "it does not answer"
            try:
                httpx.get(f"{server.url}/health", timeout=5).raise_for_status()
                break
            except httpx.TransportError:
                time.sleep(0.2)
        yield server
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def rendered(spans: list[TraceSpan]) -> list[str]:
    """Names, indented below their parents."""

    def lines(span: TraceSpan, depth: int) -> list[str]:
        return ["  " * depth + span.name, *(line for child in span.children for line in lines(child, depth + 1))]

    return [line for root in build_trees(spans) for line in lines(root, 0)]


def only(spans: list[Any], start: str) -> Any:
    (found,) = [span for span in spans if span.name.startswith(start)]
    return found


FLOW_TREE = [
    "invoke_workflow orders",
    "  component Chat Input",
    "  component Order Lookup",
    "    parse question",
    "    query orders",
    "  component Chat Output",
]


@pytest.fixture
def spans_file(tmp_path: Path) -> Path:
    return tmp_path / "spans.jsonl"


def test_a_served_flow_is_one_trace_below_its_request(flow_file, spans_file):
    """LangFlow's own telemetry is off, so the request's span is ours."""
    with serving(flow_file, LANGFLOW_OTEL_TRACE_FILE=str(spans_file)) as server:
        answer = server.run("Where is 5?", traceparent=f"00-{TRACE_ID}-{CALLER_ID}-01", baggage="tenant=acme")
        output = server.stop()

    assert (answer.status_code, answer.json()["result"]) == (200, "Where is 5? (order 5: two lamps, paid, shipped)")
    spans = from_file(spans_file)
    # The list of flows was asked for as well; health checks have no span.
    listed, request, run = (only(spans, name) for name in ("GET", "POST", "invoke_workflow"))
    assert listed.name == "GET /flows"
    assert request.name.startswith("POST /flows/")
    assert request.name.endswith("/run")
    assert (request.parent_id, run.parent_id) == (CALLER_ID, request.span_id)
    assert rendered([span for span in spans if span.trace_id == TRACE_ID]) == [
        request.name,
        *(f"  {line}" for line in FLOW_TREE),
    ]
    assert len(spans) == len(FLOW_TREE) + 2
    assert (run.attributes["langflow.entry_point"], run.status) == ("serve", "ok")
    assert request.attributes["http.route"] == request.name.partition(" ")[2]
    assert request.attributes["http.response.status_code"] == 200
    assert "Traceback" not in output


def test_with_langflows_own_telemetry_it_is_one_trace_too(flow_file, receiver):
    """From 1.12 on an endpoint switches it on. The request's span is LangFlow's where the FastAPI instrumentor is
    installed, else ours."""
    endpoint = f"http://{receiver.address}"
    with serving(flow_file, OTEL_EXPORTER_OTLP_ENDPOINT=endpoint) as server:
        server.run("Where is 5?", traceparent=f"00-{TRACE_ID}-{CALLER_ID}-01")
        server.stop()

    spans = {
        span.span_id: (span, scope.scope.name)
        for request in receiver.requests
        for resource in request.message.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
        if span.trace_id.hex() == TRACE_ID
    }
    ours = [span for span, scope in spans.values() if scope == "langflow_otel"]
    run = only(ours, "invoke_workflow orders")
    above = []
    while run.parent_span_id.hex() != CALLER_ID:
        run, _ = spans[run.parent_span_id]
        above.append(run.kind)
    assert above.count(run.SPAN_KIND_SERVER) == 1
    # LangFlow's own span may hang below one of FastAPI's that nobody sends; none of ours does.
    assert [each.name for each in ours if each.parent_span_id not in spans and each is not run] == []
    assert len([span for span in ours if span.kind == span.SPAN_KIND_INTERNAL]) == len(FLOW_TREE)


@pytest.mark.any_version
def test_collector_that_is_gone_costs_no_answer_and_no_scrape(flow_file):
    """Nor a minute at the stop."""
    variables = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9",
        "OTEL_METRICS_EXPORTER": "otlp,prometheus",
        "OTEL_EXPORTER_PROMETHEUS_PORT": str(free_port()),
    }
    with serving(flow_file, **variables) as server:
        answers = [server.run("Where is 5?") for _ in range(3)]
        page = httpx.get(f"http://localhost:{variables['OTEL_EXPORTER_PROMETHEUS_PORT']}/metrics").text
        before = time.monotonic()
        server.stop()

    assert time.monotonic() - before < 45
    assert [answer.status_code for answer in answers] == [200, 200, 200]
    assert (
        'langflow_flow_duration_seconds_count{flow="orders",status="ok",entry_point="serve"} 3.0' in page.splitlines()
    )
    counts = [line for line in page.splitlines() if line.startswith("http_server_request_duration_seconds_count")]
    assert sorted(line.rpartition(" ")[2] for line in counts) == ["3.0", "3.0"]
    assert all('http_response_status_code="200"' in line for line in counts)


def test_what_the_flow_fails_with_is_on_its_span(flow_file, spans_file):
    flow = flow_file.read_text()
    first = "def find_order(self) -> Message:"
    assert first in flow
    flow_file.write_text(flow.replace(first, f"{first}\\n        raise LookupError('canary')"))
    with serving(flow_file, LANGFLOW_OTEL_TRACE_FILE=str(spans_file)) as server:
        server.run("Where is 5?")
        server.stop()

    run = only(from_file(spans_file), "invoke_workflow orders")
    assert (run.status, run.attributes["error.type"]) == ("error", "LookupError")
    assert "canary" not in spans_file.read_text()


@pytest.mark.any_version
def test_without_a_destination_it_serves_as_ever(flow_file):
    with serving(flow_file) as server:
        answer = server.run("Where is 5?")
        output = server.stop()

    assert answer.json()["result"] == "Where is 5? (order 5: two lamps, paid, shipped)"
    assert "langflow-otel" not in output


def test_lfx_run_has_the_same_result_and_one_trace(flow_file, spans_file):
    def call(*program: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*program, "run", str(flow_file), "Where is 5?"],
            capture_output=True,
            encoding="utf-8",
            env=environment(**variables),
            timeout=90,
            check=False,
        )

    theirs = call(sys.executable, "-c", "from lfx.__main__ import main; main()")
    ours = call(*command("lfx"), LANGFLOW_OTEL_TRACE_FILE=str(spans_file))

    assert (ours.returncode, ours.stdout) == (0, theirs.stdout)
    assert "langflow-otel" not in ours.stderr
    spans = from_file(spans_file)
    assert rendered(spans) == FLOW_TREE
    assert only(spans, "invoke_workflow").attributes["langflow.entry_point"] == "cli"

"""LangFlow's own tracers beside us, the real packages, on a real server: each backend gets its own trees.

Runs where they are installed, which langflow-base 1.13 does: pip install langflow-base langfuse traceloop-sdk \
    arize-phoenix-otel openinference-instrumentation-langchain
One server has all three on. Ours go to a trace file: with an OTLP endpoint LangFlow's own telemetry would be on, too,
which its Traceloop tracer can stop for good.
"""

from __future__ import annotations

import gzip
import importlib.util
import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from waiting import read_until

if not all(map(importlib.util.find_spec, ("langflow", "langfuse", "traceloop", "phoenix", "openinference"))):
    pytest.skip(
        "these tests need LangFlow's server and its tracers: pip install langflow-base langfuse traceloop-sdk "
        "arize-phoenix-otel openinference-instrumentation-langchain",
        allow_module_level=True,
    )

import paths
from langflow_server import TRACE_FILE, Server, langflow_server
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from otlp_receiver import Receiver, Request, otlp_receiver
from received import ReceivedSpan, received_spans, render

from langflow_otel.insights.trace import TraceSpan

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

FIRST_RUN_S = 300.0
"""The first run imports the tracers' packages."""
RUNS = 2
"""Of a flow that is sampled; the second is after LangFlow's tracers have undone what they did for the first."""
API = "POST /api/v1/run/{flow_id_or_name}"


@dataclass
class Backends:
    """What each tracer has sent, and the headers that the called service got."""

    langfuse: Receiver
    traceloop: Receiver
    phoenix: Receiver
    headers: list[dict[str, str]]


class _Web(BaseHTTPRequestHandler):
    """Answers as Langfuse does to a client that asks for its projects and sends spans."""

    receiver: Receiver
    headers_seen: list[dict[str, str]]

    def do_GET(self) -> None:
        self.headers_seen.append({name.lower(): value for name, value in self.headers.items()})
        self._answer(
            {"data": [{"id": "p1", "name": "tests", "metadata": {}, "organization": {"id": "o", "name": "o"}}]}
        )

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        if "otel" in self.path:
            self.receiver.requests.append(Request(ExportTraceServiceRequest.FromString(body), {}, self.path))
        self._answer({})

    def _answer(self, content: Any) -> None:
        text = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *args: object) -> None: ...


@contextmanager
def web() -> Iterator[tuple[str, type[_Web]]]:
    handler = type("Handler", (_Web,), {"receiver": Receiver(""), "headers_seen": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", handler
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture(scope="module")
def beside() -> Iterator[tuple[Server, Backends]]:
    """A server with all three tracers on, after runs of a flow with an agent, and one that is not sampled by us."""
    with ExitStack() as stack:
        langfuse_url, langfuse = stack.enter_context(web())
        service_url, service = stack.enter_context(web())
        traceloop, phoenix = (stack.enter_context(otlp_receiver("http/protobuf")) for _ in range(2))
        environment = {
            "LANGFLOW_DEACTIVATE_TRACING": "false",
            "LANGFUSE_SECRET_KEY": "sk-lf-1",
            "LANGFUSE_PUBLIC_KEY": "pk-lf-1",
            "LANGFUSE_HOST": langfuse_url,
            "TRACELOOP_API_KEY": "key",
            "TRACELOOP_BASE_URL": f"http://{traceloop.address}",
            "TRACELOOP_TELEMETRY": "false",
            "PHOENIX_COLLECTOR_ENDPOINT": f"http://{phoenix.address}",
            "LITELLM_LOCAL_MODEL_COST_MAP": "true",  # or Phoenix's package asks GitHub for it when it is imported
            "TEST_SERVICE_URL": f"{service_url}/stock",
            "LANGFLOW_OTEL_TRACE_FILE": TRACE_FILE,
            "LANGFLOW_OTEL_SAMPLING": "quiet=0,*=1",
            "LANGFLOW_OTEL_KEEP": "none",
        }
        server = stack.enter_context(langflow_server(endpoint=False, environment=environment))
        server.client.timeout = FIRST_RUN_S
        for name in ("research", "quiet"):
            server.create_flow(research(), name)
        for name in (*["research"] * RUNS, "quiet"):
            answer = paths.api_run(server, name)
            assert answer.status == 200, f"{answer.text}\n{server.output()[-3000:]}"
        yield server, Backends(langfuse.receiver, traceloop, phoenix, service.headers_seen)


def research() -> dict[str, Any]:
    """chat input > an agent with a tool > chat output."""
    from lfx.components.input_output import ChatInput, ChatOutput
    from lfx.graph import Graph
    from server_nodes.researcher import Researcher

    start = ChatInput(_id="ChatInput-in")
    agent = Researcher(_id="Researcher-1").set(input_value=start.message_response)
    end = ChatOutput(_id="ChatOutput-out").set(input_value=agent.message_response)
    return dict(Graph(start, end).dump(name="flow"))


@pytest.fixture(scope="module")
def ours(beside: tuple[Server, Backends]) -> list[TraceSpan]:
    return beside[0].traces(runs=RUNS)


EXPECTED = [
    API,
    "  invoke_workflow research",
    "    component Chat Input",
    "    invoke_agent Researcher",
    "      chat fake-1",
    "      execute_tool look_up",
    "        search",
    "          GET",
    "          GET",
    "      chat fake-1",
    "    component Chat Output",
]
COMPONENTS = {"Chat Input", "Researcher", "Chat Output"}


def test_each_run_is_one_tree_of_ours(ours):
    assert [render([root]) for root in ours] == [EXPECTED] * RUNS


def test_called_service_gets_our_span(beside, ours):
    sent = [tuple(headers["traceparent"].split("-")[1:3]) for headers in beside[1].headers]
    calls = [(span.trace_id, span.span_id) for root in ours for span in _all(root) if span.name == "GET"]

    assert len(calls) == 2 * RUNS
    assert sorted(sent[: len(calls)]) == sorted(calls)


@pytest.mark.parametrize("name", ["langfuse", "traceloop", "phoenix"])
def test_their_trees_are_whole(beside, ours, name):
    """One tree of components for each run, whether it is sampled by us or not."""
    spans = _received(getattr(beside[1], name), runs=RUNS + 1)
    by_id = {span.span_id: span for span in spans}
    components = [span for span in spans if _component(span.name) in COMPONENTS]

    assert Counter(_component(span.name) for span in components) == dict.fromkeys(COMPONENTS, RUNS + 1)
    roots = Counter(span.parent_id for span in components)
    assert list(roots.values()) == [len(COMPONENTS)] * (RUNS + 1)
    assert all(by_id[str(root)].name.startswith(("research", "quiet", "Langflow")) for root in roots)


@pytest.mark.parametrize("name", ["langfuse", "phoenix"])
def test_their_spans_of_the_agent_are_their_own(beside, ours, name):
    """What LangChain tells them about: none of it is below a span of ours."""
    spans = _received(getattr(beside[1], name), runs=RUNS + 1)
    agents = [span for span in spans if span.name == "AgentExecutor"]
    tools = [span for span in spans if span.name == "look_up"]
    of_ours = {span.span_id for root in ours for span in _all(root)}

    assert (len(agents), len(tools)) == (RUNS + 1, RUNS + 1)
    assert {span.parent_id for span in tools} == {span.span_id for span in agents}
    assert of_ours.isdisjoint({span.parent_id for span in (*agents, *tools)})


def _received(receiver: Receiver, runs: int) -> list[ReceivedSpan]:
    """Once the components of so many runs are there."""

    def all_there(spans: list[ReceivedSpan]) -> bool:
        return sum(_component(span.name) == "Chat Output" for span in spans) >= runs

    return read_until(lambda: received_spans(receiver), all_there)


def _component(name: str) -> str:
    return name.partition(" (")[0]


def _all(root: TraceSpan) -> Iterator[TraceSpan]:
    yield root
    for child in root.children:
        yield from _all(child)

"""LangFlow's own server: every way in, by HTTP, with what a collector then gets.

Runs where ``langflow-base`` is installed. One server with one worker stays for the whole module.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import paths
import pytest
from langflow_server import Server, langflow_server
from received import render
from ways import (
    CALLER,
    CANCELLED,
    FAILING,
    HOOKED,
    JOB,
    MCP,
    MCP_SSE,
    NATIVE,
    OK,
    PLAYGROUND,
    PROMPT,
    RUN,
    SETTINGS,
    STREAM,
    TRACE_ID,
    WEBHOOK,
    ZERO_CODE,
    WayIn,
    assert_joined,
    every_way,
    only_root,
    ours,
    scored_tree,
    sent_by,
)

from langflow_otel.insights.trace import TraceSpan

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


class OtherService:
    """What components call: it notes the headers of each request."""

    def __init__(self) -> None:
        self.headers: list[dict[str, str]] = []
        noted = self.headers

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                noted.append({key.lower(): value for key, value in self.headers.items()})
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None: ...  # noqa: A002

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/stock"


@pytest.fixture(scope="module")
def service() -> Iterator[OtherService]:
    other = OtherService()
    thread = threading.Thread(target=other.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield other
    other.server.shutdown()
    other.server.server_close()
    thread.join()


@pytest.fixture(scope="module")
def one_worker(service: OtherService) -> Iterator[Server]:
    environment = {**SETTINGS, "TEST_SERVICE_URL": service.url}
    with langflow_server(prefix=ZERO_CODE, environment=environment) as running:
        yield running


@pytest.fixture
def server(one_worker: Server) -> Iterator[Server]:
    """The one with one worker, with nothing received; and nothing of what the user wrote is sent, whatever runs."""
    one_worker.forget()
    yield one_worker
    assert sent_by(one_worker)
    assert [text for text in sent_by(one_worker) if PROMPT in text] == []


class TestEveryWayIn:
    @every_way()
    def test_a_run_is_one_trace_in_its_callers_trace(self, server: Server, way: WayIn) -> None:
        answer = way.drive(server, "ok", PROMPT, CALLER, **way.options)

        assert answer.status == 200, answer
        root = only_root(server)
        assert render([root]) == way.tree("ok", *OK)
        run = assert_joined(root, way)
        assert run.attributes["langflow.status"] == "ok"
        assert run.attributes["langflow.flow.id"] == server.flows["ok"]
        if way is not JOB:
            assert run.attributes["tenant"] == "acme"
            assert "secret" not in run.attributes

    @every_way()
    def test_a_failing_run_is_an_error_whatever_the_client_is_told(self, server: Server, way: WayIn) -> None:
        way.drive(server, "failing", PROMPT, CALLER, **way.options)

        root = only_root(server)
        # Of all these, only the plain run answers 500.
        request_status = "error" if way is RUN else "ok"
        expected = way.tree("failing", *FAILING, status="error", request_status=request_status)
        tree = render([root])
        if way.ends_at_error and NATIVE:
            tree[2] = expected[2]
        assert tree == expected
        run = assert_joined(root, way)
        assert run.attributes["error.type"] == "LookupError"
        (broken,) = [span for span in root.walk() if span.name == "component Broken"]
        assert broken.attributes["error.type"] == "LookupError"
        assert [event.attributes["exception.type"] for event in broken.events] == ["LookupError"]

    @every_way()
    def test_without_a_caller_the_trace_begins_here(self, server: Server, way: WayIn) -> None:
        answer = way.drive(server, "ok", PROMPT, **way.options)

        assert answer.status == 200, answer
        root = only_root(server)
        assert root.parent_id is None
        assert render([root]) == way.tree("ok", *OK)

    def test_a_webhook(self, server: Server) -> None:
        assert paths.webhook(server, "hooked", PROMPT, CALLER).status == 202

        root = only_root(server)
        assert render([root]) == WEBHOOK.tree("hooked", *HOOKED)
        assert assert_joined(root, WEBHOOK).attributes["tenant"] == "acme"

    def test_a_webhook_whose_flow_fails(self, server: Server) -> None:
        assert paths.webhook(server, "hooked-failing", PROMPT, CALLER).status == 202

        root = only_root(server)
        components = ("component Webhook", "component Broken [error]")
        assert render([root]) == WEBHOOK.tree("hooked-failing", *components, status="error")
        assert_joined(root, WEBHOOK)

    @every_way(STREAM, PLAYGROUND, MCP)
    def test_a_model_that_streams(self, server: Server, way: WayIn) -> None:
        answer = way.drive(server, "streaming", PROMPT, CALLER, **way.options)

        assert answer.status == 200, answer
        root = only_root(server)
        components = ("component Chat Input", "component Fake Model", "component Chat Output")
        lines = way.tree("streaming", *components)
        at = next(number for number, line in enumerate(lines) if line.endswith("component Fake Model"))
        indented = lines[at].replace("component Fake Model", "  chat fake-1")
        assert render([root]) == [*lines[: at + 1], indented, *lines[at + 1 :]]
        (model,) = [span for span in root.walk() if span.name == "component Fake Model"]
        if "token" in answer.events:
            assert model.attributes["langflow.stream.chunk_count"] == answer.events.count("token")

    @every_way(RUN, PLAYGROUND, MCP)
    def test_a_flow_runs_a_flow(self, server: Server, way: WayIn) -> None:
        assert way.drive(server, "outer", PROMPT, CALLER, **way.options).status == 200

        native = ["      flow.execute"] if NATIVE else []
        inner = ["    invoke_workflow ok", *native, *(f"      {component}" for component in OK)]
        lines = way.tree("outer", "component Chat Input", "component Run Flow", "component Chat Output")
        at = lines.index("    component Run Flow") + 1
        lines[at:at] = [f"  {each}" for each in inner]
        assert server.trees(1) == lines
        assert [span.attributes["langflow.entry_point"] for span in flow_spans(server)] == [way.entry_point, "flow"]

    @every_way(RUN, PLAYGROUND)
    def test_spans_of_an_authors_own(self, server: Server, way: WayIn) -> None:
        way.drive(server, "scored", PROMPT, CALLER, **way.options)

        assert server.trees(1) == scored_tree(way)

    @every_way(RUN, PLAYGROUND, MCP)
    def test_http_calls_of_components_carry_the_trace(self, server: Server, service: OtherService, way: WayIn) -> None:
        service.headers.clear()
        way.drive(server, "calling", PROMPT, CALLER, **way.options)

        root = only_root(server)
        lines = way.tree("calling", "component Chat Input", "component Calls", "component Chat Output")
        at = lines.index("    component Calls") + 1
        lines[at:at] = ["      GET", "      GET"]
        assert render([root]) == lines
        calls = [span for span in root.walk() if span.name == "GET"]
        told = [headers["traceparent"] for headers in service.headers]
        assert told == [f"00-{TRACE_ID}-{call.span_id}-01" for call in calls]


def flow_spans(server: Server) -> list[TraceSpan]:
    """From the outermost inwards."""
    return [span for span in only_root(server).walk() if span.name.startswith("invoke_workflow ")]


class TestLeaving:
    """A run that its client gives up is cancelled, not failed."""

    def test_the_reader_of_a_stream_goes(self, server: Server) -> None:
        paths.api_run_stream(server, "slow", f"{PROMPT}-1", CALLER, leave=True)

        assert server.trees(1) == STREAM.tree("slow", *CANCELLED, status="cancelled")

    def test_the_playground_is_told_to_stop(self, server: Server) -> None:
        assert paths.playground_cancel(server, "slow", f"{PROMPT}-2", CALLER).status == 200

        assert server.trees(1) == PLAYGROUND.tree("slow", *CANCELLED, status="cancelled")

    @pytest.mark.parametrize("delivery", ["streaming", "direct"])
    def test_the_playgrounds_window_is_closed(self, server: Server, delivery: str) -> None:
        paths.playground_gone(server, "slow", f"{PROMPT}-{delivery}", CALLER, delivery=delivery)

        assert server.trees(1) == PLAYGROUND.tree("slow", *CANCELLED, status="cancelled")


class TestMcp:
    @every_way(MCP, MCP_SSE)
    def test_a_call_says_itself_whose_it_is(self, server: Server, way: WayIn) -> None:
        """A session's messages may come from many callers: ``params._meta`` wins over the request's headers."""
        other = {"traceparent": f"00-{'c3' * 16}-{'d4' * 8}-01", "baggage": "tenant=other"}
        assert way.drive(server, "ok", PROMPT, CALLER, meta=other).status == 200

        root = only_root(server)
        assert (root.trace_id, root.parent_id) == ("c3" * 16, "d4" * 8)
        assert render([root]) == WayIn("", way.drive, "mcp", None).tree("ok", *OK)
        assert root.attributes["tenant"] == "other"


class TestSessions:
    def test_requests_that_run_nothing_make_no_runs(self, server: Server) -> None:
        for path in ("/health", "/api/v1/flows/", "/api/v1/version"):
            assert server.client.get(path).status_code == 200

        assert server.traces(runs=0) == []
        assert not [span for span in ours(server) if "/health" in span.name]

    def test_two_runs_at_once_are_two_traces(self, server: Server) -> None:
        threads = [
            threading.Thread(target=paths.api_run, args=(server, flow, PROMPT)) for flow in ("ok", "failing", "ok")
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        trees = sorted(render([root]) for root in server.traces(runs=3))
        assert trees == sorted(
            [RUN.tree("ok", *OK)] * 2 + [RUN.tree("failing", *FAILING, status="error", request_status="error")]
        )

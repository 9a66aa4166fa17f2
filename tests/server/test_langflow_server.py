"""LangFlow's own server: every way in, by HTTP, with what a collector then gets.

Runs where ``langflow-base`` is installed. One server with one worker stays for the whole module; the others
come and go.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

if importlib.util.find_spec("langflow") is None:
    pytest.skip("these tests start LangFlow's server: pip install langflow-base", allow_module_level=True)

import httpx
import paths
from langflow_server import TRACE_FILE, Server, langflow_server, langflow_version, lfx_server, prepared_home
from paths import Answer
from received import ReceivedSpan, render, runs_below

from langflow_otel.insights.trace import TraceSpan

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

VERSION = langflow_version()
NATIVE = VERSION >= (1, 12)
"""LangFlow's own telemetry: its ``flow.execute`` is below each flow run."""
PLUGINS = VERSION >= (1, 8)
ZERO_CODE = () if PLUGINS else ("langflow-otel", "exec", "--")

TRACE_ID, CALLER_ID = "a1" * 16, "b2" * 8
CALLER = {"traceparent": f"00-{TRACE_ID}-{CALLER_ID}-01", "baggage": "tenant=acme,secret=x"}
PROMPT = "canary-7f3a"
SETTINGS = {"LANGFLOW_OTEL_DB_SPANS": "false", "LANGFLOW_OTEL_BAGGAGE_KEYS": "tenant"}

OK = ("component Chat Input", "component Echo", "component Chat Output")
FAILING = ("component Chat Input", "component Broken [error]")
CANCELLED = ("component Chat Input", "component Slow [cancelled]")
HOOKED = ("component Webhook", "component Chat Output")


@dataclass(frozen=True)
class WayIn:
    """How a flow is run.

    Attributes:
        name: Of the way, for the reader.
        drive: A function of ``paths``.
        entry_point: ``langflow.entry_point``.
        request: Name of the request's span, if the run is below it.
        since: LangFlow's version that has it.
        linked: True if the run is a trace of its own, with a link to the caller's.
        ends_at_error: True if LangFlow cancels the run as soon as it has told the client of an error: whether its
            own span is an error then, depends on which is first.
    """

    name: str
    drive: Callable[..., Answer]
    entry_point: str
    request: str | None
    options: dict[str, Any] = field(default_factory=dict)
    since: tuple[int, int] = (1, 7)
    linked: bool = False
    ends_at_error: bool = False

    def tree(self, flow: str, *components: str, status: str = "ok", request_status: str = "ok") -> list[str]:
        """What a collector gets of one run."""
        lines = [f"invoke_workflow {flow}", *(f"  {component}" for component in components)]
        if status != "ok":
            lines[0] += f" [{status}]"
        if NATIVE:
            lines.insert(1, "  flow.execute" + (" [error]" if status == "error" else ""))
        if self.request is None:
            return lines
        request = self.request + (f" [{request_status}]" if request_status != "ok" else "")
        return [request, *(f"  {each}" for each in lines)]


API = "POST /api/v1/run/{flow_id_or_name}"
BUILD = "POST /api/v1/build/{flow_id}/flow"
RUN = WayIn("run", paths.api_run, "api", API)
STREAM = WayIn("stream", paths.api_run_stream, "api", API)
PLAYGROUND = WayIn("playground", paths.playground, "playground", BUILD)
WEBHOOK = WayIn("webhook", paths.webhook, "webhook", "POST /api/v1/webhook/{flow_id_or_name}")
MCP = WayIn("mcp", paths.mcp_streamable, "mcp", "POST /api/v1/mcp/streamable")
MCP_SSE = WayIn("mcp over sse", paths.mcp_sse, "mcp", "GET /api/v1/mcp/sse")
JOB = WayIn("v2 background", paths.workflow, "job", None, {"mode": "background"}, (1, 11), linked=True)

WAYS = [
    RUN,
    STREAM,
    WayIn("responses", paths.responses, "api", "POST /api/v1/responses"),
    WayIn(
        "responses, streamed", paths.responses, "api", "POST /api/v1/responses", {"stream": True}, ends_at_error=True
    ),
    PLAYGROUND,
    WayIn("playground, polling", paths.playground, "playground", BUILD, {"delivery": "polling"}),
    WayIn("playground, direct", paths.playground, "playground", BUILD, {"delivery": "direct"}),
    MCP,
    WayIn("mcp of a project", paths.mcp_project, "mcp", "POST /api/v1/mcp/project/{project_id}/streamable"),
    MCP_SSE,
    WayIn("v2", paths.workflow, "api", "POST /api/v2/workflows", {"mode": "sync"}, (1, 8)),
    WayIn("v2 stream", paths.workflow, "api", "POST /api/v2/workflows", {"mode": "stream"}, (1, 11)),
    JOB,
]
WAYS = [way for way in WAYS if way.since <= VERSION]


def every_way(*ways: WayIn) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("way", ways or WAYS, ids=lambda way: way.name)


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


def sent_by(server: Server) -> list[str]:
    requests = [*server.receiver.requests, *server.receiver.log_requests, *server.receiver.metric_requests]
    return [str(request.message) for request in requests]


def only_root(server: Server) -> TraceSpan:
    (root,) = server.traces(runs=1)
    return root


def assert_joined(root: TraceSpan, way: WayIn) -> ReceivedSpan:
    """The run belongs to its caller's trace, or is linked to it; gives the run."""
    (run,) = runs_below(root)
    assert isinstance(run, ReceivedSpan)
    if way.linked:
        assert run.parent_id is None
        assert run.trace_id != TRACE_ID
        assert [trace_id for trace_id, _ in run.links] == [TRACE_ID]
    else:
        assert (root.trace_id, root.parent_id) == (TRACE_ID, CALLER_ID)
        assert run.links == []
    assert run.attributes["langflow.entry_point"] == way.entry_point
    return run


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
        assert render([root]) == way.tree("streaming", *components)
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

        components = ("component Chat Input", "component Scores", "component Chat Output")
        lines = way.tree("scored", *components)
        at = lines.index("    component Scores") + 1
        lines[at:at] = ["      score", "        lookup", "          weigh"]
        assert server.trees(1) == lines

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


class TestWorkers:
    """Each process that answers has exporters and an identity of its own, however it came to be."""

    def test_two_workers(self) -> None:
        self.runs_on_two_workers({})

    @pytest.mark.skipif(VERSION < (1, 10), reason="LangFlow 1.10 and later can load before it forks")
    def test_two_workers_that_are_forked_after_loading(self) -> None:
        # LangFlow makes its own metric reader before it forks. Where that is sending just then, its lock stays shut in
        # the workers for good, and LangFlow waits 30 s for it at the end.
        seldom = {"OTEL_METRIC_EXPORT_INTERVAL": "600000"}
        self.runs_on_two_workers({"LANGFLOW_GUNICORN_PRELOAD": "true", **seldom})

    def runs_on_two_workers(self, environment: dict[str, str]) -> None:
        with langflow_server(workers=2, prefix=ZERO_CODE, environment={**SETTINGS, **environment}) as server:
            done = 0
            while done < 60 and (done < 10 or len(instances(server)) < 2):
                # A connection of its own each time, so that any worker may answer.
                answer = paths.api_run(server, "ok", PROMPT, {"Connection": "close"})
                assert answer.status == 200, answer
                done += 1
            assert [render([root]) for root in server.traces(runs=done)] == [RUN.tree("ok", *OK)] * done
            assert len(instances(server)) == 2
            for process in {str(span.resource["process.pid"]) for span in ours(server)}:
                assert int(process) in server.process_ids()

            # What ran just before the end is sent at the end.
            paths.api_run(server, "failing", PROMPT)
            assert server.stop() < 15
            assert len([root for root in server.traces(runs=done + 1) if "failing" in str(render([root]))]) == 1


def ours(server: Server) -> list[ReceivedSpan]:
    return [span for span in server.spans() if isinstance(span, ReceivedSpan) and span.scope == "langflow_otel"]


def instances(server: Server) -> set[str]:
    """The processes that sent runs, by ``service.instance.id``."""
    server.wait_until_quiet()
    return {str(span.resource["service.instance.id"]) for span in ours(server)}


class TestStart:
    """Other ways to start, and starts at which something is wrong: the server answers in each."""

    @pytest.mark.parametrize(
        "prefix", [("langflow-otel", "exec", "--"), ("opentelemetry-instrument",)], ids=lambda words: words[0]
    )
    def test_commands_that_start_it(self, prefix: tuple[str, ...]) -> None:
        with langflow_server(prefix=prefix, environment=SETTINGS) as server:
            assert paths.api_run(server, "ok", PROMPT, CALLER).status == 200
            root = only_root(server)

        assert render([root]) == RUN.tree("ok", *OK)
        assert_joined(root, RUN)

    def test_no_destination_no_telemetry(self) -> None:
        with langflow_server(prefix=ZERO_CODE, endpoint=False) as server:
            assert paths.api_run(server, "ok", PROMPT).status == 200
            server.wait_until_quiet()
            assert sent_by(server) == []
            output = server.output()

        assert "langflow-otel" not in output
        assert "Traceback" not in output

    def test_a_destination_that_is_none(self) -> None:
        environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://[not an address", "OTEL_EXPORTER_OTLP_TIMEOUT": "1"}
        with langflow_server(prefix=ZERO_CODE, environment=environment) as server:
            assert paths.api_run(server, "ok", PROMPT).status == 200
            assert server.stop() < 20

    def test_a_collector_that_does_not_answer(self) -> None:
        environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_EXPORTER_OTLP_TIMEOUT": "1"}
        with langflow_server(prefix=ZERO_CODE, environment=environment) as server:
            assert paths.api_run(server, "ok", PROMPT).status == 200
            assert server.stop() < 20

    @pytest.mark.skipif(not NATIVE, reason="LangFlow 1.12 and later have telemetry of their own")
    def test_beside_langflows_own_telemetry_that_is_off(self) -> None:
        """Only ours is exported: the request's span is ours then, and no parent is missing."""
        environment = {"LANGFLOW_OTEL_TRACE_FILE": TRACE_FILE}
        with langflow_server(prefix=ZERO_CODE, environment=environment, endpoint=False) as server:
            for way in (RUN, PLAYGROUND):
                way.drive(server, "ok", PROMPT, CALLER)
            trees = server.trees(2)

        expected = [*RUN.tree("ok", *OK), *PLAYGROUND.tree("ok", *OK)]
        assert trees == [line for line in expected if "flow.execute" not in line]


class TestSampling:
    def test_of_flows_that_are_not_sampled_the_failed_runs_are_kept(self) -> None:
        environment = {**SETTINGS, "LANGFLOW_OTEL_SAMPLING": "ok=0,failing=0,*=1"}
        with langflow_server(prefix=ZERO_CODE, environment=environment) as server:
            for flow in ("ok", "failing", "scored"):
                paths.api_run(server, flow, PROMPT)
            failed, sampled = server.traces(runs=2)

        # LangFlow's own telemetry follows the flag that the run had while it ran.
        expected = RUN.tree("failing", *FAILING, status="error", request_status="error")
        assert render([failed]) == [line for line in expected if "flow.execute" not in line]
        assert runs_below(failed)[0].attributes["langflow.kept"] == "error"
        assert runs_below(sampled)[0].name == "invoke_workflow scored"


class TestStop:
    def test_what_still_runs_is_sent_before_the_server_may_be_killed(self) -> None:
        """A server waits without end for what it is answering; who stops it waits 30 s, and kills it."""
        with langflow_server(prefix=ZERO_CODE, environment=SETTINGS) as server:
            client = threading.Thread(target=_run_that_is_cut_off, args=(server,))
            client.start()
            paths.wait_until_waiting(server, PROMPT)
            server.process.send_signal(signal.SIGTERM)
            (root,) = server.traces(runs=1, timeout_s=30)
            (run,) = runs_below(root)

        client.join()
        assert (run.status, run.attributes["langflow.cancellation.reason"]) == ("cancelled", "shutdown")
        assert [child.name for child in run.children if "execute" not in child.name] == [
            "component Chat Input",
            "component Slow",
        ]


def _run_that_is_cut_off(server: Server) -> None:
    with contextlib.suppress(httpx.HTTPError):
        paths.api_run(server, "slow", PROMPT)


class TestLfxServe:
    def test_a_run(self) -> None:
        with lfx_server("ok", prefix=("langflow-otel", "exec", "--")) as server:
            (flow,) = server.client.get("/flows").json()
            answer = server.client.post(f"/flows/{flow['id']}/run", json={"input_value": PROMPT}, headers=CALLER)
            assert answer.status_code == 200, answer.text
            root = only_root(server)

        (run,) = runs_below(root)
        names = [span.name for span in root.walk() if span.scope == "langflow_otel" and span is not root]
        assert names == ["invoke_workflow ok", *OK]
        assert (root.trace_id, root.parent_id) == (TRACE_ID, CALLER_ID)
        assert run.attributes["langflow.entry_point"] == "serve"


@pytest.fixture(scope="module", autouse=True)
def _home() -> None:
    """Made once, before the first server."""
    prepared_home()
    assert os.path.exists(prepared_home() / "flows.json")

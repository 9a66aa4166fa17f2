"""The ways in which a server is asked to run a flow, and what a collector gets of each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import paths
import pytest
from langflow_server import Server, langflow_version
from paths import Answer
from received import ReceivedSpan, runs_below

from langflow_otel.insights.trace import TraceSpan

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


def scored_tree(way: WayIn) -> list[str]:
    """What a collector gets of one run of the flow ``scored``, with spans of its author's own."""
    lines = way.tree("scored", "component Chat Input", "component Scores", "component Chat Output")
    at = lines.index("    component Scores") + 1
    lines[at:at] = ["      score", "        lookup", "          weigh"]
    return lines


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


def ours(server: Server) -> list[ReceivedSpan]:
    return [span for span in server.spans() if isinstance(span, ReceivedSpan) and span.scope == "langflow_otel"]


def instances(server: Server) -> set[str]:
    """The processes that sent runs, by ``service.instance.id``."""
    server.wait_until_quiet()
    return {str(span.resource["service.instance.id"]) for span in ours(server)}

"""W3C trace context: in from a caller, through a flow, out to the services that components call."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from flows import INPUT, line, run
from nodes import basic, http
from opentelemetry import baggage, trace
from opentelemetry import context as otel_context
from opentelemetry.propagate import extract
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased

from langflow_otel.testing import capture_telemetry

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT_ID = "00f067aa0ba902b7"


async def run_below(carrier: dict[str, str]) -> None:
    token = otel_context.attach(extract(carrier))
    try:
        await line(basic.ReadsContext).arun(INPUT, session_id="s1")
    finally:
        otel_context.detach(token)


async def test_a_flow_joins_its_callers_trace(telemetry):
    await run_below({"traceparent": f"00-{TRACE_ID}-{PARENT_ID}-01"})

    assert {span.trace_id for span in telemetry.spans} == {TRACE_ID}
    assert telemetry.only_span("invoke_workflow demo").parent_id == PARENT_ID


async def test_a_callers_decision_not_to_sample_holds():
    with capture_telemetry(sampler=ParentBased(ALWAYS_ON)) as telemetry:
        await run_below({"traceparent": f"00-{TRACE_ID}-{PARENT_ID}-00"})

    assert telemetry.tree() == []
    assert f"{basic.seen['span'].trace_id:032x}" == TRACE_ID
    assert not basic.seen["span"].trace_flags.sampled


async def test_baggage_reaches_components(telemetry):
    await run_below({"baggage": "tenant=acme"})

    assert basic.seen["baggage"] == {"tenant": "acme"}


async def test_a_component_sees_its_own_span(telemetry):
    await run(line(basic.ReadsContext))

    assert telemetry.only_span("component Reads Context").span_id == f"{basic.seen['span'].span_id:016x}"


async def test_a_parent_that_has_ended_becomes_a_link(telemetry):
    request = telemetry.provider.get_tracer("caller").start_span("POST /webhook")
    request.end()
    token = otel_context.attach(trace.set_span_in_context(request, baggage.set_baggage("tenant", "acme")))
    try:
        await line(basic.ReadsContext).arun(INPUT, session_id="s1")
    finally:
        otel_context.detach(token)

    flow = next(span for span in telemetry.sdk_spans if span.name == "invoke_workflow demo")
    assert flow.parent is None
    assert [link.context.span_id for link in flow.links] == [request.get_span_context().span_id]
    assert basic.seen["baggage"] == {"tenant": "acme"}


@pytest.fixture
def server() -> Iterator[tuple[str, list[str]]]:
    """A real HTTP server that keeps the traceparent of each request."""
    received: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            received.append(self.headers.get("traceparent", ""))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args: object) -> None: ...

    httpd = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=httpd.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{httpd.server_port}/", received
    httpd.shutdown()
    thread.join()
    httpd.server_close()


@pytest.mark.parametrize("component", [http.Calls, http.CallsInThread])
async def test_traceparent_is_on_the_wire_of_a_components_http_call(telemetry, server, component):
    from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor

    url, received = server
    http.seen["url"] = url
    instrumentor = HTTPXClientInstrumentor()
    instrumentor.instrument(tracer_provider=telemetry.provider)
    try:
        await run(line(component))
    finally:
        instrumentor.uninstrument()

    assert telemetry.tree() == [
        "invoke_workflow demo",
        "  component Chat Input",
        f"  component {component.display_name}",
        "    GET",
        "  component Chat Output",
    ]
    call = telemetry.only_span("GET")
    version, trace_id, span_id, flags = received[0].split("-")
    assert (version, trace_id, span_id) == ("00", call.trace_id, call.span_id)
    assert int(flags, 16) & 1  # sampled; newer SDKs also say that the id is random

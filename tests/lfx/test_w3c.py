"""W3C trace context: in from a caller, and through a flow. Out to services: test_http_out.py."""

from __future__ import annotations

from flows import INPUT, line, run
from nodes import basic
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

"""Beside LangFlow's own telemetry (1.12 and later): our tree is the same, whoever exports."""

from __future__ import annotations

import pytest
from flows import line, run
from lfx.graph import Graph
from nodes import basic
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from langflow_otel.testing import capture_telemetry

HAS_OWN_SPANS = hasattr(Graph, "flow_execution_span")


@pytest.fixture
def langflows_own(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    """LangFlow's tracer gets a provider of its own, as its bootstrap would install globally."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    if HAS_OWN_SPANS:
        module = __import__("lfx.graph.graph.base", fromlist=["otel_trace"])
        monkeypatch.setattr(module.otel_trace, "get_tracer", provider.get_tracer)
    return exporter


TREE = [
    "invoke_workflow demo",
    "  component Chat Input",
    "  component Echo",
    "  component Chat Output",
]


async def test_components_hang_below_our_flow_and_langflows_span_beside_them(telemetry, langflows_own):
    await run(line(basic.Echo))

    assert telemetry.tree() == TREE
    flow = telemetry.only_span("invoke_workflow demo")
    for own in langflows_own.get_finished_spans():
        assert own.name == "flow.execute"
        assert f"{own.parent.span_id:016x}" == flow.span_id
    assert len(langflows_own.get_finished_spans()) == (1 if HAS_OWN_SPANS else 0)


async def test_an_unsampled_flow_does_not_make_langflows_span_a_new_root(langflows_own):
    with capture_telemetry(sampler=ALWAYS_OFF) as telemetry:
        await run(line(basic.ReadsContext))

    assert telemetry.tree() == []
    # Its sampler follows the parent: flag 0 in, nothing out, and the same trace id further down.
    assert langflows_own.get_finished_spans() == ()
    assert basic.seen["span"].is_valid
    assert not basic.seen["span"].trace_flags.sampled
    assert trace.get_current_span() is trace.INVALID_SPAN

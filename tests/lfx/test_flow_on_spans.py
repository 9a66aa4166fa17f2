"""Each span of a run has the name and id of its flow, also those that other instrumentors make."""

from __future__ import annotations

import pytest
from flows import chat_input, chat_output, line, run
from lfx.graph import Graph
from nodes import basic, http, models, streams
from openai_server import fake_openai
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind
from test_loops import loop_flow
from test_streams import pair
from test_tools import agent_flow

from langflow_otel._sdk.content_filter import ContentFilter
from langflow_otel._settings.settings import Settings
from langflow_otel.testing import Telemetry, capture_telemetry

FLOW_ID = "6f0d2f6e-7a33-4a6e-9d7e-4d9a0b6f0001"


async def an_agent() -> Graph:
    return await agent_flow(models.ShoutAgent, models.Shout)


async def a_stream() -> Graph:
    return pair(streams.Streams, streams.Reads)


async def a_loop() -> Graph:
    return loop_flow()


async def a_component_with_custom_spans() -> Graph:
    start = chat_input()
    node = basic.TracedOutput(_id="TracedOutput-t").set(value=start.message_response)
    return Graph(start, chat_output(node.run_out), flow_name="demo")


async def a_tool_of_a_component() -> Graph:
    start = chat_input()
    node = models.CallsTool(_id="CallsTool-c").set(value=start.message_response)
    return Graph(start, chat_output(node.run_out), flow_name="demo")


async def a_model() -> Graph:
    start = chat_input()
    return Graph(start, models.FakeModel(_id="Model-m").set(input_value=start.message_response), flow_name="demo")


def check(telemetry: Telemetry, *names: str) -> None:
    assert set(names) <= {span.name.partition(" ")[0] for span in telemetry.spans}
    for span in telemetry.spans:
        found = (span.attributes.get("langflow.flow.name"), span.attributes.get("langflow.flow.id"))
        assert found == ("demo", FLOW_ID), span
        if span.name.startswith("chat"):
            assert span.attributes["session.id"] == "s1"


@pytest.mark.parametrize(
    ("make", "names"),
    [
        (an_agent, ("invoke_agent", "execute_tool", "chat")),
        (a_stream, ("stream",)),
        (a_loop, ("component",)),
        (a_component_with_custom_spans, ("component", "lookup")),
        (a_tool_of_a_component, ("execute_tool",)),
        (a_model, ("chat",)),
    ],
)
async def test_every_span_of_a_run_has_its_flow(telemetry, make, names):
    graph = await make()
    graph.flow_id = FLOW_ID
    await run(graph)

    check(telemetry, *names)


@pytest.mark.parametrize("settings", [Settings(), Settings(sampling=(("*", 0.0),), keep_slow_s=0.0)])
async def test_requests_and_spans_of_others_in_a_run_have_its_flow(settings):
    """As they are sent; of a run that is held until it is kept, too."""
    with fake_openai() as server, capture_telemetry(settings=settings) as telemetry:
        http.seen.update(url=server.url + "/models", tracer=telemetry.provider.get_tracer("others"))
        graph = line(http.CallsWithOthers)
        graph.flow_id = FLOW_ID
        await run(graph)

    check(telemetry, "invoke_workflow", "component")
    sent = InMemorySpanExporter()
    ContentFilter(sent, settings).export(telemetry.sdk_spans)
    of_requests = [span for span in sent.get_finished_spans() if span.kind is SpanKind.CLIENT]
    assert [span.attributes["langflow.flow.name"] for span in of_requests] == ["demo"]
    assert [span.attributes["langflow.flow.id"] for span in of_requests] == [FLOW_ID]
    (request,) = [span for span in telemetry.spans if span.scope.startswith("opentelemetry.instrumentation.")]
    assert request.name.endswith("GET")
    assert settings.sampling or telemetry.only_span("by others")

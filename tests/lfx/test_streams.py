"""Streams: drained inside, read by the next component, left half way, never read."""

from __future__ import annotations

import asyncio

import pytest
from flows import chat_input, run
from lfx.events.event_manager import create_default_event_manager
from lfx.graph import Graph
from nodes import streams
from nodes.models import FailingModel, FakeModel, NestedSpanModel

from langflow_otel._sdk.instrumentor_spans import NestedModelSpans

SHOWN = ("langflow.stream.outcome", "langflow.stream.chunk_count")


def pair(producer: type, reader: type) -> Graph:
    """chat input > producer > reader, with nothing after it that reads along."""
    start = chat_input()
    made = producer(_id="Producer-p").set(value=start.message_response)
    read = reader(_id="Reader-r").set(value=made.run_out)
    return Graph(start, read, flow_name="demo")


async def test_a_stream_read_by_the_next_component_nests_below_its_producer(telemetry):
    await run(pair(streams.Streams, streams.Reads))

    assert telemetry.tree(*SHOWN) == [
        "invoke_workflow demo",
        "  component Chat Input",
        "  component Streams",
        "    stream Streams langflow.stream.outcome=exhausted langflow.stream.chunk_count=3",
        "      make a",
        "      make b",
        "      make c",
        "  component Reads",
    ]
    span = telemetry.only_span("stream Streams")
    assert 0.005 <= span.attributes["langflow.stream.time_to_first_chunk"] <= span.duration_s
    assert span.end_ns > telemetry.only_span("component Streams").end_ns


async def test_a_sync_stream(telemetry):
    await run(pair(streams.StreamsSync, streams.Reads))

    assert telemetry.tree(*SHOWN)[3] == (
        "    stream Streams Sync langflow.stream.outcome=exhausted langflow.stream.chunk_count=2"
    )


async def test_a_stream_that_fails_in_the_middle(telemetry):
    with pytest.raises(Exception, match="canary"):
        await run(pair(streams.StreamsBroken, streams.Reads))

    assert telemetry.tree(*SHOWN, "error.type") == [
        "invoke_workflow demo [error] error.type=RuntimeError",
        "  component Chat Input",
        "  component Streams Broken",
        "    stream Streams Broken [error] langflow.stream.outcome=failed langflow.stream.chunk_count=1"
        " error.type=RuntimeError",
        "  component Reads [error] error.type=RuntimeError",
    ]


@pytest.mark.parametrize(
    ("reader", "outcome", "chunks"),
    [
        (streams.ReadsOneAndCloses, "closed", 1),
        (streams.Ignores, "unread", 0),
        (streams.ReadsOne, "abandoned", 1),
    ],
)
async def test_a_stream_that_is_not_read_to_its_end(telemetry, reader, outcome, chunks):
    graph = pair(streams.Streams, reader)
    await run(graph)

    span = telemetry.only_span("stream Streams")
    assert (span.status, span.attributes["langflow.stream.outcome"]) == ("cancelled", outcome)
    assert span.attributes["langflow.stream.chunk_count"] == chunks
    assert not span.is_error


async def test_a_stream_looks_like_the_generator_that_it_is(telemetry):
    import inspect

    streams.seen.clear()
    await run(pair(streams.Streams, streams.Reads))

    assert inspect.isasyncgen(streams.seen["stream"])
    assert streams.seen["stream"].ag_running is False


def streaming_model() -> tuple[Graph, object]:
    from lfx.components.input_output import ChatOutput

    start = chat_input()
    model = FakeModel(_id="FakeModel-m").set(input_value=start.message_response, stream=True)
    end = ChatOutput(_id="ChatOutput-o").set(input_value=model.text_response)
    events = create_default_event_manager(asyncio.Queue())
    return Graph(start, end, flow_name="demo"), events


async def test_a_model_that_drains_its_own_stream_has_the_counts_on_its_span(telemetry):
    graph, events = streaming_model()
    await run(graph, event_manager=events)

    assert telemetry.tree() == [
        "invoke_workflow demo",
        "  component Chat Input",
        "  component Fake Model",
        "    chat fake-1",
        "  component Chat Output",
    ]
    attributes = telemetry.only_span("component Fake Model").attributes
    assert attributes["langflow.stream.chunk_count"] >= 5
    assert attributes["langflow.stream.time_to_first_chunk"] > 0
    assert "langflow.stream.chunk_count" not in telemetry.only_span("component Chat Output").attributes


async def test_a_model_without_stream_has_model_and_tokens(telemetry):
    start = chat_input()
    model = FakeModel(_id="FakeModel-m").set(input_value=start.message_response)
    await run(Graph(start, model, flow_name="demo"))

    span = telemetry.only_span("component Fake Model")
    counted = {key: value for key, value in span.attributes.items() if key.startswith(("gen_ai", "langflow.usage"))}
    assert counted == {"langflow.usage.input_tokens": 3, "langflow.usage.output_tokens": 5}
    call = telemetry.only_span("chat fake-1").attributes
    counted = {key: value for key, value in call.items() if key.startswith(("gen_ai.re", "gen_ai.usage"))}
    assert counted == {
        "gen_ai.request.model": "fake-1",
        "gen_ai.usage.input_tokens": 3,
        "gen_ai.usage.output_tokens": 5,
    }
    assert span.attributes["langflow.component.kind"] == "llm"


async def test_tokens_that_a_nested_instrumentors_span_carries_are_not_counted_twice(telemetry):
    telemetry.provider.add_span_processor(NestedModelSpans())
    start = chat_input()
    model = NestedSpanModel(_id="FakeModel-m").set(input_value=start.message_response)
    NestedSpanModel.tracer = telemetry.provider.get_tracer("some.llm.instrumentor")
    await run(Graph(start, model, flow_name="demo"))

    assert telemetry.tree("gen_ai.request.model", "gen_ai.usage.input_tokens") == [
        "invoke_workflow demo",
        "  component Chat Input",
        "  component Nested Span Model",
        "    chat fake-1 gen_ai.usage.input_tokens=3",
    ]


async def test_a_failing_model(telemetry):
    start = chat_input()
    model = FailingModel(_id="FailingModel-m").set(input_value=start.message_response)
    with pytest.raises(Exception, match="canary"):
        await run(Graph(start, model, flow_name="demo"))

    span = telemetry.only_span("component Failing Model")
    assert (span.status, span.attributes["error.type"]) == ("error", "PermissionError")
    assert span.attributes["gen_ai.request.model"] == "fake-1"

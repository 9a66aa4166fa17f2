"""Component spans: identity, truth of times, errors, cancellation, branches, caching."""

from __future__ import annotations

import asyncio

import pytest
from flows import INPUT, chat_input, chat_output, line, run, steps
from lfx.components.flow_controls.conditional_router import ConditionalRouterComponent
from lfx.graph import Graph
from nodes import basic
from nodes.edited import Edited


async def test_a_component_span_says_what_ran(telemetry):
    await run(line(basic.Manager))

    assert telemetry.only_span("component Two Outputs").attributes == {
        "langflow.component.id": "Manager-0",
        "langflow.component.type": "TwoOutputs",
        "langflow.component.display_name": "Two Outputs",
        "langflow.component.kind": "other",
        "langflow.component.output.names": ("first",),
        "langflow.flow.name": "demo",
        "langflow.status": "ok",
    }


async def test_a_sync_component_is_current_in_its_thread_and_its_time_is_true(telemetry):
    await run(line(basic.Blocking))

    assert telemetry.tree() == [
        "invoke_workflow demo",
        "  component Chat Input",
        "  component Blocking",
        "    in thread",
        "  component Chat Output",
    ]
    blocking, flow = (telemetry.only_span(name) for name in ("component Blocking", "invoke_workflow demo"))
    assert 0.2 <= blocking.duration_s <= flow.duration_s


@pytest.mark.parametrize("broken", [basic.Broken, basic.BrokenInThread, basic.BrokenSetUp])
@pytest.mark.parametrize("way", [run, steps])
async def test_a_failing_component_marks_itself_and_its_flow(telemetry, broken, way):
    with pytest.raises(Exception, match="canary"):
        await way(line(basic.Echo, broken))

    assert telemetry.tree("error.type") == [
        "invoke_workflow demo [error] error.type=KeyError",
        "  component Chat Input",
        "  component Echo",
        f"  component {broken.display_name} [error] error.type=KeyError",
    ]
    # LangFlow renders the traceback for up to two seconds; that is not the component's time.
    component = telemetry.only_span(f"component {broken.display_name}")
    assert 0 <= component.end_ns - basic.seen["failed_at"] < 100e6


async def test_an_error_has_one_event_with_frames_and_without_its_message(telemetry):
    with pytest.raises(Exception, match="canary"):
        await run(line(basic.Broken))

    component = telemetry.only_span("component Broken")
    assert component.is_error
    assert [event.name for event in component.events] == ["exception"]
    assert set(component.events[0].attributes) == {"exception.type", "exception.stacktrace"}
    assert component.events[0].attributes["exception.type"] == "KeyError"
    assert "in run_out" in component.events[0].attributes["exception.stacktrace"]
    assert "canary" not in repr([(span.attributes, span.events) for span in telemetry.spans])


async def test_an_error_that_the_author_chained_is_the_error(telemetry):
    with pytest.raises(Exception, match="canary"):
        await run(line(basic.Chained))

    assert telemetry.tree("error.type")[0] == "invoke_workflow demo [error] error.type=LookupError"
    frames = telemetry.only_span("component Chained").events[0].attributes["exception.stacktrace"]
    assert "caused by" in frames
    assert "OSError" in frames


async def test_a_type_error_of_the_component_is_found_below_langflows_own(telemetry):
    with pytest.raises(Exception, match="len"):
        await run(line(basic.WrongType))

    stack = telemetry.only_span("component Wrong Type").events[0].attributes["exception.stacktrace"]
    assert "in run_out" in stack


async def test_one_of_two_parallel_branches_fails(telemetry):
    start = chat_input()
    left = basic.Broken(_id="Left-l").set(value=start.message_response)
    right = basic.Right(_id="Right-r").set(value=start.message_response)
    join = basic.Join(_id="Join-j").set(value=left.run_out, other=right.run_out)
    with pytest.raises(Exception, match="canary"):
        await run(Graph(start, chat_output(join.run_out), flow_name="demo"))

    assert telemetry.tree(by_name=True) == [
        "invoke_workflow demo [error]",
        "  component Broken [error]",
        "  component Chat Input",
        "  component Right",
    ]


async def test_a_cancelled_run_is_no_error(telemetry):
    basic.seen["waiting"] = asyncio.Event()
    task = asyncio.create_task(run(line(basic.Waits)))
    await basic.seen["waiting"].wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert telemetry.tree("error.type") == [
        "invoke_workflow demo [cancelled]",
        "  component Chat Input",
        "  component Waits [cancelled]",
    ]
    assert not any(span.is_error or span.events for span in telemetry.spans)


async def test_a_timed_out_run_is_cancelled(telemetry):
    basic.seen["waiting"] = asyncio.Event()
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(run(line(basic.Waits)), timeout=0.1)

    assert telemetry.tree()[0] == "invoke_workflow demo [cancelled]"


def router_flow(match: str) -> Graph:
    """chat input > if-else > [Left > Join, Right > Echo]"""
    graph = Graph(flow_name="demo")
    graph.add_component(chat_input())
    router = ConditionalRouterComponent(_id="Router-r").set(
        match_text=match, operator="equals", true_case_message="yes", false_case_message="no"
    )
    graph.add_component(router)
    for cls in (basic.Left, basic.Right, basic.Join, basic.Echo):
        graph.add_component(cls(_id=f"{cls.__name__}-x"))
    graph.add_component_edge("ChatInput-in", ("message", "input_text"), "Router-r")
    graph.add_component_edge("Router-r", ("true_result", "value"), "Left-x")
    graph.add_component_edge("Router-r", ("false_result", "value"), "Right-x")
    graph.add_component_edge("Left-x", ("out", "value"), "Join-x")
    graph.add_component_edge("Right-x", ("out", "value"), "Echo-x")
    graph.prepare()
    return graph


@pytest.mark.parametrize(
    ("match", "ran", "skipped"),
    [("hi", ["Join", "Left"], ["Echo-x", "Right-x"]), ("other", ["Echo", "Right"], ["Join-x", "Left-x"])],
)
async def test_a_branch_not_taken_is_an_event_for_each_component(telemetry, match, ran, skipped):
    await run(router_flow(match))

    components = sorted(["Chat Input", "If-Else", *ran])
    assert telemetry.tree(by_name=True) == ["invoke_workflow demo", *(f"  component {each}" for each in components)]
    events = telemetry.only_span("invoke_workflow demo").events
    assert [event.name for event in events] == ["component.skipped"] * 2
    assert sorted(event.attributes["langflow.component.id"] for event in events) == skipped


@pytest.mark.usefixtures("chat_cache")
async def test_a_frozen_component_runs_once_and_is_cached_after(telemetry):
    def frozen() -> Graph:
        graph = line(basic.TracedOutput)
        graph.get_vertex("TracedOutput-0").frozen = True
        return graph

    await run(frozen())
    telemetry.clear()
    await run(frozen())

    assert telemetry.tree() == [
        "invoke_workflow demo",
        "  component Chat Input",
        "  component Traced [cached]",
        "  component Chat Output",
    ]


@pytest.mark.usefixtures("chat_cache")
async def test_a_frozen_component_of_the_same_graph_is_cached_the_second_time(telemetry):
    graph = line(basic.Echo)
    graph.get_vertex("Echo-0").frozen = True
    await run(graph)
    await run(graph)

    assert [span.status for span in telemetry.spans if span.name == "component Echo"] == ["ok", "cached"]


async def test_detail_flow_makes_flow_spans_only():
    from langflow_otel._settings.settings import Settings
    from langflow_otel.testing import capture_telemetry

    with capture_telemetry(settings=Settings(detail="flow")) as telemetry:
        await run(line(basic.Echo))

    assert telemetry.tree() == ["invoke_workflow demo"]


async def test_detail_output_makes_a_span_for_each_output_method():
    from langflow_otel._settings.settings import Settings
    from langflow_otel.testing import capture_telemetry

    with capture_telemetry(settings=Settings(detail="output")) as telemetry, pytest.raises(Exception, match="canary"):
        await run(line(basic.Broken))

    assert telemetry.tree() == [
        "invoke_workflow demo [error]",
        "  component Chat Input",
        "    output message",
        "  component Broken [error]",
        "    output out [error]",
    ]


async def test_traced_works_on_an_output_method_and_below(telemetry):
    graph = line(basic.TracedOutput)
    await run(graph)

    assert telemetry.tree("index", "table", "input_size", "rows") == [
        "invoke_workflow demo",
        "  component Chat Input",
        "  component Traced",
        "    score index=orders rows=2",
        "      lookup table=orders input_size=3",
        "        TracedOutput.refine",
        "          weigh",
        "  component Chat Output",
    ]
    component = basic.TracedOutput(_id="T-1")
    assert component.get_output("out").types == ["Message"]


async def test_traced_works_in_source_that_langflow_executes_as_its_code_editor_does(telemetry):
    stored = line(Edited).dump()["data"]
    source = next(node for node in stored["nodes"] if node["id"].startswith("Edited"))["data"]["node"]
    assert "@traced" in source["template"]["code"]["value"]
    assert source["outputs"][0]["types"] == ["Message"]
    graph = Graph.from_payload(stored, flow_name="demo")
    await run(graph)

    assert type(graph.get_vertex("Edited-0").custom_component) is not Edited
    assert telemetry.tree("index", "input_size") == [
        "invoke_workflow demo",
        "  component Chat Input",
        "  component Edited",
        "    rank index=orders",
        "      lookup input_size=2",
        "  component Chat Output",
    ]


async def test_an_unsampled_run_makes_no_span_at_all():
    from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

    from langflow_otel.testing import capture_telemetry

    with capture_telemetry(sampler=ALWAYS_OFF) as telemetry:
        result = await line(basic.TracedOutput).arun(INPUT, session_id="s1")

    assert telemetry.tree() == []
    assert result[0].outputs[0].results["message"].text == "hi"

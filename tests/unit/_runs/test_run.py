"""Runs: their life cycle, what is current when, and where in a trace their spans end up."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, TraceFlags

from langflow_otel import traced
from langflow_otel._runs.component import LoopIteration
from langflow_otel._runs.facts import (
    CACHED,
    CANCELLED,
    OK,
    ComponentInfo,
    Costs,
    FlowInfo,
    ModelInfo,
    ModelResponse,
    ModelUsage,
    Outcome,
    ToolInfo,
)
from langflow_otel._runs.flow import FlowRun
from langflow_otel._runs.model_totals import CallsBelow
from langflow_otel._runs.recorder import set_active_recorder
from langflow_otel._runs.run import Run, current_run, end_open_runs
from langflow_otel._sdk.http_clients import _async_below_call
from langflow_otel._settings.settings import Settings
from tests.support.recording import FLOW, at_once, component, recorder, recording


class Graph:
    """Stands for the host's object."""


def start_flow(info: FlowInfo = FLOW, **kwargs: Any) -> FlowRun:
    run = recorder().start_flow(info, **kwargs)
    assert run is not None
    return run


def remote_parent(sampled: bool) -> tuple[otel_context.Context, SpanContext]:
    flags = TraceFlags(TraceFlags.SAMPLED if sampled else TraceFlags.DEFAULT)
    caller = SpanContext(0xABC, 0xDEF, is_remote=True, trace_flags=flags)
    return trace.set_span_in_context(NonRecordingSpan(caller)), caller


# Life cycle


def test_a_flow_with_components_and_a_tool(telemetry):
    flow = start_flow()
    first = recorder().start_component(component("Input", "input"), flow)
    first.finish()
    agent = recorder().start_component(component("Helper", "agent"), flow)
    tool = recorder().start_tool(ToolInfo("search"), agent)
    tool.finish()
    agent.finish()
    flow.finish()

    assert telemetry.tree() == [
        "invoke_workflow demo",
        "  component Input",
        "  invoke_agent Helper",
        "    execute_tool search",
    ]
    assert current_run() is None


def test_the_attributes_of_a_flow(telemetry):
    info = FlowInfo("Orders", "api", "f-1", "r-1", "s-1", "u-1", 3, "abc123")
    start_flow(info).finish()

    assert telemetry.only_span("invoke_workflow Orders").attributes == {
        "gen_ai.operation.name": "invoke_workflow",
        "gen_ai.agent.name": "Orders",
        "gen_ai.conversation.id": "s-1",
        "session.id": "s-1",
        "langflow.flow.id": "f-1",
        "langflow.flow.name": "Orders",
        "langflow.flow.version": "abc123",
        "langflow.flow.component_count": 3,
        "langflow.run.id": "r-1",
        "langflow.entry_point": "api",
        "langflow.status": "ok",
    }


def test_what_is_not_known_of_a_flow_is_absent(telemetry):
    start_flow(FlowInfo("")).finish()

    assert telemetry.only_span("invoke_workflow ").attributes == {
        "gen_ai.operation.name": "invoke_workflow",
        "gen_ai.agent.name": "",
        "langflow.flow.name": "",
        "langflow.entry_point": "sdk",
        "langflow.status": "ok",
    }


def test_the_attributes_of_a_component(telemetry):
    info = ComponentInfo("ChatInput-x1", "ChatInput", "Chat Input", "input", "c0ffee", 2)
    run = recorder().start_component(info, None)
    run.produced(("message", "other"))
    run.used_model(ModelUsage("gpt", "openai", 0, 12))
    run.finish()

    assert telemetry.only_span("component Chat Input").attributes == {
        "langflow.component.id": "ChatInput-x1",
        "langflow.component.type": "ChatInput",
        "langflow.component.display_name": "Chat Input",
        "langflow.component.kind": "input",
        "langflow.component.code_hash": "c0ffee",
        "langflow.component.output.names": ("message", "other"),
        "langflow.loop.index": 2,
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt",
        "gen_ai.usage.input_tokens": 0,
        "gen_ai.usage.output_tokens": 12,
        "langflow.status": "ok",
    }


def test_what_is_not_known_of_a_component_is_absent(telemetry):
    run = recorder().start_component(component("Parser"), None)
    run.produced(())
    run.used_model(ModelUsage())
    run.finish()

    assert telemetry.only_span("component Parser").attributes == {
        "langflow.component.id": "Parser-1",
        "langflow.component.type": "Parser",
        "langflow.component.display_name": "Parser",
        "langflow.component.kind": "other",
        "langflow.status": "ok",
    }


def test_the_attributes_of_an_agent_and_of_a_tool(telemetry):
    agent = recorder().start_component(component("Helper", "agent"), None)
    recorder().start_tool(ToolInfo("search", "call-1", "Search-1"), agent).finish()
    agent.finish()

    attributes = telemetry.only_span("invoke_agent Helper").attributes
    assert attributes["gen_ai.operation.name"] == "invoke_agent"
    assert attributes["gen_ai.agent.name"] == "Helper"
    assert "gen_ai.agent.id" not in attributes
    assert telemetry.only_span("execute_tool search").attributes == {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "search",
        "gen_ai.tool.type": "function",
        "gen_ai.tool.call.id": "call-1",
        "langflow.component.id": "Search-1",
        "langflow.status": "ok",
    }


@pytest.mark.parametrize(
    ("outcome", "status", "error_type", "is_error"),
    [
        (OK, "ok", None, False),
        (CANCELLED, "cancelled", None, False),
        (CACHED, "cached", None, False),
        (Outcome("paused"), "paused", None, False),
        (Outcome("error"), "error", "_OTHER", True),
        (Outcome("error", KeyError("canary")), "error", "KeyError", True),
        (Outcome.of(KeyError("canary")), "error", "KeyError", True),
        (Outcome.of(asyncio.CancelledError()), "cancelled", None, False),
        (Outcome.of(GeneratorExit()), "cancelled", None, False),
    ],
)
def test_how_a_run_can_end(telemetry, outcome: Outcome, status: str, error_type: str | None, is_error: bool):
    start_flow().finish(outcome)

    (flow,) = telemetry.spans
    assert flow.attributes["langflow.status"] == status
    assert flow.attributes.get("error.type") == error_type
    assert flow.is_error is is_error
    assert [event.name for event in flow.events] == (["exception"] if outcome.error else [])


def test_finishing_twice_is_finishing_once(telemetry):
    flow = start_flow()
    run = recorder().start_component(component("Parser"), flow)
    for each in (run, flow):
        each.finish(OK)
        each.finish(Outcome("error", KeyError()))
        each.leave()

    assert telemetry.tree() == ["invoke_workflow demo", "  component Parser"]
    assert current_run() is None


def test_a_late_second_finish_leaves_the_current_run_alone(telemetry):
    first = start_flow()
    first.finish()
    second = start_flow()
    first.finish()

    assert current_run() is second
    second.finish()


def test_an_end_without_an_entry(telemetry):
    run = Run(telemetry.provider.get_tracer("x").start_span("never entered"), otel_context.Context(), None, Settings())
    run.finish()

    assert telemetry.only_span("never entered").attributes == {"langflow.status": "ok"}


def test_what_is_added_after_the_end_has_no_effect(telemetry):
    flow = start_flow()
    run = recorder().start_component(component("Parser"), flow)
    run.finish()
    flow.finish()
    run.describe(component("Other"))
    run.produced(("late",))
    flow.describe(FlowInfo("other"))
    flow.complete("late", "late")
    flow.component_skipped(component("Late"))

    assert telemetry.names() == ["component Parser", "invoke_workflow demo"]
    assert not any("late" in each.attributes.values() for each in telemetry.spans)
    assert telemetry.warnings == []


def test_end_leaves_the_context_and_leave_does_not_end(telemetry):
    flow = start_flow()
    flow.end()
    assert otel_context.get_current() == flow.context
    flow.leave()
    assert otel_context.get_current() == {}

    run = recorder().start_component(component("Parser"), None)
    run.leave()
    assert otel_context.get_current() == {}
    assert run.recording
    run.end()


def test_an_identity_that_becomes_known_later(telemetry):
    flow = start_flow(FlowInfo("unnamed"))
    run = recorder().start_component(component("Parser"), flow)
    run.describe(component("Assistant", "agent"))
    run.finish()
    flow.describe(FlowInfo("Orders", "api", flow_id="f-1"))
    flow.complete(run_id="r-1", session_id="")
    flow.finish()

    assert telemetry.tree("langflow.flow.id", "langflow.run.id", "session.id", "langflow.component.kind") == [
        "invoke_workflow Orders langflow.flow.id=f-1 langflow.run.id=r-1",
        "  invoke_agent Assistant langflow.component.kind=agent",
    ]
    assert flow.info.name == "Orders"


@pytest.mark.parametrize("unknown", [None, ""])
def test_ids_that_langflow_does_not_know_are_absent(telemetry, unknown: Any):
    flow = start_flow()
    flow.complete(unknown, unknown)
    flow.finish()

    assert not {"langflow.run.id", "session.id"} & set(telemetry.spans[0].attributes)


def test_a_failure_ends_when_it_was_noted(telemetry):
    run = recorder().start_component(component("Parser"), None)
    first, second = KeyError("first"), ValueError("second")
    before = time.time_ns()
    run.note_failure(first)
    after = time.time_ns()
    run.note_failure(second)
    outcome = run.failure
    assert outcome is not None
    assert outcome.error is first
    while time.time_ns() <= after:  # the host still renders the traceback
        pass
    run.finish(outcome)

    failed = telemetry.only_span("component Parser")
    assert before <= failed.end_ns <= after
    assert failed.events[0].time_ns == failed.end_ns
    assert failed.attributes["error.type"] == "KeyError"


def test_without_a_failure_there_is_none(telemetry):
    run = recorder().start_component(component("Parser"), None)
    assert run.failure is None
    run.finish()


def test_a_span_ends_even_if_its_error_cannot_be_recorded(telemetry, monkeypatch):
    def broken(*_: Any) -> None:
        raise RuntimeError("fault")

    monkeypatch.setattr("langflow_otel._runs.span_attributes.mark_error", broken)
    flow = start_flow()
    with pytest.raises(RuntimeError, match="fault"):
        flow.finish(Outcome("error", KeyError()))

    assert telemetry.names() == ["invoke_workflow demo"]
    assert current_run() is None


def test_a_skipped_component_is_an_event_once(telemetry):
    flow = start_flow()
    skipped = ComponentInfo("Other-1", "Other", "Other way")
    flow.component_skipped(skipped)
    flow.component_skipped(skipped)
    flow.finish()

    (event,) = telemetry.spans[0].events
    assert event.name == "component.skipped"
    assert event.attributes == {
        "langflow.component.id": "Other-1",
        "langflow.component.type": "Other",
        "langflow.component.display_name": "Other way",
    }


def test_a_component_that_ran_before_is_not_skipped(telemetry):
    flow = start_flow()
    assert [flow.component_started("Loop-1") for _ in range(3)] == [0, 1, 2]
    flow.component_skipped(component("Loop"))
    flow.finish()

    assert telemetry.spans[0].events == []


# Which run is current


def test_entering_and_leaving_nest(telemetry):
    flow = start_flow()
    run = recorder().start_component(component("Parser"), flow)
    tool = recorder().start_tool(ToolInfo("search"), run)
    assert current_run() is tool
    assert (tool.flow, tool.component) == (flow, run)
    tool.finish()
    assert current_run() is run
    assert (run.flow, run.component) == (flow, run)
    run.finish()
    assert current_run() is flow
    assert (flow.flow, flow.component) == (flow, None)
    flow.finish()
    assert current_run() is None


async def test_a_task_that_outlives_its_flow_is_in_no_run(telemetry):
    over = asyncio.Event()

    async def outlives() -> Run | None:
        await over.wait()
        return current_run()

    flow = start_flow()
    task = asyncio.create_task(outlives())
    await asyncio.sleep(0)
    flow.finish()
    over.set()

    assert await task is None


async def test_flows_at_once_do_not_mix(telemetry):
    async def run(name: str) -> None:
        flow = start_flow(FlowInfo(name))
        for part in ("one", "two"):
            await asyncio.sleep(0)
            each = recorder().start_component(component(f"{name} {part}"), flow)
            await asyncio.sleep(0)
            each.finish()
        flow.finish()

    await asyncio.gather(*(run(name) for name in "abc"))

    assert telemetry.tree(by_name=True) == [
        line
        for name in "abc"
        for line in (f"invoke_workflow {name}", f"  component {name} one", f"  component {name} two")
    ]
    assert len({each.trace_id for each in telemetry.spans}) == 3


async def test_components_at_once_nest_under_their_flow(telemetry):
    async def build(name: str, flow: FlowRun) -> None:
        run = recorder().start_component(component(name), flow)
        await asyncio.sleep(0)
        run.finish()

    flow = start_flow()
    await asyncio.gather(build("a", flow), build("b", flow))
    flow.finish()

    assert telemetry.tree(by_name=True) == ["invoke_workflow demo", "  component a", "  component b"]


def test_a_run_that_is_left_in_another_context_changes_nothing_there(telemetry):
    flow = contextvars.copy_context().run(start_flow)
    other = start_flow(FlowInfo("other"))
    flow.finish()

    assert current_run() is other
    assert otel_context.get_current() == other.context
    other.finish()
    assert telemetry.tree() == ["invoke_workflow demo", "invoke_workflow other"]
    assert telemetry.warnings == []


def test_a_request_that_was_dropped_is_closed_in_any_context(telemetry):
    class Pending:
        def __await__(self) -> Any:
            yield

    async def send() -> None:
        await Pending()

    flow = start_flow()
    call = recorder().start_model(ModelInfo("chat", "m"), flow)
    request = _async_below_call(call, send, (), {})
    contextvars.copy_context().run(request.send, None)
    request.close()

    assert otel_context.get_current() is flow.context
    call.end()
    flow.finish()
    assert telemetry.warnings == []


def test_a_flow_knows_its_graph_by_identity_and_lets_it_go(telemetry):
    graph, other = Graph(), Graph()
    unbound = start_flow()
    unbound.finish()
    bound = start_flow(graph=graph)
    assert (unbound.bound, unbound.executes(graph), unbound.executes(other)) == (False, True, True)
    unbound.bind(graph)
    for flow in (unbound, bound):
        assert (flow.bound, flow.executes(graph), flow.executes(other)) == (True, True, False)
    bound.finish()
    del graph, flow
    gc.collect()
    assert not bound.executes(other)


def test_iterations_of_a_loop_are_numbered_and_have_no_span(telemetry):
    flow = start_flow()
    loop = recorder().start_component(component("Loop"), flow)
    for expected in range(2):
        graph = Graph()
        iteration = LoopIteration(loop, graph)
        assert (iteration.loop_index, iteration.executes(graph), iteration.executes(Graph())) == (expected, True, False)
        iteration.enter()
        recorder().start_component(component("Body"), current_run()).finish()
        iteration.finish()
        assert current_run() is loop
    loop.finish()
    flow.finish()

    assert telemetry.tree() == ["invoke_workflow demo", "  component Loop", "    component Body", "    component Body"]


# Parents


def test_a_local_caller_is_the_parent(telemetry):
    with telemetry.provider.get_tracer("app").start_as_current_span("request"):
        start_flow().finish()

    assert telemetry.tree() == ["request", "  invoke_workflow demo"]


def test_a_parent_that_has_ended_is_linked_and_the_flow_is_a_root(telemetry):
    with telemetry.provider.get_tracer("app").start_as_current_span("webhook") as request:
        context = otel_context.set_value("kept", "yes")
    flow = start_flow(parent=context)
    assert otel_context.get_value("kept") == "yes"
    recorder().start_component(component("Parser"), flow).finish()
    flow.finish()

    assert telemetry.tree() == ["webhook", "invoke_workflow demo", "  component Parser"]
    ended = telemetry.sdk_spans[-1]
    assert ended.parent is None
    assert [(link.context, dict(link.attributes or {})) for link in ended.links] == [
        (link.context, {}) for link in [Link(request.get_span_context())]
    ]
    assert ended.context.trace_id != request.get_span_context().trace_id


def test_a_given_parent_wins_over_the_current_context(telemetry):
    tracer = telemetry.provider.get_tracer("app")
    with tracer.start_as_current_span("caller"):
        context = otel_context.get_current()
        with tracer.start_as_current_span("elsewhere"):
            start_flow(parent=context).finish()

    assert telemetry.tree() == ["caller", "  elsewhere", "  invoke_workflow demo"]


def test_a_remote_caller_is_joined(telemetry):
    context, caller = remote_parent(sampled=True)
    flow = start_flow(parent=context)
    recorder().start_component(component("Parser"), flow).finish()
    flow.finish()

    parser, run = telemetry.sdk_spans
    assert run.parent == caller
    assert run.links == ()
    assert {run.context.trace_id, parser.context.trace_id} == {caller.trace_id}
    assert parser.parent.span_id == run.context.span_id


@pytest.mark.parametrize("sampler", [None, ParentBased(ALWAYS_OFF)])
@pytest.mark.parametrize("sampled", [True, False])
def test_the_callers_sampling_decision_holds(sampler: Any, sampled: bool):
    with recording(sampler=sampler) as telemetry:
        flow = start_flow(parent=remote_parent(sampled)[0])
        assert flow.sampled is sampled
        recorder().start_component(component("Parser"), flow).finish()
        flow.finish()

    assert telemetry.names() == (["component Parser", "invoke_workflow demo"] if sampled else [])


def test_an_unsampled_flow_records_nothing_and_hands_the_trace_on():
    with recording(sampler=ALWAYS_OFF) as telemetry:
        flow = start_flow()
        run = recorder().start_component(component("Parser"), flow)
        tool = recorder().start_tool(ToolInfo("search"), run)
        assert (flow.sampled, flow.recording, run.span, tool.span) == (False, True, None, None)
        assert recorder().open_stream(run).pull() is None
        assert recorder().start_span("custom") is None
        inside = trace.get_current_span().get_span_context()
        assert inside.is_valid
        assert not inside.trace_flags.sampled
        run.produced(("out",))
        for each in (tool, run):
            each.finish(Outcome("error", KeyError("canary")))
        flow.component_skipped(component("Other"))
        flow.finish()

    assert telemetry.names() == []


def test_a_component_by_itself_is_a_root(telemetry):
    run = recorder().start_component(component("Parser"), None)
    recorder().start_tool(ToolInfo("search"), run).finish()
    run.finish()

    assert telemetry.tree() == ["component Parser", "  execute_tool search"]
    assert run.flow is None


def test_components_are_never_below_langflows_own_span(telemetry):
    """LangFlow's provider exports ``flow.execute``, or nobody does."""
    flow = start_flow()
    with telemetry.provider.get_tracer("langflow.observability").start_as_current_span("flow.execute"):
        recorder().start_component(component("Parser"), flow).finish()
    with telemetry.provider.get_tracer("app").start_as_current_span("own"):
        recorder().start_component(component("Writer"), flow).finish()
    flow.finish()

    assert telemetry.tree() == [
        "invoke_workflow demo",
        "  flow.execute",
        "  component Parser",
        "  own",
        "    component Writer",
    ]


# Detail, opt-ins, suppression


def test_detail_flow_is_flows_only():
    with recording(Settings(detail="flow")) as telemetry:
        flow = start_flow()
        run = recorder().start_component(component("Parser"), flow)
        assert current_run() is run
        recorder().start_tool(ToolInfo("search"), run).finish()
        assert recorder().start_output("message", run) is None
        assert recorder().open_stream(run).pull() is None
        run.finish(Outcome("error", KeyError()))
        flow.finish()

    assert telemetry.tree() == ["invoke_workflow demo"]


@pytest.mark.parametrize(("detail", "outputs"), [("component", []), ("output", ["    output message"])])
def test_output_methods_have_spans_with_detail_output(detail: Any, outputs: list[str]):
    with recording(Settings(detail=detail)) as telemetry:
        flow = start_flow()
        run = recorder().start_component(component("Parser"), flow)
        output = recorder().start_output("message", run)
        if output is not None:
            output.finish()
        run.finish()
        flow.finish()

    assert telemetry.tree() == ["invoke_workflow demo", "  component Parser", *outputs]
    if outputs:
        assert telemetry.only_span("output message").attributes["langflow.output.name"] == "message"


@pytest.mark.parametrize("wanted", [True, False])
def test_the_user_id_is_recorded_by_opt_in_only(wanted: bool):
    with recording(Settings(user_id=wanted)) as telemetry:
        start_flow(FlowInfo("demo", user_id="u-1")).finish()

    assert telemetry.spans[0].attributes.get("user.id") == ("u-1" if wanted else None)
    assert ("u-1" in telemetry.spans[0].attributes.values()) is wanted


@pytest.mark.parametrize("wanted", [True, False])
def test_component_that_only_offered_tools_is_no_retriever(wanted: bool):
    with recording(Settings(openinference=wanted)) as telemetry:
        run = recorder().start_component(component("Memory", "retriever"), None)
        run.only_offered_tools()
        run.finish()

    found = telemetry.only_span("component Memory").attributes
    assert found["langflow.component.only_offered_tools"] is True
    assert found.get("openinference.span.kind") == ("CHAIN" if wanted else None)


@pytest.mark.parametrize(
    ("wanted", "detail", "llm"), [(True, "component", "LLM"), (True, "model", "CHAIN"), (False, "model", "")]
)
def test_openinference_kinds_are_added_by_opt_in_only(wanted: bool, detail: Any, llm: str):
    """Of a component that calls models it is LLM only where its calls have no spans."""
    kinds: list[Any] = ["llm", "agent", "embedding", "retriever", "vector_store", "tool", "prompt", "input", "other"]
    with recording(Settings(openinference=wanted, detail=detail)) as telemetry:
        flow = start_flow()
        for kind in kinds:
            run = recorder().start_component(component(kind, kind), flow)
            run.finish()
        recorder().start_tool(ToolInfo("search"), flow).finish()
        flow.finish()

    expected = [llm, "AGENT", "EMBEDDING", "RETRIEVER", "RETRIEVER", "TOOL", "PROMPT", "CHAIN", "CHAIN"]
    expected += ["TOOL", "CHAIN"]  # the tool call and the flow
    found = [each.attributes.get("openinference.span.kind") for each in telemetry.spans]
    assert found == (expected if wanted else [None] * len(expected))


@pytest.mark.parametrize(
    ("response", "wanted", "output"),
    [
        (ModelResponse(model="gpt-2"), True, {"output.value": ""}),
        (ModelResponse(response_id="r-1"), True, {"output.value": ""}),
        (ModelResponse(input_tokens=1), True, {}),
        (ModelResponse(model="gpt-2"), False, {}),
    ],
    ids=["model", "id", "neither", "not wanted"],
)
def test_without_content_phoenix_shows_no_output_of_a_call(response: ModelResponse, wanted: bool, output: Any):
    """Where a call has no output, it makes one of the model and the id of the response."""
    with recording(Settings(openinference=wanted)) as telemetry:
        flow = start_flow()
        call = recorder().start_model(ModelInfo("chat", "gpt", "openai"), flow)
        call.answered(response)
        call.end()
        flow.finish()

    attributes = telemetry.only_span("chat gpt").attributes
    assert {name: value for name, value in attributes.items() if name.startswith(("input.", "output."))} == output


def test_suppressed_runs_have_no_spans(telemetry):
    token = otel_context.attach(otel_context.set_value("suppress_instrumentation", True))
    try:
        assert recorder().start_flow(FLOW) is None
        assert current_run() is None
        recorder().start_component(component("Parser"), None).finish()
    finally:
        otel_context.detach(token)

    assert telemetry.names() == []


def test_suppression_inside_of_a_flow_holds_for_components_and_tools(telemetry):
    flow = start_flow()
    token = otel_context.attach(otel_context.set_value("suppress_instrumentation", True))
    try:
        run = recorder().start_component(component("Hidden"), flow)
        recorder().start_tool(ToolInfo("search"), run).finish()
        assert current_run() is run
        run.finish()
    finally:
        otel_context.detach(token)
    recorder().start_component(component("Shown"), flow).finish()
    flow.finish()

    assert telemetry.tree() == ["invoke_workflow demo", "  component Shown"]


def test_switched_off_in_the_middle_open_runs_still_end(telemetry):
    flow = start_flow()
    run = recorder().start_component(component("Parser"), flow)
    set_active_recorder(None)
    traced(lambda: None)()
    run.finish()
    flow.finish()

    assert telemetry.tree() == ["invoke_workflow demo", "  component Parser"]


# The end of the process


def test_what_goes_on_when_the_process_stops_ends_innermost_first(telemetry):
    flow = start_flow()
    run = recorder().start_component(component("Helper", "agent"), flow)
    tool = recorder().start_tool(ToolInfo("search"), run)
    end_open_runs("shutdown")

    assert telemetry.names() == ["execute_tool search", "invoke_agent Helper", "invoke_workflow demo"]
    for span in telemetry.spans:
        assert span.attributes["langflow.status"] == "cancelled"
        assert span.attributes["langflow.cancellation.reason"] == "shutdown"
        assert not span.is_error
    # The code goes on, and ends nothing a second time.
    for each in (tool, run, flow):
        each.finish()
    assert len(telemetry.spans) == 3
    assert current_run() is None
    assert telemetry.metrics("langflow_flow_duration_seconds_count") == {
        'langflow_flow_duration_seconds_count{flow="demo",status="cancelled",entry_point="sdk"}': 1.0
    }


def test_what_has_ended_is_not_ended_again(telemetry):
    start_flow().finish()
    end_open_runs("shutdown")

    assert telemetry.only_span("invoke_workflow demo").attributes["langflow.status"] == "ok"
    assert "langflow.cancellation.reason" not in telemetry.only_span("invoke_workflow demo").attributes


def test_runs_without_a_span_are_counted_as_cancelled_too():
    with recording(sampler=ALWAYS_OFF) as telemetry:
        flow = start_flow()
        run = recorder().start_component(component("a"), flow)
        end_open_runs("shutdown")
        run.finish()
        flow.finish()

    assert telemetry.spans == []
    assert telemetry.metrics("langflow_flow_duration_seconds_count") == {
        'langflow_flow_duration_seconds_count{flow="demo",status="cancelled",entry_point="sdk"}': 1.0
    }
    assert set(telemetry.metrics("langflow_flow_active").values()) == {0.0}


def test_a_custom_span_ends_at_the_stop_as_well(telemetry):
    run = recorder().start_span("lookup")
    assert run is not None
    end_open_runs("shutdown")
    run.finish()

    assert telemetry.only_span("lookup").attributes["langflow.cancellation.reason"] == "shutdown"


# Sums, of what several threads of one run add

THREADS = 4
TIMES = 2_000


@pytest.fixture
def _hasty_threads():
    """The interpreter changes from one thread to another at every chance."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def often(add: Callable[[], object]) -> None:
    """The same in several threads, many times in each."""

    def work() -> None:
        for _ in range(TIMES):
            add()

    at_once(THREADS, work)


@pytest.mark.usefixtures("_hasty_threads")
def test_searches_that_end_at_once_are_all_counted(telemetry):
    run = recorder().start_component(component("Store", "vector_store"), start_flow())
    often(lambda: run.searched(2, 1))
    run.finish()
    current_run().finish()

    found = telemetry.only_span("component Store").attributes
    assert found["gen_ai.retrieval.top_k"] == 2 * THREADS * TIMES
    assert found["langflow.retrieval.document_count"] == THREADS * TIMES


@pytest.mark.usefixtures("_hasty_threads")
def test_calls_that_end_at_once_are_all_counted():
    below = CallsBelow()
    often(lambda: below.count(ModelUsage("m", None, 3, 2, Costs({"USD": 1.0}, 1))))

    times = THREADS * TIMES
    assert (below.input_tokens, below.output_tokens) == (3 * times, 2 * times)
    assert below.costs == Costs({"USD": 1.0 * times}, times)


@pytest.mark.usefixtures("_hasty_threads")
def test_requests_sent_at_once_are_all_counted(telemetry):
    flow = start_flow()
    call = recorder().start_model(ModelInfo("embeddings", "m"), flow)
    assert call is not None
    often(lambda: call.requested("http://localhost/embeddings", "localhost", 80))
    call.end()
    flow.finish()

    assert telemetry.only_span("embeddings m").attributes["langflow.model.retries"] == THREADS * TIMES - 1


@pytest.mark.usefixtures("_hasty_threads")
def test_the_first_calls_of_a_run_started_at_once_are_all_counted(telemetry):
    for _ in range(200):
        flow = start_flow()

        def call(flow: FlowRun = flow) -> None:
            run = recorder().start_model(ModelInfo("chat", "m"), flow)
            assert run is not None
            run.answered(ModelResponse(input_tokens=1))
            run.end()

        at_once(THREADS, call)
        flow.finish()

    sums = [root.attributes["langflow.usage.input_tokens"] for root in telemetry.roots()]
    assert sums == [THREADS] * 200

"""The component boundary: ``Graph.build_vertex``, which every driver calls once for each execution."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from langflow_otel._content.error_texts import deny
from langflow_otel._content.gate import ContentGate, SpanContent
from langflow_otel._guard import Guard
from langflow_otel._hooks import flow as flow_hooks
from langflow_otel._hooks.component_content import add_output, component_content, may_leave_whole, pass_on, secrets_of
from langflow_otel._hooks.facts import component_info, loop_index, only_offered_tools, output_names, own_run
from langflow_otel._hooks.kinds import component_kind
from langflow_otel._hooks.outcomes import outcome_of
from langflow_otel._hooks.stream import hand_over
from langflow_otel._hooks.tool_content import is_denied_component, take_tools
from langflow_otel._hooks.usage import ModelCall
from langflow_otel._runs.component import ComponentRun
from langflow_otel._runs.facts import CACHED, OK, Outcome
from langflow_otel._runs.flow import FlowRun
from langflow_otel._runs.recorder import Recorder, active_recorder
from langflow_otel._runs.run import Run, current_run
from langflow_otel.redaction.known_secrets import remember_secrets

Call = Callable[..., Any]

_START = Guard("component.start")
_FAIL = Guard("component.fail")
_FINISH = Guard("component.finish")
_ENTER = Guard("component.enter")
_SKIP = Guard("component.skip")
_CONTENT = Guard("content.take")

_MAX_WITHHELD = 200
_USES_A_MODEL = frozenset({"llm", "agent", "embedding"})
_ENDS_OF_FLOW = frozenset({"input", "output"})


async def build_vertex(wrapped: Call, graph: Any, args: Any, kwargs: Any) -> Any:
    """``Graph.build_vertex``: one component execution, cached ones included."""
    run: ComponentRun | None = None
    was_built = False
    with _START:
        recorder = active_recorder()
        if recorder is not None:
            await recorder.prepare_off_loop()
            vertex = graph.get_vertex(args[0] if args else kwargs["vertex_id"])
            was_built = vertex.built
            run = _start(recorder, graph, vertex)
    if run is None:
        return await wrapped(*args, **kwargs)
    try:
        result = await wrapped(*args, **kwargs)
    except BaseException as exc:
        with _FAIL:
            _fail(run, vertex, exc)
        raise
    with _FINISH:
        _finish(run, vertex, was_built)
    return result


def _start(recorder: Recorder, graph: Any, vertex: Any) -> ComponentRun | None:
    within = current_run()
    flow = within.flow if within is not None else None
    if flow is not None and not flow.bound:
        flow_hooks.bind(flow, graph)
    # Read before the build: a loop that is done is inactive only after its last, real run.
    if not vertex.is_active():
        _skip(flow, graph, vertex)
        return None
    info = component_info(graph, vertex)
    index = loop_index(graph, vertex, within, flow)
    if index is not None:
        info = replace(info, loop_index=index)
    if flow is not None:
        flow.component_started(info.component_id)
    denied = recorder.gate is not None and is_denied_component(recorder.gate, info, None)
    # From here on only the end of the run gives the caller's context back: nothing that may fail comes after it.
    run = recorder.start_component(info, within)
    run.denied = denied
    run.class_known = vertex.custom_component is not None
    return run


def _fail(run: ComponentRun, vertex: Any, exc: BaseException) -> None:
    recorder = active_recorder()
    if not run.entered and recorder is not None and recorder.gate is not None and vertex.custom_component is not None:
        with _CONTENT:
            _judge(recorder.gate, run, vertex.custom_component)
    if run.content is not None:
        _leave_content(run, run.content)
    # What the code raised counts, even if LangFlow's handling of it was cancelled.
    outcome = run.failure or outcome_of(exc)
    if outcome.status == "error" and run.flow is not None and run.flow.first_error is None:
        run.flow.first_error = outcome.error
    run.finish(outcome)


def _finish(run: ComponentRun, vertex: Any, was_built: bool) -> None:
    outcome: Outcome = OK
    try:
        if vertex.frozen and not run.entered and (was_built or _is_from_cache(vertex)):
            outcome = CACHED
        if run.span is not None:
            run.produced(output_names(vertex))
            if only_offered_tools(vertex):
                run.only_offered_tools()
        if run.content is not None:
            _leave_content(run, run.content)
    finally:
        run.finish(outcome)


def _leave_content(run: ComponentRun, content: SpanContent) -> None:
    with _CONTENT:
        flow = run.flow
        if flow is not None and flow.span is not None and run.info.kind in _ENDS_OF_FLOW:
            pass_on(content, run.info.kind, flow)
    if run.span is None:
        run.content = None  # it is the flow's alone


def _is_from_cache(vertex: Any) -> bool:
    return bool(getattr(vertex.result, "used_frozen_result", False))


async def get_output_result(wrapped: Call, component: Any, args: Any, kwargs: Any) -> Any:
    """``Component._get_output_result``: the component's own code, one output method at a time."""
    run: ComponentRun | None = None
    output_run: Run | None = None
    with _ENTER:
        run = own_run(component)
        if run is not None:
            output_run = _enter(run, component, _output_of(args, kwargs))
    if run is None or not (run.observed or run.denied or run.content is not None):
        return await wrapped(*args, **kwargs)
    try:
        result = await wrapped(*args, **kwargs)
    except BaseException as exc:
        with _FAIL:
            _note_denied(run, exc)
        if output_run is not None:
            with _FAIL:
                output_run.finish(outcome_of(exc))
        raise
    with _FINISH:
        if output_run is not None:
            output_run.finish(OK)
        if run.content is not None:
            with _CONTENT:
                add_output(run.content, run.info, _output_of(args, kwargs).name, result)
        hand_over(run, result)
    return result


def _enter(run: ComponentRun, component: Any, output: Any) -> Run | None:
    """The component's class is known now. Returns a run for the output if the detail asks for one."""
    was_entered, run.entered = run.entered, True
    if not run.class_known:
        run.class_known = True
        run.describe(replace(run.info, kind=component_kind(component._vertex, component)))
    if run.usage is None:
        run.usage = ModelCall(component, certain=run.info.kind in _USES_A_MODEL).usage
    recorder = active_recorder()
    if recorder is None:
        return None
    if not was_entered:
        if recorder.gate is not None:
            with _CONTENT:
                _judge(recorder.gate, run, component)
        with _CONTENT:
            _take_content(recorder, run, component)
    return recorder.start_output(output.name, run)


def _take_content(recorder: Recorder, run: ComponentRun, component: Any) -> None:
    withheld = set() if run.flow is None else run.flow.withheld
    if len(withheld) < _MAX_WITHHELD:
        secrets = list(secrets_of(component))
        withheld.update(secrets)
        remember_secrets(secrets)
    if recorder.content is None or not (run.span is not None or _is_of_flow(run)) or _stays_around(run.flow):
        return
    run.content = component_content(recorder.content, run.info, component, withheld)


def _is_of_flow(run: ComponentRun) -> bool:
    """True if what it lets through is on the flow's span."""
    span = None if run.flow is None else run.flow.span
    return run.info.kind in _ENDS_OF_FLOW and span is not None and span.is_recording()


def _judge(gate: ContentGate, run: ComponentRun, component: Any) -> None:
    """Whether something of it is denied, and which tools it has."""
    # In this order: what fails to be judged stays here.
    run.denied = True
    run.denied = is_denied_component(gate, run.info, component)
    take_tools(run, gate, component)


def _note_denied(run: Run, error: BaseException) -> None:
    """Before LangFlow logs it."""
    if run.is_denied:
        deny(error)


def _stays_around(flow: FlowRun | None) -> bool:
    """True in a flow that a component runs, or a tool, whose content stays here: it is what they hand to the flow."""
    return flow is not None and flow.outer is not None and not may_leave_whole(flow.outer)


def _output_of(args: Any, kwargs: Any) -> Any:
    return args[0] if args else kwargs["output"]


async def send_error(wrapped: Call, component: Any, args: Any, kwargs: Any) -> Any:
    """``Component.send_error``: called at once when a component's code failed. What LangFlow does after
    it (rendering the traceback takes seconds) is not the component's time."""
    with _FAIL:
        run = own_run(component)
        error = args[0] if args else kwargs.get("exception")
        if run is not None and isinstance(error, BaseException):
            _note_denied(run, error)
            run.note_failure(outcome_of(error).error or error)
    return await wrapped(*args, **kwargs)


async def process_agent_events(wrapped: Call, _: Any, args: Any, kwargs: Any) -> Any:
    """``lfx.base.agents.events.process_agent_events``: where an error leaves an agent first. LangFlow renders its
    traceback for the log before :func:`send_error`, and that is not the agent's time either."""
    try:
        return await wrapped(*args, **kwargs)
    except Exception as exc:
        with _FAIL:
            run = current_run()
            outcome = outcome_of(exc)
            if run is not None and run.component is not None and outcome.error is not None:
                _note_denied(run, exc)
                # LangFlow may yet work around it, and ask the model again.
                run.component.note_failure(outcome.error, final=False)
        raise


def mark_branch(wrapped: Call, graph: Any, args: Any, kwargs: Any) -> Any:
    """``Graph.mark_branch`` and ``exclude_branch_conditionally``: a router decides against a branch."""
    before = _off(graph)
    result = wrapped(*args, **kwargs)
    with _SKIP:
        run = current_run()
        router = graph.get_vertex(args[0] if args else kwargs["vertex_id"])
        # A loop turns its own branches off and on: its body runs, or did.
        if run is not None and run.flow is not None and not router.is_loop:
            for vertex_id in sorted(_off(graph) - before):
                _skip(run.flow, graph, graph.get_vertex(vertex_id))
    return result


def _off(graph: Any) -> set[str]:
    try:
        return set(graph.inactivated_vertices) | set(graph.conditionally_excluded_vertices)
    except Exception:  # noqa: BLE001 - a version without these sets reports no skipped branches
        return set()


def _skip(flow: FlowRun | None, graph: Any, vertex: Any) -> None:
    if flow is not None:
        flow.component_skipped(component_info(graph, vertex))

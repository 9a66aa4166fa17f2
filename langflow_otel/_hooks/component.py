"""Components: ``Graph.build_vertex``, called once for each execution, and the functions in which their code runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from langflow_otel import _semconv as semconv
from langflow_otel._content.error_texts import deny
from langflow_otel._guard import Guard
from langflow_otel._hooks import flow as flow_hooks
from langflow_otel._hooks.boundary import Boundary
from langflow_otel._hooks.component_content import (
    add_output,
    is_denied_component,
    judge_component,
    leave_to_flow,
    take_inputs,
)
from langflow_otel._hooks.facts import component_info, loop_index, only_offered_tools, output_names, own_run
from langflow_otel._hooks.kinds import component_kind
from langflow_otel._hooks.model_facts import usage_from_now_on
from langflow_otel._hooks.outcomes import outcome_of
from langflow_otel._hooks.versions import unread_stream_of
from langflow_otel._runs.component import ComponentRun
from langflow_otel._runs.facts import CACHED, OK, Outcome
from langflow_otel._runs.flow import FlowRun
from langflow_otel._runs.recorder import Recorder, active_recorder
from langflow_otel._runs.run import Run, current_run
from langflow_otel._runs.stream import ChunkCount
from langflow_otel._runs.stream_proxies import DrainedHere, is_watched, watch

Call = Callable[..., Any]

ITERATION_LIMIT: Final = "iteration_limit"
TIME_LIMIT: Final = "time_limit"
_USES_A_MODEL = frozenset({"llm", "agent", "embedding"})

_START = Guard("component.start")
_END = Guard("component.end")
_FAIL = Guard("component.fail")
_ENTER = Guard("component.enter")
_OUTPUT = Guard("component.output")
_SKIP = Guard("component.skip")
_CONTENT = Guard("content.take")
_DRAIN = Guard("stream.drain")
_AGENT = Guard("agent.note")

_Build = tuple[ComponentRun, Any, bool]
"""A run, its vertex, and whether that had been built before."""


def _start(recorder: Recorder, graph: Any, args: Any, kwargs: Any) -> _Build | None:
    vertex = graph.get_vertex(args[0] if args else kwargs["vertex_id"])
    was_built = vertex.built
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
    return run, vertex, was_built


def _fail(build: _Build, exc: BaseException) -> None:
    run, vertex, _ = build
    recorder = active_recorder()
    if not run.entered and recorder is not None and recorder.gate is not None and vertex.custom_component is not None:
        with _CONTENT:
            judge_component(recorder.gate, run, vertex.custom_component)
    if run.content is not None:
        leave_to_flow(run.content, run)
    # What the code raised counts, even if LangFlow's handling of it was cancelled.
    outcome = run.failure or outcome_of(exc)
    if outcome.status == "error" and run.flow is not None and run.flow.first_error is None:
        run.flow.first_error = outcome.error
    run.finish(outcome)


def _finish(build: _Build, _: Any) -> None:
    run, vertex, was_built = build
    outcome: Outcome = OK
    try:
        if vertex.frozen and not run.entered and (was_built or _is_from_cache(vertex)):
            outcome = CACHED
        if run.span is not None:
            run.produced(output_names(vertex))
            if only_offered_tools(vertex):
                run.only_offered_tools()
        if run.content is not None:
            leave_to_flow(run.content, run)
    finally:
        run.finish(outcome)


build_vertex = Boundary(_start, _finish, _fail, _START, _END).around_coroutine(prepares=True)
"""``Graph.build_vertex``: one component execution, cached ones included."""


def _is_from_cache(vertex: Any) -> bool:
    return bool(getattr(vertex.result, "used_frozen_result", False))


_Output = tuple[ComponentRun, "Run | None", str]
"""A component's run, the run of one of its outputs (None unless the detail asks for one), and the output's name."""


def _enter(recorder: Recorder, component: Any, args: Any, kwargs: Any) -> _Output | None:
    run = own_run(component)
    if run is None:
        return None
    if not run.entered:
        run.entered = True
        _prepare(recorder, run, component)
    name = (args[0] if args else kwargs["output"]).name
    output_run = recorder.start_output(name, run)
    is_recorded = run.observed or run.denied or run.content is not None
    return (run, output_run, name) if is_recorded else None


def _prepare(recorder: Recorder, run: ComponentRun, component: Any) -> None:
    """Before the first output: the component's class, inputs and count of tokens are read, and its content judged."""
    if not run.class_known:
        run.class_known = True
        run.describe(replace(run.info, kind=component_kind(component._vertex, component)))
    run.usage = usage_from_now_on(component, certain=run.info.kind in _USES_A_MODEL)
    if recorder.gate is not None:
        with _CONTENT:
            judge_component(recorder.gate, run, component)
    with _CONTENT:
        take_inputs(recorder, run, component)


def _output_failed(call: _Output, exc: BaseException) -> None:
    run, output_run, _ = call
    try:
        _note_denied(run, exc)
    finally:
        if output_run is not None:
            output_run.finish(outcome_of(exc))


def _output_made(call: _Output, result: Any) -> None:
    run, output_run, name = call
    if output_run is not None:
        output_run.finish(OK)
    if run.content is not None:
        with _CONTENT:
            add_output(run.content, run.info, name, result)
    _watch_stream(run, result)


get_output_result = Boundary(_enter, _output_made, _output_failed, _ENTER, _OUTPUT).around_coroutine()
"""``Component._get_output_result``: the component's own code, one output method at a time."""


def _note_denied(run: Run, error: BaseException) -> None:
    """Before LangFlow logs it."""
    if run.is_denied:
        deny(error)


async def stream_message(wrapped: Call, component: Any, args: Any, kwargs: Any) -> Any:
    """``Component._stream_message``: LangFlow's own models drain their stream here, inside the component.
    Chunk count and time to first chunk become attributes of the component's span."""
    with _DRAIN:
        run = own_run(component)
        if run is not None and run.observed and args and not is_watched(args[0]):
            if run.chunks is None:
                run.chunks = ChunkCount(run)
            args = (watch(args[0], DrainedHere(run.chunks)), *args[1:])
    return await wrapped(*args, **kwargs)


def _watch_stream(run: ComponentRun, result: Any) -> None:
    """If a component returns a message that is still a generator, what is read of it later is a run of its own."""
    stream = unread_stream_of(result)
    if stream is None or is_watched(stream):
        return
    recorder = active_recorder()
    if recorder is None:
        return
    watcher = recorder.open_stream(run)
    if watcher is not None:
        result.text = watch(stream, watcher)


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


def should_continue(wrapped: Call, executor: Any, args: Any, kwargs: Any) -> Any:
    """``AgentExecutor._should_continue``: asked before each iteration, and no more once the agent has an answer."""
    goes_on = wrapped(*args, **kwargs)
    if not goes_on:
        with _AGENT:
            iterations = args[0] if args else kwargs["iterations"]
            most = executor.max_iterations
            _note_stop(ITERATION_LIMIT if most is not None and iterations >= most else TIME_LIMIT)
    return goes_on


def before_model(wrapped: Call, _: Any, args: Any, kwargs: Any) -> Any:
    """``ModelCallLimitMiddleware.before_model``: asked before each call of the model, in agents on LangGraph."""
    update = wrapped(*args, **kwargs)
    with _AGENT:
        if isinstance(update, dict) and update.get("jump_to") == "end":
            _note_stop(ITERATION_LIMIT)
    return update


def _note_stop(reason: str) -> None:
    run = current_run()
    if run is not None and run.component is not None:
        run.component.add({semconv.AGENT_STOP_REASON: reason})


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

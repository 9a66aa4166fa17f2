"""The flow boundary: one span for each run, on whichever function the run comes in by.

``Graph.arun``, ``Graph.process``, ``Graph.async_start``, ``Graph.astep`` and LangFlow's playground
driver call each other in ways that differ over the versions. One rule keeps it to one span: a call
is part of the run that is current if that run executes the same graph.
"""

from __future__ import annotations

import weakref
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

from opentelemetry import context as otel_context
from opentelemetry.context import Context

from langflow_otel._content.plain_values import sendable
from langflow_otel._guard import Guard
from langflow_otel._hooks.facts import copy_name, entry_point_of, flow_info, queued_by, remember_name
from langflow_otel._hooks.outcomes import outcome_of
from langflow_otel._hooks.versions import is_finish, loaded_flow, queued_by_elsewhere
from langflow_otel._runs.component import LoopIteration
from langflow_otel._runs.facts import CANCELLED, OK, UNNAMED, FlowInfo, Outcome
from langflow_otel._runs.flow import FlowRun
from langflow_otel._runs.recorder import active_recorder
from langflow_otel._runs.run import Run, current_run

Call = Callable[..., Any]

_START = Guard("flow.start")
_END = Guard("flow.end")
_STEP = Guard("flow.step")
_NAME = Guard("flow.name")

_stepped_runs: dict[int, FlowRun] = {}
"""Runs of graphs that are stepped by hand, by the graph's id."""
_callers: dict[int, Context] = {}
"""Contexts of callers of ``Graph.start``, by the graph's id: it runs in a thread that has none."""


async def prepare() -> None:
    """Before the first run of this process: make what it sends with."""
    recorder = active_recorder()
    if recorder is not None:
        await recorder.prepare_off_loop()


async def arun(wrapped: Call, graph: Any, args: Any, kwargs: Any) -> Any:
    """``Graph.arun`` and ``Graph.process``: a coroutine that runs the whole graph."""
    run: FlowRun | None = None
    with _START:
        await prepare()
        run = _start_unless_inside(graph, kwargs.get("session_id"))
    if run is None:
        return await wrapped(*args, **kwargs)
    try:
        result = await wrapped(*args, **kwargs)
    except BaseException as exc:
        with _END:
            _end(run, graph, _outcome_of_run(run, exc))
        raise
    else:
        with _END:
            _end(run, graph, OK)
    finally:
        # A step of its own: whatever fails before, the caller's context comes back.
        with _END:
            run.leave()
    return result


def async_start(wrapped: Call, graph: Any, args: Any, kwargs: Any) -> Any:
    """``Graph.async_start``: an async generator of the graph's steps."""
    items = wrapped(*args, **kwargs)
    with _START:
        run = current_run()
        loop = run.component if run is not None else None
        if loop is not None and getattr(graph, "_is_subgraph", False):
            return _steps_of_iteration(items, LoopIteration(loop, graph))
        if active_recorder() is not None and not _inside(graph):
            return _steps_of_flow(items, graph)
    return items


async def _steps_of_iteration(items: AsyncGenerator[Any, Any], iteration: LoopIteration) -> AsyncGenerator[Any, Any]:
    async with aclosing(_stepwise(items, iteration)) as steps:
        async for item in steps:
            yield item


async def _steps_of_flow(items: AsyncGenerator[Any, Any], graph: Any) -> AsyncGenerator[Any, Any]:
    run: FlowRun | None = None
    with _START:
        await prepare()
        run = _start_unless_inside(graph, None)
        if run is not None:
            run.leave()
    if run is None:
        async with aclosing(items):
            async for item in items:
                yield item
        return
    outcome = CANCELLED
    try:
        async with aclosing(_stepwise(items, run)) as steps:
            async for item in steps:
                with _END:
                    if is_finish(item):
                        # Readers stop here and close the generator: that is a success, and the end.
                        _end(run, graph, OK)
                yield item
        outcome = OK
    except BaseException as exc:
        with _END:
            outcome = _outcome_of_run(run, exc)
        raise
    finally:
        with _END:
            _end(run, graph, outcome)


async def _stepwise(items: AsyncGenerator[Any, Any], run: Run) -> AsyncGenerator[Any, Any]:
    """The same items, each made with the run current; between them the reader's context holds."""
    try:
        while True:
            with _STEP:
                run.enter()
            try:
                item = await items.__anext__()
            except StopAsyncIteration:
                return
            finally:
                with _STEP:
                    run.leave()
            yield item
    finally:
        with _STEP:
            run.enter()
        try:
            await items.aclose()
        finally:
            with _STEP:
                run.leave()


def start(wrapped: Call, graph: Any, args: Any, kwargs: Any) -> Any:
    """``Graph.start``: a generator that runs ``async_start`` in a thread of its own."""
    if active_recorder() is None:
        return wrapped(*args, **kwargs)
    return _with_caller_context(wrapped(*args, **kwargs), graph)


def _with_caller_context(items: Generator[Any, Any, Any], graph: Any) -> Generator[Any, Any, Any]:
    # LangFlow before 1.12 does not hand the caller's context to the thread.
    _callers[id(graph)] = otel_context.get_current()
    try:
        yield from items
    finally:
        _callers.pop(id(graph), None)


async def astep(wrapped: Call, graph: Any, args: Any, kwargs: Any) -> Any:
    """``Graph.astep`` called by hand after ``prepare()``: the first step opens the run."""
    run: FlowRun | None = None
    with _STEP:
        await prepare()
        run = _stepped_run(graph)
    if run is None:
        return await wrapped(*args, **kwargs)
    try:
        result = await wrapped(*args, **kwargs)
    except BaseException as exc:
        with _END:
            _end_stepped(run, graph, _outcome_of_run(run, exc))
        raise
    finally:
        with _STEP:
            run.leave()
    with _END:
        if is_finish(result) or not graph._run_queue:
            _end_stepped(run, graph, OK)
    return result


def _stepped_run(graph: Any) -> FlowRun | None:
    if active_recorder() is None or _inside(graph):
        return None
    run = _stepped_runs.get(id(graph))
    if run is not None and run.executes(graph):
        run.enter()
        return run
    if not getattr(graph, "_run_queue", None):
        return None
    run = _start_unless_inside(graph, None)
    if run is not None:
        _stepped_runs[id(graph)] = run
        weakref.finalize(graph, _give_up_stepping, id(graph), run)
    return run


def _end_stepped(run: FlowRun, graph: Any, outcome: Outcome) -> None:
    _stepped_runs.pop(id(graph), None)
    _end(run, graph, outcome)


def _give_up_stepping(key: int, run: FlowRun) -> None:
    with _END:
        if _stepped_runs.get(key) is run:
            del _stepped_runs[key]
        run.end(CANCELLED)


async def generate_flow_events(wrapped: Call, _: Any, args: Any, kwargs: Any) -> Any:
    """The playground's driver. It builds its graph inside and swallows component errors, so the run is
    bound to its graph by the first component and takes its outcome from the components."""
    run: FlowRun | None = None
    with _START:
        await prepare()
        run = _start_playground(kwargs)
    if run is None:
        return await wrapped(*args, **kwargs)
    try:
        result = await wrapped(*args, **kwargs)
    except BaseException as exc:
        with _END:
            run.end(_outcome_of_run(run, exc))
        raise
    else:
        with _END:
            run.end(OK if run.first_error is None else Outcome("error", run.first_error))
    finally:
        with _END:
            run.leave()
    return result


def _outcome_of_run(run: FlowRun, exc: BaseException) -> Outcome:
    """A run whose component failed has failed, even if LangFlow's handling of that was cancelled: a reader may
    leave at the message about the error."""
    outcome = outcome_of(exc)
    if outcome.status == "cancelled" and run.first_error is not None:
        return Outcome("error", run.first_error)
    return outcome


def _start_playground(kwargs: dict[str, Any]) -> FlowRun | None:
    recorder = active_recorder()
    if recorder is None:
        return None
    session = getattr(kwargs.get("inputs"), "session", None)
    served = entry_point_of(current_run())
    info = FlowInfo(
        name=sendable(str(kwargs.get("flow_name") or UNNAMED)),
        entry_point="playground" if served == "sdk" else served,
        flow_id=str(kwargs["flow_id"]) if kwargs.get("flow_id") else None,
        session_id=sendable(str(session)) if session else None,
    )
    return recorder.start_flow(info, queued_by=queued_by.get() or queued_by_elsewhere())


def from_payload(wrapped: Call, _: Any, args: Any, kwargs: Any) -> Any:
    """``Graph.from_payload``: remember the name of a flow that is loaded from a file, which LangFlow drops."""
    graph = wrapped(*args, **kwargs)
    with _NAME:
        loaded = loaded_flow()
        if loaded is not None:
            remember_name(graph, _name_of(*loaded))
    return graph


def copied(wrapped: Call, graph: Any, args: Any, kwargs: Any) -> Any:
    """``Graph.__deepcopy__`` and ``copy_for_run``: the copy has the same name."""
    copy = wrapped(*args, **kwargs)
    with _NAME:
        copy_name(graph, copy)
    return copy


def _name_of(content: Mapping[str, Any], source: Any) -> str:
    """The name inside the flow, as the LangFlow UI shows it; else the file's own."""
    return str(content.get("name") or (UNNAMED if isinstance(source, dict) else Path(source).stem))


def bind(run: FlowRun, graph: Any) -> None:
    """The run's graph is known now. What the driver was told about the flow stays."""
    run.bind(graph)
    told = run.info
    found = flow_info(graph, None)
    run.describe(
        replace(
            found,
            name=found.name if told.name == UNNAMED else told.name,
            entry_point=told.entry_point,
            flow_id=told.flow_id or found.flow_id,
            session_id=told.session_id or found.session_id,
        )
    )


def _inside(graph: Any) -> bool:
    """True if the current run already stands for a run of this graph."""
    run = current_run()
    return isinstance(run, (FlowRun, LoopIteration)) and run.executes(graph)


def _start_unless_inside(graph: Any, session_id: str | None) -> FlowRun | None:
    recorder = active_recorder()
    if recorder is None or _inside(graph):
        return None
    info = flow_info(graph, current_run(), session_id)
    return recorder.start_flow(info, graph, parent=_caller_of(graph))


def _caller_of(graph: Any) -> Context | None:
    """Context of the caller of ``Graph.start``, where the thread did not inherit it."""
    handed_over = _callers.pop(id(graph), None)
    return handed_over if handed_over is not None and not otel_context.get_current() else None


def _end(run: FlowRun, graph: Any, outcome: Outcome) -> None:
    try:
        if run.recording:
            session = getattr(graph, "session_id", None)
            run.complete(run_id=getattr(graph, "_run_id", None), session_id=sendable(str(session)) if session else None)
    finally:
        run.end(outcome)

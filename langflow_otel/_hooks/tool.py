"""Tool calls: LangChain's ``BaseTool.run`` and ``arun``, of which each call enters exactly one, and which report it to
the callback handlers before the tool's own code runs.

This covers components used as tools, MCP tools, flows used as tools and plain LangChain tools.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from langflow_otel import _semconv as semconv
from langflow_otel._content.limits import chosen
from langflow_otel._content.plain_values import sendable
from langflow_otel._guard import Guard
from langflow_otel._hooks.boundary import Boundary
from langflow_otel._hooks.component_content import (
    OWNER,
    is_denied_as_tool,
    is_denied_call,
    take_tools,
    text_or_value,
    tool_content,
)
from langflow_otel._hooks.model_call import watched
from langflow_otel._hooks.outcomes import outcome_of
from langflow_otel._runs.facts import OK, Outcome, ToolInfo
from langflow_otel._runs.foreign_spans import ReportedSpans
from langflow_otel._runs.recorder import Recorder, active_recorder
from langflow_otel._runs.run import current_run
from langflow_otel._runs.tool import ToolRun

Call = Callable[..., Any]

_START = Guard("tool.start")
_END = Guard("tool.end")
_REPORTED = Guard("tool.reported")
_NOTE = Guard("tool.note")
_CONTENT = Guard("content.take")


def _start(recorder: Recorder, tool: Any, args: Any, kwargs: Any) -> ToolRun | None:
    within = current_run()
    if within is None:
        return None
    source = (getattr(tool, "metadata", None) or {}).get("source_id")
    info = ToolInfo(
        name=sendable(str(tool.name)),
        call_id=kwargs.get("tool_call_id"),
        component_id=str(source) if source else None,
    )
    run = recorder.start_tool(info, within, is_reported=True)
    if recorder.gate is not None:
        with _CONTENT:
            # In this order: what fails to be judged stays here.
            run.denied = True
            run.denied = is_denied_call(recorder.gate, tool, within)
            if recorder.content is not None and run.recording and not run.denied:
                withheld = () if within.flow is None else within.flow.withheld
                given = args[0] if args else kwargs.get("tool_input")
                run.content = tool_content(recorder.content, within, given, withheld)
    return run


def on_tool_start(wrapped: Call, manager: Any, args: Any, kwargs: Any) -> Any:
    """``CallbackManager.on_tool_start``."""
    with watched(manager) as others:
        started = wrapped(*args, **kwargs)
    with _REPORTED:
        _is_reported(others)
    return started


async def async_on_tool_start(wrapped: Call, manager: Any, args: Any, kwargs: Any) -> Any:
    """``AsyncCallbackManager.on_tool_start``."""
    with watched(manager) as others:
        started = await wrapped(*args, **kwargs)
    with _REPORTED:
        _is_reported(others)
    return started


def _is_reported(others: ReportedSpans) -> None:
    run = current_run()
    if isinstance(run, ToolRun):
        run.reported(others.of_call(0))


def _finish(run: ToolRun, result: Any) -> None:
    outcome: Outcome = OK
    try:
        if run.content is not None:
            with _CONTENT:
                run.content.add(semconv.GEN_AI_TOOL_CALL_RESULT, text_or_value(result))
        outcome = run.failure or _outcome_of_result(result)
    finally:
        run.finish(outcome)


def _fail(run: ToolRun, exc: BaseException) -> None:
    run.finish(run.failure or outcome_of(exc))


_CALL = Boundary(_start, _finish, _fail, _START, _END)
run = _CALL.around_function()
"""``BaseTool.run``."""
arun = _CALL.around_coroutine()
"""``BaseTool.arun``."""


def _outcome_of_result(result: Any) -> Outcome:
    """LangChain turns a tool's error into text (``handle_tool_error``) and may mark the message so."""
    # No other object is asked: a data frame may have a column of this name, and that has no truth value.
    is_message = any(cls.__name__ == "ToolMessage" for cls in type(result).__mro__)
    return Outcome("error") if is_message and result.status == "error" else OK


def build_output_function(wrapped: Call, _: Any, args: Any, kwargs: Any) -> Any:
    """``component_tool._build_output_function``: the sync function by which a component is a tool."""
    function = wrapped(*args, **kwargs)
    component = args[0] if args else kwargs["component"]

    @functools.wraps(function)
    def output_function(*call_args: Any, **call_kwargs: Any) -> Any:
        _note_component(component)
        try:
            return function(*call_args, **call_kwargs)
        except BaseException as exc:
            _note_failure(exc)
            raise

    setattr(output_function, OWNER, component)
    return output_function


def build_output_async_function(wrapped: Call, _: Any, args: Any, kwargs: Any) -> Any:
    """``component_tool._build_output_async_function``: its async twin."""
    function = wrapped(*args, **kwargs)
    component = args[0] if args else kwargs["component"]

    @functools.wraps(function)
    async def output_function(*call_args: Any, **call_kwargs: Any) -> Any:
        _note_component(component)
        try:
            return await function(*call_args, **call_kwargs)
        except BaseException as exc:
            _note_failure(exc)
            raise

    setattr(output_function, OWNER, component)
    return output_function


def _note_component(component: Any) -> None:
    with _NOTE:
        run = current_run()
        if isinstance(run, ToolRun):
            run.add({semconv.COMPONENT_ID: chosen(str(component._id))})
            recorder = active_recorder()
            if recorder is not None and recorder.gate is not None:
                # In this order: what fails to be judged stays here.
                content, run.content = run.content, None
                was_denied, run.denied = run.denied, True
                run.denied = was_denied or is_denied_as_tool(recorder.gate, component)
                take_tools(run, recorder.gate, component)
                run.content = None if run.denied else content


def _note_failure(exc: BaseException) -> None:
    with _NOTE:
        run = current_run()
        if isinstance(run, ToolRun):
            cause = exc.__cause__ if type(exc).__name__ == "ToolException" and exc.__cause__ else exc
            run.failure = outcome_of(cause)

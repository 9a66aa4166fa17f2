"""Agents that stop at a limit before they have an answer: LangChain says so in the text of the answer alone, and the
component has done what it was asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from langflow_otel import _semconv as semconv
from langflow_otel._guard import Guard
from langflow_otel._runs.run import current_run

Call = Callable[..., Any]

ITERATION_LIMIT: Final = "iteration_limit"
TIME_LIMIT: Final = "time_limit"

_NOTE = Guard("agent.note")


def should_continue(wrapped: Call, executor: Any, args: Any, kwargs: Any) -> Any:
    """``AgentExecutor._should_continue``: asked before each iteration, and no more once the agent has an answer."""
    goes_on = wrapped(*args, **kwargs)
    if not goes_on:
        with _NOTE:
            iterations = args[0] if args else kwargs["iterations"]
            most = executor.max_iterations
            _note_stop(ITERATION_LIMIT if most is not None and iterations >= most else TIME_LIMIT)
    return goes_on


def before_model(wrapped: Call, _: Any, args: Any, kwargs: Any) -> Any:
    """``ModelCallLimitMiddleware.before_model``: asked before each call of the model, in agents on LangGraph."""
    update = wrapped(*args, **kwargs)
    with _NOTE:
        if isinstance(update, dict) and update.get("jump_to") == "end":
            _note_stop(ITERATION_LIMIT)
    return update


def _note_stop(reason: str) -> None:
    run = current_run()
    if run is not None and run.component is not None:
        run.component.add({semconv.AGENT_STOP_REASON: reason})

"""Model calls: the callback managers of LangChain, by which each call of a chat model or LLM starts, in all versions.

A manager returns a run manager for each call, and the call is followed by functions on that one object. So no handler
is registered: one would cost time at each chunk, and changes which of the others are called.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from langflow_otel.hooks.model_content import add_answer, model_content
from langflow_otel.hooks.model_facts import model_info, model_response, provider_error
from langflow_otel.recording import semconv
from langflow_otel.recording.content import SpanContent
from langflow_otel.recording.facts import OK, Outcome
from langflow_otel.recording.guard import Guard
from langflow_otel.recording.model_runs import ModelRun
from langflow_otel.recording.recorder import Recorder, active_recorder
from langflow_otel.recording.runs import ComponentRun, Run, ToolRun, current_run

Call = Callable[..., Any]

_START = Guard("model.start")
_CHUNK = Guard("model.chunk")
_END = Guard("model.end")
_CONTENT = Guard("content.take")

_CHUNKS: Final = ("on_llm_new_token", "on_stream_event")
"""One of them is called for each chunk; the second by LangChain 1.3 and later."""


def on_chat_model_start(wrapped: Call, manager: Any, args: Any, kwargs: Any) -> Any:
    """``CallbackManager.on_chat_model_start``."""
    started = wrapped(*args, **kwargs)
    with _START:
        _follow_all("chat", manager, started, args, kwargs)
    return started


async def async_on_chat_model_start(wrapped: Call, manager: Any, args: Any, kwargs: Any) -> Any:
    """``AsyncCallbackManager.on_chat_model_start``."""
    started = await wrapped(*args, **kwargs)
    with _START:
        _follow_all("chat", manager, started, args, kwargs)
    return started


def on_llm_start(wrapped: Call, manager: Any, args: Any, kwargs: Any) -> Any:
    """``CallbackManager.on_llm_start``."""
    started = wrapped(*args, **kwargs)
    with _START:
        _follow_all("text_completion", manager, started, args, kwargs)
    return started


async def async_on_llm_start(wrapped: Call, manager: Any, args: Any, kwargs: Any) -> Any:
    """``AsyncCallbackManager.on_llm_start``."""
    started = await wrapped(*args, **kwargs)
    with _START:
        _follow_all("text_completion", manager, started, args, kwargs)
    return started


def _follow_all(operation: Any, manager: Any, started: Any, args: Any, kwargs: Mapping[str, Any]) -> None:
    """One run for each run manager: a call with several lists of messages at once has several."""
    recorder, within = active_recorder(), current_run()
    if recorder is None or within is None:
        return
    inputs = args[1] if len(args) > 1 else kwargs.get("messages", kwargs.get("prompts", ()))
    parameters = kwargs.get("invocation_params") or {}
    known = within.usage() if isinstance(within, ComponentRun) and within.usage is not None else None
    info = model_info(operation, parameters, getattr(manager, "metadata", None) or {}, known)
    for run_manager, given in zip(started, inputs, strict=False):
        run = recorder.start_model(info, within)
        if run is None:
            return
        if run.span is not None and recorder.content is not None:
            with _CONTENT:
                run.content = _content_of(recorder, within, run, given, parameters)
        _Followed(run, run_manager)


def _content_of(recorder: Recorder, within: Run, run: ModelRun, given: Any, parameters: Any) -> SpanContent | None:
    """Messages may leave only where those of the component, and of the tool that calls the model, may."""
    above = (within.component, within if isinstance(within, ToolRun) else None)
    holders = [each.content for each in above if each is not None]
    if recorder.content is None or any(each is None or each.is_partial for each in holders):
        return None
    withheld = () if within.flow is None else within.flow.withheld
    return model_content(recorder.content, given, parameters, withheld)


class _Followed:
    """The functions of one run manager that say how its call goes on. They leave it as it was, once it is over."""

    __slots__ = ("_before", "_manager", "_run")

    def __init__(self, run: ModelRun, manager: Any) -> None:
        self._run = run
        self._manager = manager
        functions = dict(zip(_CHUNKS, (self._first_token, self._first_event), strict=True))
        functions.update(on_llm_end=self._ended, on_llm_error=self._failed)
        if not hasattr(manager, "on_stream_event"):
            del functions["on_stream_event"]
        self._before = {name: getattr(manager, name) for name in functions}
        vars(manager).update(functions)

    def _first_token(self, *args: Any, **kwargs: Any) -> Any:
        with _CHUNK:
            self._chunk()
        return self._before["on_llm_new_token"](*args, **kwargs)

    def _first_event(self, *args: Any, **kwargs: Any) -> Any:
        with _CHUNK:
            self._chunk()
        return self._before["on_stream_event"](*args, **kwargs)

    def _chunk(self) -> None:
        if any(name in vars(self._manager) for name in _CHUNKS):
            self._let_go(_CHUNKS)
            self._run.first_chunk()

    def _ended(self, response: Any, **kwargs: Any) -> Any:
        with _END:
            self._finish(OK, response)
        return self._before["on_llm_end"](response, **kwargs)

    def _failed(self, error: Any, **kwargs: Any) -> Any:
        with _END:
            self._finish(Outcome.of(provider_error(error)), kwargs.get("response"))
        return self._before["on_llm_error"](error, **kwargs)

    def _finish(self, outcome: Outcome, response: Any) -> None:
        self._let_go(tuple(self._before))
        run = self._run
        try:
            if run.observed:
                run.answered(model_response(response))
                if run.content is not None:
                    with _CONTENT:
                        add_answer(run.content, response, failed=outcome.status != "ok")
                        run.content.emit({semconv.GEN_AI_OPERATION_NAME: run.operation})
        finally:
            run.end(outcome)

    def _let_go(self, names: tuple[str, ...]) -> None:
        functions = vars(self._manager)
        for name in names:
            functions.pop(name, None)

"""Model calls: the callback managers of LangChain, by which each call of a chat model or LLM starts, in all versions.

A manager returns a run manager for each call, and the call is followed by functions on that one object. So no handler
is registered: one would cost time at each chunk, and changes which of the others are called.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from types import MethodType
from typing import Any, Final, Literal

from langflow_otel._content.gate import SpanContent
from langflow_otel._guard import Guard
from langflow_otel._hooks.component_content import may_leave_whole, withheld_tools
from langflow_otel._hooks.model_content import add_answer, model_content
from langflow_otel._hooks.model_facts import known_to_langflow, model_info, model_response
from langflow_otel._hooks.outcomes import provider_error
from langflow_otel._hooks.versions import reports_stream_events
from langflow_otel._runs.facts import OK, Outcome
from langflow_otel._runs.foreign_spans import ReportedSpans
from langflow_otel._runs.model_call import ModelRun
from langflow_otel._runs.recorder import Recorder, active_recorder
from langflow_otel._runs.run import Run, current_run, innermost_run

Call = Callable[..., Any]
Operation = Literal["chat", "text_completion"]

_WATCH = Guard("others.watch")
_START = Guard("model.start")
_CHUNK = Guard("model.chunk")
_END = Guard("model.end")
_CONTENT = Guard("content.take")

_NOTHING: Final[Mapping[str, Call]] = {}
_CHUNKS: Final = ("on_llm_new_token", "on_stream_event")
"""One of them is called for each chunk; the second by LangChain 1.3 and later."""


def _reporting(operation: Operation) -> tuple[Call, Call]:
    """What is called in place of the functions by which managers, sync and async, report the start of a call."""

    def on_start(wrapped: Call, manager: Any, args: Any, kwargs: Any) -> Any:
        if innermost_run.get() is None:
            return wrapped(*args, **kwargs)
        with watched(manager) as others:
            started = wrapped(*args, **kwargs)
        _follow_all(operation, manager, started, args, kwargs, others)
        return started

    async def async_on_start(wrapped: Call, manager: Any, args: Any, kwargs: Any) -> Any:
        if innermost_run.get() is None:
            return await wrapped(*args, **kwargs)
        with watched(manager) as others:
            started = await wrapped(*args, **kwargs)
        _follow_all(operation, manager, started, args, kwargs, others)
        return started

    return on_start, async_on_start


on_chat_model_start, async_on_chat_model_start = _reporting("chat")
"""``CallbackManager.on_chat_model_start``, and ``AsyncCallbackManager``'s."""
on_llm_start, async_on_llm_start = _reporting("text_completion")
"""``CallbackManager.on_llm_start``, and ``AsyncCallbackManager``'s."""


def watched(manager: Any) -> ReportedSpans:
    """Around what a callback manager does at the start of a call: which spans other instrumentors make of it."""
    try:
        recorder = active_recorder()
        if recorder is not None and recorder.other_instrumentors is not None and current_run() is not None:
            recorder.other_instrumentors.watch(manager.handlers)
    except Exception as exc:  # noqa: BLE001
        _WATCH.contain(exc)
    return ReportedSpans()


def _follow_all(
    operation: Operation,
    manager: Any,
    started: Any,
    args: Any,
    kwargs: Mapping[str, Any],
    others: ReportedSpans,
) -> None:
    """One run for each run manager: a call with several lists of messages at once has several."""
    # Not by ``with``: entering and leaving a guard costs as much as the rest of a call's start.
    try:
        recorder, within = active_recorder(), current_run()
        if recorder is None or within is None:
            return
        parameters = kwargs.get("invocation_params") or {}
        options = kwargs.get("options") or {}
        info = model_info(operation, parameters, getattr(manager, "metadata", None) or {}, options)
        # What LangFlow knows is of the component's own model, not of one that a tool calls.
        component = within.component if within.tool is None else None
        if info.model is None and component is not None and component.usage is not None:
            info = known_to_langflow(info, component.usage())
        inputs = args[1] if len(args) > 1 else kwargs.get("messages", kwargs.get("prompts", ()))
        for index, (run_manager, given) in enumerate(zip(started, inputs, strict=False)):
            if not type(run_manager).__dictoffset__:
                continue  # None of LangChain's: nothing can be set on it, and its end would not be seen.
            run = recorder.start_model(info, within, others.of_call(index))
            if run is None:
                return
            if recorder.content is not None and run.recording:
                with _CONTENT:
                    run.content = _content_of(recorder, within, run, given, parameters)
            _Followed(run, run_manager)
    except Exception as exc:  # noqa: BLE001
        _START.contain(exc)


def _content_of(recorder: Recorder, within: Run, run: ModelRun, given: Any, parameters: Any) -> SpanContent | None:
    """Messages may leave only where those of the component, and of the tool that calls the model, may."""
    if recorder.content is None or not may_leave_whole(within):
        return None
    withheld = () if within.flow is None else within.flow.withheld
    return model_content(recorder.content, given, parameters, withheld, withheld_tools(within))


class _Followed:
    """The functions of one run manager by which LangChain reports its call. They are removed when it is over.

    They are set on the manager itself, so that other calls cost nothing; what was set before is restored. One by one,
    since Python 3.11 and 3.12 find each attribute of an object more slowly once its ``__dict__`` was asked for: that
    takes 20 ns of each chunk.
    """

    __slots__ = ("_before", "_manager", "_ours", "_run")

    def __init__(self, run: ModelRun, manager: Any) -> None:
        self._run: ModelRun | None = run
        self._manager = manager
        self._ours: dict[str, Call] = {
            "on_llm_new_token": self._first_token,
            "on_llm_end": self._ended,
            "on_llm_error": self._failed,
        }
        if reports_stream_events(manager):
            self._ours["on_stream_event"] = self._first_event
        self._before = _set_before(manager, self._ours)
        for name, function in self._ours.items():
            object.__setattr__(manager, name, function)

    def __reduce__(self) -> Any:
        """A copy of the manager is not of this call."""
        return _followed_no_more, (self._manager, self._before)

    def _first_token(self, *args: Any, **kwargs: Any) -> Any:
        self._chunk()
        return self._function("on_llm_new_token")(*args, **kwargs)

    def _first_event(self, *args: Any, **kwargs: Any) -> Any:
        self._chunk()
        return self._function("on_stream_event")(*args, **kwargs)

    def _chunk(self) -> None:
        try:
            if self._run is not None and "on_llm_new_token" in self._ours:
                self._let_go(_CHUNKS)
                self._run.first_chunk()
        except Exception as exc:  # noqa: BLE001
            _CHUNK.contain(exc)

    def _ended(self, response: Any, **kwargs: Any) -> Any:
        try:
            self._finish(OK, response)
        except Exception as exc:  # noqa: BLE001
            _END.contain(exc)
        return self._function("on_llm_end")(response, **kwargs)

    def _failed(self, error: Any, **kwargs: Any) -> Any:
        with _END:
            self._finish(Outcome.of(provider_error(error)), kwargs.get("response"))
        return self._function("on_llm_error")(error, **kwargs)

    def _function(self, name: str) -> Call:
        """The manager's function as it would be without ours."""
        before = self._before.get(name)
        if before is not None:
            return before
        found: Any = getattr(self._manager, name)
        if not _is_own_method(name, found, self._manager) and name in vars(self._manager):
            # A function set after ours calls ours, and in a copy of the manager the one that is set is ours.
            found = getattr(type(self._manager), name).__get__(self._manager)
        plain: Call = found
        return plain

    def _finish(self, outcome: Outcome, response: Any) -> None:
        self._let_go(self._ours)
        run = self._run
        if run is None:
            return
        try:
            if run.observed:
                run.answered(model_response(response))
                if run.content is not None:
                    with _CONTENT:
                        add_answer(run.content, response, failed=outcome.status != "ok")
        finally:
            run.end(outcome)

    def _let_go(self, names: Collection[str]) -> None:
        manager, before = self._manager, self._before
        for name in tuple(names):
            ours = self._ours.pop(name, None)
            # A function set after ours stays, and calls ours.
            if ours is not None and getattr(manager, name, None) is ours:
                if name in before:
                    object.__setattr__(manager, name, before[name])
                else:
                    object.__delattr__(manager, name)


def _set_before(manager: Any, names: Iterable[str]) -> Mapping[str, Call]:
    """Those of the functions that are set on the manager itself, and not in its class."""
    if all(_is_own_method(name, getattr(manager, name, None), manager) for name in names):
        return _NOTHING
    functions = vars(manager)
    return {name: functions[name] for name in names if name in functions}


def _is_own_method(name: str, function: Any, manager: Any) -> bool:
    """True for the method of that name that was found in the manager's class."""
    return type(function) is MethodType and function.__func__ is getattr(type(manager), name, None)


def _followed_no_more(manager: Any, before: Mapping[str, Call]) -> _Followed:
    made = _Followed.__new__(_Followed)
    made._run, made._manager, made._before, made._ours = None, manager, before, {}
    return made

"""For authors of custom nodes: ``traced``, ``span``, ``set_attributes`` and ``record_retry``.

While instrumentation is off, all of them do nothing and cost next to nothing. Attribute values are
what OpenTelemetry accepts: str, bool, int, float, or a sequence of one of these. A name is cut at 1,024 characters, a
value at 16,384, and marked.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, TypeVar, overload

from opentelemetry import context as otel_context
from opentelemetry.util.types import AttributeValue

from langflow_otel._content.limits import bounded
from langflow_otel._guard import Guard
from langflow_otel._runs.facts import CANCELLED, OK, Outcome
from langflow_otel._runs.recorder import active_recorder
from langflow_otel._runs.run import Run, StepTokens, current_run, step_out
from langflow_otel._runs.span_attributes import custom_attributes
from langflow_otel._runs.stream_proxies import watch

F = TypeVar("F", bound=Callable[..., Any])

_START = Guard("custom.start")
_END = Guard("custom.end")
_SET = Guard("custom.set_attributes")
_RETRY = Guard("custom.record_retry")


@overload
def traced(function: F, /) -> F: ...


@overload
def traced(
    name: str | None = None, /, *, attributes: Mapping[str, AttributeValue] | None = None, content: bool = True
) -> Callable[[F], F]: ...


def traced(
    function_or_name: Any = None, /, *, attributes: Mapping[str, AttributeValue] | None = None, content: bool = True
) -> Any:
    """Decorator: each call of the function is a span under whatever is running.

    Works on functions and methods (also under or over ``staticmethod`` and ``classmethod``), sync and
    async, generators and async generators; signature, type hints and kind of function are kept, so
    LangFlow reads the same types from a component's output method. A generator's span lasts from its
    first step to its end, and each step runs inside it.

    Args:
        function_or_name: The span's name; default: the function's qualified name.
        attributes: Set on every span of this function.
        content: False on an output method of a component: neither inputs nor outputs of that component leave, whatever
            is set. All methods of a class have it with ``langflow_otel_content = False`` in its body.

    Example::

        @traced
        def parse(text: str) -> list[str]: ...

        @traced("rank", attributes={"index": "orders"})
        async def rank(rows: list[str]) -> list[str]: ...
    """
    if function_or_name is None or isinstance(function_or_name, str):
        return functools.partial(_decorate, name=function_or_name, attributes=attributes, content=content)
    return _decorate(function_or_name, None, attributes, content)


def _decorate(function: Any, name: str | None, attributes: Mapping[str, AttributeValue] | None, content: bool) -> Any:
    if isinstance(function, (staticmethod, classmethod)):
        return type(function)(_decorate(function.__func__, name, attributes, content))
    if not callable(function) or inspect.isclass(function):
        raise TypeError(f"traced() is for functions and methods, not for a {type(function).__name__}")
    span_name = name or str(getattr(function, "__qualname__", type(function).__qualname__))
    call = _wrapper_for(function)(function, span_name, attributes)
    if not content:
        call.langflow_otel_content = False
    return call


def _wrapper_for(function: Any) -> Callable[..., Any]:
    if inspect.isasyncgenfunction(function):
        return _traced_async_generator
    if inspect.iscoroutinefunction(function):
        return _traced_coroutine
    return _traced_generator if inspect.isgeneratorfunction(function) else _traced_function


def _traced_function(function: Any, name: str, attributes: Mapping[str, AttributeValue] | None) -> Any:
    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if active_recorder() is None:
            return function(*args, **kwargs)
        with _CustomSpan(name, attributes):
            return function(*args, **kwargs)

    return call


def _traced_coroutine(function: Any, name: str, attributes: Mapping[str, AttributeValue] | None) -> Any:
    @functools.wraps(function)
    async def call(*args: Any, **kwargs: Any) -> Any:
        if active_recorder() is None:
            return await function(*args, **kwargs)
        with _CustomSpan(name, attributes):
            return await function(*args, **kwargs)

    return call


def _traced_generator(function: Any, name: str, attributes: Mapping[str, AttributeValue] | None) -> Any:
    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        return (yield from _watched(function(*args, **kwargs), name, attributes))

    return call


def _traced_async_generator(function: Any, name: str, attributes: Mapping[str, AttributeValue] | None) -> Any:
    @functools.wraps(function)
    async def call(*args: Any, **kwargs: Any) -> Any:
        steps = _watched(function(*args, **kwargs), name, attributes)
        step, sent = steps.asend, None
        while True:
            try:
                chunk = await step(sent)
            except StopAsyncIteration:
                return
            try:
                step, sent = steps.asend, (yield chunk)
            except GeneratorExit:
                await steps.aclose()
                raise
            except BaseException as exc:  # noqa: BLE001 - athrow(): for the author's generator to handle
                step, sent = steps.athrow, exc

    return call


def _watched(generator: Any, name: str, attributes: Mapping[str, AttributeValue] | None) -> Any:
    if active_recorder() is not None:
        with _START:
            return watch(generator, _CustomSteps(name, attributes))
    return generator


class _CustomSteps:
    """Watches a traced generator: the span starts with the first step and is current in each."""

    def __init__(self, name: str, attributes: Mapping[str, AttributeValue] | None) -> None:
        self._name = name
        self._attributes = attributes
        self._started = False
        self._run: Run | None = None

    def pull(self) -> StepTokens | None:
        if not self._started:
            self._started = True
            self._run = _start(self._name, self._attributes, enter=False)
        return None if self._run is None else self._run.step_in()

    def leave_step(self, tokens: StepTokens | None) -> None:
        if tokens is not None:
            step_out(tokens)

    def chunk(self) -> None: ...

    def close(self, how: str, outcome: Outcome = OK) -> None:
        if self._run is not None:
            self._run.end(outcome)

    def give_up(self) -> None:
        self.close("abandoned", CANCELLED)


class _CustomSpan:
    """Context manager of one custom span; also the object that ``span(...)`` returns."""

    __slots__ = ("_attributes", "_name", "_run")

    def __init__(self, name: str, attributes: Mapping[str, AttributeValue] | None) -> None:
        self._name = name
        self._attributes = attributes
        self._run: Run | None = None

    def __enter__(self) -> _CustomSpan:
        self._run = _start(self._name, self._attributes)
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        run = self._run
        if run is not None:
            with _END:
                run.finish(OK if exc is None else Outcome.of(exc))

    def set_attributes(self, **attributes: AttributeValue) -> None:
        """Set attributes on this span, whatever is current meanwhile."""
        run = self._run
        if run is not None and run.recording and run.span is not None:
            with _SET:
                run.span.set_attributes(bounded(attributes))


def _start(name: str, attributes: Mapping[str, AttributeValue] | None, *, enter: bool = True) -> Run | None:
    recorder = active_recorder()
    if recorder is not None:
        with _START:
            return recorder.start_span(name, custom_attributes(attributes, recorder.settings), enter=enter)
    return None


def span(name: str, **attributes: AttributeValue) -> _CustomSpan:
    """Context manager: a span around a block, under whatever is running.

    Example::

        with span("lookup", table="orders") as lookup:
            rows = find()
            lookup.set_attributes(rows=len(rows))
    """
    return _CustomSpan(name, attributes)


def record_retry(attempt: Any, delay_s: float = 0.0, error: BaseException | None = None) -> None:
    """Something in the current component failed and is about to be tried again: an event
    ``component.retry`` on its span, and one more in ``langflow.component.retries``.

    With tenacity: ``@retry(before_sleep=record_retry)``.

    Args:
        attempt: The number of the attempt that failed, from 1; or tenacity's ``RetryCallState``, which
            knows the rest as well.
        delay_s: Seconds until the next attempt.
        error: Why it failed. Only its class leaves.
    """
    if active_recorder() is None:
        return
    with _RETRY:
        run = current_run()
        if run is None or run.component is None:
            return
        if hasattr(attempt, "attempt_number"):
            outcome, sleep = attempt.outcome, attempt.next_action
            error = None if outcome is None else outcome.exception()
            attempt, delay_s = attempt.attempt_number, 0.0 if sleep is None else sleep.sleep
        run.component.retried(attempt, delay_s, error)


def set_attributes(**attributes: AttributeValue) -> None:
    """Set attributes on the current span: the component's own, or the innermost custom one."""
    recorder = active_recorder()
    if recorder is not None:
        with _SET:
            recorder.span_above(otel_context.get_current(), current_run()).set_attributes(bounded(attributes))

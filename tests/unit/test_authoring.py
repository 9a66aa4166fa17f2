"""``traced``, ``span`` and ``set_attributes``: the author's function stays what it is, and has a span."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import gc
import inspect
import threading
import typing
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, contextmanager
from typing import Any

import pytest
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from langflow_otel import set_attributes, span, traced
from langflow_otel._runs.recorder import Recorder, set_active_recorder
from langflow_otel._runs.run import current_run
from langflow_otel._settings.settings import Settings
from langflow_otel.testing import Telemetry
from tests.support.recording import FLOW, at_once, component, recorder, recording


@traced
def add(left: int, right: int = 2) -> int:
    """Adds."""
    return left + right


@traced("rank", attributes={"index": "orders", "top": 3, "exact": True, "weights": (0.5, 1.0)})
async def rank(rows: list[str]) -> list[str]:
    await asyncio.sleep(0)
    return sorted(rows)


@traced
def count_up(to: int) -> Iterator[int]:
    for number in range(to):
        with span(f"step {number}"):
            pass
        yield number


@traced
async def acount_up(to: int) -> AsyncIterator[int]:
    for number in range(to):
        with span(f"step {number}"):
            await asyncio.sleep(0)
        yield number


class Node:
    """One of each kind of method."""

    @traced
    def method(self, value: int) -> tuple[str, int]:
        return "method", value

    @traced
    async def amethod(self, value: int) -> tuple[str, int]:
        return "amethod", value

    @traced
    @staticmethod
    def traced_static(value: int) -> tuple[str, int]:
        return "static", value

    @staticmethod
    @traced
    def static_traced(value: int) -> tuple[str, int]:
        return "static", value

    @traced
    @classmethod
    def traced_class(cls, value: int) -> tuple[str, int]:
        return cls.__name__, value

    @classmethod
    @traced
    def class_traced(cls, value: int) -> tuple[str, int]:
        return cls.__name__, value

    @traced
    @classmethod
    async def traced_async_class(cls, value: int) -> tuple[str, int]:
        return cls.__name__, value

    @traced("named static", attributes={"a": 1})
    @staticmethod
    def named_static(value: int) -> int:
        return value

    @property
    @traced
    def size(self) -> int:
        return 7


async def drain(items: Any) -> list[Any]:
    return [item async for item in items]


def only_error(telemetry: Telemetry, name: str) -> dict[str, Any]:
    """The exception event of a span that failed; the SDK's own second event would show."""
    failed = telemetry.only_span(name)
    assert failed.status == "error"
    assert failed.is_error
    (event,) = failed.events
    assert event.name == "exception"
    return event.attributes


# Functions and methods


def test_a_function_has_a_span_with_its_qualified_name(telemetry):
    assert add(1) == 3
    assert add(1, right=5) == 6

    assert telemetry.names() == ["add", "add"]
    assert telemetry.spans[0].attributes == {"langflow.status": "ok"}
    assert telemetry.spans[0].scope == "langflow_otel"
    assert not telemetry.spans[0].is_error


async def test_a_coroutine_function_with_a_name_and_attributes(telemetry):
    assert await rank(["b", "a"]) == ["a", "b"]

    assert telemetry.only_span("rank").attributes == {
        "index": "orders",
        "top": 3,
        "exact": True,
        "weights": (0.5, 1.0),
        "langflow.status": "ok",
    }


async def test_methods_of_all_kinds(telemetry):
    node = Node()

    assert node.method(1) == ("method", 1)
    assert await node.amethod(2) == ("amethod", 2)
    for owner in (node, Node):
        assert owner.traced_static(3) == ("static", 3)
        assert owner.static_traced(4) == ("static", 4)
        assert owner.traced_class(5) == ("Node", 5)
        assert owner.class_traced(6) == ("Node", 6)
    assert await Node.traced_async_class(7) == ("Node", 7)
    assert Node.named_static(8) == 8
    assert node.size == 7

    statics = ["Node.traced_static", "Node.static_traced", "Node.traced_class", "Node.class_traced"]
    assert telemetry.names() == [
        "Node.method",
        "Node.amethod",
        *statics,
        *statics,
        "Node.traced_async_class",
        "named static",
        "Node.size",
    ]


def test_a_class_method_sees_the_subclass(telemetry):
    class Sub(Node):
        pass

    assert Sub.traced_class(1) == ("Sub", 1)
    assert Sub.class_traced(1) == ("Sub", 1)


def test_bare_and_empty_parentheses_mean_the_same(telemetry):
    @traced()
    def one() -> int:
        return 1

    @traced(attributes={"a": 1})
    def two() -> int:
        return 2

    assert (one(), two()) == (1, 2)
    assert [name.rsplit(".", 1)[-1] for name in telemetry.names()] == ["one", "two"]
    assert telemetry.spans[1].attributes == {"a": 1, "langflow.status": "ok"}


def test_a_partial_and_a_callable_object_are_named_too(telemetry):
    class Doubler:
        def __call__(self, value: int) -> int:
            return value * 2

    assert traced(functools.partial(max, 3))(2) == 3
    assert traced("double")(Doubler())(2) == 4

    assert telemetry.names() == ["partial", "double"]


@pytest.mark.parametrize(("wrong", "kind"), [(Node, "type"), (property(len), "property"), (3, "int")])
def test_what_is_no_function_is_refused_at_once(wrong: Any, kind: str):
    with pytest.raises(TypeError, match=f"^traced\\(\\) is for functions and methods, not for a {kind}$"):
        traced(wrong)


def test_spans_nest_as_the_calls_do(telemetry):
    @traced("outer")
    def outer() -> int:
        add(1)
        with span("block"):
            return add(2)

    outer()

    assert telemetry.tree() == ["outer", "  add", "  block", "    add"]


def test_spans_nest_under_the_flow_and_component_that_run(telemetry):
    flow = recorder().start_flow(FLOW)
    run = recorder().start_component(component("Parser"), flow)
    add(1)
    run.finish()
    flow.finish()

    assert telemetry.tree() == ["invoke_workflow demo", "  component Parser", "    add"]


def test_spans_nest_under_the_callers_own_span(telemetry):
    tracer = telemetry.provider.get_tracer("app")
    with tracer.start_as_current_span("request"):
        add(1)

    assert telemetry.tree() == ["request", "  add"]


def test_recursion(telemetry):
    @traced("down")
    def down(depth: int) -> int:
        return down(depth - 1) if depth else 0

    down(2)

    assert telemetry.tree() == ["down", "  down", "    down"]


# What tools read from a function


@pytest.mark.parametrize(
    ("kind", "plain"),
    [
        (inspect.isfunction, add.__wrapped__),
        (inspect.iscoroutinefunction, rank.__wrapped__),
        (inspect.isgeneratorfunction, count_up.__wrapped__),
        (inspect.isasyncgenfunction, acount_up.__wrapped__),
    ],
)
def test_the_kind_of_function_is_kept(kind: Callable[[Any], bool], plain: Any):
    kinds = (inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction)

    assert kind(traced(plain))
    assert [each(traced(plain)) for each in kinds] == [each(plain) for each in kinds]
    assert asyncio.iscoroutinefunction(traced(plain)) == asyncio.iscoroutinefunction(plain)


@pytest.mark.parametrize("function", [add, rank, count_up, acount_up, Node.method, Node.traced_static])
def test_signature_hints_and_names_are_kept(function: Any):
    plain = function.__wrapped__

    assert inspect.signature(function) == inspect.signature(plain)
    assert typing.get_type_hints(function) == typing.get_type_hints(plain)
    assert (function.__name__, function.__qualname__, function.__doc__) == (
        plain.__name__,
        plain.__qualname__,
        plain.__doc__,
    )
    assert function.__module__ == __name__
    assert inspect.getsource(function) == inspect.getsource(plain)


def test_the_kind_of_method_is_kept():
    assert isinstance(inspect.getattr_static(Node, "traced_static"), staticmethod)
    assert isinstance(inspect.getattr_static(Node, "traced_class"), classmethod)
    assert inspect.ismethod(Node().method)
    assert inspect.ismethod(Node.traced_class)
    assert inspect.iscoroutinefunction(Node.traced_async_class)


async def test_what_a_traced_function_returns_is_of_the_usual_type(telemetry):
    numbers, anumbers, coroutine = count_up(1), acount_up(1), rank([])

    assert inspect.isgenerator(numbers)
    assert inspect.isasyncgen(anumbers)
    assert inspect.iscoroutine(coroutine)
    await coroutine


# Errors and cancellation


class PromptQuoteError(Exception):
    pass


def fail() -> None:
    raise PromptQuoteError("canary")


def test_an_exception_passes_unchanged_and_marks_the_span(telemetry):
    error = PromptQuoteError("canary")

    @traced("broken")
    def broken() -> None:
        raise error

    with pytest.raises(PromptQuoteError) as caught:
        broken()

    assert caught.value is error
    event = only_error(telemetry, "broken")
    assert sorted(event) == ["exception.stacktrace", "exception.type"]
    assert event["exception.type"] == f"{__name__}.PromptQuoteError"
    assert event["exception.stacktrace"].endswith(f"in broken\n{__name__}.PromptQuoteError")
    assert telemetry.only_span("broken").attributes == {
        "langflow.status": "error",
        "error.type": "PromptQuoteError",
        "langflow.error.category": "code",
    }
    assert telemetry.sdk_spans[0].status.description is None


async def test_a_coroutines_exception_passes_unchanged(telemetry):
    @traced("broken")
    async def broken() -> None:
        fail()

    with pytest.raises(PromptQuoteError):
        await broken()

    assert only_error(telemetry, "broken")["exception.type"].endswith("PromptQuoteError")


def test_an_error_in_a_block_marks_each_span_that_it_leaves(telemetry):
    with pytest.raises(PromptQuoteError), span("outer"), span("inner"):
        fail()

    assert telemetry.tree("error.type") == [
        "outer [error] error.type=PromptQuoteError",
        "  inner [error] error.type=PromptQuoteError",
    ]


def test_an_error_that_is_handled_inside_marks_only_the_inner_span(telemetry):
    with span("outer"):
        try:
            with span("inner"):
                fail()
        except PromptQuoteError:
            pass

    assert telemetry.tree() == ["outer", "  inner [error]"]


async def test_a_cancelled_call_is_cancelled_and_no_error(telemetry):
    started = asyncio.Event()

    @traced("waits")
    async def waits() -> None:
        started.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(waits())
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    cancelled = telemetry.only_span("waits")
    assert cancelled.attributes == {"langflow.status": "cancelled", "langflow.error.category": "cancelled"}
    assert not cancelled.is_error
    assert cancelled.events == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_passes_and_its_span_ends(telemetry, error: type[BaseException]):
    @traced("interrupted")
    def interrupted() -> None:
        raise error

    with pytest.raises(error):
        interrupted()

    assert telemetry.only_span("interrupted").attributes["error.type"] == error.__name__


async def test_a_coroutine_that_is_dropped_half_way_leaves_other_contexts_alone(telemetry):
    """The garbage collector closes it wherever it happens to run."""

    @traced("half way")
    async def half_way() -> None:
        await asyncio.sleep(0)

    coroutine = half_way()
    contextvars.copy_context().run(coroutine.send, None)
    with span("elsewhere"):
        coroutine.close()
        add(1)

    assert telemetry.tree() == ["half way [cancelled]", "elsewhere", "  add"]
    assert telemetry.warnings == []


# Generators


def test_a_generator_has_one_span_and_its_steps_run_inside(telemetry):
    numbers = count_up(2)
    assert telemetry.names() == []
    with span("reader"):
        assert list(numbers) == [0, 1]

    assert telemetry.tree() == ["reader", "  count_up", "    step 0", "    step 1"]


def test_the_reader_of_a_generator_is_not_inside_of_it(telemetry):
    before = otel_context.get_current()
    numbers = count_up(2)
    for _ in numbers:
        assert otel_context.get_current() == before
        assert current_run() is None
        with span("reader"):
            pass

    assert telemetry.tree() == ["count_up", "  step 0", "  step 1", "reader", "reader"]


def echo() -> Iterator[Any]:
    """Answers what it is sent, and what is thrown at it."""
    received: Any = "start"
    try:
        while received != "stop":
            try:
                received = yield received
            except PromptQuoteError as exc:
                received = exc
    finally:
        with span("clean up"):
            pass
    return "returned"


def test_send_throw_and_return_value_reach_the_generator(telemetry):
    results = []
    error = PromptQuoteError("canary")

    def delegate() -> Iterator[Any]:
        results.append((yield from traced("echo")(echo)()))

    generator = delegate()
    assert next(generator) == "start"
    assert generator.send("a") == "a"
    assert generator.throw(error) is error
    with pytest.raises(StopIteration):
        generator.send("stop")

    assert results == ["returned"]
    assert telemetry.tree() == ["echo", "  clean up"]


def test_closing_a_generator_counts_as_cancelled(telemetry):
    generator = traced("echo")(echo)()
    next(generator)
    generator.close()
    generator.close()

    assert telemetry.tree() == ["echo [cancelled]", "  clean up"]
    assert telemetry.only_span("echo").attributes == {
        "langflow.status": "cancelled",
        "langflow.error.category": "cancelled",
    }


def test_leaving_a_loop_early_counts_as_cancelled(telemetry):
    for number in count_up(5):
        if number == 1:
            break
    gc.collect()

    assert telemetry.tree() == ["count_up [cancelled]", "  step 0", "  step 1"]


def test_an_error_in_a_generator_is_the_same_object(telemetry):
    error = PromptQuoteError("canary")

    @traced("broken")
    def broken() -> Iterator[int]:
        yield 1
        raise error

    generator = broken()
    assert next(generator) == 1
    with pytest.raises(PromptQuoteError) as caught:
        next(generator)
    with pytest.raises(StopIteration):
        next(generator)

    assert caught.value is error
    assert only_error(telemetry, "broken")["exception.type"].endswith("PromptQuoteError")


def test_an_error_thrown_into_a_generator_that_does_not_handle_it(telemetry):
    generator = count_up(2)
    next(generator)
    with pytest.raises(PromptQuoteError):
        generator.throw(PromptQuoteError("canary"))

    only_error(telemetry, "count_up")


def test_a_generator_that_is_never_read_has_no_span(telemetry):
    count_up(3).close()
    count_up(3)
    gc.collect()

    assert telemetry.names() == []


def test_a_traced_generator_as_context_manager(telemetry):
    @contextmanager
    @traced("resource")
    def resource() -> Iterator[int]:
        yield 1

    with resource() as value:
        assert value == 1
    with pytest.raises(PromptQuoteError), resource():
        fail()

    assert [each.status for each in telemetry.spans] == ["ok", "error"]


# Async generators


async def test_an_async_generator_has_one_span_and_its_steps_run_inside(telemetry):
    with span("reader"):
        assert await drain(acount_up(2)) == [0, 1]

    assert telemetry.tree() == ["reader", "  acount_up", "    step 0", "    step 1"]


async def test_the_reader_of_an_async_generator_is_not_inside_of_it(telemetry):
    before = otel_context.get_current()
    async for _ in acount_up(2):
        assert otel_context.get_current() == before
        assert current_run() is None

    assert telemetry.tree() == ["acount_up", "  step 0", "  step 1"]


async def aecho() -> AsyncIterator[Any]:
    received: Any = "start"
    try:
        while received != "stop":
            try:
                received = yield received
            except PromptQuoteError as exc:
                received = exc
    finally:
        with span("clean up"):
            await asyncio.sleep(0)


async def test_asend_and_athrow_reach_the_generator(telemetry):
    error = PromptQuoteError("canary")
    generator: Any = traced("aecho")(aecho)()

    assert await generator.__anext__() == "start"
    assert await generator.asend("a") == "a"
    assert await generator.athrow(error) is error
    assert await generator.asend("b") == "b"
    with pytest.raises(StopAsyncIteration):
        await generator.asend("stop")

    assert telemetry.tree() == ["aecho", "  clean up"]


async def test_aclose_counts_as_cancelled(telemetry):
    async with aclosing(traced("aecho")(aecho)()) as generator:
        async for _ in generator:
            break
    await generator.aclose()

    assert telemetry.tree() == ["aecho [cancelled]", "  clean up"]


async def test_leaving_an_async_loop_early_counts_as_cancelled(telemetry):
    async for _ in acount_up(5):
        break
    gc.collect()
    await asyncio.get_running_loop().shutdown_asyncgens()

    assert telemetry.tree() == ["acount_up [cancelled]", "  step 0"]


async def test_an_error_in_an_async_generator_is_the_same_object(telemetry):
    error = PromptQuoteError("canary")

    @traced("broken")
    async def broken() -> AsyncIterator[int]:
        yield 1
        raise error

    with pytest.raises(PromptQuoteError) as caught:
        await drain(broken())

    assert caught.value is error
    only_error(telemetry, "broken")


async def test_an_error_thrown_into_an_async_generator_that_does_not_handle_it(telemetry):
    generator: Any = acount_up(2)
    await generator.__anext__()
    with pytest.raises(PromptQuoteError):
        await generator.athrow(PromptQuoteError("canary"))

    only_error(telemetry, "acount_up")


async def test_a_cancelled_reader_cancels_the_generator(telemetry):
    started = asyncio.Event()

    @traced("waits")
    async def waits() -> AsyncIterator[int]:
        started.set()
        await asyncio.Event().wait()
        yield 1

    task = asyncio.create_task(drain(waits()))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert telemetry.tree() == ["waits [cancelled]"]


async def test_an_async_generator_that_is_never_read_has_no_span(telemetry):
    await acount_up(3).aclose()

    assert telemetry.names() == []


async def test_an_async_generator_read_by_other_tasks(telemetry):
    """Each step is in the context of the span, whichever task makes it."""
    generator: Any = acount_up(3)
    numbers = [await asyncio.create_task(generator.__anext__()) for _ in range(3)]
    with pytest.raises(StopAsyncIteration):
        await asyncio.create_task(generator.__anext__())

    assert numbers == [0, 1, 2]
    assert telemetry.tree() == ["acount_up", "  step 0", "  step 1", "  step 2"]


# At once


async def test_calls_that_run_at_once_do_not_mix(telemetry):
    @traced("call")
    async def call(name: str) -> None:
        await asyncio.sleep(0)
        with span(f"part {name}"):
            await asyncio.sleep(0)

    @traced("all")
    async def call_all() -> None:
        await asyncio.gather(*(call(name) for name in "abc"))

    await call_all()

    assert telemetry.tree(by_name=True) == [
        "all",
        *("  call", "    part a"),
        *("  call", "    part b"),
        *("  call", "    part c"),
    ]


async def test_generators_read_in_turns_do_not_mix(telemetry):
    first, second = acount_up(2), acount_up(2)
    assert [await anext(generator) for generator in (first, second, first, second)] == [0, 0, 1, 1]
    for generator in (first, second):
        assert [number async for number in generator] == []

    assert telemetry.tree() == ["acount_up", "  step 0", "  step 1"] * 2


async def test_a_thread_with_the_callers_context_nests(telemetry):
    @traced("caller")
    async def caller() -> int:
        return await asyncio.to_thread(add, 1)

    assert await caller() == 3

    assert telemetry.tree() == ["caller", "  add"]


def test_threads_do_not_mix(telemetry):
    barrier = threading.Barrier(4)

    @traced("work")
    def work() -> None:
        barrier.wait(10)
        with span("part"):
            barrier.wait(10)

    at_once(4, work)

    assert telemetry.tree() == ["work", "  part"] * 4
    assert len({each.trace_id for each in telemetry.spans}) == 4


# span() and set_attributes()


def test_a_block_with_attributes_at_the_start_and_later(telemetry):
    with span("lookup", table="orders") as lookup:
        with span("nested"):
            lookup.set_attributes(rows=3)
        set_attributes(hit=True)

    assert telemetry.only_span("lookup").attributes == {
        "table": "orders",
        "rows": 3,
        "hit": True,
        "langflow.status": "ok",
    }
    assert telemetry.only_span("nested").attributes == {"langflow.status": "ok"}


async def test_a_block_around_awaits(telemetry):
    with span("block"):
        await rank([])

    assert telemetry.tree() == ["block", "  rank"]


def test_set_attributes_reaches_the_innermost_span(telemetry):
    run = recorder().start_component(component("Parser"), None)
    set_attributes(size=3)
    run.finish()

    assert telemetry.only_span("component Parser").attributes["size"] == 3


def test_set_attributes_after_the_end_and_outside_do_nothing(telemetry):
    with span("block") as block:
        pass
    block.set_attributes(late=1)
    set_attributes(outside=1)

    assert telemetry.only_span("block").attributes == {"langflow.status": "ok"}


def test_an_attribute_that_opentelemetry_does_not_take_harms_no_other():
    """What becomes of it differs over the SDK's versions."""
    with recording(strict=False) as telemetry, span("block", good=1, bad={"a": 1}):
        set_attributes(worse=object(), better=2)

    attributes = telemetry.only_span("block").attributes
    assert (attributes["good"], attributes["better"], attributes["langflow.status"]) == (1, 2, "ok")


# Off


def calls_of_everything() -> list[Any]:
    with span("block", a=1) as block:
        block.set_attributes(b=2)
        set_attributes(c=3)
    generator = traced(echo)()
    return [add(1), Node().method(1), list(count_up(2)), next(generator), generator.send("stop?"), generator.close()]


async def acalls_of_everything() -> list[Any]:
    return [await rank(["b", "a"]), await drain(acount_up(2))]


async def test_off_it_does_nothing(monkeypatch):
    """Neither the context nor a tracer is touched."""

    def unexpected(*_: Any, **__: Any) -> Any:
        raise AssertionError("called although off")

    for name in ("attach", "detach", "set_value"):
        monkeypatch.setattr(otel_context, name, unexpected)
    monkeypatch.setattr(trace, "get_current_span", unexpected)
    monkeypatch.setattr("langflow_otel._authoring.watch", unexpected)

    assert calls_of_everything() == [3, ("method", 1), [0, 1], "start", "stop?", None]
    assert await acalls_of_everything() == [["a", "b"], [0, 1]]
    with pytest.raises(PromptQuoteError):
        traced(fail)()


async def test_off_and_on_give_the_same_results(telemetry):
    on = calls_of_everything(), await acalls_of_everything()
    set_active_recorder(None)

    assert on == (calls_of_everything(), await acalls_of_everything())


def test_switched_off_in_the_middle_of_a_generator_its_span_still_ends(telemetry):
    numbers = count_up(3)
    next(numbers)
    set_active_recorder(None)

    assert list(numbers) == [1, 2]
    assert telemetry.tree() == ["count_up", "  step 0"]


async def test_switched_off_in_the_middle_of_a_call_its_span_still_ends(telemetry):
    @traced("call")
    async def call() -> None:
        set_active_recorder(None)
        with span("not recorded"):
            add(1)

    await call()

    assert telemetry.tree() == ["call"]


def test_switched_on_in_the_middle_the_rest_is_recorded():
    numbers = count_up(2)
    next(numbers)
    with recording() as telemetry:
        assert list(numbers) == [1]

    assert telemetry.names() == ["step 1"]


# Suppression, sampling, detail


@pytest.mark.parametrize(
    "key", ["suppress_instrumentation", otel_context._SUPPRESS_INSTRUMENTATION_KEY], ids=["contrib", "api"]
)
def test_each_way_of_suppression_is_honoured(telemetry, key: str):
    token = otel_context.attach(otel_context.set_value(key, True))
    try:
        calls_of_everything()
    finally:
        otel_context.detach(token)

    assert telemetry.names() == []


async def test_suppressed_calls_have_no_span_and_the_same_results(telemetry):
    with suppress_instrumentation():
        suppressed = calls_of_everything(), await acalls_of_everything()
    assert telemetry.names() == []

    assert suppressed == (calls_of_everything(), await acalls_of_everything())
    assert telemetry.names() != []


def test_a_part_can_be_suppressed(telemetry):
    with span("outer"):
        with suppress_instrumentation():
            add(1)
        add(2)

    assert telemetry.tree() == ["outer", "  add"]


def test_unsampled_custom_spans_are_not_exported():
    with recording(sampler=ALWAYS_OFF) as telemetry:
        assert calls_of_everything()[0] == 3

    assert telemetry.names() == []


def test_a_custom_span_has_a_kind_for_openinference():
    with recording(Settings(openinference=True)) as telemetry:
        add(1)
        with span("look up", **{"openinference.span.kind": "RETRIEVER"}):
            pass
    kinds = {each.name: each.attributes.get("openinference.span.kind") for each in telemetry.spans}
    assert kinds == {"add": "CHAIN", "look up": "RETRIEVER"}


def test_a_custom_span_is_the_authors_wish_whatever_the_detail():
    with recording(Settings(detail="flow")) as telemetry:
        flow = recorder().start_flow(FLOW)
        run = recorder().start_component(component("Parser"), flow)
        add(1)
        run.finish()
        flow.finish()

    assert telemetry.tree() == ["invoke_workflow demo", "  add"]


# Faults of our own


class BrokenRecorder(Recorder):
    def start_span(self, *_: Any, **__: Any) -> Any:
        raise RuntimeError("fault")


@pytest.mark.usefixtures("lenient")
async def test_a_fault_at_the_start_never_reaches_the_caller(caplog):
    with recording(strict=False) as telemetry:
        set_active_recorder(BrokenRecorder(telemetry.provider, Settings()))

        assert calls_of_everything() == [3, ("method", 1), [0, 1], "start", "stop?", None]
        assert await acalls_of_everything() == [["a", "b"], [0, 1]]

    assert telemetry.names() == []
    assert [record.getMessage().split(";")[0] for record in caplog.records] == [
        "An error inside langflow-otel was contained at custom.start"
    ]


@pytest.mark.usefixtures("lenient")
def test_a_fault_at_the_end_never_replaces_the_callers_error(monkeypatch):
    def broken(*_: Any) -> Any:
        raise RuntimeError("fault")

    monkeypatch.setattr("langflow_otel._runs.span_attributes.mark_error", broken)
    with recording(strict=False) as telemetry:
        with pytest.raises(PromptQuoteError):
            traced("fails")(fail)()
        assert current_run() is None

    assert telemetry.names() == ["fails"]

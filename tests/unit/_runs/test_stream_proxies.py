"""Proxies around iterators: nothing changes for the reader, and the stream's span tells how it was read."""

from __future__ import annotations

import asyncio
import collections.abc
import gc
import inspect
import threading
import types
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from opentelemetry import context as otel_context

from langflow_otel import _guard as guard
from langflow_otel import span
from langflow_otel._runs.component import ComponentRun
from langflow_otel._runs.facts import OK, Outcome
from langflow_otel._runs.flow import FlowRun
from langflow_otel._runs.run import current_run
from langflow_otel._runs.stream import ChunkCount, StreamRun
from langflow_otel._runs.stream_proxies import DrainedHere, is_watched, watch
from langflow_otel.testing import Telemetry
from tests.support.recording import FLOW, component, recorder

OUTCOME = "langflow.stream.outcome"
CHUNKS = "langflow.stream.chunk_count"
FIRST = "langflow.stream.time_to_first_chunk"


class BadChunkError(Exception):
    pass


def letters(*each: Any) -> Iterator[Any]:
    try:
        for letter in each:
            if isinstance(letter, BaseException):
                raise letter
            with span(f"make {letter}"):
                pass
            yield letter
    finally:
        with span("clean up"):
            pass


async def aletters(*each: Any) -> AsyncIterator[Any]:
    try:
        for letter in each:
            if isinstance(letter, BaseException):
                raise letter
            with span(f"make {letter}"):
                await asyncio.sleep(0)
            yield letter
    finally:
        with span("clean up"):
            await asyncio.sleep(0)


class Letters:
    """An iterator that is no generator."""

    def __init__(self, *each: Any) -> None:
        self.left = list(each)

    def __iter__(self) -> Letters:
        return self

    def __next__(self) -> Any:
        if not self.left:
            raise StopIteration
        return self.left.pop(0)


class AsyncLetters(Letters):
    def __aiter__(self) -> AsyncLetters:
        return self

    async def __anext__(self) -> Any:
        if not self.left:
            raise StopAsyncIteration
        return self.left.pop(0)

    __iter__ = None  # type: ignore[assignment]


class Handed:
    """A component that has returned a generator, and its flow."""

    flow: FlowRun
    component: ComponentRun

    def start(self) -> None:
        # Not by a fixture: a run is entered and left in one task.
        self.flow = recorder().start_flow(FLOW)  # type: ignore[assignment]
        self.component = recorder().start_component(component("Model"), self.flow)

    def over(self, iterator: Any) -> Any:
        self.start()
        watcher = recorder().open_stream(self.component)
        assert watcher is not None
        self.component.finish()
        return watch(iterator, watcher)

    def end(self) -> None:
        self.flow.finish()


@pytest.fixture
def handed(telemetry: Telemetry) -> Iterator[Handed]:
    handed = Handed()
    yield handed
    if hasattr(handed, "flow"):
        handed.end()


def stream_of(telemetry: Telemetry) -> tuple[Any, ...]:
    attributes = telemetry.only_span("stream Model").attributes
    return attributes["langflow.status"], attributes[OUTCOME], attributes[CHUNKS]


class Seen:
    """A watcher that only remembers."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def pull(self) -> str:
        self.calls.append("pull")
        return "tokens"

    def leave_step(self, tokens: Any) -> None:
        assert tokens == "tokens"
        self.calls.append("leave")

    def chunk(self) -> None:
        self.calls.append("chunk")

    def close(self, how: str, outcome: Outcome = OK) -> None:
        self.calls.append(f"{how} {outcome.status}")

    def give_up(self) -> None:
        self.calls.append("give up")


# What the reader sees


def test_a_watched_generator_looks_like_a_generator():
    plain = letters()
    watched = watch(plain, Seen())

    assert is_watched(watched)
    assert not is_watched(plain)
    assert inspect.isgenerator(watched)
    assert isinstance(watched, (types.GeneratorType, collections.abc.Generator))
    assert isinstance(watched, collections.abc.Iterator)
    assert not isinstance(watched, collections.abc.AsyncIterator)
    assert iter(watched) is watched
    assert (watched.gi_code, watched.__name__) == (plain.gi_code, "letters")


def test_a_watched_async_generator_looks_like_an_async_generator():
    plain = aletters()
    watched = watch(plain, Seen())

    assert inspect.isasyncgen(watched)
    assert isinstance(watched, (types.AsyncGeneratorType, collections.abc.AsyncGenerator))
    assert isinstance(watched, collections.abc.AsyncIterator)
    assert not isinstance(watched, collections.abc.Iterator)
    assert aiter(watched) is watched
    assert watched.ag_code is plain.ag_code


def test_a_watched_iterator_has_no_more_methods_than_before():
    watched, awatched = watch(Letters(), Seen()), watch(AsyncLetters(), Seen())

    assert isinstance(watched, Letters)
    assert isinstance(awatched, AsyncLetters)
    assert not any(hasattr(watched, name) for name in ("send", "throw", "close"))
    assert not any(hasattr(awatched, name) for name in ("asend", "athrow", "aclose"))
    assert not inspect.isgenerator(watched)


@pytest.mark.parametrize("other", ["text", ["a"], {"a": 1}, None, 3, object()])
def test_what_is_no_iterator_is_not_watched(other: Any):
    assert watch(other, Seen()) is other


def test_watching_twice_is_watching_once():
    watched = watch(letters(), Seen())

    assert watch(watched, Seen()) is watched


async def test_each_step_is_told():
    seen, aseen = Seen(), Seen()
    watched, awatched = watch(letters("a"), seen), watch(aletters("a"), aseen)

    assert list(watched) == ["a"]
    assert [chunk async for chunk in awatched] == ["a"]
    assert seen.calls == ["pull", "leave", "chunk", "pull", "exhausted ok", "leave"]
    assert aseen.calls == seen.calls


async def test_iterators_that_are_no_generators():
    seen, aseen = Seen(), Seen()

    assert list(watch(Letters("a", "b"), seen)) == ["a", "b"]
    assert [chunk async for chunk in watch(AsyncLetters("a", "b"), aseen)] == ["a", "b"]
    assert seen.calls[:-1] == aseen.calls[:-1]
    assert seen.calls.count("chunk") == 2


# How a stream can end


def test_read_to_its_end(telemetry, handed):
    assert list(handed.over(letters("a", "b"))) == ["a", "b"]
    handed.end()

    assert telemetry.tree(OUTCOME, CHUNKS) == [
        "invoke_workflow demo",
        "  component Model",
        f"    stream Model {OUTCOME}=exhausted {CHUNKS}=2",
        "      make a",
        "      make b",
        "      clean up",
    ]
    stream = telemetry.only_span("stream Model")
    assert 0 < stream.attributes[FIRST] <= stream.duration_s
    assert sorted(stream.attributes) == ["langflow.flow.name", "langflow.status", CHUNKS, OUTCOME, FIRST]


async def test_an_async_one_read_to_its_end(telemetry, handed):
    assert [chunk async for chunk in handed.over(aletters("a", "b"))] == ["a", "b"]

    assert telemetry.names() == ["component Model", "make a", "make b", "clean up", "stream Model"]
    assert stream_of(telemetry) == ("ok", "exhausted", 2)


def test_an_empty_one_has_no_time_to_its_first_chunk(telemetry, handed):
    assert list(handed.over(letters())) == []

    assert stream_of(telemetry) == ("ok", "exhausted", 0)
    assert FIRST not in telemetry.only_span("stream Model").attributes


def test_the_span_starts_with_the_first_pull(telemetry, handed):
    stream = handed.over(letters("a"))
    with span("meanwhile"):
        pass
    list(stream)

    assert telemetry.only_span("stream Model").start_ns >= telemetry.only_span("meanwhile").end_ns
    assert telemetry.only_span("stream Model").parent_id == telemetry.only_span("component Model").span_id


async def test_failed_in_the_middle(telemetry, handed):
    error = BadChunkError("canary")
    stream = handed.over(aletters("a", error))
    with pytest.raises(BadChunkError) as caught:
        [chunk async for chunk in stream]

    assert caught.value is error
    assert stream_of(telemetry) == ("error", "failed", 1)
    failed = telemetry.only_span("stream Model")
    assert failed.attributes["error.type"] == "BadChunkError"
    assert [event.name for event in failed.events] == ["exception"]


def test_a_sync_one_failed_in_the_middle(telemetry, handed):
    error = BadChunkError("canary")
    with pytest.raises(BadChunkError) as caught:
        list(handed.over(letters("a", error)))

    assert caught.value is error
    assert stream_of(telemetry) == ("error", "failed", 1)


@pytest.mark.parametrize("pulls", [0, 1])
async def test_closed(telemetry, handed, pulls: int):
    stream = handed.over(aletters("a", "b"))
    for _ in range(pulls):
        await stream.__anext__()
    await stream.aclose()
    await stream.aclose()

    assert stream_of(telemetry) == ("cancelled", "closed", pulls)
    assert telemetry.names().count("clean up") == pulls


def test_a_sync_one_closed(telemetry, handed):
    stream = handed.over(letters("a", "b"))
    next(stream)
    stream.close()

    assert stream_of(telemetry) == ("cancelled", "closed", 1)
    assert list(stream) == []


async def test_left_early_and_dropped(telemetry, handed):
    async for _ in handed.over(aletters("a", "b")):
        break
    gc.collect()

    assert stream_of(telemetry) == ("cancelled", "abandoned", 1)


def test_a_sync_one_left_early_and_dropped(telemetry, handed):
    for _ in handed.over(letters("a", "b")):
        break
    gc.collect()

    assert stream_of(telemetry) == ("cancelled", "abandoned", 1)


def test_never_read_and_dropped(telemetry, handed):
    handed.over(letters("a"))
    gc.collect()

    assert stream_of(telemetry) == ("cancelled", "unread", 0)
    assert not telemetry.only_span("stream Model").is_error


def test_still_unread_when_the_flow_ends(telemetry, handed):
    stream = handed.over(letters("a"))
    handed.end()

    assert stream_of(telemetry) == ("cancelled", "unread", 0)
    assert telemetry.names()[-1] == "invoke_workflow demo"
    assert list(stream) == ["a"]


def test_half_read_when_the_flow_ends_the_reader_can_go_on(telemetry, handed):
    stream = handed.over(letters("a", "b"))
    next(stream)
    handed.end()

    assert list(stream) == ["b"]
    assert stream_of(telemetry) == ("cancelled", "abandoned", 1)


async def test_a_cancelled_reader(telemetry, handed):
    started = asyncio.Event()

    async def waits() -> AsyncIterator[str]:
        started.set()
        await asyncio.Event().wait()
        yield "never"

    task = asyncio.create_task(anext(handed.over(waits())))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert stream_of(telemetry) == ("cancelled", "closed", 0)


async def test_a_generator_that_ignores_its_end_says_so(telemetry, handed):
    async def stubborn() -> AsyncIterator[int]:
        while True:
            try:
                yield 1
            except GeneratorExit:
                yield 2

    stream = handed.over(stubborn())
    await stream.__anext__()
    with pytest.raises(RuntimeError, match="ignored GeneratorExit"):
        await stream.aclose()

    assert stream_of(telemetry) == ("cancelled", "closed", 1)


# send and throw


async def test_asend_and_athrow(telemetry, handed):
    async def echo() -> AsyncIterator[Any]:
        received: Any = "start"
        while received != "stop":
            try:
                received = yield received
            except BadChunkError as exc:
                received = exc

    error = BadChunkError("canary")
    stream = handed.over(echo())

    assert await stream.asend(None) == "start"
    assert await stream.asend("a") == "a"
    assert await stream.athrow(error) is error
    with pytest.raises(StopAsyncIteration):
        await stream.asend("stop")
    assert stream_of(telemetry) == ("ok", "exhausted", 3)


def test_send_throw_and_the_return_value(telemetry, handed):
    def echo() -> Iterator[Any]:
        received: Any = "start"
        while received != "stop":
            try:
                received = yield received
            except BadChunkError as exc:
                received = exc
        return "returned"

    error = BadChunkError("canary")
    stream = handed.over(echo())

    assert stream.send(None) == "start"
    assert stream.send("a") == "a"
    assert stream.throw(error) is error
    with pytest.raises(StopIteration) as stop:
        stream.send("stop")
    assert stop.value.value == "returned"
    assert stream_of(telemetry) == ("ok", "exhausted", 3)


async def test_an_error_thrown_in_that_is_not_handled(telemetry, handed):
    stream = handed.over(aletters("a", "b"))
    await stream.__anext__()
    with pytest.raises(BadChunkError):
        await stream.athrow(BadChunkError("canary"))

    assert stream_of(telemetry) == ("error", "failed", 1)


# Contexts


async def test_between_the_steps_the_readers_context_holds(telemetry, handed):
    stream = handed.over(aletters("a", "b"))
    before = otel_context.get_current(), current_run()
    assert before[1] is handed.flow
    async for _ in stream:
        assert (otel_context.get_current(), current_run()) == before
        with span("reader"):
            pass

    flow = telemetry.only_span("stream Model").trace_id
    assert {each.trace_id for each in telemetry.spans} == {flow}
    parents = {each.name: each.parent_id for each in telemetry.spans}
    assert parents["make a"] == parents["make b"] == telemetry.only_span("stream Model").span_id
    handed.end()
    assert parents["reader"] == telemetry.only_span("invoke_workflow demo").span_id


async def test_each_step_may_be_made_by_another_task(telemetry, handed):
    stream = handed.over(aletters("a", "b"))
    read = [await asyncio.create_task(anext(stream, "end")) for _ in range(3)]

    assert read == ["a", "b", "end"]
    assert stream_of(telemetry) == ("ok", "exhausted", 2)


async def test_a_second_reader_who_is_refused_does_not_end_the_stream(telemetry, handed):
    go_on = asyncio.Event()

    async def slow() -> AsyncIterator[str]:
        await go_on.wait()
        yield "a"

    stream = handed.over(slow())
    first = asyncio.create_task(anext(stream))
    await asyncio.sleep(0)
    with pytest.raises(RuntimeError, match="already running"):
        await anext(stream)
    go_on.set()

    assert await first == "a"
    assert [chunk async for chunk in stream] == []
    assert stream_of(telemetry) == ("ok", "exhausted", 1)


def test_a_second_thread_that_is_refused_does_not_end_the_stream(telemetry, handed):
    inside, go_on = threading.Event(), threading.Event()

    def slow() -> Iterator[str]:
        inside.set()
        go_on.wait(10)
        yield "a"

    stream = handed.over(slow())
    read: list[str] = []
    thread = threading.Thread(target=lambda: read.extend(stream))
    thread.start()
    inside.wait(10)
    with pytest.raises(ValueError, match="already executing"):
        next(stream)
    go_on.set()
    thread.join()

    assert read == ["a"]
    assert stream_of(telemetry) == ("ok", "exhausted", 1)


async def test_streams_of_two_flows_at_once_do_not_mix(telemetry):
    async def flow(name: str) -> list[str]:
        handed = Handed()
        chunks = [chunk async for chunk in handed.over(aletters(f"{name}1", f"{name}2"))]
        handed.end()
        return chunks

    assert await asyncio.gather(flow("a"), flow("b")) == [["a1", "a2"], ["b1", "b2"]]

    assert sorted([span.name for span in root.walk()] for root in telemetry.roots()) == [
        ["invoke_workflow demo", "component Model", "stream Model", f"make {name}1", f"make {name}2", "clean up"]
        for name in "ab"
    ]


# No stream to watch


def test_a_component_without_a_span_opens_no_stream(telemetry):
    without = ComponentRun(None, otel_context.get_current(), None, recorder().settings, component("Model"))

    assert recorder().open_stream(without) is None


def test_a_component_that_has_ended_opens_no_stream(telemetry, handed):
    handed.start()
    handed.component.finish()

    assert recorder().open_stream(handed.component) is None


def test_a_stream_of_a_component_without_a_flow(telemetry):
    run = recorder().start_component(component("Model"), None)
    stream = recorder().open_stream(run)
    run.finish()

    assert isinstance(stream, StreamRun)
    assert list(watch(letters(), stream)) == []
    assert telemetry.tree() == ["component Model", "  stream Model", "    clean up"]


async def test_a_stream_that_its_component_drains_is_counted_on_the_component(telemetry):
    run = recorder().start_component(component("Model"), None)
    run.chunks = ChunkCount(run)
    assert [chunk async for chunk in watch(aletters("a", "b"), DrainedHere(run.chunks))] == ["a", "b"]
    run.finish()

    drained = telemetry.only_span("component Model")
    assert drained.attributes[CHUNKS] == 2
    assert 0 < drained.attributes[FIRST] <= drained.duration_s
    assert telemetry.tree() == ["component Model", "  make a", "  make b", "  clean up"]


def test_chunks_are_counted_from_the_first_pull(telemetry):
    run = recorder().start_component(component("Model"), None)
    count = ChunkCount(run)
    assert (count.started, count.attributes()) == (False, {CHUNKS: 0})
    count.pull()
    assert (count.started, count.attributes()) == (True, {CHUNKS: 0})
    count.chunk()
    first = count.attributes()[FIRST]
    count.pull()
    count.chunk()
    assert count.attributes() == {CHUNKS: 2, FIRST: first}
    run.finish()


# Faults of our own


class Broken(Seen):
    def pull(self) -> str:
        raise BadChunkError("canary")

    def leave_step(self, tokens: Any) -> None:
        raise BadChunkError("canary")

    def chunk(self) -> None:
        raise BadChunkError("canary")

    def close(self, how: str, outcome: Outcome = OK) -> None:
        raise BadChunkError("canary")


class BrokenToTheEnd(Broken):
    def give_up(self) -> None:
        raise BadChunkError("canary")


@pytest.mark.usefixtures("lenient")
async def test_a_broken_watcher_never_reaches_the_reader():
    assert list(watch(letters("a", "b"), Broken())) == ["a", "b"]
    assert [chunk async for chunk in watch(aletters("a", "b"), Broken())] == ["a", "b"]
    error = KeyError("the reader's own")
    with pytest.raises(KeyError) as caught:
        list(watch(letters(error), Broken()))
    assert caught.value is error
    watch(letters("a"), Broken()).close()
    await watch(aletters("a"), Broken()).aclose()
    assert next(watch(letters("a"), BrokenToTheEnd())) == "a"
    gc.collect()

    steps = ("pull", "leave", "chunk", "close")
    assert sorted(guard.faults) == sorted(f"stream.{step}" for step in steps)

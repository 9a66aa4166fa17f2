"""Components that fail, stop, wait, recurse and stream in all ways, and values that fail at whatever they are asked,
or have no end: the flow is what it is without this library, nothing is left behind, and no fault of ours is counted.

``LONG_TESTS=1`` takes a text of 1 GB where the short form takes one of 32 MB.
"""

from __future__ import annotations

import asyncio
import copy
import gc
import os
import threading
import time
import tracemalloc
import weakref
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from flows import INPUT, chat_input, chat_output, line
from lfx.graph import Graph
from nodes import basic, hostile, streams
from observations import by_arun, by_async_start, failure
from test_streams import pair

from langflow_otel import _guard as guard
from langflow_otel import span
from langflow_otel._content.error_texts import frames_of, message_of
from langflow_otel._sdk.trace_file import otlp_json
from langflow_otel._settings.settings import Settings
from langflow_otel.testing import capture_telemetry

LONG = "LONG_TESTS" in os.environ
HUGE = 2**30 if LONG else 2**25

OFF = Settings()
ON = Settings(
    content_on_spans=True, content_in_events=True, error_messages="redacted", log_bodies=True, detail="output"
)
HELD = Settings(content_on_spans=True, error_messages="full", sampling=(("*", 0.0),), keep_errors=True, keep_slow_s=0.0)


Make = Callable[[], Graph]
Drive = Callable[[Graph], Awaitable[Any]]


def run(make: Make, drive: Drive, settings: Settings | None) -> tuple[Any, Any]:
    """What there is to see of a run, and what is left of it: the graph in memory, threads, open files."""
    threads, files = set(threading.enumerate()), open_files()
    if settings is None:
        seen, is_gone = lived(make, drive)
    else:
        with capture_telemetry(settings=settings):
            seen, is_gone = lived(make, drive)
        assert not guard.faults
    deadline = time.monotonic() + 10
    # A thread that ends may have a file open yet.
    while (open_files() > files or not set(threading.enumerate()) <= threads) and time.monotonic() < deadline:
        time.sleep(0.01)
    return seen, (is_gone, set(threading.enumerate()) <= threads, open_files() <= files)


def lived(make: Make, drive: Drive) -> tuple[Any, bool]:
    graphs: list[weakref.ref[Graph]] = []

    async def main() -> Any:
        graph = make()
        graphs.append(weakref.ref(graph))
        try:
            return await drive(graph)
        except Exception as exc:
            return failure(exc)

    try:
        seen = asyncio.run(main())
    except BaseException as exc:
        # An interrupt ends the event loop.
        seen = failure(exc)
    forget()
    gc.collect()
    return seen, all(graph() is None for graph in graphs)


def forget() -> None:
    for seen in (basic.seen, streams.seen, hostile.seen):
        seen.clear()


def open_files() -> int:
    folder = next((each for each in (Path("/proc/self/fd"), Path("/dev/fd")) if each.exists()), None)
    return 0 if folder is None else len(list(folder.iterdir()))


def raises(cls: type, error: Callable[[], BaseException]) -> Make:
    def make() -> Graph:
        hostile.seen["error"] = error
        return line(cls) if cls is not hostile.StreamsAndBreaks else pair(cls, streams.Reads)

    return make


def hostile_argument() -> BaseException:
    """As LangFlow's wrapper looks, with a cause, so that somebody looks into it."""
    error = ValueError(hostile.LiesAboutItsClass())
    error.__cause__ = hostile.HostileArgumentError(hostile.Hostile())
    return error


ERRORS: dict[str, Callable[[], BaseException]] = {
    "an error": lambda: ValueError("canary"),
    "silent": hostile.SilentError,
    "hostile argument": hostile_argument,
    "lone surrogates": lambda: ValueError("\ud800"),
    "no more items": lambda: StopAsyncIteration("canary"),
    "cancelled by itself": lambda: asyncio.CancelledError("canary"),
    "no error": hostile.Stop,
    "interrupt": KeyboardInterrupt,
    "exit": lambda: SystemExit(3),
}
KINDS = {"async": hostile.Raises, "thread": hostile.RaisesInThread, "stream": hostile.StreamsAndBreaks}
# LangFlow takes a second for the error of a component.
QUICK = ("cancelled by itself", "no error", "interrupt", "exit")


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        pytest.param(kind, error, marks=[] if error in QUICK else [pytest.mark.slow])
        for kind in KINDS
        for error in ERRORS
        if LONG or kind == "async" or error in QUICK
    ],
)
def test_whatever_a_component_raises(kind: str, error: str):
    make = raises(KINDS[kind], ERRORS[error])
    expected = run(make, by_arun, None)

    for settings in (OFF, ON, HELD):
        assert run(make, by_arun, settings) == expected


async def cancelled(graph: Graph) -> Any:
    basic.seen["waiting"] = asyncio.Event()
    task = asyncio.create_task(graph.arun(INPUT, session_id="s1"))
    await basic.seen["waiting"].wait()
    task.cancel()
    return failure(*await asyncio.gather(task, return_exceptions=True))


async def timed_out(graph: Graph) -> Any:
    basic.seen["waiting"] = asyncio.Event()
    await asyncio.wait_for(graph.arun(INPUT, session_id="s1"), 0.05)


async def cancelled_while_stepping(graph: Graph) -> Any:
    basic.seen["waiting"] = asyncio.Event()
    task = asyncio.create_task(by_async_start(graph))
    await basic.seen["waiting"].wait()
    task.cancel()
    return failure(*await asyncio.gather(task, return_exceptions=True))


async def by_copies(graph: Graph) -> Any:
    """A copy of it, a copy of the copy after its run, and the graph itself."""
    other = copy.deepcopy(graph)
    found = [await by_arun(other), await by_arun(copy.deepcopy(other)), await by_arun(graph)]
    if hasattr(graph, "copy_for_run"):
        found.append(await by_arun(graph.copy_for_run()))
    return found


async def stream_copied(graph: Graph) -> Any:
    """What LangFlow gets when it copies or pickles a message whose stream nobody has read."""
    await graph.arun(INPUT, session_id="s1")
    found = []
    stream = streams.seen["stream"]
    for how in (copy.copy, copy.deepcopy, lambda each: each.__reduce_ex__(4)):
        try:
            found.append(type(how(stream)).__name__)
        except Exception as exc:
            found.append(f"{type(exc).__name__}: {exc}")
    return found


def recursing() -> Graph:
    graph = line(basic.Recurses)
    basic.seen.update(recurse=True, graph=graph)
    return graph


def running_another() -> Graph:
    basic.seen["inner"] = lambda: line(basic.Echo, name="inner")
    return line(basic.RunsFlow)


async def left_half_way(graph: Graph) -> Any:
    items = graph.async_start(INPUT)
    await items.__anext__()
    await items.aclose()


async def dropped_half_way(graph: Graph) -> Any:
    items = graph.async_start(INPUT)
    await items.__anext__()
    del items


class KeepsStream(streams.Ignores):
    display_name = "Keeps Stream"
    name = "KeepsStream"

    async def run_out(self) -> Any:
        streams.seen["stream"] = streams.stream_of(self.value)
        return await super().run_out()


WAYS: dict[str, tuple[Make, Drive]] = {
    "cancelled": (lambda: line(basic.Waits), cancelled),
    "cancelled while stepping": (lambda: line(basic.Waits), cancelled_while_stepping),
    "timed out": (lambda: line(basic.Waits), timed_out),
    "recursion": (recursing, by_arun),
    "flow in flow": (running_another, by_arun),
    "copies": (lambda: line(basic.TracedOutput), by_copies),
    "copied stream": (lambda: pair(streams.Streams, KeepsStream), stream_copied),
    "copied sync stream": (lambda: pair(streams.StreamsSync, KeepsStream), stream_copied),
    "unread stream": (lambda: pair(streams.Streams, streams.Ignores), by_arun),
    "stream left half way": (lambda: pair(streams.Streams, streams.ReadsOne), by_arun),
    "stream closed half way": (lambda: pair(streams.Streams, streams.ReadsOneAndCloses), by_arun),
    "steps left half way": (lambda: line(basic.Echo), left_half_way),
    "steps dropped half way": (lambda: line(basic.Echo), dropped_half_way),
}


@pytest.mark.parametrize("way", WAYS)
def test_however_a_flow_goes(way: str):
    expected = run(*WAYS[way], None)

    for settings in (OFF, ON, HELD):
        assert run(*WAYS[way], settings) == expected


def with_input(value: Callable[[], Any]) -> Make:
    def make() -> Graph:
        graph = line(hostile.Takes)
        # Not by set(), which looks at what it gets.
        graph.get_vertex("Takes-0").custom_component._attributes["thing"] = value()
        return graph

    return make


def with_output(value: Callable[[], Any]) -> Make:
    def make() -> Graph:
        hostile.seen["value"] = value
        start = chat_input()
        gives = hostile.Gives(_id="Gives-g").set(value=start.message_response)
        takes = hostile.TakesData(_id="TakesData-t").set(value=gives.give)
        return Graph(start, chat_output(takes.run_out), flow_name="demo")

    return make


def within(cls: type) -> Callable[[Callable[[], Any]], Make]:
    def make_with(value: Callable[[], Any]) -> Make:
        def make() -> Graph:
            hostile.seen["value"] = value
            return line(cls)

        return make

    return make_with


PLACES: dict[str, Callable[[Callable[[], Any]], Make]] = {
    "input": with_input,
    "output": with_output,
    "tool": within(hostile.AsksTool),
}


# LangFlow itself takes seconds for these.
LONG_ONLY = {("output", "a million"), ("tool", "a million"), ("output", "deep"), ("output", "circle")}


@pytest.mark.slow
@pytest.mark.any_version
@pytest.mark.parametrize("settings", [OFF, ON] if LONG else [ON], ids=["off", "content"] if LONG else ["content"])
@pytest.mark.parametrize(
    ("place", "value"),
    [(place, value) for place in PLACES for value in hostile.VALUES if LONG or (place, value) not in LONG_ONLY],
)
def test_whatever_components_hand_around(place: str, value: str, settings: Settings):
    make = PLACES[place](hostile.VALUES[value])

    assert run(make, by_arun, settings) == run(make, by_arun, None)


@pytest.mark.slow
@pytest.mark.any_version
@pytest.mark.parametrize("value", [each for each in hostile.VALUES if LONG or each != "a million"])
def test_whatever_an_author_tells_us(value: str):
    def seen() -> Any:
        return lived(within(hostile.Tells)(hostile.VALUES[value]), by_arun)

    expected = seen()
    with capture_telemetry(settings=ON, strict=False, check_leaks=False) as telemetry:
        assert seen() == expected
    assert "component Tells" in telemetry.names()


def peak_of(make: Make, settings: Settings | None) -> tuple[Any, int]:
    tracemalloc.start()
    try:
        return run(make, by_arun, settings), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.slow
@pytest.mark.any_version
@pytest.mark.parametrize(
    "settings", [OFF, ON, HELD] if LONG else [ON], ids=["off", "content", "held"] if LONG else ["content"]
)
@pytest.mark.parametrize("place", PLACES)
def test_a_huge_text_is_not_copied(place: str, settings: Settings):
    text = "word " * (HUGE // 5)
    run(PLACES[place](lambda: "warm"), by_arun, settings)
    expected, without = peak_of(PLACES[place](lambda: text), None)
    seen, with_us = peak_of(PLACES[place](lambda: text), settings)

    assert seen == expected
    assert with_us - without < HUGE / 8


@pytest.mark.parametrize("policy", ["none", "redacted", "full"])
def test_a_huge_message_is_neither_copied_nor_sent(policy: Any):
    error = ValueError("word " * (HUGE // 5))
    error.__cause__ = KeyError("short")
    settings = Settings(error_messages=policy)
    message_of(error, settings)
    tracemalloc.start()
    try:
        message, stack = message_of(error, settings), frames_of(error, settings)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert peak < HUGE / 8
    assert len(stack) < 3 * settings.content_length
    assert message is None or (len(message) == settings.content_length and message.endswith(" characters]"))
    assert (message is None) == (policy == "none")


def test_names_that_are_no_text_cost_no_batch(caplog: pytest.LogCaptureFixture):
    odd = "lone \ud800"

    def make() -> Graph:
        hostile.seen["value"] = lambda: odd
        hostile.seen["error"] = lambda: ValueError(odd)
        graph = line(hostile.Tells, hostile.AsksTool, hostile.Raises, name=odd)
        graph.get_vertex("Tells-0").display_name = odd
        return graph

    async def drive(graph: Graph) -> Any:
        with span(odd):
            await graph.arun(INPUT, session_id=odd)

    for settings in (OFF, ON, HELD):
        with capture_telemetry(settings=settings, strict=False) as telemetry:
            lived(make, drive)
        sent = otlp_json(telemetry.sdk_spans)
        assert '"name":"invoke_workflow lone ?"' in sent
        assert '"name":"component lone ?"' in sent
        assert '"name":"lone ?"' in sent
        # What an author gives as a value is lost alone.
        lost = {record.args[0] for record in caplog.records if record.msg.startswith("Failed to encode")}
        assert lost <= {"mine", "value", "more"}


def test_long_names_and_ids_are_cut_and_the_tree_is_whole():
    """A flow from elsewhere may say anything, and so may a client of the API."""
    huge = "AsksTool-" + "x" * 20_000

    def make() -> Graph:
        hostile.seen["value"] = lambda: "short"
        start = chat_input()
        node = hostile.AsksTool(_id=huge).set(value=start.message_response)
        graph = Graph(start, chat_output(getattr(node, node.outputs[0].method)), flow_name=huge)
        graph.get_vertex(huge).display_name = huge
        return graph

    async def drive(graph: Graph) -> Any:
        return await graph.arun(INPUT, session_id=huge)

    for settings in (OFF, ON, HELD):
        with capture_telemetry(settings=settings) as telemetry:
            lived(make, drive)
        names = [name.strip().partition(" ")[0] for name in telemetry.tree()]
        expected = ["invoke_workflow", "component", "component", "execute_tool", "component"]
        assert [name for name in names if name in expected] == expected
        assert len(otlp_json(telemetry.sdk_spans)) < 100_000
        [(identity, asked)] = [
            (each.attributes["langflow.component.id"], each.attributes)
            for each in telemetry.sdk_spans
            if each.attributes and each.attributes.get("langflow.component.type") == "AsksTool"
        ]
        assert identity == huge[: 1024 - 27] + "... [cut, 20009 characters]"
        # It is known as its own component's, and so is what it says.
        assert ("langflow.component.output.out" in asked) == settings.content_on_spans


def table_with_status() -> Any:
    from lfx.schema.dataframe import DataFrame

    return DataFrame({"status": ["error", "ok"], "text": ["a", "b"]})


@pytest.mark.parametrize("value", [table_with_status, hostile.Endless])
def test_a_tools_span_ends_whatever_it_returns(value: Callable[[], Any]):
    hostile.seen["value"] = value
    with capture_telemetry() as telemetry:
        asyncio.run(by_arun(line(hostile.AsksTool, basic.Echo)))

    assert telemetry.tree() == [
        "invoke_workflow demo",
        "  component Chat Input",
        "  component Asks Tool",
        "    execute_tool give",
        "  component Echo",
        "  component Chat Output",
    ]


def test_a_run_ends_whatever_its_error_is():
    with capture_telemetry(settings=ON) as telemetry:
        lived(raises(hostile.Raises, ERRORS["hostile argument"]), by_arun)

    assert telemetry.tree()[0] == "invoke_workflow demo [error]"

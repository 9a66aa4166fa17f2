"""Beside other tracers in the process, as LangFlow's own for Langfuse, LangWatch and so on: our tree holds together.

They have providers of their own, and make their spans current inside of a component: sampled or not, below our span or
in a trace of their own, or one that only stands for a span (which LangFlow does for Langfuse).
"""

from __future__ import annotations

import asyncio
import importlib.util
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from flows import chat_input, chat_output, line, run
from lfx.graph import Graph
from nodes import beside, http
from nodes import streams as stream_nodes
from opentelemetry import context as otel_context
from opentelemetry import propagate, trace
from opentelemetry.context import Context
from opentelemetry.instrumentation.requests import RequestsInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from langflow_otel._settings.settings import Settings
from langflow_otel.testing import Telemetry, capture_telemetry

HAS_AIOHTTP = importlib.util.find_spec("opentelemetry.instrumentation.aiohttp_client") is not None
SAMPLED = Settings()
HELD = Settings(sampling=(("*", 0.0),), keep_slow_s=0.0)
"""No run is sampled, and each is kept."""

theirs = InMemorySpanExporter()
_provider = TracerProvider(shutdown_on_exit=False)
_provider.add_span_processor(SimpleSpanProcessor(theirs))
_recording = _provider.get_tracer("langfuse-sdk")
_not_sampled = TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False).get_tracer("langfuse-sdk")


@contextmanager
def _with_current(span: trace.Span) -> Iterator[trace.Span]:
    with trace.use_span(span, end_on_exit=True):
        yield span


def below_ours() -> AbstractContextManager[trace.Span]:
    return _with_current(_recording.start_span("theirs"))


def in_their_own_trace() -> AbstractContextManager[trace.Span]:
    return _with_current(_recording.start_span("theirs", Context()))


def not_sampled() -> AbstractContextManager[trace.Span]:
    return _with_current(_not_sampled.start_span("theirs", Context()))


def not_sampled_below_ours() -> AbstractContextManager[trace.Span]:
    return _with_current(_not_sampled.start_span("theirs"))


def standing_for_one() -> AbstractContextManager[trace.Span]:
    context = SpanContext(0xA, 0xB, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))
    return _with_current(NonRecordingSpan(context))


KINDS = [below_ours, in_their_own_trace, not_sampled, not_sampled_below_ours, standing_for_one]


@pytest.fixture(params=KINDS, ids=lambda kind: kind.__name__)
def foreign(request: pytest.FixtureRequest) -> Iterator[None]:
    yield from _foreign(request.param)


@pytest.fixture(params=[in_their_own_trace, not_sampled], ids=lambda kind: kind.__name__)
def other(request: pytest.FixtureRequest) -> Iterator[None]:
    yield from _foreign(request.param)


@pytest.fixture
def one_foreign() -> Iterator[None]:
    yield from _foreign(in_their_own_trace)


def _foreign(kind: Callable[[], AbstractContextManager[trace.Span]]) -> Iterator[None]:
    beside.seen["foreign"] = kind
    theirs.clear()
    yield
    del beside.seen["foreign"]


@pytest.fixture
def called() -> Iterator[list[dict[str, str]]]:
    """The headers of each request to another service."""
    headers: list[dict[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            headers.append({name.lower(): value for name, value in self.headers.items()})
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args: object) -> None: ...

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    beside.seen["url"] = http.seen["url"] = f"http://127.0.0.1:{httpd.server_port}/path"
    yield headers
    httpd.shutdown()
    thread.join()
    httpd.server_close()


@contextmanager
def captured(settings: Settings) -> Iterator[Telemetry]:
    with capture_telemetry(settings=settings) as telemetry:
        yield telemetry


both = pytest.mark.parametrize("settings", [SAMPLED, HELD], ids=["sampled", "held"])


def lines(telemetry: Telemetry, *attributes: str) -> list[str]:
    return telemetry.tree(*attributes)


def parents_on_the_wire(called: list[dict[str, str]]) -> list[str]:
    return [headers["traceparent"].split("-")[2] for headers in called]


async def trees_with_and_without(settings: Settings, graph: Callable[[], Graph]) -> tuple[list[str], list[str]]:
    """The tree beside the other tracer, and the one that there is without it."""
    with captured(settings) as telemetry:
        await run(graph())
    beside_it = lines(telemetry)
    kind = beside.seen.pop("foreign")
    try:
        with captured(settings) as telemetry:
            await run(graph())
    finally:
        beside.seen["foreign"] = kind
    return beside_it, lines(telemetry)


@both
async def test_tools_http_calls_and_spans_stay_in_our_tree(foreign, called, settings):
    with captured(settings) as telemetry:
        await run(line(beside.Works))

    assert lines(telemetry) == [
        "invoke_workflow demo",
        "  component Chat Input",
        "  component Works",
        "    execute_tool look_up",
        "      mine",
        "    execute_tool weigh",
        "      in thread",
        "        GET",
        "        GET",
        "    GET",
        "  component Chat Output",
    ]
    calls = [span.span_id for span in telemetry.spans if span.name == "GET"]
    assert sorted(parents_on_the_wire(called)) == sorted(calls)


@both
async def test_what_a_thread_does_stays_in_our_tree(other, called, settings):
    with captured(settings) as telemetry:
        await run(line(beside.WorksInThread))

    assert lines(telemetry)[2:-1] == [
        "  component Works In Thread",
        "    execute_tool weigh",
        "      in thread",
        "        GET",
        "        GET",
    ]


@both
@pytest.mark.parametrize(
    "components",
    [(beside.RunsInner,), (beside.ReadsSteps,), (beside.StreamsOn, stream_nodes.Reads)],
    ids=["sub-flow", "generator", "stream"],
)
async def test_sub_flows_generators_and_streams_stay_in_our_tree(other, settings, components):
    found, expected = await trees_with_and_without(settings, lambda: line(*components))

    assert found == expected
    assert found[0] == "invoke_workflow demo"
    assert len([text for text in found if not text.startswith(" ")]) == 1
    assert len(found) > 4


@both
async def test_runs_at_once_stay_in_their_own_trees(other, called, settings):
    count = 8
    waiting = 0
    all_there = asyncio.Event()

    class Barrier:
        async def wait(self) -> None:
            nonlocal waiting
            waiting += 1
            if waiting == count:
                all_there.set()
            await all_there.wait()

    beside.seen["barrier"] = Barrier()
    with captured(settings) as telemetry:
        await asyncio.gather(*(line(beside.Meets).arun([{"input_value": "x"}], session_id="s") for _ in range(count)))

    one = [
        "invoke_workflow demo",
        "  component Chat Input",
        "  component Meets",
        "    execute_tool look_up",
        "      mine",
        "    in thread",
        "      GET",
        "      GET",
        "  component Chat Output",
    ]
    assert lines(telemetry) == one * count


@both
async def test_attributes_are_set_on_our_span(other, called, settings):
    with captured(settings) as telemetry:
        await run(line(beside.Works))

    assert telemetry.only_span("component Works").attributes["size"] == 3
    assert telemetry.only_span("mine").attributes["rows"] == 2
    assert all(not span.attributes for span in theirs.get_finished_spans())


async def test_their_spans_are_as_many_and_where_they_were(called):
    beside.seen["foreign"] = in_their_own_trace
    try:
        theirs.clear()
        await run(line(beside.Works))
        without_us = [(span.name, span.parent) for span in theirs.get_finished_spans()]
        theirs.clear()
        with captured(SAMPLED):
            await run(line(beside.Works))
    finally:
        del beside.seen["foreign"]

    assert [(span.name, span.parent) for span in theirs.get_finished_spans()] == without_us
    assert len(without_us) == 3


# What goes out


@both
async def test_a_client_that_others_instrumented_names_our_span(one_foreign, called, settings):
    """Their span of the call is theirs; the called service is below what our backend gets."""
    beside.seen["foreign"] = below_ours
    instrumentor = RequestsInstrumentor()
    if instrumentor.is_instrumented_by_opentelemetry:
        instrumentor.uninstrument()
    instrumentor.instrument(tracer_provider=_provider)
    try:
        with captured(settings) as telemetry:
            await run(line(http.CallsByRequests))
    finally:
        instrumentor.uninstrument()

    (call,) = theirs.get_finished_spans() or [None]
    if settings is SAMPLED:
        assert call is not None
    assert parents_on_the_wire(called) == [telemetry.only_span("component Calls By Requests").span_id]


@pytest.mark.skipif(not HAS_AIOHTTP, reason="pip install 'langflow-otel[aiohttp]'")
@both
async def test_aiohttp_names_the_span_of_the_call(other, called, settings):
    with captured(settings) as telemetry:
        await run(line(beside.CallsByAiohttp))

    assert telemetry.only_span("GET").parent_id == telemetry.only_span("component Calls By Aiohttp").span_id
    assert parents_on_the_wire(called) == [telemetry.only_span("GET").span_id]


async def test_outside_of_flows_the_current_span_goes_out(telemetry):
    carrier: dict[str, str] = {}
    with in_their_own_trace() as span:
        propagate.inject(carrier)

    assert carrier["traceparent"].split("-")[2] == f"{span.get_span_context().span_id:016x}"


def test_the_process_gets_its_own_propagator_back():
    before = propagate.get_global_textmap()
    with capture_telemetry():
        assert propagate.get_global_textmap() is not before
        assert propagate.get_global_textmap().fields == before.fields
    assert propagate.get_global_textmap() is before


# Above a flow


async def test_run_below_a_span_sent_elsewhere_is_a_linked_root(telemetry):
    with in_their_own_trace() as span:
        await run(line(beside.ReadsSteps))

    flow = next(each for each in telemetry.sdk_spans if each.name == "invoke_workflow demo")
    assert flow.parent is None
    assert [link.context for link in flow.links] == [span.get_span_context()]


async def test_run_below_a_span_of_the_given_provider_is_below_it(telemetry):
    with telemetry.provider.get_tracer("host").start_as_current_span("job"), in_their_own_trace():
        pass
    with telemetry.provider.get_tracer("host").start_as_current_span("job 2"):
        await run(line(beside.ReadsSteps))

    assert telemetry.only_span("invoke_workflow demo").parent_id == telemetry.only_span("job 2").span_id


async def test_components_below_a_span_that_a_tracer_left_current(telemetry):
    """LangWatch makes its own current when the run starts, for the rest of it."""
    graph = line(beside.Works.__base__)
    begin = graph.initialize_run
    tokens = []

    async def initialize_run() -> None:
        await begin()
        span = _recording.start_span("langwatch")
        tokens.append(otel_context.attach(trace.set_span_in_context(span)))

    object.__setattr__(graph, "initialize_run", initialize_run)
    await graph.arun([{"input_value": "x"}], session_id="s")

    assert tokens
    assert lines(telemetry) == [
        "invoke_workflow demo",
        "  component Chat Input",
        "  component Echo",
        "  component Chat Output",
    ]


async def test_span_of_a_nested_instrumentor_is_a_parent(telemetry, called):
    """One that is sent where ours are stays between."""
    tracer = telemetry.provider.get_tracer("opentelemetry.instrumentation.langchain")
    beside.seen["foreign"] = lambda: tracer.start_as_current_span("chain")
    try:
        await run(line(beside.WorksInThread))
    finally:
        del beside.seen["foreign"]

    assert lines(telemetry)[2:-1] == [
        "  component Works In Thread",
        "    chain",
        "      execute_tool weigh",
        "        chain",
        "          in thread",
        "            GET",
        "            GET",
    ]


@both
async def test_an_agents_tools_stay_below_the_agent(one_foreign, settings):
    """Their span is current in the whole agent, as that of a chain."""

    start = chat_input()
    agent = beside.Agent(_id="Agent-1").set(input_value=start.message_response)
    with captured(settings) as telemetry:
        await run(Graph(start, chat_output(agent.message_response), flow_name="demo"))

    assert lines(telemetry)[2:-1] == ["  invoke_agent Agent", "    chat", "    execute_tool add", "    chat"]

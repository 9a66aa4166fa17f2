"""W3C context out: HTTP calls of components carry it and have a span; calls outside of flows are left alone."""

from __future__ import annotations

import asyncio
import importlib.util
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import aiohttp
import httpx
import pytest
import requests
import wrapt
from flows import line, run
from nodes import http
from opentelemetry import baggage, trace
from opentelemetry import context as otel_context
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
from opentelemetry.instrumentation.requests import RequestsInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from langflow_otel._hooks import native
from langflow_otel._sdk.instrumentors import OtherInstrumentors
from langflow_otel._settings.settings import Settings
from langflow_otel.testing import Telemetry, capture_telemetry

HAS_AIOHTTP = importlib.util.find_spec("opentelemetry.instrumentation.aiohttp_client") is not None
NEEDS_AIOHTTP = pytest.mark.skipif(not HAS_AIOHTTP, reason="pip install 'langflow-otel[aiohttp]'")
CALLERS = [
    http.Calls,
    http.CallsInThread,
    http.CallsByRequests,
    pytest.param(http.CallsByAiohttp, marks=NEEDS_AIOHTTP),
]


@pytest.fixture
def server() -> Iterator[tuple[str, list[dict[str, str]]]]:
    """A real HTTP server that keeps the headers of each request."""
    received: list[dict[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            received.append({name.lower(): value for name, value in self.headers.items()})
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.do_GET()

        def log_message(self, *args: object) -> None: ...

    httpd = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    http.seen["url"] = f"http://127.0.0.1:{httpd.server_port}/path"
    yield http.seen["url"], received
    httpd.shutdown()
    thread.join()
    httpd.server_close()


@contextmanager
def loaded(telemetry: Telemetry, settings: Settings | None = None) -> Iterator[None]:
    others = OtherInstrumentors(settings or Settings(), telemetry.provider)
    others.load()
    try:
        yield
    finally:
        others.unload()


@pytest.mark.parametrize("component", CALLERS)
async def test_a_components_http_call_has_a_span_that_is_on_the_wire(telemetry, server, component):
    with loaded(telemetry):
        await run(line(component))

    assert telemetry.tree() == [
        "invoke_workflow demo",
        "  component Chat Input",
        f"  component {component.display_name}",
        "    GET",
        "  component Chat Output",
    ]
    call = telemetry.only_span("GET")
    version, trace_id, span_id, flags = server[1][0]["traceparent"].split("-")
    assert (version, trace_id, span_id) == ("00", call.trace_id, call.span_id)
    assert int(flags, 16) & 1  # sampled; newer SDKs also say that the id is random
    assert next(span for span in telemetry.sdk_spans if span.name == "GET").kind is trace.SpanKind.CLIENT


@pytest.mark.parametrize("url_paths", [False, True])
@pytest.mark.parametrize("component", CALLERS)
async def test_values_in_urls_do_not_leave_with_a_given_provider(telemetry, server, component, url_paths):
    """Which has no filter of ours before its exporters."""
    http.seen["url"] = f"{server[0]}/botcanary/send?q=canary"
    with loaded(telemetry, Settings(url_paths=url_paths)):
        await run(line(component))

    (call,) = [span for span in telemetry.sdk_spans if span.name == "GET"]
    path = "/path/botcanary/send" if url_paths else "/REDACTED/REDACTED/send"
    assert [value for name, value in call.attributes.items() if name in ("http.url", "url.full")] == [
        server[0].removesuffix("/path") + path
    ]
    assert "q=canary" not in call.to_json()


async def test_a_call_that_fails(telemetry, server):
    http.seen["url"] = "http://127.0.0.1:1/"
    with loaded(telemetry), pytest.raises(Exception, match="All connection attempts failed"):
        await run(line(http.CallsAndIsRefused))

    call = telemetry.only_span("GET")
    assert (call.is_error, call.parent_id) == (
        True,
        telemetry.only_span("component Calls And Is Refused").span_id,
    )


async def _call_everything(url: str) -> None:
    await asyncio.to_thread(httpx.get, url)
    await asyncio.to_thread(requests.get, url, timeout=5)
    async with httpx.AsyncClient() as client:
        await client.get(url)
    async with aiohttp.ClientSession() as session, session.get(url):
        pass


async def test_calls_outside_of_flows_go_out_as_without_us(telemetry, server):
    await _call_everything(server[0])
    without = server[1].copy()
    server[1].clear()
    with loaded(telemetry), telemetry.provider.get_tracer("host").start_as_current_span("host"):
        token = otel_context.attach(baggage.set_baggage("tenant", "acme"))
        await _call_everything(server[0])
        otel_context.detach(token)

    assert server[1] == without
    assert len(without) == 4
    assert not any("traceparent" in headers or "baggage" in headers for headers in without)
    assert telemetry.tree() == ["host"]


async def test_a_task_that_outlives_its_flow_calls_as_without_us(telemetry, server):
    http.seen["flow_is_over"] = asyncio.Event()
    with loaded(telemetry):
        await run(line(http.LeavesATask))
        http.seen["flow_is_over"].set()
        await http.seen["task"]

    assert "GET" not in telemetry.names()
    assert "traceparent" not in server[1][0]


@pytest.mark.parametrize("component", CALLERS)
async def test_below_an_unsampled_flow_the_context_goes_out_with_flag_0(server, component):
    with capture_telemetry(sampler=ALWAYS_OFF) as telemetry, loaded(telemetry):
        await run(line(component))

    assert telemetry.tree() == []
    flags = server[1][0]["traceparent"].split("-")[3]
    assert int(flags, 16) & 1 == 0


async def test_with_detail_flow_the_called_service_hangs_below_the_flow(server):
    settings = Settings(detail="flow")
    with capture_telemetry(settings=settings) as telemetry, loaded(telemetry, settings):
        await run(line(http.Calls))

    assert telemetry.tree() == ["invoke_workflow demo"]
    assert server[1][0]["traceparent"].split("-")[2] == telemetry.only_span("invoke_workflow demo").span_id


@NEEDS_AIOHTTP
async def test_a_session_that_was_made_before_the_flow(telemetry, server):
    """As hosts do: one aiohttp session for the process."""
    with loaded(telemetry):
        async with aiohttp.ClientSession() as http.seen["session"]:
            async with http.seen["session"].get(server[0]):
                pass
            await run(line(http.CallsBySharedSession))

    assert telemetry.names().count("GET") == 1
    assert ["traceparent" in headers for headers in server[1]] == [False, True]


async def test_what_somebody_else_instrumented_stays_theirs(telemetry, server):
    """A global provider of the host's: their span nests below ours by its ids, none is doubled."""
    exporter = InMemorySpanExporter()
    theirs = TracerProvider(shutdown_on_exit=False)
    theirs.add_span_processor(SimpleSpanProcessor(exporter))
    instrumentor = HTTPXClientInstrumentor()
    # Ours may be there already, by the fixture.
    if instrumentor.is_instrumented_by_opentelemetry:
        instrumentor.uninstrument()
    instrumentor.instrument(tracer_provider=theirs)
    try:
        with loaded(telemetry):
            await run(line(http.Calls))
            await asyncio.to_thread(httpx.get, server[0])
        assert instrumentor.is_instrumented_by_opentelemetry
    finally:
        instrumentor.uninstrument()

    below, outside = exporter.get_finished_spans()
    assert "GET" not in telemetry.names()
    assert f"{below.parent.span_id:016x}" == telemetry.only_span("component Calls").span_id
    assert outside.parent is None
    assert "traceparent" in server[1][1]


async def test_a_client_that_others_uninstrument_is_restored(telemetry, server):
    """LangFlow's tracer for Phoenix does so after each run, though instrumenting was refused to it."""
    others = OtherInstrumentors(Settings(), telemetry.provider)
    others.load()
    try:
        for _ in range(2):
            before = _methods()
            RequestsInstrumentor().instrument(tracer_provider=TracerProvider(shutdown_on_exit=False))
            RequestsInstrumentor().uninstrument()
            native.http_clients_disabled(lambda: None, None, (), {})
            assert RequestsInstrumentor().is_instrumented_by_opentelemetry
            await run(line(http.CallsByRequests))
            assert len([one for one, other in zip(_methods(), before, strict=True) if one is not other]) == 1
    finally:
        others.unload()
    telemetry.warnings.clear()  # the base class says that it was instrumented already

    assert telemetry.names().count("GET") == 2
    calls = [span.span_id for span in telemetry.spans if span.name == "GET"]
    assert [headers["traceparent"].split("-")[2] for headers in server[1]] == calls


def test_unloading_puts_every_method_back(server):
    before = _methods()
    others = OtherInstrumentors(Settings(), TracerProvider(shutdown_on_exit=False))
    for _ in range(2):
        others.load()
        assert all(after is not method for after, method in zip(_methods(), before, strict=True))
        others.unload()
        # By identity: a wrapper is equal to what it wraps.
        assert all(after is method for after, method in zip(_methods(), before, strict=True))
    assert not HTTPXClientInstrumentor().is_instrumented_by_opentelemetry


def test_who_wrapped_a_method_after_us_keeps_it(server):
    others = OtherInstrumentors(Settings(), TracerProvider(shutdown_on_exit=False))
    original = httpx.HTTPTransport.handle_request
    others.load()
    ours = httpx.HTTPTransport.handle_request
    calls = []

    def wrapper(self, request):
        calls.append(request.url)
        return ours(self, request)

    httpx.HTTPTransport.handle_request = wrapper
    try:
        others.unload()
        assert httpx.HTTPTransport.handle_request is wrapper
        assert httpx.get(server[0]).status_code == 200
        assert len(calls) == 1
    finally:
        httpx.HTTPTransport.handle_request = original
        HTTPXClientInstrumentor().uninstrument()


@NEEDS_AIOHTTP
async def test_who_wrapped_aiohttps_sessions_after_us_keeps_it(server):
    from opentelemetry.instrumentation.aiohttp_client import AioHttpClientInstrumentor

    others = OtherInstrumentors(Settings(), TracerProvider(shutdown_on_exit=False))
    original = aiohttp.ClientSession.__dict__["__init__"]
    others.load()
    sessions = []

    def wrapper(wrapped, instance, args, kwargs):
        sessions.append(instance)
        return wrapped(*args, **kwargs)

    wrapt.wrap_function_wrapper(aiohttp.ClientSession, "__init__", wrapper)
    try:
        others.unload()
        async with aiohttp.ClientSession() as session, session.get(server[0]) as response:
            assert response.status == 200
        assert sessions == [session]
        assert "traceparent" not in server[1][-1]
    finally:
        AioHttpClientInstrumentor().uninstrument()
        aiohttp.ClientSession.__init__ = original


@pytest.mark.parametrize("value", ["httpx, requests ,aiohttp-client", "*"])
async def test_those_that_are_disabled_are_left_alone(telemetry, server, monkeypatch, value):
    monkeypatch.setenv("OTEL_PYTHON_DISABLED_INSTRUMENTATIONS", value)
    before = _methods()
    with loaded(telemetry):
        assert _methods() == before


def _methods() -> list[object]:
    return [
        httpx.HTTPTransport.__dict__["handle_request"],
        httpx.AsyncHTTPTransport.__dict__["handle_async_request"],
        requests.Session.__dict__["send"],
        *([aiohttp.ClientSession.__dict__["__init__"]] if HAS_AIOHTTP else []),
    ]


class _ExportsInFlow(http.Echo):
    display_name = "Exports In Flow"
    name = "ExportsInFlow"

    def run_out(self) -> http.Message:
        http.seen["provider"].force_flush()
        return http.Message(text="ok")


@pytest.mark.parametrize("processor", ["batch", "simple"])
async def test_our_own_exports_make_no_spans(telemetry, server, processor):
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    exporter = OTLPSpanExporter(endpoint=server[0].replace("/path", "/v1/traces"), timeout=1)
    exports = BatchSpanProcessor(exporter) if processor == "batch" else SimpleSpanProcessor(exporter)
    telemetry.provider.add_span_processor(exports)
    http.seen["provider"] = telemetry.provider
    with loaded(telemetry):
        await run(line(_ExportsInFlow))

    assert telemetry.tree() == [
        "invoke_workflow demo",
        "  component Chat Input",
        "  component Exports In Flow",
        "  component Chat Output",
    ]
    exports.shutdown()
    assert server[1]
    assert not any("traceparent" in headers for headers in server[1])

"""The middleware around a web server: a real application, called as a server calls it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, MutableMapping
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from fastapi import FastAPI, HTTPException, WebSocket
from fastapi.responses import StreamingResponse
from opentelemetry import baggage, metrics, propagate, trace
from opentelemetry import context as otel_context
from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.propagators.textmap import TextMapPropagator
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import (
    InMemoryMetricReader,
    MetricExporter,
    MetricExportResult,
    PeriodicExportingMetricReader,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased
from opentelemetry.trace import SpanKind, StatusCode

from langflow_otel import LangflowInstrumentor, instrument, instrumentor, traced, uninstrument
from langflow_otel import _guard as guard
from langflow_otel._hooks import native, server
from langflow_otel._hooks.facts import entry_point_of, request_entry_point
from langflow_otel._hooks.patching import Patches
from langflow_otel._hooks.server import ServerMiddleware, build_middleware_stack, watch_app, whole_route
from langflow_otel._runs import measuring
from langflow_otel._runs.facts import FlowInfo
from langflow_otel._runs.recorder import active_recorder, set_active_recorder
from langflow_otel._runs.run import current_run
from langflow_otel._settings.settings import Settings
from langflow_otel.testing import Telemetry
from tests.support.recording import FLOW, recorder, recording

TRACE_ID, CALLER_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
CALLER = {"traceparent": f"00-{TRACE_ID}-{CALLER_ID}-01", "tracestate": "vendor=1", "baggage": "tenant=acme"}

seen: dict[str, Any] = {}
"""What the application has seen while it answered."""


def run_a_flow(name: str = "demo") -> None:
    run = recorder().start_flow(FlowInfo(name, entry_point_of(None)))
    seen["sent"] = {}
    with suppress(ValueError):  # of a propagator that fails
        propagate.inject(seen["sent"])
    if run is not None:
        run.finish()


def look_around() -> None:
    seen["span"] = trace.get_current_span().get_span_context()
    seen["baggage"] = dict(baggage.get_all())
    seen["entry_point"] = request_entry_point.get()


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    seen["started"] = True
    yield
    seen["stopped"] = True


def make_app() -> FastAPI:
    app = FastAPI(lifespan=lifespan)

    @app.post("/api/v1/run/{flow}")
    async def run(flow: str) -> dict[str, bool]:
        look_around()
        if active_recorder() is not None:
            run_a_flow(flow)
        return {"ok": True}

    @app.get("/api/v1/missing/{name}")
    async def missing(name: str) -> None:
        raise HTTPException(404, "canary")

    @app.get("/api/v1/unavailable")
    async def unavailable() -> None:
        raise HTTPException(503, "canary")

    @app.get("/api/v1/broken/{name}")
    async def broken(name: str) -> None:
        raise LookupError("canary")

    @app.get("/api/v1/stream")
    async def stream() -> StreamingResponse:
        return StreamingResponse(seen["chunks"]())

    @app.websocket("/api/v1/voice/ws/{session}")
    async def talk(websocket: WebSocket) -> None:
        await websocket.accept()
        look_around()
        run_a_flow()
        await websocket.close()

    @app.get("/")
    @app.get("/health")
    @app.get("/health_check")
    @app.get("/assets/{name}")
    @app.get("/flows")
    async def static() -> dict[str, bool]:
        look_around()
        return {"ok": True}

    watch_app(app)
    return app


@pytest.fixture
def app() -> FastAPI:
    seen.clear()
    return make_app()


def scope_of(method: str, path: str, headers: dict[str, str], kind: str = "http") -> MutableMapping[str, Any]:
    raw = [(name.encode(), text.encode()) for name, text in headers.items()]
    scope = {"type": kind, "path": path, "headers": raw, "query_string": b"key=canary", "scheme": "http"}
    return scope | {"method": method} if kind == "http" else scope | {"scheme": "ws", "subprotocols": []}


async def ask(app: Any, method: str, path: str, **headers: str) -> tuple[int, bytes]:
    """Status and body; what the caller has is as before."""
    sent: list[MutableMapping[str, Any]] = []
    received: list[bool] = []

    async def receive() -> MutableMapping[str, Any]:
        if received:
            await asyncio.Event().wait()
        received.append(True)
        return {"type": "http.request", "body": b""}

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    before, entry_point = otel_context.get_current(), request_entry_point.get()
    try:
        await app(scope_of(method, path, headers), receive, send)
    finally:
        assert otel_context.get_current() == before
        assert request_entry_point.get() is entry_point
        assert current_run() is None
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent)


def sdk_span(telemetry: Telemetry, name: str) -> Any:
    (found,) = [span for span in telemetry.sdk_spans if span.name == name]
    return found


@pytest.fixture
def ours(telemetry: Telemetry) -> Callable[[str], Any]:
    return lambda name: sdk_span(telemetry, name)


# The span


async def test_a_request_is_one_server_span_named_by_its_route(app, telemetry, ours):
    assert await ask(app, "POST", "/api/v1/run/orders") == (200, b'{"ok":true}')

    assert telemetry.tree() == ["POST /api/v1/run/{flow}", "  invoke_workflow orders"]
    span = ours("POST /api/v1/run/{flow}")
    assert (span.kind, span.status.status_code) == (SpanKind.SERVER, StatusCode.UNSET)
    assert dict(span.attributes) == {
        "http.request.method": "POST",
        "url.path": "/api/v1/run/orders",
        "url.scheme": "http",
        "http.route": "/api/v1/run/{flow}",
        "http.response.status_code": 200,
    }
    assert ours("invoke_workflow orders").attributes["langflow.entry_point"] == "api"


@pytest.mark.parametrize(("url_paths", "path"), [(False, "/api/v1/run/REDACTED"), (True, "/api/v1/run/canary")])
async def test_a_requests_path_is_whole_only_where_it_may_be(app, url_paths: bool, path: str):
    with recording(Settings(url_paths=url_paths)) as telemetry:
        await ask(app, "POST", "/api/v1/run/canary")

    assert sdk_span(telemetry, "POST /api/v1/run/{flow}").attributes["url.path"] == path


async def test_what_the_client_did_wrong_is_no_error_of_the_server(app, telemetry, ours):
    assert (await ask(app, "GET", "/api/v1/missing/x"))[0] == 404

    span = ours("GET /api/v1/missing/{name}")
    assert span.status.status_code is StatusCode.UNSET
    assert span.attributes["http.response.status_code"] == 404
    assert "error.type" not in span.attributes


async def test_what_the_server_answers_with_5xx_is_an_error(app, telemetry, ours):
    assert (await ask(app, "GET", "/api/v1/unavailable"))[0] == 503

    span = ours("GET /api/v1/unavailable")
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, None)
    assert (span.attributes["error.type"], span.attributes["http.response.status_code"]) == ("503", 503)


async def test_an_exception_goes_to_the_server_and_its_class_to_the_span(app, telemetry, ours):
    with pytest.raises(LookupError, match="canary"):
        await ask(app, "GET", "/api/v1/broken/x")

    span = ours("GET /api/v1/broken/{name}")
    assert (span.status.status_code, span.attributes["error.type"]) == (StatusCode.ERROR, "LookupError")
    assert "canary" not in str(span.to_json())


async def test_a_path_without_a_route_gives_no_name(app, telemetry, ours):
    assert (await ask(app, "GET", "/api/v1/no/such/thing"))[0] == 404

    assert "http.route" not in ours("GET").attributes


async def test_a_method_that_nobody_knows_is_no_name_either(app, telemetry, ours):
    assert (await ask(app, "CANARY", "/api/v1/run/x"))[0] == 405

    (span,) = telemetry.sdk_spans
    assert span.attributes["http.request.method"] == "_OTHER"
    assert "CANARY" not in span.name


async def test_nothing_of_the_query_and_the_headers_leaves(app, telemetry):
    await ask(app, "POST", "/api/v1/run/orders", **{"x-api-key": "canary", "cookie": "canary"})

    assert "canary" not in "".join(span.to_json() for span in telemetry.sdk_spans)


# The caller


async def test_the_callers_context_is_joined(app, telemetry, ours):
    await ask(app, "POST", "/api/v1/run/orders", **CALLER)

    span, flow = ours("POST /api/v1/run/{flow}"), ours("invoke_workflow orders")
    assert (f"{span.context.trace_id:032x}", f"{span.parent.span_id:016x}") == (TRACE_ID, CALLER_ID)
    assert flow.parent.span_id == span.context.span_id
    assert flow.context.trace_state.to_header() == "vendor=1"
    assert seen["baggage"] == {"tenant": "acme"}


async def test_header_names_in_other_cases_are_found(app, telemetry, ours):
    await ask(app, "POST", "/api/v1/run/orders", Traceparent=CALLER["traceparent"])

    assert f"{ours('POST /api/v1/run/{flow}').context.trace_id:032x}" == TRACE_ID


@pytest.mark.parametrize("traceparent", ["", "00-xyz", f"00-{'0' * 32}-{CALLER_ID}-01", "\xff\xfe"])
async def test_a_wrong_traceparent_is_none(app, telemetry, ours, traceparent: str):
    assert (await ask(app, "POST", "/api/v1/run/orders", traceparent=traceparent))[0] == 200

    assert ours("POST /api/v1/run/{flow}").parent is None


async def test_a_callers_decision_not_to_sample_holds(app):
    with recording(sampler=ParentBased(ALWAYS_ON)) as telemetry:
        await ask(app, "POST", "/api/v1/run/orders", traceparent=f"00-{TRACE_ID}-{CALLER_ID}-00")

    assert telemetry.tree() == []
    assert f"{seen['span'].trace_id:032x}" == TRACE_ID


async def test_chosen_baggage_of_the_request_is_on_the_flow(app):
    with recording(Settings(baggage_keys=("tenant", "plan"))) as telemetry:
        await ask(app, "POST", "/api/v1/run/orders", baggage="tenant=acme,secret=canary")

    flow = telemetry.only_span("invoke_workflow orders").attributes
    assert {key: flow[key] for key in ("tenant", "plan", "secret") if key in flow} == {"tenant": "acme"}


async def test_a_caller_that_is_not_believed_is_linked(app):
    with recording(Settings(remote_parent="link")) as telemetry:
        await ask(app, "POST", "/api/v1/run/orders", **CALLER)

    assert telemetry.tree() == ["POST /api/v1/run/{flow}", "  invoke_workflow orders"]
    span = sdk_span(telemetry, "POST /api/v1/run/{flow}")
    assert span.parent is None
    assert f"{span.context.trace_id:032x}" != TRACE_ID
    assert [f"{link.context.span_id:016x}" for link in span.links] == [CALLER_ID]
    assert sdk_span(telemetry, "invoke_workflow orders").links == ()
    assert seen["baggage"] == {}


async def test_a_caller_that_is_ignored_leaves_no_trace(app):
    with recording(Settings(remote_parent="ignore")) as telemetry:
        await ask(app, "POST", "/api/v1/run/orders", **CALLER)

    span = sdk_span(telemetry, "POST /api/v1/run/{flow}")
    assert (span.parent, span.links) == (None, ())
    assert TRACE_ID not in "".join(each.to_json() for each in telemetry.sdk_spans)


DISTRUSTED = pytest.mark.parametrize("remote_parent", ["link", "ignore"])


@DISTRUSTED
@pytest.mark.parametrize("headers", [CALLER, {"baggage": CALLER["baggage"]}], ids=["whole", "baggage alone"])
@pytest.mark.parametrize("kind", ["http", "websocket"])
async def test_nothing_of_a_distrusted_caller_goes_on(app, remote_parent: Any, headers: dict[str, str], kind: str):
    with recording(Settings(remote_parent=remote_parent, baggage_keys=("tenant",))) as telemetry:
        if kind == "http":
            await ask(app, "POST", "/api/v1/run/orders", **headers)
        else:
            await talk_to(app, headers)

    assert seen["baggage"] == {}
    assert seen["sent"].keys() == {"traceparent"}
    assert TRACE_ID not in seen["sent"]["traceparent"]
    assert not [span.name for span in telemetry.sdk_spans if "tenant" in span.attributes]


@DISTRUSTED
@pytest.mark.parametrize("inside", [False, True], ids=["around ours", "inside ours"])
@pytest.mark.parametrize("headers", [CALLER, {"baggage": CALLER["baggage"]}], ids=["whole", "baggage alone"])
async def test_untrusted_caller_goes_no_further_than_the_hosts_span(
    remote_parent: Any, inside: bool, headers: dict[str, str], their_tracer: trace.Tracer
):
    """LangFlow's own instrumentation of its application reads the headers, too, on either side of our middleware."""
    bare = make_app()
    bare.user_middleware.clear()

    def instrumented(app: Any) -> Any:
        async def call(scope: Any, receive: Any, send: Any) -> None:
            carrier = {name.decode(): value.decode() for name, value in scope["headers"]}
            with their_tracer.start_as_current_span("theirs", propagate.extract(carrier), SpanKind.SERVER):
                token = otel_context.attach(
                    baggage.set_baggage(
                        "added",
                        "by-host",
                        trace.set_span_in_context(trace.get_current_span(), propagate.extract(carrier)),
                    )
                )
                await app(scope, receive, send)
                otel_context.detach(token)

        return call

    app = ServerMiddleware(instrumented(bare)) if inside else instrumented(ServerMiddleware(bare))
    with recording(Settings(remote_parent=remote_parent, baggage_keys=("tenant",))) as telemetry:
        await ask(app, "POST", "/api/v1/run/orders", **headers)

    assert "acme" not in str(seen["sent"])
    assert "vendor" not in str(seen["sent"])
    # Where there is a caller's span, nobody knows whose the rest is.
    assert "added" in str(seen["sent"]) or "traceparent" in headers
    (flow,) = [span for span in telemetry.sdk_spans if span.name == "invoke_workflow orders"]
    assert "tenant" not in flow.attributes


@DISTRUSTED
async def test_untrusted_caller_goes_no_further_with_metrics_alone(app, remote_parent: Any):
    with recording(Settings(remote_parent=remote_parent)):
        recorder().use_tracer_provider(None)
        await ask(app, "POST", "/api/v1/run/orders", **CALLER)

    assert (seen["baggage"], seen["sent"]) == ({}, {})


# Beside a span that the host makes


async def ask_below_the_hosts_span(app: Any, tracer: trace.Tracer, headers: dict[str, str]) -> trace.Span:
    context = propagate.extract(headers)
    with tracer.start_as_current_span("theirs", context=context, kind=SpanKind.SERVER) as span:
        await ask(app, "POST", "/api/v1/run/orders", **headers)
    return span


@pytest.fixture
def backend() -> InMemorySpanExporter:
    return InMemorySpanExporter()


def sending(provider: TracerProvider, backend: SpanExporter) -> TracerProvider:
    provider.add_span_processor(SimpleSpanProcessor(backend))
    return provider


@pytest.fixture
def their_tracer(backend: InMemorySpanExporter) -> trace.Tracer:
    return sending(TracerProvider(shutdown_on_exit=False), backend).get_tracer("host")


async def test_where_the_host_makes_a_span_there_is_none_of_ours(app, telemetry, ours, their_tracer, backend):
    sending(telemetry.provider, backend)
    theirs = await ask_below_the_hosts_span(app, their_tracer, CALLER)

    assert telemetry.names() == ["invoke_workflow orders"]
    assert ours("invoke_workflow orders").parent.span_id == theirs.get_span_context().span_id
    assert "http_server_request_duration_seconds_count" in str(telemetry.metrics("http"))


@pytest.mark.parametrize(("remote_parent", "linked"), [("link", True), ("ignore", False)])
async def test_a_caller_behind_the_hosts_span_is_not_believed_either(app, their_tracer, backend, remote_parent, linked):
    with recording(Settings(remote_parent=remote_parent)) as telemetry:
        sending(telemetry.provider, backend)
        theirs = await ask_below_the_hosts_span(app, their_tracer, CALLER)

    flow = sdk_span(telemetry, "invoke_workflow orders")
    assert flow.parent is None
    assert f"{flow.context.trace_id:032x}" != TRACE_ID
    links = [link.context.span_id for link in flow.links]
    assert links == ([theirs.get_span_context().span_id] if linked else [])


@pytest.mark.parametrize("remote_parent", ["continue", "link", "ignore"])
async def test_the_hosts_span_that_has_no_caller_stays_the_parent(app, their_tracer, backend, remote_parent):
    with recording(Settings(remote_parent=remote_parent)) as telemetry:
        sending(telemetry.provider, backend)
        theirs = await ask_below_the_hosts_span(app, their_tracer, {})

    assert sdk_span(telemetry, "invoke_workflow orders").parent.span_id == theirs.get_span_context().span_id


@pytest.mark.parametrize(("headers", "parent"), [(CALLER, CALLER_ID), ({}, None)])
async def test_host_span_sent_elsewhere_is_not_the_parent(app, telemetry, ours, their_tracer, headers, parent):
    """Such as LangFlow 1.11's, once Traceloop has made its provider the global one."""
    await ask_below_the_hosts_span(app, their_tracer, headers)

    assert telemetry.tree() == ["POST /api/v1/run/{flow}", "  invoke_workflow orders"]
    above = ours("POST /api/v1/run/{flow}").parent
    assert (above and f"{above.span_id:016x}") == parent


async def test_a_span_of_the_host_that_does_not_record_does_not_hide_the_caller(app, telemetry, ours):
    tracer = TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False).get_tracer("host")
    await ask_below_the_hosts_span(app, tracer, CALLER)

    assert telemetry.tree() == ["POST /api/v1/run/{flow}", "  invoke_workflow orders"]
    assert f"{ours('POST /api/v1/run/{flow}').parent.span_id:016x}" == CALLER_ID


# Where spans of requests are not wanted


@pytest.mark.parametrize("host", [False, True], ids=["alone", "beside the host's"])
@pytest.mark.parametrize(
    ("remote_parent", "headers", "parent", "linked"),
    [
        ("continue", {}, None, False),
        ("continue", CALLER, CALLER_ID, False),
        ("link", CALLER, None, True),
        ("ignore", CALLER, None, False),
    ],
    ids=["no caller", "a caller", "a linked one", "an ignored one"],
)
async def test_without_request_spans_a_flow_is_below_its_caller(
    app, their_tracer, host: bool, remote_parent: Any, headers: dict[str, str], parent: str | None, linked: bool
):
    settings = Settings(native_spans="none", remote_parent=remote_parent)
    with recording(settings) as telemetry:
        if host:
            theirs = await ask_below_the_hosts_span(app, their_tracer, headers)
            assert seen["span"] == theirs.get_span_context()
        else:
            await ask(app, "POST", "/api/v1/run/orders", **headers)

    (flow,) = telemetry.sdk_spans
    assert flow.name == "invoke_workflow orders"
    assert (None if flow.parent is None else f"{flow.parent.span_id:016x}") == parent
    callers = [f"{link.context.span_id:016x}" for link in flow.links if link.context.is_remote]
    assert callers == ([CALLER_ID] if linked else [])
    assert "http_server_request_duration_seconds_count" in str(telemetry.metrics("http"))


async def test_without_request_spans_a_refused_caller_is_not_current(app):
    with recording(Settings(native_spans="none", remote_parent="link")):
        await ask(app, "POST", "/api/v1/run/orders", **CALLER)

    assert not seen["span"].is_valid


# What is left alone


@pytest.mark.parametrize("path", ["/health", "/", "/assets/app.js", "/health_check", "/flows"])
async def test_health_checks_and_files_are_left_alone(app, telemetry, path: str):
    assert (await ask(app, "GET", path, **CALLER))[0] == 200

    assert telemetry.spans == []
    assert telemetry.metrics("http") == {}
    assert (seen["span"], seen["entry_point"]) == (trace.INVALID_SPAN_CONTEXT, None)


async def test_paths_can_be_excluded_by_the_standard_variable(telemetry, monkeypatch):
    monkeypatch.setenv("OTEL_PYTHON_ASGI_EXCLUDED_URLS", "run/secret,v1/missing")
    app = make_app()
    await ask(app, "GET", "/api/v1/missing/x")
    await ask(app, "GET", "/api/v1/unavailable")

    assert telemetry.names() == ["GET /api/v1/unavailable"]


@pytest.mark.usefixtures("lenient")
async def test_a_wrong_list_of_excluded_paths_costs_no_answer(monkeypatch):
    monkeypatch.setenv("OTEL_PYTHON_ASGI_EXCLUDED_URLS", "run/[")
    with recording(strict=False) as telemetry:
        assert (await ask(make_app(), "POST", "/api/v1/run/orders"))[0] == 200

    assert telemetry.names() == ["invoke_workflow orders", "POST /api/v1/run/{flow}"]
    assert guard.faults["server.watch"] == 1


async def test_off_it_hands_everything_through(app):
    assert (await ask(app, "POST", "/api/v1/run/orders", **CALLER))[0] == 200

    assert (seen["span"], seen["baggage"], seen["entry_point"]) == (trace.INVALID_SPAN_CONTEXT, {}, None)


async def test_a_suppressed_request_is_not_recorded(app, telemetry):
    with suppress_instrumentation():
        assert (await ask(app, "POST", "/api/v1/run/orders"))[0] == 200

    assert telemetry.spans == []
    assert telemetry.metrics("http") == {}


@pytest.mark.parametrize(
    ("path", "entry_point"),
    [
        ("/api/v1/run/f", "api"),
        ("/api/v1/responses", "api"),
        ("/api/v2/workflows", "api"),
        ("/api/v1/build/1/flow", "playground"),
        ("/api/v1/build_public_tmp/1/flow", "playground"),
        ("/api/v1/webhook/f", "webhook"),
        ("/api/v1/mcp/streamable", "mcp"),
        ("/api/v1/mcp/project/1/sse", "mcp"),
        ("/api/v1/voice/ws/flow_as_tool/1", "voice"),
        ("/api/v1/a2a/1", "a2a"),
        ("/flows/1/run", "serve"),
    ],
)
async def test_the_path_says_the_entry_point(telemetry, path: str, entry_point: str):
    async def app(scope: Any, receive: Any, send: Any) -> None:
        look_around()
        await send({"type": "http.response.start", "status": 200, "headers": []})

    await ask(ServerMiddleware(app, "lfx" if entry_point == "serve" else "langflow"), "POST", path)

    assert seen["entry_point"] == entry_point


async def test_the_path_below_a_prefix_of_the_proxy(telemetry):
    async def app(scope: Any, receive: Any, send: Any) -> None:
        look_around()
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def behind_a_proxy(scope: Any, receive: Any, send: Any) -> None:
        await ServerMiddleware(app)({**scope, "root_path": "/langflow"}, receive, send)

    await ask(behind_a_proxy, "POST", "/langflow/api/v1/webhook/f")

    assert seen["entry_point"] == "webhook"


# Streams, websockets, clients that go


async def test_a_stream_is_one_span_until_its_last_byte(app, telemetry, ours):
    async def chunks() -> AsyncIterator[bytes]:
        for number in range(3):
            await asyncio.sleep(0.01)
            assert telemetry.spans == []
            yield f"{number}".encode()

    seen["chunks"] = chunks
    assert await ask(app, "GET", "/api/v1/stream") == (200, b"012")

    assert telemetry.names() == ["GET /api/v1/stream"]
    span = ours("GET /api/v1/stream")
    assert span.end_time - span.start_time >= 30_000_000


async def test_a_stream_that_fails_half_way_is_an_error(app, telemetry, ours):
    async def chunks() -> AsyncIterator[bytes]:
        yield b"0"
        raise LookupError("canary")

    seen["chunks"] = chunks
    # Depending on the version of Starlette, it is in a group of its tasks.
    with pytest.raises(BaseException, match=r"canary|unhandled errors"):
        await ask(app, "GET", "/api/v1/stream")

    span = ours("GET /api/v1/stream")
    assert span.status.status_code is StatusCode.ERROR
    assert span.attributes["http.response.status_code"] == 200


async def test_a_request_that_is_cancelled_ends_without_an_error(app, telemetry, ours):
    waits = asyncio.Event()

    async def chunks() -> AsyncIterator[bytes]:
        yield b"0"
        waits.set()
        await asyncio.Event().wait()

    seen["chunks"] = chunks
    asked = asyncio.create_task(ask(app, "GET", "/api/v1/stream"))
    await waits.wait()
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked

    span = ours("GET /api/v1/stream")
    assert span.status.status_code is StatusCode.UNSET
    assert "error.type" not in span.attributes


async def test_requests_at_once_do_not_mix(app, telemetry):
    callers = [f"{number:032x}" for number in range(1, 21)]
    await asyncio.gather(
        *(ask(app, "POST", f"/api/v1/run/{caller}", traceparent=f"00-{caller}-{CALLER_ID}-01") for caller in callers)
    )

    flows = {span.name: span.trace_id for span in telemetry.spans if span.name.startswith("invoke_workflow")}
    assert flows == {f"invoke_workflow {caller}": caller for caller in callers}
    assert len(telemetry.spans) == 40


async def talk_to(app: Any, headers: dict[str, str]) -> list[str]:
    """Types of the messages that were sent."""
    sent: list[str] = []
    messages = iter([{"type": "websocket.connect"}, {"type": "websocket.disconnect", "code": 1000}])

    async def receive() -> MutableMapping[str, Any]:
        return next(messages)

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message["type"])

    await app(scope_of("", "/api/v1/voice/ws/s1", headers, "websocket"), receive, send)
    return sent


async def test_a_websocket_joins_its_callers_trace_and_has_no_span(app, telemetry, ours):
    before = otel_context.get_current()

    assert await talk_to(app, CALLER) == ["websocket.accept", "websocket.close"]
    assert (otel_context.get_current(), request_entry_point.get()) == (before, None)
    assert telemetry.names() == ["invoke_workflow demo"]
    flow = ours("invoke_workflow demo")
    assert f"{flow.parent.span_id:016x}" == CALLER_ID
    assert flow.attributes["langflow.entry_point"] == "voice"
    assert seen["baggage"] == {"tenant": "acme"}


# Errors of ours


class BrokenPropagator(TextMapPropagator):
    fields: set[str] = set()

    def extract(self, *_: Any, **__: Any) -> Any:
        raise ValueError("canary")

    inject = extract


def broken(*_: Any, **__: Any) -> Any:
    raise ValueError("canary")


@pytest.mark.usefixtures("lenient")
@pytest.mark.parametrize(
    "path",
    [
        "langflow_otel._hooks.server._context_of",
        "langflow_otel._hooks.server.requests_are_pushed",
        "langflow_otel._runs.request._start_span",
        "langflow_otel._runs.request.parent_and_links",
        "opentelemetry.sdk.trace.Span.set_attribute",
        "langflow_otel._runs.measuring.RunMetrics.route",
        "langflow_otel._runs.recorder._suppressed",
    ],
)
async def test_an_error_of_ours_costs_no_answer(app, monkeypatch, path: str):
    with recording(strict=False) as telemetry, monkeypatch.context() as patch:
        patch.setattr(path, broken)
        answer = await ask(app, "GET", "/api/v1/missing/x")

    assert answer == (404, b'{"detail":"canary"}')
    assert sum(guard.faults.values()) >= 1
    assert "canary" not in "".join(telemetry.warnings)


@pytest.mark.usefixtures("lenient")
@pytest.mark.parametrize("kind", ["http", "websocket"])
async def test_a_propagator_that_fails_costs_no_answer(app, monkeypatch, kind: str):
    monkeypatch.setattr(propagate, "propagator", BrokenPropagator())
    monkeypatch.setattr(propagate, "get_global_textmap", BrokenPropagator)
    sent: list[str] = []

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "websocket.connect"} if kind == "websocket" else {"type": "http.request", "body": b""}

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message["type"])

    path = {"http": "/api/v1/run/x", "websocket": "/api/v1/voice/ws/s1"}[kind]
    with recording(strict=False):
        await app(scope_of("POST", path, CALLER, kind), receive, send)

    expected = {"http": ["http.response.start", "http.response.body"]}
    assert sent == expected.get(kind, ["websocket.accept", "websocket.close"])
    assert sum(guard.faults.values()) == 1


# The metric


BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
LABELS = 'http_request_method="POST",http_route="/api/v1/run/{flow}",http_response_status_code="200"'


async def test_the_duration_is_measured_by_method_route_and_status(app, telemetry):
    for _ in range(2):
        await ask(app, "POST", "/api/v1/run/orders")
    await ask(app, "POST", "/api/v1/run/other")
    await ask(app, "GET", "/api/v1/no/such/thing")

    scraped = telemetry.metrics("http_server_request_duration_seconds_count")
    assert scraped == {
        f"http_server_request_duration_seconds_count{{{LABELS}}}": 3.0,
        'http_server_request_duration_seconds_count{http_request_method="GET",http_route="none",'
        'http_response_status_code="404"}': 1.0,
    }
    (pushed,) = [metric for metric in telemetry.pushed_metrics() if metric.name == "http.server.request.duration"]
    assert pushed.unit == "s"
    assert {tuple(point.attributes.items()): point.count for point in pushed.data.data_points} == {
        (("http.request.method", "POST"), ("http.route", "/api/v1/run/{flow}"), ("http.response.status_code", 200)): 3,
        (("http.request.method", "GET"), ("http.route", "none"), ("http.response.status_code", 404)): 1,
    }
    assert pushed.data.data_points[0].explicit_bounds == BUCKETS


async def test_an_exception_is_measured_as_500(app, telemetry):
    with pytest.raises(LookupError):
        await ask(app, "GET", "/api/v1/broken/x")

    (series,) = telemetry.metrics("http_server_request_duration_seconds_count")
    assert 'http_response_status_code="500"' in series


async def test_requests_are_measured_whether_sampled_or_not(app):
    with recording(sampler=ALWAYS_OFF) as telemetry:
        await ask(app, "POST", "/api/v1/run/orders")

    assert telemetry.spans == []
    assert telemetry.metrics("http_server_request_duration_seconds_count") == {
        f"http_server_request_duration_seconds_count{{{LABELS}}}": 1.0
    }


@pytest.fixture
def langflow_pushes(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """LangFlow's own telemetry is on: its module is there, and a global provider that pushes."""
    monkeypatch.setitem(native.sys.modules, "lfx.observability", object())
    reader = PeriodicExportingMetricReader(NoExporter(), export_interval_millis=float("inf"))
    theirs = MeterProvider(metric_readers=[reader], shutdown_on_exit=False)
    monkeypatch.setattr(metrics, "get_meter_provider", lambda: theirs)
    yield
    theirs.shutdown()


class NoExporter(MetricExporter):
    def export(self, *_: Any, **__: Any) -> MetricExportResult:
        return MetricExportResult.SUCCESS

    def force_flush(self, timeout_millis: float = 0) -> bool:
        return True

    def shutdown(self, timeout_millis: float = 0, **_: Any) -> None: ...


async def test_what_langflow_pushes_is_only_scraped(app, telemetry, langflow_pushes):
    await ask(app, "POST", "/api/v1/run/orders")

    assert telemetry.metrics("http_server_request_duration_seconds_count") == {
        f"http_server_request_duration_seconds_count{{{LABELS}}}": 1.0
    }
    assert "http.server.request.duration" not in [metric.name for metric in telemetry.pushed_metrics()]
    assert "langflow.flow.duration" in [metric.name for metric in telemetry.pushed_metrics()]


def test_a_provider_that_nobody_pushes_from_pushes_no_requests(monkeypatch):
    monkeypatch.setitem(native.sys.modules, "lfx.observability", object())
    for provider in (MeterProvider([InMemoryMetricReader()], shutdown_on_exit=False), NoOpMeterProvider()):
        monkeypatch.setattr(metrics, "get_meter_provider", lambda provider=provider: provider)
        assert not native.requests_are_pushed()


@pytest.mark.usefixtures("langflow_pushes")
def test_before_1_12_langflow_pushes_no_requests(monkeypatch):
    assert native.requests_are_pushed()
    monkeypatch.delitem(native.sys.modules, "lfx.observability")
    assert not native.requests_are_pushed()


async def test_routes_and_methods_have_a_cap(monkeypatch):
    monkeypatch.setattr(measuring, "_MAX_ROUTES", 2)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope["route"] = FastAPI().router.route_class(scope["path"], lambda: None) if scope["path"] else None
        await send({"type": "http.response.start", "status": 200, "headers": []})

    with recording(strict=False) as telemetry:
        for number in range(5):
            await ask(ServerMiddleware(app), f"METHOD{number}", f"/api/{number}")

    counts = telemetry.metrics("http_server_request_duration_seconds_count")
    assert sum(counts.values()) == 5.0
    assert {series.partition('http_route="')[2].partition('"')[0] for series in counts} == {
        "/api/0",
        "/api/1",
        "other",
    }
    assert all('http_request_method="_OTHER"' in series for series in counts)


# Start and stop of the server


class Server:
    """Calls an application's lifespan as uvicorn does."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self._to: asyncio.Queue[MutableMapping[str, Any]] = asyncio.Queue()
        self._from: asyncio.Queue[MutableMapping[str, Any]] = asyncio.Queue()

    async def start(self) -> None:
        self._task = asyncio.create_task(self._app({"type": "lifespan"}, self._to.get, self._from.put))
        assert await self._say("lifespan.startup") == "lifespan.startup.complete"

    async def stop(self) -> float:
        """How long it took, in seconds."""
        before = time.perf_counter()
        assert await self._say("lifespan.shutdown") == "lifespan.shutdown.complete"
        await self._task
        return time.perf_counter() - before

    async def _say(self, message: str) -> str:
        await self._to.put({"type": message})
        return str((await self._from.get())["type"])


@pytest.fixture
def spans_file(tmp_path, monkeypatch) -> Iterator[Any]:
    """Instrumentation is on, put off as in a server, and writes spans to a file."""
    monkeypatch.setattr(instrumentor, "patches", Patches(()))
    monkeypatch.setattr(instrumentor, "lfx_is_installed", lambda: True)
    monkeypatch.setattr(LangflowInstrumentor, "_check_dependency_conflicts", lambda _: None)
    path = tmp_path / "spans.jsonl"
    instrument(settings=Settings(trace_file=path, metrics_default=False), deferred=True)
    yield path
    uninstrument()


async def test_a_server_opens_at_its_start_and_sends_everything_at_its_stop(app, spans_file):
    assert LangflowInstrumentor()._process is None
    served = Server(app)
    await served.start()
    assert LangflowInstrumentor()._process is not None
    await ask(app, "POST", "/api/v1/run/orders")
    await served.stop()

    assert (seen["started"], seen["stopped"]) == (True, True)
    assert spans_file.read_text().count('"spanId"') == 2
    assert "invoke_workflow orders" in spans_file.read_text()
    assert LangflowInstrumentor()._process is None
    assert "langflow-otel-metrics" not in {thread.name for thread in threading.enumerate()}


@pytest.mark.parametrize("first", ["start", "request"])
async def test_what_a_server_sends_with_is_made_off_the_event_loop(app, spans_file, monkeypatch, first):
    """Where a resource is detected, which may take seconds, requests are answered meanwhile."""
    loop, seen_threads = asyncio.get_running_loop(), []

    def detect(_: Settings) -> Resource:
        seen_threads.append(threading.current_thread())
        # Nobody would answer if this thread were the loop's.
        return asyncio.run_coroutine_threadsafe(asyncio.sleep(0, Resource.get_empty()), loop).result(timeout=20)

    monkeypatch.setattr("langflow_otel._sdk.providers.langflow_resource", detect)
    served = Server(app)
    if first == "start":
        await served.start()
        await served.stop()
    else:
        await ask(app, "POST", "/api/v1/run/orders")

    assert seen_threads
    assert threading.current_thread() not in seen_threads


async def test_a_server_without_requests_sends_nothing(app, spans_file):
    served = Server(app)
    await served.start()
    await served.stop()

    assert not spans_file.exists() or spans_file.read_text() == ""


async def test_what_goes_on_at_the_stop_ends_as_cancelled(app, spans_file):
    served = Server(app)
    await served.start()
    flow = recorder().start_flow(FLOW)
    assert flow is not None
    await served.stop()
    flow.finish()

    text = spans_file.read_text()
    assert text.count('"spanId"') == 1
    assert '{"key":"langflow.status","value":{"stringValue":"cancelled"}}' in text
    assert '{"key":"langflow.cancellation.reason","value":{"stringValue":"shutdown"}}' in text


async def test_a_second_life_works_as_the_first(app, spans_file):
    for number in range(2):
        served = Server(make_app())
        await served.start()
        await ask(app, "POST", f"/api/v1/run/{number}")
        await served.stop()

    text = spans_file.read_text()
    assert text.count('"spanId"') == 4
    assert [f"invoke_workflow {number}" in text for number in range(2)] == [True, True]


async def test_what_runs_after_the_stop_is_recorded_all_the_same(app, spans_file):
    served = Server(app)
    await served.start()
    await served.stop()
    run_a_flow("late")
    uninstrument()

    assert "invoke_workflow late" in spans_file.read_text()
    instrument(settings=Settings(trace_file=spans_file))


async def test_a_custom_span_after_the_stop_is_recorded_too(app, spans_file):
    served = Server(app)
    await served.start()
    await served.stop()
    traced("late work")(lambda: None)()
    uninstrument()

    assert "late work" in spans_file.read_text()
    instrument(settings=Settings(trace_file=spans_file))


async def test_a_collector_that_does_not_answer_does_not_hold_the_server(app, spans_file, monkeypatch, caplog):
    from langflow_otel._sdk.trace_file import TraceFileExporter

    monkeypatch.setattr(server, "FLUSH_S", 0.2)
    released = threading.Event()
    export = TraceFileExporter.export

    def hang(self: Any, spans: Any) -> Any:
        released.wait(30)
        return export(self, spans)

    monkeypatch.setattr(TraceFileExporter, "export", hang)
    served = Server(app)
    await served.start()
    await ask(app, "POST", "/api/v1/run/orders")
    took_s = await served.stop()
    released.set()

    assert 0.2 <= took_s < 15
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warnings == ["The last telemetry was not taken within 0.2 s, and is lost."]


@pytest.mark.usefixtures("lenient")
async def test_a_stop_that_fails_costs_no_shutdown(app, spans_file, monkeypatch):
    served = Server(app)
    await served.start()
    monkeypatch.setattr("langflow_otel._hooks.server._stop", broken)
    await served.stop()

    assert guard.faults["server.lifespan"] == 1


@pytest.mark.usefixtures("lenient")
async def test_a_start_that_fails_costs_no_startup(app, spans_file, monkeypatch):
    monkeypatch.setattr(recorder()._preparations, "_steps", [broken])
    served = Server(app)
    await served.start()
    await served.stop()

    assert guard.faults["server.lifespan"] == 1


async def test_off_the_lifespan_is_the_applications(app):
    served = Server(app)
    await served.start()
    await served.stop()

    assert (seen["started"], seen["stopped"]) == (True, True)


async def test_an_application_that_fails_at_its_start_is_prepared_and_not_harmed(spans_file):
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise LookupError("canary")

    with pytest.raises(LookupError, match="canary"):
        await ServerMiddleware(app)({"type": "lifespan"}, broken, broken)


# How the middleware gets there


def middlewares(app: Any) -> list[Any]:
    return [each.kwargs for each in app.user_middleware if each.cls is ServerMiddleware]


def test_an_application_gets_it_once():
    app = FastAPI()
    watch_app(app)
    watch_app(app)

    assert middlewares(app) == [{"server": "langflow"}]


def made_in(module: str, *, handler: bool = False) -> FastAPI:
    """An application as a function of that module makes it."""

    async def answer() -> None: ...

    answer.__module__ = module
    app = FastAPI()
    if handler:
        app.exception_handler(LookupError)(answer)
    else:
        app.get("/health")(answer)
    return app


@pytest.mark.parametrize(
    ("app", "found"),
    [
        (made_in("langflow.main", handler=True), [{"server": "langflow"}]),
        (made_in("lfx.cli.serve_app"), [{"server": "lfx"}]),
        (made_in("somebodys.shop"), []),
        (FastAPI(), []),
    ],
    ids=["LangFlow", "lfx serve", "another", "empty"],
)
def test_an_application_that_starts_gets_it_if_it_is_langflows(app: FastAPI, found: list[Any]):
    build = type(app).build_middleware_stack.__get__(app)
    stack = build_middleware_stack(build, app, (), {})

    assert middlewares(app) == found
    assert isinstance(stack, type(build()))


def test_middleware_is_around_all_other_middleware():
    app = made_in("lfx.cli.serve_app")
    app.middleware("http")(lambda request, call_next: call_next(request))
    build_middleware_stack(app.build_middleware_stack, app, (), {})

    assert app.user_middleware[0].cls is ServerMiddleware


@pytest.mark.usefixtures("lenient")
def test_an_application_of_another_kind_is_left_as_it_is():
    assert build_middleware_stack(lambda: "a stack", "an app", (), {}) == "a stack"

    assert guard.faults["server.watch"] == 1


@pytest.fixture(autouse=True)
def _off_afterwards() -> Iterator[None]:
    yield
    set_active_recorder(None)


@pytest.mark.parametrize(
    ("template", "path", "parameters", "route"),
    [
        ("/api/v1/run/{flow}", "/api/v1/run/orders", {"flow": "orders"}, "/api/v1/run/{flow}"),
        # FastAPI 0.137 and later: without the prefixes of the routers that the route is in.
        ("/run/{flow}", "/api/v1/run/orders", {"flow": "orders"}, "/api/v1/run/{flow}"),
        ("/", "/api/v1/flows/", {}, "/api/v1/flows/"),
        ("/versions/{n}", "/flows/f-1/versions/2", {"flow_id": "f-1", "n": "2"}, "/flows/{flow_id}/versions/{n}"),
        ("/files/{path:path}", "/api/files/a/b.txt", {"path": "a/b.txt"}, "/api/files/{path:path}"),
        # Whatever does not fit stays what the router said.
        ("/run/{flow}", "/elsewhere", {"flow": "orders"}, "/run/{flow}"),
        ("", "/api", {}, ""),
    ],
)
def test_the_whole_route(template: str, path: str, parameters: dict[str, str], route: str):
    assert whole_route(template, path, parameters) == route

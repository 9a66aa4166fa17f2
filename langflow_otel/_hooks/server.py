"""LangFlow's web server, and ``lfx serve``: a middleware around the application.

It starts what was put off in the process that serves, takes the caller's trace context from the headers,
makes a span and a measurement of each request to the API, and sends everything when the server stops.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from contextvars import Token
from typing import Any, Final

from opentelemetry import baggage, propagate, trace
from opentelemetry import context as otel_context
from opentelemetry.context import Context
from opentelemetry.propagators.textmap import Getter
from opentelemetry.trace import INVALID_SPAN
from opentelemetry.util.http import ExcludeList, get_excluded_urls

from langflow_otel._guard import Guard
from langflow_otel._hooks.facts import request_entry_point
from langflow_otel._hooks.native import requests_are_pushed
from langflow_otel._hooks.versions import entry_point_of_path
from langflow_otel._runs.interfaces import Lifecycle
from langflow_otel._runs.parent_context import with_caller
from langflow_otel._runs.recorder import Recorder, active_recorder
from langflow_otel._runs.request import RequestInfo, RequestRun
from langflow_otel._runs.untrusted_callers import refused_baggage, without_refused_baggage

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

FLUSH_S: Final = 5.0
"""How long a server that stops waits for a collector; gunicorn and Kubernetes kill it after 30 s."""
GIVE_UP_S: Final = 20.0
"""How long a server that stops may wait for what it is answering, before that is ended for us."""

_LIFESPAN = Guard("server.lifespan")
_START = Guard("server.request")
_END = Guard("server.response")
_WATCH = Guard("server.watch")

_SERVED: Final = {"langflow": ("/api/",), "lfx": ("/flows", "/api/")}
"""Where the API is; all else is health checks and files of the user interface."""
_MADE_IN: Final = {"langflow.main": "langflow", "lfx.cli.serve_app": "lfx"}
"""Modules that make applications, and whose these are. LangFlow 1.8 and later hands its own to our plugin as well."""


class ServerMiddleware:
    """ASGI middleware. Off, it hands everything through.

    Args:
        app: The application.
        server: Whose it is: ``langflow`` or ``lfx``.
    """

    def __init__(self, app: Any, server: str = "langflow") -> None:
        self._app = app
        self._served = _SERVED[server]
        self._excluded = ExcludeList([])
        with _WATCH:
            self._excluded = get_excluded_urls("ASGI")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(scope, receive, send)
            return
        recorder = active_recorder()
        path = str(scope.get("path", "")).removeprefix(scope.get("root_path") or "")
        if recorder is None or not path.startswith(self._served) or self._excluded.url_disabled(path):
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await self._answer(recorder, path, scope, receive, send)
        else:
            await self._talk(recorder, path, scope, receive, send)

    async def _live(self, scope: Scope, receive: Receive, send: Send) -> None:
        # LangFlow has forked its workers by now, whichever way it does.
        with _LIFESPAN:
            recorder = active_recorder()
            if recorder is not None:
                await recorder.prepare_off_loop()

        async def send_and_stop(message: MutableMapping[str, Any]) -> None:
            if message["type"].startswith("lifespan.shutdown."):
                with _LIFESPAN:
                    _stop()
            await send(message)

        await self._app(scope, receive, send_and_stop)

    async def _answer(self, recorder: Recorder, path: str, scope: Scope, receive: Receive, send: Send) -> None:
        entry_point: Token[str | None] | None = None
        refused: Token[Mapping[str, object] | None] | None = None
        run: RequestRun | None = None
        with _START:
            await recorder.prepare_off_loop()
            entry_point = request_entry_point.set(entry_point_of_path(path))
            refused = refused_baggage.set(_refused_baggage(recorder, scope))
            run = _start(recorder, path, scope)
        status: int | None = None

        async def send_and_note(message: MutableMapping[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, send_and_note)
        except BaseException as exc:
            with _END:
                if run is not None:
                    _finish(run, scope, path, status, exc)
            raise
        else:
            with _END:
                if run is not None:
                    _finish(run, scope, path, status)
        finally:
            if refused is not None:
                refused_baggage.reset(refused)
            if entry_point is not None:
                request_entry_point.reset(entry_point)

    async def _talk(self, recorder: Recorder, path: str, scope: Scope, receive: Receive, send: Send) -> None:
        """A websocket: no span over its whole life, which may be hours; what runs in it joins the caller's trace."""
        entry_point: Token[str | None] | None = None
        refused: Token[Mapping[str, object] | None] | None = None
        token: Token[Context] | None = None
        with _START:
            entry_point = request_entry_point.set(entry_point_of_path(path))
            refused = refused_baggage.set(_refused_baggage(recorder, scope))
            token = otel_context.attach(_context_of(recorder, scope, by_host=recorder.has_parent_here()))
        try:
            await self._app(scope, receive, send)
        finally:
            if token is not None:
                otel_context.detach(token)
            if refused is not None:
                refused_baggage.reset(refused)
            if entry_point is not None:
                request_entry_point.reset(entry_point)


def _start(recorder: Recorder, path: str, scope: Scope) -> RequestRun | None:
    by_host = recorder.has_parent_here()
    info = RequestInfo(
        method=scope["method"],
        path=path,
        scheme=scope.get("scheme", "http"),
        traced=not by_host and recorder.settings.native_spans != "none",
        pushed=not requests_are_pushed(),
    )
    return recorder.start_request(info, _context_of(recorder, scope, by_host=by_host))


def _context_of(recorder: Recorder, scope: Scope, *, by_host: bool) -> Context:
    """The current context if the host has made a span for the request; else what the headers say; of a caller
    that is not trusted, only the id of its span."""
    context = without_refused_baggage(otel_context.get_current())
    if by_host:
        return context
    without_span = with_caller(INVALID_SPAN, context)
    if recorder.settings.remote_parent == "continue":
        return propagate.extract(scope, without_span, _HEADERS)
    if recorder.settings.remote_parent == "ignore":
        return without_span
    return with_caller(trace.get_current_span(_said_by_caller(scope)), context)


def _refused_baggage(recorder: Recorder, scope: Scope) -> Mapping[str, object] | None:
    """What the caller has sent as baggage, if the caller is not trusted."""
    if recorder.settings.remote_parent == "continue":
        return None
    return baggage.get_all(_said_by_caller(scope))


def _said_by_caller(scope: Scope) -> Context:
    return propagate.extract(scope, Context(), _HEADERS)


class _Headers(Getter[Scope]):
    def get(self, carrier: Scope, key: str) -> list[str] | None:
        wanted = key.lower().encode("latin-1")
        found = [value.decode("latin-1") for name, value in carrier["headers"] if name.lower() == wanted]
        return found or None

    def keys(self, carrier: Scope) -> list[str]:
        return [name.decode("latin-1").lower() for name, _ in carrier["headers"]]


_HEADERS = _Headers()


def _finish(run: RequestRun, scope: Scope, path: str, status: int | None, error: BaseException | None = None) -> None:
    route: str | None = None
    try:
        route = _route(scope, path)
    finally:
        run.finish(route, status, error)


def _route(scope: Scope, path: str) -> str | None:
    """The template of the route that answered, which the router leaves in the scope."""
    template = getattr(scope.get("route"), "path", None)
    return whole_route(str(template), path, scope.get("path_params") or {}) if template else None


def whole_route(template: str, path: str, parameters: Mapping[str, Any]) -> str:
    """The template with the prefixes of the routers that the route is in, which FastAPI leaves out since 0.137.

    Args:
        template: Of the route, such as ``/run/{flow}``.
        path: Of the request, such as ``/api/v1/run/my-flow``.
        parameters: What the routers found in the path, by name.
    """
    text, *parts = template.split("{")
    for part in parts:
        parameter, _, rest = part.partition("}")
        text += str(parameters.get(parameter.partition(":")[0], "")) + rest
    if not text or not path.endswith(text):
        return template
    names = {str(value): f"{{{name}}}" for name, value in parameters.items()}
    prefix = path[: -len(text)].split("/")
    return "/".join(names.get(segment, segment) for segment in prefix) + template


_stops = 0
"""How often our middleware has seen a server of this process stop."""


def _stop() -> None:
    global _stops
    _stops += 1
    recorder = active_recorder()
    if recorder is not None and recorder.lifecycle is not None:
        recorder.lifecycle.stop(FLUSH_S)


async def shut_down(wrapped: Callable[..., Any], _: Any, args: Any, kwargs: Any) -> Any:
    """``uvicorn.server.Server.shutdown``: it accepts nothing more, and waits without end for what it is answering;
    meanwhile it may be killed, and would take these spans with it. Afterwards uvicorn raises the signal that stopped it
    once more, and no exit handler of the interpreter sends the rest."""
    timer: asyncio.TimerHandle | None = None
    stops = _stops
    with _LIFESPAN:
        recorder = active_recorder()
        if recorder is not None and recorder.lifecycle is not None:
            timer = asyncio.get_running_loop().call_later(GIVE_UP_S, _give_up, recorder.lifecycle)
    try:
        result = await wrapped(*args, **kwargs)
    finally:
        if timer is not None:
            timer.cancel()
    # An application without our middleware. It may be one of several in this process: nothing is ended here.
    if _stops == stops:
        await _flush()
    return result


async def _flush() -> None:
    flushing: threading.Thread | None = None
    with _LIFESPAN:
        recorder = active_recorder()
        if recorder is not None and recorder.lifecycle is not None:
            flushing = recorder.lifecycle.flush()
    if flushing is None:
        return
    until_s = time.monotonic() + FLUSH_S
    while flushing.is_alive() and time.monotonic() < until_s:  # noqa: ASYNC110 - a thread sets no event here
        await asyncio.sleep(0.01)


def _give_up(lifecycle: Lifecycle) -> None:
    with _LIFESPAN:
        lifecycle.give_up()


def watch_app(app: Any, server: str = "langflow") -> None:
    """Put the middleware around an application, once. It has not served anything yet."""
    if not any(each.cls is ServerMiddleware for each in app.user_middleware):
        app.add_middleware(ServerMiddleware, server=server)


def build_middleware_stack(wrapped: Callable[..., Any], app: Any, args: Any, kwargs: Any) -> Any:
    """``FastAPI.build_middleware_stack``: an application is about to answer for the first time. Who made it may have
    done so by any reference to LangFlow's functions, before we were on."""
    with _WATCH:
        server = _server_of(app)
        if server is not None:
            watch_app(app, server)
    return wrapped(*args, **kwargs)


def _server_of(app: Any) -> str | None:
    """Whose application it is, by the module of its routes and handlers of errors; None if it is not LangFlow's."""
    own = [getattr(route, "endpoint", None) for route in app.routes] + list(app.exception_handlers.values())
    made_in = [_MADE_IN.get(getattr(each, "__module__", "")) for each in own]
    return next(filter(None, made_in), None)

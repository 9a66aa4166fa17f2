"""Loads OpenTelemetry's instrumentors of HTTP clients: calls of components get a CLIENT span and W3C context.

They are loaded when the host imports the client, and never import it themselves. Outside of our runs a gate
before each of them sends the call straight to the client: no span, no header, no baggage that would not have
been there without us. What the host itself has instrumented is left alone.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Collection
from contextlib import suppress
from importlib import import_module
from types import ModuleType
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import wrapt
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.trace import TracerProvider

from langflow_otel._guard import Guard
from langflow_otel._runs.model_call import ModelRun, calling_model
from langflow_otel._runs.run import attach, current_run, step_out
from langflow_otel._sdk.versions import instrumentor_class, is_trace_config_of_aiohttp_instrumentor

# Generic in newer releases only.
_FunctionWrapper: Any = wrapt.FunctionWrapper
_BoundFunctionWrapper: Any = wrapt.BoundFunctionWrapper

_LOAD = Guard("instrumentors.http")
_GATE = Guard("instrumentors.gate")


class _Client(NamedTuple):
    name: str
    """As OTEL_PYTHON_DISABLED_INSTRUMENTATIONS has it."""
    library: str
    package: str
    instrumentor: str
    methods: tuple[tuple[str, str], ...]
    """Class and method that the instrumentor wraps, once per call."""


_HTTPX_METHODS: Final = (("HTTPTransport", "handle_request"), ("AsyncHTTPTransport", "handle_async_request"))
_CONTRIB: Final = "opentelemetry.instrumentation"

CLIENTS: Final = (
    _Client("httpx", "httpx", f"{_CONTRIB}.httpx", "HTTPXClientInstrumentor", _HTTPX_METHODS),
    _Client("httpx2", "httpx2", f"{_CONTRIB}.httpx", "HTTPX2ClientInstrumentor", _HTTPX_METHODS),
    _Client("requests", "requests", f"{_CONTRIB}.requests", "RequestsInstrumentor", (("Session", "send"),)),
    _Client("aiohttp-client", "aiohttp", f"{_CONTRIB}.aiohttp_client", "AioHttpClientInstrumentor", ()),
)
_PORTS: Final = {"https": 443, "http": 80}
NAMES: Final = frozenset(client.name for client in CLIENTS)


_fitting: set[str] = set()
"""Clients whose versions were found to suit their instrumentors."""
_on: list[HttpClients] = []
_awaited: set[str] = set()
"""Clients that the host has not imported yet. wrapt cannot forget a callback: there is one for each in a process."""


class HttpClients:
    """The instrumentors of the HTTP clients.

    Args:
        provider: Makes the CLIENT spans.
        disabled: Names of those to leave alone.
    """

    def __init__(self, provider: TracerProvider, disabled: Collection[str] = ()) -> None:
        self._provider = provider
        self._wanted = [client for client in CLIENTS if client.name not in disabled]
        self._loaded: list[_Loaded] = []

    def load(self) -> None:
        """Instrument each client now, or as soon as the host imports it."""
        _on.append(self)
        for client in self._wanted:
            module = sys.modules.get(client.library)
            if module is not None:
                self.imported(client, module)
            elif client.name not in _awaited:
                _awaited.add(client.name)
                wrapt.register_post_import_hook(functools.partial(_imported, client), client.library)

    def unload(self) -> None:
        """Uninstrument the clients that were loaded here; one that is imported later is not instrumented."""
        with suppress(ValueError):
            _on.remove(self)
        while self._loaded:
            with _LOAD:
                self._loaded.pop().undo()

    def restore(self) -> None:
        """Instrument clients again that other code has uninstrumented meanwhile.

        There is one instrumentor in a process, and other code may uninstrument it as its own."""
        for loaded in [each for each in self._loaded if not each.is_there]:
            self._loaded.remove(loaded)
            with _LOAD:
                loaded.undo()
            self.imported(loaded.client, sys.modules[loaded.client.library])

    def imported(self, client: _Client, module: ModuleType) -> None:
        """The host has imported that client."""
        if client in self._wanted:
            with _LOAD:
                self._load(client, module)

    def _load(self, client: _Client, module: ModuleType) -> None:
        try:
            package = import_module(client.package)
        except ImportError:  # An extra that is not installed.
            return
        made = instrumentor_class(package, client.instrumentor)
        if made is None or made().is_instrumented_by_opentelemetry:
            return
        loaded = _Loaded(client, made())
        if client.library == "aiohttp":
            loaded.gate_sessions(module.ClientSession)
        made().instrument(
            tracer_provider=self._provider,
            meter_provider=NoOpMeterProvider(),
            # Reads the metadata of installed packages, 4 ms each; they stay what they are.
            skip_dep_check=client.name in _fitting,
        )
        if not made().is_instrumented_by_opentelemetry:
            # Its version does not suit the instrumentor, which has said so.
            loaded.undo()
            return
        _fitting.add(client.name)
        if client.library == "aiohttp":
            loaded.remember(module.ClientSession, "__init__")
        for owner, method in client.methods:
            loaded.gate(getattr(module, owner), method)
        self._loaded.append(loaded)


class _BoundGate(_BoundFunctionWrapper):  # type: ignore[misc]
    # By this the requests instrumentor knows its own function when it takes it away.
    opentelemetry_instrumentation_requests_applied = True


class _Gate(_FunctionWrapper):  # type: ignore[misc]
    """Replaces the instrumentor's wrapper around the client's own method; uninstrumenting removes both."""

    __bound_function_wrapper__ = _BoundGate


def _calling_model(request: Any) -> ModelRun | None:
    """The model call that sends this request, below which the request's span is made. None if there is no call, or if
    it has no span. The request is noted in either."""
    with _GATE:
        call = calling_model()
        if call is not None:
            # A text in requests, an object of the client's in the others.
            url: Any = getattr(request, "url", None)
            parts = urlsplit(url) if isinstance(url, str) else url
            host, port = getattr(parts, "hostname", None) or getattr(parts, "host", None), getattr(parts, "port", None)
            call.requested(f"{host}{getattr(parts, 'path', '')}", host, port or _PORTS.get(str(parts.scheme)))
        return call if call is None or call.has_span else None
    return None


def _below_call(call: ModelRun, send: Any, args: Any, kwargs: Any) -> Any:
    tokens = attach(call.context)
    try:
        return send(*args, **kwargs)
    finally:
        step_out(tokens)


async def _async_below_call(call: ModelRun, send: Any, args: Any, kwargs: Any) -> Any:
    tokens = attach(call.context)
    try:
        return await send(*args, **kwargs)
    finally:
        step_out(tokens)


def _imported(client: _Client, module: ModuleType) -> None:
    _awaited.discard(client.name)
    for clients in tuple(_on):
        clients.imported(client, module)


class _Loaded:
    """One instrumentor, with the gates before it."""

    def __init__(self, client: _Client, instrumentor: Any) -> None:
        self.client = client
        self._instrumentor = instrumentor
        self._on_top: list[tuple[Any, str, Any]] = []
        self._session: tuple[Any, Any, Any] | None = None
        self._open = True

    @property
    def is_there(self) -> bool:
        return bool(self._instrumentor.is_instrumented_by_opentelemetry)

    def gate(self, owner: Any, method: str) -> None:
        instrumented = owner.__dict__[method]
        below = _async_below_call if inspect.iscoroutinefunction(instrumented.__wrapped__) else _below_call

        def gated(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
            if not self._open or current_run() is None:
                return wrapped(*args, **kwargs)
            bound = instrumented.__get__(instance, type(instance))
            call = _calling_model(args[0] if args else kwargs.get("request"))
            return bound(*args, **kwargs) if call is None else below(call, bound, args, kwargs)

        setattr(owner, method, _Gate(instrumented.__wrapped__, gated))
        self.remember(owner, method)

    def gate_sessions(self, session: Any) -> None:
        """The aiohttp instrumentor adds a trace configuration to each new session; it is gated in there."""
        original = session.__dict__["__init__"]

        def gated(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
            with _GATE:
                for config in kwargs.get("trace_configs") or ():
                    if is_trace_config_of_aiohttp_instrumentor(config):
                        self._gate_requests(config.on_request_start)
            return wrapped(*args, **kwargs)

        session.__init__ = _FunctionWrapper(original, gated)
        self._session = (session, gated, original)

    def _gate_requests(self, signal: Any) -> None:
        starts = list(signal)

        async def start(session: Any, context: Any, params: Any) -> None:
            # What the instrumentor itself says to its own later steps when it is switched off.
            context.span = None
            if self._open and current_run() is not None:
                call = _calling_model(params)
                tokens = None if call is None else attach(call.context)
                try:
                    for each in starts:
                        await each(session, context, params)
                finally:
                    if tokens is not None:
                        step_out(tokens)

        signal.clear()
        signal.append(start)

    def remember(self, owner: Any, method: str) -> None:
        """All our wrappers of this method are there: what is found on top of them later is not ours."""
        self._on_top.append((owner, method, owner.__dict__[method]))

    def undo(self) -> None:
        self._open = False
        # A wrapper that was put around the method since then would be lost; the gate is shut anyway.
        alone = all(owner.__dict__[method] is wrapper for owner, method, wrapper in self._on_top)
        if alone and self.is_there:
            self._instrumentor.uninstrument()
        if self._session is not None:
            session, gated, original = self._session
            # The instrumentor puts back what it got from the class: our wrapper, in another one around the same.
            if getattr(session.__dict__["__init__"], "_self_wrapper", None) is gated:
                session.__init__ = original

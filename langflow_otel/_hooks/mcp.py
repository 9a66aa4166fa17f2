"""W3C trace context in MCP messages: ``params._meta`` carries ``traceparent``, ``tracestate`` and ``baggage``
(OpenTelemetry semantic conventions for MCP), since a session's messages do not travel in the caller's task."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Token
from typing import Any

from opentelemetry import context as otel_context
from opentelemetry import propagate, trace
from opentelemetry.context import Context
from opentelemetry.trace import INVALID_SPAN

from langflow_otel._guard import Guard
from langflow_otel._runs.parent_context import with_caller
from langflow_otel._runs.recorder import Recorder, active_recorder
from langflow_otel._runs.run import current_run

Call = Callable[..., Any]

_IN = Guard("mcp.in")
_OUT = Guard("mcp.out")


async def handle_call_tool(wrapped: Call, _: Any, args: Any, kwargs: Any) -> Any:
    """``langflow.api.v1.mcp_utils.handle_call_tool``: a client calls a flow as its tool."""
    token: Token[Context] | None = None
    with _IN:
        recorder = active_recorder()
        if recorder is not None and _is_heard(recorder):
            token = _enter_callers_context(recorder, args[2] if len(args) > 2 else kwargs["server"])
    try:
        return await wrapped(*args, **kwargs)
    finally:
        with _IN:
            if token is not None:
                otel_context.detach(token)


def _is_heard(recorder: Recorder) -> bool:
    """False if the caller's span would be neither parent nor link."""
    remote_parent = recorder.settings.remote_parent
    return remote_parent == "continue" or (remote_parent == "link" and recorder.traces)


def _enter_callers_context(recorder: Recorder, server: Any) -> Token[Context] | None:
    meta = getattr(server.request_context, "meta", None)
    carrier = {
        key: value for key, value in (getattr(meta, "model_extra", None) or {}).items() if isinstance(value, str)
    }
    context = propagate.extract(carrier, with_caller(INVALID_SPAN, otel_context.get_current()))
    span = trace.get_current_span(context)
    if not span.get_span_context().is_valid:
        return None
    if recorder.settings.remote_parent != "continue":
        # Not its baggage.
        context = with_caller(span, otel_context.get_current())
    return otel_context.attach(context)


async def send_request(wrapped: Call, _: Any, args: Any, kwargs: Any) -> Any:
    """``mcp.shared.session.BaseSession.send_request``: a component calls a tool of an MCP server."""
    with _OUT:
        if active_recorder() is not None and current_run() is not None:
            _tell_context(args[0] if args else kwargs["request"])
    return await wrapped(*args, **kwargs)


def _tell_context(request: Any) -> None:
    message = getattr(request, "root", request)
    if getattr(message, "method", None) != "tools/call":
        return
    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    if carrier:
        params = message.params
        told = {} if params.meta is None else params.meta.model_dump(by_alias=True, exclude_none=True)
        # What the caller itself put there stays.
        params.meta = type(params).Meta(**{**carrier, **told})

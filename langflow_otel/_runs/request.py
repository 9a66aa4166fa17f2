"""A request to the server: one SERVER span where the host makes none and one is wanted, and its duration.

Names and attributes: OpenTelemetry semantic conventions for HTTP, stable
(https://opentelemetry.io/docs/specs/semconv/http/). Not the contrib ASGI middleware: at this place it names
spans by the raw path (a name for each flow id), its attribute names hang on a variable that is read once for
the whole process, and its metrics do not reach our scrape.
"""

from __future__ import annotations

import time
import weakref
from asyncio import CancelledError
from contextvars import ContextVar, Token
from dataclasses import dataclass

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode, Tracer
from opentelemetry.util.types import AttributeValue

from langflow_otel import _semconv as semconv
from langflow_otel._content.error_texts import error_type
from langflow_otel._content.limits import chosen
from langflow_otel._guard import Guard
from langflow_otel._metrics import catalogue
from langflow_otel._runs.measuring import RunMetrics
from langflow_otel._runs.parent_context import Reaches, parent_and_links, with_span
from langflow_otel._runs.sampling import Sampling
from langflow_otel._runs.untrusted_callers import without_remote_span
from langflow_otel._settings.settings import Settings
from langflow_otel.redaction.urls import path_without_values

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY"})
_OTHER = "_OTHER"  # the convention's word for a method that is none of these
_ERROR = Status(StatusCode.ERROR)
_MEASURE = Guard("metrics.request")
_STOP = Guard("stop")


@dataclass(frozen=True)
class RequestInfo:
    """What is known of a request when it comes in.

    Attributes:
        traced: False if the host makes a span for it already, or if none is wanted.
        pushed: False if the host pushes its duration already.
    """

    method: str
    path: str
    scheme: str
    traced: bool = True
    pushed: bool = True

    @property
    def known_method(self) -> str:
        return self.method if self.method in _METHODS else _OTHER


class RequestRun:
    """One request that is being served. Whatever happens below it sees its span as the current one."""

    __slots__ = ("__weakref__", "_context_token", "_info", "_metrics", "_own_token", "_sampling", "_span", "_started_s")

    def __init__(
        self,
        span: Span | None,
        sampling: Sampling,
        context: Context,
        info: RequestInfo,
        metrics: RunMetrics | None,
    ) -> None:
        self._span = span
        self._sampling = sampling
        self._info = info
        self._metrics = metrics
        self._context_token: Token[Context] | None = otel_context.attach(context)
        self._own_token = _own_context.set(None if span is None else context)
        self._started_s = time.perf_counter()
        _open_requests.add(self)

    @classmethod
    def start(
        cls,
        tracer: Tracer | None,
        sampling: Sampling,
        info: RequestInfo,
        context: Context,
        settings: Settings,
        metrics: RunMetrics | None,
        reaches: Reaches,
    ) -> RequestRun:
        """A request comes in, and is current from here on.

        Args:
            tracer: Makes the span; None for none.
            sampling: Whether it is made.
            info: The request.
            context: What the request's headers say.
            settings: Whether a caller in another process is trusted, and whether the path leaves whole.
            metrics: Measures it; None without metrics.
            reaches: Which spans are sent where ours are.
        """
        span = None
        if tracer is not None and info.traced:
            context, links = parent_and_links(context, settings.remote_parent, reaches=reaches)
            path = info.path if settings.url_paths else path_without_values(info.path)
            span = _start_span(tracer, sampling, info, path, context, links)
            context = with_span(span, context)
        elif not info.traced:
            context = _without_span_of_ours(context, settings)
        elif settings.remote_parent != "continue":
            context = without_remote_span(context)
        return cls(span, sampling, context, info, metrics)

    def finish(self, route: str | None, status: int | None, error: BaseException | None = None) -> None:
        """The request is answered, or failed; same task as :meth:`start`.

        Args:
            route: The route's template, such as ``/api/v1/run/{flow_id_or_name}``; None if none matched.
            status: Of the response; None if there was none.
            error: What came out of the application, if something did.
        """
        duration_s = time.perf_counter() - self._started_s
        token, self._context_token = self._context_token, None
        _open_requests.discard(self)
        try:
            if self._span is not None and self._span.is_recording():
                self._sampling.end_request(self._span)
                _end_span(self._span, self._info, route, status, error)
        finally:
            if token is not None:
                _own_context.reset(self._own_token)
                otel_context.detach(token)
        if self._metrics is not None:
            with _MEASURE:
                labels = {
                    semconv.HTTP_REQUEST_METHOD: self._info.known_method,
                    semconv.HTTP_ROUTE: self._metrics.route(route),
                    semconv.HTTP_RESPONSE_STATUS_CODE: str(status or 500),
                }
                series = self._metrics.recording(catalogue.HTTP_REQUEST_DURATION, labels, pushed=self._info.pushed)
                series.record(duration_s)

    def give_up(self, reason: str) -> None:
        """End the span now, with the reason; the rest is for :meth:`finish`, should it come to that."""
        if self._span is not None:
            self._span.set_attribute(semconv.CANCELLATION_REASON, reason)
            self._span.end()


_own_context: ContextVar[Context | None] = ContextVar("langflow_otel_request", default=None)


def own_request_context() -> Context | None:
    """The context of the request that is being served, if its span is ours."""
    return _own_context.get()


_open_requests: weakref.WeakSet[RequestRun] = weakref.WeakSet()


def end_open_requests(reason: str) -> None:
    """End the spans of requests that are being answered: the process stops, and would take them with it.

    Args:
        reason: Why, for ``langflow.cancellation.reason``.
    """
    for request in tuple(_open_requests):
        with _STOP:
            request.give_up(reason)


def _without_span_of_ours(context: Context, settings: Settings) -> Context:
    """The host's span of the request, sent or not, stays the current one: a flow finds its caller all the same."""
    caller, host = trace.get_current_span(context), trace.get_current_span()
    if caller.get_span_context().is_valid:
        context = with_span(caller, context)
    if host.is_recording():
        return trace.set_span_in_context(host, context)
    return context if settings.remote_parent == "continue" else without_remote_span(context)


def _start_span(
    tracer: Tracer, sampling: Sampling, info: RequestInfo, path: str, context: Context, links: list[Link] | None
) -> Span:
    attributes: dict[str, AttributeValue] = {
        semconv.HTTP_REQUEST_METHOD: info.known_method,
        semconv.URL_PATH: chosen(path),
        semconv.URL_SCHEME: info.scheme,
    }
    return sampling.start_request(
        tracer, info.known_method, context, kind=SpanKind.SERVER, attributes=attributes, links=links
    )


def _end_span(
    span: Span, info: RequestInfo, route: str | None, status: int | None, error: BaseException | None
) -> None:
    try:
        if route:
            span.update_name(f"{info.known_method} {route}")
            span.set_attribute(semconv.HTTP_ROUTE, route)
        if status is not None:
            span.set_attribute(semconv.HTTP_RESPONSE_STATUS_CODE, status)
        # Cancelled is not an error.
        if not isinstance(error, CancelledError) and (error is not None or (status or 0) >= 500):
            span.set_attribute(semconv.ERROR_TYPE, str(status) if error is None else error_type(error))
            span.set_status(_ERROR)
    finally:
        span.end()

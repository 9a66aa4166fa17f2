"""The page of metrics as a route of an ASGI application, beside or instead of the endpoint's own port.

Example, in FastAPI or Starlette::

    from langflow_otel.asgi import metrics_app

    app.add_route("/metrics", metrics_app)

It shows what the endpoint shows: the totals over all workers, whichever of them answers, and the same bearer
token is asked for. ``OTEL_METRICS_EXPORTER=prometheus`` must be set.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from http import HTTPStatus
from typing import Any

from langflow_otel.export.prometheus import bearer_token
from langflow_otel.instrumentor import LangflowInstrumentor
from langflow_otel.recording.guard import Guard

logger = logging.getLogger("langflow_otel")

Message = MutableMapping[str, Any]

_OFF = b"Metrics are off: set OTEL_METRICS_EXPORTER=prometheus, and instrument() before the first request.\n"
_PLAIN = "text/plain; charset=utf-8"
_PAGE = Guard("metrics.route")


class MetricsApp:
    """ASGI application that answers every GET and HEAD with the page of metrics."""

    async def __call__(
        self, scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
    ) -> None:
        if scope["type"] != "http":
            return
        if scope["method"] not in ("GET", "HEAD"):
            await _answer(scope, send, HTTPStatus.METHOD_NOT_ALLOWED, _PLAIN, b"", ("Allow", "GET, HEAD"))
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        # In a thread: it reads files, and a page takes some milliseconds.
        status, content_type, body, more = await asyncio.to_thread(_page, scope, headers)
        await _answer(scope, send, status, content_type, body, *more)


metrics_app = MetricsApp()
"""The page of metrics."""


def _page(scope: Message, headers: dict[str, str]) -> tuple[HTTPStatus, str, bytes, tuple[tuple[str, str], ...]]:
    instrumentor = LangflowInstrumentor()
    scrape, settings = instrumentor.scrape, instrumentor.scrape_settings
    if scrape is None or settings is None:
        return HTTPStatus.SERVICE_UNAVAILABLE, _PLAIN, _OFF, ()
    if settings.token_file is not None:
        problem = bearer_token(settings.token_file).problem(headers.get("authorization"))
        if problem is not None:
            client = (scope.get("client") or ("unknown", 0))[0]
            logger.warning("Scrape refused: 401 %s, %s %s from %s", problem, scope["method"], scope["path"], client)
            challenge = ("WWW-Authenticate", 'Bearer realm="metrics"')
            return HTTPStatus.UNAUTHORIZED, _PLAIN, b"A bearer token is needed\n", (challenge,)
    with _PAGE:
        page = scrape.page(headers.get("accept", ""), headers.get("accept-encoding", ""))
        return HTTPStatus.OK, page.content_type, page.body, page.headers
    return HTTPStatus.INTERNAL_SERVER_ERROR, _PLAIN, b"See the log\n", ()


async def _answer(
    scope: Message,
    send: Callable[[Message], Awaitable[None]],
    status: HTTPStatus,
    content_type: str,
    body: bytes,
    *headers: tuple[str, str],
) -> None:
    named = [("Content-Type", content_type), ("Content-Length", str(len(body))), *headers]
    raw = [(name.lower().encode(), value.encode()) for name, value in named]
    await send({"type": "http.response.start", "status": int(status), "headers": raw})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

"""The page of metrics as a route of an ASGI application, beside or instead of the endpoint's own port.

Example, in FastAPI or Starlette::

    from langflow_otel.asgi import metrics_app

    app.add_route("/metrics", metrics_app)

It shows what the endpoint shows: the totals over all workers, whichever of them answers, and the same bearer
token is asked for. ``OTEL_METRICS_EXPORTER=prometheus`` must be set. Which hosts a request may name is the
application's to decide, for all of its routes (Starlette's ``TrustedHostMiddleware``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from http import HTTPStatus
from typing import Any

from langflow_otel._guard import Guard
from langflow_otel._metrics.scrape_answer import Answer, ScrapeRequest, answer_to
from langflow_otel.instrumentor import LangflowInstrumentor

__all__ = ["MetricsApp", "metrics_app"]

Message = MutableMapping[str, Any]

_OFF = b"Metrics are off: set OTEL_METRICS_EXPORTER=prometheus, and instrument() before the first request.\n"
_PAGE = Guard("metrics.route")


class MetricsApp:
    """ASGI application that answers every GET and HEAD with the page of metrics."""

    async def __call__(
        self, scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
    ) -> None:
        if scope["type"] != "http":
            return
        if scope["method"] not in ("GET", "HEAD"):
            await _send(scope, send, Answer(HTTPStatus.METHOD_NOT_ALLOWED, b"", (("Allow", "GET, HEAD"),)))
            return
        # In a thread: it reads files, and a page takes some milliseconds.
        await _send(scope, send, await asyncio.to_thread(_answer, scope))


metrics_app = MetricsApp()
"""The page of metrics."""


def _answer(scope: Message) -> Answer:
    instrumentor = LangflowInstrumentor()
    scrape, settings = instrumentor.scrape, instrumentor.scrape_settings
    if scrape is None or settings is None:
        return Answer(HTTPStatus.SERVICE_UNAVAILABLE, _OFF)
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
    client = (scope.get("client") or ("unknown", 0))[0]
    return answer_to(ScrapeRequest(scope["method"], scope["path"], client, headers.get), scrape, settings, _PAGE)


async def _send(scope: Message, send: Callable[[Message], Awaitable[None]], answer: Answer) -> None:
    length = str(len(answer.body))
    headers = [("Content-Type", answer.content_type), ("Content-Length", length), *answer.headers]
    raw = [(name.lower().encode(), value.encode()) for name, value in headers]
    await send({"type": "http.response.start", "status": int(answer.status), "headers": raw})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else answer.body})

"""Answers to requests for the metrics page, for the endpoint and for the ASGI app."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus

from langflow_otel._guard import Guard
from langflow_otel._metrics.credentials import bearer_token
from langflow_otel._metrics.scrape import Scrape
from langflow_otel._settings.settings import ScrapeSettings

logger = logging.getLogger("langflow_otel")

PLAIN = "text/plain; charset=utf-8"
_LONGEST_SHOWN = 100


@dataclass(frozen=True)
class ScrapeRequest:
    """Attributes: header: The value of a header by its name in lower case, None without one; client: For the log."""

    method: str
    path: str
    client: str
    header: Callable[[str], str | None]


@dataclass(frozen=True)
class Answer:
    """What an HTTP server is to send; its length is left to it, and the body to a GET."""

    status: HTTPStatus
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()
    content_type: str = PLAIN


def answer_to(request: ScrapeRequest, scrape: Scrape, settings: ScrapeSettings, guard: Guard) -> Answer:
    """The page; 401 without the token that is asked for; 500 if the page cannot be made.

    Reads files and takes some milliseconds: not for an event loop.

    Args:
        guard: Where a fault in the page is counted.
    """
    if settings.token_file is not None:
        problem = bearer_token(settings.token_file).problem(request.header("authorization"))
        if problem is not None:
            logger.warning(
                "Scrape refused: 401 %s, %s %s from %s", problem, request.method, request.path, request.client
            )
            challenge = ("WWW-Authenticate", 'Bearer realm="metrics"')
            return Answer(HTTPStatus.UNAUTHORIZED, b"A bearer token is needed\n", (challenge,))
    with guard:
        page = scrape.page(request.header("accept") or "", request.header("accept-encoding") or "")
        return Answer(HTTPStatus.OK, page.body, page.headers, page.content_type)
    return Answer(HTTPStatus.INTERNAL_SERVER_ERROR, b"See the log\n")


def refused_host(request: ScrapeRequest, host: str) -> Answer:
    """403 for a request that names a host which is not ours."""
    shown = repr(host if len(host) <= _LONGEST_SHOWN else host[: _LONGEST_SHOWN - 3] + "...")
    logger.warning(
        "Scrape refused: 403 the host %s is neither local nor in LANGFLOW_OTEL_SCRAPE_HOSTS, %s %s from %s",
        shown,
        request.method,
        request.path,
        request.client,
    )
    return Answer(HTTPStatus.FORBIDDEN, b"This host is not in LANGFLOW_OTEL_SCRAPE_HOSTS\n")

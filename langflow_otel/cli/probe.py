"""``langflow-otel probe``: asks a LangFlow server as its users do."""

from __future__ import annotations

import http.client
import json
import os
import ssl
import time
from dataclasses import asdict, dataclass
from http import HTTPStatus
from typing import NamedTuple
from urllib.parse import quote, urlsplit

import typer
from rich.markup import escape

from langflow_otel.cli.console import FAILED, give_up, glyphs_of, in_words, make_console

API_KEY = "LANGFLOW_API_KEY"
"""The environment variable with LangFlow's API key, for the flow. No option: arguments are seen by other users."""
_MAX_ANSWER = 1_000_000
_MAX_SHOWN = 200


@dataclass(frozen=True)
class Answer:
    """What became of one request.

    Attributes:
        check: ``health`` or ``flow``.
        status: Of HTTP; None where no answer came.
        problem: What is wrong; empty if nothing is.
    """

    check: str
    ok: bool
    status: int | None
    seconds: float
    problem: str


class Server(NamedTuple):
    """Where LangFlow is.

    Attributes:
        path: In front of all paths, as behind a proxy; empty or from a slash on.
        timeout_s: For the connection, and for each part of the answer.
    """

    scheme: str
    netloc: str
    path: str
    timeout_s: float


def probe(url: str, flow: str | None, text: str, timeout_s: float, *, as_json: bool) -> None:
    """Ask for the server's health and, with a flow, run that. Exit code 1 if one of them fails."""
    server = server_at(url, timeout_s)
    answers = [ask_health(server)]
    if flow is not None:
        answers.append(run_flow(server, flow, text, os.environ.get(API_KEY, "")))
    if as_json:
        typer.echo(json.dumps([asdict(answer) for answer in answers]))
    else:
        _show(answers)
    if not all(answer.ok for answer in answers):
        raise typer.Exit(FAILED)


def server_at(url: str, timeout_s: float) -> Server:
    """The server of an URL; one that cannot be used is the end of the command."""
    if "@" in url:
        give_up(f"the URL must not hold a password; an API key goes into {API_KEY}")
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        give_up(f"{url!r} is no URL of a server, such as http://localhost:7860")
    return Server(parts.scheme, parts.netloc, parts.path.rstrip("/"), timeout_s)


def ask_health(server: Server) -> Answer:
    """``/health_check``, which asks LangFlow's database and its chat service as well."""
    return _ask(server, "health", "GET", "/health_check")


def run_flow(server: Server, flow: str, text: str, api_key: str) -> Answer:
    """Run a flow to its end by LangFlow's API.

    Args:
        flow: Its id or endpoint name.
        text: What to say to it.
        api_key: Empty where LangFlow wants none.
    """
    body = json.dumps({"input_value": text, "input_type": "chat", "output_type": "chat"})
    headers = {"Content-Type": "application/json"}
    if api_key:
        headers["x-api-key"] = api_key
    return _ask(server, "flow", "POST", f"/api/v1/run/{quote(flow, safe='')}?stream=false", body, headers)


def _ask(
    server: Server, check: str, method: str, path: str, body: str | None = None, headers: dict[str, str] | None = None
) -> Answer:
    started_s = time.monotonic()
    connection = _connection(server)
    status, problem = None, ""
    try:
        connection.request(method, server.path + path, body, headers or {})
        response = connection.getresponse()
        status = response.status
        text = response.read(_MAX_ANSWER).decode(errors="replace")
        if status != HTTPStatus.OK:
            # Not followed where it leads elsewhere: the API key would go there, too.
            problem = f"{status} {response.reason}: {text[:_MAX_SHOWN].strip()}"
    except TimeoutError:
        problem = f"no answer within {server.timeout_s:g} s"
    except (OSError, http.client.HTTPException, ValueError) as exc:
        problem = str(exc) or type(exc).__name__
    finally:
        connection.close()
    return Answer(check, not problem, status, round(time.monotonic() - started_s, 6), problem)


def _connection(server: Server) -> http.client.HTTPConnection:
    if server.scheme == "https":
        context = ssl.create_default_context()
        return http.client.HTTPSConnection(server.netloc, timeout=server.timeout_s, context=context)
    return http.client.HTTPConnection(server.netloc, timeout=server.timeout_s)


def _show(answers: list[Answer]) -> None:
    console = make_console()
    glyphs = glyphs_of(console)
    for answer in answers:
        sign = f"[green]{glyphs.ok}[/]" if answer.ok else f"[red]{glyphs.error}[/]"
        told = "answered" if answer.ok else escape(answer.problem)
        console.print(f"{sign} {answer.check:<6}  {told} ({in_words(answer.seconds)})", soft_wrap=True)

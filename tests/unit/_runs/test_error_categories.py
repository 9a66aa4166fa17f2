"""Errors of real libraries have the category that they mean, without any import of theirs in the package."""

from __future__ import annotations

import asyncio
import concurrent.futures
import importlib.util
import json
import socket
import ssl
import urllib.error
from collections.abc import Callable
from email.message import Message
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
import requests

from langflow_otel._hooks.outcomes import root_error
from langflow_otel._runs.error_categories import category_of, is_from_outside
from langflow_otel._runs.facts import CACHED, CANCELLED, OK, Outcome

URL = "http://127.0.0.1/v1"

Cases = list[tuple[str, Callable[[], BaseException]]]


def _httpx_status(status: int) -> BaseException:
    request = httpx.Request("GET", URL)
    return httpx.HTTPStatusError("x", request=request, response=httpx.Response(status, request=request))


def _requests_status(status: int) -> BaseException:
    response = requests.Response()
    response.status_code = status
    return requests.HTTPError("x", response=response)


def _botocore(status: int, name: str) -> BaseException:
    cls = type(name, (Exception,), {"response": {"ResponseMetadata": {"HTTPStatusCode": status}}})
    return cls("x")


CASES: Cases = [
    ("authentication", lambda: _httpx_status(401)),
    ("authentication", lambda: _requests_status(403)),
    ("rate_limit", lambda: _httpx_status(429)),
    ("rate_limit", lambda: _botocore(400, "ThrottlingException")),
    ("timeout", lambda: _httpx_status(504)),
    ("timeout", lambda: httpx.ReadTimeout("x")),
    ("timeout", lambda: httpx.ConnectTimeout("x")),
    ("timeout", lambda: requests.ConnectTimeout("x")),
    ("timeout", lambda: requests.ReadTimeout("x")),
    ("timeout", lambda: asyncio.TimeoutError()),
    ("timeout", lambda: TimeoutError()),
    ("network", lambda: httpx.ConnectError("x")),
    ("network", lambda: httpx.RemoteProtocolError("x")),
    ("network", lambda: requests.ConnectionError("x")),
    ("network", lambda: requests.exceptions.ChunkedEncodingError("x")),
    ("network", lambda: ConnectionResetError()),
    ("network", lambda: ssl.SSLError("x")),
    ("network", lambda: socket.gaierror("x")),
    ("network", lambda: urllib.error.URLError("x")),
    ("invalid_request", lambda: _httpx_status(404)),
    ("invalid_request", lambda: _botocore(400, "ValidationException")),
    ("invalid_request", lambda: httpx.InvalidURL("x")),
    ("invalid_request", lambda: httpx.UnsupportedProtocol("x")),
    ("invalid_request", lambda: requests.exceptions.MissingSchema("x")),
    ("provider", lambda: _httpx_status(500)),
    ("provider", lambda: _requests_status(529)),
    ("provider", lambda: urllib.error.HTTPError(URL, 503, "x", Message(), None)),
    ("tool", lambda: type("ToolException", (Exception,), {})()),
    ("code", lambda: ValueError("x")),
    ("code", lambda: PermissionError("a file")),
    ("code", lambda: FileNotFoundError("a file")),
    ("code", lambda: json.JSONDecodeError("x", "y", 0)),
    ("code", lambda: type("Own", (Exception,), {"code": 7, "status": "on", "response": {"ResponseMetadata": 1}})()),
    ("cancelled", lambda: asyncio.CancelledError()),
    ("cancelled", lambda: concurrent.futures.CancelledError()),
]


def _of_a_client(module: Any) -> Cases:
    """What the clients of OpenAI and of Anthropic share."""

    def status(name: str, code: int, body: Any = None) -> Callable[[], BaseException]:
        response = httpx.Response(code, request=httpx.Request("POST", URL))
        return lambda: getattr(module, name)("x", response=response, body=body)

    def other(name: str) -> Callable[[], BaseException]:
        return lambda: getattr(module, name)(request=httpx.Request("POST", URL))

    return [
        ("authentication", status("AuthenticationError", 401)),
        ("authentication", status("PermissionDeniedError", 403)),
        ("rate_limit", status("RateLimitError", 429)),
        ("invalid_request", status("BadRequestError", 400)),
        ("invalid_request", status("NotFoundError", 404)),
        ("invalid_request", status("UnprocessableEntityError", 422)),
        ("provider", status("InternalServerError", 500)),
        ("timeout", other("APITimeoutError")),
        ("network", lambda: module.APIConnectionError(message="x", request=httpx.Request("POST", URL))),
        ("provider", lambda: module.APIError("x", httpx.Request("POST", URL), body=None)),
    ]


def _openai() -> Cases:
    import openai

    request = httpx.Request("POST", URL)

    def filtered() -> BaseException:
        response = httpx.Response(400, request=request)
        return openai.BadRequestError("x", response=response, body={"code": "content_filter"})

    def without_a_key() -> BaseException:
        with pytest.MonkeyPatch.context() as patch:
            patch.delenv("OPENAI_API_KEY", raising=False)
            try:
                openai.OpenAI()
            except openai.OpenAIError as exc:
                return exc
        raise AssertionError("a client without a key")

    return [
        *_of_a_client(openai),
        ("content_filter", filtered),
        ("content_filter", lambda: openai.ContentFilterFinishReasonError()),
        ("rate_limit", lambda: openai.APIError("x", request, body={"code": "rate_limit_exceeded"})),
        ("authentication", without_a_key),
    ]


def _anthropic() -> Cases:
    import anthropic

    return _of_a_client(anthropic)


def _aiohttp() -> Cases:
    import aiohttp

    info: Any = SimpleNamespace(real_url=URL)

    def status(code: int) -> Callable[[], BaseException]:
        return lambda: aiohttp.ClientResponseError(info, (), status=code)

    return [
        ("rate_limit", status(429)),
        ("provider", status(502)),
        ("timeout", lambda: aiohttp.ServerTimeoutError()),
        ("timeout", lambda: aiohttp.ConnectionTimeoutError()),
        ("network", lambda: aiohttp.ServerDisconnectedError()),
        ("network", lambda: aiohttp.ClientPayloadError()),
        ("invalid_request", lambda: aiohttp.InvalidURL(URL)),
    ]


for name, cases in (("openai", _openai), ("anthropic", _anthropic), ("aiohttp", _aiohttp)):
    if importlib.util.find_spec(name) is not None:
        CASES += cases()


@pytest.mark.parametrize(("category", "make"), CASES)
def test_an_error_has_the_category_that_it_means(category, make):
    error = make()

    assert category_of(Outcome("error", error)) == category, type(error).__mro__


def test_success_has_no_category_and_cancellation_its_own():
    assert [category_of(each) for each in (OK, CACHED, Outcome("paused"))] == [None] * 3
    assert category_of(CANCELLED) == "cancelled"


def test_an_unknown_error_is_of_the_code_or_the_tool():
    assert category_of(Outcome("error")) == "code"
    assert category_of(Outcome("error"), unknown="tool") == "tool"
    assert category_of(Outcome("error", httpx.ReadTimeout("x")), unknown="tool") == "timeout"


def test_an_authors_error_has_the_category_of_its_cause_only():
    class AuthorsError(Exception):
        pass

    caused, handled = AuthorsError(), AuthorsError()
    caused.__cause__ = _httpx_status(429)
    handled.__context__ = _httpx_status(429)

    assert category_of(Outcome("error", caused)) == "rate_limit"
    assert category_of(Outcome("error", handled)) == "code"


def test_causes_in_a_circle_end():
    first, second = ValueError("a"), ValueError("b")
    first.__cause__, second.__cause__ = second, first

    assert category_of(Outcome("error", first)) == "code"
    assert root_error(first) in (first, second)


def test_an_error_whose_attributes_cannot_be_read_is_code():
    class HostileError(Exception):
        @property
        def status_code(self) -> int:
            raise RuntimeError

        response = code = status = status_code

    assert category_of(Outcome("error", HostileError())) == "code"


@pytest.mark.parametrize(
    ("error", "is_outside"),
    [
        (httpx.ReadTimeout("x"), True),
        (_httpx_status(404), True),
        (TimeoutError(), False),
        (json.JSONDecodeError("x", "y", 0), False),
        (asyncio.CancelledError(), False),
    ],
)
def test_which_errors_come_from_outside(error, is_outside):
    assert is_from_outside(error) is is_outside


@pytest.mark.parametrize("wrapper", [ValueError, RuntimeError, TypeError, Exception])
def test_a_plain_error_that_rewords_a_providers_is_the_providers(wrapper):
    provider = _httpx_status(429)
    reworded, twice = wrapper("say it again"), ValueError("and again")
    reworded.__cause__, twice.__cause__ = provider, reworded

    assert root_error(reworded) is provider
    assert root_error(twice) is provider


def test_langchains_class_for_a_providers_error_is_that_error():
    provider: Any = _httpx_status(401)
    langchains = type("OpenAIAuthenticationError", (type(provider),), {"__module__": "langchain_openai.errors"})
    by_langchain = langchains("x", request=provider.request, response=provider.response)
    reworded = ValueError("say it again")
    reworded.__cause__, by_langchain.__cause__ = by_langchain, provider

    assert root_error(reworded) is root_error(by_langchain) is provider


@pytest.mark.parametrize("bases", [(Exception,), (httpx.HTTPStatusError,)])
def test_an_error_of_langchains_integrations_is_the_providers(bases):
    integrations = type("ChatModelError", bases, {"__module__": "langchain_google_genai.chat_models"})
    provider, raised = _httpx_status(429), Exception.__new__(integrations)
    raised.__cause__ = provider

    assert root_error(raised) is provider


def test_an_error_of_langchain_itself_stays():
    tool_error = type("ToolException", (Exception,), {"__module__": "langchain_core.tools.base"})()
    tool_error.__cause__ = _httpx_status(429)

    assert root_error(tool_error) is tool_error


def test_an_error_that_the_author_chose_stays():
    class AuthorsError(ValueError):
        pass

    for chosen, cause in ((AuthorsError(), _httpx_status(429)), (ValueError(), KeyError()), (LookupError(), OSError())):
        chosen.__cause__ = cause
        assert root_error(chosen) is chosen

"""What errors of any library say of themselves, without an import of that library."""

from __future__ import annotations

import itertools
import urllib.error
from email.message import Message
from http import HTTPStatus
from types import SimpleNamespace
from typing import Any

import pytest

from langflow_otel._errors import http_status_of, with_causes


class Refused(Exception):  # noqa: N818
    """As httpx and requests have it."""

    def __init__(self, status: object) -> None:
        self.response = SimpleNamespace(status_code=status)


class ApiError(Exception):
    """As OpenAI's and Anthropic's clients have it."""

    def __init__(self, status: object) -> None:
        self.status_code = status


class ClientError(Exception):
    """As botocore has it."""

    def __init__(self, response: object) -> None:
        self.response = response


class GoogleError(Exception):
    """As Google's clients have it."""

    def __init__(self, code: object, status: object = "UNAVAILABLE") -> None:
        self.code = code
        self.status = status


class HostileError(Exception):
    @property
    def status(self) -> int:
        raise RuntimeError

    status_code = response = code = status


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (Refused(429), 429),
        (Refused(200), 200),
        (ApiError(401), 401),
        (ApiError(HTTPStatus.BAD_GATEWAY), 502),
        (ClientError({"ResponseMetadata": {"HTTPStatusCode": 400}}), 400),
        (ClientError({"ResponseMetadata": 400}), None),
        (GoogleError(503), 503),
        (GoogleError(HTTPStatus.NOT_FOUND), 404),
        (GoogleError(503, status=200), 200),
        (GoogleError(101), None),
        (GoogleError("503"), None),
        (urllib.error.HTTPError("http://x", 503, "busy", Message(), None), 503),
        (ApiError("401"), None),
        (ApiError(0), None),
        (ApiError(True), None),
        (OSError(101, "unreachable"), None),
        (SystemExit(200), None),
        (SystemExit(404), None),
        (ValueError(), None),
        (HostileError(), None),
    ],
    ids=repr,
)
def test_the_status_of_a_failed_call_is_known(error: BaseException, status: int | None):
    assert http_status_of(error) == status


def _raised(with_cause: bool) -> tuple[Exception, Exception]:
    handled, raised = KeyError(), ValueError()
    if with_cause:
        raised.__cause__ = handled
    else:
        raised.__context__ = handled
    return handled, raised


@pytest.mark.parametrize("contexts", [False, True])
def test_the_cause_of_an_error_follows_it(contexts: bool):
    cause, raised = _raised(with_cause=True)

    assert list(with_causes(raised, contexts=contexts)) == [raised, cause]


def test_an_error_that_was_handled_follows_only_where_asked():
    handled, raised = _raised(with_cause=False)

    assert list(with_causes(raised, contexts=False)) == [raised]
    assert list(with_causes(raised, contexts=True)) == [raised, handled]
    raised.__suppress_context__ = True
    assert list(with_causes(raised, contexts=True)) == [raised]


def test_causes_are_five_at_most_and_end_in_a_circle():
    errors: list[Any] = [ValueError() for _ in range(7)]
    for error, cause in itertools.pairwise(errors):
        error.__cause__ = cause
    assert list(with_causes(errors[0], contexts=False)) == errors[:5]

    errors[2].__cause__ = errors[0]
    assert list(with_causes(errors[0], contexts=False)) == errors[:3]
    assert list(with_causes(None, contexts=True)) == []

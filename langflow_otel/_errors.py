"""What an error says of itself, whatever library it is of: its attributes, its causes, its stack, an HTTP status."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import Final

_MAX_CAUSES: Final = 5
_MAX_FRAMES: Final = 50
_MAX_NAME: Final = 1_000
_STATUSES: Final = ("status_code", "status")


def attribute_of(holder: object, name: str) -> object:
    """An attribute of an error, or of a part of one; None if there is none, or if it cannot be read."""
    try:
        return getattr(holder, name, None)
    except Exception:  # noqa: BLE001 - a property is its author's code
        return None


def with_causes(error: BaseException | None, *, contexts: bool) -> Iterator[BaseException]:
    """The error and its causes, the last raised first: 5 at most, each once.

    Args:
        error: None for no errors.
        contexts: Also what was being handled when an error without a cause was raised. It need not be the reason.
    """
    seen: set[int] = set()
    while error is not None and id(error) not in seen and len(seen) < _MAX_CAUSES:
        seen.add(id(error))
        yield error
        # Not `or`: an exception's truth value is its author's code.
        hidden = error.__context__ if contexts and not error.__suppress_context__ else None
        error = error.__cause__ if error.__cause__ is not None else hidden


def type_name(error: BaseException) -> str:
    """The error's class with its module; builtins go without."""
    module, name = type(error).__module__, type(error).__qualname__
    return name if module in ("builtins", "__main__", None) else f"{module}.{name}"


def stack_of(
    error: BaseException,
    last_line: Callable[[BaseException], str] = type_name,
    shorten: Callable[[str], str] = lambda name: name[:_MAX_NAME],
) -> str:
    """Stack of the error and of its causes, outermost frame first: file, line and function, no line of source.

    At most 5 causes and the innermost 50 frames of each.

    Args:
        error: The error.
        last_line: What stands below the frames of each; by default its class.
        shorten: Cuts the names of files and functions, by default to 1,000 characters.
    """
    stacks = []
    for each in with_causes(error, contexts=True):
        frames = [
            f'  File "{shorten(frame.f_code.co_filename)}", line {line}, in {shorten(frame.f_code.co_name)}'
            for frame, line in traceback.walk_tb(each.__traceback__)
        ]
        stacks.append("\n".join([*frames[-_MAX_FRAMES:], last_line(each)]))
    return "\ncaused by\n".join(stacks)


def http_status_of(error: BaseException) -> int | None:
    """The status of the HTTP response that an error is about; None if there is none.

    As httpx, requests, aiohttp, urllib, botocore and the clients of model providers have it.
    """
    response = attribute_of(error, "response")
    found = [attribute_of(holder, name) for holder in (error, response) for name in _STATUSES]
    if type(response) is dict:  # botocore's
        metadata = response.get("ResponseMetadata")
        found.append(metadata.get("HTTPStatusCode") if type(metadata) is dict else None)
    status = next((status for each in found if (status := _status_in(each)) is not None), None)
    if status is None and isinstance(error, Exception):
        # Of urllib's errors, and of those of Google's clients. The code of others may be any number.
        status = _status_in(attribute_of(error, "code"), lowest=400)
    return status


def _status_in(value: object, lowest: int = 100) -> int | None:
    # By type: a comparison with a number of another class is its author's code.
    if not isinstance(value, int) or type(value) not in (int, HTTPStatus):
        return None
    return int(value) if lowest <= value <= 599 else None

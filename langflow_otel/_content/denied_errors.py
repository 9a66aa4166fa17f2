"""Errors that arose where content is denied: their messages leave nowhere, whatever raises, logs or quotes them later.

The error itself and those that it was raised from are marked. So an error is known whose chain has one of them, as
LangFlow's wrappers have, which quote it. What quotes a message without the error, as a log line or the span of another
instrumentor may, is known by the text.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

from langflow_otel._errors import attribute_of

_MARK: Final = "_langflow_otel_denied"
_MOST_IN_CHAIN: Final = 100
_MOST_TEXTS: Final = 128
_SHORTEST: Final = 4
"""Characters. A shorter text would be found everywhere."""
_READ: Final = 256
"""Characters of a message by which it is known."""

_recent: dict[str, None] = {}


def deny(error: BaseException) -> None:
    """From here on neither its message leaves, nor that of an error that it was raised from."""
    for each in _chain(error):
        # Not by setattr(): an author's class may not allow it.
        with suppress(Exception):
            object.__setattr__(each, _MARK, True)
        for text in _texts_of(each):
            _recent.pop(text, None)
            _recent[text] = None
    while len(_recent) > _MOST_TEXTS:
        # Another thread may be at it as well.
        _recent.pop(next(iter(_recent.copy()), ""), None)


def is_denied(error: BaseException) -> bool:
    """True for an error that was denied, or that was raised from one, or while one was handled."""
    return any(_is_marked(each) for each in _chain(error))


def quotes_denied(text: str) -> bool:
    """True if the message of one of the errors that were denied lately is in the text."""
    return bool(_recent) and any(each in text for each in tuple(_recent.copy()))


def forget_denied() -> None:
    """For tests."""
    _recent.clear()


def _is_marked(error: BaseException) -> bool:
    try:
        return _MARK in object.__getattribute__(error, "__dict__")
    except Exception:  # noqa: BLE001 - a class may hide it
        return False


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error, those that it was raised from or while they were handled, and those in a group."""
    seen: set[int] = set()
    waiting = [error]
    while waiting and len(seen) < _MOST_IN_CHAIN:
        each = waiting.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        waiting += [found for found in (each.__cause__, each.__context__) if found is not None]
        group = attribute_of(each, "exceptions")
        if isinstance(group, (tuple, list)):
            waiting += [found for found in group if isinstance(found, BaseException)]


def _texts_of(error: BaseException) -> Iterator[str]:
    """By what its message is known: as it is, and as ``repr`` and JSON write it."""
    try:
        found = [str(error)]
        found += [each for each in error.args if type(each) is str and len(error.args) == 1]
    except Exception:  # noqa: BLE001 - __str__ is the author's code
        return
    for message in found:
        lines = (line.strip() for line in message[: 16 * _READ].splitlines())
        line = next((line for line in lines if len(line) >= _SHORTEST), None)
        if line is not None:
            known = line[:_READ]
            yield from {known, repr(known)[1:-1], json.dumps(known)[1:-1]}

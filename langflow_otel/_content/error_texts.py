"""Texts about an exception that are exported: by default types and frames, never messages."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from langflow_otel._content.limits import chosen, cut
from langflow_otel._content.plain_values import MARGIN, cut_mark, sendable
from langflow_otel._errors import attribute_of, stack_of, type_name
from langflow_otel._settings.settings import Settings
from langflow_otel.redaction.known_secrets import without_secrets
from langflow_otel.redaction.urls import text_without_url_values

if TYPE_CHECKING:
    from langflow_otel.redaction.redactor import Redactor


def error_type(exc: BaseException) -> str:
    """The exception's class name, for ``error.type``: few distinct values, no user data."""
    return chosen(type(exc).__qualname__)


def qualified_type(exc: BaseException) -> str:
    """The exception's class with its module, for ``exception.type`` (builtins go without)."""
    return chosen(type_name(exc))


def frames_of(exc: BaseException, settings: Settings | None = None, withheld: Collection[str] = ()) -> str:
    """Stack of the exception and of its causes, outermost frame first.

    Only file, line and function: a line of source text can hold a key. At most 5 causes and the innermost 50
    frames of each.

    Args:
        exc: The exception.
        settings: If they allow messages, each class is followed by its message; None for no messages.
        withheld: See :func:`message_of`.
    """

    def last_line(error: BaseException) -> str:
        message = None if settings is None else message_of(error, settings, withheld)
        return qualified_type(error) + (f": {message}" if message else "")

    # A file's name need not be text.
    return sendable(stack_of(exc, last_line, cut))


def message_of(exc: BaseException, settings: Settings, withheld: Collection[str] = ()) -> str | None:
    """The exception's message as far as ``LANGFLOW_OTEL_ERROR_MESSAGES`` allows; None otherwise.

    The message of one that arose where content is denied does not leave, nor does one that quotes it.

    It is cut as content is: a prompt of megabytes that a message quotes would be on each span that the error ends.

    Args:
        exc: The exception.
        settings: The policy.
        withheld: Secrets that are known by their value.
    """
    if settings.error_messages == "none" or is_denied(exc):
        return None
    try:
        message = str(exc)
    except Exception:  # noqa: BLE001 - a message that cannot be made is no message; __str__ is the user's code
        return None
    if quotes_denied(message):
        return None
    if settings.error_messages == "full":
        longest, length = settings.content_length, len(message)
        safe = without_secrets(without_source(message[: longest + MARGIN]), withheld)
        # The exporter drops a text with a lone surrogate, and complains about it in the log.
        return sendable(cut(safe, longest, length))
    return redacted(message, settings.content_length, settings, withheld, prepare=_without_source_and_url_values)


def _without_source_and_url_values(message: str) -> str:
    return text_without_url_values(without_source(message))


def redacted(
    whole: str,
    room: int,
    settings: Settings,
    withheld: Collection[str] = (),
    length: int | None = None,
    prepare: Callable[[str], str] = str,
) -> str | None:
    """The redacted text that is exported of a text, at most ``room`` characters; None for nothing.

    Of what is read, however long the text is: what is cut of a secret at its end falls into the margin.

    Args:
        whole: The text.
        room: Characters, at most.
        settings: The patterns.
        withheld: Secrets that are known by their value.
        length: Of the text, where not all of it is given.
        prepare: Gets what is read of the text, and returns what of it the patterns get.
    """
    read = room + 2 * MARGIN
    length = len(whole) if length is None else length
    safe = redactor(settings).redact(without_secrets(prepare(whole[:read]), withheld))
    if safe is None:
        return None
    if length > read:
        safe = safe[: max(len(safe) - MARGIN, 0)]
    elif len(safe) <= room:
        return safe
    return _cut(safe, room, length)


def _cut(text: str, room: int, length: int) -> str:
    mark = cut_mark(length)
    return text[: max(room - len(mark), 0)] + mark


def redactor(settings: Settings) -> Redactor:
    """The one of these settings, made when it is first needed."""
    return _redactor(settings.redact, settings.redact_ips, settings.redact_hook)


@functools.lru_cache(maxsize=8)
def _redactor(pattern: str | None, ips: bool, hook: Callable[[str], str] | None) -> Redactor:
    from langflow_otel.redaction.redactor import Redactor

    return Redactor(pattern, ips=ips, hook=hook)


# Errors of components whose content is denied


_MARK: Final = "_langflow_otel_denied"
_MOST_IN_CHAIN: Final = 100
_MOST_TEXTS: Final = 128
_SHORTEST: Final = 4
"""Characters. A shorter text would be found everywhere."""
_READ: Final = 256
"""Characters of a message by which it is known."""

_recent: dict[str, None] = {}


def deny(error: BaseException) -> None:
    """Deny the messages of an error and of the errors that it was raised from: they are not exported from here on."""
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
    """Forget all denied errors, for tests."""
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
    """The texts by which its message is recognized: as it is, and as ``repr`` and JSON write it."""
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


# Stack traces without source


# Bounded, so that a line of a million spaces takes no longer than another. The margin is that of a group of exceptions.
_FRAME: Final = re.compile(
    r'(?P<margin>[ |+>-]{0,64}?)(?P<indent>[ \t]{0,64})(?P<where>File "[^"\n]*", line [0-9]+(?:, in \S+)?)'
)
_REPEATED: Final = "[Previous line repeated"
_HEADER: Final = "Traceback (most recent call last)"
_BOX: Final = ("╭", "│", "╰")
"""How lines begin of a stack trace that rich has drawn."""
_ESCAPED_FRAME: Final = re.compile(r'\\n[ |\\t]{0,64}File \\?"')
_ESCAPED_BREAK: Final = re.compile(r"(?:\\r)?\\n")


def without_source(text: str) -> str:
    """The text with the frames of its stack traces as file, line and function, and nothing of their source.

    Stack traces as Python writes them: chained ones, groups of exceptions, with marks below the source, local variables
    and errors of syntax; also where line breaks are escaped, as in the ``repr`` of an error. What is no frame and
    belongs to none stays: an exception's class, its message and its notes.
    """
    if "File " not in text and _HEADER not in text:
        return text
    if _ESCAPED_FRAME.search(text):
        text = _ESCAPED_BREAK.sub("\n", text).replace('File \\"', 'File "').replace('\\", line', '", line')
    kept: list[str] = []
    above: _Frame | None = None
    drawn = _BOX[0] in text
    # Not splitlines(): a line of source may hold other separators, and its end would pass for a message.
    for line in text.split("\n"):
        found = _FRAME.match(line)
        if found is not None:
            above = _Frame(found)
            kept.append(f"{found['margin']}{found['indent']}{found['where']}")
        elif drawn and line.lstrip().startswith(_BOX):
            above = None
        elif above is None or not above.owns(line):
            above = None
            kept.append(line)
    return "\n".join(kept)


class _Frame:
    """The frame that was read last: what is indented below it is its source."""

    def __init__(self, found: re.Match[str]) -> None:
        self._margin = found["margin"]
        self._indent = len(found["indent"].expandtabs())
        self._has_line_below = self._indent == 0

    def owns(self, line: str) -> bool:
        """True for a line of the frame's source, of its marks and of its variables."""
        rest = line.removeprefix(self._margin)
        if rest.lstrip().startswith(_REPEATED):
            return False
        if self._indent == 0:
            # Where a formatter has taken the indentation off, only its place tells that a line is source.
            owned, self._has_line_below = self._has_line_below and _HEADER not in rest, False
            return owned
        if not rest.strip(" |"):
            return True
        rest = rest.expandtabs()
        return len(rest) - len(rest.lstrip()) >= self._indent

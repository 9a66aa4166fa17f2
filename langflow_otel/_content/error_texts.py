"""What may leave this process about an exception. By default: types and frames, never messages."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

from langflow_otel._content.denied_errors import is_denied, quotes_denied
from langflow_otel._content.limits import chosen, cut
from langflow_otel._content.plain_values import MARGIN, cut_mark, sendable
from langflow_otel._content.stacktraces import without_source
from langflow_otel._errors import stack_of, type_name
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
        settings: If they let messages leave, each class is followed by its message; None for no messages.
        withheld: See :func:`message_of`.
    """

    def last_line(error: BaseException) -> str:
        message = None if settings is None else message_of(error, settings, withheld)
        return qualified_type(error) + (f": {message}" if message else "")

    # A file's name need not be text.
    return sendable(stack_of(exc, last_line, cut))


def message_of(exc: BaseException, settings: Settings, withheld: Collection[str] = ()) -> str | None:
    """The exception's message as far as ``LANGFLOW_OTEL_ERROR_MESSAGES`` lets it leave, else None.

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
    """What may leave of a text that no gate has seen yet; None for nothing.

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

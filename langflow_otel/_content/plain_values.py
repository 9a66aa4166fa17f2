"""Any value becomes plain data that can be written as JSON: bounded, and without running its author's code."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, Final, cast

from langflow_otel.redaction.known_secrets import HIDDEN, without_secrets
from langflow_otel.redaction.secret_names import is_name_of_secret_number, is_secret_name

Plain = str | int | float | bool | list[Any] | dict[str, Any] | None

MARGIN: Final = 4096
"""Characters that are read beyond what may leave: half a key is not known as one."""

MAX_DEPTH: Final = 8
MAX_ITEMS: Final = 200
"""Of one list or dictionary."""
MAX_VALUES: Final = 2000
"""Of all together."""

# Where a list of these stands for a dictionary, as headers and table rows often do.
_NAME_KEYS = ("name", "key", "header")

# By type() and never by isinstance(): that asks the object, which may answer with anything.
_NUMBERS: Final = frozenset({type(None), bool, int, float})

# Python refuses to print one of more than 4,300 digits.
_MOST_BITS: Final = 1024
_BIG: Final = "<big number>"


def sendable(text: str) -> str:
    """The text without lone surrogates, as a name from a JSON file may hold them: with one as the name of a span, no
    exporter could send the whole batch."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def cut_mark(length: int) -> str:
    """What stands at the end of a text that was cut, with how long it was."""
    return f"... [cut, {length} characters]"


def plain(
    value: Any, longest: int, open_object: Callable[[Any], Any] = lambda _: None, secrets: Collection[str] = ()
) -> Plain:
    """The value as texts, numbers, lists and dictionaries.

    Truth values pass under any name, and numbers under that of an amount, as ``max_tokens``; all else under a secret's
    name becomes :data:`HIDDEN`. An object of an unknown class becomes ``<its class>``: neither its ``__repr__`` nor a
    property of it is asked.

    Args:
        value: Anything, circular and endless things too.
        longest: Characters that are kept of one text.
        open_object: Gives plain data for an object that it knows, else None.
        secrets: Known by their value, and taken out of each text before an encoding spells it otherwise.
    """
    return _Copy(longest, open_object, secrets).of(value, 0)


class _Copy:
    def __init__(self, longest: int, open_object: Callable[[Any], Any], secrets: Collection[str]) -> None:
        self._longest = longest
        self._secrets = secrets
        self._open_object = open_object
        self._left = MAX_VALUES

    def of(self, value: Any, depth: int) -> Plain:
        self._left -= 1
        kind = type(value)
        if kind in _NUMBERS:
            return self._number(value)
        if kind is str:
            return self._text(value)
        if kind in (bytes, bytearray, memoryview):
            return f"<{len(value)} bytes>"
        if depth >= MAX_DEPTH or self._left <= 0:
            return "..."
        if kind is dict:
            return self._dict(value, depth)
        if kind in (list, tuple, set, frozenset):
            return self._list(value, depth)
        opened = self._open_object(value)
        return f"<{kind.__name__}>" if opened is None else self.of(opened, depth + 1)

    def _number(self, value: Any) -> Plain:
        if type(value) is int and value.bit_length() > _MOST_BITS:
            return _BIG
        return HIDDEN if self._secrets and str(value) in self._secrets else cast("Plain", value)

    def _text(self, value: str) -> str:
        if not self._secrets:
            return value[: self._longest]
        safe = without_secrets(value[: self._longest], self._secrets)
        # What was cut off at the end may be half a secret.
        return safe if len(value) <= self._longest else safe[: max(len(safe) - MARGIN, 0)] + cut_mark(len(value))

    def _list(self, values: Any, depth: int) -> list[Any]:
        if type(values) in (list, tuple) and len(values) == 2 and _names_a_secret(values[0]):
            return [str(values[0]), HIDDEN]
        found: list[Any] = []
        for value in values:
            if len(found) >= MAX_ITEMS or self._left <= 0:
                found.append("...")
                break
            found.append(self.of(value, depth + 1))
        return found

    def _dict(self, values: dict[Any, Any], depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        in_pairs = any(_names_a_secret(values.get(each)) for each in _NAME_KEYS)
        for key, value in values.items():
            if len(found) >= MAX_ITEMS or self._left <= 0:
                found["..."] = "..."
                break
            name = _key_text(key)
            is_hidden = name not in _NAME_KEYS if in_pairs else _is_secret(name, value)
            if is_hidden and value is not None and type(value) is not bool:
                found[self._text(name)] = HIDDEN
            else:
                found[self._text(name)] = self.of(value, depth + 1)
        return found


def _is_secret(name: str, value: Any) -> bool:
    if type(value) in _NUMBERS:
        return is_name_of_secret_number(name)
    return name.startswith("<") or is_secret_name(name)


def _names_a_secret(value: Any) -> bool:
    """A name, and not a sentence with such a word in it."""
    return type(value) is str and len(value) < 40 and " " not in value and is_secret_name(value)


def _key_text(key: Any) -> str:
    """A key as text; ``<its class>`` for one that has none, and then nothing is known of its value."""
    if issubclass(type(key), str):
        return str.__str__(key)
    if type(key) is bytes:
        return key.decode("utf-8", "replace")
    if type(key) is int and key.bit_length() > _MOST_BITS:
        return _BIG
    return str(key) if type(key) in _NUMBERS else f"<{type(key).__name__}>"

"""Cuts names, values and messages that others choose: one text of megabytes would cost its whole batch.

Others are the clients of an API, authors of flows and of components, libraries, models.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from opentelemetry.util.types import AttributeValue

from langflow_otel._content.plain_values import cut_mark, sendable

MAX_NAME: Final = 1_024
"""Characters of a name or an id: of flows, components, tools, models, sessions, errors, attributes; of baggage."""
MAX_VALUE: Final = 16_384
"""Characters of a value that an author sets, in all its parts, and of a text in a log line."""
MAX_SPAN_TEXT: Final = 131_072
"""Characters of any other text on a span; one that is content may be as long as the settings say."""

_NUMBER: Final = 4
"""Characters that a number counts as: 4,096 of them are a vector of a model."""
_MARK: Final = "... [cut, "
_LONGEST_MARK: Final = 40
_NUMBERS: Final = frozenset({bool, int, float, type(None)})


def cut(text: str, longest: int = MAX_NAME, length: int | None = None) -> str:
    """The text, or so many characters of it with a mark that says how long it was.

    Args:
        text: Any.
        longest: Characters, at most.
        length: Of the whole, if this is only its beginning.
    """
    length = len(text) if length is None else length
    return text if length <= longest else _marked(text, longest, length)


def _marked(text: str, longest: int, length: int) -> str:
    start = text.rfind(_MARK, len(text) - _LONGEST_MARK)
    # What was cut once already says how long it was at first.
    mark = text[start:] if start >= 0 and text.endswith(" characters]") else cut_mark(length)
    return text[: max(longest - len(mark), 0)] + mark


def chosen(name: str) -> str:
    """A name or an id that others choose, cut and without lone surrogates."""
    if len(name) <= MAX_NAME:
        return name if name.isascii() else sendable(name)
    return sendable(_marked(name, MAX_NAME, len(name)))


def chosen_names(names: tuple[str, ...]) -> tuple[str, ...]:
    """Several such names."""
    together = "".join(names)
    if len(together) <= MAX_NAME and together.isascii():
        return names
    kept: tuple[str, ...] = bounded_value(tuple([chosen(name) for name in names]))
    return kept


def bounded(attributes: Mapping[str, AttributeValue]) -> Mapping[str, AttributeValue]:
    """Attributes that others choose, cut; the same mapping where nothing is too long.

    A list of numbers cannot hold a mark; an attribute with ``.length`` after its name says how long it was.
    """
    for name, value in attributes.items():
        if type(value) is str and len(value) <= MAX_VALUE and len(name) <= MAX_NAME:
            continue
        if type(value) not in _NUMBERS or len(name) > MAX_NAME:
            return _all_bounded(attributes)
    return attributes


def bounded_value(value: Any) -> Any:
    """One such value."""
    return _Room().take(value)


def _all_bounded(attributes: Mapping[str, AttributeValue]) -> dict[str, AttributeValue]:
    found: dict[str, AttributeValue] = {}
    for name, value in attributes.items():
        key = cut(name)
        kept = found[key] = bounded_value(value)
        if isinstance(kept, (list, tuple)) and len(kept) < len(value):  # type: ignore[arg-type]
            found[f"{key}.length"] = len(value)  # type: ignore[arg-type]
    return found


class _Room:
    """How much of one value has room."""

    def __init__(self) -> None:
        self._left = MAX_VALUE

    def take(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._part(value, len(value), cut)
        if isinstance(value, (bytes, bytearray)):
            return self._part(value, len(value), _cut_bytes)
        if isinstance(value, Mapping):
            return self._mapping(value)
        if isinstance(value, Sequence):
            return self._list(value)
        self._left -= _NUMBER
        return value

    def _part(self, value: Any, size: int, cut_to: Any) -> Any:
        room, self._left = max(self._left, 0), self._left - size
        return cut_to(value, room)

    def _list(self, values: Sequence[Any]) -> Any:
        found: list[Any] = []
        for value in values:
            if self._left <= 0:
                if all(isinstance(each, str) for each in found):
                    found.append(f"{_MARK}{len(values)} items]")
                break
            found.append(self.take(value))
        return tuple(found) if isinstance(values, tuple) else found

    def _mapping(self, values: Mapping[Any, Any]) -> dict[Any, Any]:
        found: dict[Any, Any] = {}
        for key, value in values.items():
            if self._left <= 0:
                found["..."] = f"{_MARK}{len(values)} entries]"
                break
            name = cut(key) if isinstance(key, str) else key
            self._left -= len(name) if isinstance(name, str) else _NUMBER
            found[name] = self.take(value)
        return found


def _cut_bytes(value: bytes, longest: int) -> bytes:
    return bytes(value) if len(value) <= longest else bytes(value[:longest]) + f"{_MARK}{len(value)} bytes]".encode()


# Messages


_SHORTEST: Final = 64
"""Characters that each text is given at least; below that whole messages are left out."""
_TRIES: Final = 6


def as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def fitted(messages: list[Any], room: int, safe: Callable[[str, int], str], *, ranked: bool = False) -> str | None:
    """The messages as JSON that is no longer than there is room; None if they cannot be made to fit.

    The longest texts are cut first. Of many messages the first and the last ones stay, of what is ranked the first.

    Args:
        messages: Plain data, messages or parts of one.
        room: Characters, at most.
        safe: What may leave of a text, in so many characters at most.
        ranked: True if the best comes first.
    """
    kept = _best(messages, room) if ranked else _fewer(messages, room)
    texts = list(_texts(kept))
    share = _share([len(as_json(text)) - 2 for text in texts], room - _bare_length(kept))
    for _ in range(_TRIES):
        if share <= 0:
            return None
        found = as_json(_with_texts(kept, (safe(text, share) for text in texts)))
        if len(found) <= room:
            return found
        share = share * 3 // 4  # what is escaped, or marked, is longer
    return None


def _fewer(messages: list[Any], room: int) -> list[Any]:
    if _takes_at_least(messages) <= room:
        return messages
    first, *rest = messages
    left = room - _takes_at_least([first, _left_out(len(messages))])
    for start, each in reversed(list(enumerate(rest))):
        left -= _takes_at_least([each])
        if left < 0:
            return [first, _left_out(start + 1), *rest[start + 1 :]]
    return messages


def _best(ranked: list[Any], room: int) -> list[Any]:
    for number, each in enumerate(ranked):
        room -= _takes_at_least([each])
        if room < 0:
            return ranked[:number]
    return ranked


def _left_out(number: int) -> dict[str, Any]:
    mark = cut_mark(number).replace("characters", "messages")
    return {"role": "system", "parts": [{"type": "text", "content": mark}]}


def _takes_at_least(value: Any) -> int:
    return _bare_length(value) + sum(min(len(text), _SHORTEST) for text in _texts(value))


def _bare_length(value: Any) -> int:
    return len(as_json(_with_texts(value, iter([""] * sum(1 for _ in _texts(value))))))


def _share(lengths: list[int], room: int) -> int:
    """How long a text may be, so that all together fit: what a short one leaves is for the others."""
    for number, length in enumerate(sorted(lengths)):
        share = room // (len(lengths) - number)
        if length > share:
            return share
        room -= length
    return max(lengths, default=0)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, (list, dict)):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _texts(each)


def _with_texts(value: Any, texts: Iterator[str]) -> Any:
    if isinstance(value, str):
        return next(texts)
    if isinstance(value, dict):
        return {name: _with_texts(each, texts) for name, each in value.items()}
    return [_with_texts(each, texts) for each in value] if isinstance(value, list) else value

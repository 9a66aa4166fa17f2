"""Messages that are too long for their attribute: their texts are cut, and the JSON stays JSON.

Phoenix and Langfuse show messages only where they can read the whole attribute.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, Final

from langflow_otel._content.plain_values import cut_mark

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

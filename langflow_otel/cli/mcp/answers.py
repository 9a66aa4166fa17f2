"""Answers as text for a model: JSON, bounded, and nothing in it that could be taken for anything but data."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any, Final

from langflow_otel.insights._report.tables import significant

MAX_ANSWER: Final = 30_000
"""Characters."""
MAX_TEXT: Final = 200
"""Characters of a name, or of any other text that is no content."""
MAX_CONTENT: Final = 4_000
"""The same of one message, input or output."""

_DIGITS: Final = 4
_LEAST_TEXT: Final = 40


class AnswerError(Exception):
    """A question cannot be answered; the message says why, and what can be asked."""


def page(found: Sequence[Any], limit: int, hint: str, total: int | None = None) -> dict[str, Any]:
    """The first rows, and how many more there are.

    Args:
        found: Mappings.
        limit: So many are shown.
        hint: How to see others.
        total: If ``found`` does not have them all.
    """
    total = len(found) if total is None else total
    rest = total - min(limit, len(found))
    return {"rows": list(found[:limit]), "total": total, **({"more": f"{rest} more: {hint}"} if rest > 0 else {})}


def present(**values: Any) -> dict[str, Any]:
    """Those that say something: without None, empty texts and empty collections. Texts are cut, but for a message."""
    return {
        name: cut(value) if isinstance(value, str) and name != "message" else value
        for name, value in values.items()
        if value is not None and value != "" and value not in ({}, (), [])
    }


def moment(at_ns: int) -> str:
    """``2026-01-31T09:30:00.123Z``."""
    at = datetime.fromtimestamp(at_ns / 1e9, timezone.utc)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def text_of(answer: Mapping[str, Any]) -> str:
    """The answer as JSON of at most :data:`MAX_ANSWER` characters: if it is longer, long texts are cut, then lists."""
    longest, most = MAX_CONTENT, 1000
    while True:
        text = json.dumps(_plain(answer, longest, most), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        if len(text) <= MAX_ANSWER or most <= 1:
            return text
        if longest > _LEAST_TEXT:
            longest //= 2
        else:
            most //= 2


def _plain(value: Any, longest: int, most: int) -> Any:
    if isinstance(value, str):
        return cut(value, longest)
    if isinstance(value, bool) or value is None or isinstance(value, int):
        return value
    if isinstance(value, float):
        return significant(value, _DIGITS)
    if isinstance(value, Mapping):
        kept = list(value.items())[:most]
        rest = {"cut": f"{len(value) - most} more"} if len(value) > most else {}
        return {cut(str(name), MAX_TEXT): _plain(each, longest, most) for name, each in kept} | rest
    if isinstance(value, Iterable):
        every = list(value)
        shown = [_plain(each, longest, most) for each in every[:most]]
        return [*shown, f"cut: {len(every) - most} more"] if len(every) > most else shown
    return cut(str(value), longest)


def cut(text: str, longest: int = MAX_TEXT) -> str:
    """Without control codes and signs that are not seen, but for line breaks and tabs, and of at most this length."""
    seen = "".join(sign if sign.isprintable() or sign in "\n\t" else " " for sign in text[: longest + 1])
    return seen if len(text) <= longest else f"{seen[:longest]}... ({len(text):,} characters)"

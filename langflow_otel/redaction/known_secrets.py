"""Secrets that are known by their value are taken out of texts.

The values of secret inputs: those of a run for what the run sends, and those that components had lately for texts of
which nobody knows the run that they belong to, as the log line of a server about a run that has failed, or a span of
another instrumentor.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from langflow_otel.redaction.spellings import Span, spellings

HIDDEN: Final = "[redacted:secret]"
"""What stands in place of a secret."""

_MOST: Final = 256
"""Each is searched in each such text; see tests/benchmarks/redaction.py for what that takes."""

_recent: dict[str, None] = {}


def remember_secrets(values: Iterable[str]) -> None:
    """From here on these are known. Beyond 256 the one that no component had for the longest time is forgotten."""
    for value in values:
        _recent.pop(value, None)
        _recent[value] = None
    while len(_recent) > _MOST:
        # Another thread may be at it as well.
        _recent.pop(next(iter(_recent.copy()), ""), None)


def forget_secrets() -> None:
    """For tests."""
    _recent.clear()
    spellings.cache_clear()


def recent_secrets() -> tuple[str, ...]:
    """Those that are known now."""
    return tuple(_recent.copy())


def without_secrets(text: str, secrets: Iterable[str] | None = None) -> str:
    """The text without secrets that are known by their value, each replaced by :data:`HIDDEN`.

    In every spelling, wherever the text comes from: as they are, escaped by JSON or ``repr``, quoted for a URL or for
    HTML, several times over, and in base64. Where one secret is a part of another, or overlaps it, the whole goes.
    Numbers in a secret are found among other digits as well.

    Args:
        text: Any text; it costs nothing if there are no secrets.
        secrets: None for the last 256 that components of this process had.
    """
    if secrets is None:
        if not _recent:
            return text
        secrets = recent_secrets()
    found: list[Span] = []
    # A copy: components that start in another thread add theirs.
    for secret in tuple(secrets):
        found += spellings(secret).found_in(text)
    return _replaced(text, found) if found else text


def _replaced(text: str, found: list[Span]) -> str:
    parts, at, last = [], 0, -1
    for start, end in sorted(found):
        if start >= last:
            parts += [text[at:start], HIDDEN]
        at = last = max(last, end)
    return "".join((*parts, text[at:]))

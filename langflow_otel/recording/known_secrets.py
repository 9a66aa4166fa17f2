"""Values of secret inputs that components had lately: for texts of which nobody knows the run that they belong to, as
the log line of a server about a run that has failed, or a span of another instrumentor."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

_MOST: Final = 256
"""Each is searched in each such text: all of them in one of 8 kB take 0.3 ms."""

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


def recent_secrets() -> tuple[str, ...]:
    """Those that are known now."""
    return tuple(_recent.copy())

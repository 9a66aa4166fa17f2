"""Caps on the number of distinct label values, which limit the number of series."""

from __future__ import annotations

import logging
from collections.abc import Hashable

from langflow_otel._guard import WarnOnce
from langflow_otel._metrics.catalogue import OTHER
from langflow_otel.redaction.known_secrets import without_secrets

logger = logging.getLogger("langflow_otel")


class Cap:
    """Remembers the first distinct values; later ones are counted together as ``other``.

    Args:
        what: What is counted, for the one line in the log when the cap is reached.
        limit: How many distinct values have series of their own.
    """

    def __init__(self, what: str, limit: int) -> None:
        self._what = what
        self._limit = limit
        self._known: set[Hashable] = set()
        self._warn_once = WarnOnce()

    def has_room(self, value: Hashable) -> bool:
        """True if the value is, or now becomes, one of those with series of their own."""
        if value in self._known:
            return True
        if len(self._known) >= self._limit:
            self._tell()
            return False
        self._known.add(value)
        return True

    def label(self, value: str) -> str:
        """The value itself, without known secrets, or ``other``."""
        if value in self._known:
            return value
        if len(self._known) < self._limit:
            value = without_secrets(value)
        return value if self.has_room(value) else OTHER

    def _tell(self) -> None:
        self._warn_once(
            "limit", "More than %d %s: metrics count further ones together as %r.", self._limit, self._what, OTHER
        )

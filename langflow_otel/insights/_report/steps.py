"""How far the making of a report is."""

from __future__ import annotations

from collections.abc import Callable

OnProgress = Callable[[int, int], object]
"""Called with the number of steps that are done, and of all."""


class Steps:
    """Counts steps that are done, and passes that on."""

    def __init__(self, total: int, on_progress: OnProgress | None) -> None:
        self._total = total
        self._done = 0
        self._on_progress = on_progress

    def done(self) -> None:
        """One more."""
        self._done += 1
        if self._on_progress is not None:
            self._on_progress(self._done, self._total)

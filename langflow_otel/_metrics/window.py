"""Counts over a sliding window, in a ring of slots.

The window of W seconds ends now. It is divided into 60 slots of W/60 seconds on the monotonic clock, which
is the same for all processes of a machine and does not jump when the time of day is set. A count belongs to
the slot in which it happened. The window covers the running slot, the 59 before it, and of the one before
those the part that is still inside: its counts are taken to be spread evenly over it. So a steady rate is
measured exactly, and a burst is forgotten between W - W/60 and W + W/60 seconds after it.

A rate divides by the whole of W, also when less than W has passed since the start: no spike at the start,
and zero W + W/60 after the last event.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from langflow_otel._metrics.catalogue import WINDOW_FIELDS, WINDOW_SLOTS, Cells

OK: Final = 1
FAILED: Final = 2
OTHER: Final = 3
"""Fields of a slot; field 0 is the number of the slot, counted from the clock's zero."""


class Counts(NamedTuple):
    """What ended in the window. Parts of one come from the slot that is half outside."""

    ok: float = 0.0
    failed: float = 0.0
    other: float = 0.0

    @property
    def ended(self) -> float:
        return self.ok + self.failed + self.other

    @property
    def failure_ratio(self) -> float:
        """failed / (ok + failed), 0 when there were none. Cancelled and paused ones are neither."""
        judged = self.ok + self.failed
        return self.failed / judged if judged else 0.0

    def plus(self, more: Counts) -> Counts:
        return Counts(self.ok + more.ok, self.failed + more.failed, self.other + more.other)


def count(cells: Cells, field: int, now_s: float, window_s: float) -> None:
    """One more event of this kind, now."""
    number = int(now_s * (WINDOW_SLOTS - 1) / window_s)
    start = number % WINDOW_SLOTS * WINDOW_FIELDS
    if cells[start] != number:
        cells[start + OK] = cells[start + FAILED] = cells[start + OTHER] = 0.0
        cells[start] = number
    cells[start + field] += 1.0


def counts(cells: Sequence[float], now_s: float, window_s: float) -> Counts:
    """What happened in the window that ends now."""
    position = now_s * (WINDOW_SLOTS - 1) / window_s
    newest = int(position)
    oldest = newest - WINDOW_SLOTS + 1
    share_inside = 1.0 - (position - newest)
    ok = failed = other = 0.0
    for start in range(0, len(cells), WINDOW_FIELDS):
        number = cells[start]
        # A slot of the future is one of another boot of the machine.
        if oldest <= number <= newest:
            weight = share_inside if number == oldest else 1.0
            ok += weight * cells[start + OK]
            failed += weight * cells[start + FAILED]
            other += weight * cells[start + OTHER]
    return Counts(ok, failed, other)


def merge(into: Cells, more: Sequence[float]) -> None:
    """Add another ring; where both have used a slot's place, the later slot stays."""
    for start in range(0, len(into), WINDOW_FIELDS):
        if more[start] > into[start]:
            for field in range(WINDOW_FIELDS):
                into[start + field] = more[start + field]
        elif more[start] == into[start]:
            for field in range(1, WINDOW_FIELDS):
                into[start + field] += more[start + field]

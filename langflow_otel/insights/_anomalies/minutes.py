"""The figures of one key minute by minute, as far as they are needed around an anomaly."""

from __future__ import annotations

from collections import deque
from typing import Final, NamedTuple

from langflow_otel.insights._anomalies.episodes import Figure
from langflow_otel.insights._anomalies.windows import Pane

MINUTES: Final = 61
"""So many before an anomaly are kept."""


def value_of(figure: Figure, pane: Pane, seconds: float) -> float | None:
    """A figure of what ended in some time; None where nothing did that it could be of."""
    if figure == "duration":
        return pane.durations.quantile(0.5)
    return pane.error_share if figure == "errors" else pane.count / seconds


class _Minute(NamedTuple):
    at_s: int
    pane: Pane


class Minutes:
    """What ended under one key in the last minutes."""

    __slots__ = ("_kept",)

    def __init__(self) -> None:
        self._kept: deque[_Minute] = deque()

    def add(self, at_s: int, pane: Pane) -> None:
        """What ended in this second; each later than those before."""
        if not self._kept or self._kept[-1].at_s != at_s // 60 * 60:
            self._kept.append(_Minute(at_s // 60 * 60, Pane()))
        self._kept[-1].pane.merge(pane)

    def forget(self, now_s: int, unusual_since_s: int | None) -> None:
        """What is older than an hour before now, or before the oldest anomaly that goes on."""
        oldest_s = (unusual_since_s or now_s) - MINUTES * 60
        while self._kept and self._kept[0].at_s < oldest_s:
            self._kept.popleft()

    def of(self, figure: Figure) -> list[tuple[int, float]]:
        """Unix time of each minute with the figure in it."""
        by_minute = {each.at_s: each.pane for each in self._kept}
        minutes = range(self._kept[0].at_s, self._kept[-1].at_s + 60, 60) if self._kept else ()
        values = ((at_s, value_of(figure, by_minute.get(at_s) or Pane(), 60)) for at_s in minutes)
        return [(at_s, value) for at_s, value in values if value is not None]

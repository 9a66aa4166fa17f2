"""Unusual windows that are near each other are one anomaly, which begins, goes on and ends."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

from langflow_otel.insights._anomalies.windows import WINDOW_S, Key

Figure = Literal["duration", "errors", "throughput"]
FIGURES: Final[tuple[Figure, ...]] = ("duration", "errors", "throughput")
QUIET_S: Final = 60
"""An anomaly has ended when so long no window was unusual."""


@dataclass(frozen=True, slots=True)
class Unusual:
    """One window that is unusual in one figure.

    Attributes:
        start_s, end_s: Of the window, Unix time.
        since_s: Where in it that begins.
        value, usual: Of the figure, see :class:`Anomaly`.
        sigmas: Signed: negative where the value is lower than usual.
        chance: Probability of such a window if nothing has changed.
        count: Executions in it.
        is_alarm: It is unusual enough to begin an anomaly, and not only to go on with one.
    """

    start_s: int
    end_s: int
    since_s: int
    value: float
    usual: float
    sigmas: float
    chance: float
    count: int
    is_alarm: bool


@dataclass
class Anomaly:
    """A figure of a flow, or of its components of one type, was not as it is usually.

    Attributes:
        key: Which.
        figure: ``duration`` (median of those that ended ``ok``, seconds), ``errors`` (share of those that ended,
            0 to 1) or ``throughput`` (executions a second).
        since_s, until_s: Unix time; without an end it goes on, or it is lasting.
        raised_s: End of the window by which it was found.
        window_s: Length of the shortest windows by which it was found.
        value: In the most unusual window.
        usual: In the time before, with which that is compared.
        sigmas: How far the value is from the usual one in standard deviations, those of the most unusual window;
            negative where it is lower.
        chance: Probability of that window if nothing had changed.
        count: Executions in that window.
        is_lasting: It went on for an hour: from then on that is what is usual.
        minutes: The figure minute by minute, an hour before and then until the end: Unix time and value.
    """

    key: Key
    figure: Figure
    since_s: int
    raised_s: int
    window_s: int
    value: float
    usual: float
    sigmas: float
    chance: float
    count: int
    until_s: int | None = None
    is_lasting: bool = False
    minutes: list[tuple[int, float]] = field(default_factory=list)

    @property
    def ratio(self) -> float | None:
        """The value as a multiple of the usual one; None if that is 0."""
        return self.value / self.usual if self.usual else None

    @property
    def is_open(self) -> bool:
        return self.until_s is None and not self.is_lasting


class Ended(NamedTuple):
    """An anomaly that does not go on, and where the last window ended that was unusual."""

    anomaly: Anomaly
    last_s: int


@dataclass
class _Open:
    anomaly: Anomaly
    last_s: int
    # A long window is unusual until what was unusual has left it, a short one may miss the most of it.
    until_s: int


class Episodes:
    """The anomalies that go on.

    Args:
        quiet_s: See :data:`QUIET_S`.
        sharp_s: Windows up to this length end where the anomaly does; longer ones overlap so much that they do not.
    """

    def __init__(self, quiet_s: int = QUIET_S, sharp_s: int = WINDOW_S) -> None:
        self._quiet_s = quiet_s
        self._sharp_s = sharp_s
        self._open: dict[Key, dict[tuple[Figure, bool], _Open]] = {}

    def since_s(self, key: Key) -> int | None:
        """Where the oldest one of this key began that goes on."""
        found = self._open.get(key)
        return min(each.anomaly.since_s for each in found.values()) if found else None

    def goes_on(self, key: Key, figure: Figure) -> bool:
        found = self._open.get(key, {})
        return (figure, True) in found or (figure, False) in found

    def add(self, key: Key, figure: Figure, window: Unusual) -> Anomaly | None:
        """Take a window into the anomaly that goes on, or begin one: it is returned."""
        name = (figure, window.sigmas > 0)
        length_s = window.end_s - window.start_s
        found = self._open.get(key, {}).get(name)
        if found is not None:
            found.last_s = window.end_s
            found.until_s = max(found.until_s, window.end_s if length_s <= self._sharp_s else window.start_s)
            _take(found.anomaly, window)
            return None
        if not window.is_alarm:
            return None
        anomaly = Anomaly(
            key,
            figure,
            window.since_s,
            window.end_s,
            length_s,
            window.value,
            window.usual,
            window.sigmas,
            window.chance,
            window.count,
        )
        self._open.setdefault(key, {})[name] = _Open(
            anomaly, window.end_s, window.end_s if length_s <= self._sharp_s else window.since_s + 1
        )
        return anomaly

    def ended(self, now_s: int, lasting_s: float) -> list[Ended]:
        """Those that have ended by now, and those that became what is usual, since they went on for so long."""
        found = []
        for key in list(self._open):
            for name, each in list(self._open[key].items()):
                anomaly = each.anomaly
                if now_s - each.last_s >= self._quiet_s:
                    anomaly.until_s = each.until_s
                elif now_s - anomaly.since_s >= lasting_s:
                    anomaly.is_lasting = True
                else:
                    continue
                self._remove(key, name)
                found.append(Ended(anomaly, each.last_s))
        return found

    def of_key(self, key: Key) -> list[Anomaly]:
        """Those of one key, which do not go on: nothing more is known about it."""
        found = [each.anomaly for each in self._open.pop(key, {}).values()]
        for anomaly in found:
            anomaly.is_lasting = True
        return found

    def rest(self) -> list[Anomaly]:
        """Those that go on at the end of the data."""
        return [each.anomaly for found in self._open.values() for each in found.values()]

    def _remove(self, key: Key, name: tuple[Figure, bool]) -> None:
        del self._open[key][name]
        if not self._open[key]:
            del self._open[key]


def _take(anomaly: Anomaly, window: Unusual) -> None:
    anomaly.window_s = min(anomaly.window_s, window.end_s - window.start_s)
    if abs(window.sigmas) > abs(anomaly.sigmas):
        anomaly.value, anomaly.usual = window.value, window.usual
        anomaly.sigmas, anomaly.chance, anomaly.count = window.sigmas, window.chance, window.count

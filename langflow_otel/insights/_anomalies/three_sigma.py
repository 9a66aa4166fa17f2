"""Windows that are three standard deviations from the mean of the hour before, or from its median.

The plain rule, and its robust form, in which the median absolute deviation takes the place of the standard deviation
(B. Iglewicz and D. C. Hoaglin, "How to Detect and Handle Outliers", 1993). Both take each window as an independent
normal variable. :mod:`~langflow_otel.insights._anomalies.detection` does not, and raises fewer false alarms; these are
what it is measured against.
"""

from __future__ import annotations

import math
from collections import deque
from statistics import median
from typing import Final, Protocol

from langflow_otel.insights._anomalies.episodes import FIGURES, Anomaly, Episodes, Figure, Unusual
from langflow_otel.insights._anomalies.minutes import Minutes
from langflow_otel.insights._anomalies.windows import Key, Second, SlidingWindows, Window
from langflow_otel.insights._statistics.tails import chance_of

SIGMAS: Final = 3.0
HISTORY_S: Final = 3600
LEARNING_S: Final = 600

_LEAST: Final = 30
_MAD_TO_SIGMA: Final = 1.4826
_MEDIAN_AGE_S: Final = 60


class ThreeSigma:
    """As :class:`~langflow_otel.insights._anomalies.detection.Detector`, by this rule, in windows of 5 seconds.

    Args:
        robust: By median and median absolute deviation.
    """

    def __init__(self, *, robust: bool) -> None:
        self._history: type[_Means] | type[_Medians] = _Medians if robust else _Means
        self._sliding = SlidingWindows()
        self._episodes = Episodes()
        self._usual: dict[tuple[Key, Figure], _Past] = {}
        self._minutes: dict[Key, Minutes] = {}
        self._now_s = 0
        self.windows = 0

    @property
    def learning(self) -> set[Key]:
        """Keys of which too little has been seen."""
        keys = {key for key, _ in self._usual}
        return {key for key in keys if not any(self._usual[key, figure].has_learned for figure in FIGURES)}

    def advance(self, second: Second) -> list[Anomaly]:
        """Add what ended in this second; every second before it is over."""
        news = self._look(list(self._sliding.advance(second)))
        news += self.pass_time(second.at_s)
        for key, pane in second.panes.items():
            minutes = self._minutes.setdefault(key, Minutes())
            minutes.add(second.at_s, pane)
            minutes.forget(second.at_s, self._episodes.since_s(key))
        return news

    def pass_time(self, until_s: int) -> list[Anomaly]:
        """Nothing more comes that ended before this second."""
        self._now_s = max(self._now_s, until_s)
        return self._with_minutes([each.anomaly for each in self._episodes.ended(self._now_s, math.inf)])

    def finish(self) -> list[Anomaly]:
        """Those that the last seconds begin, and those that go on at the end."""
        self._look(list(self._sliding.finish()))
        return self._with_minutes(self._episodes.rest())

    def _with_minutes(self, anomalies: list[Anomaly]) -> list[Anomaly]:
        for anomaly in anomalies:
            anomaly.minutes = self._minutes[anomaly.key].of(anomaly.figure)
        return anomalies

    def _look(self, windows: list[Window]) -> list[Anomaly]:
        news = []
        for window in windows:
            self.windows += 1
            for figure, value in zip(FIGURES, (window.mean_s, window.error_share, window.throughput), strict=True):
                if value is None:
                    continue
                past = self._usual.setdefault((window.key, figure), self._history())
                began = self._compare(window, figure, value, past)
                news += [began] if began else []
                past.add(window.end_s, value)
        return news

    def _compare(self, window: Window, figure: Figure, value: float, past: _Past) -> Anomaly | None:
        centre, sigma = past.usual(window.end_s)
        if not past.has_learned or not sigma:
            return None
        sigmas = (value - centre) / sigma
        if abs(sigmas) <= SIGMAS:
            return None
        times = (window.start_s, window.end_s, window.start_s)
        unusual = Unusual(*times, value, centre, sigmas, chance_of(sigmas), window.count, is_alarm=True)
        return self._episodes.add(window.key, figure, unusual)


class _Past(Protocol):
    """The values of an hour's windows."""

    @property
    def has_learned(self) -> bool: ...

    def add(self, at_s: int, value: float) -> None: ...

    def usual(self, now_s: int) -> tuple[float, float]:
        """Their centre, and how far a value usually is from it."""


class _Kept:
    def __init__(self) -> None:
        self._values: deque[tuple[int, float]] = deque()
        self._first_s: int | None = None

    @property
    def has_learned(self) -> bool:
        if self._first_s is None or len(self._values) < _LEAST:
            return False
        return self._values[-1][0] - self._first_s >= LEARNING_S

    def _keep(self, at_s: int, value: float) -> None:
        self._values.append((at_s, value))
        if self._first_s is None:
            self._first_s = at_s


class _Means(_Kept):
    """Mean and standard deviation."""

    def __init__(self) -> None:
        super().__init__()
        self._sum = self._squares = 0.0

    def add(self, at_s: int, value: float) -> None:
        self._keep(at_s, value)
        self._sum += value
        self._squares += value * value

    def usual(self, now_s: int) -> tuple[float, float]:
        while self._values and self._values[0][0] < now_s - HISTORY_S:
            value = self._values.popleft()[1]
            self._sum -= value
            self._squares -= value * value
        count = max(len(self._values), 1)
        mean = self._sum / count
        variance = self._squares / count - mean * mean
        # Of equal values rounding leaves something.
        return mean, math.sqrt(variance) if variance > 1e-12 * mean * mean else 0.0


class _Medians(_Kept):
    """Median and median absolute deviation, looked up anew every minute."""

    def __init__(self) -> None:
        super().__init__()
        self._usual = (0.0, 0.0)
        self._usual_at_s = -_MEDIAN_AGE_S

    def add(self, at_s: int, value: float) -> None:
        self._keep(at_s, value)

    def usual(self, now_s: int) -> tuple[float, float]:
        while self._values and self._values[0][0] < now_s - HISTORY_S:
            self._values.popleft()
        if self._values and now_s - self._usual_at_s >= _MEDIAN_AGE_S:
            values = [value for _, value in self._values]
            centre = median(values)
            self._usual = (centre, _MAD_TO_SIGMA * median([abs(value - centre) for value in values]))
            self._usual_at_s = now_s
        return self._usual

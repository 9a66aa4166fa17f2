"""A baseline that moves: each minute is compared with the interval that ARIMA(2,1,2) predicted for it.

What a figure will be in the next minute follows from the minutes before it (G. E. P. Box and G. M. Jenkins, "Time
Series Analysis: Forecasting and Control", 1970), and from the time of day once two days are known: harmonics of 24
hours, subtracted before the model is fitted (R. J. Hyndman and G. Athanasopoulos, "Forecasting: Principles and
Practice", 2021, 12.1). The model is statsforecast's, fitted anew every hour on the last 12; between two fits the next
value is predicted with its coefficients. A minute is unusual if it lies outside of the interval.

- The level of the interval is that of the false alarms that are accepted, divided by all minutes of a day, figures and
  keys. Its width comes from the errors of the predictions: their standard deviation, or what their 90th and 99th
  percentile would be that of, if that is larger.
- Numbers and shares are compared as square roots and as arcsines of them, whose variance does not depend on their size
  (F. J. Anscombe, Biometrika 35, 1948), durations as logarithms; and they must differ by so much that it matters.
- What was unusual goes into the history as it was predicted, until it has gone on for an hour.
- What runs less than 10 times a minute is looked at in steps of 5 minutes.

A change that comes slowly moves the baseline with it. Needs ``pip install 'langflow-otel[forecast]'``.
"""

from __future__ import annotations

import math
import warnings
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from statsforecast.models import ARIMA

from langflow_otel.insights._anomalies.detection import HISTORY_S, Rules
from langflow_otel.insights._anomalies.episodes import FIGURES, Anomaly, Episodes, Figure, Unusual
from langflow_otel.insights._anomalies.minutes import Minutes, value_of
from langflow_otel.insights._anomalies.windows import Key, Pane, Second
from langflow_otel.insights._statistics.tails import chance_of, count_z, failures_z, less_certain, z_of

STEPS: Final = (60, 300)
LEARNING: Final = {60: 60, 300: 36}
"""So many steps of each length are known before anything is raised."""

_OFTEN_A_MINUTE: Final = 10.0
_FITTED: Final = 720
_REFITTED_S: Final = 3600
_REFITTED_STEPS: Final = 12
_SEASON_S: Final = 86_400
_SEASON_FROM_S: Final = 2 * _SEASON_S
_LONGEST_S: Final = 7 * _SEASON_S
_HARMONICS: Final = 3
_LEAST_DURATIONS: Final = 3
_GOES_ON_Z: Final = 3.0
_GONE_S: Final = 86_400
_USUAL_OF: Final = 1000
_SAME: Final = 1e-9
_LARGEST_ROOT: Final = 0.98
_COEFFICIENTS: Final = ("ar1", "ar2", "ma1", "ma2")


def _inwards(figure: Figure, value: float, step_s: int) -> float:
    if figure == "duration":
        return math.log(max(value, 1e-6))
    return math.asin(math.sqrt(value)) if figure == "errors" else math.sqrt(value * step_s + 0.375)


def _outwards(figure: Figure, value: float, step_s: int) -> float:
    if figure == "duration":
        return math.exp(value)
    if figure == "errors":
        return math.sin(min(max(value, 0.0), math.pi / 2)) ** 2
    return max(max(value, 0.0) ** 2 - 0.375, 0.0) / step_s


def _noise(figure: Figure, pane: Pane) -> float:
    """What the standard deviation is at least, from the number of executions alone."""
    if figure == "throughput":
        return 0.5
    return 0.5 / math.sqrt(pane.finished) if figure == "errors" and pane.finished else 0.0


def _bounded(figure: Figure, pane: Pane, sigmas: float, usual: float, step_s: int) -> float:
    """Few executions are no normal variables: numbers have the tails of their own distributions at least."""
    if figure == "throughput":
        bound = abs(count_z(pane.count, usual * step_s, _FITTED))
    elif figure == "errors":
        bound = failures_z(pane.failures, pane.finished, round(usual * _USUAL_OF), _USUAL_OF)
    else:
        return sigmas
    return math.copysign(min(abs(sigmas), bound), sigmas)


class Curve:
    """The values of one figure step by step, and what the next one will be.

    Args:
        start_s: Unix time of the first step.
        step_s: Length of a step.
    """

    def __init__(self, start_s: int, step_s: int) -> None:
        self._step_s = step_s
        self._next_s = start_s
        self._values: deque[float] = deque(maxlen=_LONGEST_S // step_s)
        self._real: deque[float] = deque(maxlen=max(HISTORY_S // step_s, 1))
        self._fitted_s = 0
        self._season: Any = None
        self._coefficients: tuple[float, ...] | None = None
        self._last = (0.0, 0.0, 0.0)
        self._errors = (0.0, 0.0)
        self.scale = 0.0

    @property
    def known(self) -> int:
        return len(self._values)

    @property
    def has_learned(self) -> bool:
        return len(self._values) >= LEARNING.get(self._step_s, max(LEARNING.values()))

    def predict(self) -> float | None:
        """The next value; None as long as too little is known."""
        if not self.has_learned:
            return None
        if self._next_s - self._fitted_s >= max(_REFITTED_S, _REFITTED_STEPS * self._step_s):
            self._fit()
        return self._predicted()

    def _predicted(self) -> float:
        newest, before, oldest = self._last
        moved = 0.0
        if self._coefficients is not None:
            ar1, ar2, ma1, ma2 = self._coefficients
            moved = ar1 * (newest - before) + ar2 * (before - oldest) + ma1 * self._errors[0] + ma2 * self._errors[1]
        return newest + moved + self._seasonal(self._next_s)

    def add(self, value: float | None, predicted: float | None, *, is_unusual: bool) -> None:
        """What came in the next step; None if that is not known.

        Args:
            predicted: What :meth:`predict` said of it.
            is_unusual: It counts as predicted.
        """
        if value is not None:
            self._real.append(value)
        kept = predicted if value is None or (is_unusual and predicted is not None) else value
        if kept is None:
            if not self._values:
                self._next_s += self._step_s
                return
            kept = self._values[-1]
        self._values.append(kept)
        if predicted is not None:
            rest = kept - self._seasonal(self._next_s)
            self._last = (rest, *self._last[:2])
            self._errors = (kept - predicted, self._errors[0])
        self._next_s += self._step_s

    def move_to_what_came(self) -> None:
        """The level of the last hour is what is usual from now on."""
        if not self._real:
            return
        recent = list(self._values)[-len(self._real) :]
        by = float(np.median(self._real)) - float(np.median(recent))
        self._values = deque((each + by for each in self._values), maxlen=self._values.maxlen)
        self._fitted_s = 0

    def _seasonal(self, at_s: int) -> float:
        return 0.0 if self._season is None else float((_harmonics(np.array([at_s])) @ self._season)[0])

    def _fit(self) -> None:
        self._fitted_s = self._next_s
        values = np.array(self._values)
        times: Any = self._next_s - self._step_s * np.arange(len(values), 0, -1)
        self._season = None
        if len(values) * self._step_s >= _SEASON_FROM_S:
            design = np.column_stack([_harmonics(times), np.ones(len(values))])
            self._season = np.linalg.lstsq(design, values, rcond=None)[0][:-1]
            values = values - _harmonics(times) @ self._season
        values = values[-_FITTED:]
        residuals = self._fit_rest(values)
        self._last = (float(values[-1]), float(values[-2]), float(values[-3]))
        self._errors = (float(residuals[-1]), float(residuals[-2]))
        sizes = np.abs(residuals[len(residuals) // 20 + 3 :])
        percentiles = [float(np.quantile(sizes, share)) / z for share, z in ((0.9, 1.645), (0.99, 2.576))]
        self.scale = max(float(np.sqrt(np.mean(sizes**2))), *percentiles)

    def _fit_rest(self, values: Any) -> Any:
        """The errors of one step; where there is no model, those of predicting the value before."""
        self._coefficients = None
        differences = np.diff(values, prepend=values[0])
        found = _coefficients(values)
        if found is None:
            return differences
        ar1, ar2, ma1, ma2 = found
        errors = [0.0, 0.0, 0.0]
        moves = differences.tolist()
        for step in range(3, len(moves)):
            predicted = ar1 * moves[step - 1] + ar2 * moves[step - 2] + ma1 * errors[-1] + ma2 * errors[-2]
            errors.append(moves[step] - predicted)
        residuals = np.array(errors)
        if not np.std(residuals) < np.std(differences):
            return differences
        self._coefficients = found
        return residuals


def _coefficients(values: Any) -> tuple[float, float, float, float] | None:
    """As fitted, in the form that forgets how it began; None where nothing can be fitted."""
    if float(np.ptp(values)) < _SAME:
        return None
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            fitted = ARIMA(order=(2, 1, 2)).fit(values).model_["coef"]
    except Exception:  # noqa: BLE001 - whatever a numerical library raises on a series that it cannot fit
        return None
    ar1, ar2, ma1, ma2 = (float(fitted[name]) for name in _COEFFICIENTS)
    if not all(map(math.isfinite, (ar1, ar2, ma1, ma2))) or np.abs(np.roots([1, -ar1, -ar2])).max(initial=0.0) >= 1:
        return None
    # The same process has several forms of its moving average; R's arima takes the invertible one, too. Of a root of 1,
    # which differences of noise have, what was at the beginning would never be forgotten.
    roots = np.array([1 / root.conj() if abs(root) > 1 else root for root in np.roots([1, ma1, ma2])], dtype=complex)
    roots *= np.minimum(1, _LARGEST_ROOT / np.maximum(np.abs(roots), _SAME))
    _, ma1, ma2 = (float(each) for each in np.real(np.poly(roots))) if len(roots) == 2 else (1.0, ma1, 0.0)
    return ar1, ar2, ma1, ma2


def _harmonics(times: Any) -> Any:
    angles = 2 * np.pi * times[:, None] / _SEASON_S * np.arange(1, _HARMONICS + 1)
    return np.column_stack([np.sin(angles), np.cos(angles)])


@dataclass
class _State:
    """What is known of one key."""

    first_s: int
    last_s: int
    count: int = 0
    minutes: Minutes = field(default_factory=Minutes)
    panes: dict[int, Pane] = field(default_factory=lambda: {step: Pane() for step in STEPS})
    curves: dict[tuple[int, Figure], Curve] = field(default_factory=dict)

    def curve(self, step_s: int, figure: Figure, start_s: int) -> Curve:
        found = self.curves.get((step_s, figure))
        if found is None:
            found = self.curves[step_s, figure] = Curve(start_s, step_s)
        return found

    def step_s(self, now_s: int) -> int:
        """In steps of which length it is looked at."""
        often = self.count * 60 >= _OFTEN_A_MINUTE * max(now_s - self.first_s, 1)
        return STEPS[0] if often else STEPS[1]

    def has_learned(self, now_s: int) -> bool:
        curve = self.curves.get((self.step_s(now_s), "throughput"))
        return curve is not None and curve.has_learned


class ArimaWatch:
    """As :class:`~langflow_otel.insights._anomalies.detection.Detector`, by predicted intervals.

    Args:
        rules: Of these, ``false_a_day`` and by how much a figure must differ.

    Attributes:
        windows: How many steps were compared.
    """

    def __init__(self, rules: Rules | None = None) -> None:
        self._rules = rules or Rules()
        self._states: dict[Key, _State] = {}
        self._episodes = Episodes(quiet_s=STEPS[-1] + 1, sharp_s=STEPS[-1])
        self._now_s: int | None = None
        self.windows = 0

    @property
    def learning(self) -> set[Key]:
        """Keys of which too little has been seen to predict anything."""
        now_s = self._now_s or 0
        return {key for key, state in self._states.items() if not state.has_learned(now_s)}

    def advance(self, second: Second) -> list[Anomaly]:
        """Add what ended in this second; every second before it is over."""
        news = self.pass_time(second.at_s)
        for key, pane in second.panes.items():
            state = self._states.get(key)
            if state is None:
                state = self._states[key] = _State(second.at_s, second.at_s)
            state.last_s = second.at_s
            state.count += pane.count
            state.minutes.add(second.at_s, pane)
            for merged in state.panes.values():
                merged.merge(pane)
        return news

    def pass_time(self, until_s: int) -> list[Anomaly]:
        """Nothing more comes that ended before this second."""
        step_s = STEPS[0]
        if self._now_s is None or until_s - self._now_s > _GONE_S:
            news = [anomaly for key in list(self._states) for anomaly in self._forget(key)]
            self._now_s = until_s // step_s * step_s
            return news
        news = []
        while self._now_s + step_s <= until_s:
            self._now_s += step_s
            news += self._close(self._now_s)
        return news

    def finish(self) -> list[Anomaly]:
        """The anomalies that go on at the end."""
        return self._with_minutes(self._episodes.rest())

    def _close(self, end_s: int) -> list[Anomaly]:
        """The steps that end there."""
        news: list[Anomaly] = []
        for key, state in list(self._states.items()):
            if end_s - state.last_s > _GONE_S:
                news += self._forget(key)
                continue
            for step_s in STEPS:
                if end_s % step_s == 0:
                    news += self._look(key, state, step_s, end_s)
                    state.panes[step_s] = Pane()
            state.minutes.forget(end_s, self._episodes.since_s(key))
        return news + self._end(end_s)

    def _look(self, key: Key, state: _State, step_s: int, end_s: int) -> Iterator[Anomaly]:
        pane = state.panes[step_s]
        start_s = end_s - step_s
        is_whole = start_s >= state.first_s
        is_used = state.step_s(end_s) == step_s
        self.windows += is_whole and is_used
        for figure in FIGURES if is_whole else ():
            curve = state.curve(step_s, figure, start_s)
            value = self._value(figure, pane, step_s)
            predicted = curve.predict() if is_used else None
            window = None
            if value is not None and predicted is not None:
                window = self._unusual(figure, pane, (start_s, end_s), (value, predicted), curve)
            curve.add(value, predicted, is_unusual=window is not None)
            began = window and self._episodes.add(key, figure, window)
            if began:
                yield began

    def _value(self, figure: Figure, pane: Pane, step_s: int) -> float | None:
        if figure == "duration" and pane.durations.count < _LEAST_DURATIONS:
            return None
        value = value_of(figure, pane, step_s)
        return None if value is None else _inwards(figure, value, step_s)

    def _unusual(
        self, figure: Figure, pane: Pane, times_s: tuple[int, int], compared: tuple[float, float], curve: Curve
    ) -> Unusual | None:
        """The step, if it lies outside of what was predicted by so much that it matters."""
        start_s, end_s = times_s
        scale = max(curve.scale, _noise(figure, pane))
        if not scale:
            return None
        sigmas = less_certain((compared[0] - compared[1]) / scale, min(curve.known, _FITTED) - len(_COEFFICIENTS))
        if figure == "errors" and sigmas < 0:
            return None
        value, usual = (_outwards(figure, each, end_s - start_s) for each in compared)
        sigmas = _bounded(figure, pane, sigmas, usual, end_s - start_s)
        if abs(sigmas) < _GOES_ON_Z or not self._rules.matters(figure, pane, value, usual):
            return None
        is_alarm = abs(sigmas) >= self._alarm_level()
        return Unusual(start_s, end_s, start_s, value, usual, sigmas, chance_of(sigmas), pane.count, is_alarm)

    def _alarm_level(self) -> float:
        tests_a_day = 86_400 // STEPS[0] * len(FIGURES) * len(self._states)
        return z_of(self._rules.false_a_day / tests_a_day / 2)

    def _end(self, now_s: int) -> list[Anomaly]:
        ended = [each.anomaly for each in self._episodes.ended(now_s, HISTORY_S)]
        for anomaly in ended:
            if anomaly.is_lasting:
                self._states[anomaly.key].curves[anomaly.window_s, anomaly.figure].move_to_what_came()
        return self._with_minutes(ended)

    def _forget(self, key: Key) -> list[Anomaly]:
        ended = self._with_minutes(self._episodes.of_key(key))
        del self._states[key]
        return ended

    def _with_minutes(self, anomalies: list[Anomaly]) -> list[Anomaly]:
        for anomaly in anomalies:
            anomaly.minutes = self._states[anomaly.key].minutes.of(anomaly.figure)
        return anomalies

"""What a figure will be in the next days, how far that can be wrong, and when it reaches a limit.

Several models are tried on the past: from many days in it (rolling origins) each forecasts the days after with what was
known until then (L. J. Tashman, "Out-of-sample tests of forecasting accuracy", International Journal of Forecasting 16,
2000). The one that was off the least makes the forecast. Naive ones are among them: "as on the last day", and "as on
the same day of the last week", for many series nothing is better (S. Makridakis and others, "The M4 Competition",
International Journal of Forecasting 36, 2020).

Intervals are those of the model, made as much wider as they would have had to be in the past to hold 95 % of what came.

Needs ``pip install 'langflow-otel[forecast]'``.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any, Final, NamedTuple

import numpy as np
from statsforecast.models import ARIMA, AutoETS, Naive, SeasonalNaive

from langflow_otel.insights._forecasts.daily import Series, filled

LEAST_DAYS: Final = 21
LEVEL: Final = 95
WEEK: Final = 7

_MAX_ORIGINS: Final = 8
_LEAST_KNOWN: Final = 0.7
_MAX_HISTORY: Final = 730


class TooShortError(ValueError):
    """There is too little history; the message says how much is needed."""


class Model(NamedTuple):
    """One way to forecast.

    Attributes:
        name: For the user.
        make: Makes statsforecast's model.
    """

    name: str
    make: Any


NAIVE: Final = "as the last day"
SEASONAL_NAIVE: Final = "as a week before"
MODELS: Final = (
    Model(NAIVE, Naive),
    Model(SEASONAL_NAIVE, lambda: SeasonalNaive(season_length=WEEK)),
    Model("exponential smoothing (ETS) with a week's season", lambda: AutoETS(season_length=WEEK, model="ZZZ")),
    Model("ARIMA(2,1,2)", lambda: ARIMA(order=(2, 1, 2), include_drift=True)),
    Model(
        "ARIMA(2,1,2) with a week's season",
        lambda: ARIMA(order=(2, 1, 2), seasonal_order=(0, 1, 1), season_length=WEEK),
    ),
)


@dataclass(frozen=True)
class BackTest:
    """How far a model was off in the past.

    Attributes:
        mean_error: Mean absolute error, in the series' unit.
        scaled_error: The same as a multiple of that of the naive model.
        coverage: Share of the values that were in its own 95 % intervals, 0 to 1.
        widening: By how much these have to be wider to hold 95 %; at least 1.
    """

    mean_error: float
    scaled_error: float
    coverage: float
    widening: float


class Day(NamedTuple):
    """A forecast of one step: the value, and the bounds of its 95 % interval."""

    start_s: int
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Crossing:
    """When a limit is reached, Unix time of the day; None for not within the forecast.

    Attributes:
        limit: In the series' unit.
        expected_s: By the forecast itself.
        earliest_s: By the upper bound of the intervals.
        latest_s: By the lower bound.
        is_over: The last value is at the limit, or above it, already.
    """

    limit: float
    expected_s: int | None
    earliest_s: int | None
    latest_s: int | None
    is_over: bool


@dataclass(frozen=True)
class Forecast:
    """Of one series.

    Attributes:
        series: The history.
        model: The name of the model that was best in the past.
        days: Step by step.
        back_tests: By the names of all models.
        origins: From how many days in the past the models were tried.
        tried_days: How many days ahead then.
        crossing: None without a limit.
    """

    series: Series
    model: str
    days: list[Day]
    back_tests: Mapping[str, BackTest]
    origins: int
    tried_days: int
    crossing: Crossing | None = None

    @property
    def back_test(self) -> BackTest:
        """Of the model that was chosen."""
        return self.back_tests[self.model]

    @property
    def total(self) -> float:
        """Sum over all steps; for what is a sum over a step."""
        return math.fsum(each.value for each in self.days)


@dataclass
class _Errors:
    sizes: list[float] = field(default_factory=list)
    in_widths: list[float] = field(default_factory=list)


def forecast(series: Series, days: int, limit: float | None = None) -> Forecast:
    """Forecast so many steps.

    Args:
        series: Of days.
        days: How many.
        limit: When is it reached?

    Raises:
        TooShortError: There are less than 21 days, less than ``days``, or too many of them without a value.
    """
    values = filled(list(series.values)[-_MAX_HISTORY:])
    needed = max(LEAST_DAYS, days)
    if len(series.values) < needed:
        raise TooShortError(f"{len(series.values)} whole days of history; for {days} days ahead {needed} are needed")
    if series.known < _LEAST_KNOWN * len(series.values):
        raise TooShortError(f"{series.known} of {len(series.values)} days have a value; 70 % are needed")
    tried_days = min(days, max(WEEK, len(values) // 3))
    origins = _origins(len(values), tried_days)
    errors = {model.name: _Errors() for model in MODELS}
    for origin in origins:
        for model in MODELS:
            _try(model, values, origin, tried_days, errors[model.name])
    back_tests = _back_tests(errors)
    best = min(back_tests, key=lambda name: back_tests[name].mean_error)
    model = next(each for each in MODELS if each.name == best)
    predicted = _predict(model, values, days)
    if predicted is None:
        best, model = NAIVE, MODELS[0]
        predicted = _predict(model, values, days)
        assert predicted is not None  # noqa: S101
    made = _days(series, predicted, back_tests[best].widening)
    crossing = None if limit is None else _crossing(values[-1], made, limit)
    return Forecast(series, best, made, back_tests, len(origins), tried_days, crossing)


def _origins(count: int, tried_days: int) -> list[int]:
    """How many values are known at each, the last of them such that all that is tried is there."""
    last = count - tried_days
    first = min(2 * WEEK, last)
    number = min(_MAX_ORIGINS, last - first + 1)
    return sorted({round(first + (last - first) * each / max(number - 1, 1)) for each in range(number)})


def _predict(model: Model, values: Sequence[float], days: int) -> dict[str, list[float]] | None:
    """None where the model cannot be fitted."""
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            found = model.make().forecast(y=np.asarray(values, dtype=float), h=days, level=[LEVEL])
    except Exception:  # noqa: BLE001 - whatever a numerical library raises on a series that it cannot fit
        return None
    names = {"mean": "mean", "low": f"lo-{LEVEL}", "high": f"hi-{LEVEL}"}
    curves = {ours: [float(each) for each in found[theirs]] for ours, theirs in names.items()}
    return curves if all(math.isfinite(each) for curve in curves.values() for each in curve) else None


def _try(model: Model, values: Sequence[float], origin: int, days: int, errors: _Errors) -> None:
    predicted = _predict(model, values[:origin], days)
    if predicted is None:
        errors.sizes.append(math.inf)
        return
    for step, came in enumerate(values[origin : origin + days]):
        off = abs(came - predicted["mean"][step])
        width = (predicted["high"][step] - predicted["low"][step]) / 2
        errors.sizes.append(off)
        errors.in_widths.append(off / width if width > 0 else (0.0 if off == 0 else math.inf))


def _back_tests(errors: Mapping[str, _Errors]) -> dict[str, BackTest]:
    naive = fmean(errors[NAIVE].sizes)
    found = {}
    for name, each in errors.items():
        mean_error = fmean(each.sizes)
        if not math.isfinite(mean_error):
            continue
        in_widths = sorted(each.in_widths)
        widening = in_widths[min(math.ceil(LEVEL / 100 * len(in_widths)), len(in_widths)) - 1]
        coverage = sum(share <= 1 for share in in_widths) / len(in_widths)
        scaled = mean_error / naive if naive else 1.0
        found[name] = BackTest(mean_error, scaled, coverage, max(1.0, widening if math.isfinite(widening) else 1.0))
    return found


def _days(series: Series, predicted: Mapping[str, Any], widening: float) -> list[Day]:
    """None of the figures is ever negative."""
    made = []
    for step, value in enumerate(predicted["mean"]):
        below = (value - predicted["low"][step]) * widening
        above = (predicted["high"][step] - value) * widening
        start_s = series.end_s + step * series.step_s
        made.append(
            Day(start_s, max(float(value), 0.0), max(float(value - below), 0.0), max(float(value + above), 0.0))
        )
    return made


def _crossing(last: float, days: Sequence[Day], limit: float) -> Crossing:
    def first(name: str) -> int | None:
        return next((day.start_s for day in days if getattr(day, name) >= limit), None)

    return Crossing(limit, first("value"), first("high"), first("low"), last >= limit)

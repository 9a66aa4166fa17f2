"""When the level of a series changed and did not come back.

A series has one value a step: a day, a version. Where its level changes is found by ruptures (C. Truong, L. Oudre and
N. Vayatis, "Selective review of offline change point detection methods", Signal Processing 167, 2020): the division in
two parts that vary least, or in three, so that a change is also seen if one in the other direction came after it. The
same is done within the parts, as long as that is more than chance. What is compared are ranks, so one wild day is no
change, and no distribution of the values is assumed:

- Whether the two parts differ, or the middle one from those around it, is the exact test of Wilcoxon, Mann and Whitney,
  its p-value multiplied by all the ways in which the series could have been divided (Bonferroni's bound).
- Values that depend on the one before count as fewer: z is divided by the square root of (1 + r) / (1 - r), r being the
  autocorrelation of what is left within the parts (L. Kish and M. Frankel, "Inference from complex samples", Journal of
  the Royal Statistical Society B 36, 1974, call that ratio of variances the design effect).
- By how much: Hodges' and Lehmann's shift, the median of all differences, with the interval of the same test
  (J. L. Hodges and E. L. Lehmann, Annals of Mathematical Statistics 34, 1963).
- Since when: the places at which the likelihood is not much less than at the best one (Y. Eo and J. Morley,
  "Likelihood-ratio-based confidence sets for the timing of structural breaks", Quantitative Economics 6, 2015).

Needs ``pip install 'langflow-otel[forecast]'``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import NormalDist, median
from typing import Any, Final

import numpy as np
import ruptures
from scipy.stats import mannwhitneyu, rankdata

LEAST_STEPS: Final = 3
"""So many steps are before and after a change at least."""

_MOST_CHANGES: Final = 2
_NORMAL: Final = NormalDist()
_Z: Final = 1.959963985
_MAX_R: Final = 0.9
_EXACT_UP_TO: Final = 20
_LIKELIHOOD_RATIO: Final = 7.353
"""Of the 95 % confidence set: the solution of ``(1 - exp(-x / 2)) ** 2 = 0.95``."""
_SMALLEST: Final = 1e-300
_NEGLIGIBLE: Final = 1e-9
_MAX_OFF: Final = 3.0
"""Standard deviations from the levels before and after; values beyond them count as so far away."""


@dataclass(frozen=True)
class Shift:
    """A change of the level.

    Attributes:
        start: Index of the change before, or 0.
        place: Index of the first value that is different.
        first, last: The 95 % confidence set of ``place`` lies between them, both included.
        end: Index of the next change, or the number of values.
        before, after: The medians from ``start`` to ``place``, and from there to ``end``.
        change: Shift of the values; not exactly the difference of the medians.
        low, high: Its 95 % interval; None for no bound.
        p_value: How likely a change anywhere in this part of the series is found so clear if there is none.
    """

    start: int
    place: int
    first: int
    last: int
    end: int
    before: float
    after: float
    change: float
    low: float | None
    high: float | None
    p_value: float


def least_p_value(steps: int) -> float:
    """What :func:`chance_of_shift` gives at best for a series of so many steps; 1 if none is possible."""
    found = [
        # Of three parts the middle one is compared with the others, which take steps, too.
        2 * _bound(steps, changes) / math.comb(steps, min(steps // 2, steps - LEAST_STEPS * changes))
        for changes in range(1, _changes_tried(steps) + 1)
    ]
    return min([1.0, *found])


def chance_of_shift(values: Sequence[float]) -> float:
    """How likely the clearest change of a series of this length is as clear as here, or clearer, by chance."""
    return _division(values)[0]


def level_shifts(values: Sequence[float], level: float) -> list[Shift]:
    """All changes whose p-value is below ``level``, in their order.

    Args:
        values: In the order of time.
        level: For each change; where several series are looked at, so much smaller.
    """
    places = _divided(values, 0, len(values), level)
    while places:
        bounds = [0, *places, len(values)]
        chances = [
            _chance(values[bounds[each] : bounds[each + 2]], [bounds[each + 1] - bounds[each]])
            for each in range(len(places))
        ]
        # With the parts beside it as they turned out to be, a change may be none.
        weakest = max(range(len(places)), key=chances.__getitem__)
        if chances[weakest] < level:
            return [
                _shift(values, bounds[each], bounds[each + 1], bounds[each + 2], chances[each])
                for each in range(len(places))
            ]
        del places[weakest]
    return []


def _divided(values: Sequence[float], start: int, end: int, level: float) -> list[int]:
    chance, places = _division(values[start:end])
    if chance >= level:
        return []
    found: list[int] = []
    bounds = [start, *(start + place for place in places), end]
    for first, last in pairwise(bounds):
        found += [*_divided(values, first, last, level), last]
    return found[:-1]


def _division(values: Sequence[float]) -> tuple[float, list[int]]:
    """The clearest one, and how likely one so clear is; nowhere for too few values, or if all are the same."""
    if len(values) < 2 * LEAST_STEPS or min(values) == max(values):
        return 1.0, []
    algorithm = ruptures.KernelCPD(kernel="linear", min_size=LEAST_STEPS).fit(_scores(values).reshape(-1, 1))
    tried = range(1, _changes_tried(len(values)) + 1)
    found = [[int(each) for each in algorithm.predict(n_bkps=changes)[:-1]] for changes in tried]
    return min((_chance(values, places), places) for places in found)


def _changes_tried(steps: int) -> int:
    """In how many parts such a series can be divided, less one."""
    return max(0, min(_MOST_CHANGES, steps // LEAST_STEPS - 1))


def _scores(values: Sequence[float]) -> Any:
    """Normal scores of the ranks (B. L. van der Waerden, 1952)."""
    shares = rankdata(values) / (len(values) + 1)
    return np.array([_NORMAL.inv_cdf(each) for each in shares])


def _chance(values: Sequence[float], places: Sequence[int]) -> float:
    """That every second part of a division differs so clearly from the others."""
    parts = [values[start:end] for start, end in pairwise([0, *places, len(values)])]
    these, those = ([value for part in parts[first::2] for value in part] for first in (0, 1))
    z = -_NORMAL.inv_cdf(max(_rank_test(these, those) / 2, _SMALLEST)) / math.sqrt(_effect(_scores(values), places))
    return min(1.0, _bound(len(values), len(places)) * math.erfc(z / math.sqrt(2)))


def _bound(steps: int, changes: int) -> float:
    """By what a p-value is multiplied: the ways to divide so many steps, times how many numbers of parts are tried."""
    spare = steps - (changes + 1) * LEAST_STEPS
    return float(_changes_tried(steps) * math.comb(spare + changes, changes))


def _rank_test(before: Sequence[float], after: Sequence[float]) -> float:
    """The p-value of two sides. Equal values make it larger than it need be."""
    if min(len(before), len(after)) <= _EXACT_UP_TO:
        return float(mannwhitneyu(before, after, method="exact").pvalue)
    above = float(mannwhitneyu(before, after, method="asymptotic").statistic)
    z = max(0.0, abs(above - len(before) * len(after) / 2) - 0.5) / _deviation(len(before), len(after))
    return math.erfc(z / math.sqrt(2))


def _deviation(before: int, after: int) -> float:
    """Standard deviation of the test's statistic."""
    return math.sqrt(before * after * (before + after + 1) / 12)


def _effect(scores: Any, places: Sequence[int]) -> float:
    """By how much the variance of a mean is larger than that of independent values; at least 1."""
    rest = _rest(scores, places)
    squares = float(rest @ rest)
    if squares < _NEGLIGIBLE:
        return 1.0
    # The mean of each part is subtracted, which makes it look smaller than it is.
    r = float(rest[1:] @ rest[:-1]) / squares + (len(places) + 1) / len(rest)
    r = min(max(r, 0.0), _MAX_R)
    return (1 + r) / (1 - r)


def _rest(scores: Any, places: Sequence[int]) -> Any:
    return np.concatenate([part - part.mean() for part in np.split(scores, places)])


def _shift(values: Sequence[float], start: int, place: int, end: int, chance: float) -> Shift:
    before, after = values[start:place], values[place:end]
    scores = _scores(values[start:end])
    effect = _effect(scores, [place - start])
    differences = sorted(late - early for early in before for late in after)
    left_out = math.floor(len(differences) / 2 - _Z * math.sqrt(effect) * _deviation(len(before), len(after)))
    is_known = left_out >= 0
    first, last = _places(values[start:end], place - start, effect)
    return Shift(
        start=start,
        place=place,
        first=start + first,
        last=start + last,
        end=end,
        before=median(before),
        after=median(after),
        change=median(differences),
        low=differences[left_out] if is_known else None,
        high=differences[-1 - left_out] if is_known else None,
        p_value=chance,
    )


def _places(values: Sequence[float], best: int, effect: float) -> tuple[int, int]:
    """Between which places the change lies."""
    kept = _without_wild_ones(np.array(values, dtype=float), best)
    candidates = range(LEAST_STEPS, len(kept) - LEAST_STEPS + 1)
    squares = {each: float((rest := _rest(kept, [each])) @ rest) for each in candidates}
    variance = squares[best] / max(1, len(kept) - 2)
    within = [each for each in candidates if squares[each] - squares[best] <= _LIKELIHOOD_RATIO * effect * variance]
    return min(within), max(within)


def _without_wild_ones(values: Any, place: int) -> Any:
    """Neither ranks, in which the size of a change is lost, nor values of which one outweighs all others."""
    levels = [float(np.median(part)) for part in (values[:place], values[place:])]
    off = np.abs(values - np.repeat(levels, [place, len(values) - place]))
    reach = _MAX_OFF * 1.4826 * float(np.median(off))
    return values.clip(min(levels) - reach, max(levels) + reach)

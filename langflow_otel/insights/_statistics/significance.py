"""Whether two sets of observations differ: quantiles, shares, dependent observations, many comparisons at once.

Everything is computed, nothing is drawn at random: the same data give the same answer.

- A quantile's bootstrap distribution is that of an order statistic, so it needs no resampling: A. D. Hutson and
  M. D. Ernst, "The exact bootstrap mean and variance of an L-estimator", Journal of the Royal Statistical Society B 62
  (2000). Where it lies between two observations, the one counts that makes a difference less likely; beyond the last
  one it is not known. So a sample that is too small for a quantile never makes a difference of it.
- The interval of a difference of shares: R. G. Newcombe, "Interval estimation for the difference between independent
  proportions", Statistics in Medicine 17 (1998), method 10; its test is Fisher's exact test.
- Dependent observations count as fewer independent ones: E. L. Korn and B. I. Graubard, "Confidence intervals for
  proportions with small expected number of positive counts estimated from survey data", Survey Methodology 24 (1998).
- Many comparisons: S. Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of
  Statistics 6 (1979), for those that can be significant at all: R. E. Tarone, Biometrics 46 (1990).
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

from langflow_otel.insights.components import percentile

ALPHA: Final = 0.05
"""Chance of any false alarm among all comparisons."""
CONFIDENCE: Final = 0.95
"""Of each interval alone."""

_Z: Final = 1.959963985
_FAR: Final = 1e-16
"""Probabilities below this part of the largest one are left out."""
_GRID: Final = 60
"""Points of each of two distributions, of whose difference an interval is made."""
_Z_OF_MANY: Final = 3.3
"""Level of one among many comparisons, as a normal quantile: there Student's t is compared with the normal."""
_LEAST_GROUPS: Final = 30
_PART_OF_A_GROUP: Final = 10


@dataclass(frozen=True)
class Difference:
    """A figure before and after. What cannot be known is None.

    Attributes:
        before, after: The figure itself.
        low, high: 95 % interval of ``after - before``; None for no bound.
        p_value: How likely so large a difference is in either direction if there is none.
        least_p_value: What it would be if the two samples did not overlap at all.
        counted, counted_after: As how many independent observations the two samples count.
    """

    before: float
    after: float
    low: float | None
    high: float | None
    p_value: float
    least_p_value: float
    counted: int
    counted_after: int


@dataclass(frozen=True)
class Sample:
    """Observations, and which of them go together.

    Attributes:
        values: In the order of time.
        groups: Of each the group, such as its session; None where all are independent.
    """

    values: Sequence[float]
    groups: Sequence[Hashable] | None = None


def quantile_difference(before: Sample, after: Sample, share: float) -> Difference:
    """Compare a quantile, such as the share 0.95, of two samples that have a value at least each."""
    then, now = _Quantile(before, share), _Quantile(after, share)
    return Difference(
        before=then.value,
        after=now.value,
        low=_finite(_bound(then.above, now.below, (1 - CONFIDENCE) / 2)),
        high=_finite(_bound(then.below, now.above, (1 + CONFIDENCE) / 2)),
        p_value=_of_two_sides(_not_above(now.below, then.above), _not_above(then.below, now.above)),
        least_p_value=_of_two_sides(_apart(then.count, now.count, share), _apart(now.count, then.count, share)),
        counted=then.count,
        counted_after=now.count,
    )


def share_difference(before: Sample, after: Sample) -> Difference:
    """Compare the share of ones among zeros and ones; each sample has a value at least."""
    together = Sample([*before.values, *after.values], _joined(before, after))
    effect = design_effect(together)
    (ones, count), (ones_after, count_after) = (_counted(each, effect) for each in (before, after))
    share, share_after = (sum(each.values) / len(each.values) for each in (before, after))
    low, high = _newcombe(share, count, share_after, count_after)
    marked, total = ones + ones_after, count + count_after
    extremes = (max(0, marked - count), min(marked, count_after))
    return Difference(
        before=share,
        after=share_after,
        low=low,
        high=high,
        p_value=_fisher(ones_after, count_after, marked, total),
        least_p_value=min(_fisher(each, count_after, marked, total) for each in extremes),
        counted=count,
        counted_after=count_after,
    )


def holm(differences: Sequence[tuple[float, float]]) -> list[float | None]:
    """Adjusted p-values: below :data:`ALPHA` they are significant with all comparisons together.

    Args:
        differences: The p-value of each, and the least one that it could have.

    Returns:
        In the same order; None for one that could not be significant whatever its values: it costs the others nothing.
    """
    able = _able([least for _, least in differences])
    adjusted: list[float | None] = [None] * len(differences)
    reached = 0.0
    for rank, index in enumerate(sorted(able, key=lambda each: differences[each][0])):
        reached = max(reached, min(1.0, (len(able) - rank) * differences[index][0]))
        adjusted[index] = reached
    return adjusted


def _able(least: Sequence[float]) -> list[int]:
    """Which can reach the level that is left when only these are counted."""
    for count in range(1, len(least) + 1):
        able = [index for index, each in enumerate(least) if each <= ALPHA / count]
        if len(able) <= count:
            return able
    return []


def least_count(share: float, comparisons: int) -> int:
    """From how many independent observations on each side a difference of a quantile can be significant."""
    count = 1
    while _of_two_sides(*(_apart(count, count, share),) * 2) > ALPHA / comparisons:
        count += 1
    return count


def design_effect(sample: Sample) -> float:
    """By how much the variance of a share of ones is larger than if all observations were independent; at least 1.

    Where there are fewer than 30 groups, those of more than 10 are divided into parts of 10 observations that follow
    each other, so that one long session can be used as well.
    """
    values, groups = sample.values, sample.groups
    count = len(values)
    share = sum(values) / count
    if groups is None or not 0 < share < 1:
        return 1.0
    sums = _sums([value - share for value in values], groups)
    if len(sums) == count:
        return 1.0
    if len(sums) < 2:
        return float(count)
    between = len(sums) / (len(sums) - 1) * sum(each * each for each in sums)
    few = (_students(len(sums) - 1) / _students(count - 1)) ** 2
    return min(float(count), max(1.0, few * between / (count * share * (1 - share))))


def _sums(values: Sequence[float], groups: Sequence[Hashable]) -> list[float]:
    few = len(set(groups)) < _LEAST_GROUPS
    seen: dict[Hashable, int] = {}
    sums: dict[Hashable, float] = {}
    for value, group in zip(values, groups, strict=True):
        place = seen[group] = seen.get(group, -1) + 1
        key = (group, place // _PART_OF_A_GROUP) if few else group
        sums[key] = sums.get(key, 0.0) + value
    return list(sums.values())


def _students(freedom: int) -> float:
    """Student's t at the level of :data:`_Z_OF_MANY`, by its expansion (Abramowitz and Stegun, 26.7.5)."""
    z = _Z_OF_MANY
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    return z + first / freedom + second / freedom**2


class _Quantile:
    """A quantile of a sample, and its bootstrap distribution as values with their weights."""

    def __init__(self, sample: Sample, share: float) -> None:
        ordered = sorted(sample.values)
        self.value = percentile(ordered, share) or 0.0
        flags = Sample([float(value <= self.value) for value in sample.values], sample.groups)
        self.count = max(1, math.floor(len(ordered) / design_effect(flags)))
        thinned = [ordered[int((each + 0.5) * len(ordered) / self.count)] for each in range(self.count)]
        framed = [-math.inf, *thinned, math.inf]
        places = list(_binomial(self.count, share))
        self.below = [(framed[place], weight) for place, weight in places]
        self.above = [(framed[place + 1], weight) for place, weight in places]


def _binomial(count: int, share: float) -> Iterator[tuple[int, float]]:
    """How many of so many independent observations lie below the quantile of this share, with their probabilities."""
    middle = min(count, int((count + 1) * share))
    odds = share / (1 - share)
    weights = {middle: 1.0}
    for place in range(middle, count):
        weights[place + 1] = weights[place] * odds * (count - place) / (place + 1)
        if weights[place + 1] < _FAR:
            break
    for place in range(middle, 0, -1):
        weights[place - 1] = weights[place] * place / (odds * (count - place + 1))
        if weights[place - 1] < _FAR:
            break
    total = math.fsum(weights.values())
    return ((place, weights[place] / total) for place in sorted(weights))


_Weighted = Sequence[tuple[float, float]]


def _not_above(these: _Weighted, those: _Weighted) -> float:
    """How likely one of these is at most one of those; both ascending."""
    limits = [value for value, _ in these]
    reached = [0.0, *accumulate(weight for _, weight in these)]
    return math.fsum(weight * reached[bisect_right(limits, value)] for value, weight in those)


def _apart(before: int, after: int, share: float) -> float:
    """The same for an ``after`` that lies above ``before`` as a whole."""
    return 1 - (1 - share**before) * (1 - (1 - share) ** after)


def _of_two_sides(worse: float, better: float) -> float:
    return min(1.0, 2 * min(worse, better))


def _bound(before: _Weighted, after: _Weighted, share: float) -> float:
    """A quantile of ``after - before``."""
    differences = sorted(late - early for early in _evenly(before) for late in _evenly(after))
    return differences[min(len(differences) - 1, int(share * len(differences)))]


def _evenly(weighted: _Weighted) -> list[float]:
    """So many values, each as likely as the others."""
    reached = list(accumulate(weight for _, weight in weighted))
    return [
        weighted[min(len(weighted) - 1, bisect_right(reached, (each + 0.5) / _GRID * reached[-1]))][0]
        for each in range(_GRID)
    ]


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _joined(before: Sample, after: Sample) -> list[Hashable] | None:
    """No group of the one is a group of the other."""
    if before.groups is None or after.groups is None:
        return None
    return [*((0, group) for group in before.groups), *((1, group) for group in after.groups)]


def _counted(sample: Sample, effect: float) -> tuple[int, int]:
    """The ones, and all, as if they were independent."""
    count = max(1, math.floor(len(sample.values) / effect))
    return min(count, round(sum(sample.values) / len(sample.values) * count)), count


def _newcombe(share: float, count: int, share_after: float, count_after: int) -> tuple[float, float]:
    low, high = _wilson(share, count)
    low_after, high_after = _wilson(share_after, count_after)
    difference = share_after - share
    return (
        difference - math.hypot(share_after - low_after, high - share),
        difference + math.hypot(high_after - share_after, share - low),
    )


def _wilson(share: float, count: int) -> tuple[float, float]:
    square = _Z * _Z / count
    middle = (share + square / 2) / (1 + square)
    half = _Z * math.sqrt(share * (1 - share) / count + square / (4 * count)) / (1 + square)
    return max(0.0, middle - half), min(1.0, middle + half)


def _fisher(drawn_ones: int, drawn: int, ones: int, total: int) -> float:
    """Of ``drawn`` out of ``total``, how likely are so many or more of the ones, or so many or fewer, of two sides."""
    below, here, above = 0.0, 0.0, 0.0
    for each, chance in _hypergeometric(drawn, ones, total):
        if each == drawn_ones:
            here = chance
        elif each < drawn_ones:
            below += chance
        else:
            above += chance
    return min(1.0, 2 * (here + min(below, above)))


def _hypergeometric(drawn: int, ones: int, total: int) -> Iterator[tuple[int, float]]:
    first, last = max(0, ones + drawn - total), min(ones, drawn)
    whole = _log_choose(total, drawn)
    for each in range(first, last + 1):
        yield each, math.exp(_log_choose(ones, each) + _log_choose(total - ones, drawn - each) - whole)


def _log_choose(count: int, chosen: int) -> float:
    return math.lgamma(count + 1) - math.lgamma(chosen + 1) - math.lgamma(count - chosen + 1)

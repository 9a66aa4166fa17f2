"""How unlikely a count or a sum of ranks is, as the number of standard deviations of a normal distribution.

A window holds few executions, so the tails are those of the discrete distributions, not of the normal one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist
from typing import Final

_NORMAL: Final = NormalDist()
_SMALLEST: Final = 1e-300
_NEGLIGIBLE: Final = 1e-12
_EXACT_UNIFORMS: Final = 12


def z_of(chance: float) -> float:
    """The value that a standard normal variable exceeds with this probability (0 to 1)."""
    return -_NORMAL.inv_cdf(min(max(chance, _SMALLEST), 1 - 1e-16))


def chance_of(z: float) -> float:
    """The probability that a standard normal variable is so far from 0, on either side."""
    return math.erfc(abs(z) / math.sqrt(2))


def less_certain(z: float, degrees: float) -> float:
    """A value of Student's t as one of a normal variable that is as unlikely.

    D. L. Wallace, "Bounds on normal approximations to Student's and the chi-square distributions", Annals of
    Mathematical Statistics 30, 1959.
    """
    return math.copysign((8 * degrees + 1) / (8 * degrees + 3) * math.sqrt(degrees * math.log1p(z * z / degrees)), z)


def ranks_z(total: float, count: int, known: int) -> float:
    """How far the ranks of some values among many that are known are from what chance gives.

    For few values the exact distribution of a sum of uniform variables (Irwin and Hall, 1927), for more the normal
    one, as in the test of Wilcoxon, Mann and Whitney. No shape of the values' own distribution is assumed.

    Args:
        total: Sum of the ranks, each as a share of the known values, 0 to 1.
        count: Of the values.
        known: Of those that are known.
    """
    spread = math.sqrt(count / 12 * (1 + (count + 1) / max(known, 1)))
    z = (total - count / 2) / spread
    if count > _EXACT_UNIFORMS or abs(z) < min(2.5, 0.8 * math.sqrt(3 * count)):
        return z
    least = 0.5 / (known + 1)
    beyond = max(count - total if z > 0 else total, count * least)
    return math.copysign(z_of(_sum_below(beyond, count)), z)


def _sum_below(limit: float, count: int) -> float:
    """Probability that the sum of so many uniform variables is below it."""
    terms = (
        (-1) ** each * math.comb(count, each) * (limit - each) ** count for each in range(min(int(limit), count) + 1)
    )
    return min(max(math.fsum(terms) / math.factorial(count), _SMALLEST), 1.0)


def count_z(count: int, expected: float, known: float) -> float:
    """How far a number of events is from the expected one, if they come independently of each other (Poisson).

    Args:
        expected: Estimated from ``known`` times as long a time.
    """
    if expected <= 0:
        return 0.0
    z = 2 * (math.sqrt(count + 0.375) - math.sqrt(expected + 0.375)) / math.sqrt(1 + 1 / known)
    if abs(z) < 2.5:
        return z
    exact = z_of(_poisson_above(count, expected) if z > 0 else _poisson_below(count, expected))
    return math.copysign(max(exact, 0.0) / math.sqrt(1 + 1 / known), z)


def _poisson_above(count: int, expected: float) -> float:
    return _summed(math.exp(_poisson_log(count, expected)), lambda each: expected / (count + each))


def _poisson_below(count: int, expected: float) -> float:
    return _summed(math.exp(_poisson_log(count, expected)), lambda each: max(count - each + 1, 0) / expected)


def _poisson_log(count: int, expected: float) -> float:
    return count * math.log(expected) - expected - math.lgamma(count + 1)


def _summed(term: float, ratio: Callable[[int], float]) -> float:
    """A term and those after it, each the one before times a ratio."""
    total, each = term, 1
    while term > total * _NEGLIGIBLE:
        term *= ratio(each)
        total += term
        each += 1
    return total


def failures_z(failures: int, finished: int, known_failures: int, known: int) -> float:
    """How far a number of failures is above what the known share of failures gives; 0 where it is not above.

    The share is itself an estimate: the tail is that of the beta-binomial distribution with Jeffreys' prior.
    """
    a, b = known_failures + 0.5, known - known_failures + 0.5
    share = a / (a + b)
    z = (failures - finished * share) / math.sqrt(finished * share * (1 - share) * (1 + finished / (a + b)))
    if z < 2.5:
        return max(z, 0.0)
    log_first = (
        math.lgamma(finished + 1)
        - math.lgamma(failures + 1)
        - math.lgamma(finished - failures + 1)
        + math.lgamma(failures + a)
        + math.lgamma(finished - failures + b)
        - math.lgamma(finished + a + b)
        + math.lgamma(a + b)
        - math.lgamma(a)
        - math.lgamma(b)
    )

    def ratio(each: int) -> float:
        more = failures + each
        if more > finished:
            return 0.0
        left = finished - more
        return (left + 1) / more * (more - 1 + a) / (left + b)

    return z_of(_summed(math.exp(log_first), ratio))

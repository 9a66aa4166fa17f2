"""How two curves go together, and which of them is ahead."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from langflow_otel.insights._statistics.tails import chance_of, less_certain

MAX_LAG: Final = 5
MIN_PAIRS: Final = 15
LEVEL: Final = 0.01
MIN_SIZE: Final = 0.3


@dataclass(frozen=True)
class Correlation:
    """Two curves that go together more than chance allows.

    Attributes:
        name: The other curve.
        size: Rank correlation (Spearman's), -1 to 1.
        lag: By how many steps the other curve is ahead; negative where it follows.
        pairs: How many points were compared.
        chance: Probability of such a correlation at any of the lags and curves if they have nothing to do with each
            other.
    """

    name: str
    size: float
    lag: int
    pairs: int
    chance: float


def correlations(
    curve: Mapping[int, float], others: Mapping[str, Mapping[int, float]], max_lag: int = MAX_LAG
) -> list[Correlation]:
    """Of each other curve the lag at which it goes best with this one, where chance does not explain it.

    Neighbouring points are alike, so fewer points are independent than there are: their number is corrected by the
    first autocorrelations (B. J. Pyper and R. M. Peterman, "Comparison of methods to account for autocorrelation in
    correlation analyses of fish data", Canadian Journal of Fisheries and Aquatic Sciences 55, 1998). The chance is that
    of all lags and curves together (Bonferroni).

    Args:
        curve: Values by step.
        others: By name, the same.
        max_lag: Looked at on either side.
    """
    comparisons = (2 * max_lag + 1) * max(len(others), 1)
    found = []
    for name, other in others.items():
        lags = range(-max_lag, max_lag + 1)
        candidates = [each for lag in lags if (each := _at_lag(name, curve, other, lag, comparisons)) is not None]
        best = min(candidates, key=lambda each: (each.chance, -abs(each.size), abs(each.lag)), default=None)
        if best is not None and best.chance <= LEVEL and abs(best.size) >= MIN_SIZE:
            found.append(best)
    return sorted(found, key=lambda each: -abs(each.size))


def _at_lag(
    name: str, curve: Mapping[int, float], other: Mapping[int, float], lag: int, comparisons: int
) -> Correlation | None:
    pairs = [(value, other[step - lag]) for step, value in sorted(curve.items()) if step - lag in other]
    if len(pairs) < MIN_PAIRS:
        return None
    ours, theirs = (_ranks([pair[side] for pair in pairs]) for side in (0, 1))
    size = _pearson(ours, theirs)
    if size is None:
        return None
    together = (_pearson(ours[1:], ours[:-1]) or 0.0) * (_pearson(theirs[1:], theirs[:-1]) or 0.0)
    independent = len(pairs) * (1 - max(together, 0.0)) / (1 + max(together, 0.0))
    degrees = max(int(independent) - 2, 1)
    t = size * math.sqrt(degrees / max(1 - size * size, 1e-9))
    chance = min(1.0, chance_of(less_certain(t, degrees)) * comparisons)
    return Correlation(name, size, lag, len(pairs), chance)


def _ranks(values: Sequence[float]) -> list[float]:
    """Equal values have the middle of their ranks."""
    order = sorted(range(len(values)), key=values.__getitem__)
    ranks = [0.0] * len(values)
    start = 0
    while start < len(order):
        end = start
        while end < len(order) and values[order[end]] == values[order[start]]:
            end += 1
        for place in order[start:end]:
            ranks[place] = (start + end - 1) / 2
        start = end
    return ranks


def _pearson(ours: Sequence[float], theirs: Sequence[float]) -> float | None:
    count = len(ours)
    if count < 3:
        return None
    our_mean, their_mean = sum(ours) / count, sum(theirs) / count
    our_square = sum((value - our_mean) ** 2 for value in ours)
    their_square = sum((value - their_mean) ** 2 for value in theirs)
    if not our_square or not their_square:
        return None
    both = sum((a - our_mean) * (b - their_mean) for a, b in zip(ours, theirs, strict=True))
    return max(-1.0, min(1.0, both / math.sqrt(our_square * their_square)))

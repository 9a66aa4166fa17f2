"""A linear model of what single runs do, with intervals that hold where runs are neither independent nor alike.

- The coefficients are those of Huber's M-estimator (P. J. Huber, "Robust estimation of a location parameter", Annals of
  Mathematical Statistics 35, 1964; constant 1.345): a few extreme runs count less. Each stratum, such as a flow, has a
  scale of its own, the median absolute deviation of its residuals, so that the runs of a slow flow do not drown those
  of a fast one.
- For the intervals the estimate is written as ordinary least squares of pseudo-values (J. O. Street, R. J. Carroll and
  D. Ruppert, "A note on computing robust regression estimates via iteratively reweighted least squares", The American
  Statistician 42, 1988). Their variance is the bias-reduced one of clusters, CR2, with the degrees of freedom that
  belong to each coefficient (R. M. Bell and D. F. McCaffrey, "Bias reduction in standard errors for linear regression
  with multi-stage samples", Survey Methodology 28, 2002; G. W. Imbens and M. Kolesar, "Robust standard errors in small
  samples", Review of Economics and Statistics 98, 2016): runs of a cluster may depend on each other in any way, and
  what is seen in few clusters has few degrees of freedom.
- Where there are several ways to make clusters, each coefficient has the widest of its intervals.

Needs numpy.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from langflow_otel.insights._statistics.tails import chance_of, less_certain

Array = Any
"""``numpy.ndarray``; numpy is optional here, and so are its types."""

HUBER: Final = 1.345
_MAD_TO_SIGMA: Final = 1.4826
_STEPS: Final = 50
_DONE: Final = 1e-6
_Z_OF_95: Final = 1.959964
_SMALL: Final = 1e-10
_LEAST_IN_A_STRATUM: Final = 20
_SAME: Final = 1e-3
"""A column of whose sum of squares so little is left, once those before it are taken out, is determined by them."""


@dataclass(frozen=True)
class Coefficient:
    """Attributes:
    value: Change of the outcome when the column grows by 1.
    low, high: Its 95 % interval, for itself alone.
    p_value: Of no change.
    degrees: Of freedom; few where what is asked is seen in few clusters.
    """

    value: float
    low: float
    high: float
    p_value: float
    degrees: float


def independent(columns: Array) -> list[int]:
    """Which columns, in their order, are not determined by those before them."""
    kept: list[int] = []
    directions: list[Array] = []
    for number in range(columns.shape[1]):
        rest = columns[:, number].astype(float)
        size = float(rest @ rest)
        for direction in directions * 2:  # Twice: once leaves rounding errors.
            rest = rest - (direction @ rest) * direction
        left = float(rest @ rest)
        if size > 0 and left > _SAME * size:
            kept.append(number)
            directions.append(rest / math.sqrt(left))
    return kept


def regression(
    columns: Array, outcome: Array, strata: Array, clusterings: Sequence[Array], wanted: Sequence[Sequence[int]]
) -> dict[int, Coefficient]:
    """The coefficients of some columns.

    Args:
        columns: A row a run; all of them :func:`independent`.
        outcome: Of each run.
        strata: A number of each run: which scale its residual has.
        clusterings: Each says of every run in which cluster it is, as numbers from 0.
        wanted: For each clustering the columns that are judged by it.

    Returns:
        By the column's number.
    """
    beta, scale = _huber(columns, outcome, strata)
    scaled = columns / scale[:, None]
    residuals = (outcome - columns @ beta) / scale
    inside = float(np.mean(np.abs(residuals) <= HUBER))
    count, size = columns.shape
    # Huber's correction for the number of columns (Robust Statistics, 1981, section 7.6).
    correction = (1 + size / count * (1 - inside) / inside) / inside
    pseudo = np.clip(residuals, -HUBER, HUBER) * correction
    sizes = np.sqrt(np.sum(scaled * scaled, axis=0))
    even = scaled / sizes
    inverse = np.linalg.inv(even.T @ even) / np.outer(sizes, sizes)
    found: dict[int, Coefficient] = {}
    for clusters, numbers in zip(clusterings, wanted, strict=True):
        errors, degrees = _errors(scaled, pseudo, inverse, clusters, list(numbers))
        for number, error, freedom in zip(numbers, errors, degrees, strict=True):
            made = _coefficient(float(beta[number]), error, freedom)
            if number not in found or made.high - made.low > found[number].high - found[number].low:
                found[number] = made
    return found


def _huber(columns: Array, outcome: Array, strata: Array) -> tuple[Array, Array]:
    """The coefficients, and the scale of each run's residual."""
    beta = _least_squares(columns, outcome)
    scale = np.ones(len(outcome))
    for _ in range(_STEPS):
        residuals = outcome - columns @ beta
        scale = _scales(residuals, strata)
        shares = np.minimum(1.0, HUBER / np.maximum(np.abs(residuals / scale), _SMALL))
        weights = np.sqrt(shares) / scale
        before, beta = beta, _least_squares(columns * weights[:, None], outcome * weights)
        if np.max(np.abs(columns @ (beta - before)) / scale) < _DONE:
            break
    return beta, scale


def _least_squares(columns: Array, outcome: Array) -> Array:
    """The columns are independent, so that the normal equations do, which are faster."""
    sizes = np.sqrt(np.sum(columns * columns, axis=0))
    even = columns / sizes
    return np.linalg.solve(even.T @ even, even.T @ outcome) / sizes


def _scales(residuals: Array, strata: Array) -> Array:
    sizes = np.abs(residuals)
    least = max(_SMALL * float(np.max(sizes)), np.finfo(float).tiny)
    found = np.full(len(sizes), max(_deviation(sizes), least))
    for stratum in np.unique(strata):
        members = strata == stratum
        if members.sum() >= _LEAST_IN_A_STRATUM:
            found[members] = max(_deviation(sizes[members]), least)
    return found


def _deviation(sizes: Array) -> float:
    """The median one; where more than half of the residuals are 0, the mean one."""
    return float(np.median(sizes) * _MAD_TO_SIGMA or np.mean(sizes) * math.sqrt(math.pi / 2))


def _errors(
    columns: Array, residuals: Array, inverse: Array, clusters: Array, wanted: list[int]
) -> tuple[list[float], list[float]]:
    """Standard errors (CR2), and degrees of freedom."""
    order = np.argsort(clusters, kind="stable")
    cuts: Array = np.flatnonzero(np.diff(clusters[order])) + 1
    root = _root(inverse)
    variance = np.zeros(len(wanted))
    lengths = []  # Of each cluster, a number for each wanted column.
    turned = []
    for members in np.split(order, cuts):
        rows = columns[members]
        left, values, _ = np.linalg.svd(rows @ root, full_matrices=False)
        rest = 1 - np.minimum(values * values, 1.0)
        factors = np.where(rest > _SMALL, 1 / np.sqrt(np.maximum(rest, _SMALL)), 0.0) - 1
        adjusted = rows + left @ (factors[:, None] * (left.T @ rows))
        shares = adjusted @ inverse[:, wanted]
        variance += (residuals[members] @ shares) ** 2
        lengths.append(np.sum(shares * shares, axis=0))
        turned.append(rows.T @ shares)
    lengths, turned = np.array(lengths), np.array(turned)
    degrees = []
    for place in range(len(wanted)):
        own, vectors = lengths[:, place], turned[:, :, place]
        inner = np.einsum("gp,pq,gq->g", vectors, inverse, vectors)
        together = inverse @ (vectors.T @ vectors)
        square = float(np.sum(own * own) - 2 * np.sum(own * inner) + np.sum(together * together.T))
        trace = float(np.sum(own) - np.sum(inner))
        degrees.append(trace * trace / square if square > 0 else 0.0)
    return [math.sqrt(each) for each in variance], degrees


def _root(inverse: Array) -> Array:
    values, vectors = np.linalg.eigh(inverse)
    return vectors * np.sqrt(np.maximum(values, 0.0))


def _coefficient(value: float, error: float, degrees: float) -> Coefficient:
    if degrees < 1 or error <= 0:
        return Coefficient(value, -math.inf, math.inf, 1.0, degrees)
    # Wallace's bound, which less_certain() has, the other way round.
    z = _Z_OF_95 * (8 * degrees + 3) / (8 * degrees + 1)
    half = math.sqrt(degrees * math.expm1(z * z / degrees)) * error
    p_value = chance_of(less_certain(value / error, degrees))
    return Coefficient(value, value - half, value + half, p_value, degrees)

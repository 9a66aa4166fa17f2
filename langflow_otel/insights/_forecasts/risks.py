"""What grows and does not stop: memory of a process, the shares of runs that fail or try again, and other curves.

A trend is claimed if it is there in the whole time and in its second half, if chance does not explain it, if it is
large enough to matter, and if it does not level off:

- The test is that of Mann and Kendall (H. B. Mann, "Nonparametric tests against trend", Econometrica 13, 1945), with
  the variance that it has if neighbouring values depend on each other (K. H. Hamed and A. R. Rao, "A modified
  Mann-Kendall trend test for autocorrelated data", Journal of Hydrology 204, 1998). No shape of the values is assumed.
- The slope is the median of the slopes between all pairs (H. Theil, 1950; P. K. Sen, 1968), with the interval that
  belongs to it.
- What levels off is a cache that fills up: a curve ``a + b (1 - exp(-t / T))`` describes the values better than a line,
  by the information criterion of G. Schwarz ("Estimating the dimension of a model", Annals of Statistics 6, 1978), and
  what it has still to grow is too little to matter.
- What began to grow late is judged from then on: where ``a + b max(0, t - start)`` describes the values better than a
  line by the same criterion, and the growth has gone beyond all that was before the start, so that it is no swing that
  comes back. The level is divided by the number of starts that were tried.
- The criterion counts values that depend on the one before as fewer: ``n (1 - r) / (1 + r)``, r the correlation of the
  residuals with the one before (G. V. Bayley and J. M. Hammersley, JRSS Supplement 8, 1946).
- The level of 1 % is for all that is looked at together (Bonferroni).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import fmean, median
from typing import TYPE_CHECKING, Any, Final

from langflow_otel import _semconv as semconv
from langflow_otel.insights._anomalies.windows import NS
from langflow_otel.insights._statistics.tails import chance_of
from langflow_otel.insights.selection import EVERY_RUN, Selection, rows

if TYPE_CHECKING:
    import duckdb

LEVEL: Final = 0.01
STEPS: Final = 60
"""Into so many parts of equal length a time is divided, at most."""
MIN_STEPS: Final = 20
MIN_GROWTH: Final = 0.05
"""Memory must have grown by so much of what it was, in the time that is known."""
MIN_SHARE: Final = 0.05
"""A share of runs must have grown by so much."""
WARM_UP: Final = 0.1
"""So much of a process's life is left out at its start."""
MIN_SINCE: Final = 12
"""Values that are needed since something began to grow."""

_MIN_STEP_S: Final = 60
_MIN_RUNS: Final = 20
_LAST: Final = 4
"""Of so many values at the end the median is how far it has grown."""
_INTERVAL_Z: Final = 1.96
_TIME_CONSTANTS: Final = tuple(2**power for power in (-4, -3.5, -3, -2.5, -2, -1.5, -1, -0.5, 0, 0.5, 1))
"""T of a curve that levels off, as parts of the whole time."""


@dataclass(frozen=True)
class Trend:
    """A line through values over time.

    Attributes:
        slope: Change in a second.
        low, high: Bounds of its 95 % interval.
        chance: Probability of such an order of values, or a clearer one, if there is no trend.
        first, last: The line at the beginning and at the end.
        start_s, end_s: The time, Unix seconds.
        values: How many.
    """

    slope: float
    low: float
    high: float
    chance: float
    first: float
    last: float
    start_s: float
    end_s: float
    values: int

    def reached_s(self, limit: float) -> tuple[float | None, float | None, float | None]:
        """When the line reaches a limit, and the same by the upper and by the lower bound of the slope; Unix seconds.
        None for never, the end of the time for what is above it already."""
        found: list[float | None] = []
        for slope in (self.slope, self.high, self.low):
            if self.last >= limit:
                found.append(self.end_s)
            else:
                found.append(self.end_s + (limit - self.last) / slope if slope > 0 else None)
        return found[0], found[1], found[2]


KINDS: Final[Mapping[str, tuple[str, float, float]]] = {
    "memory": ("bytes", 0.0, MIN_GROWTH),
    "errors": ("share", MIN_SHARE, 0.0),
    "retries": ("share", MIN_SHARE, 0.0),
    "retries a run": ("number", MIN_SHARE, 0.0),
    "descriptors": ("number", 10.0, 0.1),
    "queue": ("number", 5.0, 0.5),
    "disk": ("share", 0.01, 0.0),
    "gpu memory": ("share", 0.05, 0.0),
    "gpu temperature": ("celsius", 5.0, 0.0),
    "gpu slowed": ("share", 0.05, 0.0),
    "gpu errors": ("number", 1.0, 0.5),
}
"""What is looked at: its unit, and by how much it must have grown, at least, and as a part of its median."""


@dataclass(frozen=True)
class Risk:
    """Something that grows.

    Attributes:
        kind: One of :data:`KINDS`: ``memory`` of a process, the share of runs of a flow with ``errors`` or ``retries``,
            its ``retries a run``, open file ``descriptors`` of a process, jobs that wait in a ``queue``, the share of a
            ``disk`` or of ``gpu memory`` in use, ``gpu temperature``, the share of the time in which clocks are slowed
            (``gpu slowed``), and corrected ECC errors an hour (``gpu errors``).
        subject: The process, flow, queue, file system or GPU.
        trend: How, since it began to grow.
        age_s: How long it is known.
        grows_for_s: How long it grows; less than ``age_s`` where that began late.
    """

    kind: str
    subject: str
    trend: Trend
    age_s: float
    grows_for_s: float


@dataclass(frozen=True)
class Watched:
    """A curve that is looked at: Unix seconds and values. The other names are those of :class:`Risk`."""

    kind: str
    subject: str
    age_s: float
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Risks:
    """What was found.

    Attributes:
        found: The largest growth first.
        compared: How many processes and flows were looked at.
        too_short: How many more are known for too short a time.
        uncorrected: GPUs with ECC errors that could not be corrected, and how many.
    """

    found: list[Risk]
    compared: int
    too_short: int
    uncorrected: Mapping[str, int] = field(default_factory=dict)


def trend_of(times_s: Sequence[float], values: Sequence[float]) -> Trend | None:
    """The trend of values in the order of time; None for less than three, or if all are equal."""
    count = len(values)
    if count < 3 or min(values) == max(values):
        return None
    pairs = [
        (values[later] - values[earlier], times_s[later] - times_s[earlier])
        for earlier in range(count)
        for later in range(earlier + 1, count)
    ]
    score = sum((change > 0) - (change < 0) for change, _ in pairs)
    slopes = sorted(change / apart for change, apart in pairs if apart > 0)
    slope = median(slopes)
    sigma = math.sqrt(_variance(values, times_s, slope))
    z = (score - (score > 0) + (score < 0)) / sigma
    half = _INTERVAL_Z * sigma
    low = slopes[max(int((len(slopes) - half) / 2) - 1, 0)]
    high = slopes[min(int((len(slopes) + half) / 2) + 1, len(slopes) - 1)]
    middle = median(value - slope * (at_s - times_s[0]) for at_s, value in zip(times_s, values, strict=True))
    ends = (middle, middle + slope * (times_s[-1] - times_s[0]))
    return Trend(slope, low, high, chance_of(z), *ends, times_s[0], times_s[-1], count)


def _variance(values: Sequence[float], times_s: Sequence[float], slope: float) -> float:
    """Of Kendall's score; larger if the ranks of what is left without the trend depend on their neighbours'."""
    count = len(values)
    independent = count * (count - 1) * (2 * count + 5) / 18
    rest = [value - slope * at_s for value, at_s in zip(values, times_s, strict=True)]
    order = sorted(range(count), key=rest.__getitem__)
    ranks = [0.0] * count
    for rank, place in enumerate(order):
        ranks[place] = rank - (count - 1) / 2
    square = sum(rank * rank for rank in ranks)
    significant = _INTERVAL_Z / math.sqrt(count)
    more = 0.0
    for lag in range(1, count // 4):
        linked = sum(ranks[each] * ranks[each + lag] for each in range(count - lag)) / square
        if linked > significant:
            more += (count - lag) * (count - lag - 1) * (count - lag - 2) * linked
    return independent * (1 + 2 * more / (count * (count - 1) * (count - 2)))


def grows(times_s: Sequence[float], values: Sequence[float], *, level: float, by: float) -> Trend | None:
    """The trend, if it is upwards, more than chance, and does not level off: of the whole time, or since it began.

    Args:
        level: For the chance.
        by: How much the line has to grow, at least.
    """
    start, tried = _late_start(times_s, values)
    if start is not None and median(values[-_LAST:]) - max(values[:start]) >= by:
        late = _steady(times_s[start:], values[start:], level=level / tried, by=by)
        if late is not None:
            return None if _levels_off(times_s[start:], values[start:], by=by) else late
    found = _steady(times_s, values, level=level, by=by)
    return None if found is None or _levels_off(times_s, values, by=by) else found


def _steady(times_s: Sequence[float], values: Sequence[float], *, level: float, by: float) -> Trend | None:
    """The trend, if it is there in the whole time and in its second half."""
    whole = trend_of(times_s, values)
    half = trend_of(times_s[len(times_s) // 2 :], values[len(values) // 2 :])
    if whole is None or half is None or whole.chance > level or whole.low <= 0 or whole.last - whole.first < by:
        return None
    # Half of the values show a trend less clearly: the level there is that of one test.
    return whole if half.slope > whole.slope / 3 and half.chance <= LEVEL else None


@dataclass(frozen=True)
class _Fit:
    """Of ``a + b x`` by least squares, x any function of time."""

    slope: float
    squares: float
    rest: Sequence[float]

    @property
    def independent(self) -> float:
        """As how many independent values those that depend on the one before count."""
        linked = sum(one * other for one, other in pairwise(self.rest)) / (self.squares or 1.0)
        return len(self.rest) * (1 - max(linked, 0.0)) / (1 + max(linked, 0.0))

    def is_better_than(self, line: _Fit) -> bool:
        """By Schwarz's criterion, with one parameter more than the line."""
        if self.squares <= 0 or line.squares <= 0:
            return self.squares < line.squares
        count = self.independent
        return count * math.log(line.squares / self.squares) > math.log(max(count, math.e))


def _fit(xs: Sequence[float], values: Sequence[float]) -> _Fit:
    x_mean, mean = fmean(xs), fmean(values)
    spread = sum((x - x_mean) ** 2 for x in xs)
    slope = sum((x - x_mean) * (value - mean) for x, value in zip(xs, values, strict=True)) / (spread or 1.0)
    rest = [value - mean - slope * (x - x_mean) for x, value in zip(xs, values, strict=True)]
    return _Fit(slope, sum(each * each for each in rest), rest)


def _late_start(times_s: Sequence[float], values: Sequence[float]) -> tuple[int | None, int]:
    """Where it began to grow, if something did after the beginning; and how many places were tried."""
    starts = range(MIN_SINCE, len(values) - MIN_SINCE + 1)
    if not starts:
        return None, 0
    fits = [(_fit([max(0.0, at_s - times_s[start]) for at_s in times_s], values), start) for start in starts]
    best, start = min(fits, key=lambda each: each[0].squares)
    return (start if best.slope > 0 and best.is_better_than(_fit(times_s, values)) else None), len(starts)


def _levels_off(times_s: Sequence[float], values: Sequence[float], *, by: float) -> bool:
    """A curve that has less than so much still to grow describes it better than a line."""
    span_s = times_s[-1] - times_s[0]
    fits = []
    for part in _TIME_CONSTANTS:
        xs = [1 - math.exp((times_s[0] - at_s) / (part * span_s)) for at_s in times_s]
        fits.append((_fit(xs, values), part))
    best, part = min(fits, key=lambda each: each[0].squares)
    return best.slope * math.exp(-1 / part) < by and best.is_better_than(_fit(times_s, values))


# The lower quarter: peaks are those of the load.
_MEMORY: Final = """
    WITH chosen AS ({chosen}),
    known AS (
        SELECT coalesce(instance, '') AS instance, end_ns, TRY_CAST({memory} AS DOUBLE) AS memory FROM chosen
        WHERE TRY_CAST({memory} AS DOUBLE) IS NOT NULL
    ),
    lives AS (
        SELECT instance, min(end_ns) AS first_ns, max(end_ns) AS last_ns FROM known GROUP BY instance
    ),
    parts AS (
        SELECT *, greatest($least_ns, (last_ns - first_ns) // $steps + 1) AS part_ns FROM lives
    )
    SELECT instance, first_ns, last_ns, first_ns + ((end_ns - first_ns) // part_ns) * part_ns AS at_ns,
        quantile_cont(memory, 0.25) AS value
    FROM known JOIN parts USING (instance) GROUP BY ALL ORDER BY instance, at_ns
"""
_SHARES: Final = """
    WITH chosen AS ({chosen}),
    known AS (
        SELECT coalesce(flow_name, flow_id, '') AS flow, end_ns, (status = 'error')::INT AS errors,
            (coalesce(retried.retries, 0) > 0)::INT AS retries
        FROM chosen LEFT JOIN (
            SELECT trace_id, sum(retries) AS retries FROM spans WHERE retries > 0 GROUP BY trace_id
        ) AS retried USING (trace_id)
        WHERE status IN ('ok', 'error')
    ),
    lives AS (SELECT flow, min(end_ns) AS first_ns, max(end_ns) AS last_ns, count(*) AS runs FROM known GROUP BY flow),
    -- So many parts that each holds enough runs.
    parts AS (
        SELECT flow, first_ns, last_ns,
            greatest($least_ns, (last_ns - first_ns) // greatest(1, least($steps, runs // $runs)) + 1) AS part_ns
        FROM lives
    )
    SELECT flow, first_ns, last_ns, first_ns + ((end_ns - first_ns) // part_ns) * part_ns AS at_ns,
        avg(errors) AS errors, avg(retries) AS retries
    FROM known JOIN parts USING (flow) GROUP BY ALL ORDER BY flow, at_ns
"""


def find_risks(connection: duckdb.DuckDBPyConnection, selection: Selection = EVERY_RUN) -> Risks:
    """Look at each process and each flow of the selected runs.

    Args:
        connection: With the views of :class:`~langflow_otel.insights.traces.Traces`.
    """
    chosen, given = selection.chosen()
    whole, _ = selection.chosen(whole=True)
    memory = f"element_at(attributes, '{semconv.FLOW_MEMORY_PEAK}')[1]"
    asked = {**given, "least_ns": _MIN_STEP_S * NS, "steps": STEPS}
    curves: list[Watched] = []
    memories = rows(connection, _MEMORY.format(chosen=whole, memory=memory), asked)
    for instance, found in _by("instance", memories).items():
        age_s = (found[0]["last_ns"] - found[0]["first_ns"]) / NS
        warm_ns = found[0]["first_ns"] + WARM_UP * age_s * NS
        points = [_point(row, "value") for row in found if row["at_ns"] >= warm_ns]
        curves.append(Watched("memory", instance, age_s, points))
    shares = rows(connection, _SHARES.format(chosen=chosen), {**asked, "runs": _MIN_RUNS})
    for flow, found in _by("flow", shares).items():
        age_s = (found[0]["last_ns"] - found[0]["first_ns"]) / NS
        curves += [Watched(kind, flow, age_s, [_point(row, kind) for row in found]) for kind in ("errors", "retries")]
    return risks_in(curves)


def risks_in(curves: Sequence[Watched], uncorrected: Mapping[str, int] | None = None) -> Risks:
    """What of these grows. The level is for all of them together."""
    long_enough = [each for each in curves if len(each.points) >= MIN_STEPS]
    risks = [risk for each in long_enough if (risk := _risk(each, level=LEVEL / len(long_enough))) is not None]
    risks.sort(key=lambda each: -(each.trend.last / max(each.trend.first, 1e-9)))
    return Risks(risks, len(long_enough), len(curves) - len(long_enough), uncorrected or {})


def _by(name: str, found: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    grouped: dict[str, list[Mapping[str, Any]]] = {}
    for row in found:
        grouped.setdefault(row[name], []).append(row)
    return grouped


def _point(row: Mapping[str, Any], name: str) -> tuple[float, float]:
    return row["at_ns"] / NS, float(row[name])


def _risk(watched: Watched, *, level: float) -> Risk | None:
    times_s, values = [at_s for at_s, _ in watched.points], [value for _, value in watched.points]
    _, least, part = KINDS[watched.kind]
    trend = grows(times_s, values, level=level, by=max(least, part * median(values)))
    if trend is None:
        return None
    grows_for_s = watched.age_s if trend.start_s == times_s[0] else times_s[-1] - trend.start_s
    return Risk(watched.kind, watched.subject, trend, watched.age_s, grows_for_s)

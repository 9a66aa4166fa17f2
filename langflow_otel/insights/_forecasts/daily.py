"""Figures day by day, or hour by hour: runs, tokens, cost, CPU and memory, from spans or from a Prometheus."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from statistics import median
from typing import TYPE_CHECKING, Any, Final

from langflow_otel import _semconv as semconv
from langflow_otel.insights._anomalies.windows import NS
from langflow_otel.insights.selection import EVERY_RUN, Selection, rows

if TYPE_CHECKING:
    import duckdb

    from langflow_otel.insights.prometheus_source import Curve, PrometheusSource

DAY_S: Final = 86_400
HOUR_S: Final = 3600


@dataclass(frozen=True)
class Series:
    """One figure over time.

    Attributes:
        name: ``runs``, ``tokens``, ``cost EUR``, ``cpu``, ``memory`` or ``disk``.
        unit: What a value is in.
        start_s: Unix time of the first step.
        step_s: Length of a step; a value is that of a whole one.
        values: One a step; NaN where nothing is known.
        is_sum: A sum over the step, and not a level.
    """

    name: str
    unit: str
    start_s: int
    step_s: int
    values: Sequence[float]
    is_sum: bool

    @property
    def end_s(self) -> int:
        return self.start_s + len(self.values) * self.step_s

    @property
    def known(self) -> int:
        """Steps with a value."""
        return sum(math.isfinite(each) for each in self.values)


def filled(values: Sequence[float]) -> list[float]:
    """Gaps by the line between the values beside them; at the ends by the nearest one."""
    known = [place for place, value in enumerate(values) if math.isfinite(value)]
    if not known:
        return []
    found = []
    for place, value in enumerate(values):
        if math.isfinite(value):
            found.append(value)
            continue
        before = max((each for each in known if each < place), default=known[0])
        after = min((each for each in known if each > place), default=known[-1])
        part = (place - before) / (after - before) if after > before else 0.0
        found.append(values[before] + part * (values[after] - values[before]) if after != before else values[before])
    return found


# Of a process in a step the CPU time of its runs as a share of their duration (runs at once have the CPU time of all,
# so they are not added), and the highest memory; then the sum over the processes.
_FROM_RUNS: Final = """
    WITH chosen AS ({chosen}),
    dated AS (SELECT start_ns // $step_ns AS step, * FROM chosen),
    processes AS (
        SELECT step, coalesce(instance, '') AS instance,
            sum(TRY_CAST({cpu} AS DOUBLE)) / nullif(sum(duration_ns) FILTER ({cpu} IS NOT NULL) / 1e9, 0) AS cpu,
            max(TRY_CAST({memory} AS DOUBLE)) AS memory
        FROM dated GROUP BY ALL
    ),
    levels AS (SELECT step, sum(cpu) AS cpu, sum(memory) AS memory FROM processes GROUP BY step)
    SELECT dated.step AS step, count(*) AS runs, any_value(levels.cpu) AS cpu, any_value(levels.memory) AS memory,
        sum(coalesce(input_tokens, 0) + coalesce(output_tokens, 0)) AS tokens,
        bool_or(input_tokens IS NOT NULL OR output_tokens IS NOT NULL) AS has_tokens
    FROM dated JOIN levels USING (step) GROUP BY dated.step ORDER BY dated.step
"""
_COSTS: Final = """
    WITH chosen AS ({chosen})
    SELECT start_ns // $step_ns AS step, currency, sum(cost) AS cost
    FROM chosen WHERE cost IS NOT NULL GROUP BY ALL
"""


def series_from_runs(
    connection: duckdb.DuckDBPyConnection, selection: Selection = EVERY_RUN, *, step_s: int = DAY_S
) -> list[Series]:
    """Of the runs that are selected; the first and the last step are left out, since they are not whole.

    Args:
        connection: With the view ``runs`` of :class:`~langflow_otel.insights.traces.Traces`.
        step_s: Steps begin at its multiples, in UTC.
    """
    chosen, given = selection.chosen(whole=True)
    names = {
        column: f"element_at(attributes, '{name}')[1]"
        for column, name in (("cpu", semconv.FLOW_CPU_TIME), ("memory", semconv.FLOW_MEMORY_PEAK))
    }
    given = {**given, "step_ns": step_s * NS}
    found = {row["step"]: row for row in rows(connection, _FROM_RUNS.format(chosen=chosen, **names), given)}
    costs: dict[str, dict[int, float]] = {}
    for row in rows(connection, _COSTS.format(chosen=chosen), given):
        costs.setdefault(row["currency"] or "", {})[row["step"]] = row["cost"]
    if len(found) < 3:
        return []
    steps = range(min(found) + 1, max(found))
    start_s = steps.start * step_s
    each_step = [found.get(step, {}) for step in steps]
    made = [Series("runs", "runs", start_s, step_s, [row.get("runs", 0) for row in each_step], is_sum=True)]
    if any(row["has_tokens"] for row in found.values()):
        tokens = [float(row.get("tokens") or 0) for row in each_step]
        made.append(Series("tokens", "tokens", start_s, step_s, tokens, is_sum=True))
    for currency, by_step in sorted(costs.items()):
        values = [by_step.get(step, 0.0) for step in steps]
        made.append(Series(f"cost {currency}".strip(), currency, start_s, step_s, values, is_sum=True))
    for name, unit in (("cpu", "cores"), ("memory", "bytes")):
        levels = [_level(row, name) for row in each_step]
        if any(math.isfinite(each) for each in levels):
            made.append(Series(name, unit, start_s, step_s, levels, is_sum=False))
    return made


def _level(row: Mapping[str, Any], name: str) -> float:
    value = row.get(name)
    return math.nan if value is None else float(value)


_CURVES: Final = {"runs": "runs", "input_tokens": "tokens", "output_tokens": "tokens", "cost": "cost"}
_GAUGES: Final = {"cpu": "share of what they may use", "memory": "bytes", "disk": "share of the fullest file system"}


def series_from_prometheus(source: PrometheusSource, start_s: int, end_s: int, *, step_s: int = DAY_S) -> list[Series]:
    """The same of all flows, of a Prometheus; steps before its first and after its last value are left out.

    Raises:
        PrometheusError: There is no answer that can be used.
    """
    start_s, end_s = start_s // step_s * step_s, end_s // step_s * step_s
    sums: dict[str, dict[int, float]] = {}
    for curve_name, name in _CURVES.items():
        for curve in source.curve(curve_name, start_s + step_s, end_s, points=(end_s - start_s) // step_s - 1):
            currency = curve.labels.get("currency", "")
            _add(sums.setdefault(f"{name} {currency}".strip(), {}), curve, step_s)
    levels: dict[str, dict[int, float]] = {}
    for name in _GAUGES:
        for curve in source.curve(name, start_s + step_s, end_s, points=(end_s - start_s) // step_s - 1):
            _add(levels.setdefault(name, {}), curve, step_s)
    units = {"runs": "runs", "tokens": "tokens", **_GAUGES}
    return [
        _series(name, units.get(name, name[5:]), found, step_s, is_sum=name in sums)
        for name, found in {**sums, **levels}.items()
        if found
    ]


def _add(steps: dict[int, float], curve: Curve, step_s: int) -> None:
    """A point says what was in the step before it."""
    for at_s, value in curve.points:
        step = round(at_s) // step_s - 1
        steps[step] = steps.get(step, 0.0) + value


def _series(name: str, unit: str, found: Mapping[int, float], step_s: int, *, is_sum: bool) -> Series:
    steps = range(min(found), max(found) + 1)
    values = [found.get(step, math.nan) for step in steps]
    return Series(name, unit, steps.start * step_s, step_s, values, is_sum)


def day_of(at_s: float) -> str:
    """``2026-01-31``, UTC."""
    return f"{datetime.fromtimestamp(at_s, timezone.utc):%Y-%m-%d}"


def typical(values: Sequence[float]) -> float:
    """The median of what is known; NaN for nothing."""
    known = [each for each in values if math.isfinite(each)]
    return median(known) if known else math.nan

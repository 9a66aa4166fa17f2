"""Which attribute of a run goes with how much time, CPU and memory, all others held equal.

For each resource a linear model of single runs: what a run used is a sum of what goes with each of its attributes. The
coefficients, and their intervals, are those of :mod:`langflow_otel.insights._statistics.robust_regression`.

- **CPU and memory are of the whole process**, and runs at the same time share them. So the model of CPU and memory is
  one of all runs that were in the process: what was measured during a run is the sum of what goes with its own
  attributes and with those of its neighbours, each as far as it was there at the time (of a neighbour's CPU time the
  part of its duration that lies in this run; of its memory the overlap as a part of the shorter one). A run of which
  ``langflow.flow.active.peak`` says that there were more neighbours than the files hold is left out.
- **Time** of a run may depend on how many runs there are: their number at its start is one of the attributes.
- **What changes slowly** is not what a run did: each process has a level of its own, and of memory each stretch of a
  process's life, so that a leak, or a process that is new, is not taken for an attribute. An attribute that is the same
  in all runs of a process cannot be told from the process, and is named as such.
- **Runs that depend on each other:** those of the same time (up to 30 parts, each longer than its runs), session, and
  of one user or process (if there are 10) are clusters. Each effect has the widest of the intervals by these.
- **Many comparisons:** an effect is certain if the level of 1 % is kept for all of all resources together (Holm).
  What is seen in too few clusters (less than 4 degrees of freedom) is not judged.

Only runs that ended ``ok`` are judged: one that fails uses less because it is shorter. Needs numpy.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from langflow_otel import _semconv as semconv
from langflow_otel.insights._statistics.differences import Fact
from langflow_otel.insights._statistics.robust_regression import Array, Coefficient, independent, regression
from langflow_otel.insights._statistics.run_facts import RUNNING, own_facts
from langflow_otel.insights._usage.attribute_columns import Column, columns_of
from langflow_otel.insights.selection import EVERY_RUN, Selection, ask, rows

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

LEVEL: Final = 0.01
MAX_RUNS: Final = 5000
MIN_RUNS: Final = 60
MIN_DEGREES: Final = 4.0
RUNS_A_COLUMN: Final = 8
"""For each column of the model there must be so many runs, else those with the fewest runs are left out."""
IN_SESSION: Final = "runs before it in its session"
PARTS: Final = 30
_RUNS_LONG: Final = 3
_MIN_KEYS: Final = {"session_id": 2, "user_id": 10, "instance": 10}
_RUNS_A_STRETCH: Final = 25
_MAX_STRETCHES: Final = 60
_MAX_LEVELS: Final = 100
_LEAST_IN_A_LEVEL: Final = 5

_FIRST: Final = (
    semconv.FLOW_NAME,
    semconv.FLOW_ID,
    semconv.FLOW_VERSION,
    semconv.GEN_AI_REQUEST_MODEL,
    semconv.GEN_AI_PROVIDER_NAME,
    semconv.USAGE_INPUT_TOKENS,
    semconv.USAGE_OUTPUT_TOKENS,
)
_LEFT_OUT: Final = (semconv.SESSION_ID, "service.instance.id", "process.pid", "langflow.usage.total_tokens")

_COUNTS: Final = """
    SELECT run_span_id, count(*) FILTER (what IN ('component', 'agent'))::DOUBLE AS "executions of components",
        count(*) FILTER (what = 'model')::DOUBLE AS "model calls",
        count(*) FILTER (what = 'tool')::DOUBLE AS "tool calls",
        coalesce(sum(retries), 0)::DOUBLE AS "retries of model calls",
        coalesce(max(loop_index) + 1, 0)::DOUBLE AS "rounds of a loop",
        list(DISTINCT model) FILTER (model IS NOT NULL AND what <> 'flow') AS models,
        list(DISTINCT provider) FILTER (provider IS NOT NULL AND what <> 'flow') AS providers
    FROM chosen_spans GROUP BY run_span_id
"""


@dataclass(frozen=True)
class Effect:
    """What goes with an attribute, all others held equal.

    Attributes:
        attribute: Its name.
        value: The text; empty for a number.
        instead: What it is compared with; empty for runs without it.
        low, high: Of a number: the effect is that of the high instead of the low one (its 10th and 90th percentile).
        runs: How many have it.
        amount: By how much a run uses more, in the resource's unit.
        amount_low, amount_high: Its 95 % interval, for itself alone.
        share: ``amount`` as a part of what a run typically uses.
        p_value: With all comparisons together (Holm); below 0.01 it is certain. None if it is not judged.
        also: Other attributes that are the same but for their units.
    """

    attribute: str
    value: str
    instead: str
    low: float | None
    high: float | None
    runs: int
    amount: float
    amount_low: float
    amount_high: float
    share: float
    p_value: float | None
    also: tuple[str, ...]

    @property
    def is_certain(self) -> bool:
        """More than chance, with all comparisons together."""
        return self.p_value is not None and self.p_value < LEVEL


@dataclass(frozen=True)
class Resource:
    """What the runs used of one resource.

    Attributes:
        name: ``time``, ``cpu`` or ``memory``.
        unit: ``s`` or ``bytes``.
        typical: Median of the runs. Of CPU and memory as they were measured, of the whole process.
        runs: How many the model has.
        not_measured: Further runs without this figure.
        shared: Further runs with neighbours that are not in the files.
        effects: The largest first.
        not_told_apart: Attributes that are determined by others, by the process or by its time.
        left_out: Attributes for which there are too few runs, with so many others.
        problem: Why there are no effects; None if there are.
    """

    name: str
    unit: str
    typical: float
    runs: int
    not_measured: int
    shared: int
    effects: tuple[Effect, ...] = ()
    not_told_apart: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    problem: str | None = None


@dataclass(frozen=True)
class FoundRun:
    """Attributes:
    row: Of the view ``runs``.
    facts: Its attributes, and counts of what is in it.
    """

    row: Mapping[str, Any]
    facts: dict[str, Fact]

    @property
    def process(self) -> str:
        return self.row["instance"] or ""


_Share = Callable[[Array, int, int], Array]


@dataclass(frozen=True)
class _Kind:
    """A resource, where it is measured, and how much of a neighbour is in it."""

    name: str
    unit: str
    attribute: str | None
    shares: _Share | None


def _of_cpu(overlaps: Array, _: int, theirs: Array) -> Array:
    return overlaps / np.maximum(theirs, 1)


def _of_memory(overlaps: Array, ours: Array, theirs: Array) -> Array:
    return overlaps / np.maximum(np.minimum(ours, theirs), 1)


_KINDS: Final = (
    _Kind("time", "s", None, None),
    _Kind("cpu", "s", semconv.FLOW_CPU_TIME, _of_cpu),
    _Kind("memory", "bytes", semconv.FLOW_MEMORY_PEAK, _of_memory),
)


def resource_use(
    connection: DuckDBPyConnection, selection: Selection = EVERY_RUN, *, newest: int = MAX_RUNS
) -> tuple[Resource, ...]:
    """What goes with time, CPU and memory of the selected runs.

    Args:
        connection: With the views of :class:`~langflow_otel.insights.traces.Traces`.
        selection: Its flow and version choose which runs are judged; other runs are still their neighbours.
        newest: At most so many runs are read, the newest.
    """
    runs = _runs(connection, replace(selection, flow=None, version=None, newest=newest))
    return use_of(runs, [_is_chosen(run.row, selection) for run in runs])


def use_of(runs: Sequence[FoundRun], is_chosen: Sequence[bool]) -> tuple[Resource, ...]:
    """The same of runs that are at hand, in the order of their start.

    Args:
        is_chosen: Which of them are judged.
    """
    return _holm([_of_kind(kind, runs, is_chosen) for kind in _KINDS])


def _is_chosen(row: Mapping[str, Any], selection: Selection) -> bool:
    return (
        row["status"] == "ok"
        and selection.flow in (None, row["flow_name"], row["flow_id"])
        and selection.version in (None, row["flow_version"])
    )


def _runs(connection: DuckDBPyConnection, selection: Selection) -> list[FoundRun]:
    counts = {row.pop("run_span_id"): row for row in ask(connection, selection, _COUNTS)}
    chosen, given = selection.chosen(whole=True)
    found = rows(connection, f"SELECT * FROM ({chosen}) ORDER BY start_ns, span_id", given)
    versions = len({row["flow_name"] for row in found if row["flow_version"] is not None})
    before: dict[str, int] = defaultdict(int)
    runs = []
    for row in found:
        facts = {name: fact for name, fact in own_facts(row).items() if name not in _LEFT_OUT}
        if versions > 1 and semconv.FLOW_VERSION in facts:
            facts[f"{row['flow_name']}: {semconv.FLOW_VERSION}"] = facts.pop(semconv.FLOW_VERSION)
        for name, value in counts.get(row["span_id"], {}).items():
            _add_count(facts, name, value)
        facts[RUNNING] = float(row["concurrent"])
        if row["session_id"] is not None:
            facts[IN_SESSION] = float(before[row["session_id"]])
            before[row["session_id"]] += 1
        runs.append(FoundRun(row, facts))
    return runs


def _add_count(facts: dict[str, Fact], name: str, value: Any) -> None:
    names = {"models": semconv.GEN_AI_REQUEST_MODEL, "providers": semconv.GEN_AI_PROVIDER_NAME}
    if name not in names:
        facts[name] = value
    elif value:
        facts[names[name]] = frozenset(value)


def _of_kind(kind: _Kind, runs: Sequence[FoundRun], is_chosen: Sequence[bool]) -> Resource:
    measured = np.array([_measured(kind, run.row) for run in runs])
    neighbours = _Neighbours(runs)
    is_known = np.ones(len(runs), dtype=bool) if kind.shares is None else neighbours.are_known
    chosen = np.array(is_chosen, dtype=bool)
    is_there = ~np.isnan(measured)
    counted = chosen & is_there & is_known
    typical = float(np.median(measured[counted])) if counted.any() else 0.0
    missing, shared = int((chosen & ~is_there).sum()), int((chosen & is_there & ~is_known).sum())
    made = Resource(kind.name, kind.unit, typical, int(counted.sum()), missing, shared)
    if made.runs < MIN_RUNS:
        return replace(made, problem=f"{made.runs} runs that can be judged, and {MIN_RUNS} are needed")
    if np.ptp(measured[counted]) == 0:
        return replace(made, problem="all runs used the same")
    model = _Model(kind, runs, counted, neighbours)
    effects = model.effects(measured[counted], typical)
    return replace(made, effects=effects, not_told_apart=model.not_told_apart, left_out=model.left_out)


def _measured(kind: _Kind, row: Mapping[str, Any]) -> float:
    if kind.attribute is None:
        return max(0.0, float(row["duration_ns"]) / 1e9)
    try:
        return float((row["attributes"] or {})[kind.attribute])
    except (KeyError, ValueError):
        return float("nan")


class _Neighbours:
    """Which runs were in the same process at the same time, and for how long."""

    def __init__(self, runs: Sequence[FoundRun]) -> None:
        self._durations = np.array([max(0, run.row["end_ns"] - run.row["start_ns"]) for run in runs], dtype=float)
        ours: list[int] = []
        theirs: list[int] = []
        overlaps: list[int] = []
        highest = np.ones(len(runs))
        going: dict[str, list[int]] = defaultdict(list)
        for number, run in enumerate(runs):  # In the order of their start.
            start_ns, end_ns = run.row["start_ns"], run.row["end_ns"]
            active = [each for each in going[run.process] if runs[each].row["end_ns"] > start_ns]
            for other in active:
                overlap_ns = min(end_ns, runs[other].row["end_ns"]) - start_ns
                ours += (number, other)
                theirs += (other, number)
                overlaps += (overlap_ns, overlap_ns)
                highest[other] = max(highest[other], len(active) + 1)
            highest[number] = len(active) + 1
            going[run.process] = [*active, number]
        self._ours, self._theirs = np.array(ours, dtype=int), np.array(theirs, dtype=int)
        self._overlaps = np.array(overlaps, dtype=float)
        self.at_once = 1 + len(ours) / max(len(runs), 1)
        """How many runs a run meets in its process, itself among them, on average."""
        said = np.array([_active_peak(run.row) for run in runs])
        self.are_known = highest >= said

    def with_them(self, values: Array, shares: _Share) -> tuple[Array, Array]:
        """Of each run its own values and its share of its neighbours'; and by how much more its residual varies, if
        those of all runs vary alike and independently."""
        together = values.astype(float)
        weights = shares(self._overlaps, self._durations[self._ours], self._durations[self._theirs])
        for place in range(values.shape[1]):
            np.add.at(together[:, place], self._ours, weights * values[self._theirs, place])
        squares = np.ones(len(values))
        np.add.at(squares, self._ours, weights * weights)
        return together, np.sqrt(squares)


def _active_peak(row: Mapping[str, Any]) -> float:
    """Without it nothing is known of neighbours: such a run is judged by no file."""
    try:
        return float((row["attributes"] or {})[semconv.FLOW_ACTIVE_PEAK])
    except (KeyError, ValueError):
        return float("inf")


class _Model:
    """The columns of a resource's model."""

    def __init__(self, kind: _Kind, runs: Sequence[FoundRun], counted: Array, neighbours: _Neighbours) -> None:
        self._runs = [run for run, is_counted in zip(runs, counted, strict=True) if is_counted]
        facts = [{**run.facts} for run in runs]
        for each in facts if kind.shares is not None else ():
            del each[RUNNING]
        self._parts = _parts(self._runs, neighbours.at_once)
        levels = _levels([run.process for run in self._runs], stretches=kind.name == "memory")
        attributes = columns_of(facts, list(counted), _FIRST)
        most = max(1, len(self._runs) // RUNS_A_COLUMN - levels.shape[1])
        self.left_out = tuple(_named(column) for column in attributes[most:] if column.is_shown)
        attributes = attributes[:most]
        own = np.column_stack([np.ones(len(runs)), *(column.values for column in attributes)])
        first = levels.shape[1]
        # The column of ones is the level itself, unless runs have neighbours.
        alone = [number - first for number in independent(np.column_stack([levels, own[counted]])) if number >= first]
        values, spread = own[:, [0, *alone]], np.ones(len(runs))
        if kind.shares is not None:
            values, spread = neighbours.with_them(values, kind.shares)
        table = np.column_stack([levels, values[counted]])
        kept = independent(table)
        names = [number - 1 for number in alone]
        self._columns = [
            (place, attributes[names[number - first - 1]]) for place, number in enumerate(kept) if number > first
        ]
        self._table, self._spread = table[:, kept] / spread[counted][:, None], spread[counted]
        judged = {id(column) for _, column in self._columns}
        self.not_told_apart = tuple(_named(each) for each in attributes if each.is_shown and id(each) not in judged)

    def effects(self, measured: Array, typical: float) -> tuple[Effect, ...]:
        """Those that can be named; ``p_value`` is for each alone."""
        flows = np.unique([run.row["flow_name"] or "" for run in self._runs], return_inverse=True)[1]
        shown = [(place, column) for place, column in self._columns if column.is_shown]
        places = [place for place, _ in shown]
        parts: Array = np.arange(len(measured)) * self._parts // len(measured)
        clusterings: list[tuple[Array, list[int]]] = [(parts, places)]
        for name, least in _MIN_KEYS.items():
            clusters = _clusters([run.row[name] for run in self._runs], least)
            if clusters is not None:
                without = semconv.USER_ID if name == "user_id" else None
                clusterings.append((clusters, [place for place, column in shown if column.attribute != without]))
        found = regression(
            self._table,
            measured / self._spread,
            flows,
            [each for each, _ in clusterings],
            [each for _, each in clusterings],
        )
        made = [_effect(column, found[place], typical) for place, column in shown]
        return tuple(sorted(made, key=lambda each: (-abs(each.amount), each.attribute, each.value)))


def _parts(runs: Sequence[FoundRun], at_once: float) -> int:
    """Into how many the time is divided: each part is several times as long as the runs in it, so that few have
    neighbours in another one."""
    sizes = Counter(run.process for run in runs)
    processes = len(runs) ** 2 / sum(size * size for size in sizes.values())
    return max(1, min(PARTS, int(len(runs) / (_RUNS_LONG * at_once * processes))))


def _named(column: Column) -> str:
    return f"{column.attribute} = {column.value}" if column.value else column.attribute


def _levels(processes: Sequence[str], *, stretches: bool) -> Array:
    """A column for all, and one for each process, or stretch of its life, but the longest one."""
    counts = Counter(processes)
    groups = []
    seen: dict[str, int] = defaultdict(int)
    for process in processes:
        count = counts[process]
        parts = max(1, min(count // _RUNS_A_STRETCH, round(_MAX_STRETCHES * count / len(processes))))
        groups.append((process, seen[process] * parts // count if stretches else 0))
        seen[process] += 1
    sizes = [(size, group) for group, size in Counter(groups).most_common(_MAX_LEVELS) if size >= _LEAST_IN_A_LEVEL]
    columns = [[float(group == each) for group in groups] for _, each in sizes[1:]]
    return np.array([[1.0] * len(groups), *columns]).T


def _clusters(keys: Sequence[str | None], least: int) -> Array | None:
    """Runs without a key are each by itself; None where no two runs have the same, or too few keys are there."""
    known = {key for key in keys if key is not None}
    if len(known) < least or len(known) == sum(key is not None for key in keys):
        return None
    names = [f"run {place}" if key is None else f"key {key}" for place, key in enumerate(keys)]
    return np.unique(names, return_inverse=True)[1]


def _effect(column: Column, found: Coefficient, typical: float) -> Effect:
    step = column.step
    is_judged = found.degrees >= MIN_DEGREES
    return Effect(
        attribute=column.attribute,
        value=column.value,
        instead=column.instead,
        low=column.low,
        high=column.high,
        runs=column.runs,
        amount=found.value * step,
        amount_low=found.low * step,
        amount_high=found.high * step,
        share=found.value * step / typical if typical else 0.0,
        p_value=found.p_value if is_judged else None,
        also=tuple(column.also),
    )


def _holm(resources: Sequence[Resource]) -> tuple[Resource, ...]:
    """The p-values for all comparisons together."""
    alone = sorted(each.p_value for resource in resources for each in resource.effects if each.p_value is not None)
    together: dict[float, float] = {}
    reached = 0.0
    for rank, p_value in enumerate(alone):
        reached = max(reached, min(1.0, (len(alone) - rank) * p_value))
        together.setdefault(p_value, reached)
    return tuple(
        replace(
            resource,
            effects=tuple(
                each if each.p_value is None else replace(each, p_value=together[each.p_value])
                for each in resource.effects
            ),
        )
        for resource in resources
    )

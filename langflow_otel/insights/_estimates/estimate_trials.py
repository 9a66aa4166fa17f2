"""How far estimates are off: the history's own runs, estimated without them."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Final

from langflow_otel.insights._estimates.execution_history import CALLS, PastRun
from langflow_otel.insights._estimates.flow_graph import FlowComponent, FlowGraph
from langflow_otel.insights._estimates.run_drawing import LEAST_S, MIN_RUNS, SECONDS, SEED, DrawnFlow, interval, scaled

COVERAGE: Final = 0.9
MIN_FLOWS: Final = 3
"""So many flows are needed to say how far an estimate of a new one is off."""

_DRAWS: Final = 300
_FOLDS: Final = 5
_MAX_FLOWS: Final = 30
_MOST: Final = 20.0


@dataclass(frozen=True)
class Tried:
    """How well such estimates did on the history.

    Attributes:
        of: ``runs`` of this flow, or ``flows`` that were estimated as if they were new.
        flows, runs: How many were estimated.
        off_by: Median of how far the median was off, as a part of what it was: of runs their duration, of flows the
            median of their runs.
        held: The share of runs that were in their 90 % interval.
        widened: So many times as wide the interval is made therefore; 1 for as it was.
    """

    of: str
    flows: int
    runs: int
    off_by: float
    held: float
    widened: float


@dataclass(frozen=True)
class _Trial:
    """One figure of some runs, estimated without them."""

    low: float
    middle: float
    high: float
    actual: tuple[float, ...]

    @property
    def held(self) -> float:
        return fmean(self.low <= each <= self.high for each in self.actual)

    def scores(self) -> list[float]:
        """How many times as wide the interval would have to be for each run to be in it."""
        middle = scaled(self.middle, self.middle)
        found = []
        for each in self.actual:
            away = scaled(each, self.middle) - middle
            width = scaled(self.high if away > 0 else self.low, self.middle) - middle
            found.append(abs(away) / max(abs(width), 1e-9))
        return found


def tried_on(model: DrawnFlow, history: Sequence[PastRun]) -> dict[str, Tried]:
    """By the name of the figure; without those for which the history has too few flows."""
    of_runs = model.is_own
    parts = _left_out_runs(model, history) if of_runs else _left_out_flows(history)
    trials: dict[str, list[_Trial]] = defaultdict(list)
    for graph, known, left_out in parts:
        for name, trial in _trials(graph, known, left_out).items():
            trials[name].append(trial)
    return {name: _tried(each, of_runs=of_runs) for name, each in trials.items() if of_runs or len(each) >= MIN_FLOWS}


def _tried(trials: Sequence[_Trial], *, of_runs: bool) -> Tried:
    known = [[actual] for trial in trials for actual in trial.actual] if of_runs else [each.actual for each in trials]
    middles = [trial.middle for trial in trials for _ in trial.actual] if of_runs else [each.middle for each in trials]
    off = [
        abs(middle - median(actual)) / max(median(actual), LEAST_S)
        for middle, actual in zip(middles, known, strict=True)
        if middle or median(actual)
    ]
    held = fmean(trial.held for trial in trials)
    return Tried(
        of="runs" if of_runs else "flows",
        flows=1 if of_runs else len(trials),
        runs=sum(len(trial.actual) for trial in trials),
        off_by=median(off) if off else 0.0,
        held=held,
        widened=1.0 if held >= COVERAGE else min(_MOST, max(1.0, _wide_enough(trials))),
    )


def _wide_enough(trials: Sequence[_Trial]) -> float:
    """The factor by which 90 % of the runs are held, each flow weighing the same."""
    weighted = sorted((score, 1 / len(trial.actual)) for trial in trials for score in trial.scores())
    needed, reached = COVERAGE * len(trials), 0.0
    for score, weight in weighted:
        reached += weight
        if reached >= needed - 1e-9:
            return score
    return weighted[-1][0]


def _trials(graph: FlowGraph, known: Sequence[PastRun], left_out: Sequence[PastRun]) -> dict[str, _Trial]:
    """Each figure; empty if the flow has components without a history."""
    model = DrawnFlow(graph, known)
    if model.unknown or not model.known:
        return {}
    rng = random.Random(SEED)  # noqa: S311 - no secret
    drawn = [model.draw(rng) for _ in range(_DRAWS)]
    used = [each.used() for each in left_out]
    actual = {SECONDS: tuple(each.seconds for each in left_out)}
    for name in sorted({name for each in (*used, *(run.used for run in drawn)) for name in each}):
        actual[name] = tuple(each.get(name, 0.0) for each in used)
    return {name: _Trial(*interval([each.value(name) for each in drawn]), values) for name, values in actual.items()}


_Part = tuple[FlowGraph, Sequence[PastRun], Sequence[PastRun]]


def _left_out_runs(model: DrawnFlow, history: Sequence[PastRun]) -> Iterator[_Part]:
    """Each fifth of the flow's runs, with all others."""
    for fold in range(_FOLDS):
        left_out = model.own_runs[fold::_FOLDS]
        ids = {id(each) for each in left_out}
        yield model.graph, [each for each in history if id(each) not in ids], left_out


def _left_out_flows(history: Sequence[PastRun]) -> Iterator[_Part]:
    """Each flow, with all others."""
    by_flow: dict[tuple[str, str], list[PastRun]] = defaultdict(list)
    for run in history:
        by_flow[run.flow, run.flow_id].append(run)
    often = sorted((each for each in by_flow.items() if len(each[1]) >= MIN_RUNS), key=lambda each: -len(each[1]))
    for key, runs in often[:_MAX_FLOWS]:
        yield graph_of_runs(runs), [each for each in history if (each.flow, each.flow_id) != key], runs


def graph_of_runs(runs: Sequence[PastRun]) -> FlowGraph:
    """The graph of a flow as its runs show it: a component waits for those that had always ended before it began.

    Components that ran in less than half of the runs are left out; those that ran inside of another one, and it, are a
    loop, as are those that ran several times.
    """
    counts: dict[str, int] = defaultdict(int)
    for run in runs:
        for component_id in run.executions:
            counts[component_id] += 1
    ids = sorted(each for each, count in counts.items() if 2 * count >= len(runs))
    edges = {(a, b) for a in ids for b in ids if a != b and _always_before(a, b, runs)}
    again = [each for each in ids if any(len(run.executions.get(each, ())) > 1 for run in runs)]
    inside = {(each.inside, a) for run in runs for a in ids for each in run.executions.get(a, ()) if each.inside in ids}
    loops = {*inside, *((a, b) for a, b in zip(again, again[1:] + again[:1], strict=True) if a != b)}
    edges |= {(a, b) for a, b in loops} | {(b, a) for a, b in loops}
    components = {each: _component_of(each, runs) for each in ids}
    return FlowGraph("", "", components, frozenset(edges))


def _always_before(a: str, b: str, runs: Sequence[PastRun]) -> bool:
    both = [(run.executions[a], run.executions[b]) for run in runs if a in run.executions and b in run.executions]
    return bool(both) and all(
        max(each.end_ns for each in first) <= min(each.start_ns for each in then) for first, then in both
    )


def _component_of(component_id: str, runs: Sequence[PastRun]) -> FlowComponent:
    executions = [each for run in runs for each in run.executions.get(component_id, ())]
    newest = executions[-1]
    return FlowComponent(
        component_id,
        newest.component_type,
        newest.name,
        newest.model,
        hands_over=not any(CALLS in each.used for each in executions),
        offers_tools=all(each.offers_tools for each in executions),
    )

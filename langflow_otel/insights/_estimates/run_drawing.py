"""Runs of a flow drawn at random from what its components took in the past."""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, stdev
from typing import Final

from langflow_otel.insights._estimates.execution_history import CALLS, Execution, PastRun
from langflow_otel.insights._estimates.flow_graph import FlowComponent, FlowGraph
from langflow_otel.insights.components import percentile

SECONDS: Final = "seconds"
MIN_RUNS: Final = 5
"""So many runs of a flow, or executions of a type, are needed."""
FLOW, MODEL, TYPE, NONE = "flow", "model", "type", "none"
SEED: Final = 20_240_229
LEAST_S: Final = 1e-4

_MAX_SHIFT: Final = math.log(4)


@dataclass
class Drawn:
    """A run that was drawn."""

    seconds: float = 0.0
    rounds: int = 0
    used: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    took: dict[str, float] = field(default_factory=dict)
    on_path: dict[str, float] = field(default_factory=dict)

    def value(self, name: str) -> float:
        return self.seconds if name == SECONDS else self.used.get(name, 0.0)


@dataclass
class Source:
    """Where what a component takes is drawn from: the executions of each component of its type, or runs of its flow."""

    kind: str
    pools: list[list[Execution]] = field(default_factory=list)
    between: tuple[float, int] = (0.0, 0)
    within: tuple[float, int] = (0.0, 0)

    @property
    def executions(self) -> int:
        return sum(map(len, self.pools))

    def shift(self, rng: random.Random) -> float:
        """A factor for the uncertainty of the mean."""
        return math.exp(sum(_error_of_mean(rng, spread, count) for spread, count in (self.between, self.within)))


def _error_of_mean(rng: random.Random, spread: float, count: int) -> float:
    if count < 2 or not spread:
        return 0.0
    freedom = count - 1
    t = rng.gauss(0, 1) / math.sqrt(rng.gammavariate(freedom / 2, 2) / freedom)
    return max(-_MAX_SHIFT, min(_MAX_SHIFT, t * spread / math.sqrt(count)))


class DrawnFlow:
    """A flow with what its components are drawn from."""

    def __init__(self, graph: FlowGraph, history: Sequence[PastRun]) -> None:
        self.graph = graph
        self.steps = graph.steps()
        self.own_runs = [each for each in history if _is_of(graph, each)]
        by_type: dict[str, dict[tuple[str, str], list[Execution]]] = defaultdict(lambda: defaultdict(list))
        for run in history:
            for component_id, executions in run.executions.items():
                for each in executions:
                    by_type[each.component_type][run.flow, component_id].append(each)
        self.sources = {each.component_id: self._source(each, by_type) for each in graph.components.values()}
        self.known = [each for each, source in self.sources.items() if source.kind != NONE]
        self.unknown = [each for each, source in self.sources.items() if source.kind == NONE]
        self.loops = {each for step in self.steps if graph.is_loop(step) for each in step}
        self.rounds = _by_flow((each.flow, each.rounds) for each in history if each.rounds) if self.loops else []
        own = len(self.own_runs) >= MIN_RUNS
        self.outside = _by_flow((each.flow, each.outside_s) for each in (self.own_runs if own else history))
        self.is_own = own and all(source.kind == FLOW for source in self.sources.values())

    def _source(
        self, component: FlowComponent, by_type: Mapping[str, Mapping[tuple[str, str], list[Execution]]]
    ) -> Source:
        wanted = component.component_id
        own = [each.executions[wanted] for each in self.own_runs if wanted in each.executions]
        skipped = sum(wanted in each.skipped and wanted not in each.executions for each in self.own_runs)
        models = {execution.model for each in own for execution in each if execution.model}
        is_same = not component.model or not models or component.model in models
        if len(own) + skipped >= MIN_RUNS and is_same:
            return Source(FLOW, own, within=_spread([sum(each.seconds for each in run) for run in own]))
        pools = list(by_type.get(component.component_type, {}).values())
        pools = _chosen(pools, lambda each: each.offers_tools == component.offers_tools)
        pools = _preferred(pools, lambda each: (CALLS in each.used) != component.hands_over)
        same = _chosen(pools, lambda each: not component.model or each.model == component.model)
        kind = MODEL if component.model else TYPE
        if sum(map(len, same)) < MIN_RUNS:
            same, kind = pools, TYPE
        if component.offers_tools and not same:
            # Within the agent's time; handing it over takes none.
            return Source(TYPE, [[]])
        if sum(map(len, same)) < MIN_RUNS:
            return Source(NONE, same)
        logs = [fmean(math.log(max(each.seconds, LEAST_S)) for each in pool) for pool in same]
        between = (stdev(logs), len(logs)) if len(logs) > 1 else (0.0, 0)
        within = _spread([each.seconds for each in same[0]]) if len(same) == 1 else (0.0, 0)
        return Source(kind, same, between, within)

    def draw(self, rng: random.Random) -> Drawn:
        """One run."""
        drawn = Drawn()
        run = rng.choice(self.own_runs) if self.own_runs else None
        ended: dict[str, float] = {}
        last: dict[str, str | None] = {}
        for step in self.steps:
            rounds = 1
            if self.graph.is_loop(step):
                rounds = round(rng.choice(rng.choice(self.rounds))) if self.rounds else 1
                drawn.rounds = max(drawn.rounds, rounds)
            before = max(sorted(self.graph.before(step)), key=ended.__getitem__, default=None)
            took = sum(self._take(each, rng, run, rounds, drawn) for each in step)
            at = (0.0 if before is None else ended[before]) + took
            for each in step:
                ended[each], last[each] = at, before
        end = max(ended, key=ended.__getitem__)
        self._mark_path(end, last, drawn)
        outside = (
            run.outside_s
            if run is not None and len(self.own_runs) >= MIN_RUNS
            else rng.choice(rng.choice(self.outside))
        )
        drawn.seconds = ended[end] + max(0.0, outside)
        return drawn

    def _take(self, component_id: str, rng: random.Random, run: PastRun | None, rounds: int, drawn: Drawn) -> float:
        source, in_loop = self.sources[component_id], component_id in self.loops
        if source.kind == FLOW and run is not None:
            executions = run.executions.get(component_id, [])
        elif source.kind == NONE or not source.executions:
            executions = []
        else:
            pool = rng.choice(source.pools)
            executions = [rng.choice(pool) for _ in range(rounds)]
        for each in executions:
            for name, amount in (each.own_used if in_loop else each.used).items():
                drawn.used[name] += amount
        took = sum(each.own_s if in_loop else each.seconds for each in executions) * source.shift(rng)
        drawn.took[component_id] = took
        return took

    def _mark_path(self, end: str, last: Mapping[str, str | None], drawn: Drawn) -> None:
        steps = {each: step for step in self.steps for each in step}
        at: str | None = end
        while at is not None:
            for each in steps[at]:
                drawn.on_path[each] = drawn.took[each]
            at = last[at]


def _is_of(graph: FlowGraph, run: PastRun) -> bool:
    if graph.flow_id and run.flow_id:
        return graph.flow_id == run.flow_id
    return bool(graph.name) and graph.name == run.flow


def _chosen(pools: Iterable[Sequence[Execution]], is_wanted: Callable[[Execution], bool]) -> list[list[Execution]]:
    found = ([each for each in pool if is_wanted(each)] for pool in pools)
    return [pool for pool in found if pool]


def _preferred(pools: list[list[Execution]], is_wanted: Callable[[Execution], bool]) -> list[list[Execution]]:
    found = _chosen(pools, is_wanted)
    return found if sum(map(len, found)) >= MIN_RUNS else pools


def _spread(seconds: Sequence[float]) -> tuple[float, int]:
    """Standard deviation of the logarithms, and how many there are."""
    logs = [math.log(max(each, LEAST_S)) for each in seconds]
    return (stdev(logs), len(logs)) if len(logs) > 1 else (0.0, 0)


def _by_flow(values: Iterable[tuple[str, float]]) -> list[list[float]]:
    found: dict[str, list[float]] = defaultdict(list)
    for flow, value in values:
        found[flow].append(value)
    return list(found.values())


def interval(values: Sequence[float], widened: float = 1.0) -> tuple[float, float, float]:
    """Lower bound, median and upper bound, on a scale of ratios as far as the values are above 0."""
    low, middle, high = (percentile(values, share) or 0.0 for share in (0.05, 0.5, 0.95))
    if widened == 1.0:
        return low, middle, high
    bounds = [
        unscaled(scaled(middle, middle) + widened * (scaled(each, middle) - scaled(middle, middle)), middle)
        for each in (low, high)
    ]
    return max(0.0, bounds[0]), middle, bounds[1]


def scaled(value: float, middle: float) -> float:
    return math.log(value + 0.01 * middle) if middle > 0 else value


def unscaled(value: float, middle: float) -> float:
    return math.exp(min(value, 700.0)) - 0.01 * middle if middle > 0 else value

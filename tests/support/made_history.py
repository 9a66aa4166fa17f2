"""Histories of flows that are known: what each component takes is drawn from a distribution that was chosen."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from langflow_otel.insights._estimates.execution_history import Execution, PastRun
from langflow_otel.insights._estimates.flow_graph import FlowComponent, FlowGraph

TYPES = ("ChatInput", "Prompt", "Model", "Agent", "Search", "Parser", "ChatOutput")
LEVELS_S = {
    "ChatInput": 0.01,
    "Prompt": 0.02,
    "Model": 2.0,
    "Agent": 6.0,
    "Search": 0.8,
    "Parser": 0.1,
    "ChatOutput": 0.01,
}
WITH_CALLS = ("Model", "Agent")


@dataclass
class MadeFlow:
    """A flow whose components take about so long each, and what waits for what."""

    name: str
    levels_s: dict[str, tuple[str, float]]
    edges: list[tuple[str, str]]
    chance: random.Random
    spread: float = 0.35
    together: float = 0.0
    started_ns: int = 0
    runs: list[PastRun] = field(default_factory=list)

    def graph(self, name: str | None = None) -> FlowGraph:
        components = {each: FlowComponent(each, kind, each) for each, (kind, _) in self.levels_s.items()}
        return FlowGraph(self.name if name is None else name, "", components, frozenset(self.edges))

    def run(self) -> PastRun:
        """Each component as soon as all that it waits for have ended."""
        self.started_ns += 10**12
        load = self.chance.lognormvariate(0, self.together)
        run = PastRun(self.name, "", 0.0)
        ended: dict[str, float] = {}
        for each, (kind, level_s) in self.levels_s.items():
            start_s = max((ended[source] for source, target in self.edges if target == each), default=0.0)
            took_s = level_s * load * self.chance.lognormvariate(0, self.spread)
            ended[each] = start_s + took_s
            used = {}
            if kind in WITH_CALLS:
                used = {"model_calls": 1.0, "input_tokens": round(1000 * took_s), "cost.USD": took_s / 100}
            start_ns = self.started_ns + int(start_s * 1e9)
            run.executions[each] = [
                Execution(
                    each, kind, each, "", start_ns, start_ns + int(took_s * 1e9), "", False, took_s, took_s, used, used
                )
            ]
        run.outside_s = 0.02 * self.chance.lognormvariate(0, 0.3)
        run.seconds = max(ended.values()) + run.outside_s
        self.runs.append(run)
        return run


def made_flow(name: str, chance: random.Random, *, between: float = 0.3, **more: float) -> MadeFlow:
    """A flow of three to seven components at random; levels differ from flow to flow by ``between``."""
    middle = [chance.choice(TYPES[1:-1]) for _ in range(chance.randint(2, 5))]
    kinds = ["ChatInput", *middle, "ChatOutput"]
    ids = [f"{kind}-{index}" for index, kind in enumerate(kinds)]
    levels = {
        each: (kind, LEVELS_S[kind] * chance.lognormvariate(0, between)) for each, kind in zip(ids, kinds, strict=True)
    }
    edges = [(ids[chance.randrange(index)], ids[index]) for index in range(1, len(ids))]
    edges += [(each, ids[-1]) for each in ids[:-1]]
    return MadeFlow(name, levels, sorted(set(edges)), chance, **more)


def history_of(flows: Sequence[MadeFlow], runs: int | Mapping[str, int]) -> list[PastRun]:
    """So many runs of each flow."""
    counts = runs if isinstance(runs, Mapping) else {each.name: runs for each in flows}
    return [each.run() for each in flows for _ in range(counts[each.name])]

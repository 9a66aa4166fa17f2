"""What a run of a flow will take, use and cost, from the history of its components. Needs no LangFlow.

A run is drawn many times, with a fixed seed:

- **A component** that has run in this flow (at least 5 runs, with the same model) gets what it took in one of these
  runs, the same run for all such components: what goes together stays together, and a branch that was skipped is
  skipped. Any other gets an execution of its type, with the same model where there are such: first one of the
  components of this type is drawn, then one of its executions, since flows differ by more than the runs of one.
- **A loop** is run as often as loops were, one round after the other.
- **The run** takes the longest path through the graph (each component begins when all that it waits for have ended; the
  critical path of Kelley and Walker, 1959; drawn at random as in the network simulation of Van Slyke, 1963), and what
  such runs took outside of their components. Tokens, model calls and cost are the sums.
- **The interval** holds 90 % of what was drawn. Of few executions, the mean is uncertain itself: each draw is moved by
  a value of Student's t distribution times the standard error of the mean of the logarithms, so that the interval is
  that of the prediction of a new observation.
- **How far it is off** is tried on the history (cross-validation, Stone 1974): if the flow is known, each fifth of its
  runs is estimated from the others; if not, each other flow is estimated without its own runs, its graph being the
  order in which its components ran. Where less than 90 % of these runs were in their intervals, the interval
  is made as much wider as would have made it 90 % (conformal prediction; Lei et al., JASA 113, 2018; with each flow
  weighing the same, Dunn, Wasserman and Ramdas, JASA 118, 2023).

Failed runs are left out: it is estimated what a run takes that succeeds. Memory is that of the whole process while such
runs went on, and not of the run alone.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Final

from langflow_otel.insights._estimates.estimate_trials import Tried, tried_on
from langflow_otel.insights._estimates.execution_history import CALLS, INPUT_TOKENS, OUTPUT_TOKENS, PastRun
from langflow_otel.insights._estimates.flow_graph import FlowComponent, FlowGraph
from langflow_otel.insights._estimates.run_drawing import FLOW, MIN_RUNS, SECONDS, SEED, Drawn, DrawnFlow, interval

MEMORY: Final = "memory"
DRAWS: Final = 2000


class NoHistoryError(LookupError):
    """Nothing in the history is of use for this flow; the message says why."""


@dataclass(frozen=True)
class Figure:
    """One figure of a run.

    Attributes:
        name: ``seconds``, ``input_tokens``, ``output_tokens``, ``model_calls``, ``cost.USD``, ``memory`` (bytes).
        median, mean: Of what was drawn; without components that have no history.
        low, high: 90 % interval; ``high`` is None where components have no history.
    """

    name: str
    median: float
    mean: float
    low: float
    high: float | None


@dataclass(frozen=True)
class ComponentPart:
    """What one component contributes.

    Attributes:
        source: ``flow`` (it ran in this flow), ``model`` or ``type`` (its type did, with the same model or any),
            ``none``.
        executions: How many of these there are; ``components`` is of how many components.
        seconds: Median duration; of a loop's component that of all rounds together.
        on_path_s: Mean time on the critical path.
    """

    component_id: str
    name: str
    component_type: str
    model: str
    source: str
    executions: int
    components: int
    seconds: float
    on_path_s: float


@dataclass(frozen=True)
class Estimate:
    """An estimate of a run that succeeds.

    Attributes:
        flow: Its name.
        runs: Runs of this flow in the history; ``all_runs`` are those of all flows.
        unknown: Components without enough history; what they take is in no figure.
        loops: Ids of the components of each loop.
        rounds: Median number of rounds that was drawn; None without a loop, or where none has been seen.
        tried: By the name of the figure, without those for which the history has too few flows to try.
    """

    flow: str
    runs: int
    all_runs: int
    figures: tuple[Figure, ...]
    components: tuple[ComponentPart, ...]
    unknown: tuple[FlowComponent, ...]
    loops: tuple[tuple[str, ...], ...]
    rounds: float | None
    tried: Mapping[str, Tried]

    def figure(self, name: str) -> Figure | None:
        return next((each for each in self.figures if each.name == name), None)


def estimate(graph: FlowGraph, history: Sequence[PastRun], *, draws: int = DRAWS, seed: int = SEED) -> Estimate:
    """Estimate a run of this flow.

    Args:
        history: Runs that succeeded, of this flow and of others.

    Raises:
        NoHistoryError: There is nothing to estimate from.
    """
    model = DrawnFlow(graph, history)
    if not model.known:
        raise NoHistoryError(_why_nothing(model, history))
    rng = random.Random(seed)  # noqa: S311 - no secret
    drawn = [model.draw(rng) for _ in range(draws)]
    tried = tried_on(model, history)
    names = [SECONDS, *sorted({name for each in drawn for name in each.used}, key=_order)]
    figures = [_figure(name, drawn, model, tried[name].widened if name in tried else 1.0) for name in names]
    memory = _memory(model, history)
    return Estimate(
        flow=graph.name,
        runs=len(model.own_runs),
        all_runs=len(history),
        figures=(*figures, *([memory] if memory is not None else [])),
        components=tuple(sorted(_parts(model, drawn), key=lambda each: (-each.on_path_s, each.name))),
        unknown=tuple(graph.components[each] for each in model.unknown),
        loops=tuple(step for step in model.steps if graph.is_loop(step)),
        rounds=median(each.rounds for each in drawn) if model.rounds else None,
        tried=tried,
    )


def _why_nothing(model: DrawnFlow, history: Sequence[PastRun]) -> str:
    if not history:
        return "there is no run in the history that succeeded"
    types = sorted({each.component_type for each in model.graph.components.values()})
    shown = ", ".join(types[:8]) + (f" and {len(types) - 8} more" if len(types) > 8 else "")
    return f"none of its components has {MIN_RUNS} executions in the history, by its type or in this flow: {shown}"


def _order(name: str) -> tuple[int, str]:
    order = (INPUT_TOKENS, OUTPUT_TOKENS, CALLS)
    return (order.index(name) if name in order else len(order), name)


def _figure(name: str, drawn: Sequence[Drawn], model: DrawnFlow, widened: float) -> Figure:
    values = [each.value(name) for each in drawn]
    low, middle, high = interval(values, widened)
    return Figure(name, middle, fmean(values), low, None if model.unknown else high)


def _memory(model: DrawnFlow, history: Sequence[PastRun]) -> Figure | None:
    runs = model.own_runs if len(model.own_runs) >= MIN_RUNS else history
    values = [each.memory for each in runs if each.memory is not None]
    if len(values) < MIN_RUNS:
        return None
    low, middle, high = interval(values)
    return Figure(MEMORY, middle, fmean(values), low, high)


def _parts(model: DrawnFlow, drawn: Sequence[Drawn]) -> Iterable[ComponentPart]:
    for component_id, component in model.graph.components.items():
        source = model.sources[component_id]
        yield ComponentPart(
            component_id,
            component.name,
            component.component_type,
            component.model,
            source.kind,
            source.executions,
            1 if source.kind == FLOW else len([pool for pool in source.pools if pool]),
            median(each.took[component_id] for each in drawn),
            fmean(each.on_path.get(component_id, 0.0) for each in drawn),
        )

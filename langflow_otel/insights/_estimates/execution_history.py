"""What components took in the past, run by run: from this a run of a flow is estimated."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

from langflow_otel import _semconv as semconv
from langflow_otel.insights.selection import EVERY_RUN, Selection, ask

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

MAX_RUNS: Final = 2000
_MAX_SPANS: Final = 200_000
_CALLS: Final = ("model", "embeddings")
INPUT_TOKENS, OUTPUT_TOKENS, CALLS = "input_tokens", "output_tokens", "model_calls"
COST: Final = "cost."
"""Before the currency."""

_SIZE = "SELECT count(*) AS spans, count(DISTINCT run_span_id) AS runs FROM chosen_spans"
_SPANS = f"""
    SELECT run_span_id, span_id, parent_id, what, status, coalesce(flow_name, '') AS flow_name,
        coalesce(flow_id, '') AS flow_id, component_id, component_type, component_name, model, loop_index,
        start_ns, greatest(start_ns, end_ns) AS end_ns, input_tokens, output_tokens, cost, currency,
        attributes['{semconv.COMPONENT_ONLY_OFFERED_TOOLS}'] AS offered,
        TRY_CAST(attributes['{semconv.FLOW_MEMORY_PEAK}'] AS DOUBLE) AS memory,
        list_transform(
            list_filter(events, lambda event: event.name = '{semconv.COMPONENT_SKIPPED}'),
            lambda event: event.attributes['{semconv.COMPONENT_ID}']
        ) AS skipped
    FROM whole_spans ORDER BY run_span_id, start_ns
"""


@dataclass(slots=True)
class Execution:
    """One execution of a component that succeeded, or was answered from the cache.

    Attributes:
        seconds: Its duration; ``own_s`` is without components that ran inside of it, such as a loop's body.
        used, own_used: Tokens, model calls and cost by name, with and without those inside of it.
        inside: Id of the component that it ran inside of; empty at the top of its flow.
        offers_tools: It only handed over tools to an agent.
    """

    component_id: str
    component_type: str
    name: str
    model: str
    start_ns: int
    end_ns: int
    inside: str = ""
    offers_tools: bool = False
    seconds: float = 0.0
    own_s: float = 0.0
    used: dict[str, float] = field(default_factory=dict)
    own_used: dict[str, float] = field(default_factory=dict)


@dataclass(slots=True)
class PastRun:
    """A run of a flow that succeeded, alone or within another flow.

    Attributes:
        outside_s: The part of its duration in which none of its components ran.
        rounds: Of its loops, the largest number of rounds; 0 without a loop.
        memory: Highest memory of the process meanwhile, bytes; None where it is not known.
        executions: By the id of the component.
        skipped: Ids of the components that were skipped.
    """

    flow: str
    flow_id: str
    seconds: float
    outside_s: float = 0.0
    rounds: int = 0
    memory: float | None = None
    executions: dict[str, list[Execution]] = field(default_factory=dict)
    skipped: frozenset[str] = frozenset()

    def used(self) -> dict[str, float]:
        """Tokens, model calls and cost of the whole run."""
        found: dict[str, float] = defaultdict(float)
        for executions in self.executions.values():
            for each in executions:
                if not each.inside:
                    for name, amount in each.used.items():
                        found[name] += amount
        return dict(found)


def past_runs(
    connection: DuckDBPyConnection, selection: Selection = EVERY_RUN, *, max_runs: int = MAX_RUNS
) -> list[PastRun]:
    """The runs that succeeded, of the newest so many, and those of flows within them.

    Of runs with very many spans there are fewer: 200,000 spans are looked at.
    """
    newest = replace(selection, newest=max_runs)
    size = ask(connection, newest, _SIZE)[0]
    if size["spans"] > _MAX_SPANS:
        newest = replace(selection, newest=max(1, size["runs"] * _MAX_SPANS // size["spans"]))
    found = ask(connection, newest, _SPANS)
    return [run for _, spans in groupby(found, key=lambda row: row["run_span_id"]) for run in _runs(list(spans))]


def _runs(spans: list[dict[str, Any]]) -> Iterable[PastRun]:
    by_id = {span["span_id"]: span for span in spans}
    above = {span_id: list(_above(span, by_id)) for span_id, span in by_id.items()}
    executions = {
        span_id: _execution(span, above[span_id])
        for span_id, span in by_id.items()
        if span["what"] in ("component", "agent") and span["component_id"] and span["status"] in ("ok", "cached")
    }
    _add_use(by_id, above, executions)
    runs = {
        span_id: PastRun(
            span["flow_name"],
            span["flow_id"],
            (span["end_ns"] - span["start_ns"]) / 1e9,
            memory=span["memory"],
            skipped=frozenset(span["skipped"] or ()),
        )
        for span_id, span in by_id.items()
        if span["what"] == "flow" and span["status"] == "ok"
    }
    for span_id, execution in executions.items():
        flow = next((each["span_id"] for each in above[span_id] if each["what"] == "flow"), None)
        run = runs.get(flow or "")
        if run is not None:
            run.executions.setdefault(execution.component_id, []).append(execution)
            loop_index = by_id[span_id]["loop_index"]
            run.rounds = max(run.rounds, 0 if loop_index is None else loop_index + 1)
    for span_id, run in runs.items():
        top = [each for found in run.executions.values() for each in found if not each.inside]
        span = by_id[span_id]
        run.outside_s = run.seconds - _covered_s(top, span["start_ns"], span["end_ns"])
    return runs.values()


def _above(span: Mapping[str, Any], by_id: Mapping[str, dict[str, Any]]) -> Iterable[dict[str, Any]]:
    """The spans above this one, the nearest first."""
    seen = set()
    parent_id = span["parent_id"]
    while parent_id in by_id and parent_id not in seen:
        seen.add(parent_id)
        yield by_id[parent_id]
        parent_id = by_id[parent_id]["parent_id"]


def _execution(span: Mapping[str, Any], above: Iterable[Mapping[str, Any]]) -> Execution:
    inside = ""
    for each in above:
        if each["what"] == "flow":
            break
        if each["what"] in ("component", "agent") and each["component_id"]:
            inside = each["component_id"]
            break
    seconds = (span["end_ns"] - span["start_ns"]) / 1e9
    return Execution(
        component_id=span["component_id"],
        component_type=span["component_type"] or "",
        name=span["component_name"] or span["component_id"],
        model=span["model"] or "",
        start_ns=span["start_ns"],
        end_ns=span["end_ns"],
        inside=inside,
        offers_tools=str(span["offered"]).lower() == "true",
        seconds=seconds,
        own_s=seconds,
    )


def _add_use(
    by_id: Mapping[str, dict[str, Any]],
    above: Mapping[str, list[dict[str, Any]]],
    executions: Mapping[str, Execution],
) -> None:
    """Tokens, calls and cost of each component, with and without those of components inside of it."""
    of_calls = _use_of_calls(by_id, above, executions)
    for span_id, execution in executions.items():
        execution.used = {**of_calls[span_id], **_use(by_id[span_id])}
        if execution.model and INPUT_TOKENS in execution.used:
            execution.used.setdefault(CALLS, 1)
    within: dict[str, list[Execution]] = defaultdict(list)
    for span_id, execution in executions.items():
        nearest = next((each["span_id"] for each in above[span_id] if each["span_id"] in executions), None)
        if nearest is not None:
            within[nearest].append(execution)
    for span_id, execution in executions.items():
        inner = within[span_id]
        execution.own_s = execution.seconds - _covered_s(inner, execution.start_ns, execution.end_ns)
        execution.own_used = {
            name: max(0.0, amount - sum(each.used.get(name, 0.0) for each in inner))
            for name, amount in execution.used.items()
        }


def _use_of_calls(
    by_id: Mapping[str, dict[str, Any]],
    above: Mapping[str, list[dict[str, Any]]],
    executions: Mapping[str, Execution],
) -> dict[str, dict[str, float]]:
    """Of the calls below each component. A call that two instrumentors have traced counts once."""
    found: dict[str, dict[str, float]] = defaultdict(dict)
    for span_id, span in by_id.items():
        if span["what"] not in _CALLS or any(each["what"] in _CALLS for each in above[span_id]):
            continue
        use = {**_use(span), CALLS: 1.0}
        for each in above[span_id]:
            execution = executions.get(each["span_id"])
            if execution is not None:
                execution.model = execution.model or span["model"] or ""
                of_component = found[each["span_id"]]
                for name, amount in use.items():
                    of_component[name] = of_component.get(name, 0.0) + amount
    return found


def _use(span: Mapping[str, Any]) -> dict[str, float]:
    found = {name: float(span[name]) for name in (INPUT_TOKENS, OUTPUT_TOKENS) if span[name] is not None}
    if span["cost"] is not None and span["currency"]:
        found[COST + span["currency"]] = float(span["cost"])
    return found


def _covered_s(executions: Iterable[Execution], start_ns: int, end_ns: int) -> float:
    """How much of this time at least one of them ran."""
    covered, reached = 0, start_ns
    for from_ns, to_ns in sorted((each.start_ns, each.end_ns) for each in executions):
        to_ns = min(to_ns, end_ns)
        covered += max(0, to_ns - max(from_ns, reached))
        reached = max(reached, to_ns)
    return covered / 1e9

"""Which components take the time: how often each ran, how long, how often it failed, and its share of all of it.

Of trace files, of span trees (without DuckDB), and of any rows that have the same columns.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from langflow_otel import _semconv as semconv
from langflow_otel.insights.selection import EVERY_RUN, Selection, ask
from langflow_otel.insights.trace import TraceSpan

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

__all__ = [
    "ComponentShare",
    "component_shares",
    "is_component",
    "percentile",
    "shares_in_trees",
    "shares_of",
]

_PARETO = 0.8

# A component's own time is its duration without the time in which components inside it ran (a loop's body, a flow
# that it runs, an agent's tools that are components): the nearest component above each is found first.
_SHARES = """
    , components AS (
        SELECT * FROM chosen_spans WHERE what IN ('component', 'agent') AND component_id IS NOT NULL
    ),
    climbing AS (
        SELECT run_span_id, span_id, parent_id AS above_id FROM components WHERE parent_id <> run_span_id
        UNION
        SELECT climbing.run_span_id, climbing.span_id, spans.parent_id
        FROM climbing JOIN chosen_spans spans
            ON spans.run_span_id = climbing.run_span_id AND spans.span_id = climbing.above_id
        WHERE spans.component_id IS NULL OR spans.what NOT IN ('component', 'agent')
    ),
    inside AS (
        SELECT climbing.run_span_id, climbing.span_id, climbing.above_id,
            above.start_ns AS from_ns, above.end_ns AS to_ns
        FROM climbing JOIN components above
            ON above.run_span_id = climbing.run_span_id AND above.span_id = climbing.above_id
    ),
    covered AS (
        SELECT inside.run_span_id, above_id,
            greatest(0, least(end_ns, to_ns) - greatest(start_ns, from_ns, coalesce(max(least(end_ns, to_ns)) OVER (
                PARTITION BY inside.run_span_id, above_id ORDER BY start_ns, span_id
                ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0))) AS new_ns
        FROM inside JOIN components USING (run_span_id, span_id)
    ),
    own AS (SELECT run_span_id, above_id AS span_id, sum(new_ns)::BIGINT AS covered_ns FROM covered GROUP BY ALL),
    timed AS (
        SELECT components.*, greatest(0, duration_ns) / 1e9 AS seconds,
            (greatest(0, duration_ns) - coalesce(covered_ns, 0)) / 1e9 AS own_s
        FROM components LEFT JOIN own USING (run_span_id, span_id)
    ),
    skips AS (
        SELECT flow_name, event.attributes['langflow.component.id'] AS component_id,
            any_value(event.attributes['langflow.component.display_name']) AS component_name, count(*) AS skipped
        FROM (SELECT flow_name, unnest(events) AS event FROM whole_spans WHERE what = 'flow')
        WHERE event.name = 'component.skipped' GROUP BY ALL
    ),
    counted AS (
        SELECT coalesce(flow_name, '') AS flow, component_id,
            coalesce(arg_max(component_name, start_ns), component_id) AS name,
            coalesce(arg_max(component_kind, start_ns), 'other') AS kind,
            count(*) FILTER (status <> 'cached') AS count,
            count(DISTINCT run_span_id) FILTER (status <> 'cached') AS runs,
            count(*) FILTER (status = 'error') AS errors,
            count(*) FILTER (status = 'cached') AS cached,
            quantile_cont(seconds, 0.50) FILTER (status <> 'cached') AS p50_s,
            quantile_cont(seconds, 0.95) FILTER (status <> 'cached') AS p95_s,
            quantile_cont(seconds, 0.99) FILTER (status <> 'cached') AS p99_s,
            coalesce(sum(own_s) FILTER (status <> 'cached'), 0) AS total_s
        FROM timed GROUP BY flow_name, component_id
    )
    SELECT coalesce(flow, flow_name, '') AS flow,
        coalesce(counted.component_id, skips.component_id) AS component_id,
        coalesce(name, component_name, skips.component_id) AS name,
        coalesce(kind, 'other') AS kind, coalesce(count, 0) AS count, coalesce(runs, 0) AS runs,
        coalesce(errors, 0) AS errors, coalesce(cached, 0) AS cached, coalesce(skipped, 0) AS skipped,
        p50_s, p95_s, p99_s, coalesce(total_s, 0) AS total_s
    FROM counted FULL JOIN skips
        ON counted.flow = coalesce(skips.flow_name, '') AND counted.component_id = skips.component_id
    ORDER BY total_s DESC, name
"""


@dataclass(frozen=True)
class ComponentShare:
    """One component of one flow over many runs. Times are seconds.

    Attributes:
        count: Executions, failed ones included; those that came from the cache or were skipped are not among them.
        runs: Runs in which it was executed; None where that is not known.
        p50_s, p95_s, p99_s: Percentiles of the executions' durations; None if it never ran.
        total_s: Time in the component itself, without components that ran inside it.
        share: ``total_s`` as a part of the time of all these components, 0 to 1.
        cumulative_share: The same of this one and all before it: the Pareto line.
        in_pareto: True for the first ones, which together take 80 % of the time.
    """

    flow: str
    component_id: str
    name: str
    kind: str
    count: int
    runs: int | None
    errors: int
    cached: int
    skipped: int
    p50_s: float | None
    p95_s: float | None
    p99_s: float | None
    total_s: float
    share: float
    cumulative_share: float
    in_pareto: bool


@dataclass
class _Tally:
    name: str
    kind: str = "other"
    durations_s: list[float] = field(default_factory=list)
    runs: set[str] = field(default_factory=set)
    own_s: float = 0.0
    errors: int = 0
    cached: int = 0
    skipped: int = 0


def component_shares(connection: DuckDBPyConnection, selection: Selection = EVERY_RUN) -> list[ComponentShare]:
    """Every component of these runs, and of flows that they run; that with the largest share of time first."""
    return shares_of(ask(connection, selection, _SHARES))


def shares_of(found: Iterable[Mapping[str, Any]]) -> list[ComponentShare]:
    """What the shares are of these rows, which have all other attributes, the most time first."""
    found = list(found)
    all_s = sum(row["total_s"] for row in found)
    shares, before_s = [], 0.0
    for row in found:
        reached_s = before_s + row["total_s"]
        shares.append(
            ComponentShare(
                **row,
                share=row["total_s"] / all_s if all_s > 0 else 0.0,
                cumulative_share=reached_s / all_s if all_s > 0 else 0.0,
                in_pareto=row["total_s"] > 0 and before_s < _PARETO * all_s,
            )
        )
        before_s = reached_s
    return shares


def shares_in_trees(roots: Iterable[TraceSpan]) -> list[ComponentShare]:
    """The same of the components in these trees of spans; of each trace there is one run."""
    tallies: dict[tuple[str, str], _Tally] = {}
    for root in roots:
        for flow, span in _with_flow(root, ""):
            _count(tallies, flow, span)
    found = [_row(flow, component_id, tally) for (flow, component_id), tally in tallies.items()]
    return shares_of(sorted(found, key=lambda row: (-row["total_s"], row["name"])))


def _with_flow(span: TraceSpan, flow: str) -> Iterator[tuple[str, TraceSpan]]:
    """Each span with the name of the flow that it is part of."""
    flow = str(span.attributes.get(semconv.FLOW_NAME, flow))
    yield flow, span
    for child in span.children:
        yield from _with_flow(child, flow)


def _count(tallies: dict[tuple[str, str], _Tally], flow: str, span: TraceSpan) -> None:
    for event in span.events:
        if event.name == semconv.COMPONENT_SKIPPED:
            skipped_id = str(event.attributes[semconv.COMPONENT_ID])
            skipped_name = str(event.attributes.get(semconv.COMPONENT_DISPLAY_NAME, skipped_id))
            tallies.setdefault((flow, skipped_id), _Tally(skipped_name)).skipped += 1
    if not is_component(span):
        return
    component_id = str(span.attributes[semconv.COMPONENT_ID])
    tally = tallies.setdefault((flow, component_id), _Tally(component_id))
    tally.name = str(span.attributes.get(semconv.COMPONENT_DISPLAY_NAME, component_id))
    tally.kind = str(span.attributes.get(semconv.COMPONENT_KIND, "other"))
    if span.status == "cached":
        tally.cached += 1
        return
    tally.durations_s.append(span.duration_s)
    tally.runs.add(span.trace_id)
    tally.own_s += _own_s(span)
    tally.errors += span.status == "error"


def is_component(span: TraceSpan) -> bool:
    """True for an execution of a component; a tool call has a component's id but no kind."""
    return semconv.COMPONENT_ID in span.attributes and semconv.COMPONENT_KIND in span.attributes


def _own_s(span: TraceSpan) -> float:
    """Duration without the time in which components below it ran."""
    inside = sorted((each.start_ns, each.end_ns) for each in _nearest_components(span))
    covered_ns, reached_ns = 0, span.start_ns
    for start_ns, end_ns in inside:
        end_ns = min(end_ns, span.end_ns)
        covered_ns += max(0, end_ns - max(start_ns, reached_ns))
        reached_ns = max(reached_ns, end_ns)
    return span.duration_s - covered_ns / 1e9


def _nearest_components(span: TraceSpan) -> Iterator[TraceSpan]:
    for child in span.children:
        if is_component(child):
            yield child
        else:
            yield from _nearest_components(child)


def _row(flow: str, component_id: str, tally: _Tally) -> dict[str, Any]:
    return {
        "flow": flow,
        "component_id": component_id,
        "name": tally.name,
        "kind": tally.kind,
        "count": len(tally.durations_s),
        "runs": len(tally.runs),
        "errors": tally.errors,
        "cached": tally.cached,
        "skipped": tally.skipped,
        "p50_s": percentile(tally.durations_s, 0.50),
        "p95_s": percentile(tally.durations_s, 0.95),
        "p99_s": percentile(tally.durations_s, 0.99),
        "total_s": tally.own_s,
    }


def percentile(values: Iterable[float], rank: float) -> float | None:
    """The value below which this part (0 to 1) of the values lies, interpolated; None without values."""
    ordered = sorted(values)
    if not ordered:
        return None
    position = rank * (len(ordered) - 1)
    below = int(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (position - below)

"""Which components take the time: their shares of all runs, and the few that take most of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from langflow_otel.insights.selection import EVERY_RUN, Selection, ask

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_PARETO = 0.8

# A component's own time is its duration without the time in which components inside it ran (a loop's body, a flow
# that it runs, an agent's tools that are components): the nearest component above each is found first.
_SHARES = """
    , components AS (
        SELECT * FROM chosen_spans WHERE what IN ('component', 'agent') AND component_id IS NOT NULL
    ),
    climbing AS (
        SELECT run_span_id, span_id, parent_id AS above_id FROM components
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
        FROM (SELECT flow_name, unnest(events) AS event FROM chosen_spans WHERE what = 'flow')
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
        runs: Runs in which it was executed.
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
    runs: int
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


def component_shares(connection: DuckDBPyConnection, selection: Selection = EVERY_RUN) -> list[ComponentShare]:
    """Every component of these runs, and of flows that they run; that with the largest share of time first."""
    found = ask(connection, selection, _SHARES)
    all_s = sum(row["total_s"] for row in found)
    shares, before_s = [], 0.0
    for row in found:
        share = row["total_s"] / all_s if all_s > 0 else 0.0
        reached_s = before_s + row["total_s"]
        shares.append(
            ComponentShare(
                **row,
                share=share,
                cumulative_share=reached_s / all_s if all_s > 0 else 0.0,
                in_pareto=row["total_s"] > 0 and before_s < _PARETO * all_s,
            )
        )
        before_s = reached_s
    return shares

"""Lists of flows and of runs, by SQL on the view ``runs``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from langflow_otel.insights.selection import EVERY_RUN, Selection, rows

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

ORDERS: Final = {
    "newest": "start_ns DESC",
    "slowest": "duration_ns DESC",
    "tokens": "coalesce(input_tokens, 0) + coalesce(output_tokens, 0) DESC",
    "cost": "coalesce(cost, 0) DESC",
}
"""In which order runs can be listed."""

_FLOWS = """
    WITH chosen AS ({chosen}),
    costs AS (
        SELECT flow_name, flow_id, map_from_entries(list((currency, amount) ORDER BY currency)) AS cost
        FROM (
            SELECT flow_name, flow_id, currency, sum(cost) AS amount FROM chosen
            WHERE currency IS NOT NULL GROUP BY ALL
        ) GROUP BY ALL
    )
    SELECT coalesce(chosen.flow_name, '') AS flow, coalesce(chosen.flow_id, '') AS flow_id, count(*) AS runs,
        count(*) FILTER (status = 'error') AS failed, count(*) FILTER (status = 'cancelled') AS cancelled,
        quantile_cont(greatest(0, duration_ns) / 1e9, 0.50) AS p50_s,
        quantile_cont(greatest(0, duration_ns) / 1e9, 0.95) AS p95_s,
        min(start_ns) AS first_ns, max(start_ns) AS last_ns, arg_max(flow_version, start_ns) AS version,
        sum(input_tokens)::BIGINT AS input_tokens, sum(output_tokens)::BIGINT AS output_tokens,
        any_value(costs.cost) AS cost
    FROM chosen LEFT JOIN costs ON costs.flow_name IS NOT DISTINCT FROM chosen.flow_name
        AND costs.flow_id IS NOT DISTINCT FROM chosen.flow_id
    GROUP BY chosen.flow_name, chosen.flow_id ORDER BY runs DESC, flow
"""
_LISTED = """
    SELECT trace_id, span_id, coalesce(flow_name, '') AS flow, flow_version AS version, start_ns,
        greatest(0, duration_ns) / 1e9 AS duration_s, status, error_type, session_id, user_id, input_tokens,
        output_tokens, cost, currency, count(*) OVER () AS total
    FROM ({chosen})
    WHERE ($status IS NULL OR status = $status) AND ($session IS NULL OR session_id = $session)
    ORDER BY {order}, trace_id, span_id LIMIT {limit}
"""


@dataclass(frozen=True)
class FlowSummary:
    """The runs of one flow.

    Attributes:
        flow_id: Empty where it is not known; a name may belong to several flows.
        p50_s, p95_s: Percentiles of the durations of all runs, seconds.
        first_ns, last_ns: When the first and the last of them started, nanoseconds since the epoch.
        version: ``langflow.flow.version`` of the newest; None where it is not known.
        input_tokens, output_tokens: Sums over the runs that have them; None if none has.
        cost: By currency; empty without a list of prices.
    """

    flow: str
    flow_id: str
    runs: int
    failed: int
    cancelled: int
    p50_s: float
    p95_s: float
    first_ns: int
    last_ns: int
    version: str | None
    input_tokens: int | None
    output_tokens: int | None
    cost: dict[str, float]


@dataclass(frozen=True)
class ListedRun:
    """One run. What is not known is None.

    Attributes:
        start_ns: Nanoseconds since the epoch.
        duration_s: Seconds.
        cost: In ``currency``.
    """

    trace_id: str
    span_id: str
    flow: str
    version: str | None
    start_ns: int
    duration_s: float
    status: str
    error_type: str | None
    session_id: str | None
    user_id: str | None
    input_tokens: int | None
    output_tokens: int | None
    cost: float | None
    currency: str | None


@dataclass(frozen=True)
class RunList:
    """Attributes:
    runs: The first ones.
    total: How many there are.
    """

    runs: tuple[ListedRun, ...]
    total: int


def flow_summaries(connection: DuckDBPyConnection, selection: Selection = EVERY_RUN) -> list[FlowSummary]:
    """The flows of these runs, that with the most runs first."""
    chosen, given = selection.chosen()
    found = rows(connection, _FLOWS.format(chosen=chosen), given)
    return [FlowSummary(**{**row, "cost": row["cost"] or {}}) for row in found]


def list_runs(
    connection: DuckDBPyConnection,
    selection: Selection = EVERY_RUN,
    *,
    order: str = "newest",
    limit: int = 20,
    status: str | None = None,
    session: str | None = None,
) -> RunList:
    """The first of these runs.

    Args:
        order: A key of :data:`ORDERS`.
        limit: At most so many.
        status: ``langflow.status``, such as ``error``; None for any.
        session: ``session.id``; None for any.
    """
    chosen, given = selection.chosen()
    query = _LISTED.format(chosen=chosen, order=ORDERS[order], limit=int(limit))
    found: list[dict[str, Any]] = rows(connection, query, {**given, "status": status, "session": session})
    total = found[0]["total"] if found else 0
    return RunList(tuple(ListedRun(**{k: v for k, v in row.items() if k != "total"}) for row in found), total)

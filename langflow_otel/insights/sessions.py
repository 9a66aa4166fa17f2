"""Conversations: the runs that have a session in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from langflow_otel.insights.selection import EVERY_RUN, Selection, ask

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

__all__ = ["Session", "sessions"]

_SESSIONS = """
    , costs AS (
        SELECT session_id, map_from_entries(list((currency, amount) ORDER BY currency)) AS cost
        FROM (SELECT session_id, currency, sum(cost) AS amount FROM chosen WHERE currency IS NOT NULL GROUP BY ALL)
        GROUP BY ALL
    )
    SELECT session_id, arg_max(user_id, start_ns) AS user_id,
        list(DISTINCT coalesce(flow_name, '') ORDER BY coalesce(flow_name, '')) AS flows,
        count(*) AS runs, count(*) FILTER (status = 'error') AS errors,
        min(start_ns) AS first_ns, max(end_ns) AS last_ns, sum(greatest(0, duration_ns)) / 1e9 AS total_s,
        sum(input_tokens)::BIGINT AS input_tokens, sum(output_tokens)::BIGINT AS output_tokens,
        any_value(costs.cost) AS cost, list(trace_id ORDER BY start_ns, trace_id)[:{max_traces}] AS trace_ids
    FROM chosen LEFT JOIN costs USING (session_id)
    WHERE session_id IS NOT NULL AND session_id <> '' GROUP BY session_id
    ORDER BY last_ns DESC, session_id LIMIT {newest}
"""


@dataclass(frozen=True)
class Session:
    """The runs of one conversation.

    Attributes:
        user_id: Of the newest run that has one; None where it is not recorded.
        flows: Names of the flows that ran.
        first_ns, last_ns: Start of the first and end of the last run, nanoseconds since the epoch.
        total_s: Sum of the runs' durations, seconds.
        cost: By currency; empty without a list of prices.
        trace_ids: In the order of time, the first ones.
    """

    session_id: str
    user_id: str | None
    flows: tuple[str, ...]
    runs: int
    errors: int
    first_ns: int
    last_ns: int
    total_s: float
    input_tokens: int | None
    output_tokens: int | None
    cost: dict[str, float]
    trace_ids: tuple[str, ...]


def sessions(
    connection: DuckDBPyConnection, selection: Selection = EVERY_RUN, *, newest: int = 1000, max_traces: int = 100
) -> list[Session]:
    """The conversations of these runs, the newest first.

    Args:
        newest: At most so many.
        max_traces: At most so many trace ids of each.
    """
    query = _SESSIONS.format(newest=int(newest), max_traces=int(max_traces))
    found = ask(connection, selection, query)
    lists = ("flows", "trace_ids")
    return [
        Session(**{**row, "cost": row["cost"] or {}, **{name: tuple(row[name]) for name in lists}}) for row in found
    ]

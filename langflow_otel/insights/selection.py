"""Which runs an analysis is about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from langflow_otel import _semconv as semconv

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

__all__ = [
    "EVERY_RUN",
    "WHOLE_RUNS",
    "NoFailedRunError",
    "Selection",
    "ask",
    "find_trace",
    "rows",
]


@dataclass(frozen=True)
class Selection:
    """Runs that meet every condition given; without any, all runs.

    Attributes:
        flow: Name or id of a flow. Its runs within runs of other flows count as well; without a flow these
            are parts of the runs around them.
        version: ``langflow.flow.version``.
        since_ns, until_ns: Runs that started in this span of time, the end excluded; nanoseconds since the epoch.
        trace_ids: Traces; None for any, an empty sequence for none.
        newest: Only so many of these runs, those that started last.
    """

    flow: str | None = None
    version: str | None = None
    since_ns: int | None = None
    until_ns: int | None = None
    trace_ids: Sequence[str] | None = None
    newest: int | None = None

    def chosen(self, *, whole: bool = False) -> tuple[str, dict[str, Any]]:
        """A query for the rows of the table ``run_rows`` that are selected, and its parameters.

        Args:
            whole: With their ``attributes`` and ``resource``, which takes longer.
        """
        parts = {
            "flow": (self.flow, "(flow_name = $flow OR flow_id = $flow)"),
            "version": (self.version, "flow_version = $version"),
            "since_ns": (self.since_ns, "start_ns >= $since_ns"),
            "until_ns": (self.until_ns, "start_ns < $until_ns"),
            "trace_ids": (
                None if self.trace_ids is None else list(self.trace_ids),
                "trace_id IN (SELECT unnest($trace_ids::VARCHAR[]))",
            ),
        }
        given = {name: value for name, (value, _) in parts.items() if value is not None}
        conditions = [parts[name][1] for name in given] + ([] if self.flow is not None else ["NOT is_sub_run"])
        newest = "" if self.newest is None else f" ORDER BY start_ns DESC LIMIT {int(self.newest)}"
        query = f"SELECT * FROM run_rows WHERE {' AND '.join(conditions)}{newest}"
        return WHOLE_RUNS.format(runs=f"({query})") if whole else query, given


EVERY_RUN = Selection()

WHOLE_RUNS = """
    SELECT run_rows.*, attributes, resource FROM {runs} AS run_rows
    JOIN (SELECT trace_id, span_id, attributes, resource FROM spans WHERE what = 'flow') USING (trace_id, span_id)
"""

# Spans above a run may begin before it, and what goes on in the background after it. With these bounds, only those
# parts of the files are read in which such times are.
_BEFORE_NS = 600 * 10**9
_AFTER_NS = 3600 * 10**9

_NEAR = """
    SELECT * EXCLUDE (attributes, resource, events, links, status_message, span_kind, service) FROM spans
    WHERE start_ns BETWEEN {first_ns} AND {last_ns}
"""
# Where a trace holds one run and nothing else of LangFlow, all its spans are the run's.
_ALONE = """
    CREATE OR REPLACE TEMP TABLE alone AS
    SELECT trace_id, any_value(span_id) AS run_span_id FROM run_rows
    WHERE NOT is_sub_run AND trace_id IN (SELECT trace_id FROM chosen WHERE NOT is_sub_run)
    GROUP BY trace_id HAVING count(*) = 1
"""
_ARE_ALONE = "SELECT count(*) = (SELECT count(*) FROM alone) FROM chosen"
_SPANS_OF_ALONE = f"SELECT alone.run_span_id, near.* FROM ({_NEAR}) AS near JOIN alone USING (trace_id)"
_SPANS_BELOW = f"""
    WITH RECURSIVE near AS MATERIALIZED ({_NEAR} AND trace_id IN (SELECT trace_id FROM chosen)),
    below AS (
        SELECT trace_id, span_id AS run_span_id, span_id FROM chosen
        WHERE span_id NOT IN (SELECT run_span_id FROM alone)
        UNION
        SELECT near.trace_id, below.run_span_id, near.span_id
        FROM below JOIN near ON near.trace_id = below.trace_id AND near.parent_id = below.span_id
    )
    SELECT alone.run_span_id, near.* FROM alone JOIN near USING (trace_id)
    UNION ALL
    SELECT below.run_span_id, near.* FROM below JOIN near USING (trace_id, span_id)
"""
_HAS_NATIVE = f"SELECT 1 FROM every_span WHERE scope = '{semconv.LANGFLOW_SCOPE}' LIMIT 1"
# LangFlow's own span of a run lies beside or around our components and takes as long as the run: what is below it is
# moved to its parent.
_WITHOUT_NATIVE = f"""
    WITH native AS (SELECT run_span_id, span_id, parent_id FROM every_span WHERE scope = '{semconv.LANGFLOW_SCOPE}')
    SELECT every_span.* REPLACE (coalesce(native.parent_id, every_span.parent_id) AS parent_id)
    FROM every_span LEFT JOIN native
        ON native.run_span_id = every_span.run_span_id AND native.span_id = every_span.parent_id
    WHERE every_span.scope IS DISTINCT FROM '{semconv.LANGFLOW_SCOPE}'
"""
_WHOLE_SPANS = """
    WITH RECURSIVE whole_spans AS (
        SELECT chosen_spans.*, attributes, resource, events, links FROM chosen_spans
        JOIN spans USING (trace_id, span_id) WHERE spans.start_ns BETWEEN {first_ns} AND {last_ns}
    )
"""


def ask(connection: DuckDBPyConnection, selection: Selection, query: str, **parameters: Any) -> list[dict[str, Any]]:
    """The rows of a query on ``chosen`` (the selected runs) and ``chosen_spans`` (their spans).

    Each of ``chosen_spans`` has columns of the view ``spans`` and ``run_span_id``, the span of its run; attributes,
    events and links are in ``whole_spans``, which takes longer. LangFlow's own span of a run is not among them. The
    tables are made once for queries about the same selection that follow one another.
    """
    first_ns, last_ns = _choose(connection, selection)
    return rows(connection, _WHOLE_SPANS.format(first_ns=first_ns, last_ns=last_ns) + query, parameters)


_WIDE, _PART = "wide", "part"
"""Prefixes of the tables of the widest selection so far, and of the last one that is part of it or has fewer runs."""

_CHOICES = """
    CREATE TEMP TABLE IF NOT EXISTS selected (
        prefix VARCHAR, key VARCHAR, runs BIGINT, first_ns BIGINT, last_ns BIGINT
    )
"""
_BOUNDS = f"""
    SELECT count(*), coalesce(min(start_ns) - {_BEFORE_NS}, 0), coalesce(max(end_ns) + {_AFTER_NS}, 0) FROM chosen
"""
_IS_PART = f"SELECT 1 FROM chosen WHERE span_id NOT IN (SELECT span_id FROM {_WIDE}_runs) LIMIT 1"
_SPANS_OF_PART = f"""
    SELECT * FROM {_WIDE}_spans
    WHERE run_span_id IN (SELECT span_id FROM chosen) AND start_ns BETWEEN {{first_ns}} AND {{last_ns}}
"""


def _choose(connection: DuckDBPyConnection, selection: Selection) -> tuple[int, int]:
    """Make the tables, if they are not there; returns between which times their spans start.

    The widest selection so far is kept: what is part of it, such as one flow, need not be read again.
    """
    key = repr(selection)
    connection.execute(_CHOICES)
    made = {prefix: each for prefix, *each in connection.execute("SELECT * FROM selected").fetchall()}
    for prefix, (made_key, _, first_ns, last_ns) in made.items():
        if made_key == key:
            _show(connection, prefix)
            return first_ns, last_ns
    query, given = selection.chosen()
    connection.execute(f"CREATE OR REPLACE TEMP TABLE {_PART}_runs AS {query}", given)
    connection.execute(f"CREATE OR REPLACE TEMP VIEW chosen AS FROM {_PART}_runs")
    ((runs, first_ns, last_ns),) = connection.execute(_BOUNDS).fetchall()
    prefix, (_, wide_runs, wide_first_ns, wide_last_ns) = _PART, made.get(_WIDE, ("", -1, 0, 0))
    is_within = runs <= wide_runs and wide_first_ns <= first_ns and last_ns <= wide_last_ns
    if is_within and not _found(connection, _IS_PART):
        spans = _SPANS_OF_PART.format(first_ns=first_ns, last_ns=last_ns)
        connection.execute(f"CREATE OR REPLACE TEMP TABLE {_PART}_spans AS {spans}")
    else:
        if runs >= wide_runs:
            prefix = _WIDE
            connection.execute(f"CREATE OR REPLACE TEMP TABLE {_WIDE}_runs AS FROM {_PART}_runs")
        _read_spans(connection, prefix, first_ns, last_ns)
    connection.execute("DELETE FROM selected WHERE prefix IN (?, ?)", [prefix, _PART])
    connection.execute("INSERT INTO selected VALUES (?, ?, ?, ?, ?)", [prefix, key, runs, first_ns, last_ns])
    _show(connection, prefix)
    return first_ns, last_ns


def _show(connection: DuckDBPyConnection, prefix: str) -> None:
    connection.execute(f"CREATE OR REPLACE TEMP VIEW chosen AS FROM {prefix}_runs")
    connection.execute(f"CREATE OR REPLACE TEMP VIEW chosen_spans AS FROM {prefix}_spans")


def _read_spans(connection: DuckDBPyConnection, prefix: str, first_ns: int, last_ns: int) -> None:
    """The spans of the runs ``chosen``, out of the files."""
    connection.execute(_ALONE)
    query = _SPANS_OF_ALONE if connection.execute(_ARE_ALONE).fetchall()[0][0] else _SPANS_BELOW
    query = query.format(first_ns=first_ns, last_ns=last_ns)
    connection.execute(f"CREATE OR REPLACE TEMP TABLE every_span AS {query}")
    if _found(connection, _HAS_NATIVE):
        connection.execute(f"CREATE OR REPLACE TEMP TABLE {prefix}_spans AS {_WITHOUT_NATIVE}")
        connection.execute("DROP TABLE every_span")
    else:
        connection.execute(f"DROP TABLE IF EXISTS {prefix}_spans")
        connection.execute(f"ALTER TABLE every_span RENAME TO {prefix}_spans")


def _found(connection: DuckDBPyConnection, query: str) -> bool:
    return bool(connection.execute(query).fetchall())


def rows(connection: DuckDBPyConnection, query: str, parameters: dict[str, Any]) -> list[dict[str, Any]]:
    """A query's rows by the names of their columns."""
    result = connection.execute(query, parameters)
    names = [column[0] for column in result.description or ()]
    return [dict(zip(names, row, strict=True)) for row in result.fetchall()]


LAST, SLOWEST, FAILED = "last", "slowest", "failed"
_ORDERS = {LAST: "end_ns", SLOWEST: "duration_ns", FAILED: "start_ns"}


class NoFailedRunError(LookupError):
    """There are runs, and none of them failed."""


def find_trace(connection: DuckDBPyConnection, wanted: str) -> str:
    """The trace id of a run: of the ``last``, ``slowest`` or last ``failed`` one, or that with these first digits.

    Runs that a flow started do not count for the words.

    Raises:
        NoFailedRunError: The ``failed`` one is wanted, and there is none.
        LookupError: There is no such run, or these are the first digits of several; the message says which.
    """
    if wanted in _ORDERS:
        condition = "AND status = 'error'" if wanted == FAILED else ""
        order = f"ORDER BY {_ORDERS[wanted]} DESC, trace_id LIMIT 1"
        found = rows(connection, f"SELECT trace_id FROM run_rows WHERE NOT is_sub_run {condition} {order}", {})
        if found:
            return str(found[0]["trace_id"])
        if condition and rows(connection, "SELECT 1 FROM run_rows LIMIT 1", {}):
            raise NoFailedRunError("no run failed")
        raise LookupError("there is no run of a flow in the files")
    query = "SELECT DISTINCT trace_id FROM run_rows WHERE starts_with(trace_id, $wanted) LIMIT 2"
    found = rows(connection, query, {"wanted": wanted.lower()})
    if not found:
        raise LookupError(f"no run of a flow has the trace id {wanted}")
    if len(found) > 1:
        raise LookupError(f"several traces begin with {wanted}: give more digits")
    return str(found[0]["trace_id"])

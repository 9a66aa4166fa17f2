"""What the report counts: runs over time, flows, the list of runs, models. All of it is asked of DuckDB."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from langflow_otel import _semconv as semconv
from langflow_otel.insights._report.tables import Strings, columns, significant
from langflow_otel.insights.selection import Selection, ask, rows

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

MAX_LISTED = 50_000
"""Runs in the list of the page; with more, the newest half, the failed ones of the others, and then the newest."""
MAX_LOOKED_INTO = 20_000
"""Runs whose spans are asked for: the newest."""
MAX_FLOWS = 40
"""Flows with curves of their own."""
MAX_BINS = 120
_FEW_BINS = 12
_S = 1_000_000_000
WIDTHS_S = (1, 5, 10, 30, 60, 300, 600, 900, 1800, 3600, 3 * 3600, 6 * 3600, 12 * 3600, 86400, 7 * 86400, 28 * 86400)

RESOURCES = (
    (semconv.FLOW_MEMORY_PEAK, "Memory of the process", "highest during a run", "bytes"),
    (semconv.FLOW_CPU_TIME, "CPU time of the process", "used during a run", "seconds"),
    (semconv.FLOW_EVENT_LOOP_DELAY_PEAK, "Event loop delay", "longest that code blocked it during a run", "seconds"),
    (semconv.FLOW_ACTIVE_PEAK, "Runs at once in the process", "most during a run", "count"),
    (semconv.FLOW_SYSTEM_CPU_PEAK, "CPU of the machine", "highest use during a run", "share"),
    (semconv.FLOW_GPU_PEAK, "GPU", "highest use during a run", "share"),
    (semconv.FLOW_GPU_MEMORY_PEAK, "GPU memory", "highest use during a run", "share"),
)
"""What a flow's span says about its process and machine: attribute, title, how it was measured, unit."""

_RUNS = "CREATE OR REPLACE TEMP VIEW report_runs AS SELECT *, coalesce(flow_name, flow_id, '') AS flow FROM {chosen}"
# The longest component that holds no other one: a loop's or sub-flow's time is that of what is in it.
_SLOWEST = """
    SELECT run_span_id, arg_max(component_name, duration_ns) AS slowest FROM chosen_spans part
    WHERE what IN ('component', 'agent') AND NOT EXISTS (
        SELECT 1 FROM chosen_spans child WHERE child.run_span_id = part.run_span_id AND child.parent_id = part.span_id
        AND child.what IN ('component', 'agent', 'flow')
    )
    GROUP BY run_span_id
"""


def choose_runs(connection: DuckDBPyConnection, selection: Selection) -> int:
    """Make the view ``report_runs``, one row a run that is selected; returns how many there are."""
    chosen, given = selection.chosen()
    chosen = f"({chosen})"
    if given:
        # A view takes no parameters. Without any, this would be a copy of all runs.
        connection.execute(f"CREATE OR REPLACE TEMP TABLE given_runs AS {chosen}", given)
        chosen = "given_runs"
    connection.execute(_RUNS.format(chosen=chosen))
    return int(connection.execute("SELECT count(*) FROM report_runs").fetchall()[0][0])


def looked_into(connection: DuckDBPyConnection, selection: Selection, *, runs: int) -> Selection:
    """The newest of these runs, if there are too many to look at the spans of all of them.

    Args:
        runs: How many are selected.
    """
    if runs <= MAX_LOOKED_INTO:
        return selection
    query = "SELECT start_ns FROM report_runs ORDER BY start_ns DESC LIMIT 1 OFFSET ?"
    ((since_ns,),) = connection.execute(query, [MAX_LOOKED_INTO - 1]).fetchall()
    return replace(selection, since_ns=since_ns)


def overview(connection: DuckDBPyConnection, strings: Strings) -> dict[str, Any]:
    """Runs, errors, percentiles, tokens and costs: of all, of each flow, and over time."""
    found = connection.execute("SELECT min(start_ns), max(start_ns), count(*) FROM report_runs").fetchall()
    first_ns, last_ns, runs = found[0]
    # Of few runs, narrower parts of the time would have one run each or none.
    most = max(_FEW_BINS, min(MAX_BINS, runs))
    width_s = next((width for width in WIDTHS_S if (last_ns - first_ns) / _S / width < most), WIDTHS_S[-1])
    start_s = first_ns // _S // width_s * width_s
    grouped = _grouped(connection, "NULL", start_s, width_s)
    over_time = _grouped(connection, f"((start_ns // {_S} - {start_s}) // {width_s})::BIGINT", start_s, width_s)
    flows = sorted({row["flow"] for row in grouped} - {None}, key=lambda flow: (-_of(grouped, flow)[0]["runs"], flow))
    count = (last_ns // _S - start_s) // width_s + 1
    return {
        "start_s": start_s,
        "width_s": width_s,
        "bins": count,
        "first_ms": first_ns // 1_000_000,
        "last_ms": last_ns // 1_000_000,
        "all": {**_figures(_of(grouped, None), strings), "over": _over(_of(over_time, None), count, strings)},
        "flows": [
            {
                "flow": strings.place(flow),
                **_figures(_of(grouped, flow), strings),
                "over": _over(_of(over_time, flow), count, strings) if place < MAX_FLOWS else None,
            }
            for place, flow in enumerate(flows)
        ],
    }


def _grouped(connection: DuckDBPyConnection, bin_: str, start_s: int, width_s: int) -> list[dict[str, Any]]:
    """A row for all runs (flow is None) and each flow, in each bin; the costs of each currency with it."""
    found = rows(
        connection,
        f"""
        SELECT {bin_} AS bin, flow, count(*) AS runs, count(*) FILTER (status = 'error') AS errors,
            count(*) FILTER (status = 'cancelled') AS cancelled,
            quantile_cont(duration_ns / 1e6, [0.5, 0.95, 0.99]) AS percentiles,
            coalesce(sum(input_tokens), 0)::BIGINT AS input, coalesce(sum(output_tokens), 0)::BIGINT AS output
        FROM report_runs GROUP BY GROUPING SETS ((1), (1, 2))
        """,
        {},
    )
    costs = rows(
        connection,
        f"""
        SELECT {bin_} AS bin, flow, currency, sum(cost) AS cost FROM report_runs
        WHERE cost IS NOT NULL AND currency IS NOT NULL GROUP BY GROUPING SETS ((1, 3), (1, 2, 3))
        """,
        {},
    )
    by_place: dict[tuple[Any, Any], dict[str, float]] = {}
    for row in costs:
        by_place.setdefault((row["bin"], row["flow"]), {})[row["currency"]] = row["cost"]
    for row in found:
        row["costs"] = by_place.get((row["bin"], row["flow"]), {})
    return found


def _of(grouped: list[dict[str, Any]], flow: str | None) -> list[dict[str, Any]]:
    return [row for row in grouped if row["flow"] == flow]


def _figures(found: list[dict[str, Any]], strings: Strings) -> dict[str, Any]:
    (row,) = found
    return {
        **{name: row[name] for name in ("runs", "errors", "cancelled", "input", "output")},
        "percentiles": [significant(each) for each in row["percentiles"]],
        "costs": [[strings.place(currency), significant(cost)] for currency, cost in sorted(row["costs"].items())],
    }


def _over(found: list[dict[str, Any]], count: int, strings: Strings) -> dict[str, Any]:
    """The same for each bin: sums are 0 where nothing ran, percentiles None."""
    by_bin = {row["bin"]: row for row in found}
    bins = [by_bin.get(place) for place in range(count)]
    currencies = sorted({currency for row in found for currency in row["costs"]})
    return {
        **{
            name: [row[name] if row else 0 for row in bins]
            for name in ("runs", "errors", "cancelled", "input", "output")
        },
        **{
            name: [significant(row["percentiles"][place]) if row else None for row in bins]
            for place, name in enumerate(("p50", "p95", "p99"))
        },
        "costs": [
            [strings.place(currency), [significant(row["costs"].get(currency, 0.0)) if row else 0 for row in bins]]
            for currency in currencies
        ],
    }


_LISTED = (
    "start", "duration", "flow", "version", "status", "error", "category", "session", "user", "entry", "instance",
    "slowest", "input", "output", "cost", "currency", "concurrent",
)  # fmt: skip


_RUNS_LISTED = """
    WITH numbered AS (
        SELECT trace_id, span_id, status, row_number() OVER (ORDER BY start_ns DESC, span_id) - 1 AS place
        FROM report_runs
    ),
    listed AS (
        SELECT trace_id, span_id, place FROM numbered
        ORDER BY CASE WHEN place < $max / 2 THEN 0 WHEN status = 'error' THEN 1 ELSE 2 END, place LIMIT $max
    )
    SELECT place, trace_id, span_id, start_ns // 1000000 AS start, duration_ns // 1000 AS duration, flow,
        flow_version AS version, status, error_type AS error, error_category AS category, session_id AS session,
        user_id AS user, entry_point AS entry, instance, input_tokens AS input, output_tokens AS output,
        cost, currency, concurrent
    FROM listed JOIN report_runs USING (trace_id, span_id) ORDER BY place
"""


def listed_runs(connection: DuckDBPyConnection, shown: Selection, strings: Strings) -> dict[str, Any]:
    """The list of runs, the newest first: start in milliseconds, duration in microseconds.

    Args:
        shown: The runs whose spans are asked for the longest component.
    """
    slowest = {row["run_span_id"]: row["slowest"] for row in ask(connection, shown, _SLOWEST)}
    found = rows(connection, _RUNS_LISTED, {"max": MAX_LISTED})
    for row in found:
        row["slowest"] = slowest.get(row["span_id"])
    listed = columns(found, _LISTED, strings)
    return {
        "place": [row["place"] for row in found],
        "trace": [row["trace_id"] for row in found],
        "span": [row["span_id"] for row in found],
        **listed,
    }


def resources(connection: DuckDBPyConnection, shown: Selection, listed: list[str]) -> list[dict[str, Any]]:
    """What the runs' spans tell of their processes, in the order of the list.

    Args:
        listed: Ids of the runs' spans.
    """
    read = ", ".join(f"try_cast(attributes['{name}'] AS DOUBLE) AS \"{name}\"" for name, _, _, _ in RESOURCES)
    query = f"SELECT span_id, {read} FROM whole_spans WHERE span_id = run_span_id AND what = 'flow'"
    found = {row["span_id"]: row for row in ask(connection, shown, query)}
    curves = []
    for name, title, hint, unit in RESOURCES:
        if all(row[name] is None for row in found.values()):
            continue
        values = [significant(found[each][name]) if each in found else None for each in listed]
        if any(value is not None for value in values):
            curves.append({"name": name, "title": title, "hint": hint, "unit": unit, "values": values})
    return curves

"""The queries of daily figures and of the views, as far as possible in the same words for PostgreSQL and SQLite."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from langflow_otel import _semconv as semconv

# Names are others' choice.
_MAX_NAME: Final = 200


@dataclass(frozen=True)
class Words:
    """What the two databases say differently.

    Attributes:
        a_day_before: A time, a day before the other one.
        minute: A time's minute.
        has_percentiles: Else they are looked up by the place of each row.
    """

    a_day_before: str
    minute: str
    has_percentiles: bool

    def percentile(self, percent: int) -> str:
        """The smallest duration that so many of a hundred do not exceed."""
        if self.has_percentiles:
            return f"percentile_disc({percent / 100}) WITHIN GROUP (ORDER BY duration_s)"
        return f"min(CASE WHEN place * 100 >= {percent} * total THEN duration_s END)"

    def placed(self, query: str, keys: Sequence[str]) -> str:
        """The query's rows, with what ``percentile`` needs where they are grouped by these columns."""
        if self.has_percentiles:
            return f"({query}) AS placed"
        group = ", ".join(keys)
        return (
            f"(SELECT *, row_number() OVER (PARTITION BY {group} ORDER BY duration_s) AS place, "
            f"count(*) OVER (PARTITION BY {group}) AS total FROM ({query}) AS named) AS placed"
        )

    def of_last_day(self, table: str, columns: str, condition: str = "") -> str:
        """Rows of the day before the newest run's start."""
        newest = self.a_day_before.format("(SELECT max(start_time) FROM runs)")
        return f"SELECT {columns} FROM {table} WHERE start_time > {newest}{condition}"


POSTGRESQL: Final = Words(a_day_before="{} - INTERVAL '1 day'", minute="date_trunc('minute', {})", has_percentiles=True)
SQLITE: Final = Words(
    a_day_before="strftime('%Y-%m-%d %H:%M:%f', {}, '-1 day')",
    minute="strftime('%Y-%m-%d %H:%M:00', {})",
    has_percentiles=False,
)


@dataclass(frozen=True)
class _Figures:
    """What of a table goes into ``daily``: the columns that it lacks are empty, or 0."""

    kind: str
    table: str
    names: dict[str, str]
    amounts: tuple[str, ...]
    condition: str = ""


# A call of another instrumentor within a call is the same one.
_ONE_OF_A_CALL: Final = f"""
    AND (scope = '{semconv.SCOPE}' OR NOT EXISTS (
        SELECT 1 FROM model_calls AS above
        WHERE above.start_time >= :start_time AND above.start_time < :end_time
        AND above.trace_id = model_calls.trace_id AND above.span_id = model_calls.parent_id
    ))
"""
_ALL_FIGURES: Final = (
    _Figures("run", "runs", {"flow_name": "flow_name"}, ("input_tokens", "output_tokens"), "AND NOT is_sub_run"),
    _Figures("sub_run", "runs", {"flow_name": "flow_name"}, ("input_tokens", "output_tokens"), "AND is_sub_run"),
    _Figures(
        "component",
        "components",
        {
            "flow_name": "flow_name",
            "component_type": "coalesce(component_type, component_name)",
            "component_name": "component_name",
        },
        ("retries", "input_tokens", "output_tokens"),
    ),
    _Figures(
        "model",
        "model_calls",
        {"model": "coalesce(model, 'unknown')", "provider": "provider"},
        ("retries", "input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens"),
        _ONE_OF_A_CALL,
    ),
)


def rollups(words: Words) -> list[str]:
    """Queries that write the figures of one day, of ``:day`` from ``:start_time`` to ``:end_time``, into ``daily``."""
    return [_rollup(words, figures) for figures in _ALL_FIGURES]


def _rollup(words: Words, figures: _Figures) -> str:
    named = {name: f"substr(coalesce({source}, ''), 1, {_MAX_NAME})" for name, source in figures.names.items()}
    # What has no cost, such as a call that failed, stands with what has one.
    group = ", ".join(named.values())
    named["currency"] = f"coalesce(currency, max(currency) OVER (PARTITION BY {group}), '')"
    columns = ", ".join(f"{source} AS {name}" for name, source in named.items())
    rows = (
        f"SELECT {columns}, status, duration_s, cost{''.join(f', {each}' for each in figures.amounts)} "
        f"FROM {figures.table} WHERE start_time >= :start_time AND start_time < :end_time {figures.condition}"
    )
    values = {
        "day": ":day",
        "kind": f"'{figures.kind}'",
        **dict.fromkeys(("flow_name", "component_type", "component_name", "model", "provider", "currency"), "''"),
        **{name: name for name in named},
        "executions": "count(*)",
        "failed": "count(CASE WHEN status = 'error' THEN 1 END)",
        "total_s": "sum(duration_s)",
        **{f"p{percent}_s": words.percentile(percent) for percent in (50, 95, 99)},
        "max_s": "max(duration_s)",
        **dict.fromkeys(("retries", "input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens"), "0"),
        **{name: f"coalesce(sum({name}), 0)" for name in figures.amounts},
        "cost": "coalesce(sum(cost), 0)",
    }
    return (
        f"INSERT INTO daily ({', '.join(values)}) SELECT {', '.join(values.values())} "
        f"FROM {words.placed(rows, list(named))} GROUP BY {', '.join(named)}"
    )


def views(words: Words) -> dict[str, str]:
    """The query of each view."""
    p50, p95, p99 = (words.percentile(percent) for percent in (50, 95, 99))
    failed = "count(CASE WHEN status = 'error' THEN 1 END)"
    component = "flow_name, component_name, coalesce(component_type, component_name) AS component_type"
    executions = words.of_last_day("components", f"{component}, status, duration_s")
    rate = f"CAST({failed} AS DOUBLE PRECISION) / count(*)"
    return {
        "tasks_per_minute": f"""
            SELECT {words.minute.format("start_time")} AS minute, flow_name, count(*) AS tasks, {failed} AS failed
            FROM ({words.of_last_day("runs", "*", " AND NOT is_sub_run")}) AS recent
            GROUP BY 1, flow_name ORDER BY 1, flow_name
        """,
        "failure_rate_by_type": f"""
            SELECT component_type, count(*) AS executions, {failed} AS failed, {rate} AS failure_rate
            FROM ({executions}) AS recent
            GROUP BY component_type ORDER BY failure_rate DESC, component_type
        """,
        "flow_latency": f"""
            SELECT flow_name, count(*) AS runs, {failed} AS failed,
                {p50} AS p50_s, {p95} AS p95_s, {p99} AS p99_s, max(duration_s) AS max_s
            FROM {words.placed(words.of_last_day("runs", "flow_name, status, duration_s"), ["flow_name"])}
            GROUP BY flow_name ORDER BY p95_s DESC
        """,
        "slowest_components": f"""
            SELECT flow_name, component_name, component_type, count(*) AS executions, sum(duration_s) AS total_s,
                {p50} AS p50_s, {p95} AS p95_s, max(duration_s) AS max_s
            FROM {words.placed(executions, ["flow_name", "component_name", "component_type"])}
            GROUP BY flow_name, component_name, component_type ORDER BY total_s DESC
        """,
        "model_usage_by_day": """
            SELECT day, model, provider, executions AS calls, failed, retries, input_tokens, output_tokens,
                cached_tokens, reasoning_tokens, cost, currency, p50_s, p95_s
            FROM daily WHERE kind = 'model'
        """,
        # It arose where nothing failed below. Of an HTTP request the span above it says more, if that failed, too.
        # LangFlow's own span of a run stands between the run and its components, and says the same.
        "error_causes": f"""
            WITH RECURSIVE every_error AS ({words.of_last_day("errors", "*")}),
            recent AS (
                SELECT every_error.start_time, every_error.trace_id, every_error.span_id, every_error.kind,
                    every_error.name, every_error.flow_name, every_error.component_name, every_error.error_type,
                    every_error.error_category, coalesce(native.parent_id, every_error.parent_id) AS parent_id
                FROM every_error LEFT JOIN every_error AS native
                    ON native.scope = '{semconv.LANGFLOW_SCOPE}' AND native.trace_id = every_error.trace_id
                    AND native.span_id = every_error.parent_id
                WHERE coalesce(every_error.scope, '') <> '{semconv.LANGFLOW_SCOPE}'
            ),
            candidates AS (
                SELECT failed.* FROM recent AS failed LEFT JOIN recent AS above
                    ON failed.kind = 'http_request' AND above.trace_id = failed.trace_id
                    AND above.span_id = failed.parent_id
                WHERE above.span_id IS NULL
            ),
            causes AS (
                SELECT * FROM candidates WHERE NOT EXISTS (
                    SELECT 1 FROM candidates AS below
                    WHERE below.trace_id = candidates.trace_id AND below.parent_id = candidates.span_id)
            ),
            climbing AS (
                SELECT trace_id, span_id, span_id AS at_id FROM causes
                UNION
                SELECT climbing.trace_id, climbing.span_id, recent.parent_id FROM climbing JOIN recent
                    ON recent.trace_id = climbing.trace_id AND recent.span_id = climbing.at_id
                WHERE recent.kind NOT IN ('component', 'agent', 'flow')
            ),
            inside AS (
                SELECT climbing.trace_id, climbing.span_id, recent.component_name FROM climbing JOIN recent
                    ON recent.trace_id = climbing.trace_id AND recent.span_id = climbing.at_id
                WHERE recent.kind IN ('component', 'agent')
            )
            SELECT causes.flow_name, inside.component_name, causes.kind, causes.name, causes.error_type,
                causes.error_category, count(*) AS errors, count(DISTINCT causes.trace_id) AS traces,
                min(causes.start_time) AS first_time, max(causes.start_time) AS last_time
            FROM causes LEFT JOIN inside
                ON inside.trace_id = causes.trace_id AND inside.span_id = causes.span_id
            GROUP BY causes.flow_name, inside.component_name, causes.kind, causes.name, causes.error_type,
                causes.error_category
            ORDER BY errors DESC, last_time DESC
        """,
    }

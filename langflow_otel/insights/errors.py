"""What failed: errors grouped by their type and the place where they arose, each with a sample."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from langflow_otel import _semconv as semconv
from langflow_otel.insights.selection import EVERY_RUN, Selection, ask

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

__all__ = ["ErrorGroup", "error_groups"]

# An error passes through the spans above it: it arose where no span below failed. Of an HTTP request the span above it
# says more, if that failed, too: a type with a category where the request has only 401, and one error for all attempts.
_ERRORS = f"""
    , every_failed AS (
        SELECT chosen_spans.*, requests.span_id IS NOT NULL AS is_request FROM chosen_spans LEFT JOIN (
            SELECT run_span_id, span_id FROM whole_spans WHERE status = 'error'
            AND coalesce(attributes['{semconv.HTTP_REQUEST_METHOD}'], attributes['http.method']) IS NOT NULL
        ) requests USING (run_span_id, span_id)
        WHERE status = 'error'
    ),
    failed AS (
        SELECT * EXCLUDE (is_request) FROM every_failed WHERE NOT is_request OR NOT EXISTS (
            SELECT 1 FROM every_failed above
            WHERE above.run_span_id = every_failed.run_span_id AND above.span_id = every_failed.parent_id)
    ),
    origins AS (
        SELECT * FROM failed WHERE NOT EXISTS (
            SELECT 1 FROM failed below
            WHERE below.run_span_id = failed.run_span_id AND below.parent_id = failed.span_id)
    ),
    climbing AS (
        SELECT run_span_id, span_id, span_id AS at_id FROM origins
        UNION
        SELECT climbing.run_span_id, climbing.span_id, spans.parent_id
        FROM climbing JOIN chosen_spans spans
            ON spans.run_span_id = climbing.run_span_id AND spans.span_id = climbing.at_id
        WHERE spans.what NOT IN ('component', 'agent', 'flow')
    ),
    around AS (
        SELECT climbing.run_span_id, climbing.span_id, spans.component_id, spans.component_name
        FROM climbing JOIN chosen_spans spans
            ON spans.run_span_id = climbing.run_span_id AND spans.span_id = climbing.at_id
        WHERE spans.what IN ('component', 'agent')
    ),
    exceptions AS (
        SELECT run_span_id, span_id,
            list_extract(list_filter(events, lambda event: event.name = 'exception'), 1).attributes AS exception
        FROM whole_spans WHERE status = 'error'
    ),
    placed AS (
        SELECT origins.*, coalesce(around.component_id, '') AS inside_id, coalesce(around.component_name, '') AS inside,
            chosen.status = 'error' AS run_failed,
            exception
        FROM origins LEFT JOIN around USING (run_span_id, span_id) LEFT JOIN exceptions USING (run_span_id, span_id)
            JOIN chosen ON chosen.span_id = origins.run_span_id
    )
    SELECT coalesce(error_type, '') AS error_type, coalesce(error_category, '') AS category,
        coalesce(flow_name, '') AS flow,
        inside_id AS component_id, arg_max(inside, start_ns) AS component, name, count(*) AS count,
        count(DISTINCT run_span_id) AS runs, count(DISTINCT run_span_id) FILTER (run_failed) AS failed_runs,
        min(start_ns) AS first_ns, max(start_ns) AS last_ns,
        arg_max(trace_id, start_ns) AS sample_trace_id, arg_max(span_id, start_ns) AS sample_span_id,
        arg_max(exception['exception.message'], start_ns) AS message,
        arg_max(exception['http.response.status_code'], start_ns)::VARCHAR AS http_status
    FROM placed GROUP BY error_type, error_category, flow_name, inside_id, name
    ORDER BY failed_runs DESC, count DESC, last_ns DESC, error_type, name, flow, component_id
"""


@dataclass(frozen=True)
class ErrorGroup:
    """Errors of one type that arose at one place.

    Attributes:
        error_type: ``error.type``; empty where a span has none.
        category: ``langflow.error.category``; empty where a span has none.
        flow, component_id, component: Where; empty outside of components.
        name: Name of the span in which it arose.
        count: How often.
        runs: In how many runs; of these ``failed_runs`` failed, though not always by this error.
        first_ns, last_ns: When such a span began, nanoseconds since the epoch.
        sample_trace_id, sample_span_id: The newest.
        message: The exception's message in the newest that has one; None where no messages are recorded.
        http_status: The same of the response that the exception is about.
    """

    error_type: str
    category: str
    flow: str
    component_id: str
    component: str
    name: str
    count: int
    runs: int
    failed_runs: int
    first_ns: int
    last_ns: int
    sample_trace_id: str
    sample_span_id: str
    message: str | None
    http_status: str | None


def error_groups(connection: DuckDBPyConnection, selection: Selection = EVERY_RUN) -> list[ErrorGroup]:
    """The errors in these runs, those first that are in most of the runs that failed."""
    return [ErrorGroup(**row) for row in ask(connection, selection, _ERRORS)]

"""What these traces do not tell, why, and how they would."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from langflow_otel.insights.selection import Selection, ask, rows

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_CONTENT = ("gen_ai.input.messages", "gen_ai.output.messages", "gen_ai.tool.call.arguments")

_FACTS = f"""
    SELECT count(*) FILTER (what = 'model') AS model_calls,
        count(*) FILTER (what IN ('component', 'agent')) AS components,
        count(*) FILTER (what IN ('model', 'component') AND input_tokens IS NOT NULL) AS with_tokens,
        count(*) FILTER (cost IS NOT NULL) AS with_cost,
        count(*) FILTER (list_has_any(map_keys(attributes), {list(_CONTENT)!r})) AS with_content,
        count(*) FILTER (what = 'flow' AND session_id IS NOT NULL) AS with_session,
        count(*) FILTER (what = 'flow' AND user_id IS NOT NULL) AS with_user,
        count(*) FILTER (what = 'flow' AND attributes['langflow.kept'] IS NOT NULL) AS kept,
        count(*) FILTER (what = 'flow' AND attributes['langflow.flow.process.memory.peak'] IS NOT NULL) AS with_memory,
        count(*) FILTER (status = 'error') AS errors,
        count(*) FILTER (len(list_filter(events, lambda event: event.name = 'exception'
            AND event.attributes['exception.message'] IS NOT NULL)) > 0) AS with_message
    FROM whole_spans
"""
_OUTSIDE = """
    SELECT count(DISTINCT trace_id) AS traces, count(*) AS spans FROM spans
    WHERE trace_id NOT IN (SELECT trace_id FROM run_rows)
"""


def what_is_missing(connection: DuckDBPyConnection, selection: Selection) -> list[tuple[str, str]]:
    """What, and why or how it is switched on; only what is really not there."""
    facts = ask(connection, selection, _FACTS)[0]
    return [*_not_recorded(facts), *_partly_there(facts, rows(connection, _OUTSIDE, {})[0])]


def _not_recorded(facts: dict[str, Any]) -> Iterator[tuple[str, str]]:
    if not facts["components"]:
        yield "Components.", "LANGFLOW_OTEL_DETAIL=flow records flows only."
    elif not facts["model_calls"]:
        yield "Model calls.", "There were none, or LANGFLOW_OTEL_DETAIL=component leaves their spans out."
    elif not facts["with_tokens"]:
        yield "Tokens.", "The providers' answers had none."
    elif not facts["with_cost"]:
        yield "Costs.", "They need your list of prices: LANGFLOW_OTEL_PRICES."
    if not facts["with_content"]:
        switch = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT=SPAN_ONLY"
        yield "Prompts, answers, inputs and outputs.", f"They are recorded only with {switch}."
    if facts["errors"] and not facts["with_message"]:
        yield "Messages of errors.", "They are recorded only with LANGFLOW_OTEL_ERROR_MESSAGES=redacted or full."
    if not facts["with_session"]:
        yield "Sessions.", "No run says to which conversation it belongs."
    if not facts["with_user"]:
        yield "Users.", "They are recorded only with LANGFLOW_OTEL_USER_ID=true."
    if not facts["with_memory"]:
        yield "Memory and CPU.", "They are measured only where metrics have a destination."
    where = "Each span shows the trace_id and span_id by which they are found where they went."
    yield "Log lines.", f"Traces do not hold them. {where}"


def _partly_there(facts: dict[str, Any], outside: dict[str, Any]) -> Iterator[tuple[str, str]]:
    if facts["kept"]:
        yield (
            "Runs that were not sampled.",
            f"{facts['kept']:,} of these runs were sent only because they failed or were slow (LANGFLOW_OTEL_KEEP): "
            "error rates and percentiles are higher than those of all runs. The metrics count every run.",
        )
    if outside["traces"]:
        yield (
            "Spans without a run.",
            f"{outside['spans']:,} spans in {outside['traces']:,} traces are below no run that is in the files: "
            "of other services, of requests without a flow, or of runs whose own span is missing, since they still go "
            "on or were cut off.",
        )

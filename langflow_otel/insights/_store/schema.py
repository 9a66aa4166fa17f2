"""The tables. Their columns' comments are what PostgreSQL shows, and what docs/insights/storage.md says."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    Double,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
)

SCHEMA_VERSION: Final = 1

metadata = MetaData()

_TIME: Final = DateTime(timezone=True)


def _column(name: str, kind: Any, comment: str, *, needed: bool = False) -> Column[Any]:
    return Column(name, kind, comment=comment, nullable=not needed)


def _table(name: str, comment: str, *columns: Column[Any], key: tuple[str, ...], **options: Any) -> Table:
    # The key begins with the time: new rows are at its end, whatever the ids, and a span of time is one part of it.
    return Table(
        name, metadata, *columns, PrimaryKeyConstraint(*key), comment=comment, sqlite_with_rowid=False, **options
    )


_KEY: Final = ("start_time", "trace_id", "span_id")


def _ids(start: str = "start, in UTC") -> tuple[Column[Any], ...]:
    return (
        _column("start_time", _TIME, start, needed=True),
        _column("trace_id", Text, "the trace, which is what joins a run and its parts", needed=True),
        _column("span_id", Text, "the span", needed=True),
    )


def _ended() -> tuple[Column[Any], ...]:
    return (
        _column("parent_id", Text, "the span above"),
        _column("end_time", _TIME, "end, in UTC", needed=True),
        _column("duration_s", Double, "duration in seconds", needed=True),
        _column("status", Text, "ok, error, cancelled ...", needed=True),
        _column("error_type", Text, "such as TimeoutError"),
        _column("error_category", Text, "such as rate_limit or timeout"),
        _column("service", Text, "service.name"),
        _column("instance", Text, "service.instance.id: the process"),
        _column("flow_name", Text, "name of the flow"),
    )


def _usage() -> tuple[Column[Any], ...]:
    return (
        _column("input_tokens", BigInteger, "cached ones included"),
        _column("output_tokens", BigInteger, "those of reasoning included"),
        _column("cost", Double, "by the prices that LangFlow had"),
        _column("currency", Text, "of the cost"),
    )


def _content() -> Column[Any]:
    return _column("content", Text, "with --content: the attributes that hold content, as a JSON object")


runs = _table(
    "runs",
    "A row for each run of a flow.",
    *_ids(),
    *_ended(),
    _column("flow_id", Text, "id of the flow"),
    _column("flow_version", Text, "langflow.flow.version"),
    _column("run_id", Text, "LangFlow's own id of the run"),
    _column("entry_point", Text, "api, chat, mcp ...; flow for a flow that a flow runs"),
    _column("is_sub_run", Boolean, "another flow runs it: its tokens and cost are in that run's, too", needed=True),
    _column("session_id", Text, "session.id"),
    _column("user_id", Text, "user.id, where it is recorded"),
    *_usage(),
    _content(),
    key=_KEY,
)
components = _table(
    "components",
    "A row for each execution of a component or agent.",
    *_ids(),
    *_ended(),
    _column("component_id", Text, "id in the flow"),
    _column("component_type", Text, "its class"),
    _column("component_name", Text, "the name that the flow's author sees"),
    _column("component_kind", Text, "llm, agent, retriever, tool ..."),
    _column("code_hash", Text, "changes with the component's code"),
    _column("loop_index", BigInteger, "iteration of a loop"),
    _column("retries", BigInteger, "as record_retry() reports them"),
    *_usage(),
    _content(),
    key=_KEY,
)
model_calls = _table(
    "model_calls",
    "A row for each call of a model or of embeddings; where calls have no spans, for the component that made them.",
    *_ids(),
    *_ended(),
    _column("kind", Text, "model, embeddings or component", needed=True),
    _column("scope", Text, "who made the span: langflow_otel, or another instrumentor"),
    _column("model", Text, "the model that was asked for"),
    _column("provider", Text, "openai, anthropic ..."),
    _column("time_to_first_chunk_s", Double, "of a streamed answer"),
    _column("retries", BigInteger, "requests that the provider's library sent again"),
    _column("cached_tokens", BigInteger, "of the input, read from the provider's cache"),
    _column("reasoning_tokens", BigInteger, "of the output"),
    *_usage(),
    _content(),
    key=_KEY,
)
retries = _table(
    "retries",
    "A row for each retry inside a component, and one for each model call that was sent again.",
    *_ids("when, in UTC: of a model call its start"),
    _column("number", BigInteger, "which of the span's retries, from 1; 0 for all of a model call's", needed=True),
    _column("count", BigInteger, "1; of a model call how often it was sent again", needed=True),
    _column("kind", Text, "component, or model", needed=True),
    _column("flow_name", Text, "name of the flow"),
    _column("component_id", Text, "id in the flow"),
    _column("component_type", Text, "its class"),
    _column("model", Text, "of a model call"),
    _column("delay_s", Double, "waited before it, in seconds"),
    _column("error_type", Text, "what it was repeated for"),
    key=(*_KEY, "number"),
)
errors = _table(
    "errors",
    "A row for each span that failed, those above the cause among them; the causes are in the view error_causes.",
    *_ids(),
    _column("parent_id", Text, "the span above"),
    _column("kind", Text, "flow, component, agent, tool, model, http_request ...", needed=True),
    _column("name", Text, "of the span", needed=True),
    _column("scope", Text, "who made the span: langflow_otel, LangFlow, or an instrumentor"),
    _column("service", Text, "service.name"),
    _column("instance", Text, "service.instance.id: the process"),
    _column("flow_name", Text, "name of the flow"),
    _column("component_id", Text, "id in the flow"),
    _column("component_type", Text, "its class"),
    _column("component_name", Text, "the name that the flow's author sees"),
    _column("model", Text, "of a model call"),
    _column("error_type", Text, "such as TimeoutError"),
    _column("error_category", Text, "such as rate_limit or timeout"),
    _column("message", Text, "with --content: the exception's message, where it was recorded"),
    key=_KEY,
)
RAW_TABLES: Final = (runs, components, model_calls, retries, errors)
"""Kept for 30 days; the others for a year."""

daily = Table(
    "daily",
    metadata,
    _column("day", Date, "in UTC", needed=True),
    _column("kind", Text, "run, sub_run, component or model", needed=True),
    _column("flow_name", Text, "name of the flow; of models empty", needed=True),
    _column("component_type", Text, "of components", needed=True),
    _column("component_name", Text, "of components", needed=True),
    _column("model", Text, "of models", needed=True),
    _column("provider", Text, "of models", needed=True),
    _column("currency", Text, "of the cost; empty without prices", needed=True),
    _column("executions", BigInteger, "runs, executions or calls", needed=True),
    _column("failed", BigInteger, "of these, those with the status error", needed=True),
    _column("total_s", Double, "sum of their durations in seconds", needed=True),
    _column("p50_s", Double, "median of the durations in seconds", needed=True),
    _column("p95_s", Double, "95th percentile", needed=True),
    _column("p99_s", Double, "99th percentile", needed=True),
    _column("max_s", Double, "the longest", needed=True),
    _column("retries", BigInteger, "of components and model calls", needed=True),
    _column("input_tokens", BigInteger, "cached ones included", needed=True),
    _column("output_tokens", BigInteger, "those of reasoning included", needed=True),
    _column("cached_tokens", BigInteger, "of the input; of models", needed=True),
    _column("reasoning_tokens", BigInteger, "of the output; of models", needed=True),
    _column("cost", Double, "0 without prices", needed=True),
    comment="Figures of a day: of each flow, type of component in it, and model.",
)
Index("daily_day_kind", daily.c.day, daily.c.kind)

days = Table(
    "days",
    metadata,
    _column("day", Date, "in UTC", needed=True),
    _column("changes", BigInteger, "batches that had new rows of it", needed=True),
    _column("rolled_up", BigInteger, "of these, those that daily counts", needed=True),
    PrimaryKeyConstraint("day"),
    comment="Which days have rows, and whether daily counts all of them.",
)
version_table = Table(
    "langflow_otel_schema",
    metadata,
    _column("version", Integer, "of these tables", needed=True),
    comment="Written by langflow-otel store.",
)
# A run is looked up by its trace id, without its time.
Index("runs_trace_id", runs.c.trace_id)

"""Rows of the database's tables, made of spans."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from langflow_otel import _semconv as semconv
from langflow_otel.insights._reading.content_attributes import is_content
from langflow_otel.insights._store.schema import RAW_TABLES, errors, retries

_MOST_COUNTED: Final = 10**10
"""More is no count of anything, and sums of such would not fit into a column."""
_COUNTS: Final = ("input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens", "retries", "loop_index")
_CALLS: Final = ("model", "embeddings")
_TYPES: Final = {
    "TEXT": pa.string(),
    "BIGINT": pa.int64(),
    "DOUBLE": pa.float64(),
    "BOOLEAN": pa.bool_(),
    "DATETIME": pa.timestamp("us"),
}
_SCHEMAS: Final = {
    table.name: pa.schema([(column.name, _TYPES[str(column.type)]) for column in table.columns]) for table in RAW_TABLES
}


def rows_of(spans: pa.Table, *, content: bool = False) -> dict[str, pa.Table]:
    """The rows of each table, by its name; none of a table without rows.

    Args:
        spans: As :data:`langflow_otel.insights._reading.span_table.SCHEMA`.
        content: With what was recorded of messages, inputs and outputs.
    """
    what, status = spans["what"], spans["status"]
    is_run, is_agent = pc.equal(what, "flow"), pc.equal(what, "agent")
    is_component = pc.or_(pc.equal(what, "component"), is_agent)
    # As langflow-otel usage counts: a component has a model where the calls that it makes have no spans.
    has_model = pc.and_(pc.is_valid(spans["model"]), pc.invert(pc.or_(is_run, is_agent)))
    is_call = pc.or_(has_model, pc.is_in(what, pa.array(_CALLS)))
    chosen = {"runs": is_run, "components": is_component, "model_calls": is_call}
    rows = {name: _ended(name, spans.filter(mask), content=content) for name, mask in chosen.items()}
    rows["retries"] = _made(retries.name, _retries(spans.filter(pc.greater(spans["retries"], 0))))
    rows["errors"] = _made(errors.name, _errors(spans.filter(pc.equal(status, "error")), content=content))
    return {name: each for name, each in rows.items() if each.num_rows}


def _ended(name: str, spans: pa.Table, *, content: bool) -> pa.Table:
    """The rows of a table whose columns are those of spans."""
    made = {
        "start_time": _moments(spans["start_ns"]),
        "end_time": _moments(spans["end_ns"]),
        "duration_s": pc.divide(spans["duration_ns"].cast(pa.float64()), 1e9),
        "is_sub_run": pc.fill_null(pc.equal(spans["entry_point"], "flow"), False),
        "kind": pc.if_else(pc.is_in(spans["what"], pa.array(_CALLS)), spans["what"], "component"),
        "time_to_first_chunk_s": _finite(spans["time_to_first_chunk"]),
        "cost": _finite(spans["cost"]),
        "content": pa.array([_content(each) for each in spans["attributes"].to_pylist()], pa.string())
        if content
        else pa.nulls(spans.num_rows, pa.string()),
    }
    return pa.table([made.get(each, _clean(spans, each)) for each in _SCHEMAS[name].names], schema=_SCHEMAS[name])


def _clean(spans: pa.Table, name: str) -> pa.ChunkedArray:
    """A column's values as every database can hold them; null where spans have no such column."""
    if name not in spans.column_names:
        return pa.nulls(spans.num_rows)
    values = spans[name]
    if pa.types.is_string(values.type):
        # PostgreSQL has no character 0.
        return pc.replace_substring(values, "\0", "\ufffd")
    if name in _COUNTS:
        is_count = pc.and_(pc.greater_equal(values, 0), pc.less_equal(values, _MOST_COUNTED))
        return pc.if_else(is_count, values, None)
    return values


def _moments(nanoseconds: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.divide(nanoseconds, 1000).cast(pa.timestamp("us"))


def _finite(values: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.if_else(pc.is_finite(values), values, None)


def _content(attributes: list[tuple[str, str | None]]) -> str | None:
    found = {name: text for name, text in attributes if text is not None and is_content(name, text)}
    return json.dumps(found, ensure_ascii=False).replace("\\u0000", "\ufffd") if found else None


def _made(name: str, rows: Iterator[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=_SCHEMAS[name])


def _row(span: dict[str, Any], **more: Any) -> dict[str, Any]:
    """The columns that a span's row has by the same name, and these."""
    texts = {name: text.replace("\0", "\ufffd") if isinstance(text, str) else text for name, text in span.items()}
    return {**texts, "start_time": span["start_ns"] // 1000, **more}


def _retries(spans: pa.Table) -> Iterator[dict[str, Any]]:
    for span in spans.to_pylist():
        if span["what"] in _CALLS:
            if span["retries"] <= _MOST_COUNTED:
                yield _row(span, number=0, count=span["retries"], kind="model")
            continue
        events = [each for each in span["events"] if each["name"] == semconv.COMPONENT_RETRY]
        for number, event in enumerate(events, 1):
            yield _row(span, number=number, count=1, kind="component", **_of_retry(event))


def _of_retry(event: dict[str, Any]) -> dict[str, Any]:
    attributes = dict(event["attributes"])
    try:
        delay_s = float(attributes.get(semconv.RETRY_DELAY) or "nan")
    except ValueError:
        delay_s = float("nan")
    return {
        "start_time": event["time_ns"] // 1000,
        "delay_s": delay_s if 0 <= delay_s < float("inf") else None,
        "error_type": (attributes.get(semconv.ERROR_TYPE) or "").replace("\0", "\ufffd") or None,
    }


def _errors(spans: pa.Table, *, content: bool) -> Iterator[dict[str, Any]]:
    for span in spans.to_pylist():
        names = {name for name, _ in span["attributes"]}
        is_request = span["what"] == "other" and not names.isdisjoint((semconv.HTTP_REQUEST_METHOD, "http.method"))
        kind = "http_request" if is_request else span["what"]
        yield _row(span, kind=kind, message=_message(span) if content else None)


def _message(span: dict[str, Any]) -> str | None:
    for event in span["events"]:
        text = dict(event["attributes"]).get(semconv.EXCEPTION_MESSAGE)
        if event["name"] == semconv.EXCEPTION and text:
            return str(text).replace("\0", "\ufffd")
    message = span["status_message"]
    return message.replace("\0", "\ufffd") if message else None

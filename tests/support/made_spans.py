"""Spans made by hand, in the views that the analysis asks."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from langflow_otel.insights._reading.span_columns import FLOAT_COLUMNS, INTEGER_COLUMNS, INTERNAL_COLUMNS, TEXT_COLUMNS
from langflow_otel.insights._reading.span_table import SCHEMA
from langflow_otel.insights._reading.span_views import add_runs

START_NS = 1_800_000_000_000_000_000


@dataclass
class MadeSpan:
    """A span of ``Traces``, to hang others below."""

    traces: MadeTraces
    row: dict[str, Any]

    def add(self, name: str, start_s: float, duration_s: float, *, what: str = "component", **columns: Any) -> MadeSpan:
        """A child; its start is seconds after the run's."""
        inherited = {key: self.row[key] for key in ("flow_name", "flow_id", "instance", "service")}
        if what in ("component", "agent"):
            label = name.partition(" ")[2] or name
            columns = {"component_id": f"{label}-1", "component_name": label, "component_kind": "other", **columns}
        if what == "flow":
            inherited = {"flow_name": name.partition(" ")[2], "instance": self.row["instance"]}
            columns = {"entry_point": "sdk" if self.row["what"] == "request" else "flow", **columns}
        return self.traces.make(
            name,
            self.traces.run_start_ns + round(start_s * 1e9),
            duration_s,
            what=what,
            parent_id=self.row["span_id"],
            trace_id=self.row["trace_id"],
            **{**inherited, **columns},
        )

    @property
    def trace_id(self) -> str:
        return self.row["trace_id"]


@dataclass
class MadeTraces:
    """Runs of flows, one after the other."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    run_start_ns: int = START_NS

    def run(self, duration_s: float, *, flow: str = "shop", at_s: float | None = None, **columns: Any) -> MadeSpan:
        """A run; without ``at_s`` (seconds after the first) it begins a minute after the one before."""
        started = any(row["what"] == "flow" for row in self.rows)
        if at_s is not None:
            self.run_start_ns = START_NS + round(at_s * 1e9)
        elif started:
            self.run_start_ns += 60_000_000_000
        columns = {
            "entry_point": "api",
            "flow_name": flow,
            "flow_id": f"{flow}-id",
            "instance": "one",
            "service": "langflow",
            **columns,
        }
        return self.make(f"invoke_workflow {flow}", self.run_start_ns, duration_s, what="flow", **columns)

    def make(self, name: str, start_ns: int, duration_s: float, **columns: Any) -> MadeSpan:
        """A span with these columns; the rest is what a span in good order has."""
        number = len(self.rows) + 1
        duration_ns = round(duration_s * 1e9)
        row: dict[str, Any] = {field.name: None for field in SCHEMA}
        row.update(
            trace_id=f"{number:032x}",
            span_id=f"{number:016x}",
            scope="langflow_otel",
            name=name,
            span_kind="INTERNAL",
            start_ns=start_ns,
            end_ns=start_ns + duration_ns,
            duration_ns=duration_ns,
            status="ok",
            attributes={},
            resource={},
            events=[],
            links=[],
        )
        row.update(columns)
        self.rows.append(row)
        return MadeSpan(self, row)

    def write(self, path: Path) -> Path:
        """The same as a file of OTLP JSON lines, one span a line."""
        path.write_text("".join(f"{json.dumps(_otlp(row))}\n" for row in self.rows), "utf-8")
        return path

    def connect(self) -> Any:
        """A connection with the views ``spans`` and ``runs``."""
        connection = duckdb.connect()
        rows = [{**row, "attributes": {key: str(each) for key, each in _attributes(row).items()}} for row in self.rows]
        connection.register("made", pa.Table.from_pylist(rows, schema=SCHEMA))
        connection.execute(f"CREATE TABLE spans AS SELECT * EXCLUDE ({', '.join(INTERNAL_COLUMNS)}) FROM made")
        add_runs(connection)
        return connection


def _attributes(row: dict[str, Any]) -> dict[str, Any]:
    """What the columns are made of, and the others."""
    columns = {**TEXT_COLUMNS, **INTEGER_COLUMNS, **FLOAT_COLUMNS}
    attributes = {names[0]: row[column] for column, names in columns.items() if row[column] is not None}
    operations = {"flow": "invoke_workflow", "agent": "invoke_agent", "tool": "execute_tool", "model": "chat"}
    if row["what"] in operations:
        attributes["gen_ai.operation.name"] = operations[row["what"]]
    return {**attributes, "langflow.status": row["status"], **row["attributes"]}


def _otlp(row: dict[str, Any]) -> dict[str, Any]:
    resource = {"service.name": row["service"], "service.instance.id": row["instance"], **row["resource"]}
    span = {
        "traceId": row["trace_id"],
        "spanId": row["span_id"],
        "parentSpanId": row["parent_id"] or "",
        "name": row["name"],
        "kind": 1,
        "startTimeUnixNano": str(row["start_ns"]),
        "endTimeUnixNano": str(row["end_ns"]),
        "attributes": _key_values(_attributes(row)),
        "events": [
            {"name": each["name"], "timeUnixNano": str(each["time_ns"]), "attributes": _key_values(each["attributes"])}
            for each in row["events"]
        ],
        "status": {"code": 2} if row["status"] == "error" else {},
    }
    scope_spans = {"scope": {"name": row["scope"]}, "spans": [span]}
    return {"resourceSpans": [{"resource": {"attributes": _key_values(resource)}, "scopeSpans": [scope_spans]}]}


def _key_values(attributes: dict[str, Any]) -> list[dict[str, Any]]:
    kinds = {str: "stringValue", int: "intValue", float: "doubleValue"}
    return [
        {"key": key, "value": {kinds[type(value)]: str(value) if isinstance(value, int) else value}}
        for key, value in attributes.items()
        if value is not None
    ]

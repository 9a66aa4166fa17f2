"""Spans of trace files in the formats of other programs: flame graphs, timelines, tables.

A name out of a trace file becomes neither a control code of a terminal nor a formula of a spreadsheet.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TextIO

from langflow_otel.insights.flames import Frame, flame_graph
from langflow_otel.insights.selection import EVERY_RUN, Selection

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_BATCH: Final = 1000
_UNSEEN: Final = r"\x00-\x1f\x7f-\x9f\x{061c}\x{200e}\x{200f}\x{2028}-\x{202e}\x{2066}-\x{2069}"
"""Codes that control a terminal, or the direction of text, as RE2 writes them."""
_UNSEEN_IN_JSON: Final = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_FORMULA: Final = "=+@\\-\uff1d\uff0b\uff20\uff0d"
"""What a cell of a spreadsheet begins with if it is a formula, full-width forms included."""
_SPEEDSCOPE_SCHEMA: Final = "https://www.speedscope.app/file-format-schema.json"


def write_collapsed(connection: DuckDBPyConnection, file: TextIO, selection: Selection = EVERY_RUN) -> None:
    """A line a stack, ``run;component;call 1234``, for flamegraph.pl and others: microseconds of its own time,
    summed over the runs."""
    for stack, self_us in _stacks(flame_graph(connection, selection)):
        # What separates stacks and counts.
        names = ";".join(_frame_name(each) for each in stack)
        file.write(f"{names} {self_us}\n")


def _frame_name(name: str) -> str:
    return "".join(sign if sign.isprintable() and sign != ";" else " " for sign in name).strip() or "(no name)"


def write_speedscope(connection: DuckDBPyConnection, file: TextIO, selection: Selection = EVERY_RUN) -> None:
    """The same for https://www.speedscope.app, as one profile of all runs."""
    numbers: dict[str, int] = {}
    samples, weights = [], []
    for stack, self_us in _stacks(flame_graph(connection, selection)):
        samples.append([numbers.setdefault(name, len(numbers)) for name in stack])
        weights.append(self_us)
    profile = {
        "type": "sampled",
        "name": "all runs",
        "unit": "microseconds",
        "startValue": 0,
        "endValue": sum(weights),
        "samples": samples,
        "weights": weights,
    }
    frames = [{"name": name} for name in numbers]
    json.dump(
        {
            "$schema": _SPEEDSCOPE_SCHEMA,
            "exporter": "langflow-otel",
            "name": "langflow-otel",
            "shared": {"frames": frames},
            "profiles": [profile],
        },
        file,
    )


def _stacks(root: Frame) -> Iterator[tuple[list[str], int]]:
    """Each path of names with its own time in microseconds, where there is any."""
    waiting = [([child.name], child) for child in reversed(root.children)]
    while waiting:
        stack, frame = waiting.pop()
        self_us = round(frame.self_s * 1e6)
        if self_us > 0:
            yield stack, self_us
        waiting += [([*stack, child.name], child) for child in reversed(frame.children)]


def write_perfetto(connection: DuckDBPyConnection, file: TextIO, selection: Selection = EVERY_RUN) -> None:
    """A timeline for https://ui.perfetto.dev and ``chrome://tracing``: a process for each trace, and as many tracks in
    it as spans ran at once. Times are microseconds since the first span."""
    chosen, parameters = selection.chosen()
    bounds = f"SELECT min(start_ns) FROM spans WHERE trace_id IN (SELECT trace_id FROM ({chosen}))"
    first_ns = connection.execute(bounds, parameters).fetchall()[0][0] or 0
    query = f"""
        SELECT trace_id, span_id, parent_id, name, what, status, start_ns, end_ns, attributes FROM spans
        WHERE trace_id IN (SELECT trace_id FROM ({chosen})) ORDER BY trace_id, start_ns, end_ns DESC
    """
    head = {"displayTimeUnit": "ms", "otherData": {"start_ns": str(first_ns)}}
    file.write(json.dumps(head)[:-1] + ', "traceEvents": [')
    separator = ""
    spans = _fetched(connection.execute(query, parameters))
    for process, (trace_id, of_trace) in enumerate(groupby(spans, key=lambda each: each["trace_id"]), 1):
        for event in _trace_events(process, trace_id, of_trace, first_ns):
            file.write(separator + json.dumps(event))
            separator = ",\n"
    file.write("]}\n")


def _fetched(result: Any) -> Iterator[dict[str, Any]]:
    names = [column[0] for column in result.description]
    while batch := result.fetchmany(_BATCH):
        for row in batch:
            yield dict(zip(names, row, strict=True))


def _trace_events(
    process: int, trace_id: str, spans: Iterator[dict[str, Any]], first_ns: int
) -> Iterator[dict[str, Any]]:
    yield {"ph": "M", "name": "process_name", "pid": process, "args": {"name": f"trace {trace_id}"}}
    tracks = _Tracks()
    for span in spans:
        yield {
            "ph": "X",
            "name": span["name"],
            "cat": span["what"],
            "pid": process,
            "tid": tracks.place(span),
            "ts": (span["start_ns"] - first_ns) / 1000,
            "dur": (span["end_ns"] - span["start_ns"]) / 1000,
            "args": {"span_id": span["span_id"], "status": span["status"], **span["attributes"]},
        }


class _Tracks:
    """On one track a span lies within another only if that is its parent."""

    def __init__(self) -> None:
        self._open: list[list[tuple[int, str]]] = []
        self._track_of: dict[str, int] = {}

    def place(self, span: dict[str, Any]) -> int:
        """The number of its track, from 1. Spans come in the order of their starts."""
        parent = span["parent_id"]
        of_parent = self._track_of.get(parent)
        numbers = range(len(self._open))
        for number in numbers if of_parent is None else (of_parent, *numbers):
            open_spans = self._open[number]
            while open_spans and open_spans[-1][0] <= span["start_ns"]:
                open_spans.pop()
            if not open_spans or (open_spans[-1][1] == parent and open_spans[-1][0] >= span["end_ns"]):
                break
        else:
            number = len(self._open)
            self._open.append([])
        self._open[number].append((span["end_ns"], span["span_id"]))
        self._track_of[span["span_id"]] = number
        return number + 1


def write_csv(connection: DuckDBPyConnection, path: Path, selection: Selection = EVERY_RUN) -> None:
    """A row a span, with a heading; attributes, events and links as JSON.

    Control codes become spaces, and a text that a spreadsheet would take for a formula begins with ``'``. A direction
    mark is a control code.
    """
    description = connection.execute("SELECT column_name, column_type FROM (DESCRIBE spans)").fetchall()
    columns = ", ".join(f'{_cell(name, kind)} AS "{name}"' for name, kind in description)
    _copy(connection, f"SELECT {columns} FROM spans", path, "FORMAT csv, HEADER", selection)


def _cell(name: str, kind: str) -> str:
    if kind in ("BIGINT", "DOUBLE", "BOOLEAN"):
        return f'"{name}"'
    text = f'"{name}"' if kind == "VARCHAR" else f'to_json("{name}")::VARCHAR'
    plain = rf"regexp_replace({text}, '[{_UNSEEN}]', ' ', 'g')"
    return f"regexp_replace({plain}, '^\\s*[{_FORMULA}]', '''\\0')"


def write_json(connection: DuckDBPyConnection, path: Path, selection: Selection = EVERY_RUN) -> None:
    """A span a line, as a JSON object with the columns of the view ``spans``; control codes are escaped."""
    raw = path.with_name(f"{path.name}.raw")
    _copy(connection, "SELECT * FROM spans", raw, "FORMAT json", selection)
    with raw.open(encoding="utf-8", newline="\n") as lines, path.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(_UNSEEN_IN_JSON.sub(lambda sign: f"\\u{ord(sign[0]):04x}", line) for line in lines)
    raw.unlink()


def write_parquet(connection: DuckDBPyConnection, path: Path, selection: Selection = EVERY_RUN) -> None:
    """The view ``spans`` as a Parquet file."""
    _copy(connection, "SELECT * FROM spans", path, "FORMAT parquet, COMPRESSION zstd", selection)


def _copy(connection: DuckDBPyConnection, query: str, path: Path, options: str, selection: Selection) -> None:
    parameters: dict[str, Any] = {}
    if selection != EVERY_RUN:
        chosen, parameters = selection.chosen()
        query += f" WHERE trace_id IN (SELECT trace_id FROM ({chosen}))"
    target = str(path).replace("'", "''")
    connection.execute(f"COPY ({query}) TO '{target}' ({options})", parameters).fetchall()


TEXT_FORMATS: Final = {
    "speedscope": write_speedscope,
    "collapsed": write_collapsed,
    "perfetto": write_perfetto,
}
TABLE_FORMATS: Final = {
    "csv": write_csv,
    "json": write_json,
    "parquet": write_parquet,
}

"""The runs of which the page has every span: which these are, and how they are written."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from langflow_otel import _semconv as semconv
from langflow_otel.insights._report.tables import Strings
from langflow_otel.insights.critical_path import critical_path
from langflow_otel.insights.selection import Selection, ask, rows
from langflow_otel.insights.trace import TraceSpan, tree_of

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

MAX_TRACES = 300
MAX_SPANS = 40_000
"""Of all these traces together."""
MAX_SPANS_OF_A_TRACE = 2_000
MAX_TEXT = 100_000
"""Characters of a value; the page would not open with one of a hundred megabytes."""
_EACH = 60
_OF_EACH_FLOW = 6

_INTERESTING = f"""
    , named AS (SELECT *, coalesce(flow_name, flow_id) AS flow FROM chosen),
    ranked AS (
        SELECT trace_id, start_ns, status,
            row_number() OVER (ORDER BY duration_ns DESC, start_ns DESC, span_id) AS slowest,
            row_number() OVER (ORDER BY start_ns DESC, span_id) AS newest,
            row_number() OVER (PARTITION BY status = 'error' ORDER BY start_ns DESC, span_id) AS of_status,
            row_number() OVER (of_flow ORDER BY duration_ns DESC, start_ns DESC, span_id) AS slowest_of_flow,
            row_number() OVER (of_flow ORDER BY start_ns DESC, span_id) AS newest_of_flow,
            abs(percent_rank() OVER (of_flow ORDER BY duration_ns) - 0.5) AS off_median
        FROM named WINDOW of_flow AS (PARTITION BY flow, flow_version)
    )
    SELECT trace_id, min(CASE
        WHEN newest <= 10 OR slowest <= 10 THEN 0
        WHEN slowest_of_flow <= 2 OR newest_of_flow <= 2 OR off_median < 0.005 AND newest_of_flow <= 2000 THEN 1
        WHEN status = 'error' AND of_status <= {_EACH} OR slowest <= {_EACH} OR newest <= {_EACH} THEN 2
        WHEN slowest_of_flow <= {_OF_EACH_FLOW} OR newest_of_flow <= {_OF_EACH_FLOW} THEN 3
        ELSE 4 END) AS rank, max(start_ns) AS start_ns
    FROM ranked GROUP BY trace_id ORDER BY rank, start_ns DESC, trace_id LIMIT {MAX_TRACES}
"""


# The start spares reading what lies long before.
_THESE = "trace_id IN (SELECT unnest($ids::VARCHAR[])) AND start_ns >= $from_ns"
_BEFORE_NS = 2 * 3600 * 10**9


def _from_ns(shown: Selection) -> int:
    """Spans above a run may begin before it."""
    return (shown.since_ns or 0) - _BEFORE_NS


def interesting_traces(connection: DuckDBPyConnection, shown: Selection, samples: Iterable[str]) -> list[str]:
    """Trace ids of the newest, slowest and failed runs, of some of each flow and version, and these samples."""
    found = ask(connection, shown, _INTERESTING)
    chosen = list(dict.fromkeys([*samples, *(row["trace_id"] for row in found)]))[:MAX_TRACES]
    counts = rows(
        connection,
        f"SELECT trace_id, count(*) AS spans FROM spans WHERE {_THESE} GROUP BY ALL",
        {"ids": chosen, "from_ns": _from_ns(shown)},
    )
    sizes = {row["trace_id"]: min(row["spans"], MAX_SPANS_OF_A_TRACE) for row in counts}
    kept, spans = [], 0
    for trace_id in chosen:
        spans += sizes.get(trace_id, 0)
        if spans <= MAX_SPANS:
            kept.append(trace_id)
    return kept


def written_traces(connection: DuckDBPyConnection, shown: Selection, trace_ids: Sequence[str]) -> list[dict[str, Any]]:
    """All that is known of these traces, in their order."""
    found = connection.execute(
        f"""
        SELECT trace_id, span_id, parent_id, scope, name, what, status, start_ns, duration_ns, attributes, resource,
            events, links
        FROM spans WHERE {_THESE} ORDER BY trace_id, start_ns, span_id
        """,
        {"ids": list(trace_ids), "from_ns": _from_ns(shown)},
    )
    by_trace: dict[str, list[dict[str, Any]]] = defaultdict(list)
    names = [column[0] for column in found.description or ()]
    for row in found.fetchall():
        by_trace[row[0]].append(dict(zip(names, row, strict=True)))
    return [_written(trace_id, by_trace[trace_id]) for trace_id in trace_ids]


def _written(trace_id: str, all_spans: list[dict[str, Any]]) -> dict[str, Any]:
    spans = _longest(all_spans)
    strings = Strings()
    strings.place("ok")
    places = {span["span_id"]: place for place, span in enumerate(spans)}
    root = next((place for place, span in enumerate(spans) if span["what"] == "flow"), 0)
    start_ns = min(span["start_ns"] for span in spans)
    resources: dict[str, int] = {}
    kept: list[list[int]] = []
    for span in spans:
        key = repr(span["resource"])
        if key not in resources:
            resources[key] = len(kept)
            kept.append(_pairs(span["resource"], strings))
    return {
        "id": trace_id,
        "start_ms": start_ns // 1_000_000,
        "root": root,
        "left_out": len(all_spans) - len(spans),
        "path": _path(all_spans, spans[root]["span_id"], places, start_ns),
        "resources": kept,
        "spans": {
            "id": [span["span_id"] for span in spans],
            "parent": [places.get(span["parent_id"], -1) for span in spans],
            "name": [strings.place(span["name"] or "(no name)") for span in spans],
            "what": [strings.place(span["what"]) for span in spans],
            "status": [strings.place(span["status"]) for span in spans],
            "start": [(span["start_ns"] - start_ns) // 1000 for span in spans],
            "duration": [max(0, span["duration_ns"]) // 1000 for span in spans],
            "attributes": [_pairs(span["attributes"], strings) for span in spans],
            "events": [
                [
                    [strings.place(event["name"] or "(no name)"), (event["time_ns"] - start_ns) // 1000,
                     _pairs(event["attributes"], strings)]
                    for event in span["events"] or ()
                ]
                for span in spans
            ],
            "links": [[[link["trace_id"], link["span_id"]] for link in span["links"] or ()] for span in spans],
            "resource": [resources[repr(span["resource"])] for span in spans],
        },
        "strings": strings.all,
    }  # fmt: skip


def _pairs(attributes: dict[str, str | None] | None, strings: Strings) -> list[int]:
    """Name, value, name, value."""
    return [
        place
        for name, value in (attributes or {}).items()
        for place in (strings.place(name), strings.place(_cut(value)))
    ]


def _cut(value: str | None) -> str | None:
    if value is None or len(value) <= MAX_TEXT:
        return value
    return f"{value[:MAX_TEXT]}... ({len(value):,} characters; all of them are in the trace file)"


def _longest(spans: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """As many of the longest spans as the page holds, with those around them, in the order of time."""
    if len(spans) <= MAX_SPANS_OF_A_TRACE:
        return spans
    by_id = {span["span_id"]: span for span in spans}
    kept: set[str] = set()
    for span in sorted(spans, key=lambda each: -each["duration_ns"]):
        around: list[str] = []
        above: dict[str, Any] | None = span
        while above is not None and above["span_id"] not in kept and above["span_id"] not in around:
            around.append(above["span_id"])
            above = by_id.get(above["parent_id"])
        if len(kept) + len(around) <= MAX_SPANS_OF_A_TRACE:
            kept.update(around)
    return [span for span in spans if span["span_id"] in kept]


def _path(
    spans: list[dict[str, Any]], root_id: str, places: dict[str, int], start_ns: int
) -> list[tuple[int, int, int]]:
    """The critical path of the run: place of the span, from, to; microseconds after the trace's start.

    LangFlow's own span of a run lies beside our components and takes as long as they do: what is below it is moved to
    its parent, and it is left out.
    """
    native = {span["span_id"]: span["parent_id"] for span in spans if span["scope"] == semconv.LANGFLOW_SCOPE}
    tree = [
        TraceSpan(
            name=span["name"],
            trace_id=span["trace_id"],
            span_id=span["span_id"],
            parent_id=native.get(span["parent_id"], span["parent_id"]),
            start_ns=span["start_ns"],
            end_ns=span["start_ns"] + max(0, span["duration_ns"]),
        )
        for span in spans
        if span["span_id"] not in native
    ]
    root = tree_of(tree, root_id)
    return [
        (places[part.span.span_id], (part.start_ns - start_ns) // 1000, (part.end_ns - start_ns) // 1000)
        for part in critical_path(root)
        if part.span.span_id in places
    ]

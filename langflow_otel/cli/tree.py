"""``langflow-otel tree``: one trace of a trace file in the terminal."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NoReturn

import typer
from rich.console import Console

from langflow_otel import _semconv as semconv
from langflow_otel.cli.choosing import trace_and_paths, trace_id_of
from langflow_otel.cli.console import give_up, heading, make_console, printable, say, shortened
from langflow_otel.cli.opened_traces import chosen_paths, opened_traces, problem_lines
from langflow_otel.cli.tree_view import tree_view
from langflow_otel.insights._reading.otlp_lines import Problems
from langflow_otel.insights._reading.trace_search import LongLineError, last_trace_id, spans_of_trace
from langflow_otel.insights._reading.trace_sources import trace_files
from langflow_otel.insights.selection import FAILED, LAST, SLOWEST
from langflow_otel.insights.trace import TraceSpan, build_trees, without_scope


def tree(which: str, paths: Sequence[Path], *, as_json: bool) -> None:
    """Show the trace with this id, or the one that ended last, took longest or failed last."""
    which, paths = trace_and_paths(which, paths)
    roots = None if which in (SLOWEST, FAILED) else _by_search(which, paths)
    if roots is None:
        roots = _by_query(which, paths, as_json=as_json)
    if as_json:
        typer.echo(json.dumps([_as_json(root) for root in roots], indent=2))
    else:
        _show(roots, make_console())


def _by_query(which: str, paths: Sequence[Path], *, as_json: bool) -> list[TraceSpan]:
    with opened_traces(paths) as traces:
        return traces.trace(trace_id_of(traces, which, nothing="[]" if as_json else None))


def _by_search(which: str, paths: Sequence[Path]) -> list[TraceSpan] | None:
    """Without reading all: a file of 64 MiB takes less than a second. None if a line is too long for that."""
    chosen = chosen_paths(paths)
    of_last, of_trace = Problems(), Problems()
    try:
        files = trace_files(chosen)
        trace_id = last_trace_id(files, of_last) if which == LAST else which
        spans = spans_of_trace(files, trace_id, of_trace) if trace_id else []
    except LongLineError:
        return None
    except OSError as exc:
        give_up(f"{printable(exc.filename or 'a trace file')} cannot be read: {exc.strerror or exc}")
    # The same lines may have been looked at for both.
    for line in problem_lines(Problems(of_last.lines | of_trace.lines, of_last.spans | of_trace.spans)):
        say(f"warning: {line}")
    if not spans:
        _not_found(which, chosen)
    traces = {span.trace_id for span in spans}
    if len(traces) > 1:
        give_up(f"{len(traces)} traces begin with {which}: give more digits")
    return build_trees(spans)


def _not_found(which: str, paths: Sequence[Path]) -> NoReturn:
    names = ", ".join(printable(path) for path in paths)
    give_up(f"{names}: no spans" if which == LAST else f"{names}: there is no trace {which}")


def _show(roots: list[TraceSpan], console: Console) -> None:
    spans = [span for root in roots for span in root.walk()]
    # LangFlow's own span of a run adds a line and no facts.
    shown = build_trees(without_scope(spans, semconv.LANGFLOW_SCOPE))
    started = datetime.fromtimestamp(min(span.start_ns for span in spans) / 1e9, timezone.utc)
    heading(console, f"trace {spans[0].trace_id}", f"{started:%Y-%m-%d %H:%M:%S} UTC")
    for root in shown:
        if root.parent_id is not None:
            say(f"the span above {shortened(printable(root.name))} is not in the files")
        console.print(tree_view(root, console), soft_wrap=True)


def _as_json(span: TraceSpan) -> dict[str, Any]:
    return {
        "name": span.name,
        "trace_id": span.trace_id,
        "span_id": span.span_id,
        "parent_id": span.parent_id,
        "scope": span.scope,
        "start_ns": span.start_ns,
        "end_ns": span.end_ns,
        "status": span.status,
        "attributes": span.attributes,
        "events": [{"name": each.name, "time_ns": each.time_ns, "attributes": each.attributes} for each in span.events],
        "children": [_as_json(child) for child in span.children],
    }

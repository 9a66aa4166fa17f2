"""``langflow-otel why``: why a run was slow or failed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import typer

from langflow_otel.cli.choosing import trace_and_paths, trace_id_of
from langflow_otel.cli.console import make_console
from langflow_otel.cli.opened_traces import opened_traces
from langflow_otel.cli.why_view import as_json as explanation_as_json
from langflow_otel.cli.why_view import show
from langflow_otel.insights.why import explain


def why(which: str, paths: Sequence[Path], *, as_json: bool) -> None:
    """Explain the run in the trace with this id, or the one that ended last, took longest or failed last."""
    which, paths = trace_and_paths(which, paths)
    with opened_traces(paths) as traces:
        trace_id = trace_id_of(traces, which, nothing="null" if as_json else None)
        explanation = explain(traces.connection, trace_id)
    if as_json:
        typer.echo(json.dumps(explanation_as_json(explanation), indent=2))
    else:
        show(explanation, make_console())

"""``langflow-otel why``: why a run was slow or failed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import typer

from langflow_otel.cli.console import give_up, make_console, printable
from langflow_otel.cli.opened_traces import opened_traces
from langflow_otel.cli.why_view import as_json as explanation_as_json
from langflow_otel.cli.why_view import show


def why(which: str, paths: Sequence[Path], *, as_json: bool) -> None:
    """Explain the run in the trace with this id, or the one that ended last, took longest or failed last."""
    if which not in ("last", "slowest", "failed") and Path(which).exists():
        which, paths = "last", [Path(which), *paths]
    with opened_traces(paths) as traces:
        from langflow_otel.insights.why import explain, find_trace

        try:
            explanation = explain(traces.connection, find_trace(traces.connection, which))
        except LookupError as exc:
            give_up(printable(exc.args[0]))
    if as_json:
        typer.echo(json.dumps(explanation_as_json(explanation), indent=2))
    else:
        show(explanation, make_console())

"""``langflow-otel estimate``: what a run of a flow will take, before it runs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import typer

from langflow_otel.cli import estimate_view
from langflow_otel.cli.choosing import note_if_none, since_ns_of
from langflow_otel.cli.console import give_up, make_console, printable
from langflow_otel.cli.opened_traces import opened_traces
from langflow_otel.insights._estimates.estimate import NoHistoryError, estimate
from langflow_otel.insights._estimates.execution_history import past_runs
from langflow_otel.insights._estimates.flow_graph import FlowFileError, FlowGraph, read_flow
from langflow_otel.insights.selection import Selection


def estimate_flow(flow: Path, paths: Sequence[Path], *, since: str | None, as_json: bool) -> None:
    """Print the estimate."""
    graph = loaded_flow(flow)
    selection = Selection(since_ns=since_ns_of(since))
    with opened_traces(paths) as traces:
        note_if_none(traces, selection, since)
        history = past_runs(traces.connection, selection)
    try:
        found = estimate(graph, history)
    except NoHistoryError as exc:
        give_up(f"{printable(flow)} cannot be estimated: {printable(exc.args[0])}")
    if as_json:
        typer.echo(json.dumps(estimate_view.as_json(found), indent=2))
    else:
        estimate_view.show(found, make_console())


def loaded_flow(path: Path) -> FlowGraph:
    """The flow of a file. What is none ends the command with exit code 2."""
    try:
        return read_flow(path)
    except OSError as exc:
        give_up(f"{printable(path)} cannot be read: {exc.strerror or exc}")
    except FlowFileError as exc:
        give_up(f"{printable(path)}: {exc}")

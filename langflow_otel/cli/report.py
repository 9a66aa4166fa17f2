"""``langflow-otel report``: what the trace files tell, as a page or as JSON."""

from __future__ import annotations

import json
import os
import re
import time
import webbrowser
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from langflow_otel.cli.console import give_up, printable, say
from langflow_otel.cli.opened_traces import opened_traces

if TYPE_CHECKING:
    from langflow_otel.insights.traces import Traces

_SINCE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([smhdw])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_MAX_FLOWS_NAMED = 10


def report(
    paths: Sequence[Path], *, flow: str | None, since: str | None, output: Path, open_it: bool, as_json: bool
) -> None:
    """Read the traces, and write the page, or print the figures.

    Args:
        since: Such as ``24h``; None for all runs.
    """
    since_ns = None if since is None else time.time_ns() - int(seconds_of(since) * 1_000_000_000)
    with opened_traces(paths) as traces:
        from langflow_otel.insights.report import build_report, render
        from langflow_otel.insights.selection import Selection

        if flow is not None:
            _check_flow(traces, flow)
        described = ", ".join(filter(None, (flow and f"the flow {flow}", since and f"the last {since}")))
        made = build_report(traces, Selection(flow=flow, since_ns=since_ns), described=described)
        if as_json:
            typer.echo(json.dumps(made.figures, indent=2))
            return
        page = render(made)
    _write(output, page)
    say(f"{printable(output)}: {made.figures['all']['runs']:,} runs, {len(page.encode()) / 2**20:.1f} MiB")
    if open_it:
        webbrowser.open(output.absolute().as_uri())


def seconds_of(since: str) -> float:
    """``30m``, ``24h``, ``7d`` in seconds. What is none of these ends the command with exit code 2."""
    found = _SINCE.fullmatch(since.strip())
    if found is None:
        give_up(f"--since {printable(since)}: a number and one of s, m, h, d, w is accepted, such as 24h")
    return float(found[1]) * _SECONDS[found[2]]


def _check_flow(traces: Traces, flow: str) -> None:
    found = traces.connection.execute(
        "SELECT flow_name, count(*), count(*) FILTER (flow_name = $flow OR flow_id = $flow) FROM runs "
        "GROUP BY flow_name ORDER BY 2 DESC",
        {"flow": flow},
    ).fetchall()
    if any(matching for _, _, matching in found):
        return
    names = ", ".join(printable(name) for name, _, _ in found[:_MAX_FLOWS_NAMED] if name)
    give_up(
        f"--flow {printable(flow)}: no run of it is in these files" + (f"; there are runs of {names}" if names else "")
    )


def _write(output: Path, page: str) -> None:
    """For its owner alone where it is new: prompts may be in it."""
    try:
        with os.fdopen(os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            file.write(page)
    except OSError as exc:
        give_up(f"{printable(output)} cannot be written: {exc.strerror}")

"""``langflow-otel report``: what trace files or metrics tell, as a page or as JSON."""

from __future__ import annotations

import json
import os
import webbrowser
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from langflow_otel.cli.console import BAD_INPUT, give_up, printable, say, shortened
from langflow_otel.cli.trace_input import (
    NEEDS_INSIGHTS,
    check_flow,
    note_if_none,
    opened_traces,
    seconds_of,
    since_ns_of,
    steps_bar,
)
from langflow_otel.insights.prometheus_source import PrometheusAccess, PrometheusError, PrometheusSource

if TYPE_CHECKING:
    from langflow_otel.insights._report import Report

_DEFAULT_SINCE = "24h"
_PROMETHEUS_TIMEOUT_S = 60.0
"""Figures of weeks take a Prometheus longer than those that ``top`` asks for."""


@dataclass(frozen=True)
class Wanted:
    """What was asked for on the command line.

    Attributes:
        since: Such as ``24h``; None for all runs, or of metrics the last day.
        as_json: The figures on stdout, and no page.
    """

    flow: str | None
    since: str | None
    output: Path
    open_it: bool
    as_json: bool

    @property
    def described(self) -> str:
        """The selection in words."""
        parts = (self.flow and f"the flow {self.flow}", self.since and f"the last {self.since}")
        return ", ".join(filter(None, parts))


def report_of_traces(paths: Sequence[Path], wanted: Wanted) -> None:
    """Read the traces, and write the page, or print the figures."""
    since_ns = since_ns_of(wanted.since)
    with opened_traces(paths) as traces:
        from langflow_otel.insights._report import build_report
        from langflow_otel.insights.selection import Selection

        check_flow(traces, wanted.flow)
        selection = Selection(flow=wanted.flow, since_ns=since_ns)
        note_if_none(traces, selection, wanted.since)
        with steps_bar("making the page") as on_progress:
            made = build_report(traces, selection, described=wanted.described, on_progress=on_progress)
    _hand_out(made, wanted)


def report_of_metrics(
    url: str, token_file: Path | None, ca_file: Path | None, paths: Sequence[Path], wanted: Wanted
) -> None:
    """Ask a Prometheus, and do the same. What it does not answer ends the command with exit code 2 and one line."""
    if paths:
        give_up("either trace files or --prometheus: one report is of one of them")
    wanted = replace(wanted, since=wanted.since or _DEFAULT_SINCE)
    seconds = seconds_of(wanted.since or _DEFAULT_SINCE)
    from langflow_otel.insights._report.from_metrics import report_from_metrics

    try:
        access = PrometheusAccess.of(url, token_file=token_file, ca_file=ca_file)
        source = PrometheusSource(replace(access, timeout_s=_PROMETHEUS_TIMEOUT_S))
        with steps_bar("asking") as on_progress:
            made = report_from_metrics(
                source, seconds, flow=wanted.flow, described=wanted.described, on_progress=on_progress
            )
    except PrometheusError as exc:
        give_up(shortened(printable(exc)), BAD_INPUT)
    _hand_out(made, wanted)


def _hand_out(made: Report, wanted: Wanted) -> None:
    if wanted.as_json:
        typer.echo(json.dumps(made.figures, indent=2))
        return
    page = _rendered(made)
    _write(wanted.output, page)
    say(f"{printable(wanted.output)}: {made.figures['all']['runs']:,} runs, {len(page.encode()) / 2**20:.1f} MiB")
    if wanted.open_it:
        webbrowser.open(wanted.output.absolute().as_uri())


def _rendered(made: Report) -> str:
    from langflow_otel.insights._report import render

    try:
        return render(made)
    except ImportError as exc:
        give_up(NEEDS_INSIGHTS.format(exc.name))


def _write(output: Path, page: str) -> None:
    """For its owner alone where it is new: prompts may be in it."""
    try:
        with os.fdopen(os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            file.write(page)
    except OSError as exc:
        give_up(f"{printable(output)} cannot be written: {exc.strerror}")

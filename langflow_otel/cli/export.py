"""``langflow-otel export``: trace files for other programs."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from langflow_otel.cli.console import give_up, printable, shortened
from langflow_otel.cli.trace_input import check_flow, note_if_none, opened_traces, since_ns_of, steps_bar, trace_id_of
from langflow_otel.insights._exports import TABLE_FORMATS, TEXT_FORMATS
from langflow_otel.insights.selection import Selection

if TYPE_CHECKING:
    from langflow_otel.insights.traces import Traces

FORMATS = (*TEXT_FORMATS, *TABLE_FORMATS)


@dataclass(frozen=True)
class Wanted:
    """Which runs were asked for on the command line.

    Attributes:
        since: Such as ``24h``.
        trace: A trace id or its first digits, last, slowest or failed.
        newest: So many of these runs.
    """

    flow: str | None = None
    since: str | None = None
    trace: str | None = None
    newest: int | None = None


def export(paths: Sequence[Path], output_format: str, output: Path | None, wanted: Wanted) -> None:
    """Write the spans of these runs to a file, or to stdout."""
    if output_format not in FORMATS:
        give_up(f"--format {shortened(printable(output_format))}: accepted are {', '.join(FORMATS)}")
    if output is None and output_format == "parquet" and sys.stdout.isatty():
        give_up("Parquet is nothing for a terminal: name a file with -o")
    since_ns = since_ns_of(wanted.since)
    with opened_traces(paths) as traces, tempfile.TemporaryDirectory(prefix="langflow-otel-") as folder:
        selection = _selection(traces, wanted, since_ns)
        note_if_none(traces, selection, wanted.since)
        made = Path(folder) / "export"
        with steps_bar("writing"):
            if output_format in TEXT_FORMATS:
                with made.open("w", encoding="utf-8") as file:
                    TEXT_FORMATS[output_format](traces.connection, file, selection)
            else:
                TABLE_FORMATS[output_format](traces.connection, made, selection)
        _hand_out(made, output)


def _selection(traces: Traces, wanted: Wanted, since_ns: int | None) -> Selection:
    check_flow(traces, wanted.flow)
    trace_id = None if wanted.trace is None else trace_id_of(traces, wanted.trace, nothing=None)
    return Selection(
        flow=wanted.flow,
        since_ns=since_ns,
        trace_ids=None if trace_id is None else [trace_id],
        newest=wanted.newest,
    )


def _hand_out(made: Path, output: Path | None) -> None:
    if output is None:
        with made.open("rb") as file:
            shutil.copyfileobj(file, sys.stdout.buffer)
        return
    try:
        shutil.copyfile(made, output)
    except OSError as exc:
        give_up(f"{printable(output)} cannot be written: {exc.strerror or exc}")

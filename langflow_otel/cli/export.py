"""``langflow-otel export``: trace files for other programs."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from langflow_otel.cli.console import give_up, printable
from langflow_otel.cli.opened_traces import opened_traces
from langflow_otel.insights.exports import TABLE_FORMATS, TEXT_FORMATS
from langflow_otel.insights.selection import Selection

FORMATS = (*TEXT_FORMATS, *TABLE_FORMATS)


def export(paths: Sequence[Path], output_format: str, output: Path | None, selection: Selection) -> None:
    """Write the spans of these runs to a file, or to stdout."""
    if output_format not in FORMATS:
        give_up(f"--format {printable(output_format)}: accepted are {', '.join(FORMATS)}")
    if output is None and output_format == "parquet" and sys.stdout.isatty():
        give_up("Parquet is nothing for a terminal: name a file with -o")
    with opened_traces(paths) as traces, tempfile.TemporaryDirectory(prefix="langflow-otel-") as folder:
        made = Path(folder) / "export"
        if output_format in TEXT_FORMATS:
            with made.open("w", encoding="utf-8") as file:
                TEXT_FORMATS[output_format](traces.connection, file, selection)
        else:
            TABLE_FORMATS[output_format](traces.connection, made, selection)
        _hand_out(made, output)


def _hand_out(made: Path, output: Path | None) -> None:
    if output is None:
        with made.open("rb") as file:
            shutil.copyfileobj(file, sys.stdout.buffer)
        return
    try:
        shutil.copyfile(made, output)
    except OSError as exc:
        give_up(f"{printable(output)} cannot be written: {exc.strerror or exc}")

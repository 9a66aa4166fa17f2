"""The table of components: which one runs how often, how long, and takes which share of the time."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from langflow_otel.cli.console import glyphs_of, in_words, printable
from langflow_otel.insights.components import ComponentShare

_SHARE_BAR_WIDTH = 12


def stats_view(stats: Sequence[ComponentShare], console: Console) -> Table:
    """One row for each component; those that never ran are dim."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="dim")
    table.add_column("Component", no_wrap=True)
    for title in ("Runs", "Errors", "Skipped", "P50", "P95"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("Share of time", no_wrap=True)
    bar = glyphs_of(console).bar
    for each in stats:
        table.add_row(
            Text(printable(each.name)),
            str(each.count),
            Text(str(each.errors), "bold red" if each.errors else "dim"),
            str(each.skipped) if each.skipped else "",
            in_words(each.p50_s),
            in_words(each.p95_s),
            _share(each.share, bar),
            style=None if each.count else "dim",
        )
    return table


def _share(share: float, bar: str) -> Text:
    part = "<1%" if 0 < share < 0.005 else f"{share:.0%}"
    return Text(f"{part:>4} ").append(bar * round(share * _SHARE_BAR_WIDTH), "blue")

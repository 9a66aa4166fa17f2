"""What was used, as a table for terminals and as rows for spreadsheets."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import compress
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from langflow_otel.cli.console import in_money, printable
from langflow_otel.insights._usage.usage import OF_CALLS, TAG, IdleFlow, Usage, Use

_MAX_ROWS = 30
_FORMULA = re.compile(r"\s*[=+@-]")
_COLUMNS = (
    "runs",
    "failed",
    "seconds",
    "calls",
    "input_tokens",
    "output_tokens",
    "cached_tokens",
    "reasoning_tokens",
)


def usage_table(found: Usage) -> Table:
    """The first 30 keys, the rest of them as one row, and all together."""
    what = "calls" if found.by in OF_CALLS else "runs"
    total = _together("all", found.uses)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="dim", show_footer=len(found.uses) > 1)
    table.add_column(found.by.removeprefix(TAG), overflow="fold", footer="all")
    titles = ("runs", f"failed {what}", "time", "calls", "input", "output", "cached", "reasoning", "cost")
    is_shown = [bool(getattr(total, title + "_tokens", True)) for title in titles]
    footers = _cells(total, has_runs=found.by not in OF_CALLS)
    for title, text in compress(zip(titles, footers, strict=True), is_shown):
        table.add_column(title, justify="right", no_wrap=True, footer=text)
    shown, rest = found.uses[:_MAX_ROWS], found.uses[_MAX_ROWS:]
    for use in shown:
        table.add_row(Text(printable(use.key) or "(none)"), *compress(_cells(use), is_shown))
    if rest:
        cells = _cells(_together("", rest), has_runs=found.by not in OF_CALLS)
        table.add_row(Text(f"{len(rest):,} more", "dim"), *compress(cells, is_shown))
    return table


def _together(key: str, uses: Sequence[Use]) -> Use:
    total = Use(key)
    for use in uses:
        for name in (*_COLUMNS, "unpriced_calls"):
            setattr(total, name, getattr(total, name) + getattr(use, name))
        for currency, amount in use.cost.items():
            total.cost[currency] = total.cost.get(currency, 0.0) + amount
    return total


def _cells(use: Use, *, has_runs: bool = True) -> list[str]:
    """A run that called two models is a run of each: their sum is no number of runs."""
    cost = ", ".join(money(amount, currency) for currency, amount in sorted(use.cost.items()))
    return [
        f"{use.runs:,}" if has_runs else "",
        f"{use.failed:,}",
        duration(use.seconds),
        f"{use.calls:,}",
        tokens(use.input_tokens),
        tokens(use.output_tokens),
        tokens(use.cached_tokens),
        tokens(use.reasoning_tokens),
        (f"at least {cost}" if cost else "not known") if use.unpriced_calls else cost or "-",
    ]


def tokens(count: int) -> str:
    """``92,000``, ``458 k``, ``3.44 M``."""
    if count < 100_000:
        return f"{count:,}"
    return f"{count / 1000:.0f} k" if count < 999_500 else f"{count / 1e6:,.2f} M"


def duration(seconds: float) -> str:
    """``12 s``, ``3.5 min``, ``14.2 h``."""
    if seconds < 100:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.1f} min" if seconds < 6000 else f"{seconds / 3600:,.1f} h"


def money(amount: float, currency: str) -> str:
    return f"{in_money(amount)} {printable(currency)}"


def csv_rows(found: Usage) -> tuple[list[str], list[list[Any]]]:
    """A heading, and a row a key; a column for each currency."""
    currencies = list(found.cost)
    heading = [cell(found.by), *_COLUMNS, *(cell(f"cost_{currency}") for currency in currencies), "unpriced_calls"]
    return heading, [
        [
            cell(use.key),
            *(getattr(use, name) for name in _COLUMNS),
            *(use.cost.get(currency, 0) for currency in currencies),
            use.unpriced_calls,
        ]
        for use in found.uses
    ]


def cell(text: str) -> str:
    """Without control codes, and nothing that a spreadsheet takes for a formula."""
    plain = printable(text)
    return f"'{plain}" if _FORMULA.match(plain) else plain


def idle_table(found: Sequence[IdleFlow], days: Sequence[str], ages: Sequence[float]) -> Table:
    """Flows by their last run."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="dim")
    table.add_column("flow")
    table.add_column("id")
    for title in ("runs", "last run", "days ago"):
        table.add_column(title, justify="right", no_wrap=True)
    for each, day, age in zip(found, days, ages, strict=True):
        table.add_row(
            Text(printable(each.flow) or "(none)"),
            Text(printable(each.flow_id or "")),
            f"{each.runs:,}",
            day,
            f"{age:,.1f}",
        )
    return table

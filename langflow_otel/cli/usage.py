"""``langflow-otel usage``: what was used and what it cost, budgets, and flows that do not run any more."""

from __future__ import annotations

import csv
import json
import re
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from itertools import compress
from pathlib import Path
from typing import Any

import typer
from rich import box
from rich.table import Table
from rich.text import Text

from langflow_otel._process.price_file import read_prices
from langflow_otel._runs.prices import PriceTable
from langflow_otel.cli.console import FAILED, give_up, in_money, make_console, printable, say
from langflow_otel.cli.trace_input import check_flow, counted, note_if_none, opened_traces, since_ns_of
from langflow_otel.insights._usage.usage import OF_CALLS, TAG, IdleFlow, Usage, Use, first_run_ns, idle_flows, usage
from langflow_otel.insights.selection import Selection

_BUDGET = re.compile(r"(?:(.+)=)?\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Z]{3})?")
_MAX_MODELS_NAMED = 5
_DAY_NS = 86_400_000_000_000
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


@dataclass(frozen=True)
class Budget:
    """What may be spent.

    Attributes:
        key: By one flow, user or other key; None for all together.
        currency: None for the only one that there is.
    """

    key: str | None
    amount: float
    currency: str | None


def show_usage(
    paths: Sequence[Path],
    by: str,
    *,
    flow: str | None,
    since: str | None,
    prices: Path | None,
    budgets: Sequence[str],
    output_format: str,
) -> None:
    """Print it; the command ends with exit code 1 if a budget is exceeded.

    Args:
        output_format: ``table``, ``json`` or ``csv``.
    """
    wanted = [_budget(each) for each in budgets]
    table = None if prices is None else _prices(prices)
    selection = Selection(flow=flow, since_ns=since_ns_of(since))
    with opened_traces(paths) as traces:
        check_flow(traces, flow)
        note_if_none(traces, selection, since)
        try:
            found = usage(traces.connection, by, selection, prices=table)
        except ValueError as exc:
            give_up(f"--by {printable(by)}: {exc}")
        known = {use.key for use in found.uses}
        if any(budget.key is not None and budget.key not in known for budget in wanted):
            known.update(use.key for use in usage(traces.connection, by).uses)
    if not found.uses:
        give_up("no such run is in these files")
    _say_unknown(wanted, known)
    _say_keys(found)
    _say_holes(found, prices)
    exceeded = [line for budget in wanted if (line := _exceeded(budget, found, prices)) is not None]
    _print(found, output_format)
    for line in exceeded:
        say(f"langflow-otel: {line}")
    if exceeded:
        raise typer.Exit(FAILED)


def show_idle(paths: Sequence[Path], idle_days: float, *, output_format: str) -> None:
    """Print the flows without a run for so many days."""
    now_ns = time.time_ns()
    before_ns = now_ns - int(idle_days * _DAY_NS)
    with opened_traces(paths) as traces:
        found, first_ns = idle_flows(traces.connection, before_ns), first_run_ns(traces.connection)
    if first_ns is None or first_ns > before_ns:
        days = 0.0 if first_ns is None else (now_ns - first_ns) / _DAY_NS
        reach = f"the files hold the runs of the last {days:.1f} days only"
        give_up(f"{reach}: none can be known to be idle for {idle_days:g}")
    _print_idle(found, now_ns, output_format)


def check_alone(chosen: str, **options: object) -> None:
    """An option that the one that was chosen does not take ends the command with exit code 2."""
    for name, value in options.items():
        if value is not None:
            give_up(f"{chosen} takes no --{name}")


def _budget(text: str) -> Budget:
    found = _BUDGET.fullmatch(text.strip())
    if found is None:
        give_up(f"--budget {printable(text)}: an amount is accepted, such as 100, 100EUR or alice=5EUR")
    return Budget(found[1], float(found[2]), found[3])


def _prices(path: Path) -> PriceTable:
    try:
        return read_prices(path)
    except OSError as exc:
        give_up(f"--prices {printable(path)} cannot be read: {exc.strerror or exc}")
    except ValueError as exc:
        give_up(f"--prices {printable(path)}: {printable(exc)}")


def _say_unknown(wanted: Sequence[Budget], known: set[str]) -> None:
    """A budget of what is in no run of the files cannot be exceeded: its name may be wrong."""
    for budget in wanted:
        if budget.key is not None and budget.key not in known:
            names = sorted(name for name in known if name)
            more = f" and {len(names) - _MAX_MODELS_NAMED} more" if len(names) > _MAX_MODELS_NAMED else ""
            there_are = ", ".join(map(printable, names[:_MAX_MODELS_NAMED])) + more or "none"
            say(f"warning: --budget {printable(budget.key)}: no run of it is in these files; there are {there_are}")


def _say_keys(found: Usage) -> None:
    """Where nothing has a key, the only row is not what was asked for."""
    if any(use.key for use in found.uses):
        return
    if found.by == "user":
        say("note: no run has a user.id: LANGFLOW_OTEL_USER_ID=true records it")
    elif found.by.startswith(TAG):
        say(f"note: no run has the attribute {printable(found.by.removeprefix(TAG))}, nor has its resource")
    else:
        say(f"note: no run has a {found.by}")


def _say_holes(found: Usage, prices: Path | None) -> None:
    """What is in no cost."""
    calls = sum(use.calls for use in found.uses)
    if prices is None and calls and not found.has_prices:
        say("note: the spans have no costs; --prices FILE computes them, in the form of LANGFLOW_OTEL_PRICES")
    elif found.unpriced_models:
        models = list(found.unpriced_models.items())
        names = ", ".join(
            f"{printable(model)} ({counted(count, 'call')})" for model, count in models[:_MAX_MODELS_NAMED]
        )
        more = f" and {len(models) - _MAX_MODELS_NAMED} more" if len(models) > _MAX_MODELS_NAMED else ""
        what = "they are in no cost, which is at least what is shown" if found.has_prices else "no cost is known"
        say(f"warning: no price for {names}{more}: {what}")
    without = sum(use.calls_without_tokens for use in found.uses)
    if without:
        say(f"note: {without:,} of {counted(calls, 'call')} have no tokens, and are in no cost")


def _exceeded(budget: Budget, found: Usage, prices: Path | None) -> str | None:
    """The line that says so, or None."""
    if not found.has_prices:
        why = "--prices FILE computes it" if prices is None else f"{printable(prices)} has no price for any call"
        give_up(f"--budget: no cost is known; {why}")
    if budget.key is None:
        cost, name = found.cost, "all together"
    else:
        cost = next((use.cost for use in found.uses if use.key == budget.key), {})
        name = printable(budget.key)
    currency = budget.currency
    if currency is None:
        if len(found.cost) > 1:
            give_up(f"--budget {budget.amount:g}: name one of the currencies {', '.join(found.cost)}")
        currency = next(iter(found.cost))
    elif currency not in found.cost:
        give_up(f"--budget: nothing is in {currency}; there is {', '.join(found.cost)}")
    amount = cost.get(currency, 0.0)
    if amount <= budget.amount:
        return None
    shown, limit = money(amount, currency), money(budget.amount, currency)
    return f"budget exceeded: {name} cost {shown}, and {limit} are allowed"


def _print(found: Usage, output_format: str) -> None:
    if output_format == "json":
        total = {"cost": found.cost, "unpriced_models": found.unpriced_models}
        typer.echo(json.dumps({"by": found.by, **total, "uses": [asdict(use) for use in found.uses]}, indent=2))
    elif output_format == "csv":
        heading, lines = csv_rows(found)
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(heading)
        writer.writerows(lines)
    else:
        make_console().print(usage_table(found))


def _print_idle(found: Sequence[IdleFlow], now_ns: int, output_format: str) -> None:
    days = [round((now_ns - each.last_ns) / _DAY_NS, 1) for each in found]
    if output_format == "json":
        typer.echo(
            json.dumps([{**asdict(each), "idle_days": age} for each, age in zip(found, days, strict=True)], indent=2)
        )
    elif output_format == "csv":
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(("flow", "flow_id", "runs", "last_run", "idle_days"))
        for each, age in zip(found, days, strict=True):
            name, flow_id = (cell(text or "") for text in (each.flow, each.flow_id))
            writer.writerow((name, flow_id, each.runs, _day(each.last_ns), age))
    elif not found:
        say("every flow ran within that time")
    else:
        make_console().print(idle_table(found, [_day(each.last_ns) for each in found], days))


def _day(at_ns: int) -> str:
    return datetime.fromtimestamp(at_ns / 1e9, timezone.utc).strftime("%Y-%m-%d %H:%M UTC")


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

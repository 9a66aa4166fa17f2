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
from pathlib import Path

import typer

from langflow_otel._process.price_file import read_prices
from langflow_otel._runs.prices import PriceTable
from langflow_otel.cli import usage_view
from langflow_otel.cli.choosing import check_flow, counted, note_if_none, since_ns_of
from langflow_otel.cli.console import FAILED, finite, give_up, make_console, printable, say
from langflow_otel.cli.opened_traces import opened_traces
from langflow_otel.insights._usage.usage import TAG, IdleFlow, Usage, first_run_ns, idle_flows, usage
from langflow_otel.insights.selection import Selection

_BUDGET = re.compile(r"(?:(.+)=)?\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Z]{3})?")
_MAX_MODELS_NAMED = 5
_DAY_NS = 86_400_000_000_000


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


def show_resource_use(paths: Sequence[Path], *, flow: str | None, since: str | None, output_format: str) -> None:
    """Print which attribute of a run goes with how much time, CPU and memory."""
    try:
        from langflow_otel.cli import resources_view
        from langflow_otel.insights._usage.resource_use import resource_use
    except ImportError as exc:
        package = (exc.name or "").partition(".")[0]
        give_up(f"{package} is not installed; this needs: pip install 'langflow-otel[forecast]'")
    selection = Selection(flow=flow, since_ns=since_ns_of(since))
    with opened_traces(paths) as traces:
        check_flow(traces, flow)
        note_if_none(traces, selection, since)
        found = resource_use(traces.connection, selection)
    if not any(resource.runs for resource in found):
        give_up("no such run is in these files")
    if output_format == "json":
        typer.echo(json.dumps({"resources": [finite(asdict(resource)) for resource in found]}, indent=2))
    elif output_format == "csv":
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(resources_view.HEADING)
        writer.writerows(resources_view.csv_rows(found))
    else:
        resources_view.show_resources(found, make_console())
    if all(resource.problem is not None for resource in found):
        give_up("there are too few runs to say anything")


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
    shown, limit = usage_view.money(amount, currency), usage_view.money(budget.amount, currency)
    return f"budget exceeded: {name} cost {shown}, and {limit} are allowed"


def _print(found: Usage, output_format: str) -> None:
    if output_format == "json":
        total = {"cost": found.cost, "unpriced_models": found.unpriced_models}
        typer.echo(json.dumps({"by": found.by, **total, "uses": [asdict(use) for use in found.uses]}, indent=2))
    elif output_format == "csv":
        heading, lines = usage_view.csv_rows(found)
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(heading)
        writer.writerows(lines)
    else:
        make_console().print(usage_view.usage_table(found))


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
            name, flow_id = (usage_view.cell(text or "") for text in (each.flow, each.flow_id))
            writer.writerow((name, flow_id, each.runs, _day(each.last_ns), age))
    elif not found:
        say("every flow ran within that time")
    else:
        make_console().print(usage_view.idle_table(found, [_day(each.last_ns) for each in found], days))


def _day(at_ns: int) -> str:
    return datetime.fromtimestamp(at_ns / 1e9, timezone.utc).strftime("%Y-%m-%d %H:%M UTC")

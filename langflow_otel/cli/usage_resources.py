"""``langflow-otel usage --resources``: time, CPU and memory of runs by their attributes, as tables, CSV or JSON."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from langflow_otel.cli.console import finite, give_up, heading, in_bytes, in_words, make_console, printable
from langflow_otel.cli.trace_input import check_flow, note_if_none, opened_traces, since_ns_of
from langflow_otel.cli.usage import cell
from langflow_otel.insights._statistics.differences import in_short
from langflow_otel.insights.selection import Selection

if TYPE_CHECKING:
    from langflow_otel.insights._usage.resource_use import Effect, Resource

_TITLES = {
    "time": "Time of a run",
    "cpu": "CPU time, of the process while the run was active",
    "memory": "Memory, the highest of the process while the run was active",
}
_MAX_NAMED = 6
HEADING = (
    "resource",
    "unit",
    "attribute",
    "value",
    "instead_of",
    "low",
    "high",
    "runs",
    "amount",
    "amount_low",
    "amount_high",
    "share",
    "p_value",
    "is_certain",
)


def show_resource_use(paths: Sequence[Path], *, flow: str | None, since: str | None, output_format: str) -> None:
    """Print which attribute of a run goes with how much time, CPU and memory."""
    try:
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
        writer.writerow(HEADING)
        writer.writerows(csv_rows(found))
    else:
        show_resources(found, make_console())
    if all(resource.problem is not None for resource in found):
        give_up("there are too few runs to say anything")


def show_resources(resources: Sequence[Resource], console: Console) -> None:
    """Print what is certain, and name the rest."""
    for resource in resources:
        runs = f"{resource.runs:,} runs, typically {in_unit(resource, resource.typical)}"
        heading(console, _TITLES[resource.name], runs)
        certain = [effect for effect in resource.effects if effect.is_certain]
        if certain:
            console.print(_table(resource, certain))
        for line in notes(resource):
            console.print(Text(line, "dim"), soft_wrap=True)


def _table(resource: Resource, effects: Sequence[Effect]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="dim")
    table.add_column("attribute", overflow="fold")
    table.add_column("instead of", overflow="fold")
    for title in ("runs", "a run uses", "95 % interval", "of a typical run"):
        table.add_column(title, justify="right", no_wrap=True)
    for effect in effects:
        low, high = (_more(resource, each) for each in (effect.amount_low, effect.amount_high))
        table.add_row(
            Text(attribute_of(effect)),
            Text(in_short(effect.low) if effect.low is not None else printable(effect.instead) or "without"),
            f"{effect.runs:,}",
            _more(resource, effect.amount),
            f"{low} to {high}",
            f"{100 * effect.share:+.0f} %",
        )
    return table


def attribute_of(effect: Effect) -> str:
    """``langflow.flow.version = v2``, with what is the same in brackets."""
    value = in_short(effect.high) if effect.high is not None else printable(effect.value)
    same = f" (or {', '.join(map(printable, effect.also))})" if effect.also else ""
    return f"{printable(effect.attribute)} = {value}{same}"


def in_unit(resource: Resource, amount: float) -> str:
    """With the resource's unit."""
    return in_bytes(amount) if resource.unit == "bytes" else in_words(amount)


def _more(resource: Resource, amount: float) -> str:
    return f"{'-' if amount < 0 else '+'}{in_unit(resource, abs(amount))}"


def notes(resource: Resource) -> list[str]:
    """What is not in the table, and why."""
    lines = [] if resource.problem is None else [f"Nothing can be said: {resource.problem}."]
    judged = [each for each in resource.effects if each.p_value is not None and not each.is_certain]
    seldom = [attribute_of(each) for each in resource.effects if each.p_value is None]
    if judged:
        certain = sum(each.is_certain for each in resource.effects)
        what = f"{len(judged)} {'more' if certain else 'attributes'}"
        lines.append(f"{what} without a difference that chance does not explain; --json has each with its interval.")
    for reason, names in (
        ("Seen at too few different times, sessions or users", seldom),
        (
            "Not told apart from others above, from the process or from its time",
            map(printable, resource.not_told_apart),
        ),
        ("Too few runs for so many attributes; left out", map(printable, resource.left_out)),
    ):
        lines += _named(reason, list(names))
    if resource.shared:
        lines.append(f"{resource.shared:,} runs left out: others ran in their process that are not in the files.")
    if resource.not_measured:
        lines.append(f"{resource.not_measured:,} runs left out: their spans do not have it.")
    return lines


def _named(reason: str, names: Sequence[str]) -> list[str]:
    if not names:
        return []
    more = f" and {len(names) - _MAX_NAMED} more" if len(names) > _MAX_NAMED else ""
    return [f"{reason}: {', '.join(names[:_MAX_NAMED])}{more}."]


def csv_rows(resources: Sequence[Resource]) -> list[list[Any]]:
    """A row for each attribute and resource, as :data:`HEADING`."""
    return [
        [
            resource.name,
            resource.unit,
            *(cell(text) for text in (effect.attribute, effect.value, effect.instead)),
            *(getattr(effect, name) for name in HEADING[5:]),
        ]
        for resource in resources
        for effect in resource.effects
    ]

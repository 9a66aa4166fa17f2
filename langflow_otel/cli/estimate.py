"""``langflow-otel estimate``: what a run of a flow will take, before it runs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from langflow_otel.cli.console import (
    give_up,
    heading,
    in_bytes,
    in_money,
    in_percent,
    in_words,
    make_console,
    printable,
)
from langflow_otel.cli.trace_input import note_if_none, opened_traces, since_ns_of
from langflow_otel.insights._estimates.estimate import MEMORY, ComponentPart, Estimate, Figure, NoHistoryError, estimate
from langflow_otel.insights._estimates.estimate_trials import MIN_FLOWS, Tried
from langflow_otel.insights._estimates.execution_history import CALLS, COST, INPUT_TOKENS, OUTPUT_TOKENS, past_runs
from langflow_otel.insights._estimates.flow_graph import FlowFileError, FlowGraph, read_flow
from langflow_otel.insights._estimates.run_drawing import FLOW, MIN_RUNS, MODEL, NONE, SECONDS
from langflow_otel.insights.selection import Selection

_NAMES = {
    SECONDS: "run time",
    INPUT_TOKENS: "input tokens",
    OUTPUT_TOKENS: "output tokens",
    CALLS: "model calls",
    MEMORY: "memory of the process",
}
_SOURCES = {FLOW: "this component", MODEL: "its type, with this model", NONE: "too few"}
_MAX_COMPONENTS = 15
_MAX_NAMED = 5


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
        typer.echo(json.dumps(estimate_as_json(found), indent=2))
    else:
        show_estimate(found, make_console())


def loaded_flow(path: Path) -> FlowGraph:
    """The flow of a file. What is none ends the command with exit code 2."""
    try:
        return read_flow(path)
    except OSError as exc:
        give_up(f"{printable(path)} cannot be read: {exc.strerror or exc}")
    except FlowFileError as exc:
        give_up(f"{printable(path)}: {exc}")


def show_estimate(found: Estimate, console: Console) -> None:
    """Print it."""
    heading(console, printable(found.flow) or "a flow without a name", _history(found))
    console.print(_figures(found))
    console.print(_components(found))
    if len(found.components) > _MAX_COMPONENTS:
        console.print(Text(f"{len(found.components) - _MAX_COMPONENTS} more are in --json", "dim"))
    for line in sentences(found):
        console.print(Text(line), soft_wrap=True)


def _history(found: Estimate) -> str:
    runs = f"{found.all_runs:,} run{'' if found.all_runs == 1 else 's'} that succeeded"
    return f"from {runs}, of which {found.runs:,} of this flow" if found.runs else f"from {runs}, none of this flow"


def _figures(found: Estimate) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="dim")
    table.add_column("of one run", no_wrap=True)
    for title in ("median", "mean", "90 % from", "to"):
        table.add_column(title, justify="right", no_wrap=True)
    least = "at least " if found.unknown else ""
    for each in found.figures:
        before = "" if each.name == MEMORY else least
        cells = [before + _value(each, value) for value in (each.median, each.mean, each.low)]
        table.add_row(_name(each.name), *cells, "not known" if each.high is None else _value(each, each.high))
    return table


def _name(name: str) -> str:
    return _NAMES.get(name) or f"cost, {printable(name.removeprefix(COST))}"


def _value(figure: Figure, value: float) -> str:
    if figure.name == SECONDS:
        return in_words(value)
    if figure.name == MEMORY:
        return in_bytes(value)
    if figure.name.startswith(COST):
        return in_money(value)
    return f"{value:,.0f}" if value >= 10 or float(value).is_integer() else f"{value:.1f}"


def _components(found: Estimate) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="dim")
    table.add_column("component", overflow="fold")
    for title in ("median", "on the critical path", "executions"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("known from")
    for each in found.components[:_MAX_COMPONENTS]:
        known = each.source != NONE
        cells = [in_words(each.seconds), in_words(each.on_path_s)] if known else ["not known", "not known"]
        table.add_row(Text(printable(each.name)), *cells, f"{each.executions:,}", Text(_source(each)))
    return table


def _source(part: ComponentPart) -> str:
    if part.source == FLOW and not part.executions:
        return "this component, always skipped"
    if part.source != NONE and not part.executions:
        return "a tool, within the time of its agent"
    said = _SOURCES.get(part.source, "its type")
    of = f", of {part.components} component{'' if part.components == 1 else 's'}"
    return said if part.source in (FLOW, NONE) else said + of


def sentences(found: Estimate) -> Iterator[str]:
    """What the figures rest on, and what they leave out."""
    if found.unknown:
        names = ", ".join(
            f"{printable(each.name)} ({printable(each.component_type)})" for each in found.unknown[:_MAX_NAMED]
        )
        more = f" and {len(found.unknown) - _MAX_NAMED} more" if len(found.unknown) > _MAX_NAMED else ""
        yield (
            f"Not in these figures: {names}{more}, of which the history has fewer than {MIN_RUNS} executions. So the "
            "figures are lower bounds."
        )
    if found.loops and found.rounds is None:
        yield "It has a loop, and no loop has run in the history: one round is assumed, so it may take much longer."
    elif found.loops:
        yield f"Its loop is taken to run as often as loops did, {found.rounds:g} rounds in the median."
    if found.figure(CALLS) is not None and not any(each.name.startswith(COST) for each in found.figures):
        yield "What it costs is not known: no call in the history has a cost (LANGFLOW_OTEL_PRICES)."
    time = found.tried.get(SECONDS)
    if time is None:
        yield (
            "How far it is off cannot be said: not all of it has run in this flow, so the history needs "
            f"{MIN_FLOWS} flows whose components are known from others, too. The interval may be too narrow."
        )
        return
    yield _tried(time)
    others = [f"{_name(name)} {in_percent(100 * each.off_by)}" for name, each in found.tried.items() if name != SECONDS]
    if others:
        yield f"The same of the other figures: off by {', '.join(others)}."


def _tried(time: Tried) -> str:
    if time.of == "runs":
        said = f"Tried on the {time.runs:,} runs of this flow, each fifth without itself: off by {_percent(time)}"
    else:
        said = f"Tried on {time.flows} other flows as if they were new ({time.runs:,} runs): off by {_percent(time)}"
    wider = f", so it is made {time.widened:.1f} times as wide here" if time.widened >= 1.05 else ""
    return f"{said} in the median, and {in_percent(100 * time.held)} of the runs were in the 90 % interval{wider}."


def _percent(tried: Tried) -> str:
    return in_percent(100 * tried.off_by)


def estimate_as_json(found: Estimate) -> dict[str, Any]:
    """One object; durations are seconds, memory bytes, shares 0 to 1; what is not known is null."""
    return {**asdict(found), "notes": list(sentences(found))}

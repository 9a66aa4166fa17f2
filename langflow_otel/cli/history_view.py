"""What changed for good: a table for each flow, and one sentence."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from langflow_otel.cli.baseline_view import MEASURED, value_in_words
from langflow_otel.cli.console import heading, printable
from langflow_otel.insights._baselines.baselines import FAILED
from langflow_otel.insights._baselines.history import Began, Changed, FigureHistory, History

_DAY = re.compile("[0-9]{4}-[0-9]{2}-[0-9]{2}")
_MAX_NAME = 32
_MAX_BEGAN = 8
_LEAST_CHANCE = 0.0001


def show(history: History, console: Console, *, over: float) -> None:
    """Print it."""
    for flow in dict.fromkeys(each.flow for each in history.figures):
        figures = [each for each in history.figures if each.flow == flow and each.changes]
        if figures:
            heading(console, printable(flow) or "a flow without a name", _steps(history, flow))
            console.print(_table(figures))
            for line in _began(figures):
                console.print(Text(line), soft_wrap=True)
    console.print()
    for line in sentences(history, over):
        console.print(Text(line), soft_wrap=True)


def _steps(history: History, flow: str) -> str:
    longest = max((each.steps for each in history.figures if each.flow == flow), key=len)
    return f"{len(longest)} steps, {printable(longest[0])} to {printable(longest[-1])}"


def as_json(history: History) -> dict[str, Any]:
    """One object; values in seconds, shares of 0 to 1 or tokens, what is not known null."""
    data = asdict(history)
    for figure, given in zip(data["figures"], history.figures, strict=True):
        for change, found in zip(figure["changes"], given.changes, strict=True):
            change["relative"] = found.relative
    data["judged"] = history.judged
    return data


def _table(figures: Sequence[FigureHistory]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="dim")
    table.add_column("component", max_width=_MAX_NAME, no_wrap=True, overflow="crop")
    table.add_column("figure", no_wrap=True)
    table.add_column("since")
    table.add_column("between")
    for title in ("before", "after", "change", "95 % interval", "chance"):
        table.add_column(title, justify="right", no_wrap=True)
    for figure in figures:
        for change in figure.changes:
            table.add_row(
                Text("the whole run") if figure.component_id is None else Text(printable(figure.name)),
                figure_name(figure),
                Text(_since(change)),
                Text(_between(change)),
                value_in_words(figure.measured, change.before),
                value_in_words(figure.measured, change.after),
                _relative(figure, change, change.shift),
                _interval(figure, change),
                _chance(change.adjusted_p),
            )
    return table


def figure_name(figure: FigureHistory) -> str:
    """``duration P50``, ``failed``, ``input tokens``."""
    if figure.measured == FAILED:
        return "failed"
    name = MEASURED[figure.measured]
    return f"{name} {figure.statistic.upper()}" if figure.statistic.startswith("p") else name


def _since(change: Changed) -> str:
    since = printable(change.since)
    return since if change.until is None else f"{since}, until {printable(change.until)}"


def _between(change: Changed) -> str:
    """Of days of one year, without the year."""
    steps = [change.since, change.earliest, change.latest]
    days = [_DAY.fullmatch(each) for each in steps]
    if all(days) and len({each[:5] for each in steps}) == 1:
        steps = [each[5:] for each in steps]
    return " to ".join(dict.fromkeys(printable(each) for each in steps[1:]))


def _relative(figure: FigureHistory, change: Changed, difference: float) -> str:
    if change.before and figure.measured != FAILED:
        percent = 100 * difference / change.before
        return f"{percent:+,.0f} %" if abs(percent) >= 9.95 else f"{percent:+.1f} %"
    if figure.measured == FAILED:
        return f"{100 * difference:+.1f} points"
    return ("-" if difference < 0 else "+") + value_in_words(figure.measured, abs(difference))


def _interval(figure: FigureHistory, change: Changed) -> str:
    if change.low is None or change.high is None:
        return "not known"
    return " to ".join(_relative(figure, change, each) for each in (change.low, change.high))


def _chance(adjusted_p: float) -> str:
    """How likely chance alone makes such a change of any figure."""
    if adjusted_p < _LEAST_CHANCE:
        return f"<{100 * _LEAST_CHANCE:g} %"
    percent = 100 * adjusted_p
    return f"{percent:.{max(0, -math.floor(math.log10(percent)))}f} %"


def _began(figures: Sequence[FigureHistory]) -> Iterator[str]:
    """What was new at the time of the changes, a line a step."""
    found: dict[str, list[Began]] = {}
    for began in dict.fromkeys(each for figure in figures for change in figure.changes for each in change.began):
        found.setdefault(began.step, []).append(began)
    for step, new in sorted(found.items()):
        more = f" and {len(new) - _MAX_BEGAN} more" if len(new) > _MAX_BEGAN else ""
        yield f"New on {printable(step)}: {', '.join(_said(each) for each in new[:_MAX_BEGAN])}{more}"


def _said(began: Began) -> str:
    name, value = printable(began.name), printable(began.value)
    if began.what == "component":
        return f"component {name}"
    return f"version {value}" if began.what == "version" else f"{name}: {began.what} {value}"


def sentences(history: History, over: float) -> Iterator[str]:
    """The answer in words, without control codes."""
    changed = [each for each in history.figures if each.changes]
    judged, total = history.judged, len(history.figures)
    steps = f"in {len(history.steps)} steps, {printable(history.steps[0])} to {printable(history.steps[-1])}"
    limit = f"by {100 * over:g} % or more"
    if changed:
        yield f"{len(changed)} of {judged} figures changed for good {limit}, {steps}."
    else:
        yield f"None of {judged} figures changed for good {limit}, as far as chance does not explain it, {steps}."
    if judged < total:
        yield f"{total - judged} more have too short a history: {too_short(history)}."


def too_short(history: History) -> str:
    """How much there is, and how much is needed."""
    longest = max((len(each.steps) for each in history.figures if each.is_too_short), default=len(history.steps))
    counts = ", ".join(f"{least} of {what}" for what, least in (("P50", 5), ("errors", 10), ("P95", 20), ("P99", 100)))
    return (
        f"{longest} {'step' if longest == 1 else 'steps'} with enough runs (a day, a version or a baseline each), and "
        f"{history.needed} are needed (for {len(history.figures)} figures; a step needs these executions: {counts})"
    )

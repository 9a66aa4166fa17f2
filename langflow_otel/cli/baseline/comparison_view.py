"""What became worse or better: a table for each flow, and one sentence."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from langflow_otel.cli.console import finite, glyphs_of, heading, in_money, in_percent, in_words, printable
from langflow_otel.insights._baselines.baselines import COST, DURATION, FAILED, SAMPLE_SIZE
from langflow_otel.insights._baselines.comparison import (
    BETTER,
    NO_DIFFERENCE,
    TOO_FEW,
    WORSE,
    Change,
    Comparison,
    GraphChange,
)
from langflow_otel.insights._statistics.significance import least_count

_MAX_NAMED = 5
_MAX_NAME = 32
_NOTICED = 0.9
_STYLES = {WORSE: "red", BETTER: "green", NO_DIFFERENCE: "", TOO_FEW: "dim"}
MEASURED = {DURATION: "duration", FAILED: "failed", "input_tokens": "input tokens", "output_tokens": "output tokens"}


def show(comparison: Comparison, console: Console, *, every: bool) -> None:
    """Print it.

    Args:
        every: Components without a difference, too.
    """
    for flow in dict.fromkeys([*comparison.executions, *(each.flow for each in comparison.changes)]):
        heading(console, printable(flow) or "a flow without a name", _runs(comparison, flow))
        changes = [each for each in comparison.changes if each.flow == flow]
        console.print(_table(changes, console, every=every))
        for line in graph_lines([each for each in comparison.graph if each.flow == flow]):
            console.print(Text(line), soft_wrap=True)
        for line in _dependence(changes):
            console.print(Text(line, "dim"), soft_wrap=True)
    console.print()
    for line in sentences(comparison):
        console.print(Text(line, "bold" if comparison.failed else ""), soft_wrap=True)


def _runs(comparison: Comparison, flow: str) -> str:
    if flow not in comparison.executions:
        return "within other flows"
    runs, runs_after = comparison.executions[flow]
    versions = " to ".join(_listed(each) or "none" for each in comparison.versions[flow])
    is_known = any(comparison.versions[flow])
    return f"{runs:,} runs before, {runs_after:,} now" + (f"; version {versions}" if is_known else "")


def as_json(comparison: Comparison) -> dict[str, Any]:
    """One object; relative differences are parts of the value before, what is not known or infinite is null."""
    data = asdict(comparison)
    for change, given in zip(data["changes"], comparison.changes, strict=True):
        change["relative"] = given.relative
    data["failed"] = len(comparison.failed)
    data["judged"] = comparison.judged
    data["summary"] = list(sentences(comparison))
    return finite(data)  # type: ignore[no-any-return]


def _table(changes: Sequence[Change], console: Console, *, every: bool) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="dim")
    table.add_column("component", max_width=_MAX_NAME, no_wrap=True, overflow="crop")
    table.add_column("figure", no_wrap=True)
    for title in ("before", "now", "change", "95 % interval"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for each in changes:
        if each.component_id is None or every or each.verdict in (WORSE, BETTER):
            table.add_row(
                Text("the whole run") if each.component_id is None else Text(printable(each.name)),
                figure_name(each),
                value_in_words(each.measured, each.difference.before),
                value_in_words(each.measured, each.difference.after),
                _relative(each, each.difference.after - each.difference.before),
                _interval(each),
                f"{glyphs_of(console).error} {each.verdict}" if each.fails else each.verdict,
                style=f"bold {_STYLES[each.verdict]}" if each.fails else _STYLES[each.verdict],
            )
    return table


def figure_name(change: Change) -> str:
    """``duration P95``, ``failed``, ``cost USD P50``."""
    if change.measured == FAILED:
        return "failed"
    name = MEASURED.get(change.measured) or f"cost {printable(change.measured.removeprefix(COST))}"
    return f"{name} {change.statistic.upper()}"


def value_in_words(measured: str, value: float) -> str:
    """A duration, a share, tokens or an amount of money."""
    if measured == DURATION:
        return in_words(value)
    if measured == FAILED:
        return in_percent(100 * value)
    return in_money(value) if measured.startswith(COST) else f"{value:,.0f}"


def _relative(change: Change, difference: float) -> str:
    """As a part of the value before; where that is 0, in its unit."""
    before = change.difference.before
    if before:
        # The lower bound of a difference may be below that of what was measured before, not of what is true.
        percent = max(-100.0, 100 * difference / before)
        return f"{percent:+,.0f} %" if abs(percent) >= 9.95 else f"{percent:+.1f} %"
    if change.measured == FAILED:
        return f"{100 * difference:+.1f} points"
    sign = "-" if difference < 0 else "+"
    return sign + value_in_words(change.measured, abs(difference))


def _interval(change: Change) -> str:
    low, high = change.difference.low, change.difference.high
    if low is None and high is None:
        return "not known"
    if low is None or high is None:
        return f"at least {_relative(change, low)}" if low is not None else f"at most {_relative(change, high or 0.0)}"
    return f"{_relative(change, low)} to {_relative(change, high)}"


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(printable(each) for each in names[:_MAX_NAMED])
    return shown + (f" and {len(names) - _MAX_NAMED} more" if len(names) > _MAX_NAMED else "")


def graph_lines(changes: Sequence[GraphChange]) -> Iterator[str]:
    """What is different about the components, a line each."""
    words = {"added": "ran only now", "removed": "ran only before"}
    for each in changes:
        name = printable(each.name)
        kind = (
            f" ({printable(each.component_type)})" if each.component_type and each.component_type != each.name else ""
        )
        if each.change in words:
            yield f"{name}{kind} {words[each.change]}"
        else:
            before, now = (_listed(values) or "none" for values in (each.before, each.after))
            yield f"{name}{kind}: other {each.change}: {before} before, {now} now"


def _dependence(changes: Sequence[Change]) -> Iterator[str]:
    """Where runs of a session resemble each other."""
    own = [each for each in changes if each.component_id is None and each.measured == DURATION]
    if not own:
        return
    first = own[0]
    counted, counted_after = first.difference.counted, first.difference.counted_after
    from_sample = (min(first.executions, SAMPLE_SIZE), min(first.executions_after, SAMPLE_SIZE))
    if counted < _NOTICED * from_sample[0] or counted_after < _NOTICED * from_sample[1]:
        yield (
            f"Runs of a session resemble each other: for the median duration they count as {counted:,} and "
            f"{counted_after:,} independent ones."
        )


def sentences(comparison: Comparison) -> Iterator[str]:
    """The answer in words, without control codes."""
    failed, judged, total = comparison.failed, comparison.judged, len(comparison.changes)
    limit = f"{100 * comparison.fail_over:g} %"
    if not judged:
        yield f"Too few runs to tell anything: {_needed(total)}."
    elif failed:
        names = ", ".join(_full_name(each) for each in failed[:_MAX_NAMED])
        more = f" and {len(failed) - _MAX_NAMED} more" if len(failed) > _MAX_NAMED else ""
        yield f"Worse by more than {limit}: {names}{more}."
    else:
        yield f"Nothing is worse by more than {limit}, as far as chance does not explain it."
        yield from _not_excluded(comparison)
    if judged:
        too_few = total - judged
        yield (
            f"{judged} figures compared: {len(comparison.of(WORSE))} worse, {len(comparison.of(BETTER))} better, "
            f"{len(comparison.of(NO_DIFFERENCE))} without a difference"
            + (f"; {too_few} more have too few runs ({_needed(judged)})." if too_few else ".")
        )


def _not_excluded(comparison: Comparison) -> Iterator[str]:
    """What so few runs may hide."""
    hidden = [
        f"{printable(each.flow)} ({_relative(each, each.difference.high)})"
        for each in comparison.of(NO_DIFFERENCE)
        if (each.component_id, each.measured, each.statistic) == (None, DURATION, "p50")
        and each.difference.high is not None
        and each.difference.high > comparison.fail_over * each.difference.before
    ]
    if hidden:
        yield (
            "So many runs cannot exclude that: by its interval, the median duration may be longer by up to "
            f"{_listed(hidden)}. More runs narrow it."
        )


def _needed(comparisons: int) -> str:
    counts = [f"P{100 * share:.0f} needs {least_count(share, max(1, comparisons)):,}" for share in (0.5, 0.95, 0.99)]
    return f"{', '.join(counts)} on each side"


def _full_name(change: Change) -> str:
    place = (
        printable(change.flow) if change.component_id is None else f"{printable(change.flow)}: {printable(change.name)}"
    )
    return f"{place} {figure_name(change)} ({_relative(change, change.difference.after - change.difference.before)})"

"""``langflow-otel baseline history``: when figures changed for good."""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from langflow_otel.cli.baseline.command import Wanted, limit_of, loaded
from langflow_otel.cli.baseline.comparison_view import MEASURED, value_in_words
from langflow_otel.cli.console import give_up, heading, make_console, printable
from langflow_otel.cli.trace_input import check_flow, opened_traces, seconds_of, since_ns_of, steps_bar
from langflow_otel.insights._baselines import baselines
from langflow_otel.insights._baselines.baselines import DAY, FAILED, VERSION_OF_FLOW, Baseline
from langflow_otel.insights._baselines.history import Began, Changed, FigureHistory, History
from langflow_otel.insights.prometheus_source import NoSeriesError, PrometheusAccess, PrometheusError, PrometheusSource
from langflow_otel.insights.selection import Selection

_DAY_S = 86_400
_NS = 1_000_000_000
_DAY = re.compile("[0-9]{4}-[0-9]{2}-[0-9]{2}")
_MAX_NAME = 32
_MAX_BEGAN = 8
_LEAST_CHANCE = 0.0001


def history(wanted: Wanted, *, by: str, over: str, as_json: bool) -> None:
    """Show what changed for good; if there are too few steps to tell anything, the exit code is 2."""
    if by not in (DAY, VERSION_OF_FLOW):
        give_up(f"--by {printable(by)}: {DAY} and {VERSION_OF_FLOW} are accepted")
    limit = limit_of("--at-least", over)
    try:
        from langflow_otel.insights._baselines.history import Step
        from langflow_otel.insights._baselines.history import history as history_of
    except ImportError as exc:
        package = (exc.name or "").partition(".")[0]
        give_up(f"{package} is not installed; this needs: pip install 'langflow-otel[insights,forecast]'")
    steps = [Step(name, baseline) for name, baseline in _steps(wanted, by)]
    with steps_bar("looking for changes") as on_progress:
        found = history_of(steps, over=limit, on_progress=on_progress)
    if not found.judged:
        give_up(f"too short a history: {too_short(found)}")
    if as_json:
        typer.echo(json.dumps(history_as_json(found), indent=2))
    else:
        show_history(found, make_console(), over=limit)


def _steps(wanted: Wanted, by: str) -> list[tuple[str, Baseline]]:
    if wanted.prometheus:
        return _of_prometheus(wanted, by)
    kept = [path for path in wanted.paths if _is_baseline(path)]
    if not kept:
        return _of_traces(wanted, by)
    if len(kept) < len(wanted.paths):
        other = next(path for path in wanted.paths if path not in kept)
        give_up(f"{printable(other)} is no baseline, and others are: name baselines or trace files")
    if by != DAY or wanted.since is not None:
        give_up("--by and --since are for trace files: each baseline is one step")
    return _of_files(kept, wanted.flow)


def _is_baseline(path: Path) -> bool:
    try:
        return baselines.is_baseline(path)
    except OSError:
        # Whoever reads the trace files says so.
        return False


def _of_files(paths: Sequence[Path], flow: str | None) -> list[tuple[str, Baseline]]:
    found = sorted(((path, loaded(path)) for path in paths), key=lambda each: each[1].last_ns)
    sources = {baseline.source for _, baseline in found}
    if len(sources) > 1:
        give_up("some of these baselines are from traces, others from a Prometheus: their percentiles differ")
    if flow is not None:
        found = [(path, _only(baseline, flow)) for path, baseline in found]
        if not any(baseline.entries for _, baseline in found):
            give_up(f"--flow {printable(flow)}: it is in none of these baselines")
    return [(f"{_moment(baseline.last_ns)} {path.name}", baseline) for path, baseline in found]


def _only(baseline: Baseline, flow: str) -> Baseline:
    from dataclasses import replace

    return replace(baseline, entries=tuple(entry for entry in baseline.entries if entry.flow == flow))


def _moment(at_ns: int) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(at_ns / _NS))


def _of_traces(wanted: Wanted, by: str) -> list[tuple[str, Baseline]]:
    with opened_traces(wanted.paths) as traces:
        check_flow(traces, wanted.flow)
        selection = Selection(flow=wanted.flow, since_ns=since_ns_of(wanted.since))
        found = baselines.baselines_of_steps(traces.connection, selection, by=by)
    if not found:
        give_up(
            "no run in these files has a langflow.flow.version"
            if by == VERSION_OF_FLOW
            else f"no run of the last {printable(wanted.since)} is in these files"
        )
    return found


def _of_prometheus(wanted: Wanted, by: str) -> list[tuple[str, Baseline]]:
    """Whole days (UTC) that have series."""
    if wanted.since is None:
        give_up("--prometheus needs --since, such as 60d: how far back")
    if by != DAY:
        give_up("--by version: metrics do not have the version of a flow")
    if wanted.paths:
        give_up("--prometheus takes no files")
    end_s = int(time.time()) // _DAY_S * _DAY_S
    days = int(seconds_of(wanted.since)) // _DAY_S
    found = []
    try:
        access = PrometheusAccess.of(wanted.prometheus or "", token_file=wanted.token_file, ca_file=wanted.ca_file)
        source = PrometheusSource(access)
        with steps_bar("asking") as on_progress:
            for done, at_s in enumerate(range(end_s - (days - 1) * _DAY_S, end_s + 1, _DAY_S)):
                try:
                    measured = source.measured(_DAY_S, at_s=at_s, flow=wanted.flow)
                except NoSeriesError:
                    continue
                baseline = baselines.baseline_of_prometheus(measured, end_s=at_s)
                found.append((_moment(baseline.first_ns), baseline))
                if on_progress is not None:
                    on_progress(done + 1, days)
    except PrometheusError as exc:
        give_up(printable(exc))
    if not any(baseline.flows for _, baseline in found):
        give_up(f"no run ended in the whole days of the last {printable(wanted.since)}")
    return found


def show_history(history: History, console: Console, *, over: float) -> None:
    """Print it."""
    for flow in dict.fromkeys(each.flow for each in history.figures):
        figures = [each for each in history.figures if each.flow == flow and each.changes]
        if figures:
            heading(console, printable(flow) or "a flow without a name", _steps_in_words(history, flow))
            console.print(_table(figures))
            for line in _began(figures):
                console.print(Text(line), soft_wrap=True)
    console.print()
    for line in sentences(history, over):
        console.print(Text(line), soft_wrap=True)


def _steps_in_words(history: History, flow: str) -> str:
    longest = max((each.steps for each in history.figures if each.flow == flow), key=len)
    return f"{len(longest)} steps, {printable(longest[0])} to {printable(longest[-1])}"


def history_as_json(history: History) -> dict[str, Any]:
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

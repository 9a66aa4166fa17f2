"""``langflow-otel anomalies``: when a flow or a type of component was not as it usually is."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich import box
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn
from rich.table import Table
from rich.text import Text

from langflow_otel.cli.console import (
    finite,
    give_up,
    glyphs_of,
    heading,
    in_bytes,
    in_percent,
    in_words,
    make_console,
    printable,
    say,
)
from langflow_otel.cli.trace_input import check_flow, chosen_paths, note_if_none, opened_traces, seconds_of, since_ns_of

if TYPE_CHECKING:
    from langflow_otel.insights._anomalies.episodes import Anomaly
    from langflow_otel.insights._anomalies.following import Following
    from langflow_otel.insights._anomalies.search import Anomalies, Around
    from langflow_otel.insights._statistics.correlation import Correlation

METHODS = ("calibrated", "arima", "sigma", "mad")
INTERRUPTED = 130
_MAX_ROWS = 50
_MAX_NAME = 40
_NAMES = {"cpu": "CPU", "memory": "memory", "loop_delay": "event loop delay"}
_CHANGED = 1.25


@dataclass(frozen=True)
class Wanted:
    """What was asked for.

    Attributes:
        flow: Name or id; None for all.
        since: Such as ``24h``; None for all of the data.
        method: One of :data:`METHODS`.
        false_a_day: See :class:`~langflow_otel.insights._anomalies.detection.Rules`.
    """

    flow: str | None
    since: str | None
    method: str
    false_a_day: float

    def check(self) -> None:
        """What cannot be used ends the command with exit code 2."""
        if self.method not in METHODS:
            give_up(f"--method {printable(self.method)}: accepted are {', '.join(METHODS)}")
        if self.method == "arima":
            _check_forecast()
        if self.since is not None:
            seconds_of(self.since)


def _check_forecast() -> None:
    try:
        import langflow_otel.insights._anomalies.arima  # noqa: F401
    except ImportError as exc:
        package = (exc.name or "").partition(".")[0]
        give_up(f"{package} is not installed; this needs: pip install 'langflow-otel[insights,forecast]'")


def anomalies(paths: Sequence[Path], wanted: Wanted, *, as_json: bool) -> None:
    """Look through the traces, and show what was unusual."""
    wanted.check()
    since_ns = since_ns_of(wanted.since)
    with opened_traces(paths) as traces:
        from langflow_otel.insights._anomalies.detection import Rules
        from langflow_otel.insights._anomalies.search import find_anomalies
        from langflow_otel.insights.selection import Selection

        check_flow(traces, wanted.flow)
        note_if_none(traces, Selection(flow=wanted.flow, since_ns=since_ns), wanted.since)
        with _counting() as report:
            found = find_anomalies(
                traces.connection,
                flow=wanted.flow,
                since_ns=since_ns,
                method=wanted.method,
                rules=Rules(false_a_day=wanted.false_a_day),
                on_progress=report,
            )
    if as_json:
        typer.echo(json.dumps(anomalies_as_json(found), indent=2))
    else:
        show_anomalies(found, make_console())
    if found.learning == found.keys:
        give_up("too short a history to say what is usual")


def follow(paths: Sequence[Path], wanted: Wanted, *, every_s: float, as_json: bool) -> None:
    """Show anomalies as they come, until Ctrl-C, which ends the command with exit code 130.

    Args:
        every_s: From one look at the files to the next.
        as_json: An object on a line for each that began or ended.
    """
    wanted.check()
    if wanted.since is not None:
        give_up("--since is for what was; --follow shows what comes")
    chosen = chosen_paths(paths)
    try:
        from langflow_otel.insights._anomalies.detection import Rules
        from langflow_otel.insights._anomalies.following import Following
        from langflow_otel.insights._anomalies.search import watch_of
    except ImportError as exc:
        give_up(f"{exc.name} is not installed; this needs: pip install 'langflow-otel[insights]'")
    watch = watch_of(wanted.method, Rules(false_a_day=wanted.false_a_day))
    try:
        with closing(Following(chosen, watch, flow=wanted.flow)) as following:
            _look(following, every_s, as_json=as_json)
    except OSError as exc:
        give_up(f"{printable(exc.filename or 'a trace file')} cannot be read: {exc.strerror or exc}")
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None


def _look(following: Following, every_s: float, *, as_json: bool) -> None:
    from langflow_otel.insights._anomalies.following import state_of
    from langflow_otel.insights._anomalies.search import around

    if not as_json:
        new = f"{following.learning:,} of them too new to say what is usual"
        say(f"watching {following.keys:,} flows and types of components, {new}; Ctrl-C ends it")
    warned: set[str] = set()
    console = make_console()
    while True:
        for state, anomaly in state_of(following.look()):
            found = around(anomaly, following.resources)
            if as_json:
                typer.echo(json.dumps(news_as_json(state, anomaly, found)))
            else:
                console.print(line_of(state, anomaly, found, console), soft_wrap=True)
        for line in following.problems():
            reason = line.partition(": ")[2]
            if reason not in warned:
                say(f"warning: {printable(line)}")
                warned.add(reason)
        time.sleep(every_s)


@contextmanager
def _counting() -> Iterator[Callable[[int], object] | None]:
    """How many executions were looked at, on a terminal."""
    console = make_console(stderr=True)
    if not console.is_terminal:
        yield None
        return
    columns = (SpinnerColumn(), TextColumn("comparing, {task.completed:,.0f} executions"))
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("comparing", total=None)
        yield lambda seen: progress.update(task, completed=seen)


def show_anomalies(anomalies: Anomalies, console: Console) -> None:
    """Print it: the newest at the end."""
    count = len(anomalies.found)
    heading(console, f"{count:,} {'anomaly' if count == 1 else 'anomalies'}", _looked_at(anomalies))
    if anomalies.found:
        console.print()
        console.print(_table(anomalies, console))
    if count > _MAX_ROWS:
        console.print(Text(f"{count - _MAX_ROWS:,} older ones are in --json", "dim"))
    if anomalies.learning:
        console.print(
            Text(
                f"{anomalies.learning:,} of {anomalies.keys:,} have too little history to say what is usual: "
                "a quarter of an hour and 30 executions are needed, for throughput and for arima an hour or more",
                "dim",
            ),
            soft_wrap=True,
        )


def _looked_at(anomalies: Anomalies) -> str:
    executions = f"{anomalies.executions:,} execution{'' if anomalies.executions == 1 else 's'}"
    return f"in {executions} of {anomalies.keys:,} flows and types of components, {anomalies.windows:,} windows"


def _table(anomalies: Anomalies, console: Console) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="dim")
    for title in ("since (UTC)", "lasted", "flow, component", "figure"):
        table.add_column(title, no_wrap=title != "flow, component")
    for title in ("value", "usually", "change", "sigmas"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("in the same minutes")
    arrow = "→" if glyphs_of(console).ok == "✓" else "->"
    for anomaly, around in anomalies.found[-_MAX_ROWS:]:
        value, usual = (in_unit(anomaly.figure, each) for each in (anomaly.value, anomaly.usual))
        table.add_row(
            moment(anomaly.since_s),
            lasted(anomaly),
            Text(where(anomaly)),
            anomaly.figure,
            value,
            usual,
            change(anomaly),
            f"{anomaly.sigmas:+.1f}",
            Text(", ".join(resource_lines(around, arrow))),
        )
    return table


def where(anomaly: Anomaly) -> str:
    """``shop, LLM``; the flow alone for its runs."""
    names = [each for each in anomaly.key if each]
    return ", ".join(printable(each)[:_MAX_NAME] for each in names)


def moment(at_s: int) -> str:
    return f"{datetime.fromtimestamp(at_s, timezone.utc):%Y-%m-%d %H:%M:%S}"


def lasted(anomaly: Anomaly) -> str:
    """``12 s``, ``4 min``, or that there is no end."""
    if anomaly.is_lasting:
        return "to stay"
    if anomaly.until_s is None:
        return "goes on"
    seconds = anomaly.until_s - anomaly.since_s
    return f"{seconds} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def in_unit(figure: str, value: float) -> str:
    if figure == "duration":
        return in_words(value)
    if figure == "errors":
        return in_percent(100 * value)
    return f"{60 * value:.3g}/min" if 60 * value < 1000 else f"{60 * value:,.0f}/min"


def change(anomaly: Anomaly) -> str:
    """As a multiple; for shares of errors the difference."""
    if anomaly.figure == "errors":
        return f"{100 * (anomaly.value - anomaly.usual):+.0f} points"
    if anomaly.ratio is None:
        return "-"
    return f"x {anomaly.ratio:.2g}" if anomaly.ratio < 99.5 else f"x {anomaly.ratio:,.0f}"


def resource_lines(around: Around, arrow: str = "->") -> Iterator[str]:
    """What was different, and what goes together with the figure."""
    together = {each.name: each for each in around.together}
    for name, said in _NAMES.items():
        if name not in around.during:
            continue
        before, during = around.before.get(name), around.during[name]
        has_changed = before is not None and not before / _CHANGED <= during <= before * _CHANGED
        if not has_changed and name not in together:
            continue
        values = [_resource(name, each) for each in (before, during) if each is not None]
        lag = f" ({_lag(together[name])})" if name in together else ""
        yield f"{said} {f' {arrow} '.join(dict.fromkeys(values))}{lag}"


def _resource(name: str, value: float) -> str:
    if name == "memory":
        return in_bytes(value)
    return in_words(value) if name == "loop_delay" else f"{value:.2f} cores"


def _lag(correlation: Correlation) -> str:
    if correlation.lag == 0:
        order = "at the same time"
    else:
        order = f"{abs(correlation.lag)} min {'before' if correlation.lag > 0 else 'after'}"
    return f"correlation {correlation.size:+.2f}, {order}"


def anomalies_as_json(anomalies: Anomalies) -> dict[str, Any]:
    """One object; shares are 0 to 1, times Unix seconds."""
    counts = {name: getattr(anomalies, name) for name in ("executions", "keys", "learning", "windows", "unusable")}
    return {"anomalies": [anomaly_as_json(*each) for each in anomalies.found], **counts}


def anomaly_as_json(anomaly: Anomaly, around: Around) -> dict[str, Any]:
    data = dataclasses.asdict(anomaly)
    del data["key"]
    return {
        "flow": anomaly.key.flow,
        "component_type": anomaly.key.component_type or None,
        **data,
        "ratio": anomaly.ratio,
        "resources": {
            "before": finite(around.before),
            "during": finite(around.during),
            "together": [dataclasses.asdict(each) for each in around.together],
            "points": [finite(dataclasses.asdict(point)) for point in around.points],
        },
    }


def news_as_json(state: str, anomaly: Anomaly, around: Around) -> dict[str, Any]:
    """One that began or ended."""
    return {"state": state, **anomaly_as_json(anomaly, around)}


def line_of(state: str, anomaly: Anomaly, around: Around, console: Console) -> Text:
    """The same as a line."""
    value, usual = (in_unit(anomaly.figure, each) for each in (anomaly.value, anomaly.usual))
    at_s = anomaly.raised_s if state == "began" else anomaly.until_s or anomaly.since_s
    since = "" if state == "ended" else f" since {moment(anomaly.since_s)[11:]}"
    after = f" after {lasted(anomaly)}" if state == "ended" else ""
    line = Text(f"{moment(at_s)} UTC  ", "dim").append(f"{state}{after}", "bold red" if state == "began" else "bold")
    line.append(f"  {where(anomaly)}: {anomaly.figure} {value} instead of {usual} ({change(anomaly)}, ")
    line.append(f"{anomaly.sigmas:+.1f} sigmas){since}")
    arrow = "→" if glyphs_of(console).ok == "✓" else "->"
    resources = ", ".join(resource_lines(around, arrow))
    return line.append(f"; {resources}" if resources else "")

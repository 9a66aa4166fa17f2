"""``langflow-otel anomalies``: when a flow or a type of component was not as it usually is."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.progress import Progress, SpinnerColumn, TextColumn

from langflow_otel.cli.choosing import check_flow, note_if_none, seconds_of, since_ns_of
from langflow_otel.cli.console import give_up, make_console, printable, say
from langflow_otel.cli.opened_traces import chosen_paths, opened_traces

if TYPE_CHECKING:
    from langflow_otel.insights._anomalies.following import Following

METHODS = ("calibrated", "arima", "sigma", "mad")
INTERRUPTED = 130


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
        from langflow_otel.cli import anomalies_view
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
        typer.echo(json.dumps(anomalies_view.as_json(found), indent=2))
    else:
        anomalies_view.show(found, make_console())
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
    from langflow_otel.cli.anomalies_view import line_of, news_as_json
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

"""Which runs a command is about, as its arguments and options say it."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from langflow_otel.cli.console import give_up, printable, say, shortened
from langflow_otel.insights.selection import FAILED, LAST, SLOWEST, NoFailedRunError, Selection, find_trace

if TYPE_CHECKING:
    from langflow_otel.insights.traces import Traces

_SINCE = re.compile(r"([0-9]{1,9}(?:\.[0-9]+)?)\s*([smhdw])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_MAX_FLOWS_NAMED = 10
_WORDS = (LAST, SLOWEST, FAILED)
_ID = re.compile("[0-9a-fA-F]{1,32}")


def trace_and_paths(which: str, paths: Sequence[Path]) -> tuple[str, Sequence[Path]]:
    """What TRACE and FILES mean: a TRACE that is a file is one of them, and the last run is wanted.

    A TRACE that is nothing of what it may be ends the command with exit code 2.
    """
    if which in _WORDS:
        return which, paths
    if _is_there(which):
        return LAST, [Path(which), *paths]
    if not _ID.fullmatch(which):
        give_up(f"{shortened(printable(which))} is no file, no trace id, and none of {', '.join(_WORDS)}")
    return which.lower(), paths


def _is_there(name: str) -> bool:
    try:
        return Path(name).exists()
    except (OSError, ValueError):
        # What cannot be the name of a file.
        return False


def trace_id_of(traces: Traces, which: str, *, nothing: str | None) -> str:
    """The trace id of this run.

    Args:
        nothing: What a program that reads the output gets on stdout if no run failed; None for nothing.

    Where no run failed, the command ends with exit code 0 and a line that says so: that is an answer. Where there is no
    such run, or not only one, it ends with exit code 2.
    """
    try:
        return find_trace(traces.connection, which)
    except NoFailedRunError as exc:
        say(str(exc))
        if nothing is not None:
            typer.echo(nothing)
        raise typer.Exit from None
    except LookupError as exc:
        give_up(printable(exc.args[0]))


def seconds_in(since: str) -> float:
    """``30m``, ``24h``, ``7d`` in seconds; 0 for what is none of these."""
    found = _SINCE.fullmatch(since.strip())
    return 0.0 if found is None else float(found[1]) * _SECONDS[found[2]]


def seconds_of(since: str, option: str = "--since") -> float:
    """The same; what is none of these ends the command with exit code 2, and a line that names the option."""
    seconds = seconds_in(since)
    if not seconds:
        give_up(f"{option} {shortened(printable(since))}: a number and one of s, m, h, d, w is accepted, such as 24h")
    return seconds


def since_ns_of(since: str | None) -> int | None:
    """The moment so long ago, in nanoseconds since the epoch; None for None."""
    return None if since is None else time.time_ns() - int(seconds_of(since) * 1_000_000_000)


def note_if_none(traces: Traces, selection: Selection, since: str | None) -> None:
    """A line on stderr where no run started so lately: when the newest did. That is an answer, and no error."""
    if since is None:
        return
    chosen, given = replace(selection, since_ns=None).chosen()
    query = f"SELECT max(start_ns) FROM ({chosen})"  # noqa: S608
    ((newest_ns,),) = traces.connection.execute(query, given).fetchall()
    if newest_ns is not None and newest_ns < (selection.since_ns or 0):
        newest = datetime.fromtimestamp(newest_ns / 1e9, timezone.utc)
        say(f"no run started in the last {printable(since)}; the newest started {newest:%Y-%m-%d %H:%M:%S} UTC")


def check_flow(traces: Traces, flow: str | None) -> None:
    """Ends the command with exit code 2 if there is no run of the flow."""
    if flow is None:
        return
    found = traces.connection.execute(
        "SELECT flow_name, count(*), count(*) FILTER (flow_name = $flow OR flow_id = $flow) FROM run_rows "
        "GROUP BY flow_name ORDER BY 2 DESC, 1",
        {"flow": flow},
    ).fetchall()
    if any(matching for _, _, matching in found):
        return
    there_are = _there_are([name for name, _, _ in found])
    give_up(f"--flow {shortened(printable(flow))}: no run of it is in these files{there_are}")


def check_version(traces: Traces, version: str | None, flow: str | None = None) -> None:
    """Ends the command with exit code 2 if there is no run of this version, of the flow if one is named."""
    if version is None:
        return
    chosen, given = Selection(flow=flow).chosen()
    query = f"SELECT flow_version, max(start_ns) FROM ({chosen}) GROUP BY ALL ORDER BY 2 DESC"  # noqa: S608
    found = [name for name, _ in traces.connection.execute(query, given).fetchall()]
    if version not in found:
        there_are = _there_are(found) or "; no run has a langflow.flow.version"
        give_up(f"--version {shortened(printable(version))}: no run of it is in these files{there_are}")


def _there_are(names: Sequence[str | None]) -> str:
    named = [shortened(printable(name)) for name in names if name]
    more = f" and {len(named) - _MAX_FLOWS_NAMED} more" if len(named) > _MAX_FLOWS_NAMED else ""
    return f"; there are runs of {', '.join(named[:_MAX_FLOWS_NAMED])}{more}" if named else ""


def counted(count: int, one: str) -> str:
    """``1 run``, ``1,234 runs``."""
    return f"{count:,} {one}{'' if count == 1 else 's'}"

"""Which runs a command is about, as its arguments and options say it."""

from __future__ import annotations

import os
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from langflow_otel.cli.console import BAD_INPUT, give_up, make_console, printable, say, shortened
from langflow_otel.insights.selection import FAILED, LAST, SLOWEST, NoFailedRunError, Selection, find_trace

if TYPE_CHECKING:
    from langflow_otel.insights._reading.otlp_lines import Problems
    from langflow_otel.insights.traces import Reading, Traces

_SINCE = re.compile(r"([0-9]{1,9}(?:\.[0-9]+)?)\s*([smhdw])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_MAX_FLOWS_NAMED = 10
_WORDS = (LAST, SLOWEST, FAILED)
_ID = re.compile("[0-9a-fA-F]{1,32}")
TRACE_FILE = "LANGFLOW_OTEL_TRACE_FILE"
NEEDS_INSIGHTS = "{} is not installed; this needs: pip install 'langflow-otel[insights]'"
_MAX_FILES_NAMED = 10
OnProgress = Callable[[int, int], object]
"""Called with what is done, and all."""


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


def chosen_paths(paths: Sequence[Path]) -> list[Path]:
    """These, or the file that the environment names. Without any the command ends with exit code 2."""
    if paths:
        return list(paths)
    named = os.environ.get(TRACE_FILE, "").strip()
    if not named or named.lower() == "none":
        give_up(f"no trace files: name some, or set {TRACE_FILE}")
    return [Path(named)]


@contextmanager
def opened_traces(paths: Sequence[Path]) -> Iterator[Traces]:
    """The traces of these files, with a progress bar where the reading takes long.

    What could not be read goes to stderr. If that is everything, or the libraries for it are not installed, the
    command ends with exit code 2 and one line.
    """
    chosen = chosen_paths(paths)
    traces = _opened(chosen)
    with traces:
        for line in reading_lines(traces.reading):
            say(f"warning: {line}")
        yield traces


def _opened(chosen: Sequence[Path]) -> Traces:
    # pyarrow's allocator takes a gigabyte of addresses at once, in KiB, which counts where these are limited.
    os.environ.setdefault("MIMALLOC_ARENA_RESERVE", "65536")
    try:
        from langflow_otel.insights.traces import NoSpansError, open_traces

        try:
            with bytes_bar("reading") as on_progress:
                return open_traces(chosen, on_progress=on_progress)
        except NoSpansError as exc:
            give_up(f"{', '.join(printable(path) for path in chosen)}: {exc}", BAD_INPUT)
    except ImportError as exc:
        give_up(NEEDS_INSIGHTS.format(exc.name))
    except OSError as exc:
        give_up(f"{printable(exc.filename or 'a trace file')} cannot be read: {exc.strerror or exc}")


def reading_lines(reading: Reading) -> list[str]:
    """What could not be read, and what was left out, a line each."""
    lines = [
        *_by_file(reading.bad_lines, "line", "lines", "not read"),
        *_by_file(reading.bad_spans, "span", "spans", "left out"),
    ]
    if reading.duplicates:
        lines.append(f"{_counted(reading.duplicates, 'span', 'spans')} sent more than once counted once")
    if reading.end_before_start:
        lines.append(
            f"{_counted(reading.end_before_start, 'span', 'spans')} ended before the start (a clock was set back): "
            "their duration is 0"
        )
    return lines


def problem_lines(problems: Problems) -> list[str]:
    """The same of lines that were read without their files being told apart."""
    return [
        *(f"{_counted(count, 'line', 'lines')} not read: {reason}" for reason, count in problems.lines.most_common()),
        *(f"{_counted(count, 'span', 'spans')} left out: {reason}" for reason, count in problems.spans.most_common()),
    ]


def _by_file(found: Mapping[Path, Counter[str]], one: str, many: str, outcome: str) -> Iterator[str]:
    for path in list(found)[:_MAX_FILES_NAMED]:
        for reason, count in found[path].most_common():
            yield f"{printable(path)}: {_counted(count, one, many)} {outcome}: {reason}"
    rest = list(found.values())[_MAX_FILES_NAMED:]
    if rest:
        count = sum(sum(reasons.values()) for reasons in rest)
        yield f"{len(rest)} more files: {_counted(count, one, many)} {outcome}"


def _counted(count: int, one: str, many: str) -> str:
    return f"{count:,} {one if count == 1 else many}"


@contextmanager
def bytes_bar(what: str) -> Iterator[OnProgress | None]:
    """A bar that counts bytes; None without a terminal."""
    with _bar(what, DownloadColumn(binary_units=True), TimeRemainingColumn()) as on_progress:
        yield on_progress


@contextmanager
def steps_bar(what: str) -> Iterator[OnProgress | None]:
    """A bar that counts steps, which take differently long; None without a terminal."""
    with _bar(what, TimeElapsedColumn()) as on_progress:
        yield on_progress


@contextmanager
def _bar(what: str, *columns: ProgressColumn) -> Iterator[OnProgress | None]:
    console = make_console(stderr=True)
    if not console.is_terminal:
        yield None
        return
    with Progress(TextColumn(what), BarColumn(), *columns, console=console, transient=True) as bar:
        task = bar.add_task(what)
        yield lambda done, total: bar.update(task, completed=done, total=total)

"""``langflow-otel store``: trace files into a relational database."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Final

import typer

from langflow_otel.cli.console import FAILED, give_up, printable, say
from langflow_otel.cli.trace_input import bytes_bar, chosen_paths, problem_lines

if TYPE_CHECKING:
    from langflow_otel.insights._store.database import Database
    from langflow_otel.insights._store.storing import Stored, Storing

ADDRESS: Final = "LANGFLOW_OTEL_STORE"
DEFAULT: Final = "sqlite:///runs.db"
NEEDS_STORE: Final = "{} is not installed; this needs: pip install 'langflow-otel[store]'"

_PATIENCE_S: Final = 120.0
"""How long a database may not answer while files are stored once."""
_NAMES: Final = {
    "runs": ("run", "runs"),
    "components": ("component execution", "component executions"),
    "model_calls": ("model call", "model calls"),
    "retries": ("retry", "retries"),
    "errors": ("error", "errors"),
}


@dataclass(frozen=True)
class Wanted:
    """What was asked for on the command line.

    Attributes:
        address: Of the database; None for that of the environment, or the default.
        content: With messages, inputs and outputs.
        keep_days, keep_daily_days: How long rows and daily figures are kept.
    """

    address: str | None
    content: bool
    keep_days: int
    keep_daily_days: int


def store(paths: Sequence[Path], wanted: Wanted, *, as_json: bool) -> None:
    """Store what is in the files, once."""
    chosen = chosen_paths(paths)
    started_s = time.monotonic()
    with _opened(wanted) as database, _errors_reported():
        storing = _storing(database, wanted, _PATIENCE_S, _pause)
        with bytes_bar("storing") as on_progress:
            storing.store(chosen, on_progress)
        if not storing.stored.spans:
            _warn(storing.stored)
            give_up("there are no spans in these files")
        _report(storing.stored, database.shown, time.monotonic() - started_s, as_json=as_json)


def follow(paths: Sequence[Path], wanted: Wanted, *, every_s: float, as_json: bool) -> None:
    """Store what is in the files and what comes, until SIGINT or SIGTERM.

    Args:
        every_s: From one look at the files to the next.
    """
    chosen = chosen_paths(paths)
    started_s = time.monotonic()
    with _ending() as ends, _opened(wanted) as database, _errors_reported():
        from langflow_otel.insights._store.storing import Stopped

        storing = _storing(database, wanted, None, ends.wait)
        if _wait_for(chosen, every_s, ends):
            say(f"storing what comes in {database.shown}; Ctrl-C ends it")
            try:
                storing.follow(chosen, every_s)
            except Stopped:
                say(f"langflow-otel: {storing.waiting:,} spans are not stored: the same command stores them later")
                raise typer.Exit(FAILED) from None
        _report(storing.stored, database.shown, time.monotonic() - started_s, as_json=as_json)


def _pause(seconds: float) -> bool:
    time.sleep(seconds)
    return False


def _wait_for(paths: Sequence[Path], every_s: float, ends: threading.Event) -> bool:
    """Until they are there, since LangFlow may start later; False where the end is asked for before."""
    missing = [each for each in paths if not each.exists()]
    if missing:
        say(f"waiting for {', '.join(printable(each) for each in missing)}")
    while not all(each.exists() for each in paths):
        if ends.wait(every_s):
            return False
    return True


@contextmanager
def _ending() -> Iterator[threading.Event]:
    """Set by the first signal; the second one ends the process at once."""
    ends = threading.Event()

    def end(number: int, _: FrameType | None) -> None:
        signal.signal(number, before[signal.Signals(number)])
        ends.set()

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield ends
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _opened(wanted: Wanted) -> Iterator[Database]:
    try:
        from langflow_otel.insights._store.database import Database, StoreError
        from langflow_otel.insights._store.storing import Storing  # noqa: F401 - whether it can be imported

        address = wanted.address or os.environ.get(ADDRESS, "").strip() or DEFAULT
        try:
            database = Database(address)
        except StoreError as exc:
            give_up(printable(exc))
    except ImportError as exc:
        give_up(NEEDS_STORE.format((exc.name or "").partition(".")[0]))
    with closing(database):
        yield database


@contextmanager
def _errors_reported() -> Iterator[None]:
    """What goes wrong while something is stored, as a line."""
    from langflow_otel.insights._store.database import StoreError

    try:
        yield
    except StoreError as exc:
        give_up(f"{printable(exc)}; what was stored before stays, and is not stored twice", FAILED)
    except OSError as exc:
        give_up(f"{printable(exc.filename or 'a trace file')} cannot be read: {exc.strerror or exc}")


def _storing(database: Database, wanted: Wanted, patience_s: float | None, wait: Any) -> Storing:
    from langflow_otel.insights._store.storing import Storing

    return Storing(
        database,
        content=wanted.content,
        keep_days=wanted.keep_days,
        keep_daily_days=wanted.keep_daily_days,
        patience_s=patience_s,
        wait=wait,
        on_problem=lambda line: say(f"warning: {printable(line)}"),
    )


def _warn(stored: Stored) -> None:
    """What was not read, and what was not stored."""
    for line in problem_lines(stored.problems):
        say(f"warning: {line}")
    for reason, count in stored.left_out.items():
        say(f"warning: {count:,} {'span' if count == 1 else 'spans'} left out: {reason}")


def _report(stored: Stored, shown: str, took_s: float, *, as_json: bool) -> None:
    _warn(stored)
    if as_json:
        typer.echo(json.dumps(_as_json(stored, shown, took_s)))
        return
    new = [f"{stored.new[name]:,} {names[stored.new[name] != 1]}" for name, names in _NAMES.items()]
    before = f"; {stored.there_already:,} rows were there before" if stored.there_already else ""
    typer.echo(f"stored {', '.join(new[:-1])} and {new[-1]} in {shown}, in {took_s:.1f} s{before}")


def _as_json(stored: Stored, shown: str, took_s: float) -> dict[str, Any]:
    return {
        "database": shown,
        "spans": stored.spans,
        "new": {name: stored.new[name] for name in _NAMES},
        "there_before": stored.there_already,
        "left_out": dict(stored.left_out),
        "not_read": dict(stored.problems.lines + stored.problems.spans),
        "seconds": round(took_s, 3),
    }

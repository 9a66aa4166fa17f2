"""``langflow-otel demo``: runs a real flow on LangFlow's engine and shows what its traces tell."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
import uuid
import warnings
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn

from langflow_otel.cli.console import FAILED, Warnings, give_up, make_console
from langflow_otel.hooks.versions import INSTALL_HINT, lfx_is_installed, lfx_version
from langflow_otel.settings import Settings
from langflow_otel.version import __version__

RUNS = 20
ONE_BY_ONE = 8
AT_ONCE = 4
FAILING_RUN = 13
"""Asks for the order for which the policy search fails."""

RunOne = Callable[[int], Awaitable[None]]


@dataclass
class Outcomes:
    """How the runs ended; ``surprises`` are the errors of runs that should have worked."""

    finished: int = 0
    failed: int = 0
    surprises: list[Exception] = field(default_factory=list)


def demo(svg: Path | None = None) -> None:
    """Run the flow, read the trace file back, show it.

    Args:
        svg: Save the tree of the good run there, as a picture.
    """
    console = make_console()
    console.print(f"[bold]langflow-otel {__version__}[/]: {RUNS} runs of a real flow, no network, no key")
    if not lfx_is_installed():
        give_up(INSTALL_HINT)
    settings = _demo_settings(Settings.from_env())
    session = f"demo-{uuid.uuid4().hex[:8]}"
    outcomes = _trace_runs(settings, session, console)

    from langflow_otel.cli.demo_report import Report

    report = Report.read(settings, session)
    report.show(console)
    if svg is not None:
        report.save_picture(svg)
    if outcomes.surprises:
        give_up(f"{len(outcomes.surprises)} runs failed that should not have: {outcomes.surprises[0]!r}", FAILED)


def _demo_settings(settings: Settings) -> Settings:
    """The user's settings, with tracing on and a trace file to read back."""
    if settings.sdk_disabled:
        give_up("OTEL_SDK_DISABLED=true switches every span off, so the demo has nothing to show")
    path = settings.trace_file or Path(tempfile.mkdtemp(prefix="langflow-otel-demo-"), "traces.jsonl")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.open("a").close()
    except OSError as exc:
        give_up(f"LANGFLOW_OTEL_TRACE_FILE={path} cannot be written: {exc.strerror}")
    return replace(settings, enabled="true", trace_file=path)


def _trace_runs(settings: Settings, session: str, console: Console) -> Outcomes:
    from langflow_otel.cli.tracing import tracing

    # Looked up at each write: while rich draws, sys.stderr is a stand-in that keeps the lines apart.
    Warnings(lambda line: sys.stderr.write(line)).listen()
    with tracing(settings), _quiet_langflow():
        with _waiting(console, "Loading LangFlow's engine, this takes some seconds ..."):
            started_s = time.perf_counter()
            from lfx.log.logger import configure

            configure(log_level="CRITICAL")
            from langflow_otel.cli.demo_flow.flow import FLOW_NAME, run_flow
        console.print(f"LangFlow's engine is loaded: lfx {lfx_version()}, {time.perf_counter() - started_s:.1f} s")

        async def run_one(number: int) -> None:
            await run_flow(f"Where is order {1000 + number}?", f"{session}-{number:02}")

        with _counting(console, f"Running the flow '{FLOW_NAME}'") as show:
            started_s = time.perf_counter()
            outcomes = asyncio.run(run_all(run_one, show))
        console.print(
            f"{outcomes.finished} runs of '{FLOW_NAME}', up to {AT_ONCE} at once: "
            f"{outcomes.finished - outcomes.failed} good, {outcomes.failed} failed on purpose, "
            f"{time.perf_counter() - started_s:.1f} s"
        )
    return outcomes


async def run_all(run_one: RunOne, show: Callable[[Outcomes], None]) -> Outcomes:
    """Run 1 to 20: the first eight one after the other, the rest four at once."""
    outcomes = Outcomes()

    async def run(number: int) -> None:
        try:
            await run_one(number)
        except Exception as exc:  # noqa: BLE001 - whatever the flow raises is this run's outcome
            outcomes.failed += 1
            if number != FAILING_RUN:
                outcomes.surprises.append(exc)
        outcomes.finished += 1
        show(outcomes)

    for number in range(1, ONE_BY_ONE + 1):
        await run(number)
    for first in range(ONE_BY_ONE + 1, RUNS + 1, AT_ONCE):
        await asyncio.gather(*(run(number) for number in range(first, first + AT_ONCE)))
    return outcomes


@contextmanager
def _quiet_langflow() -> Iterator[None]:
    """No network and no noise: LangFlow's tracers of other vendors and its usage statistics stay off."""
    os.environ.setdefault("DO_NOT_TRACK", "true")
    os.environ.setdefault("LANGFLOW_DEACTIVATE_TRACING", "true")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def _waiting(console: Console, text: str) -> Iterator[None]:
    if not console.is_terminal:
        console.print(text)
        yield
        return
    with console.status(text):
        yield


@contextmanager
def _counting(console: Console, text: str) -> Iterator[Callable[[Outcomes], None]]:
    if not console.is_terminal:
        yield lambda outcomes: None
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TextColumn("[red]{task.fields[failed]}"), console=console, transient=True) as progress:
        task = progress.add_task(text, total=RUNS, failed="")
        yield lambda outcomes: progress.update(
            task, completed=outcomes.finished, failed=f"{outcomes.failed} failed" if outcomes.failed else ""
        )

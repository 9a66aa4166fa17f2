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
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn

from langflow_otel._hooks.versions import INSTALL_HINT, lfx_is_installed, lfx_version
from langflow_otel._metrics import catalogue
from langflow_otel._sdk.rotating_file import why_not_regular
from langflow_otel._settings.settings import ScrapeSettings, Settings
from langflow_otel.cli.console import FAILED, Warnings, give_up, heading, make_console
from langflow_otel.cli.demo.report import Figures
from langflow_otel.cli.scraping import ScrapedPage, Scraper, with_free_port
from langflow_otel.version import __version__

if TYPE_CHECKING:
    from langflow_otel.cli.demo.serve import Stop

RUNS = 20
ONE_BY_ONE = 8
AT_ONCE = 4
FAILING_RUN = 13
"""Asks for the order for which the policy search fails."""
ONE_FAILS_OF = 200
"""Of the runs of ``--serve``: half of the error budget of the alerts that are shipped, which is 1 % of the runs."""
_WATCH_EVERY_S = 0.25

RunOne = Callable[[int], Awaitable[None]]


@dataclass
class Outcomes:
    """How the runs ended; ``surprises`` are the errors of runs that should have worked."""

    finished: int = 0
    failed: int = 0
    surprises: list[Exception] = field(default_factory=list)


def demo(svg: Path | None = None, *, serve: bool = False) -> None:
    """Run the flow, read the trace file and the scrape endpoint back, show it.

    Args:
        svg: Save the tree of the good run there, as a picture.
        serve: Go on with a run a second until Ctrl-C, so that the endpoint has something to tell.
    """
    console = make_console()
    console.print(f"[bold]langflow-otel {__version__}[/]: {RUNS} runs of a real flow, no network, no key")
    if not lfx_is_installed():
        give_up(INSTALL_HINT)
    the_demo = _Demo(_demo_settings(Settings.from_env()), f"demo-{uuid.uuid4().hex[:8]}", console, svg)
    if not serve:
        the_demo.run()
        return
    from langflow_otel.cli.demo.serve import Stop

    with Stop() as stop:
        the_demo.run(stop)
    console.print(the_demo.last_words)


def _demo_settings(settings: Settings) -> Settings:
    """The user's settings, with tracing on, a trace file to read back and an endpoint to scrape."""
    if settings.sdk_disabled:
        give_up("OTEL_SDK_DISABLED=true switches every span off, so the demo has nothing to show")
    path = settings.trace_file or Path(tempfile.mkdtemp(prefix="langflow-otel-demo-"), "traces.jsonl")
    problem = why_not_regular(path)
    if problem:
        give_up(f"LANGFLOW_OTEL_TRACE_FILE={path} cannot be written: {problem}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
    except OSError as exc:
        give_up(f"LANGFLOW_OTEL_TRACE_FILE={path} cannot be written: {exc.strerror}")
    return replace(settings, enabled="true", trace_file=path, scrape=_scrape_settings())


def _scrape_settings() -> ScrapeSettings:
    """The user's host, port, token and certificate, though nobody may have asked for an endpoint."""
    asked = Settings.from_env({**os.environ, "OTEL_METRICS_EXPORTER": "prometheus"}).scrape or ScrapeSettings()
    for path in (asked.token_file, asked.cert_file, asked.key_file):
        if path is not None and not os.access(path, os.R_OK):
            give_up(f"{path} cannot be read; the scrape endpoint needs it")
    try:
        return with_free_port(asked)
    except (OSError, UnicodeError) as exc:
        reason = getattr(exc, "strerror", None) or exc
        give_up(f"the scrape endpoint cannot listen on {asked.host}:{asked.port}: {reason}")


class _Demo:
    def __init__(self, settings: Settings, session: str, console: Console, svg: Path | None) -> None:
        self._settings = settings
        self._session = session
        self._console = console
        self._svg = svg
        self.last_words = "Stopped before the load began."

    def run(self, stop: Stop | None = None) -> None:
        """All of it; with a stop it goes on until that comes."""
        from langflow_otel.cli.tracing import tracing

        # Looked up at each write: while rich draws, sys.stderr is a stand-in that keeps the lines apart.
        Warnings(lambda line: sys.stderr.write(line)).listen()
        with tracing(self._settings) as going_on, _quiet_langflow():
            scraper = self._scraper(going_on.scrape_url)
            flow_name, run_one = self._load_flow()
            outcomes, figures = self._run_twenty(flow_name, run_one, scraper, stop)
            if stop is not None:
                going_on.flush()
                self._report(figures, scraper, outcomes, is_live=True)
                self._serve(run_one, scraper, stop)
        if stop is None:
            self._report(figures, scraper, outcomes, is_live=False)

    def _scraper(self, url: str | None) -> Scraper:
        """The endpoint's, once it has answered."""
        if url is None or self._settings.scrape is None:
            give_up("the scrape endpoint could not be opened", FAILED)
        scraper = Scraper(url, self._settings.scrape)
        self._page(scraper)
        return scraper

    @staticmethod
    def _page(scraper: Scraper) -> ScrapedPage:
        try:
            return scraper.read()
        except OSError as exc:
            give_up(f"{scraper.url} cannot be read: {exc}", FAILED)

    def _load_flow(self) -> tuple[str, RunOne]:
        """The flow's name, and a function that runs it for one order."""
        with _waiting(self._console, "Loading LangFlow's engine, this takes some seconds ..."):
            started_s = time.perf_counter()
            from lfx.log.logger import configure

            configure(log_level="CRITICAL")
            from langflow_otel.cli.demo.flow.flow import FLOW_NAME, run_flow
        took_s = time.perf_counter() - started_s
        self._console.print(f"LangFlow's engine is loaded: lfx {lfx_version()}, {took_s:.1f} s")

        async def run_one(number: int) -> None:
            await run_flow(f"Where is order {1000 + order_of(number)}?", f"{self._session}-{number:02}")

        return FLOW_NAME, run_one

    def _run_twenty(
        self, flow_name: str, run_one: RunOne, scraper: Scraper, stop: Stop | None
    ) -> tuple[Outcomes, Figures]:
        with _counting(self._console, f"Running the flow '{flow_name}'") as show:
            started_s = time.perf_counter()
            runs = watched(run_all(run_one, show), scraper)
            outcomes, busiest = asyncio.run(runs) if stop is None else stop.run(runs)
        self._console.print(
            f"{outcomes.finished} runs of '{flow_name}', up to {AT_ONCE} at once: "
            f"{outcomes.finished - outcomes.failed} good, {outcomes.failed} failed on purpose, "
            f"{time.perf_counter() - started_s:.1f} s"
        )
        return outcomes, Figures(self._page(scraper), busiest, self._settings.window_s)

    def _report(self, figures: Figures, scraper: Scraper, outcomes: Outcomes, *, is_live: bool) -> None:
        from langflow_otel.cli.demo.report import Report

        report = Report.read(self._settings, self._session, figures, scraper.url, is_live=is_live)
        report.show(self._console)
        if self._svg is not None:
            report.save_picture(self._svg)
        if outcomes.surprises:
            surprise = outcomes.surprises[0]
            give_up(f"{len(outcomes.surprises)} runs failed that should not have: {surprise!r}", FAILED)

    def _serve(self, run_one: RunOne, scraper: Scraper, stop: Stop) -> None:
        from langflow_otel.cli.demo.serve import serve, show_scrape_config

        if self._settings.scrape is not None:
            show_scrape_config(self._console, scraper, self._settings.scrape)
        heading(self._console, "Live", f"a run a second, one in {ONE_FAILS_OF} fails on purpose; Ctrl-C ends it")
        window_s = self._settings.window_s
        figures = serve(self._console, scraper, run_one, stop, first=RUNS + 1, window_s=window_s)
        self._console.print("Stopping: what is left is sent ...")
        self.last_words = "Stopped."
        if figures is not None:
            self.last_words = f"Stopped after {figures.runs:,} runs, {figures.failed_runs:,} of them failed."


def order_of(number: int) -> int:
    """Which of the orders 1 to 20 a run asks for. The thirteenth run fails, and later one in :data:`ONE_FAILS_OF`."""
    order = (number - 1) % RUNS + 1
    goes_well = number > RUNS and order == FAILING_RUN and (number - FAILING_RUN) % ONE_FAILS_OF
    return order + 1 if goes_well else order


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


async def watched(runs: Awaitable[Outcomes], scraper: Scraper) -> tuple[Outcomes, float]:
    """The runs, and the highest CPU saturation that scrapes saw meanwhile."""
    highest = 0.0

    async def watch() -> None:
        nonlocal highest
        while True:
            with suppress(OSError):
                page = await asyncio.to_thread(scraper.read)
                highest = max(highest, page.total(catalogue.CPU_SATURATION.prometheus_name) or 0.0)
            await asyncio.sleep(_WATCH_EVERY_S)

    watching = asyncio.ensure_future(watch())
    try:
        return await runs, highest
    finally:
        watching.cancel()


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

"""``langflow-otel demo --serve``: a steady load of flow runs, so that the scrape endpoint has something to tell."""

from __future__ import annotations

import asyncio
import itertools
import signal
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from rich.console import Console
from rich.live import Live
from rich.text import Text

from langflow_otel._settings.settings import ScrapeSettings
from langflow_otel.cli.console import fitted, glyphs_of, heading, in_percent
from langflow_otel.cli.demo.report import Figures
from langflow_otel.cli.scraping import Scraper, scrape_config

_LOOK_S = 0.1
_RUN_EVERY_S = 1.0
_AT_ONCE = 3
_PATIENCE_S = 5.0
_REFRESH_S = 1.0
_LINE_EVERY_S = 10.0

RunOne = Callable[[int], Awaitable[None]]
T = TypeVar("T")


class Stop:
    """Ctrl-C and SIGTERM while this is entered. The first one ends the program in good order, the second at once."""

    def __init__(self) -> None:
        self._signals = 0
        self._is_awaited = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Stop:
        for each in (signal.SIGINT, signal.SIGTERM):
            self._before[each] = signal.signal(each, self._on_signal)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> bool:
        for each, handler in self._before.items():
            signal.signal(each, handler)
        return kind is KeyboardInterrupt and self._signals == 1

    def _on_signal(self, *_: object) -> None:
        self._signals += 1
        if self._signals > 1 or not self._is_awaited:
            raise KeyboardInterrupt

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run it as ``asyncio.run`` does; a signal cancels it.

        Raises:
            KeyboardInterrupt: It was cancelled, and did not end in a way of its own.
        """
        self._is_awaited = True
        try:
            return asyncio.run(self._run(coroutine))
        except asyncio.CancelledError:
            raise KeyboardInterrupt from None
        finally:
            self._is_awaited = False

    async def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        task = asyncio.ensure_future(coroutine)
        # It begins, also if the signal is here already: what it was given to await would be complained about.
        await asyncio.sleep(0)
        # Looking is what works with every loop: only some let a signal handler wake them.
        while not task.done() and not self._signals:
            await asyncio.wait({task}, timeout=_LOOK_S)
        task.cancel()
        return await task


def serve(
    console: Console, scraper: Scraper, run_one: RunOne, stop: Stop, *, first: int, window_s: float
) -> Figures | None:
    """Run the flow until the stop comes.

    Args:
        run_one: Runs the flow; an error of it is a failed run, as the metrics will tell.
        first: Number of the first run.

    Returns:
        The metrics at the end; None if they could not be read any more.
    """
    with _telling(console, scraper.url) as (tell, every_s):
        stop.run(_keep_running(run_one, first, _keep_telling(scraper, tell, every_s, window_s)))
    try:
        return Figures(scraper.read(), None, window_s)
    except OSError:
        return None


async def _keep_running(run_one: RunOne, first: int, telling: Coroutine[Any, Any, None]) -> None:
    """One run after the other, each second, until this is cancelled; those that go on then may end."""
    teller = asyncio.ensure_future(telling)
    going_on: set[asyncio.Future[Any]] = set()
    loop = asyncio.get_running_loop()
    due_s = loop.time()
    try:
        for number in itertools.count(first):
            if len(going_on) >= _AT_ONCE:
                await asyncio.wait(going_on, return_when=asyncio.FIRST_COMPLETED)
            run = asyncio.ensure_future(_tolerated(run_one, number))
            going_on.add(run)
            run.add_done_callback(going_on.discard)
            due_s = max(due_s + _RUN_EVERY_S, loop.time())
            await asyncio.sleep(due_s - loop.time())
    except asyncio.CancelledError:
        teller.cancel()
        if going_on:
            await asyncio.wait(going_on, timeout=_PATIENCE_S)


async def _tolerated(run_one: RunOne, number: int) -> None:
    with suppress(Exception):
        await run_one(number)


async def _keep_telling(scraper: Scraper, tell: Callable[[Figures], None], every_s: float, window_s: float) -> None:
    while True:
        with suppress(OSError):
            tell(Figures(await asyncio.to_thread(scraper.read), None, window_s))
        await asyncio.sleep(every_s)


@contextmanager
def _telling(console: Console, url: str) -> Iterator[tuple[Callable[[Figures], None], float]]:
    """How to show figures, and how often: one line that changes, or in a pipe a line now and then."""
    dot = glyphs_of(console).dot
    if not console.is_terminal or console.is_dumb_terminal:
        yield (
            lambda figures: console.print(time.strftime("%H:%M:%S  ") + _line(figures, url, dot).plain, soft_wrap=True),
            _LINE_EVERY_S,
        )
        return
    with Live(console=console, auto_refresh=False) as live:

        def show(figures: Figures) -> None:
            live.update(fitted(_line(figures, url, dot), console.width, glyphs_of(console)), refresh=True)

        yield show, _REFRESH_S


def _line(figures: Figures, url: str, dot: str) -> Text:
    facts = (
        Text(f"{figures.runs:,} runs", "bold"),
        Text(f"{figures.failed_runs:,} failed", "red" if figures.failed_runs else ""),
        Text(f"{figures.throughput}/s"),
        Text(f"{in_percent(figures.error_percent)} errors"),
        Text(url, "cyan"),
    )
    return Text(f" {dot} ", "dim").join(facts)


def show_scrape_config(console: Console, scraper: Scraper, settings: ScrapeSettings) -> None:
    """What Prometheus needs to know."""
    heading(console, "Prometheus", "what belongs into its prometheus.yml")
    console.print(Text(scrape_config(scraper, settings), "cyan"), soft_wrap=True)

"""Progress bars on stderr, where that is a terminal; in a pipe they would be empty lines."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from langflow_otel.cli.console import make_console

OnProgress = Callable[[int, int], object]
"""Called with what is done, and all."""


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

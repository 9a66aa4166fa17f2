"""How the commands talk: readable on a terminal, in a pipe and on one that knows no Unicode."""

from __future__ import annotations

import errno
import logging
import math
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

import typer
from rich.console import Console
from rich.text import Text

from langflow_otel._settings.masking import Secrets

_PIPE_WIDTH = 120
_MAX_MESSAGE = 240
_MAX_DECIMALS = 8

FAILED = 1
BAD_INPUT = 2


@dataclass(frozen=True)
class Glyphs:
    """The few signs that are not letters."""

    ok: str
    error: str
    other: str
    skipped: str
    branch: str
    last: str
    down: str
    bar: str
    bar_start: str
    bar_end: str
    ellipsis: str
    dot: str


UNICODE = Glyphs("✓", "✗", "~", "○", "├─ ", "└─ ", "│  ", "━", "╺", "╸", "…", "·")
ASCII = Glyphs("+", "x", "~", "o", "|- ", "`- ", "|  ", "=", "=", "=", "...", "-")


def make_console(*, stderr: bool = False) -> Console:
    """A console that in a pipe is wide and plain: no colours, no control codes."""
    console = Console(stderr=stderr, highlight=False)
    if not console.is_terminal:
        console = Console(stderr=stderr, highlight=False, width=max(_PIPE_WIDTH, console.width))
    return console


def glyphs_of(console: Console) -> Glyphs:
    """The signs that this console can show."""
    return UNICODE if console.encoding.lower().startswith("utf") else ASCII


def say(line: str) -> None:
    """One line on stderr."""
    typer.echo(line, err=True)


def give_up(problem: str, code: int = BAD_INPUT) -> NoReturn:
    """One line on stderr, and the end."""
    say(f"langflow-otel: {problem}")
    raise typer.Exit(code)


def is_out_of_memory(exc: BaseException) -> bool:
    """True for what Python, pyarrow, DuckDB and the operating system raise where memory does not suffice."""
    return (
        isinstance(exc, MemoryError)
        or (isinstance(exc, OSError) and exc.errno == errno.ENOMEM)
        # DuckDB's, without importing it; and a thread needs memory for its stack.
        or type(exc).__name__ == "OutOfMemoryException"
        or (isinstance(exc, RuntimeError) and str(exc) == "can't start new thread")
    )


def heading(console: Console, title: str, detail: str = "") -> None:
    """What a block of lines is about, after an empty line."""
    console.print()
    console.print(Text().append(title, "bold").append(f"  {detail}" if detail else "", "dim"), soft_wrap=True)


def in_words(seconds: float | None) -> str:
    """``<0.1 ms``, ``0.4 ms``, ``87 ms``, ``1.23 s``; a dash for None."""
    if seconds is None:
        return "-"
    if seconds >= 1:
        return f"{seconds:.2f} s"
    milliseconds = seconds * 1000
    if milliseconds < 0.1:
        return "<0.1 ms"
    return f"{milliseconds:.1f} ms" if milliseconds < 10 else f"{milliseconds:.0f} ms"


def in_percent(percent: float) -> str:
    """``0 %``, ``<0.1 %``, ``5.0 %``, ``33 %``."""
    if 0 < percent < 0.1:
        return "<0.1 %"
    return f"{percent:.1f} %" if 0 < percent < 9.95 else f"{percent:.0f} %"


def in_money(amount: float) -> str:
    """``0.00``, ``12.30``, ``0.0450``, ``0.00000123``: below 1 three significant digits, 8 decimals at most."""
    if not 0 < amount < 1:
        return f"{amount:,.2f}"
    decimals = 2 - math.floor(math.log10(amount))
    return f"{amount:.{decimals}f}" if decimals <= _MAX_DECIMALS else f"<{10.0**-_MAX_DECIMALS:.{_MAX_DECIMALS}f}"


def in_bytes(size: float) -> str:
    """``512 B``, ``1.5 KiB``, ``230 MiB``."""
    units = ["B", "KiB", "MiB", "GiB"]
    while size >= 1023.5 and len(units) > 1:
        size /= 1024
        units.pop(0)
    return f"{size:.0f} {units[0]}" if size >= 99.95 or units[0] == "B" else f"{size:.1f} {units[0]}"


def shortened(line: str) -> str:
    """At most so much of a message that it stays one line or two."""
    return line if len(line) <= _MAX_MESSAGE else line[: _MAX_MESSAGE - 3] + "..."


class Warnings(logging.Handler):
    """Each kind of warning of this library and of the SDK once, as one line (an exporter repeats itself)."""

    def __init__(self, write: Callable[[str], object]) -> None:
        super().__init__(logging.WARNING)
        self._write = write
        self._seen: set[tuple[str, str]] = set()

    def emit(self, record: logging.LogRecord) -> None:
        line = record.getMessage().split("\n", 1)[0]
        # Our own message is the whole argument of "%s"; the SDK's template stands for its kind.
        kind = line if record.name.startswith("langflow_otel") else str(record.msg)
        if (record.name, kind) not in self._seen:
            self._seen.add((record.name, kind))
            # The SDK quotes a header that it cannot read.
            self._write(f"warning: {shortened(Secrets(os.environ).hide(line))}\n")

    def listen(self) -> None:
        """From now on, instead of whatever these loggers did before."""
        for name in ("langflow_otel", "opentelemetry"):
            logger = logging.getLogger(name)
            logger.handlers = [self]
            logger.propagate = False


def fitted(text: Text, width: int, glyphs: Glyphs) -> Text:
    """Cut to this width; rich's own ellipsis is not for every encoding."""
    if text.cell_len > width:
        text.truncate(max(width - len(glyphs.ellipsis), 0))
        text.append(glyphs.ellipsis)
    return text


def finite(value: Any) -> Any:
    """A copy of what is to be JSON, which has no word for infinite numbers: they become None, at any depth."""
    if isinstance(value, dict):
        return {name: finite(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def printable(value: object) -> str:
    """On one line and without control codes, whoever named it."""
    return "".join(sign if sign.isprintable() else " " for sign in str(value))


def never_fail_on_a_sign() -> None:
    """A name that the terminal's encoding lacks is shown with question marks instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="replace")

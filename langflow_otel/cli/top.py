"""``langflow-otel top``: a live view of a running LangFlow."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console, RenderableType
from rich.live import Live

from langflow_otel.cli.console import BAD_INPUT, give_up, make_console, printable, shortened
from langflow_otel.cli.top_source import Source, Wanted, source_of
from langflow_otel.cli.top_view import top_view
from langflow_otel.cli.trace_input import seconds_of
from langflow_otel.insights.figures import Figures
from langflow_otel.insights.prometheus_source import PrometheusError

MOST_S = 86_400
"""So many seconds of scraped pages are kept, at most."""
MOST_OF_PROMETHEUS_S = 366 * 86_400

_KEYS = "q quits"
_LEAST_S = 5
_LOOK_S = 0.1


def window_of(given: str, *, most_s: int) -> float:
    """``90``, ``90s``, ``15m``, ``1h`` in seconds; what is not accepted ends the command with exit code 2."""
    try:
        seconds = float(given)
    except ValueError:
        seconds = seconds_of(given, "--window")
    if not _LEAST_S <= seconds <= most_s:
        other = "; --prometheus knows more" if most_s == MOST_S and seconds > most_s else ""
        give_up(f"--window {shortened(printable(given))}: {_LEAST_S}s to {most_s // 86_400}d are accepted{other}")
    return seconds


def top(wanted: Wanted, *, once: bool, as_json: bool) -> None:
    """Show it until q or Ctrl-C; with ``once``, and where the output is no terminal, a single time.

    Args:
        as_json: One object a refresh on a line of its own.
    """
    try:
        source = source_of(wanted)
    except (PrometheusError, OSError) as exc:
        give_up(str(exc))
    console = make_console()
    if as_json:
        _lines(source, wanted.every_s, once=once)
    elif once or not console.is_terminal or console.is_dumb_terminal:
        console.print(top_view(_read_or_end(source), console, url=source.url))
    else:
        with _ended_in_order(), pressed_keys() as keys:
            _Screen(console, source, wanted.every_s, keys).show()


def _read_or_end(source: Source) -> Figures:
    try:
        return source.read()
    except (OSError, PrometheusError) as exc:
        give_up(_problem(source, exc), BAD_INPUT)


def _problem(source: Source, exc: Exception) -> str:
    if isinstance(exc, PrometheusError):
        return shortened(str(exc))
    return shortened(f"{source.url} cannot be read: {_reason(exc)}")


def _reason(exc: Exception) -> object:
    if isinstance(exc, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {exc.verify_message}"
    if isinstance(exc, ssl.SSLError):
        return "it does not speak TLS: is it http:// ?"
    return getattr(exc, "strerror", None) or exc


def _lines(source: Source, every_s: float, *, once: bool) -> None:
    """JSON lines; after the first one, what cannot be read is a line with ``error``."""
    figures: Figures | None = _read_or_end(source)
    problem = ""
    try:
        while True:
            said = {"url": source.url, "time": time.time(), "error": problem or None}
            found = {} if figures is None else dataclasses.asdict(figures)
            sys.stdout.write(json.dumps({**said, **found}) + "\n")
            sys.stdout.flush()
            if once:
                return
            time.sleep(every_s)
            figures, problem = None, ""
            try:
                figures = source.read()
            except (OSError, PrometheusError) as exc:
                problem = _problem(source, exc)
    except (KeyboardInterrupt, BrokenPipeError):
        return


def _read_beside(source: Source) -> Future[Figures]:
    """In a thread that is not waited for: a server that hangs must not keep the command from ending."""
    reading: Future[Figures] = Future()

    def read() -> None:
        try:
            reading.set_result(source.read())
        except BaseException as exc:  # noqa: BLE001 - it is raised where the result is asked for
            reading.set_exception(exc)

    threading.Thread(target=read, name="langflow-otel-top", daemon=True).start()
    return reading


@contextmanager
def _ended_in_order() -> Iterator[None]:
    """SIGTERM and SIGHUP leave the terminal as it was, too."""

    def end(number: int, _: object) -> None:
        raise SystemExit(128 + number)  # as shells say it

    signals = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {each: signal.signal(each, end) for each in signals}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


class _Screen:
    """The whole terminal, drawn anew when there is something new, or when its size has changed."""

    def __init__(self, console: Console, source: Source, every_s: float, keys: Keys) -> None:
        self._console = console
        self._source = source
        self._every_s = every_s
        self._keys = keys
        self._figures: Figures | None = None
        self._problem = ""
        self._failing_since_s = 0.0

    def show(self) -> None:
        self._figures = _read_or_end(self._source)
        try:
            with Live(console=self._console, screen=True, auto_refresh=False) as live:
                self._go_on(lambda: live.update(self._picture(), refresh=True))
        except KeyboardInterrupt:
            pass

    def _go_on(self, draw: Callable[[], None]) -> None:
        draw()
        drawn_for = self._console.size
        due_s = time.monotonic() + self._every_s
        going_on: Future[Figures] | None = None
        while self._keys(_LOOK_S) not in ("q", "Q", "\x1b", "\x03"):
            if going_on is None and time.monotonic() >= due_s:
                going_on = _read_beside(self._source)
                due_s = time.monotonic() + self._every_s
            has_news = going_on is not None and going_on.done()
            if going_on is not None and has_news:
                self._take(going_on)
                going_on = None
            if has_news or self._console.size != drawn_for:
                drawn_for = self._console.size
                draw()

    def _take(self, read: Future[Figures]) -> None:
        try:
            self._figures = read.result()
            self._problem = ""
        except (OSError, PrometheusError) as exc:
            if not self._problem:
                self._failing_since_s = time.monotonic()
            since_s = time.monotonic() - self._failing_since_s
            self._problem = f"no answer for {since_s + self._every_s:.0f} s: {_problem(self._source, exc)}"

    def _picture(self) -> RenderableType:
        if self._figures is None:
            return ""
        return top_view(
            self._figures,
            self._console,
            url=self._source.url,
            problem=self._problem,
            height=self._console.height,
            keys=_KEYS,
        )


class Keys(Protocol):
    """Asked for keys."""

    def __call__(self, timeout_s: float) -> str:
        """The next key within so many seconds; empty for none."""


@contextmanager
def pressed_keys() -> Iterator[Keys]:
    """Keys of the terminal, without Enter and without showing them; none where standard input is no terminal."""
    if not sys.stdin.isatty():
        yield _no_keys
        return
    try:
        import termios
        import tty
    except ImportError:  # Windows
        yield _windows_key
        return
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    tty.setcbreak(descriptor)
    try:
        yield _posix_key
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def _no_keys(timeout_s: float) -> str:
    time.sleep(timeout_s)
    return ""


def _posix_key(timeout_s: float) -> str:
    import select

    if not select.select([sys.stdin], [], [], timeout_s)[0]:
        return ""
    # Not sys.stdin.read: what it buffers, select does not see.
    return os.read(sys.stdin.fileno(), 1).decode(errors="replace")


def _windows_key(timeout_s: float) -> str:
    msvcrt = __import__("msvcrt")
    until_s = time.monotonic() + timeout_s
    while time.monotonic() < until_s:
        if msvcrt.kbhit():
            return str(msvcrt.getwch())
        time.sleep(0.02)
    return ""

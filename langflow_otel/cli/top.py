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
from pathlib import Path
from urllib.parse import urlsplit

from rich.console import Console, RenderableType
from rich.live import Live

from langflow_otel._settings.settings import ScrapeSettings, Settings
from langflow_otel.cli.choosing import seconds_of
from langflow_otel.cli.console import BAD_INPUT, give_up, make_console, printable, shortened
from langflow_otel.cli.keyboard import Keys, pressed_keys
from langflow_otel.cli.live_figures import FromPrometheus, FromScrape, Source
from langflow_otel.cli.scraping import Scraper
from langflow_otel.cli.top_view import top_view
from langflow_otel.insights.figures import Figures
from langflow_otel.insights.prometheus_source import PrometheusAccess, PrometheusError, PrometheusSource

MOST_S = 86_400
"""So many seconds of scraped pages are kept, at most."""
MOST_OF_PROMETHEUS_S = 366 * 86_400

_KEYS = "q quits"
_LEAST_S = 5
_LOOK_S = 0.1


@dataclasses.dataclass(frozen=True)
class Wanted:
    """What was asked for on the command line.

    Attributes:
        url: Of a scrape endpoint; None for that of the settings.
        prometheus: Of a Prometheus; None for the scrape endpoint.
        token_file: For the Prometheus.
        ca_file: The same.
        every_s: Seconds from one refresh to the next.
        window_s: How far back.
    """

    url: str | None
    prometheus: str | None
    token_file: Path | None
    ca_file: Path | None
    every_s: float
    window_s: float


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


def source_of(wanted: Wanted) -> Source:
    """Where the figures come from.

    Raises:
        PrometheusError: The Prometheus cannot be asked in this way.
    """
    if wanted.prometheus is not None:
        access = PrometheusAccess.of(wanted.prometheus, token_file=wanted.token_file, ca_file=wanted.ca_file)
        return FromPrometheus(PrometheusSource(access), wanted.window_s)
    settings = Settings.from_env({**os.environ, "OTEL_METRICS_EXPORTER": "prometheus"}).scrape or ScrapeSettings()
    return FromScrape(Scraper(_whole_url(wanted.url) if wanted.url else _url_of(settings), settings), wanted.window_s)


def _url_of(settings: ScrapeSettings) -> str:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"{'http' if settings.cert_file is None else 'https'}://{host}:{settings.port}/metrics"


def _whole_url(url: str) -> str:
    """With the port and the path that may be left out."""
    try:
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        host = parts.hostname
    except ValueError:
        host = None
    if not host or parts.scheme not in ("http", "https"):
        give_up("--url is the address of a scrape endpoint, such as http://localhost:9464/metrics")
    host = f"[{host}]" if ":" in host else host
    return parts._replace(netloc=f"{host}:{port}", path=parts.path if parts.path.strip("/") else "/metrics").geturl()


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

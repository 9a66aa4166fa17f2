"""What ``langflow-otel top`` shows, from whichever source: the scrape endpoint of LangFlow itself, or a Prometheus."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from prometheus_client.samples import Sample

from langflow_otel._metrics import catalogue
from langflow_otel._settings.settings import ScrapeSettings, Settings
from langflow_otel.cli.console import give_up
from langflow_otel.cli.scraping import ScrapedPage, Scraper
from langflow_otel.insights.figures import GROWN, NOW, Figures, Measured, Value, figures_of
from langflow_otel.insights.prometheus_source import PrometheusAccess, PrometheusSource

_START = catalogue.START_TIME.prometheus_name


@dataclass(frozen=True)
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


class Source(Protocol):
    """Where figures come from."""

    @property
    def url(self) -> str: ...

    def read(self) -> Figures:
        """The figures of the last seconds.

        Raises:
            OSError, PrometheusError: There is no answer.
        """


class FromPrometheus:
    """Of the last seconds, as a Prometheus has them."""

    def __init__(self, source: PrometheusSource, window_s: float) -> None:
        self._source = source
        self._window_s = window_s

    @property
    def url(self) -> str:
        return self._source.url

    def read(self) -> Figures:
        return self._source.figures(self._window_s)


class FromScrape:
    """Of the last seconds, from pages that were read meanwhile; the first time since the start of the counters.

    Args:
        scraper: Reads the endpoint.
        window_s: How far back.
        clock: Unix time, in seconds.
    """

    def __init__(self, scraper: Scraper, window_s: float, clock: Callable[[], float] = time.time) -> None:
        self._scraper = scraper
        self._window_s = window_s
        self._clock = clock
        self._pages: deque[tuple[float, ScrapedPage]] = deque()

    @property
    def url(self) -> str:
        return self._scraper.url

    def read(self) -> Figures:
        page, now_s = self._scraper.read(), self._clock()
        started_s = page.total(_START)
        if self._pages and self._pages[-1][1].total(_START) != started_s:
            # LangFlow was started anew.
            self._pages.clear()
        since = self._since(now_s)
        self._pages.append((now_s, page))
        if since is None:
            seconds = max(1.0, now_s - started_s) if started_s else self._window_s
            return figures_of(measured_between(None, page, seconds))
        return figures_of(measured_between(since[1], page, max(0.001, now_s - since[0])))

    def _since(self, now_s: float) -> tuple[float, ScrapedPage] | None:
        """The page at the window's start: the youngest that is old enough, else the oldest."""
        while len(self._pages) > 1 and self._pages[1][0] <= now_s - self._window_s:
            self._pages.popleft()
        return self._pages[0] if self._pages else None


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


def measured_between(before: ScrapedPage | None, page: ScrapedPage, seconds: float) -> Measured:
    """By how much counters have grown from one page to the next; without a page before, since their start."""
    grown = {name: _growth(before, page, name, labels) for name, labels in GROWN.items()}
    now = {name: _growth(None, page, name, labels) for name, labels in NOW.items()}
    return Measured(seconds, grown, now)


def _growth(before: ScrapedPage | None, page: ScrapedPage, name: str, labels: Sequence[str]) -> list[Value]:
    earlier = {} if before is None else {_whole_key(each): each.value for each in before.series(name)}
    grown: dict[tuple[str, ...], float] = {}
    for each in page.series(name):
        was = earlier.get(_whole_key(each), 0.0)
        # A counter that is less than it was began anew.
        growth = each.value - was if each.value >= was else each.value
        key = _key(each, labels)
        grown[key] = grown.get(key, 0.0) + growth
    return [Value(dict(zip(labels, key, strict=True)), value) for key, value in grown.items()]


def _key(sample: Sample, labels: Sequence[str]) -> tuple[str, ...]:
    return tuple(sample.labels.get(label, "") for label in labels)


def _whole_key(sample: Sample) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(sample.labels.items()))

"""What ``langflow-otel top`` shows, from whichever source: the scrape endpoint of LangFlow itself, or a Prometheus."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from prometheus_client.samples import Sample

from langflow_otel._metrics import catalogue
from langflow_otel.cli.scraping import ScrapedPage, Scraper
from langflow_otel.insights.figures import GROWN, NOW, Figures, Measured, Value, figures_of
from langflow_otel.insights.prometheus_source import PrometheusSource

_START = catalogue.START_TIME.prometheus_name


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

"""The store of series: each is a few float64 cells, in memory or in a shared file.

Plain cells rather than ``prometheus_client``'s metric objects: the same numbers must be readable by another
process, and a scrape of 10,000 series must not hold the interpreter for a tenth of a second.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from langflow_otel._content.limits import cut
from langflow_otel._content.plain_values import sendable
from langflow_otel._metrics.catalogue import Cells, Metric

_MAX_LABEL = 256


class Exemplar(NamedTuple):
    """A trace that shows what a bucket of a histogram holds."""

    trace_id: int
    span_id: int
    value: float
    time_s: float


@dataclass(frozen=True)
class Series:
    """One series of a metric.

    Attributes:
        labels: Values of the metric's labels, in their order.
        cells: Writable float64 numbers; see :attr:`Metric.cells`.
        exemplars: One place for each bucket of a histogram; None where exemplars are not kept.
        created_s: Unix time at which all cells were 0; None where it is not known.
    """

    metric: Metric
    labels: tuple[str, ...]
    cells: Cells
    exemplars: list[Exemplar | None] | None = None
    created_s: float | None = None


class MemoryStore:
    """Series of one process, in its own memory. Keeps exemplars.

    Attributes:
        lock: Held for the moment of each change, since ``cells[0] += 1`` is three steps of the interpreter.
            Reentrant: the garbage collector may close a run that was dropped half way at any of these steps.
    """

    keeps_exemplars = True

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self._series: dict[tuple[str, tuple[str, ...]], Series] = {}

    def series(self, metric: Metric, labels: tuple[str, ...]) -> Series:
        """The series with these labels; made, with all cells 0, when it is asked for the first time."""
        found = self._series.get((metric.name, labels))
        if found is not None:
            return found
        labels = tuple(map(_label, labels))
        with self.lock:
            found = self._series.get((metric.name, labels))
            if found is None:
                exemplars: list[Exemplar | None] | None = None
                if metric.buckets and self.keeps_exemplars:
                    exemplars = [None] * (len(metric.buckets) + 1)
                created_s = time.time()
                cells = self._allocate(metric, labels, created_s)
                found = Series(metric, labels, cells, exemplars, created_s)
                self._series[metric.name, labels] = found
        return found

    def all_series(self) -> list[Series]:
        """Every series, in the order of their making."""
        with self.lock:
            return list(self._series.values())

    def read(self, series: Series) -> list[float]:
        """The cells of one series at one moment."""
        with self.lock:
            return list(series.cells)

    def _allocate(self, metric: Metric, labels: tuple[str, ...], created_s: float) -> Cells:
        return memoryview(bytearray(8 * metric.cells)).cast("d")

    def close(self) -> None:
        """Nothing more is written. The cells stay usable."""


def earliest(times_s: Iterable[float | None]) -> float | None:
    """When a sum of series began: with the first of them; None where one of them does not say."""
    known: list[float] = []
    for each in times_s:
        if each is None:
            return None
        known.append(each)
    return min(known, default=None)


def _label(text: str) -> str:
    """A name from a JSON file may hold half of a surrogate pair, with which no scrape and no push could be made;
    and a name of a megabyte would stand in each of its lines."""
    return sendable(cut(text, _MAX_LABEL))

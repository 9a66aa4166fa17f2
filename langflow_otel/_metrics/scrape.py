"""One scrape: the series of this process, or of all workers, and what is derived and read at that moment."""

from __future__ import annotations

import gzip
import logging
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import add
from typing import Any

from langflow_otel._guard import Guard, WarnOnce
from langflow_otel._metrics.catalogue import START_TIME, Metric, Reading
from langflow_otel._metrics.default_registry import DefaultRegistry
from langflow_otel._metrics.derived import derived_readings
from langflow_otel._metrics.exposition import OPENMETRICS, TEXT, Family, Renderer, Row
from langflow_otel._metrics.shared_file import exact_sum
from langflow_otel._metrics.store import Exemplar, MemoryStore, earliest
from langflow_otel._metrics.workers import WorkerGroup, WorkerSeries

logger = logging.getLogger("langflow_otel")

_SERIES_IN_A_SLICE = 100
"""Then the event loop's thread, which waits for the interpreter, has its turn."""

_COUNT_UP = frozenset({"counter", "histogram"})

_REGISTRY = Guard("metrics.registry")
_NOT_AT_ALL = re.compile(r"q\s*=\s*0(\.0*)?")

_ALONE = (
    "%s is gone (%s), where the workers share their numbers: a scrape shows those of one worker. Something cleans "
    "up there; restart the workers to share again."
)

ReadWorkers = Callable[[Sequence[int]], Iterable[Reading]]


@dataclass(frozen=True)
class Page:
    """The answer to a scrape."""

    content_type: str
    body: bytes
    headers: tuple[tuple[str, str], ...]


class Scrape:
    """Makes the page.

    Args:
        store: This process's series.
        own_pid: This process; its store is in memory and no file of the group.
        window_s: Window of the derived gauges.
        cores: CPU cores that this process may use.
        read: Readings of the machine, and of the processes given.
        info: Labels of ``target_info``: which service this is.
        registry: What else is shown.
    """

    def __init__(
        self,
        store: MemoryStore,
        *,
        own_pid: int,
        window_s: float,
        cores: float,
        read: ReadWorkers,
        info: dict[str, str],
        registry: DefaultRegistry | None = None,
    ) -> None:
        self.group: WorkerGroup | None = None
        self.registry = registry
        self._store = store
        self._own_pid = own_pid
        self._window_s = window_s
        self._cores = cores
        self._read = read
        target = Metric("target.info", "gauge", "", "The service that these metrics are of.", tuple(info))
        self._info = Family(target, [Row(target, tuple(info.values()), [1.0])])
        self._renderer = Renderer()
        self._one_at_a_time = threading.Lock()
        self._warn_once = WarnOnce()

    def page(self, accept: str, accept_encoding: str) -> Page:
        """The page in the format and the compression that these request headers ask for."""
        openmetrics = _accepts(accept, "application/openmetrics-text")
        others: list[Any] = []
        with _REGISTRY:
            # Not while others wait: it runs code of others.
            others = self._others()
        # Many at once would take longer all together, and the interpreter from the event loop all the while.
        with self._one_at_a_time:
            body = b"".join(self._slices(openmetrics, others))
        headers = [("Vary", "Accept, Accept-Encoding")]
        if _accepts(accept_encoding, "gzip", "*"):
            # The compressor lets other threads run.
            body = gzip.compress(body, compresslevel=5)
            headers.append(("Content-Encoding", "gzip"))
        return Page(OPENMETRICS if openmetrics else TEXT, body, tuple(headers))

    def _others(self) -> list[Any]:
        """Families of the default registry."""
        if self.registry is None:
            return []
        return self.registry.collect(None if self.group is None else self._own_pid)

    def _slices(self, openmetrics: bool, others: list[Any]) -> Iterator[bytes]:
        families = self.families()
        more: Iterable[str] = ()
        if self.registry is not None:
            ours = [family.metric for family in families]
            more = self.registry.slices(others, ours, openmetrics=openmetrics)
        for text in self._renderer.slices(families, openmetrics=openmetrics, more=more):
            yield text.encode("utf-8", "replace")
            time.sleep(0)

    def families(self) -> list[Family]:
        """All metrics that have series, each with its rows."""
        workers = self._workers()
        pids = [worker.pid for worker in workers if worker.pid is not None]
        merged = _Merged(self._exemplars(), tell_workers_apart=self.group is not None)
        values = []
        beginnings: list[float | None] = []
        for worker in workers:
            for number, series in enumerate(worker.series):
                if not number % _SERIES_IN_A_SLICE:
                    time.sleep(0)
                cells = self._store.read(series)
                values.append((series.metric, series.labels, cells))
                created_s = None
                if series.metric.kind in _COUNT_UP:
                    created_s = series.created_s
                    beginnings.append(created_s)
                merged.add(series.metric, series.labels, cells, worker.pid, created_s)
        readings = derived_readings(values, time.monotonic(), self._window_s, self._cores)
        for reading in [*readings, *self._read(pids)]:
            merged.add(reading.metric, reading.labels, [reading.value], reading.worker)
        started_s = earliest(beginnings)
        if started_s is not None:
            merged.add(START_TIME, (), [started_s])
        return [self._info, *merged.families.values()]

    def _workers(self) -> list[WorkerSeries]:
        mine = WorkerSeries(self._own_pid, self._store.all_series())
        if self.group is None:
            return [mine]
        try:
            found = self.group.gather()
        except FileNotFoundError as exc:
            # Any other error may pass: then no answer at all, for a total that falls looks like a restart.
            self._warn_once("group", _ALONE, self.group.folder, exc)
            return [mine]
        if all(worker.pid != self._own_pid for worker in found):
            found.append(mine)
        # This worker first, the dead ones last: where definitions of a metric differ, the first one wins.
        return sorted(found, key=lambda worker: (worker.pid != self._own_pid, worker.pid is None))

    def _exemplars(self) -> dict[tuple[str, tuple[str, ...]], list[Exemplar | None]]:
        """This process's own: they are not in the files, and one worker's are as good as another's."""
        return {
            (series.metric.name, series.labels): series.exemplars
            for series in self._store.all_series()
            if series.exemplars is not None
        }


class _Merged:
    """Series of all workers, added up where that makes sense."""

    def __init__(
        self, exemplars: dict[tuple[str, tuple[str, ...]], list[Exemplar | None]], *, tell_workers_apart: bool
    ) -> None:
        self.families: dict[str, Family] = {}
        self._exemplars = exemplars
        self._apart = tell_workers_apart
        self._rows: dict[tuple[str, tuple[str, ...], tuple[str, ...]], Row] = {}
        self._addends: dict[tuple[str, tuple[str, ...], tuple[str, ...]], list[float]] = {}

    def add(
        self,
        metric: Metric,
        labels: tuple[str, ...],
        cells: Sequence[float],
        worker: int | None = None,
        created_s: float | None = None,
    ) -> None:
        if metric.kind == "window":
            return
        family = self.families.get(metric.name)
        if family is None:
            family = self.families[metric.name] = Family(metric)
        elif (metric.kind, metric.buckets) != (family.metric.kind, family.metric.buckets):
            # Of a worker that runs other code, before or after a reload: it cannot be added up, nor shown twice.
            return
        if metric.per_worker:
            family.rows.append(Row(metric, labels, cells, worker if self._apart else None))
            return
        key = (metric.name, metric.labels, labels)
        row = self._rows.get(key)
        if row is None:
            exemplars = self._exemplars.get((metric.name, labels))
            row = self._rows[key] = Row(metric, labels, cells, exemplars=exemplars, created_s=created_s)
            family.rows.append(row)
        else:
            row.created_s = earliest((row.created_s, created_s))
            # The last cell is no count but a sum of any numbers: added up the same way whoever comes first, for a
            # total that falls by a rounding error looks like a restart.
            addends = self._addends.setdefault(key, [row.values[-1]])
            addends.append(cells[-1])
            row.values = [*map(add, row.values[:-1], cells[:-1]), exact_sum(addends)]


def _accepts(header: str, *names: str) -> bool:
    """True if the header gives the first of these names that it holds a weight above 0 (RFC 9110, 12.4.2)."""
    offered = {}
    for part in header.lower().split(","):
        name, *parameters = (text.strip() for text in part.split(";"))
        offered[name] = parameters
    for name in names:
        if name in offered:
            return not any(_NOT_AT_ALL.fullmatch(parameter) for parameter in offered[name])
    return False

"""One scrape: the series of this process, or of all workers, and what is derived and read at that moment."""

from __future__ import annotations

import gzip
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import add

from langflow_otel.export.exposition import OPENMETRICS, TEXT, Family, Renderer, Row
from langflow_otel.export.workers import WorkerGroup, WorkerSeries
from langflow_otel.recording.derived import derived_readings
from langflow_otel.recording.metrics import Metric, Reading
from langflow_otel.recording.store import Exemplar, MemoryStore

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
    ) -> None:
        self.group: WorkerGroup | None = None
        self._store = store
        self._own_pid = own_pid
        self._window_s = window_s
        self._cores = cores
        self._read = read
        self._info = Family(
            Metric("target.info", "gauge", "", "The service that these metrics are of.", tuple(info)),
            [Row(tuple(info.values()), [1.0])],
        )
        self._renderer = Renderer()

    def page(self, accept: str, accept_encoding: str) -> Page:
        """The page in the format and the compression that these request headers ask for."""
        openmetrics = "application/openmetrics-text" in accept
        body = b"".join(self._slices(openmetrics))
        headers = [("Vary", "Accept, Accept-Encoding")]
        if _accepts_gzip(accept_encoding):
            # The compressor lets other threads run.
            body = gzip.compress(body, compresslevel=5)
            headers.append(("Content-Encoding", "gzip"))
        return Page(OPENMETRICS if openmetrics else TEXT, body, tuple(headers))

    def _slices(self, openmetrics: bool) -> Iterator[bytes]:
        for text in self._renderer.slices(self.families(), openmetrics=openmetrics):
            yield text.encode()
            # The event loop's thread waits for the interpreter: this is its turn.
            time.sleep(0)

    def families(self) -> list[Family]:
        """All metrics that have series, each with its rows."""
        workers = self._workers()
        pids = [worker.pid for worker in workers if worker.pid is not None]
        merged = _Merged(self._exemplars(), tell_workers_apart=self.group is not None)
        values = []
        for worker in workers:
            for series in worker.series:
                cells = self._store.read(series)
                values.append((series.metric, series.labels, cells))
                merged.add(series.metric, series.labels, cells, worker.pid)
        readings = derived_readings(values, time.monotonic(), self._window_s, self._cores)
        for reading in [*readings, *self._read(pids)]:
            merged.add(reading.metric, reading.labels, [reading.value], reading.worker)
        return [self._info, *merged.families.values()]

    def _workers(self) -> list[WorkerSeries]:
        mine = WorkerSeries(self._own_pid, self._store.all_series())
        if self.group is None:
            return [mine]
        found = self.group.gather()
        return found if any(worker.pid == self._own_pid for worker in found) else [mine, *found]

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
        self._rows: dict[tuple[str, tuple[str, ...]], Row] = {}

    def add(self, metric: Metric, labels: tuple[str, ...], cells: Sequence[float], worker: int | None) -> None:
        if metric.kind == "window":
            return
        family = self.families.get(metric.name)
        if family is None:
            family = self.families[metric.name] = Family(metric)
        if metric.per_worker:
            family.rows.append(Row(labels, cells, worker if self._apart else None))
            return
        row = self._rows.get((metric.name, labels))
        if row is None:
            row = Row(labels, cells, exemplars=self._exemplars.get((metric.name, labels)))
            self._rows[metric.name, labels] = row
            family.rows.append(row)
        else:
            row.values = list(map(add, row.values, cells))


def _accepts_gzip(accept_encoding: str) -> bool:
    """True unless the client rules it out with ``q=0`` or does not name it."""
    for part in accept_encoding.split(","):
        name, _, weight = part.strip().partition(";")
        if name.strip() in ("gzip", "*"):
            return weight.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False

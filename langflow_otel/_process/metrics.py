"""Everything that metrics need in one process: where they are kept, who pushes them, who answers a scrape; and the
prices of what they count."""

from __future__ import annotations

import atexit
import errno
import functools
import logging
import os
import threading
import time
from collections.abc import Callable, Collection, Iterable, Sequence

from opentelemetry.metrics import MeterProvider

from langflow_otel import _semconv as semconv
from langflow_otel._guard import Guard, WarnOnce
from langflow_otel._metrics import catalogue
from langflow_otel._metrics.catalogue import Reading
from langflow_otel._metrics.default_registry import DefaultRegistry
from langflow_otel._metrics.endpoint import ScrapeEndpoint, port_problem
from langflow_otel._metrics.gpu import GpuReader
from langflow_otel._metrics.instruments import Instruments
from langflow_otel._metrics.scrape import Scrape
from langflow_otel._metrics.store import MemoryStore
from langflow_otel._metrics.system import SystemReader, heap_fragmentation, usable_cores
from langflow_otel._metrics.workers import WorkerGroup, common_process
from langflow_otel._process.conditions import RunConditions
from langflow_otel._process.fork import ForkAware
from langflow_otel._process.price_file import PriceFile
from langflow_otel._runs.measuring import RunMetrics
from langflow_otel._runs.process_watch import ProcessWatch
from langflow_otel._runs.recorder import Recorder, count_dropped, process_recorder
from langflow_otel._sdk.providers import choose_meter_provider, unless_refused
from langflow_otel._sdk.resource import langflow_resource
from langflow_otel._settings.settings import ScrapeSettings, Settings
from langflow_otel.version import __version__

logger = logging.getLogger("langflow_otel")

_TICK_S = 0.25
_SLOW_TICK_S = 5.0
_TARGET_INFO = ("service.name", "service.namespace", "service.version", "deployment.environment.name")

_ALONE = "Metrics of this worker cannot be shared with its siblings' (%s): a scrape shows one."

_KEEP = Guard("metrics.keep")
_READ = Guard("metrics.read")
_CLOSE = Guard("metrics.close")
_PRICES = Guard("prices.read")

ReadHost = Callable[[], Iterable[Reading]]


class MetricsPipeline(ForkAware):
    """Metrics of this process, from the first record call to the last export.

    Args:
        settings: Which destinations, window, caps.
        read_host: Readings of LangFlow's own queues.
        already_pushed: Names of metrics that LangFlow itself pushes at the moment.
        passed_in: A meter provider that the caller of ``instrument()`` passed in.
    """

    fork_guard = Guard("metrics.fork")

    def __init__(
        self,
        settings: Settings,
        read_host: ReadHost,
        already_pushed: Callable[[], Collection[str]],
        passed_in: MeterProvider | None = None,
    ) -> None:
        self.settings = settings
        self._already_pushed = already_pushed
        self._passed_in = passed_in
        self.watch = ProcessWatch()
        self._read_host = read_host
        self._cores = usable_cores()
        self._info = _target_info(settings)
        self._registry = DefaultRegistry() if settings.scrape is not None and settings.scrape.registry else None
        self._prices = None if settings.prices is None else PriceFile(settings.prices)
        self._endpoint: ScrapeEndpoint | None = None
        self._group: WorkerGroup | None = None
        self._common_pid = common_process()
        self._warn_once = WarnOnce()
        self._hopeless = False
        self._open()
        self.register_for_forks()

    @property
    def url(self) -> str | None:
        """Where the metrics can be scraped; None while another worker answers, or nobody."""
        return None if self._endpoint is None else self._endpoint.url

    @property
    def wanted(self) -> bool:
        """True if metrics have somewhere to go."""
        return self.choice is not None or self.settings.scrape is not None

    def _open(self) -> None:
        # Of this process: a library that was started before a fork does not work after it.
        self._gpu = GpuReader()
        self._conditions = RunConditions(self._gpu)
        store = self._make_store()
        self.choice = unless_refused("METRICS", lambda: choose_meter_provider(self.settings, self._passed_in, store))
        instruments = Instruments(store, None)
        if self.choice is not None:
            meter = self.choice.provider.get_meter(semconv.SCOPE, __version__, schema_url=semconv.SCHEMA_URL)
            instruments = Instruments(store, meter, self.choice.from_store)
        self.run_metrics = RunMetrics(instruments, self.settings)
        instruments.observe(catalogue.DERIVED, lambda: self.run_metrics.derived(self._cores))
        instruments.observe(catalogue.READ, functools.partial(self._read_to_push, SystemReader()))
        self.scrape = self._make_scrape(store)
        self._stopped = threading.Event()
        with _KEEP:
            self._keep(slowly=True)
        self._thread = threading.Thread(target=self._keep_on, name="langflow-otel-metrics", daemon=True)
        self._thread.start()

    def _make_store(self) -> MemoryStore:
        if self.settings.scrape is None or self._common_pid is None:
            return MemoryStore()
        try:
            self._group = self._group or self._make_group(self._common_pid)
            return self._group.join()
        except OSError as exc:
            logger.warning(_ALONE, exc)
            self._group = None
            return MemoryStore()

    def _make_group(self, common_pid: int) -> WorkerGroup:
        return WorkerGroup(
            common_pid,
            max_values=self.settings.max_flows,
            on_broken_file=functools.partial(count_dropped, "metrics", "broken_file"),
        )

    def _make_scrape(self, store: MemoryStore) -> Scrape:
        scrape = Scrape(
            store,
            own_pid=os.getpid(),
            window_s=self.settings.window_s,
            cores=self._cores,
            # A reader of its own: utilization is over the time since the reader's last reading.
            read=functools.partial(self._read_machine, SystemReader()),
            info=self._info,
            registry=self._registry,
        )
        scrape.group = self._group
        return scrape

    def close(self) -> None:
        """Push what is there, free the port, stop the threads."""
        self.unregister_for_forks()
        self._stopped.set()
        self.run_metrics.probe.stop()
        self._thread.join()
        if self._prices is not None:
            self._prices.close()
        with _CLOSE:
            if self._endpoint is not None:
                self._endpoint.close()
                self._endpoint = None
        with _CLOSE:
            self._gpu.shutdown()
        try:
            if self.choice is not None:
                self.choice.shutdown()
        finally:
            self.run_metrics.instruments.store.close()
            if self._group is not None:
                self._group.leave()

    def _keep_on(self) -> None:
        slow_at_s = time.monotonic() + _SLOW_TICK_S
        while not self._stopped.wait(_TICK_S):
            slowly = time.monotonic() >= slow_at_s
            if slowly:
                slow_at_s = time.monotonic() + _SLOW_TICK_S
            with _KEEP:
                self._keep(slowly=slowly)

    def _keep(self, *, slowly: bool) -> None:
        """What is done now and then, in a thread of its own."""
        self.watch.sample(self._conditions.read())
        if slowly and self._prices is not None:
            with _PRICES:
                self._prices.check()
        if self.settings.scrape is None:
            return
        if self._leads() and self._endpoint is None and (slowly or not self._hopeless):
            self._listen(self.settings.scrape)
        if slowly:
            self._publish()

    def _leads(self) -> bool:
        """True if this process answers scrapes. Does what else a leader of workers does."""
        if self._group is None:
            return True
        leads = False
        try:
            leads = self._group.lead()
            if leads:
                self._group.fold()
        except OSError as exc:
            self._warn_once("group", "%s cannot be kept in order: %s. It is tried again.", self._group.folder, exc)
        return leads

    def _listen(self, scrape: ScrapeSettings) -> None:
        try:
            self._endpoint = ScrapeEndpoint(scrape, self.scrape)
        except (OSError, UnicodeError) as exc:  # The latter for what is no host name.
            # Another address or a name server's answer comes later, if at all.
            self._hopeless = getattr(exc, "errno", None) != errno.EADDRINUSE
            self._warn_once("port", "%s", port_problem(scrape, exc))
            return
        logger.info("Prometheus metrics: %s", self._endpoint.url)

    def _publish(self) -> None:
        """Put what only this process can read about itself where the scrape finds it, whoever answers it."""
        store = self.run_metrics.instruments.store
        for reading in self._read_self():
            store.series(reading.metric, reading.labels).cells[0] = reading.value

    def _read_self(self) -> list[Reading]:
        readings: list[Reading] = []
        with _READ:
            readings += self.run_metrics.oldest_ages()
        with _READ:
            late_s = self.run_metrics.probe.lateness_s()
            if late_s is not None:
                readings.append(Reading(catalogue.EVENT_LOOP_LATENESS, late_s))
        with _READ:
            fragmentation = heap_fragmentation()
            if fragmentation is not None:
                readings.append(Reading(catalogue.MEMORY_FRAGMENTATION, fragmentation))
        with _READ:
            readings += self._read_host()
        return readings

    def _read_to_push(self, system: SystemReader) -> list[Reading]:
        readings = self._read_machine(system, [os.getpid()]) + self._read_self()
        others: Collection[str] = ()
        with _READ:
            others = self._already_pushed()
        return [reading for reading in readings if reading.metric.name not in others]

    def _read_machine(self, system: SystemReader, pids: Sequence[int]) -> list[Reading]:
        readings: list[Reading] = []
        with _READ:
            readings += system.read(pids)
        with _READ:
            readings += self._gpu.read()
        return readings

    # A process that forks after it was instrumented: a preloading server, a pool of workers.

    def before_fork(self) -> None:
        """Make the folder that parent and children share, and lead: the port is the parent's."""
        if self.settings.scrape is not None and self._group is None and self._common_pid is None:
            self._common_pid = os.getpid()
            try:
                self._group = self._make_group(self._common_pid)
                self._group.lead()
            except OSError as exc:
                logger.warning(_ALONE, exc)
                self._group = None
            self.scrape.group = self._group

    def after_fork_in_child(self) -> None:
        """Abandon what is the parent's. The child opens its own with its first flow run, which many never have."""
        self.watch.forget()
        if self._endpoint is not None:
            self._endpoint.abandon()
            self._endpoint = None
        if self._group is not None:
            self._group.forked()
        self.run_metrics.instruments.store.close()
        # What another thread of the parent held, nothing would ever release in the child.
        self.run_metrics.instruments.store.lock._at_fork_reinit()  # type: ignore[attr-defined]
        self._stopped = threading.Event()
        self.scrape = self._make_scrape(MemoryStore())
        # The parent may be in the middle of a push: its provider could wait for ever in the child.
        if self.choice is not None and self.choice.own is not None:
            atexit.unregister(self.choice.own.shutdown)
        self.choice = None
        recorder = process_recorder()
        if recorder is not None and recorder.metrics is self.run_metrics:
            recorder.use_metrics(None, self.watch)
            recorder.prepare_with(functools.partial(self._reopen, recorder))

    def _reopen(self, recorder: Recorder) -> None:
        with self.fork_guard:
            self._open()
            recorder.use_metrics(self.run_metrics, self.watch)


def _target_info(settings: Settings) -> dict[str, str]:
    attributes = langflow_resource(settings).attributes
    return {name: str(attributes[name]) for name in _TARGET_INFO if name in attributes}

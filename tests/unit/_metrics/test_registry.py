"""The two bridges to ``prometheus_client``: its default registry on our page, our series in its registries."""

from __future__ import annotations

import asyncio
import http.client
import logging
import subprocess
import sys
import threading
import types
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import prometheus_client
import pytest
from opentelemetry.sdk.trace import TracerProvider
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, Summary
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.openmetrics.exposition import generate_latest as openmetrics_text
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from langflow_otel import LangflowInstrumentor, instrument, uninstrument
from langflow_otel._metrics.catalogue import (
    COMPONENT_DURATION,
    COMPONENT_RETRIES,
    FLOW_ACTIVE,
    FLOW_DURATION_EMA,
    HTTP_REQUEST_DURATION,
)
from langflow_otel._metrics.default_registry import DefaultRegistry
from langflow_otel._metrics.instruments import Instruments
from langflow_otel._metrics.scrape import Scrape
from langflow_otel._metrics.store import Exemplar, MemoryStore
from langflow_otel._metrics.workers import WorkerGroup
from langflow_otel._runs.recorder import active_recorder
from langflow_otel._settings.settings import ScrapeSettings, Settings
from langflow_otel.prometheus import LangflowCollector

OPENMETRICS = "application/openmetrics-text;version=1.0.0"
FORMATS = pytest.mark.parametrize("accept", ["", OPENMETRICS], ids=["text", "openmetrics"])

Key = tuple[str, tuple[tuple[str, str], ...]]


def samples(page: bytes, accept: str = "") -> dict[Key, Any]:
    """Values by name and labels, with exemplars; fails if a series is there twice."""
    found: dict[Key, Any] = {}
    for family in (parse_openmetrics if accept else parse_text)(page.decode()):
        for sample in family.samples:
            key = sample.name, tuple(sorted(sample.labels.items()))
            assert key not in found
            found[key] = sample.value, sample.exemplar
    return found


def values(page: bytes, accept: str = "") -> dict[str, float]:
    """Values of the series without labels."""
    return {name: value for (name, labels), (value, _) in samples(page, accept).items() if not labels}


@pytest.fixture
def default(monkeypatch) -> CollectorRegistry:
    """A default registry of this test's own, with the collectors that it has from the start."""
    fresh = CollectorRegistry(auto_describe=True)
    for collector in (
        prometheus_client.PROCESS_COLLECTOR,
        prometheus_client.PLATFORM_COLLECTOR,
        prometheus_client.GC_COLLECTOR,
    ):
        fresh.register(collector)
    monkeypatch.setattr(prometheus_client, "REGISTRY", fresh)
    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR", raising=False)
    return fresh


def scrape_of(store: MemoryStore | None = None, read: Iterable[Any] = ()) -> Scrape:
    return Scrape(
        store or MemoryStore(),
        own_pid=7,
        window_s=60,
        cores=1.0,
        read=lambda pids: read,
        info={"service.name": "shop"},
        registry=DefaultRegistry(),
    )


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


# The default registry on our page


@FORMATS
def test_a_page_has_what_is_in_the_default_registry(default, accept: str, caplog):
    Gauge("orders_open", "Orders.", ["region"], registry=default).labels("eu").set(3)
    Counter("orders", 'Orders "done".', registry=default).inc(2, exemplar={"trace_id": "abc"})
    Histogram("wait_seconds", "Waiting.", buckets=(0.5, 1.0), registry=default).observe(0.7)
    Summary("size_bytes", "Size.", registry=default).observe(5)
    Info("build", "Build.", registry=default).info({"version": "1"})
    body = scrape_of().page(accept, "").body
    found = samples(body, accept)

    assert found["orders_open", (("region", "eu"),)] == (3.0, None)
    assert found["orders_total", ()][0] == 2.0
    assert found["wait_seconds_bucket", (("le", "1.0"),)][0] == 1.0
    assert found["wait_seconds_sum", ()][0] == 0.7
    assert found["size_bytes_count", ()][0] == 1.0
    assert found["build_info", (("version", "1"),)][0] == 1.0
    assert found["langflow_throughput", ()][0] == 0.0
    assert body.endswith(b"# EOF\n") is bool(accept)
    assert body.count(b"# EOF") == bool(accept)
    if accept:
        assert found["orders_total", ()][1].labels == {"trace_id": "abc"}
    assert warnings(caplog) == []


@FORMATS
def test_what_is_about_the_process_is_left_out(default, accept: str, caplog):
    default.set_target_info({"service.name": "other"})
    found = samples(scrape_of().page(accept, "").body, accept)

    assert [name for name, _ in found if name.startswith(("process_", "python_"))] == []
    assert [labels for name, labels in found if name == "target_info"] == [(("service_name", "shop"),)]
    assert warnings(caplog) == []


class Custom:
    """A collector of somebody's own."""

    def __init__(self, *families: Any, error: Exception | None = None) -> None:
        self.families = families
        self.error = error

    def describe(self) -> list[Any]:
        return []

    def collect(self) -> Iterator[Any]:
        yield from self.families
        if self.error is not None:
            raise self.error


def gauge(name: str, value: float = 1.0) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, "Custom.", value)


@FORMATS
@pytest.mark.parametrize(
    "name",
    [
        "langflow_throughput",
        "langflow_component_duration_seconds",
        "langflow_component_duration_seconds_count",
        "langflow_component_retries",
        "langflow_component_retries_total",
        "langflow_component_retries_created",
    ],
)
def test_ours_wins_a_name_that_both_have(default, accept: str, name: str, caplog):
    """Also while ours has no series yet."""
    default.register(Custom(gauge(name, 99.0), gauge("after_it")))
    scrape = scrape_of()
    for _ in range(2):
        found = values(scrape.page(accept, "").body, accept)
        assert 99.0 not in found.values()
        assert found["after_it"] == 1.0

    assert warnings(caplog) == [
        f"The scrape is without the metric {name} of prometheus_client's default registry: its name is taken."
    ]


def test_requests_measured_by_langflow_too_cause_no_log_line(default, caplog):
    default.register(Custom(gauge("http_server_request_duration_seconds", 99.0)))

    assert 99.0 not in values(scrape_of().page("", "").body).values()
    assert warnings(caplog) == []


def test_a_metric_of_an_author_wins_as_well(default, caplog):
    store = MemoryStore()
    store.series(COMPONENT_RETRIES.__class__("orders.scored", "counter", "", "Orders."), ()).cells[0] = 5.0
    default.register(Custom(gauge("orders_scored_total", 99.0)))

    assert values(scrape_of(store).page("", "").body)["orders_scored_total"] == 5.0
    assert len(warnings(caplog)) == 1


@FORMATS
def test_a_name_that_two_collectors_have_is_shown_once(default, accept: str, caplog):
    default.register(Custom(gauge("orders", 1.0)))
    default.register(Custom(gauge("orders", 2.0)))

    assert values(scrape_of().page(accept, "").body, accept)["orders"] == 1.0
    assert len(warnings(caplog)) == 1


def _not_a_family() -> Any:
    return object()


def _bad_labels() -> Any:
    family = GaugeMetricFamily("bad", "Bad.", labels=["x"])
    family.add_sample("bad", {"x": object()}, 1.0)  # type: ignore[dict-item]
    return family


def _bad_value() -> Any:
    family = GaugeMetricFamily("bad", "Bad.")
    family.add_sample("bad", {}, "much")  # type: ignore[arg-type]
    return family


@FORMATS
@pytest.mark.parametrize("bad", [_not_a_family, _bad_labels, _bad_value])
@pytest.mark.parametrize("worker", [None, 7])
def test_a_broken_family_costs_nobody_else_anything(
    default, accept: str, bad: Callable[[], Any], worker: int | None, caplog, monkeypatch
):
    default.register(Custom(bad()))
    default.register(Custom(gauge("good")))
    scrape = scrape_of()
    collect = scrape.registry.collect
    monkeypatch.setattr(scrape.registry, "collect", lambda _: collect(worker))
    for _ in range(2):
        page = scrape.page(accept, "").body
        assert (f'\ngood{{worker="{worker}"}} 1.0\n' if worker else "\ngood 1.0\n").encode() in page
        found = values(page, accept)
        assert found["langflow_throughput"] == 0.0

    assert len(warnings(caplog)) == 1


def test_a_broken_collector_costs_nobody_else_anything(default, caplog):
    default.register(Custom(gauge("half"), error=RuntimeError("secret of a flow")))
    default.register(Custom(gauge("good")))
    scrape = scrape_of()
    for _ in range(2):
        found = values(scrape.page("", "").body)
        assert found["good"] == 1.0
        assert found["langflow_throughput"] == 0.0

    assert warnings(caplog) == [
        f"The scrape is without what the collector {Custom.__module__}.Custom in prometheus_client's default "
        "registry has: RuntimeError."
    ]


def test_a_registry_of_another_kind_is_read_as_a_whole(default, monkeypatch):
    monkeypatch.setattr(prometheus_client, "REGISTRY", Custom(gauge("orders", 3.0)))

    assert values(scrape_of().page("", "").body)["orders"] == 3.0


def test_a_slow_collector_does_not_keep_other_pages_waiting(default):
    going_on, leave = threading.Event(), threading.Event()

    class Slow(Custom):
        def collect(self) -> Iterator[Any]:
            if not going_on.is_set():
                going_on.set()
                assert leave.wait(20)
            yield gauge("slow")

    default.register(Slow())
    scrape = scrape_of()
    thread = threading.Thread(target=lambda: scrape.page("", ""))
    thread.start()
    assert going_on.wait(20)
    assert values(scrape.page("", "").body)["slow"] == 1.0
    leave.set()
    thread.join()


def test_without_prometheus_client_nothing_is_read(monkeypatch):
    monkeypatch.delitem(sys.modules, "prometheus_client")
    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR", raising=False)

    assert DefaultRegistry().collect(None) == []


def test_a_half_imported_prometheus_client_is_empty(monkeypatch):
    """Another thread may be importing it while a page is made."""
    monkeypatch.setitem(sys.modules, "prometheus_client", types.ModuleType("prometheus_client"))

    assert DefaultRegistry().collect(worker=None) == []


def test_the_registry_can_be_left_out(default):
    Gauge("orders_open", "Orders.", registry=default).set(3)
    for shown in (True, False):
        settings = Settings(scrape=ScrapeSettings(port=0, registry=shown))
        instrument(tracer_provider=TracerProvider(shutdown_on_exit=False), settings=settings, skip_dep_check=True)
        scrape = LangflowInstrumentor().scrape
        assert scrape is not None
        assert ("orders_open" in values(scrape.page("", "").body)) is shown
        uninstrument()


# Over several workers


@pytest.mark.skipif(sys.platform == "win32", reason="workers share a scrape on POSIX only")
def test_with_workers_the_series_have_the_label_of_who_answers(default, tmp_path):
    labelled = Gauge("orders_open", "Orders.", ["region"], registry=default)
    labelled.labels("eu").set(3)
    own_worker = GaugeMetricFamily("builds", "Builds.", labels=["worker"])
    own_worker.add_metric(["mason"], 2.0)
    default.register(Custom(own_worker))
    scrape = scrape_of()
    scrape.group = WorkerGroup(1, tmp_path / "root")
    for _ in range(2):
        found = samples(scrape.page("", "").body)
        assert found["orders_open", (("region", "eu"), ("worker", "7"))] == (3.0, None)
        assert found["builds", (("worker", "mason"),)] == (2.0, None)
    scrape.group.leave()
    # The collector's own families are as they were.
    assert [sample.labels for sample in own_worker.samples] == [{"worker": "mason"}]


WORKER = """
import os, sys
from prometheus_client import Counter, Gauge, Histogram
Counter("orders", "Orders.", ["region"]).labels("eu").inc(float(sys.argv[1]))
Gauge("open_orders", "Open.", multiprocess_mode="sum").set(float(sys.argv[1]))
Histogram("wait_seconds", "Waiting.", buckets=(1.0,)).observe(0.5)
"""
SCRAPE = """
import json
from langflow_otel._metrics.default_registry import DefaultRegistry
from langflow_otel._metrics.scrape import Scrape
from langflow_otel._metrics.store import MemoryStore
scrape = Scrape(MemoryStore(), own_pid=7, window_s=60, cores=1.0, read=lambda pids: [], info={"a": "b"},
                registry=DefaultRegistry())
scrape.group = __import__("langflow_otel._metrics.workers")._metrics.workers.WorkerGroup(1)
print(scrape.page("", "").body.decode())
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="workers share a scrape on POSIX only")
def test_processes_that_share_a_folder_are_added_up(tmp_path, monkeypatch):
    """Also those that are gone, as prometheus_client has it."""
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    for number in ("2", "3"):
        subprocess.run([sys.executable, "-c", WORKER, number], check=True, timeout=60)
    done = subprocess.run([sys.executable, "-c", SCRAPE], check=True, timeout=60, capture_output=True)
    found = samples(done.stdout)

    assert found["orders_total", (("region", "eu"),)][0] == 5.0
    assert found["open_orders", ()][0] == 5.0
    assert found["wait_seconds_count", ()][0] == 2.0
    assert found["langflow_throughput", ()][0] == 0.0


def test_a_folder_that_is_none_is_one_line(default, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path / "nowhere"))
    Gauge("orders_open", "Orders.", registry=default).set(3)
    scrape = scrape_of()
    for _ in range(2):
        assert values(scrape.page("", "").body)["orders_open"] == 3.0

    assert warnings(caplog) == [
        "The scrape is without what other processes have in PROMETHEUS_MULTIPROC_DIR: it is no folder."
    ]


# Our series in a registry


def measure(flows: int, types: int) -> None:
    """Histograms of so many components."""
    recorder = active_recorder()
    assert recorder is not None
    assert recorder.metrics is not None
    for flow in range(flows):
        for kind in range(types):
            recording = recorder.metrics.instruments.recording(
                COMPONENT_DURATION, f'flow "{flow}"\n\\', f"Component{kind}", "ok"
            )
            for value in (0.003, 0.2, 4000.0):
                recording.record(value)


@pytest.fixture
def measuring() -> Iterator[Scrape]:
    """Instrumentation is on, and some of everything was measured."""
    settings = Settings(scrape=ScrapeSettings(port=0), max_flows=1000)
    instrument(tracer_provider=TracerProvider(shutdown_on_exit=False), settings=settings, skip_dep_check=True)
    recorder = active_recorder()
    assert recorder is not None
    assert recorder.metrics is not None
    instruments = recorder.metrics.instruments
    measure(2, 2)
    instruments.recording(FLOW_DURATION_EMA, "flow").set(0.25)
    instruments.recording(COMPONENT_RETRIES, "flow", "type").add(3)
    instruments.recording(FLOW_ACTIVE, "flow", "api").add(1)
    series = instruments.store.series(COMPONENT_DURATION, ('flow "0"\n\\', "Component0", "ok"))
    if series.exemplars is not None:
        series.exemplars[0] = Exemplar(0xABC, 0xDEF, 0.003, 1_700_000_000.1239)
    scrape = LangflowInstrumentor().scrape
    assert scrape is not None
    yield scrape
    uninstrument()


# Of what is read from the machine, the figures have changed when they are read again.
READ_ANEW = ("process_", "system_", "hw_", "langflow_memory_")


def steady(found: dict[Key, Any]) -> dict[Key, Any]:
    return {key: value for key, value in found.items() if not key[0].startswith((*READ_ANEW, "target_info"))}


@FORMATS
def test_samples_of_the_collector_are_those_of_the_page(default, measuring, accept: str):
    measure(25, 24)
    ours = CollectorRegistry()
    ours.register(LangflowCollector())
    page = samples(measuring.page(accept, "").body, accept)
    shown = openmetrics_text(ours) if accept else prometheus_client.generate_latest(ours)
    theirs = samples(shown, accept)
    if not accept:  # prometheus_client shows the time of creation here as well.
        theirs = {key: value for key, value in theirs.items() if not key[0].endswith("_created")}

    assert len(theirs) > 10_000
    assert steady(theirs) == steady(page)
    machine = {key for key in page if key[0].startswith(("system_", "langflow_memory_"))}
    # Utilization is there only if the clock of CPU times has ticked since the reading before.
    assert {key for key in machine ^ theirs.keys() & machine if "utilization" not in key[0]} == set()
    assert [name for name, _ in theirs if name.startswith(("process_", "target_info"))] == []
    if accept:
        assert sum(exemplar is not None for _, exemplar in theirs.values()) == 1


def test_a_registry_without_a_process_collector_may_have_all(default, measuring):
    ours = CollectorRegistry()
    ours.register(LangflowCollector(with_process=True))
    page = samples(measuring.page("", "").body)
    theirs = samples(prometheus_client.generate_latest(ours))

    names = {name for name, _ in page if "utilization" not in name}
    assert names <= {name for name, _ in theirs}
    assert [labels for name, labels in theirs if name == "target_info"] == [(("service_name", "langflow"),)]


def test_requests_measured_by_langflow_too_are_shown_once(default, measuring, monkeypatch):
    recorder = active_recorder()
    assert recorder is not None
    assert recorder.metrics is not None
    recorder.metrics.instruments.recording(HTTP_REQUEST_DURATION, "GET", "/", "200").record(0.5)
    shown = {}
    for langflows in (True, False):
        monkeypatch.setattr("langflow_otel.prometheus.requests_are_in_default_registry", lambda there=langflows: there)
        for complete in (True, False):
            ours = CollectorRegistry()
            ours.register(LangflowCollector(with_process=complete))
            shown[langflows, complete] = b"http_server_request_duration" in prometheus_client.generate_latest(ours)

    assert shown == {(True, True): True, (True, False): False, (False, True): True, (False, False): True}


@FORMATS
def test_beside_a_process_collector_no_series_is_there_twice(default, measuring, accept: str):
    default.register(LangflowCollector())
    shown = openmetrics_text(default) if accept else prometheus_client.generate_latest(default)
    found = samples(shown, accept)

    assert ("langflow_throughput", ()) in found
    assert ("process_cpu_seconds_total", ()) in found or sys.platform != "linux"


@FORMATS
def test_our_page_does_not_show_itself_twice(default, measuring, accept: str, caplog):
    before = samples(measuring.page(accept, "").body, accept)
    default.register(LangflowCollector())
    Gauge("orders_open", "Orders.", registry=default).set(3)
    found = samples(measuring.page(accept, "").body, accept)

    assert found.pop(("orders_open", ()))[0] == 3.0
    assert steady(found) == steady(before)
    assert warnings(caplog) == []


def test_a_registry_within_the_registry_does_not_matter(default, measuring):
    """Nor does whatever else hands on what we have."""
    inner = CollectorRegistry()
    inner.register(LangflowCollector())
    default.register(inner)

    assert "langflow_throughput" in values(measuring.page("", "").body)


def test_single_names_can_be_asked_for(default, measuring):
    default.register(LangflowCollector())
    shown = prometheus_client.generate_latest(default.restricted_registry(["langflow_throughput"]))

    assert list(samples(shown)) == [("langflow_throughput", ())]


def test_a_collector_is_registered_once(default):
    default.register(LangflowCollector())

    with pytest.raises(ValueError, match="Duplicated timeseries"):
        default.register(LangflowCollector())


def test_while_instrumentation_is_off_there_are_no_series():
    uninstrument()
    ours = CollectorRegistry()
    ours.register(LangflowCollector(with_process=True))

    assert prometheus_client.generate_latest(ours) == b""


def test_where_metrics_have_nowhere_to_go_there_are_no_series():
    """Zeros would be no measurement."""
    settings = Settings(console=True)
    instrument(tracer_provider=TracerProvider(shutdown_on_exit=False), settings=settings, skip_dep_check=True)
    ours = CollectorRegistry()
    ours.register(LangflowCollector(with_process=True))
    try:
        assert prometheus_client.generate_latest(ours) == b""
    finally:
        uninstrument()


def test_an_error_of_ours_does_not_break_the_registry(default, measuring, monkeypatch, lenient, caplog):
    default.register(LangflowCollector())
    Gauge("orders_open", "Orders.", registry=default).set(3)

    def fail() -> None:
        raise ValueError("secret of a flow")

    monkeypatch.setattr(measuring, "families", fail)
    assert values(prometheus_client.generate_latest(default))["orders_open"] == 3.0
    (line,) = warnings(caplog)
    assert "contained at metrics.collector" in line
    assert "secret" not in line


# Wherever a registry is shown


def read(port: int, path: str = "/metrics", accept: str = "") -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("GET", path, headers={"Accept": accept})
    body = connection.getresponse().read()
    connection.close()
    return body


@FORMATS
def test_it_is_shown_by_a_server_of_prometheus_client(default, measuring, accept: str):
    default.register(LangflowCollector())
    started = prometheus_client.start_http_server(0, "127.0.0.1", default)
    server, thread = started  # type: ignore[misc]  # None before 0.19
    try:
        found = samples(read(server.server_port, accept=accept), accept)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

    assert steady(samples(measuring.page(accept, "").body, accept)).items() <= found.items()
    assert found["langflow_component_retries_total", (("component_type", "type"), ("flow", "flow"))][0] == 3.0


@FORMATS
def test_it_is_shown_by_an_asgi_app_of_prometheus_client(default, measuring, accept: str):
    default.register(LangflowCollector())
    sent: list[Any] = []

    async def ask() -> None:
        async def receive() -> Any:
            return {"type": "http.request", "body": b""}

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {"type": "http", "method": "GET", "query_string": b"", "headers": [(b"accept", accept.encode())]}
        await prometheus_client.make_asgi_app(default)(scope, receive, send)

    asyncio.run(ask())
    assert sent[0]["status"] == 200
    page = samples(measuring.page(accept, "").body, accept)
    assert steady(page).items() <= samples(sent[1]["body"], accept).items()


@pytest.mark.skipif(sys.platform == "win32", reason="workers share a scrape on POSIX only")
def test_it_has_the_totals_over_all_workers(default, measuring, tmp_path, monkeypatch):
    group = WorkerGroup(1, tmp_path / "root")
    other = group.join()
    Instruments(other, None).recording(COMPONENT_RETRIES, "flow", "type").add(4)
    Instruments(other, None).recording(FLOW_DURATION_EMA, "flow").set(0.5)
    monkeypatch.setattr(measuring, "group", group)
    monkeypatch.setattr(measuring, "_own_pid", 1)
    default.register(LangflowCollector())
    found = samples(prometheus_client.generate_latest(default))
    group.leave()
    other.close()

    assert found["langflow_component_retries_total", (("component_type", "type"), ("flow", "flow"))][0] == 7.0
    averages = {labels: value for (name, labels), (value, _) in found.items() if name.endswith("_ema_seconds")}
    assert sorted(averages.values()) == [0.25, 0.5]
    assert all(dict(labels)["worker"] for labels in averages)

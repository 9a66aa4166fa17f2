"""What metrics cost: one component, one scrape, and the event loop while a scrape goes on.

    python tests/benchmarks/metrics.py [--rounds 20] [--json]

Needs no LangFlow. Variants run in turn, so that a machine whose speed drifts hurts all alike. A record's figure
is the best of its rounds, as timeit has it; a scrape's is the median. ``prometheus_client`` does the same job
with the same series, in one process and from the files of its multi-process mode.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from langflow_otel._metrics.catalogue import COMPONENT_DURATION, SECONDS
from langflow_otel._metrics.instruments import Instruments
from langflow_otel._metrics.scrape import Scrape
from langflow_otel._metrics.store import MemoryStore
from langflow_otel._metrics.workers import WorkerGroup
from langflow_otel._runs.facts import OK, ComponentInfo, FlowInfo, ModelInfo, ModelResponse
from langflow_otel._runs.measuring import Finished, RunMetrics
from langflow_otel._settings.settings import Settings

LOOP = 2000
FLOWS, TYPES = 25, 25
"""625 histograms of 16 + 1 lines: 10,625 series."""
WORKERS = 4

COMPONENT = ComponentInfo("Parser-1", "Parser", "Parser")
DONE = Finished(OK, 0.0123, None)
ANSWERED = ModelResponse("gpt-2024", "id", ("stop",), 10, 5, cache_read_tokens=2, reasoning_tokens=1)


def best(measure: Callable[[], float], rounds: int) -> float:
    return min(measure() for _ in range(rounds))


def each(call: Callable[[], object]) -> Callable[[], float]:
    """Microseconds for one call, in a loop."""

    def measure() -> float:
        start = time.perf_counter()
        for _ in range(LOOP):
            call()
        return (time.perf_counter() - start) / LOOP * 1e6

    return measure


def record_costs(rounds: int) -> dict[str, float]:
    """Microseconds: one component's metrics into each sink, and one record of the SDK's histogram."""
    meter = MeterProvider([InMemoryMetricReader()], shutdown_on_exit=False).get_meter("bare")
    histogram = meter.create_histogram("bare", "s", explicit_bucket_boundaries_advisory=SECONDS)
    labels = {"flow": "bench", "component_type": "Parser", "status": "ok"}
    own_meter = MeterProvider([InMemoryMetricReader()], shutdown_on_exit=False).get_meter("ours")
    scraped = RunMetrics(Instruments(MemoryStore(), None), Settings()).flow(FlowInfo("bench"))
    both = RunMetrics(Instruments(MemoryStore(), own_meter), Settings()).flow(FlowInfo("bench"))
    variants = {
        "sdk_record_us": each(lambda: histogram.record(0.0123, labels)),
        "component_scrape_us": each(lambda: scraped.component_ended(COMPONENT, DONE)),
        "component_both_us": each(lambda: both.component_ended(COMPONENT, DONE)),
    }
    seen: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(rounds):
        for name, measure in variants.items():
            seen[name].append(measure())
    return {name: min(times) for name, times in seen.items()}


def fill(store: MemoryStore) -> None:
    instruments = Instruments(store, None)
    for flow in range(FLOWS):
        for kind in range(TYPES):
            recording = instruments.recording(COMPONENT_DURATION, f"flow {flow}", f"Component{kind}", "ok")
            for value in (0.003, 0.2, 4.0):
                recording.record(value)


def scrape_of(store: MemoryStore, group: WorkerGroup | None = None) -> Scrape:
    made = Scrape(store, own_pid=os.getpid(), window_s=60, cores=2, read=lambda _: [], info={})
    made.group = group
    return made


def timed_page(page: Callable[[], bytes], rounds: int) -> tuple[float, float, int]:
    """Milliseconds of the first scrape, the median of the others, and bytes."""
    times, size = [], 0
    for _ in range(rounds + 1):
        start = time.perf_counter()
        size = len(page())
        times.append((time.perf_counter() - start) * 1e3)
    return times[0], statistics.median(times[1:]), size


def scrape_costs(rounds: int) -> dict[str, float]:
    """Milliseconds for 10,625 series, of one process and of four workers' files."""
    one = MemoryStore()
    fill(one)
    page = scrape_of(one)
    first, median, size = timed_page(lambda: page.page("", "").body, rounds)
    with tempfile.TemporaryDirectory() as folder:
        group = WorkerGroup(os.getpid(), Path(folder, "group"))
        stores = [group.join() for _ in range(WORKERS)]
        for store in stores:
            fill(store)
        shared = scrape_of(MemoryStore(), group)
        _, of_four, _ = timed_page(lambda: shared.page("", "").body, rounds)
        group.leave()
        for store in stores:
            store.close()
    return {"first_ms": first, "one_ms": median, "four_ms": of_four, "page_kb": size / 1e3}


PROMETHEUS_CLIENT = """
import os, statistics, sys, time
from prometheus_client import CollectorRegistry, Histogram, generate_latest, multiprocess, values
flows, types, workers, rounds = map(int, sys.argv[1:5])
if workers > 1:
    for pid in range(workers):
        values.ValueClass = values.MultiProcessValue(lambda pid=pid: pid)
        registry = CollectorRegistry()
        import prometheus_client.metrics as m
        m.values.ValueClass = values.ValueClass
        h = Histogram("langflow_component_duration_seconds", "x", ["flow", "component_type", "status"],
                      buckets=BUCKETS, registry=registry)
        for f in range(flows):
            for t in range(types):
                for v in (0.003, 0.2, 4.0): h.labels(f"flow {f}", f"Component{t}", "ok").observe(v)
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)
else:
    registry = CollectorRegistry()
    h = Histogram("langflow_component_duration_seconds", "x", ["flow", "component_type", "status"],
                  buckets=BUCKETS, registry=registry)
    for f in range(flows):
        for t in range(types):
            for v in (0.003, 0.2, 4.0): h.labels(f"flow {f}", f"Component{t}", "ok").observe(v)
times = []
for _ in range(rounds):
    start = time.perf_counter()
    page = generate_latest(registry)
    times.append((time.perf_counter() - start) * 1e3)
print(statistics.median(times))
"""


def prometheus_client_costs(rounds: int) -> dict[str, float]:
    """The same series scraped by prometheus_client itself."""
    found = {}
    for name, workers in (("client_one_ms", 1), ("client_four_ms", WORKERS)):
        with tempfile.TemporaryDirectory() as folder:
            environment = {**os.environ, **({"PROMETHEUS_MULTIPROC_DIR": folder} if workers > 1 else {})}
            code = PROMETHEUS_CLIENT.replace("BUCKETS", repr(SECONDS))
            arguments = [str(number) for number in (FLOWS, TYPES, workers, rounds)]
            result = subprocess.run(
                [sys.executable, "-c", code, *arguments], env=environment, capture_output=True, text=True, check=True
            )
            found[name] = float(result.stdout)
    return found


def series_costs() -> dict[str, float]:
    """Lines of a scrape and megabytes of this process for 200 flows of 50 component types, each having run ok."""
    found = {}
    for name, labels, model in (
        ("default", ("flow", "component_type"), None),
        ("by_type", ("component_type",), None),
        ("by_flow", ("flow",), None),
        ("with_model", ("flow", "component_type"), ModelInfo("chat", "gpt", "openai")),
    ):
        tracemalloc.start()
        store = MemoryStore()
        run_metrics = RunMetrics(Instruments(store, None), Settings(metric_labels=labels))
        for number in range(200):
            flow = run_metrics.flow(FlowInfo(f"flow {number}"))
            flow.active("api").add(0)
            flow.expect_outcomes("api")
            flow.ended(DONE, "api")
            if model is not None:
                flow.model_ended(model, ANSWERED, DONE, 0.1, 0)
            for kind in range(50):
                flow.component_ended(ComponentInfo("id", f"Component{kind}", "name"), DONE)
        found[f"memory_{name}_mb"] = tracemalloc.get_traced_memory()[0] / 1e6
        tracemalloc.stop()
        page = scrape_of(store).page("", "").body
        found[f"series_{name}"] = sum(not line.startswith(b"#") for line in page.splitlines())
    return found


def event_loop_delay(rounds: int) -> dict[str, float]:
    """P99 in milliseconds of how late a thread that sleeps 1 ms wakes, idle and while pages are made in
    another: what an event loop feels."""
    store = MemoryStore()
    fill(store)
    page = scrape_of(store)
    page.page("", "")

    def late(busy: bool) -> float:
        stop = threading.Event()

        def scrape_all_the_time() -> None:
            while not stop.is_set():
                page.page("", "gzip")

        thread = threading.Thread(target=scrape_all_the_time)
        if busy:
            thread.start()
        delays = []
        for _ in range(rounds * 50):
            start = time.perf_counter()
            time.sleep(0.001)
            delays.append((time.perf_counter() - start - 0.001) * 1e3)
        stop.set()
        if busy:
            thread.join()
        return statistics.quantiles(delays, n=100)[98]

    return {"delay_idle_p99_ms": late(False), "delay_scraped_p99_ms": late(True)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    result = {
        **record_costs(arguments.rounds),
        **scrape_costs(arguments.rounds),
        **prometheus_client_costs(arguments.rounds),
        **series_costs(),
        **event_loop_delay(arguments.rounds),
    }
    if arguments.json:
        print(json.dumps(result))
        return
    sdk = result["sdk_record_us"]
    print(f"one SDK histogram record                {sdk:8.1f} us")
    for text, name in (
        ("a component's metrics, scrape only", "component_scrape_us"),
        ("  both sinks", "component_both_us"),
    ):
        print(f"{text:40s}{result[name]:8.1f} us  = {result[name] / sdk:.2f} SDK records")
    print(f"scrape of {FLOWS * TYPES * (len(SECONDS) + 3):,} series ({result['page_kb']:.0f} kB)")
    for text, ours, theirs in (
        ("one process", "one_ms", "client_one_ms"),
        ("four workers", "four_ms", "client_four_ms"),
    ):
        ratio = result[theirs] / result[ours]
        print(f"  {text:38s}{result[ours]:8.1f} ms  prometheus_client {result[theirs]:.1f} ms = {ratio:.1f} times")
    print(f"  first, labels not yet cached          {result['first_ms']:8.1f} ms")
    for text, name in (
        ("", "default"),
        (", METRIC_LABELS=component_type", "by_type"),
        (", METRIC_LABELS=flow", "by_flow"),
        (", with a model that streams in each flow", "with_model"),
    ):
        memory = result[f"memory_{name}_mb"]
        print(f"200 flows of 50 component types{text}: {result[f'series_{name}']:,} series, {memory:.1f} MB here")
    idle, busy = result["delay_idle_p99_ms"], result["delay_scraped_p99_ms"]
    print(f"event loop, P99 of its delay: idle {idle:.2f} ms, scraped without a pause {busy:.2f} ms")


if __name__ == "__main__":
    main()

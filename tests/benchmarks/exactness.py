"""Do driver, spans, OTLP metrics and scrape agree over thousands of runs that fail, are cancelled and cached?

    python tests/benchmarks/exactness.py [--runs 10000] [--at-once 50] [--workers 1] [--kills 0] [--json]

Of 20 runs, two fail, one is cancelled and one takes a component's result from the cache.
A server process loads LangFlow, is instrumented and forks its workers, as a preloading server does. Each worker
notes every run that it has seen end in a file of its own; these notes are the driver's column. With ``--kills``,
workers are killed with -9 in the middle of their work and replaced. What a killed worker has measured stays in the
scrape, also of runs that it could not note any more; the spans and the OTLP metrics that it had not sent yet are lost
with it, in any library.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import signal
import struct
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from contextvars import ContextVar
from pathlib import Path
from typing import Any

ROWS = (
    "flow ok",
    "flow error",
    "flow cancelled",
    "component ok",
    "component error",
    "component cancelled",
    "cached",
    "errors counted",
    "buckets of flows",
    "still running",
    "dropped",
)
KINDS = {0: "error", 1: "error", 2: "cancelled", 3: "cached"}
COMPONENTS = {
    "ok": {"component ok": 3},
    "error": {"component ok": 1, "component error": 1, "errors counted": 1},
    "cancelled": {"component ok": 1, "component cancelled": 1},
    "cached": {"component ok": 2, "cached": 1},
}
JOB = struct.Struct("=I")
waiting: ContextVar[asyncio.Event] = ContextVar("waiting")
"""Of this run: it goes on until it is cancelled."""


# The server and its workers


def serve(runs: int, at_once: int, workers: int, kills: int, notes: Path) -> None:
    """Fork workers, hand out runs, kill and replace; then wait for the word to stop."""
    sys.path.insert(0, str(Path(__file__).parent.parent / "lfx"))
    os.environ.update(DO_NOT_TRACK="true", LANGFLOW_DEACTIVATE_TRACING="true")
    import lfx.graph.graph.base as base
    from flows import Cache
    from lfx.log.logger import configure
    from nodes import basic

    from langflow_otel import LangflowInstrumentor, instrument

    configure(log_level="CRITICAL")
    cache = Cache()
    base.get_chat_service = lambda: cache
    basic.seen["waiting"] = Waiting()
    basic.Broken.error = KeyError  # a new one each time: one that is raised again holds the frames of each time
    instrument()
    print(json.dumps({"url": LangflowInstrumentor().scrape_url}), flush=True)
    reader, writer = os.pipe()
    pids = [fork(reader, writer, at_once, notes) for _ in range(workers)]
    for number in range(runs):  # they all fit into the pipe
        os.write(writer, JOB.pack(number))
    chance = random.Random(7)
    for progress in sorted(chance.sample(range(runs // 10, runs - runs // 10), kills)):
        while sum(path.read_bytes().count(b"\n") for path in notes.iterdir()) < progress:
            time.sleep(0.01)
        victim = chance.randrange(workers)
        os.kill(pids[victim], signal.SIGKILL)
        os.waitpid(pids[victim], 0)
        pids[victim] = fork(reader, writer, at_once, notes)
    os.close(writer)
    print(json.dumps({"handed out": runs}), flush=True)
    sys.stdin.readline()
    for pid in pids:
        os.kill(pid, signal.SIGTERM)
    for pid in pids:
        os.waitpid(pid, 0)


class Waiting:
    """Each run tells its own driver that it waits."""

    def set(self) -> None:
        waiting.get().set()


def fork(reader: int, writer: int, at_once: int, notes: Path) -> int:
    pid = os.fork()
    if pid:
        return pid
    os.close(writer)
    try:
        asyncio.run(work(reader, at_once, notes / str(os.getpid())))
    finally:
        os._exit(0)


async def work(reader: int, at_once: int, notes: Path) -> None:
    from langflow_otel import uninstrument

    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    with notes.open("ab", buffering=0) as seen:
        await run_one("ok", frozen=True)  # fills the cache
        seen.write(b"ok\n")
        places = asyncio.Semaphore(at_once)

        async def run_and_note(kind: str) -> None:
            try:
                await run_one(kind, frozen=kind == "cached")
                seen.write(f"{kind}\n".encode())
            finally:
                places.release()

        going_on: set[asyncio.Task[None]] = set()
        while await places.acquire() and (job := await asyncio.to_thread(os.read, reader, JOB.size)):
            task = asyncio.ensure_future(run_and_note(KINDS.get(JOB.unpack(job)[0] % 20, "ok")))
            going_on.add(task)
            task.add_done_callback(going_on.discard)
        await asyncio.gather(*going_on)
        seen.write(b"done\n")
    await stop.wait()
    uninstrument()


async def run_one(kind: str, *, frozen: bool) -> None:
    from flows import line
    from nodes import basic

    graph = line({"error": basic.Broken, "cancelled": basic.Waits}.get(kind, basic.Echo))
    if frozen:
        graph.get_vertex("Echo-0").frozen = True
    waits = asyncio.Event()
    waiting.set(waits)
    task = asyncio.ensure_future(graph.arun([{"input_value": "hi"}], session_id="s1"))
    if kind == "cancelled":
        await waits.wait()
        task.cancel()
    with contextlib.suppress(Exception, asyncio.CancelledError):
        await task


# The driver


def sent_spans(receiver: Any) -> Counter[str]:
    found: Counter[str] = Counter()
    for request in receiver.requests:
        for resource in request.message.resource_spans:
            for span in (span for scope in resource.scope_spans for span in scope.spans):
                status = labels_of(span)["langflow.status"]
                kind = "flow" if span.name.startswith("invoke_workflow") else "component"
                found["cached" if status == "cached" else f"{kind} {status}"] += 1
    found["errors counted"], found["buckets of flows"] = found["component error"], flows_in(found)
    return found


def sent_metrics(receiver: Any) -> Counter[str]:
    """From the last cumulative value of each series of each worker."""
    latest: dict[tuple[str, str, str], int] = {}
    for request in receiver.metric_requests:
        for resource in request.message.resource_metrics:
            worker = labels_of(resource.resource)["service.instance.id"]
            for metric in (metric for scope in resource.scope_metrics for metric in scope.metrics):
                for point in (*metric.histogram.data_points, *metric.sum.data_points):
                    labels = labels_of(point)
                    row = row_of(metric.name.replace(".", "_"), labels)
                    if row is None:
                        continue
                    series = str(sorted(labels.items()))
                    count = point.count if metric.HasField("histogram") else point.as_double or point.as_int
                    latest[worker, series, row] = int(count)
                    if row.startswith("flow"):
                        latest[worker, series, "buckets of flows"] = sum(point.bucket_counts)
    found: Counter[str] = Counter()
    for (_, _, row), count in latest.items():
        found[row] += count
    return found


def labels_of(entry: Any) -> dict[str, str]:
    return {each.key: each.value.string_value for each in entry.attributes}


def row_of(name: str, labels: dict[str, str]) -> str | None:
    """The table's row of a sample; None for what the table does not show."""
    if name.startswith("langflow_flow_duration") and "status" in labels:
        return f"flow {labels['status']}"
    if name.startswith("langflow_component_duration"):
        return f"component {labels['status']}"
    if name.startswith("langflow_component_bypassed"):
        return labels["reason"]
    if name.startswith("langflow_component_errors"):
        return "errors counted"
    if name.startswith("langflow_flow_active"):
        return "still running"
    return "dropped" if name.startswith("langflow_otel_dropped") else None


def flows_in(found: Counter[str]) -> int:
    return sum(count for row, count in found.items() if row.startswith("flow"))


def scraped(url: str) -> Counter[str]:
    from prometheus_client.parser import text_string_to_metric_families

    found: Counter[str] = Counter()
    with urllib.request.urlopen(url) as answer:
        page = answer.read().decode()
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            row = row_of(sample.name, sample.labels)
            if row is not None and sample.name.endswith(("_count", "_total", "_active")):
                found[row] += int(sample.value)
            if row is not None and row.startswith("flow") and sample.labels.get("le") == "+Inf":
                found["buckets of flows"] += int(sample.value)
    return found


def noted(notes: Path) -> tuple[Counter[str], int]:
    """What the workers noted, and how many of them say that there is nothing left to do."""
    found: Counter[str] = Counter()
    done = 0
    for path in notes.iterdir():
        for kind in path.read_text().split():
            if kind == "done":
                done += 1
                continue
            found[f"flow {'ok' if kind == 'cached' else kind}"] += 1
            found.update(COMPONENTS[kind])
    found["buckets of flows"] = flows_in(found)
    return found, done


def drive(runs: int, at_once: int = 50, workers: int = 1, kills: int = 0) -> dict[str, dict[str, int]]:
    """One column for each who counted, and under ``falls`` how often a counter fell between two scrapes."""
    # Not at the top: the server forks, and gRPC has no business in it.
    sys.path.insert(0, str(Path(__file__).parent.parent))
    from otlp_receiver import otlp_receiver

    environment = {
        **os.environ,
        "OTEL_METRICS_EXPORTER": "otlp,prometheus",
        "OTEL_EXPORTER_PROMETHEUS_PORT": "0",
        "OTEL_METRIC_EXPORT_INTERVAL": "1000",
        "OTEL_BSP_MAX_QUEUE_SIZE": "100000",
    }
    with tempfile.TemporaryDirectory() as folder, otlp_receiver("http/protobuf") as receiver:
        notes = Path(folder)
        numbers = {"runs": runs, "at-once": at_once, "workers": workers, "kills": kills}
        arguments = ["--serve", folder, *(f"--{name}={number}" for name, number in numbers.items())]
        server = subprocess.Popen(
            [sys.executable, __file__, *arguments],
            env={**environment, "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{receiver.address}"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert server.stdin is not None
        assert server.stdout is not None
        url = json.loads(server.stdout.readline())["url"]
        falls, before = 0, Counter[str]()
        while noted(notes)[1] < workers:
            time.sleep(0.5)
            now = scraped(url)
            falls += sum(now[row] < before[row] for row in ROWS if row != "still running")
            before = now
        columns = {"driver": noted(notes)[0], "scrape": scraped(url)}
        server.stdin.write("stop\n")
        server.stdin.flush()
        server.wait(60)
        columns.update(spans=sent_spans(receiver), otlp=sent_metrics(receiver))
    table = {name: {row: columns[name][row] for row in ROWS} for name in ("driver", "spans", "otlp", "scrape")}
    table["falls"] = {"scrape": falls}
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--at-once", type=int, default=50, help="in each worker")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve is not None:
        serve(arguments.runs, arguments.at_once, arguments.workers, arguments.kills, arguments.serve)
        return
    table = drive(arguments.runs, arguments.at_once, arguments.workers, arguments.kills)
    if arguments.json:
        print(json.dumps(table))
        return
    print(
        f"{arguments.runs} runs, {arguments.at_once} at a time in each of {arguments.workers} workers, "
        f"{arguments.kills} killed"
    )
    print(f"{'':22s}{'driver':>9s}{'spans':>9s}{'OTLP':>9s}{'scrape':>9s}")
    for row in ROWS:
        print(f"{row:22s}" + "".join(f"{table[name][row]:9d}" for name in ("driver", "spans", "otlp", "scrape")))
    print(f"counters that fell between two scrapes: {table['falls']['scrape']}")


if __name__ == "__main__":
    main()

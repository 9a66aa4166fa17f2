"""A process that runs flows in LangFlow's engine, with whatever tracing its environment switches on.

:mod:`compare` starts it and tells it, a JSON line each, what to run; it answers with a JSON line each.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import sys
import time
from typing import Any

# LangFlow and the tracers print; the answers have a way of their own.
ANSWERS = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)

from compare_flows import FLOWS, Flow  # noqa: E402
from langflow.services.utils import register_all_service_factories  # noqa: E402
from lfx.graph import Graph  # noqa: E402
from lfx.log.logger import configure  # noqa: E402
from lfx.services.deps import get_tracing_service  # noqa: E402

import langflow_otel  # noqa: E402

INPUT = [{"input_value": "hi"}]
TICK_S = 0.001
FLOOR_LOOP = 2000


async def run(graph: Graph) -> float:
    """Seconds until the caller has the result."""
    start = time.perf_counter()
    await graph.arun(INPUT, session_id="s1")
    return time.perf_counter() - start


async def run_many(flow: Flow, runs: int) -> dict[str, Any]:
    """One measurement. ``seconds`` is of each run, ``whole`` until nothing is left to do on the event loop."""
    graphs = [flow.make() for _ in range(runs)]
    gc.collect()
    before, cpu = time.perf_counter(), time.process_time()
    if flow.at_once == 1:
        seconds = [await run(graph) for graph in graphs]
    else:
        seconds = await asyncio.gather(*map(run, graphs))
    while others := asyncio.all_tasks() - {asyncio.current_task()} - probes:
        await asyncio.wait(others, timeout=60)
    return {
        "seconds": list(seconds),
        "whole": time.perf_counter() - before,
        "cpu": time.process_time() - cpu,
    }


probes: set[asyncio.Task[None]] = set()


async def delays_while(flow: Flow, seconds: float, at_once: int) -> dict[str, Any]:
    """How late a callback comes that wants to run every millisecond, while so many runs go on at the same time."""
    delays: list[float] = []

    async def probe() -> None:
        while True:
            due = time.perf_counter() + TICK_S
            await asyncio.sleep(TICK_S)
            delays.append(time.perf_counter() - due)

    async def client() -> int:
        runs = 0
        while time.perf_counter() < end:
            await run(flow.make())
            runs += 1
        return runs

    task = asyncio.create_task(probe())
    probes.add(task)
    before, end = time.perf_counter(), time.perf_counter() + seconds
    runs = sum(await asyncio.gather(*(client() for _ in range(at_once))))
    took = time.perf_counter() - before
    task.cancel()
    probes.discard(task)
    with contextlib.suppress(asyncio.CancelledError):
        await task
    return {"delays": sorted(delays), "runs": runs, "seconds": took}


def floor() -> dict[str, float]:
    """Seconds for one bare SDK span with as many attributes as a component's, and for one histogram record."""
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

    class Discard(SpanExporter):
        def export(self, spans: object) -> SpanExportResult:
            return SpanExportResult.SUCCESS

    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(Discard(), max_queue_size=100_000))
    tracer = provider.get_tracer("floor")
    attributes = {f"langflow.attribute.{index}": "a value" for index in range(9)}
    histogram = MeterProvider([InMemoryMetricReader()], shutdown_on_exit=False).get_meter("floor").create_histogram("h")
    labels = {"langflow.flow.name": "benchmark", "langflow.component.type": "Nothing", "langflow.status": "ok"}
    start = time.perf_counter()
    for _ in range(FLOOR_LOOP):
        with tracer.start_as_current_span("component Nothing", attributes=attributes):
            pass
    spans = time.perf_counter()
    for _ in range(FLOOR_LOOP):
        histogram.record(0.01, labels)
    end = time.perf_counter()
    provider.shutdown()
    return {"span": (spans - start) / FLOOR_LOOP, "record": (end - spans) / FLOOR_LOOP}


async def answer(wanted: dict[str, Any]) -> dict[str, Any]:
    if wanted["do"] == "floor":
        return floor()
    flow = next(each for each in FLOWS if each.name == wanted["flow"])
    if wanted["do"] == "delays":
        return await delays_while(flow, wanted["seconds"], wanted["at_once"])
    return await run_many(flow, wanted["runs"])


async def serve() -> None:
    loop = asyncio.get_running_loop()
    while text := await loop.run_in_executor(None, sys.stdin.readline):
        print(json.dumps(await answer(json.loads(text))), file=ANSWERS, flush=True)


if __name__ == "__main__":
    # Graph() adds the components of a line one below the other.
    sys.setrecursionlimit(100_000)
    configure(log_level="CRITICAL")
    register_all_service_factories()
    assert get_tracing_service() is not None
    if os.environ.get("BENCHMARK_NATIVE_TELEMETRY"):
        from lfx.observability import bootstrap_application_telemetry

        bootstrap_application_telemetry()
    if os.environ.get("BENCHMARK_INSTRUMENT"):
        langflow_otel.instrument()
    print("ready", file=ANSWERS, flush=True)
    asyncio.run(serve())
    langflow_otel.uninstrument()

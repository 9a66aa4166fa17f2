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
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

# LangFlow and the tracers print; the answers have a way of their own.
ANSWERS = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)

import compare_flows  # noqa: E402
from compare_flows import FLOWS, WAIT_S, Flow  # noqa: E402
from langflow.services.utils import register_all_service_factories  # noqa: E402
from lfx.graph import Graph  # noqa: E402
from lfx.log.logger import configure  # noqa: E402
from lfx.services.deps import get_tracing_service  # noqa: E402

import langflow_otel  # noqa: E402

INPUT = [{"input_value": "hi"}]
TICK_S = 0.001


async def run(graph: Graph) -> None:
    await graph.arun(INPUT, session_id="s1")


async def measure_once(flow: Flow) -> dict[str, float]:
    """``seconds`` of a run, ``whole`` until nothing is left to do on the event loop, ``cpu`` of the process."""
    graphs = [flow.make() for _ in range(flow.at_once)]
    gc.collect()
    for _ in range(flow.warm_up):
        await run(flow.make())
    before, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*map(run, graphs)) if flow.at_once > 1 else await run(graphs[0])
    done = time.perf_counter()
    while others := asyncio.all_tasks() - {asyncio.current_task()} - probes:
        await asyncio.wait(others, timeout=60)
    return {
        "seconds": (done - before) / flow.at_once,
        "whole": (time.perf_counter() - before) / flow.at_once,
        "cpu": (time.process_time() - cpu) / flow.at_once,
    }


def keep_from_the_garbage_collector() -> None:
    """What is there now stays: a full collection that looks at it all would hold the event loop for 0.1 s."""
    gc.collect()
    gc.freeze()


probes: set[asyncio.Task[None]] = set()


async def delays_while(flow: Flow, seconds: float, at_once: int) -> dict[str, Any]:
    """How late a callback comes that wants to run every millisecond, while so many runs go on at the same time."""
    delays: list[float] = []

    async def probe() -> None:
        while True:
            due = time.perf_counter() + TICK_S
            await asyncio.sleep(TICK_S)
            delays.append(time.perf_counter() - due)

    # Made before: it holds the event loop for longer than anything that is measured here.
    graphs = [flow.make() for _ in range(int(seconds * at_once / (flow.components * WAIT_S)))]
    keep_from_the_garbage_collector()

    async def client() -> int:
        runs = 0
        while graphs and time.perf_counter() < end:
            await run(graphs.pop())
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


def spans_by_hand() -> Callable[[str], AbstractContextManager[object]]:
    """The least that anybody could do: one bare SDK span with as many attributes as ours, exported in batches."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    tracer = provider.get_tracer("by hand")
    attributes = {f"attribute.{index}": "a value" for index in range(7)}
    return lambda name: tracer.start_as_current_span(f"component {name}", attributes=attributes)


async def answer(wanted: dict[str, Any]) -> dict[str, Any]:
    flow = next(each for each in FLOWS if each.name == wanted["flow"])
    if wanted["do"] == "delays":
        return await delays_while(flow, wanted["seconds"], wanted["at_once"])
    return await measure_once(flow)


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
    if os.environ.get("BENCHMARK_BY_HAND"):
        compare_flows.around = spans_by_hand()
    if os.environ.get("BENCHMARK_INSTRUMENT"):
        langflow_otel.instrument()
    keep_from_the_garbage_collector()
    print("ready", file=ANSWERS, flush=True)
    asyncio.run(serve())
    langflow_otel.uninstrument()

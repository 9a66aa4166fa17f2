"""Added time per model call, and per stream of 100 chunks, against one bare SDK span with the same attributes.

    python tests/benchmarks/model_calls.py [--rounds 25]

The model is LangChain's own fake and takes no time of its own. Plain and instrumented take turns; each figure is the
least of the rounds, in CPU time of this thread. Spans, metrics and the queue of the exporter are on.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import time
from collections.abc import Awaitable, Callable
from typing import Any

from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.outputs import ChatGenerationChunk
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from langflow_otel import instrument, uninstrument
from langflow_otel.recording.facts import ComponentInfo, FlowInfo
from langflow_otel.recording.recorder import active_recorder

CALLS = 100
CHUNKS = 100
USAGE: Any = {"input_tokens": 3, "output_tokens": 5, "total_tokens": 8}
ATTRIBUTES = {
    "gen_ai.operation.name": "chat",
    "gen_ai.request.model": "fake-1",
    "gen_ai.provider.name": "fake",
    "gen_ai.usage.input_tokens": 3,
    "gen_ai.usage.output_tokens": 5,
    "langflow.flow.name": "demo",
    "session.id": "s1",
    "gen_ai.conversation.id": "s1",
    "langflow.status": "ok",
}


class Discard(SpanExporter):
    """Exports to nowhere."""

    def export(self, spans: object) -> SpanExportResult:
        return SpanExportResult.SUCCESS


class Model(GenericFakeChatModel):
    """Answers at once, with tokens."""

    model_name: str = "fake-1"

    def _generate(self, *args: Any, **kwargs: Any) -> Any:
        from langchain_core.outputs import ChatGeneration, ChatResult

        return ChatResult(generations=[ChatGeneration(message=AIMessage("one", usage_metadata=USAGE))])

    def _stream(self, *args: Any, **kwargs: Any) -> Any:
        for _ in range(CHUNKS - 1):
            yield ChatGenerationChunk(message=AIMessageChunk(content="one "))
        yield ChatGenerationChunk(message=AIMessageChunk(content="", usage_metadata=USAGE))

    async def _astream(self, *args: Any, **kwargs: Any) -> Any:
        for chunk in self._stream():
            yield chunk


model = Model(messages=iter([]))


async def invoke() -> None:
    model.invoke("hi")


async def ainvoke() -> None:
    await model.ainvoke("hi")


async def stream() -> None:
    for _ in model.stream("hi"):
        pass


async def astream() -> None:
    async for _ in model.astream("hi"):
        pass


async def cpu_seconds(call: Callable[[], Awaitable[None]], times: int) -> float:
    """For one call, after a first one."""
    await call()
    gc.collect()
    start = time.thread_time()
    for _ in range(times):
        await call()
    return (time.thread_time() - start) / times


async def bare_span() -> None:
    with trace.get_tracer("bare", tracer_provider=provider).start_as_current_span("chat fake-1", attributes=ATTRIBUTES):
        pass


provider = TracerProvider(shutdown_on_exit=False)
provider.add_span_processor(BatchSpanProcessor(Discard(), max_queue_size=1_000_000, schedule_delay_millis=3_600_000))


async def measured(rounds: int) -> dict[str, tuple[float, float]]:
    """Seconds of each way without and with us, and of a bare span."""
    ways = {"invoke": invoke, "ainvoke": ainvoke, "stream": stream, "astream": astream}
    best: dict[str, tuple[float, float]] = {}
    for _ in range(rounds):
        for name, way in ways.items():
            plain = await cpu_seconds(way, CALLS if "invoke" in name else CALLS // 10)
            with_us = await within_run(way, CALLS if "invoke" in name else CALLS // 10)
            before = best.get(name, (1e9, 1e9))
            best[name] = min(before[0], plain), min(before[1], with_us)
        bare = await cpu_seconds(bare_span, CALLS)
        best["bare span"] = (0.0, min(best.get("bare span", (0.0, 1e9))[1], bare))
    return best


async def within_run(way: Callable[[], Awaitable[None]], times: int) -> float:
    instrument(tracer_provider=provider, meter_provider=MeterProvider([InMemoryMetricReader()]))
    recorder = active_recorder()
    assert recorder is not None
    flow = recorder.start_flow(FlowInfo("demo", session_id="s1"))
    component = recorder.start_component(ComponentInfo("Model-m", "Model", "Model", "llm"), flow)
    try:
        return await cpu_seconds(way, times)
    finally:
        component.finish()
        assert flow is not None
        flow.finish()
        uninstrument()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=25)
    found = asyncio.run(measured(parser.parse_args().rounds))
    bare = found.pop("bare span")[1]
    print(f"a bare span: {bare * 1e6:.0f} us")
    for name, (plain, with_us) in found.items():
        added = with_us - plain
        print(f"{name:8} plain {plain * 1e6:6.0f} us, added {added * 1e6:4.0f} us: {added / bare:.2f} bare spans")


if __name__ == "__main__":
    main()

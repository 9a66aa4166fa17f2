"""Added time per model call, per stream of 100 chunks and per embeddings call, against one bare SDK span with the same
attributes.

    python tests/benchmarks/model_calls.py [--rounds 20]
    pip install openinference-instrumentation-langchain opentelemetry-instrumentation-langchain \\
        opentelemetry-instrumentation-genai-langchain   # beside ours

The models are fakes of LangChain's classes and take no time of their own. The bare span is what an author would write
by hand, around the call. The variants take turns, each time in a new process: some libraries leave traces when they
are switched off, and Python itself gets slower where functions are exchanged again and again. Within a run of ours
each call is followed by the same call outside of the run, plain and with the bare span, so that a stream that takes
as long as twenty bare spans can be compared; what the library adds outside of runs has a line of its own, and is not
in the others. The other libraries cannot be left for a call: plain calls and bare spans are measured before them. A
figure is the median of the rounds' medians, in CPU time of the thread, without garbage collection. Spans are made and
queued, and discarded by the exporter.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from multiprocessing import get_context
from typing import Any, NamedTuple

from langchain_core.embeddings import Embeddings
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from langflow_otel import instrument, uninstrument
from langflow_otel._metrics.instruments import Instruments
from langflow_otel._metrics.store import MemoryStore
from langflow_otel._runs.facts import ComponentInfo, FlowInfo
from langflow_otel._runs.measuring import RunMetrics
from langflow_otel._runs.recorder import active_recorder
from langflow_otel._runs.run import step_out, step_outside
from langflow_otel._sdk.ended_span import EndedSpans
from langflow_otel._sdk.store_metrics import READ_FROM_STORE
from langflow_otel._settings.settings import Settings

CALLS = 40
STREAMS = 40
WARM_UP = 100
CHUNKS = 100
USAGE: Any = {
    "input_tokens": 3,
    "output_tokens": 5,
    "total_tokens": 8,
    "input_token_details": {"cache_read": 1},
    "output_token_details": {"reasoning": 2},
}
VECTOR = [0.5] * 8
ABOUT: Any = {"model_name": "fake-1-2024", "finish_reason": "stop"}

Way = Callable[[], Awaitable[None]]


class Discard(SpanExporter):
    """Exports to nowhere."""

    def export(self, spans: object) -> SpanExportResult:
        return SpanExportResult.SUCCESS


class Model(GenericFakeChatModel):
    """Answers at once, with all that a provider says about an answer."""

    model_name: str = "fake-1"
    temperature: float = 0.5

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {"model_name": self.model_name, "temperature": self.temperature, "max_tokens": 50}

    def _get_ls_params(self, stop: Any = None, **_: Any) -> Any:
        return {"ls_provider": "openai", "ls_model_type": "chat", "ls_model_name": self.model_name}

    def _generate(self, *args: Any, **kwargs: Any) -> ChatResult:
        message = AIMessage("one", usage_metadata=USAGE, response_metadata=ABOUT)
        return ChatResult(generations=[ChatGeneration(message=message)])

    async def _agenerate(self, *args: Any, **kwargs: Any) -> ChatResult:
        return self._generate()

    def _stream(self, *args: Any, **kwargs: Any) -> Any:
        for _ in range(CHUNKS - 1):
            yield ChatGenerationChunk(message=AIMessageChunk(content="one "))
        yield ChatGenerationChunk(message=AIMessageChunk(content="", usage_metadata=USAGE, response_metadata=ABOUT))

    async def _astream(self, *args: Any, **kwargs: Any) -> Any:
        for chunk in self._stream():
            yield chunk


class EmbeddingModel(Embeddings):
    """As those of providers: a query is a call for documents."""

    def __init__(self) -> None:
        self.model = "fake-1"

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [VECTOR for _ in texts]

    def embed_query(self, text: str) -> list[float]:
        return self.embed_documents([text])[0]

    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        return [VECTOR for _ in texts]

    async def aembed_query(self, text: str) -> list[float]:
        return (await self.aembed_documents([text]))[0]


model = Model(messages=iter([]))
embedding_model = EmbeddingModel()
by_hand: dict[str, Any] = {}


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


async def embed() -> None:
    embedding_model.embed_query("hi")


async def aembed() -> None:
    await embedding_model.aembed_query("hi")


WAYS: dict[str, tuple[Way, int]] = {
    "invoke": (invoke, CALLS),
    "ainvoke": (ainvoke, CALLS),
    "stream": (stream, STREAMS),
    "astream": (astream, STREAMS),
    "embed": (embed, CALLS),
    "aembed": (aembed, CALLS),
}


def new_provider() -> TracerProvider:
    made = TracerProvider(shutdown_on_exit=False)
    made.add_span_processor(BatchSpanProcessor(Discard(), max_queue_size=10_000, schedule_delay_millis=3_600_000))
    return made


provider = new_provider()


@contextmanager
def within_run(*, metrics: bool = True, own: bool = True, **settings: Any) -> Iterator[None]:
    """In a component of a flow that is instrumented; with ``own`` as if the provider were one of the library's own."""
    instrument(tracer_provider=provider, settings=Settings(**settings))
    recorder = active_recorder()
    assert recorder is not None
    if own:
        recorder.use_tracer_provider(provider, reaches=recorder.reaches, sender=EndedSpans(provider).sender)
    if metrics:
        # To scrape and to push, as the library makes them itself.
        meter = MeterProvider([InMemoryMetricReader()], shutdown_on_exit=False).get_meter("benchmark")
        recorder.use_metrics(RunMetrics(Instruments(MemoryStore(), meter, READ_FROM_STORE), Settings()), None)
    flow = recorder.start_flow(FlowInfo("demo", session_id="s1"))
    component = recorder.start_component(ComponentInfo("Model-m", "Model", "Model", "llm"), flow)
    try:
        yield
    finally:
        component.finish()
        assert flow is not None
        flow.finish()
        uninstrument()


@contextmanager
def outside_of_runs() -> Iterator[None]:
    instrument(tracer_provider=provider, settings=Settings())
    try:
        yield
    finally:
        uninstrument()


@contextmanager
def by_others(module: str, name: str) -> Iterator[None]:
    """Instrumented by another library.

    Raises:
        ImportError: It is not installed.
    """
    instrumentor = getattr(import_module(module), name)()
    instrumentor.instrument(tracer_provider=provider, skip_dep_check=True)
    try:
        yield
    finally:
        instrumentor.uninstrument()


@contextmanager
def plain() -> Iterator[None]:
    yield


@contextmanager
def with_bare_spans() -> Iterator[None]:
    by_hand["tracer"] = provider.get_tracer("by hand")
    try:
        yield
    finally:
        del by_hand["tracer"]


OURS: dict[str, Callable[[], Any]] = {
    "langflow-otel": within_run,
    "langflow-otel, a given provider": lambda: within_run(own=False),
    "langflow-otel, spans only": lambda: within_run(metrics=False),
    "langflow-otel, detail component": lambda: within_run(detail="component"),
}
OTHERS: dict[str, Callable[[], Any]] = {
    "langflow-otel, outside of runs": outside_of_runs,
    "OpenInference": lambda: by_others("openinference.instrumentation.langchain", "LangChainInstrumentor"),
    "OpenLLMetry": lambda: by_others("opentelemetry.instrumentation.langchain", "LangchainInstrumentor"),
    "genai-langchain": lambda: by_others("opentelemetry.instrumentation.genai.langchain", "LangChainInstrumentor"),
}


@contextmanager
def without_garbage_collection() -> Iterator[None]:
    provider.force_flush()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


async def cpu_seconds(way: Way, times: int) -> float:
    """Of one call: the median, after some in which the interpreter gets used to what was just patched."""
    with without_garbage_collection():
        for _ in range(WARM_UP):
            await one_call(way)
        return statistics.median([await one_call(way) for _ in range(times)])


async def in_turns(way: Way, times: int) -> tuple[float, float, float]:
    """Medians of a call outside of the run that this is in, and of what a bare span and the run add to it."""
    plainly, by_a_span, within = [], [], []
    with without_garbage_collection():
        for _ in range(WARM_UP + times):
            tokens = step_outside()
            assert tokens is not None
            plainly.append(await one_call(way))
            with with_bare_spans():
                by_a_span.append(await one_call(way) - plainly[-1])
            step_out(tokens)
            within.append(await one_call(way) - plainly[-1])
    return tuple(statistics.median(each[WARM_UP:]) for each in (plainly, by_a_span, within))  # type: ignore[return-value]


async def one_call(way: Way) -> float:
    tracer = by_hand.get("tracer")
    start = time.thread_time()
    if tracer is None:
        await way()
    else:
        with tracer.start_as_current_span(by_hand["name"], attributes=by_hand["attributes"]):
            await way()
    return time.thread_time() - start


async def attributes_of_a_call(way: Way) -> dict[str, Any]:
    kept = InMemorySpanExporter()
    processor = SimpleSpanProcessor(kept)
    provider.add_span_processor(processor)
    with within_run():
        await way()
    processors = provider._active_span_processor
    processors._span_processors = tuple(each for each in processors._span_processors if each is not processor)
    return dict(next(span for span in kept.get_finished_spans() if span.name.endswith("fake-1")).attributes or {})


class Figures(NamedTuple):
    """Seconds of a call in each way: by itself, and what a bare span and a variant add to it."""

    call: dict[str, float]
    bare: dict[str, float]
    added: dict[str, float]


async def measured(variant: str) -> Figures | None:
    """None of a library that is not installed."""
    of_a_call, of_embeddings = await attributes_of_a_call(ainvoke), await attributes_of_a_call(aembed)

    def with_its_attributes(way: Way) -> None:
        by_hand["attributes"] = of_embeddings if way in (embed, aembed) else of_a_call
        by_hand["name"] = f"{by_hand['attributes']['gen_ai.operation.name']} fake-1"

    if variant in OURS:
        figures = Figures({}, {}, {})
        with OURS[variant]():
            for name, (way, times) in WAYS.items():
                with_its_attributes(way)
                for figure, each in zip(figures, await in_turns(way, 3 * times), strict=True):
                    figure[name] = each
        return figures

    async def seconds(start: Callable[[], Any]) -> dict[str, float]:
        found: dict[str, float] = {}
        with start():
            for name, (way, times) in WAYS.items():
                with_its_attributes(way)
                found[name] = await cpu_seconds(way, times)
        return found

    try:
        call, bare, added = await seconds(plain), await seconds(with_bare_spans), await seconds(OTHERS[variant])
    except ImportError:
        return None
    more = ({name: each[name] - call[name] for name in WAYS} for each in (bare, added))
    return Figures(call, *more)


def measure(variant: str) -> Figures | None:
    return asyncio.run(measured(variant))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=10)
    rounds = parser.parse_args().rounds
    figures: dict[str, list[Figures]] = {variant: [] for variant in (*OURS, *OTHERS)}
    with get_context("fork").Pool(1, maxtasksperchild=1) as processes:
        for _ in range(rounds):
            for variant, found in figures.items():
                figure = processes.apply(measure, (variant,))
                if figure is not None:
                    found.append(figure)
    everything = [figure for found in figures.values() for figure in found]

    def medians(of: list[dict[str, float]]) -> list[float]:
        return [statistics.median(each[name] for each in of) * 1e6 for name in WAYS]

    print(f"{'microseconds added':34}" + "".join(f"{name:>9}" for name in WAYS))
    print(f"{'the call itself':34}" + "".join(f"{each:9.0f}" for each in medians([each.call for each in everything])))
    print(f"{'a bare span':34}" + "".join(f"{each:9.1f}" for each in medians([each.bare for each in everything])))
    for variant, found in figures.items():
        if found:
            added, bare = medians([each.added for each in found]), medians([each.bare for each in found])
            ratios = ", ".join(f"{each / by_a_span:.2f}" for each, by_a_span in zip(added, bare, strict=True))
            print(f"{variant:34}" + "".join(f"{each:9.1f}" for each in added) + f"  = {ratios} bare spans")


if __name__ == "__main__":
    main()

"""Added time per component, against one bare SDK span with the same attributes in the same place.

    python tests/benchmarks/overhead.py [--components 20] [--rounds 30] [--json]

The variants run one after the other in turn, so that a machine whose speed drifts hurts all alike. A component of
the graph does nothing. In running flows the figures are medians over the rounds; of the hooks alone, the best.
The bare span is what an author would write by hand: ``start_as_current_span`` inside the component.
Everything costs more in a running flow than in a loop of its own, for there the processor's caches are
full of LangFlow; hence both.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import statistics
import sys
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent / "lfx"))

from flows import line
from lfx.custom.custom_component.component import Component
from lfx.graph import Graph
from lfx.io import MessageTextInput, Output
from lfx.log.logger import configure
from lfx.schema.message import Message
from opentelemetry import trace
from opentelemetry.metrics import Meter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import Tracer

from langflow_otel import instrument, uninstrument
from langflow_otel._hooks import component as hooks
from langflow_otel._metrics.instruments import Instruments
from langflow_otel._metrics.store import MemoryStore
from langflow_otel._runs.facts import FlowInfo
from langflow_otel._runs.measuring import RunMetrics
from langflow_otel._runs.recorder import Recorder, active_recorder, set_active_recorder
from langflow_otel._sdk.store_metrics import READ_FROM_STORE
from langflow_otel._settings.settings import Settings

LOOP = 300
LOOPS = 12
WARM_UP_RUNS = 5
TIMED_RUNS = 15
IN_FLOWS = ("on", "all", "unsampled")

bare: dict[str, Any] = {"by hand": False}


class Nothing(Component):
    """Does nothing, inside one bare SDK span while ``bare`` says so. (LangFlow's own cost depends on a component's
    class and source: all variants share this one.)"""

    display_name = "Nothing"
    inputs = [MessageTextInput(name="value", display_name="Value")]
    outputs = [Output(display_name="Out", name="out", method="run_out")]

    async def run_out(self) -> Message:
        with bare_span() if bare["by hand"] else nullcontext():
            return Message(text=self.value)


def bare_span() -> AbstractContextManager[object]:
    tracer: Tracer = bare["tracer"]
    return tracer.start_as_current_span("component Nothing", attributes=bare["attributes"])


class Discard(SpanExporter):
    """Exports to nowhere: the exporter's own cost is not the question here."""

    def export(self, spans: object) -> SpanExportResult:
        return SpanExportResult.SUCCESS


class Keep(SpanExporter):
    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def export(self, spans: object) -> SpanExportResult:
        self.spans.extend(spans)  # type: ignore[arg-type]
        return SpanExportResult.SUCCESS


def provider(exporter: SpanExporter, **kwargs: object) -> TracerProvider:
    made = TracerProvider(shutdown_on_exit=False, **kwargs)  # type: ignore[arg-type]
    made.add_span_processor(BatchSpanProcessor(exporter, max_queue_size=100_000, schedule_delay_millis=3_600_000))
    return made


async def time_run(graph: Graph) -> float:
    """Seconds for one run of the graph, in which every component's own code runs."""
    graph._reset_all_output_values()  # else LangFlow answers from the outputs of the run before
    start = time.perf_counter()
    await graph.arun([{"input_value": "hi"}], session_id="s1")
    return time.perf_counter() - start


def time_bare_span() -> float:
    """Seconds for one span with the attributes of a component's, started as the current one and ended."""
    # Below a recording span, whatever the variant in turn does: below one that is not, it would be none itself.
    with trace.use_span(bare["parent"]):
        start = time.perf_counter()
        for _ in range(LOOP):
            with bare_span():
                pass
        return (time.perf_counter() - start) / LOOP


class Stub:
    """Stands where LangFlow's engine stands, and does nothing: what is left is the hooks' own time."""

    def __init__(self) -> None:
        self.graph = line(Nothing)
        self.vertex = self.graph.get_vertex("Nothing-0")
        self.component = self.vertex.custom_component
        self.output = self.component.get_output("out")
        self.result = Message(text="")

    async def _get_output_result(self, _: object) -> Message:
        return self.result

    async def _build_vertex(self, _: str) -> None:
        await hooks.get_output_result(self._get_output_result, self.component, (self.output,), {})

    async def _build_vertex_plainly(self) -> None:
        await self._get_output_result(self.output)

    async def time_hooks(self) -> float:
        """Seconds for one component with the hooks."""
        start = time.perf_counter()
        for _ in range(LOOP):
            await hooks.build_vertex(self._build_vertex, self.graph, ("Nothing-0",), {})
        return (time.perf_counter() - start) / LOOP

    async def time_plain(self) -> float:
        """Seconds for the same without them."""
        start = time.perf_counter()
        for _ in range(LOOP):
            await self._build_vertex_plainly()
        return (time.perf_counter() - start) / LOOP


def quiet(used: Sequence[TracerProvider]) -> None:
    """No exporter's thread and no garbage collection in the loops that follow, as timeit has it: a loop has fewer
    spans than a batch."""
    for each in used:
        each.force_flush()
    gc.collect()
    gc.disable()


def pushed_metrics() -> Meter:
    return MeterProvider([InMemoryMetricReader()], shutdown_on_exit=False).get_meter("benchmark")


def all_metrics() -> Instruments:
    """To scrape and to push, as the library makes them itself."""
    return Instruments(MemoryStore(), pushed_metrics(), READ_FROM_STORE)


def use_all_metrics() -> None:
    recorder = active_recorder()
    assert recorder is not None
    recorder.use_metrics(RunMetrics(all_metrics(), Settings()), None)


async def measure_hooks(rounds: int, providers: dict[str, TracerProvider]) -> dict[str, tuple[float, float]]:
    """Of each variant: seconds of a component, and the same in bare spans. The best loop of all rounds, as timeit has
    it, of the hooks, of the bare span and of neither: a machine's speed changes from one second to the next, and in so
    short a loop all else is noise."""
    stub = Stub()
    await time_run(stub.graph)
    variants = {
        "on": (providers["on"], None),
        "scraped": (providers["on"], Instruments(MemoryStore(), None)),
        "all": (providers["on"], all_metrics()),
        "all_by_sdk": (providers["on"], Instruments(MemoryStore(), pushed_metrics())),
        "unsampled": (providers["unsampled"], None),
        "unsampled_scraped": (providers["unsampled"], Instruments(MemoryStore(), None)),
        "held": (providers["on"], None),
        "held_scraped": (providers["on"], Instruments(MemoryStore(), None)),
    }
    held = Settings(sampling=(("*", 0.0),), keep_errors=True)
    best = {name: (float("inf"),) * 3 for name in variants}
    for _ in range(rounds):
        for name, (with_provider, instruments) in variants.items():
            measured = None if instruments is None else RunMetrics(instruments, Settings())
            recorder = Recorder(None, held if name.startswith("held") else Settings(), measured)
            recorder.use_tracer_provider(with_provider, decides=True)
            set_active_recorder(recorder)
            run = recorder.start_flow(FlowInfo("benchmark"), stub.graph)
            assert run is not None
            # A process has one configuration: the interpreter gets used to each of them in the first loops.
            loops = []
            for _ in range(LOOPS):
                quiet(list(providers.values()))
                times = time_bare_span(), await stub.time_hooks(), await stub.time_plain()
                gc.enable()
                loops.append(times)
            run.finish()
            set_active_recorder(None)
            best[name] = tuple(map(min, zip(best[name], *loops, strict=True)))
    bare_span = min(each[0] for each in best.values())
    added = {"bare": bare_span, **{name: hooked - plain for name, (_, hooked, plain) in best.items()}}
    return {name: (seconds, seconds / bare_span) for name, seconds in added.items()}


async def component_attributes(graph: Graph) -> dict[str, Any]:
    keep = Keep()
    made = provider(keep)
    instrument(tracer_provider=made, settings=Settings())
    await time_run(graph)
    uninstrument()
    made.force_flush()
    return dict(next(span.attributes for span in keep.spans if span.name == "component Nothing"))


async def measure(components: int, rounds: int) -> dict[str, float]:
    providers = {"on": provider(Discard()), "unsampled": provider(Discard(), sampler=ALWAYS_OFF)}
    providers["all"] = providers["on"]
    attributes = await component_attributes(line(Nothing))
    providers["bare"] = provider(Discard())
    tracer = providers["bare"].get_tracer("bare")
    bare.update(attributes=attributes, tracer=tracer, parent=tracer.start_span("invoke_workflow benchmark"))
    names = ["off", "by hand", *IN_FLOWS]
    seen: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(rounds):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            bare["by hand"] = name == "by hand"
            if name in IN_FLOWS:
                instrument(tracer_provider=providers[name], settings=Settings())
            if name == "all":
                use_all_metrics()
            # A fresh graph: one gets slower with its runs. Warm-up: patching empties the interpreter's caches.
            graph = line(*[Nothing] * components)
            times = [await time_run(graph) for _ in range(WARM_UP_RUNS + TIMED_RUNS)]
            seen[name].append(statistics.median(times[WARM_UP_RUNS:]))
            if name in IN_FLOWS:
                uninstrument()
    bare["by hand"] = False
    median = {name: statistics.median(times) * 1e6 for name, times in seen.items()}
    alone = await measure_hooks(rounds, providers)
    # Chat input and chat output are components, too; the hand-made span is in the others alone.
    added = {name: (median[name] - median["off"]) / (components + 2) for name in IN_FLOWS}
    bare_us = (median["by hand"] - median["off"]) / components
    return {
        "host_us": median["off"] / (components + 2),
        **{f"{name}_alone_us": seconds * 1e6 for name, (seconds, _) in alone.items()},
        **{f"{name}_alone_ratio": ratio for name, (_, ratio) in alone.items()},
        "bare_us": bare_us,
        **{f"{name}_us": microseconds for name, microseconds in added.items()},
        **{f"{name}_ratio": microseconds / bare_us for name, microseconds in added.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--components", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    configure(log_level="CRITICAL")
    result = asyncio.run(measure(arguments.components, arguments.rounds))
    if arguments.json:
        print(json.dumps(result))
        return
    print(f"{arguments.components} components that do nothing, medians of {arguments.rounds} rounds")
    for text, figure, ratio in (
        ("LangFlow itself, per component", "host_us", None),
        ("The hooks alone, without LangFlow's engine around them:", None, None),
        ("  one bare SDK span", "bare_alone_us", None),
        ("  one component", "on_alone_us", "on_alone_ratio"),
        ("  one component, and metrics to scrape", "scraped_alone_us", "scraped_alone_ratio"),
        ("  one component, metrics to scrape and to push", "all_alone_us", "all_alone_ratio"),
        ("  the same with a meter provider that is passed in", "all_by_sdk_alone_us", "all_by_sdk_alone_ratio"),
        ("  one component, not sampled", "unsampled_alone_us", "unsampled_alone_ratio"),
        (
            "  one component, not sampled, metrics to scrape",
            "unsampled_scraped_alone_us",
            "unsampled_scraped_alone_ratio",
        ),
        ("  one component, not sampled, held to be kept", "held_alone_us", "held_alone_ratio"),
        ("  the same, and metrics to scrape", "held_scraped_alone_us", "held_scraped_alone_ratio"),
        ("In running flows, as added wall time (noisier):", None, None),
        ("  one bare SDK span, by hand in the component", "bare_us", None),
        ("  one component", "on_us", "on_ratio"),
        ("  one component, metrics to scrape and to push", "all_us", "all_ratio"),
        ("  one component, not sampled", "unsampled_us", "unsampled_ratio"),
    ):
        if figure is None:
            print(text)
            continue
        spans = f"  = {result[ratio]:.2f} bare spans" if ratio else ""
        print(f"{text:50s}{result[figure]:8.1f} us{spans}")


if __name__ == "__main__":
    main()

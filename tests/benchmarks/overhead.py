"""Added time per component, against one bare SDK span with the same attributes in the same place.

    python tests/benchmarks/overhead.py [--components 20] [--runs 400] [--json]

The variants run one after the other in turn, so that a machine whose speed drifts hurts all alike;
the figures are medians over the runs. A component of the graph does nothing.
The bare span is what an author would write by hand: ``start_as_current_span`` inside the component.
A tight loop of such spans is shown as well; there they cost less, for the processor's caches stay warm.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent / "lfx"))

from flows import line
from lfx.custom.custom_component.component import Component
from lfx.graph import Graph
from lfx.io import MessageTextInput, Output
from lfx.log.logger import configure
from lfx.schema.message import Message
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import Tracer

from langflow_otel import instrument, uninstrument
from langflow_otel.settings import Settings

BARE_SPANS = 200

bare: dict[str, Any] = {}


class Nothing(Component):
    """Does nothing. (LangFlow's own cost depends on a component's source: all variants share this module.)"""

    display_name = "Nothing"
    inputs = [MessageTextInput(name="value", display_name="Value")]
    outputs = [Output(display_name="Out", name="out", method="run_out")]

    async def run_out(self) -> Message:
        return Message(text=self.value)


class NothingByHand(Nothing):
    """Does nothing inside one bare SDK span."""

    async def run_out(self) -> Message:
        with bare["tracer"].start_as_current_span("component Nothing", attributes=bare["attributes"]):
            return Message(text=self.value)


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
    made.add_span_processor(BatchSpanProcessor(exporter, max_queue_size=100_000, schedule_delay_millis=100))
    return made


async def time_run(graph: Graph) -> float:
    """Seconds for one run of the graph, in which every component's own code runs."""
    graph._reset_all_output_values()  # else LangFlow answers from the outputs of the run before
    start = time.perf_counter()
    await graph.arun([{"input_value": "hi"}], session_id="s1")
    return time.perf_counter() - start


def time_bare_span(attributes: dict[str, Any], tracer: Tracer) -> float:
    """Seconds for one span with these attributes, started as the current one and ended."""
    start = time.perf_counter()
    for _ in range(BARE_SPANS):
        with tracer.start_as_current_span("component Nothing", attributes=attributes):
            pass
    return (time.perf_counter() - start) / BARE_SPANS


async def component_attributes(graph: Graph) -> dict[str, Any]:
    keep = Keep()
    made = provider(keep)
    instrument(tracer_provider=made, settings=Settings())
    await time_run(graph)
    uninstrument()
    made.force_flush()
    return dict(next(span.attributes for span in keep.spans if span.name == "component Nothing"))


async def measure(components: int, runs: int) -> dict[str, float]:
    def build(cls: type) -> Graph:
        return line(*[cls] * components)

    bare.update(attributes=await component_attributes(build(Nothing)), tracer=provider(Discard()).get_tracer("bare"))
    # A graph of its own for each: a graph's runs get slower the more it has had.
    graphs = {"off": build(Nothing), "on": build(Nothing), "unsampled": build(Nothing), "by hand": build(NothingByHand)}
    providers = {"on": provider(Discard()), "unsampled": provider(Discard(), sampler=ALWAYS_OFF)}
    seen: dict[str, list[float]] = {name: [] for name in graphs}
    names = list(graphs)
    for turn in range(runs):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            graph = graphs[name]
            if name in providers:
                instrument(tracer_provider=providers[name], settings=Settings())
            seen[name].append(await time_run(graph))
            if name in providers:
                uninstrument()
    median = {name: statistics.median(times) * 1e6 for name, times in seen.items()}
    tight_loop = min(time_bare_span(bare["attributes"], bare["tracer"]) for _ in range(10)) * 1e6
    # Chat input and chat output are components, too; the hand-made span is in the others alone.
    added = {name: (median[name] - median["off"]) / (components + 2) for name in providers}
    bare_us = (median["by hand"] - median["off"]) / components
    return {
        "host_us_per_component": median["off"] / (components + 2),
        "bare_span_tight_loop_us": tight_loop,
        "bare_span_us": bare_us,
        "added_us_per_component": added["on"],
        "added_us_per_component_unsampled": added["unsampled"],
        "ratio_on": added["on"] / bare_us,
        "ratio_unsampled": added["unsampled"] / bare_us,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--components", type=int, default=20)
    parser.add_argument("--runs", type=int, default=400, help="of each variant, one after the other in turn")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    configure(log_level="CRITICAL")
    result = asyncio.run(measure(arguments.components, arguments.runs))
    if arguments.json:
        print(json.dumps(result))
        return
    print(f"{arguments.components} components that do nothing, medians of {arguments.runs} runs")
    for text, figure, ratio in (
        ("LangFlow alone, per component", "host_us_per_component", None),
        ("one bare SDK span, in a tight loop", "bare_span_tight_loop_us", None),
        ("one bare SDK span, by hand", "bare_span_us", None),
        ("added per component", "added_us_per_component", "ratio_on"),
        ("added per component, not sampled", "added_us_per_component_unsampled", "ratio_unsampled"),
    ):
        spans = f"  = {result[ratio]:.2f} bare spans" if ratio else ""
        print(f"  {text:36s}{result[figure]:8.1f} us{spans}")


if __name__ == "__main__":
    main()

"""Whatever function of this library fails, whenever a flow runs it: the flow gives the result, the error and the steps
that it gives without the library, and the fault is counted.

The functions are found by running the flows and looking which of ours are called, so that a new one is covered by
itself. Each fails in one flow that calls it, and in the one with spans of other instrumentors; with ``LONG_TESTS=1`` in
all of them, at once and when it is done.
"""

from __future__ import annotations

import asyncio
import gc
import io
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from injector import Step, When, failing, modules_in, noting_calls, steps_in
from lfx.log.logger import configure
from nodes import authored, chatty, streams
from observations import DRIVES, EVERYTHING, FLOWS, observed
from opentelemetry import context as otel_context
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from langflow_otel import _guard as guard
from langflow_otel._hooks.table import HOOKS, LOG_HOOKS
from langflow_otel._runs.recorder import active_recorder
from langflow_otel._runs.run import end_open_runs, innermost_run
from langflow_otel._sdk.batches import CountingBatchSpanProcessor, CountingSpanExporter
from langflow_otel._sdk.content_filter import ContentFilter
from langflow_otel._sdk.ended_span import EndedSpans
from langflow_otel._sdk.log_records import CountingLogExporter, in_memory_logger_provider
from langflow_otel._sdk.sampling import follows_recorder
from langflow_otel._sdk.trace_file import TraceFileExporter
from langflow_otel._settings.settings import Settings
from langflow_otel.testing import Telemetry, capture_telemetry

LONG = "LONG_TESTS" in os.environ
pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600 if LONG else 300)]

SETTINGS = {
    "everything": replace(
        EVERYTHING,
        user_id=True,
        baggage_keys=("tenant",),
        metric_labels=("flow", "component_type", "flow_id", "flow_version"),
        sampling=(("*", 1.0),),
    ),
    "held": Settings(sampling=(("*", 0.0),), keep_errors=True, keep_slow_s=0.0, content_on_spans=True),
    "not sampled": Settings(sampling=(("*", 0.0),)),
}
RUNS = [
    *((flow, "arun") for flow in FLOWS),
    *(("line", drive) for drive in DRIVES if drive != "arun"),
    ("frozen", "twice"),
    ("failing", "playground"),
]
# What is not sampled differs from what is only in these.
UNSAMPLED = ("line", "authored", "other instrumentors", "stream", "flow in flow", "agent", "failing")
SHORT_RUNS = {
    "everything": [run for run in RUNS if run[0] not in ("failing model", "failing stream")],
    "held": [run for run in RUNS if run[0] in UNSAMPLED and run[1] in ("arun", "server")],
    "not sampled": [("line", "arun"), ("authored", "arun"), ("other instrumentors", "arun")],
}

MODULES = modules_in(
    "langflow_otel._guard",
    "langflow_otel._errors",
    "langflow_otel._content",
    "langflow_otel._metrics",
    "langflow_otel._runs",
    "langflow_otel._hooks",
    "langflow_otel.redaction",
    "langflow_otel._sdk",
    "langflow_otel._process",
    "langflow_otel._authoring",
    "langflow_otel.metrics",
)

HELD_SPAN = (
    *("get_span_context", "is_recording", "set_attribute", "set_attributes", "add_event", "add_link", "update_name"),
    *("set_status", "record_exception", "end"),
)
STREAM_STEPS = (
    *("_step", "_Iterator.__iter__", "_Iterator.__next__"),
    *("_AsyncIterator.__anext__", "_AsyncGenerator.asend", "_AsyncGenerator.athrow"),
)
TRIVIAL = "it hands on what it gets or has, and does nothing that could fail"
GUARDED = "its own body is the guard"
HOST = "it holds the host's own call or step"
DEFINES = "called where an author writes a definition, which raises at once if it is wrong, as documented"
RESTORES = "it is what gives the caller's context back"
SPAN = "others ask a span, too; it only reads or notes"
WEAK = "Python itself contains what fails in the callback of a weak reference, or in __del__"
COUNTS = "it is what counts what an exporter loses; the SDK contains what fails in an exporter"
NO_STEPS = {
    **dict.fromkeys(["_guard.Guard.__enter__", "_guard.Guard.__exit__"], GUARDED),
    **dict.fromkeys([f"_runs.stream_proxies.{name}" for name in ("_pull", "_leave", "_chunk")], GUARDED),
    **dict.fromkeys(["_runs.stream_proxies._Proxy._close", "_runs.stream_proxies._Proxy._failed"], GUARDED),
    **dict.fromkeys(
        ["_sdk.instrumentor_spans.NestedModelSpans.on_start", "_sdk.instrumentor_spans.NestedModelSpans.on_end"],
        GUARDED,
    ),
    **dict.fromkeys(
        ["_sdk.batches.CountingBatchSpanProcessor.on_end", "_sdk.sampling.DecidedSampler.should_sample"], GUARDED
    ),
    **dict.fromkeys([f"_sdk.sampling.PresetIds.{name}" for name in ("generate_span_id", "generate_trace_id")], TRIVIAL),
    "_sdk.sampling.PresetIds.is_trace_id_random": GUARDED,
    "_runs.buffered_spans.preset_ids": TRIVIAL,
    **dict.fromkeys(
        [f"_hooks.model_call._Followed.{name}" for name in ("_first_token", "_first_event", "_ended", "_failed")], HOST
    ),
    **dict.fromkeys(
        ["_hooks.model_call.watched", "_hooks.model_call._follow_all", "_hooks.model_call._Followed._chunk"], GUARDED
    ),
    "_hooks.model_call._Followed._function": TRIVIAL,
    "_metrics.event_loop._Timer._note": GUARDED,
    **dict.fromkeys(["_hooks.embeddings.embed", "_hooks.retrieval._search"], HOST),
    **dict.fromkeys([f"_runs.foreign_spans.ReportedSpans.{name}" for name in ("__init__", "__enter__")], TRIVIAL),
    **dict.fromkeys(["_runs.foreign_spans.ReportedSpans.__exit__", "_hooks.embeddings._finish"], GUARDED),
    "_sdk.http_clients._calling_model": GUARDED,
    "_sdk.http_clients._below_call": HOST,
    **dict.fromkeys(["_hooks.tool._note_component", "_hooks.tool._note_failure", "_hooks.component._off"], GUARDED),
    **dict.fromkeys([f"metrics.{name}" for name in ("Counter.add", "Gauge.set", "Histogram.record")], GUARDED),
    **dict.fromkeys(
        ["_authoring._start", "_authoring._watched", "_authoring.record_retry", "_authoring.set_attributes"], GUARDED
    ),
    **dict.fromkeys(["_authoring._CustomSpan.__exit__", "_authoring._CustomSpan.set_attributes"], GUARDED),
    **dict.fromkeys(
        ["_authoring._CustomSpan.__init__", "_authoring._CustomSpan.__enter__", "_authoring.span"], TRIVIAL
    ),
    **dict.fromkeys(["_runs.component.ComponentRun.observed", "_hooks.patching._Switch.__call__"], TRIVIAL),
    **dict.fromkeys(
        ["_hooks.server.ServerMiddleware.__init__", "_sdk.instrumentor_spans.TracerBelowRuns.__init__"], TRIVIAL
    ),
    **dict.fromkeys([f"_runs.stream_proxies.{name}" for name in STREAM_STEPS], HOST),
    **dict.fromkeys(["_hooks.flow._with_caller_context"], HOST),
    **dict.fromkeys(["_sdk.instrumentor_spans.TracerBelowRuns.start_as_current_span"], HOST),
    **dict.fromkeys(
        [f"_sdk.instrumentor_spans.{name}" for name in ("TracersBelowRuns.get_tracer", "TracerBelowRuns.start_span")],
        GUARDED,
    ),
    **dict.fromkeys(["_runs.run.Run.leave", "_runs.run.step_out", "_hooks.embeddings._leave"], RESTORES),
    **dict.fromkeys(["_runs.request.RequestRun.finish", "_hooks.server._finish"], RESTORES),
    **dict.fromkeys(
        [f"_authoring.{name}" for name in ("traced", "_decorate", "_wrapper_for", "_traced_coroutine")], DEFINES
    ),
    **dict.fromkeys([f"metrics.{name}" for name in ("_names_of", "counter", "gauge", "histogram")], DEFINES),
    **dict.fromkeys(["metrics._define", "metrics._check", "_metrics.catalogue.Metric.prometheus_name"], DEFINES),
    **dict.fromkeys([f"_runs.buffered_spans.HeldSpan.{name}" for name in HELD_SPAN], SPAN),
    "_runs.buffered_spans.new_span_context": SPAN,
    "_runs.sampling.UnsampledFlowSpan.is_recording": SPAN,
    **dict.fromkeys([f"_runs.recorder.{name}_recorder" for name in ("active", "process")], TRIVIAL),
    "_runs.run.Run.recording": TRIVIAL,
    **dict.fromkeys(["_runs.stream_proxies._Proxy.__del__", "_hooks.facts._forget"], WEAK),
    "_hooks.flow._give_up_stepping": WEAK,
    **dict.fromkeys(["_sdk.batches.CountingSpanExporter.export", "_sdk.batches.export_in_parts"], COUNTS),
    "_sdk.log_records.CountingLogExporter.export": COUNTS,
    "_sdk.versions.log_export_success": COUNTS,
}
"""Functions that may not fail, and why they need not be able to."""
ENTERS = (
    *("_runs.recorder.Recorder.start_flow", "_runs.recorder.Recorder.start_request"),
    *("_runs.request.RequestRun.__init__", "_runs.request.RequestRun.start", "_runs.run.Run.enter"),
    *("_hooks.flow._start_playground", "_hooks.flow._start_unless_inside", "_hooks.flow._stepped_run"),
    "_hooks.server._start",
)
"""When these are done, only what they give back can undo what they did to the caller's context."""
HOOKED = {hook.wrapper for hook in (*HOOKS, *LOG_HOOKS)}
"""These hold the host's own call."""


@contextmanager
def library(settings: Settings, folder: Path) -> Iterator[Telemetry]:
    """This library as in production, with all that it has between a span and its exporter, and with prices. The spans'
    provider is as its own one."""
    prices = folder / "prices.json"
    prices.write_text(json.dumps({"currency": "USD", "prices": [{"model": "*", "input": 1.0, "output": 2.0}]}))
    with capture_telemetry(settings=replace(settings, prices=prices), strict=False, check_leaks=False) as telemetry:
        filtered = ContentFilter(TraceFileExporter(folder / "traces.jsonl"), settings)
        telemetry.provider.add_span_processor(SimpleSpanProcessor(CountingSpanExporter(filtered)))
        telemetry.provider.add_span_processor(CountingBatchSpanProcessor(InMemorySpanExporter()))
        _, kept = in_memory_logger_provider()
        telemetry.logger_provider.add_log_record_processor(SimpleLogRecordProcessor(CountingLogExporter(kept)))
        recorder, provider = active_recorder(), telemetry.provider
        assert recorder is not None
        recorder.use_tracer_provider(
            provider,
            decides=follows_recorder(provider),
            reaches=recorder.reaches,
            sender=EndedSpans(provider).sender,
        )
        authored.tracers.makes_spans = authored.seen["provider"] = telemetry.provider
        try:
            yield telemetry
        finally:
            authored.tracers.makes_spans = None
            authored.seen.clear()
            # What a fault kept from ending would end in the middle of another test: a stream is kept by who read it.
            streams.seen.clear()
            gc.collect()
            end_open_runs("the test is over")
            telemetry.provider.shutdown()


@pytest.fixture(scope="module", autouse=True)
def _lines() -> Iterator[None]:
    """LangFlow writes its lines, and so they are ours, too."""
    for logger in (sys.modules["lfx.log.logger"].logger, chatty.logger):
        vars(logger).pop("bind", None)
    configure(log_level="INFO", log_env="container_json", output_file=io.StringIO(), cache=False)
    yield
    configure(log_level="CRITICAL", cache=False)


async def seen_of(flow: str, drive: str) -> Any:
    """What there is to see of a run, the caller's context afterwards among it."""
    before = otel_context.get_current()
    seen = await observed(FLOWS[flow], DRIVES[drive])
    return seen, otel_context.get_current() == before, innermost_run.get() is None


class Reached:
    """Which functions each run calls, and what there is to see of it without the library."""

    def __init__(self, folder: Path) -> None:
        found = (step for module in MODULES for step in steps_in(module))
        self.steps = [step for step in found if not step.holds_host_code and step.function not in HOOKED]
        self.expected: dict[tuple[str, str], Any] = {}
        self.by_run: dict[tuple[str, str, str], set[str]] = {}
        self._folder = folder

    def find(self) -> None:
        for run in RUNS if LONG else SHORT_RUNS["everything"]:
            self.expected[run] = asyncio.run(seen_of(*run))
        for name, settings in SETTINGS.items():
            with library(settings, self._folder):
                for run in RUNS if LONG else SHORT_RUNS[name]:
                    with noting_calls(self.steps) as called:
                        assert asyncio.run(seen_of(*run)) == self.expected[run]
                    self.by_run[(name, *run)] = called

    def runs_of(self, step: Step) -> list[tuple[str, str, str]]:
        found = [run for run, called in self.by_run.items() if step.name in called]
        # Spans that other instrumentors make call ours without any guard of ours around.
        others = [run for run in found[1:] if run[1] == "other instrumentors"]
        return found if LONG else [*found[:1], *others[:1]]


@pytest.fixture(scope="module")
def reached(tmp_path_factory: pytest.TempPathFactory) -> Reached:
    found = Reached(tmp_path_factory.mktemp("traces"))
    found.find()
    return found


def lost(telemetry: Telemetry) -> float:
    """What exporters have counted; faults that a guard contains are counted as well, each as an own error."""
    found = telemetry.metrics("langflow_otel_dropped_total")
    return sum(value for name, value in found.items() if "own_error" not in name)


def harm_of(
    step: Step, run: tuple[str, str], when: When, expected: Any, telemetry: Telemetry, counted: list[float]
) -> str | None:
    """What the function's failing does to whoever runs the flow; None if nothing, and it was counted."""
    guard.faults.clear()
    with failing(step, when) as calls:
        try:
            seen = asyncio.run(seen_of(*run))
        except Exception as exc:
            return repr(exc)
    if seen != expected:
        return f"{seen}"
    if not calls or guard.faults:
        return None
    before, counted[0] = counted[0], lost(telemetry)
    return None if counted[0] > before else "nobody counted it"


# Only the hooks differ between versions.
@pytest.mark.parametrize(
    "module",
    [
        pytest.param(module, marks=[] if module.startswith("langflow_otel._hooks") else [pytest.mark.any_version])
        for module in MODULES
    ],
)
def test_a_fault_in_any_function_changes_nothing(module: str, reached: Reached, tmp_path: Path):
    steps = [step for step in reached.steps if step.function.__module__ == module]
    cases = [
        (step, run, when)
        for step in steps
        if step.name.removeprefix("langflow_otel.") not in NO_STEPS
        for run in reached.runs_of(step)
        for when in (("at once", "when done") if LONG and not step.name.endswith(ENTERS) else ("at once",))
    ]
    harm = {}
    for name, settings in SETTINGS.items():
        of_these = [(step, run, when) for step, (given, *run), when in cases if given == name]
        if of_these:
            with library(settings, tmp_path) as telemetry:
                counted = [0.0]
                for step, run, when in of_these:
                    found = harm_of(step, tuple(run), when, reached.expected[tuple(run)], telemetry, counted)
                    if found is not None:
                        harm[(step.name, name, *run, when)] = found

    assert sorted(harm) == [], next(iter(harm.values()))


def test_the_flows_reach_most_of_what_runs_in_them(reached: Reached):
    rooms = ("_runs", "_content", "_hooks", "redaction")
    within = [step for step in reached.steps if step.name.split(".")[1] in rooms]
    missed = {step.name for step in within if not reached.runs_of(step)}

    assert len(within) > 300
    assert len(missed) < len(within) / 3, sorted(missed)


def test_the_exceptions_are_still_there(reached: Reached):
    names = {step.name.removeprefix("langflow_otel.") for step in reached.steps}

    assert NO_STEPS.keys() <= names

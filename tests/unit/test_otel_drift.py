"""Classes of ours that stand in for classes of OpenTelemetry answer all that these have, on any SDK.

Where upstream adds a method with a default, a class that wraps another one answers with the default, and what it wraps
is never asked. So each public name is ours, or is named here as inherited, with the reason.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from typing import Any, Final

import pytest
from opentelemetry.sdk import _logs
from opentelemetry.sdk._logs import export as log_export
from opentelemetry.sdk.trace.id_generator import IdGenerator

import langflow_otel
from langflow_otel._sdk.log_records import CountingLogExporter
from langflow_otel._sdk.sampling import PresetIds

ALL: Final = "all: it is the SDK's own class, with something added"
NOTHING_TO_SEND: Final = "it sends nothing"
INHERITED: Final[dict[str, dict[str, str]]] = {
    "_sdk.instrumentor_spans.TracerBelowRuns": {},
    "_sdk.instrumentor_spans.TracersBelowRuns": {},
    "_sdk.content_filter.ContentFilter": {},
    "_sdk.content_filter.ReplacedSpan": {"*": ALL},
    "_sdk.batches.CountingBatchSpanProcessor": {"*": ALL},
    "_sdk.batches.CountingMetricExporter": {},
    "_sdk.batches.CountingSpanExporter": {},
    "_sdk.log_records.CountingBatchLogRecordProcessor": {"*": ALL},
    "_sdk.log_records.CountingLogExporter": {},
    "_sdk.outgoing_context.BelowRunsPropagator": {},
    "_sdk.instrumentor_spans.NestedModelSpans": {"force_flush": NOTHING_TO_SEND, "shutdown": NOTHING_TO_SEND},
    "_sdk.sampling.DecidedSampler": {},
    "_sdk.sampling.PresetIds": {},
    "_sdk.trace_file.TraceFileExporter": {},
    "_hooks.server._Headers": {},
    "instrumentor.LangflowInstrumentor": {"*": ALL},
    "_runs.buffered_spans.HeldSpan": {},
    "_runs.sampling.UnsampledFlowSpan": {"*": "all: it says of itself that it records, and does not"},
    "testing._OpenSpans": {"force_flush": NOTHING_TO_SEND, "shutdown": NOTHING_TO_SEND},
}
"""Every class of ours with a base of OpenTelemetry's, and what it inherits on purpose."""
STANDS_IN: Final = {
    # It has no base, for that has had more than one name.
    CountingLogExporter: getattr(log_export, "LogRecordExporter", None) or log_export.LogExporter,  # type: ignore[attr-defined]
}


def upstream_of(cls: type) -> list[type]:
    bases = [base for base in cls.__mro__ if base.__module__.startswith("opentelemetry.")]
    return [*bases, *([STANDS_IN[cls]] if cls in STANDS_IN else [])]


OF_EXTRAS: Final = ("numpy", "ruptures", "scipy", "statsforecast")
"""Packages without which some modules cannot be imported; none of these has a class of OpenTelemetry's."""


def our_classes() -> dict[str, type]:
    found = {}
    for module in pkgutil.walk_packages(langflow_otel.__path__, "langflow_otel."):
        # The first is run in other processes; the second needs LangFlow.
        if module.name.startswith(("langflow_otel._autostart.", "langflow_otel.cli.demo.flow.")):
            continue
        try:
            members = vars(importlib.import_module(module.name))
        except ModuleNotFoundError as exc:
            if exc.name not in OF_EXTRAS:
                raise
            continue
        for name, cls in members.items():
            if inspect.isclass(cls) and cls.__module__ == module.name and upstream_of(cls):
                found[f"{module.name.removeprefix('langflow_otel.')}.{name}"] = cls
    return found


CLASSES: Final = our_classes()


def not_answered(cls: type, inherited: dict[str, Any]) -> Iterator[str]:
    """Public names of OpenTelemetry's classes that are neither ours nor inherited on purpose."""
    own = [base for base in cls.__mro__ if not base.__module__.startswith("opentelemetry.")]
    for upstream in upstream_of(cls):
        for name in vars(upstream):
            is_ours = any(name in vars(base) for base in own if base is not object)
            if not name.startswith("_") and not is_ours and not ({name, "*"} & inherited.keys()):
                yield f"{upstream.__name__}.{name}"


def test_each_class_that_stands_in_for_an_upstream_one_is_listed():
    assert CLASSES.keys() == INHERITED.keys()


@pytest.mark.parametrize("name", CLASSES)
def test_class_answers_all_that_its_upstream_class_has(name: str):
    assert list(not_answered(CLASSES[name], INHERITED[name])) == []


@pytest.mark.parametrize("name", [name for name, names in INHERITED.items() if "*" not in names])
def test_class_that_lacks_a_new_upstream_method_is_found(name: str, monkeypatch):
    upstream = upstream_of(CLASSES[name])[-1]
    monkeypatch.setattr(upstream, "added_upstream", lambda self: True, raising=False)

    assert list(not_answered(CLASSES[name], INHERITED[name])) == [f"{upstream.__name__}.added_upstream"]


@pytest.mark.parametrize("name", [name for name, names in INHERITED.items() if "*" in names])
def test_class_that_inherits_all_is_not_abstract(name: str):
    assert not inspect.isabstract(CLASSES[name])


@pytest.mark.parametrize("answer", [True, False])
def test_preset_ids_are_random_if_their_generator_says_so(answer: bool):
    class Ids(IdGenerator):
        def generate_span_id(self) -> int:
            return 1

        def generate_trace_id(self) -> int:
            return 1

        def is_trace_id_random(self) -> bool:
            return answer

    assert PresetIds(Ids()).is_trace_id_random() is answer


def test_counting_log_exporter_flushes_the_one_that_it_wraps():
    class Exporter:
        flushed: list[int] = []

        def force_flush(self, timeout_millis: int) -> bool:
            self.flushed.append(timeout_millis)
            return False

    assert CountingLogExporter(Exporter()).force_flush(5) is False
    assert Exporter.flushed == [5]
    assert CountingLogExporter(_logs).force_flush() is True  # an older exporter has no such method

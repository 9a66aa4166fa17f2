"""In-memory telemetry for tests of flows, components and traced functions.

Example::

    from langflow_otel.testing import capture_telemetry

    async def test_my_flow():
        with capture_telemetry() as telemetry:
            await graph.arun([{"input_value": "hi"}])
        assert telemetry.tree() == [
            "invoke_workflow my flow",
            "  component Chat Input",
            "  component My Node",
            "    lookup",
        ]

On exit it fails if a span is still open, if the OpenTelemetry context is not the one from before, if
tasks are left running, or if this library logged a warning.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from opentelemetry import context as otel_context
from opentelemetry.context import Context
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, Metric
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import Sampler

from langflow_otel import _guard as guard
from langflow_otel import _semconv as semconv
from langflow_otel._metrics.exposition import Renderer
from langflow_otel._metrics.scrape import Scrape
from langflow_otel._runs.run import current_run
from langflow_otel._sdk.log_records import in_memory_logger_provider
from langflow_otel._sdk.sampling import let_recorder_decide
from langflow_otel._settings.settings import Settings
from langflow_otel.insights import log_record
from langflow_otel.insights.log_record import LogRecord
from langflow_otel.insights.trace import TraceSpan, build_trees, from_sdk

__all__ = ["LeakError", "LogRecord", "Telemetry", "TraceSpan", "capture_telemetry"]

# Tasks that LangFlow starts and does not wait for, by the classes that they belong to.
_TASKS_OF_LANGFLOW = ("Graph.end_all_traces", "MCPSessionManager.")


class LeakError(AssertionError):
    """Something of the telemetry outlived the code under test."""


@dataclass
class Telemetry:
    """What was recorded. Usable inside and after the ``with`` block.

    Attributes:
        provider: The provider that makes the spans; for tracers of a test's own.
        meter_provider: The one that makes the metrics.
        logger_provider: The one that makes the log records.
        warnings: Warnings and errors that this library or the SDK logged.
    """

    provider: TracerProvider
    meter_provider: MeterProvider
    logger_provider: LoggerProvider
    warnings: list[str] = field(default_factory=list)
    _exporter: InMemorySpanExporter = field(default_factory=InMemorySpanExporter)
    _reader: InMemoryMetricReader = field(default_factory=InMemoryMetricReader)
    _records: Any = None
    _scrape: Scrape | None = None

    @property
    def sdk_spans(self) -> list[ReadableSpan]:
        """Finished spans as the SDK has them, in the order of their ends."""
        return list(self._exporter.get_finished_spans())

    @property
    def spans(self) -> list[TraceSpan]:
        """Finished spans, in the order of their ends."""
        return from_sdk(self._exporter.get_finished_spans())

    def roots(self) -> list[TraceSpan]:
        """The trees, in the order of their starts."""
        return build_trees(self.spans)

    def only_span(self, name: str) -> TraceSpan:
        """The one span with this name.

        Raises:
            AssertionError: There is none, or more than one.
        """
        found = [span for span in self.spans if span.name == name]
        if len(found) != 1:
            raise AssertionError(f"{len(found)} spans are called {name!r}; there are {self.names()}")
        return found[0]

    def names(self) -> list[str]:
        """Names of the finished spans, in the order of their ends."""
        return [span.name for span in self.spans]

    def tree(self, *attributes: str, by_name: bool = False) -> list[str]:
        """All trees as indented names, with ``[status]`` where it is not ok.

        Args:
            attributes: Names of attributes to show behind each span that has them.
            by_name: Order siblings by name and not by start: those that run at once have no fixed order.
        """
        lines: list[str] = []
        for root in self._ordered(self.roots(), by_name):
            self._render(root, 0, lines, attributes, by_name)
        return lines

    def _render(
        self, span: TraceSpan, depth: int, lines: list[str], attributes: tuple[str, ...], by_name: bool
    ) -> None:
        shown = [f"{name}={span.attributes[name]}" for name in attributes if name in span.attributes]
        status = "" if span.status == "ok" else f"[{span.status}]"
        lines.append("  " * depth + " ".join(filter(None, [span.name, status, *shown])))
        for child in self._ordered(span.children, by_name):
            self._render(child, depth + 1, lines, attributes, by_name)

    @staticmethod
    def _ordered(spans: list[TraceSpan], by_name: bool) -> list[TraceSpan]:
        return sorted(spans, key=lambda span: span.name) if by_name else spans

    def metrics(self, *prefixes: str) -> dict[str, float]:
        """All samples as a Prometheus scrape has them, such as ``langflow_flow_active{flow="my flow",...}``.

        Args:
            prefixes: Only samples whose names start so; default: those of this library, and tokens.
        """
        if self._scrape is None:
            return {}
        wanted = prefixes or ("langflow", "gen_ai")
        lines = "".join(Renderer().slices(self._scrape.families(), openmetrics=False)).splitlines()
        samples = (line.rpartition(" ") for line in lines if line.startswith(wanted) and line[0] != "#")
        return {name: float(value) for name, _, value in samples}

    def pushed_metrics(self) -> list[Metric]:
        """The metrics of this library as OpenTelemetry exports them: cumulative, since the start."""
        data = self._reader.get_metrics_data()
        return [
            metric
            for resource in ([] if data is None else data.resource_metrics)
            for scope in resource.scope_metrics
            if scope.scope.name == semconv.SCOPE
            for metric in scope.metrics
        ]

    def logs(self) -> list[LogRecord]:
        """The log records that left, in the order of their lines."""
        return log_record.from_sdk(self._records.get_finished_logs())

    def clear(self) -> None:
        """Forget the spans and log records so far. Metrics go on counting."""
        self._exporter.clear()
        self._records.clear()


def _span_id(span: ReadableSpan) -> int:
    context = span.get_span_context()
    return context.span_id if context is not None else 0


class _OpenSpans(SpanProcessor):
    def __init__(self) -> None:
        self.names: dict[int, str] = {}

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        self.names[_span_id(span)] = span.name

    def on_end(self, span: ReadableSpan) -> None:
        self.names.pop(_span_id(span), None)


class _Warnings(logging.Handler):
    def __init__(self, found: list[str]) -> None:
        super().__init__(logging.WARNING)
        self._found = found

    def emit(self, record: logging.LogRecord) -> None:
        self._found.append(f"{record.name}: {record.getMessage()}")


@contextmanager
def capture_telemetry(
    *,
    settings: Settings | None = None,
    sampler: Sampler | None = None,
    instrument: bool = True,
    strict: bool = True,
    check_leaks: bool = True,
) -> Iterator[Telemetry]:
    """Instrument LangFlow with in-memory providers; global providers are not touched.

    Args:
        settings: Instead of the defaults; the environment is not read.
        sampler: Instead of the SDK's default.
        instrument: False to hand ``telemetry.provider`` to ``instrument()`` yourself.
        strict: Errors inside the library are raised instead of contained.
        check_leaks: False where a test breaks the library on purpose.

    Raises:
        LeakError: On exit, see the module's description.
    """
    from langflow_otel.instrumentor import LangflowInstrumentor

    open_spans = _OpenSpans()
    provider = TracerProvider(sampler=sampler, shutdown_on_exit=False)
    if settings is not None and settings.samples:
        let_recorder_decide(provider, per_flow=bool(settings.sampling))
    reader = InMemoryMetricReader()
    meter_provider = MeterProvider(metric_readers=[reader], shutdown_on_exit=False)
    logger_provider, records = in_memory_logger_provider()
    telemetry = Telemetry(provider, meter_provider, logger_provider, _reader=reader, _records=records)
    if check_leaks:
        provider.add_span_processor(open_spans)
    provider.add_span_processor(SimpleSpanProcessor(telemetry._exporter))
    handler = _Warnings(telemetry.warnings)
    loggers = [logging.getLogger(name) for name in ("langflow_otel", "opentelemetry")]
    context_before, tasks_before, strict_before = otel_context.get_current(), _tasks(), guard.strict
    instrumentor = LangflowInstrumentor()
    for logger in loggers:
        logger.addHandler(handler)
    guard.strict = strict
    try:
        if instrument:
            instrumentor.instrument(
                tracer_provider=provider,
                meter_provider=meter_provider,
                logger_provider=logger_provider,
                settings=settings or Settings(),
                skip_dep_check=True,  # it reads the packages' files each time
            )
            telemetry._scrape = instrumentor.scrape
        yield telemetry
        if check_leaks:
            _check_leaks(open_spans, context_before, tasks_before)
    finally:
        if instrumentor.is_instrumented_by_opentelemetry:
            instrumentor.uninstrument()
        guard.strict = strict_before
        for logger in loggers:
            logger.removeHandler(handler)
    if strict and telemetry.warnings:
        raise LeakError(f"warnings were logged: {telemetry.warnings}")


def _tasks() -> set[Any]:
    try:
        # Without the calling one: a fixture is set up in one task and torn down in another.
        return asyncio.all_tasks() - {asyncio.current_task()}
    except RuntimeError:  # no event loop runs here
        return set()


def _check_leaks(open_spans: _OpenSpans, context_before: Context, tasks_before: set[Any]) -> None:
    if open_spans.names:
        raise LeakError(f"spans are still open: {sorted(open_spans.names.values())}")
    if otel_context.get_current() != context_before:
        raise LeakError(f"the OpenTelemetry context has leaked: {otel_context.get_current()}")
    if current_run() is not None:
        raise LeakError("a run is still current")
    left = sorted(_name_of(task) for task in _tasks() - tasks_before if not task.done())
    if any(not name.startswith(_TASKS_OF_LANGFLOW) for name in left):
        raise LeakError(f"tasks are still running: {left}")


def _name_of(task: asyncio.Task[Any]) -> str:
    return str(getattr(task.get_coro(), "__qualname__", task.get_name()))

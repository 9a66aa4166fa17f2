"""Log records by the SDK: providers, the function that emits a line, and exporters that count what is lost."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from opentelemetry import trace
from opentelemetry._logs import LoggerProvider, SeverityNumber
from opentelemetry.sdk import _logs as sdk
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor, SimpleLogRecordProcessor

from langflow_otel._content.log_lines import LogLine
from langflow_otel._runs.recorder import count_dropped, nearest_context
from langflow_otel._sdk.batches import PausingSequence, count_left, export_in_parts, is_full, raise_too_large
from langflow_otel._sdk.otlp import otlp_exporter
from langflow_otel._sdk.resource import langflow_resource
from langflow_otel._sdk.versions import (
    console_log_exporter,
    flush_log_exporter,
    in_memory_log_exporter,
    limits_of_records_are_refused,
    log_export_success,
    log_record_class,
    log_records_take_context,
    loggers_take_fields,
    queue_of,
)
from langflow_otel._settings.otlp_target import OtlpTarget
from langflow_otel._settings.settings import Settings
from langflow_otel._settings.standard import accepted_environment


def otlp_logger_provider(settings: Settings, target: OtlpTarget) -> sdk.LoggerProvider:
    """A provider that sends by OTLP. Batch sizes and delays come from the standard OTEL_BLRP_* variables."""
    with accepted_environment():
        exporter = raise_too_large(otlp_exporter(target, "logs"))
        return _provider(settings, CountingBatchLogRecordProcessor(CountingLogExporter(exporter)))


def console_logger_provider(settings: Settings) -> sdk.LoggerProvider:
    """A provider that prints to standard output."""
    exporter = console_log_exporter()
    with accepted_environment():
        # Said, for its default is what standard output was when the SDK was imported.
        return _provider(settings, SimpleLogRecordProcessor(exporter(out=sys.stdout)))


def in_memory_logger_provider() -> tuple[sdk.LoggerProvider, Any]:
    """A provider that keeps its records, and the exporter that has them; for tests."""
    provider, kept = sdk.LoggerProvider(shutdown_on_exit=False), in_memory_log_exporter()()
    provider.add_log_record_processor(SimpleLogRecordProcessor(kept))
    return provider, kept


def _provider(settings: Settings, processor: Any) -> sdk.LoggerProvider:
    provider = sdk.LoggerProvider(resource=langflow_resource(settings), shutdown_on_exit=False)
    provider.add_log_record_processor(processor)
    return provider


def emit_function(provider: LoggerProvider, scope: str) -> Callable[[LogLine], None]:
    """The function that emits lines under a scope, with the ids of the current span."""
    emit: Any = provider.get_logger(scope).emit
    if limits_of_records_are_refused(provider):
        emit = _emit_with_accepted_limits(emit)
    if loggers_take_fields():
        return lambda line: emit(**_context(), **_fields(line))
    record, resource = log_record_class(), getattr(provider, "resource", None)
    place = _context if log_records_take_context() else _ids
    return lambda line: emit(record(resource=resource, **place(), **_fields(line)))


def _emit_with_accepted_limits(emit: Any) -> Any:
    def emit_within(*args: Any, **kwargs: Any) -> None:
        with accepted_environment():
            emit(*args, **kwargs)

    return emit_within


def _context() -> dict[str, Any]:
    return {"context": nearest_context()}


def _ids() -> dict[str, Any]:
    span = trace.get_current_span(nearest_context()).get_span_context()
    return {"trace_id": span.trace_id, "span_id": span.span_id, "trace_flags": span.trace_flags}


def _fields(line: LogLine) -> dict[str, Any]:
    now_ns = time.time_ns()
    return {
        "timestamp": now_ns,
        "observed_timestamp": now_ns,
        "severity_number": SeverityNumber(line.severity),
        "severity_text": line.level,
        "body": line.body,
        "attributes": line.attributes,
    }


class CountingLogExporter:
    """Log exporter that counts records that could not be exported, and splits a batch that is too large."""

    def __init__(self, exporter: Any) -> None:
        self._exporter = exporter

    def export(self, batch: Sequence[Any]) -> Any:
        def export_part(records: Sequence[Any]) -> Any:
            return self._exporter.export(PausingSequence(records))

        return export_in_parts(export_part, batch, "logs", log_export_success())

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return flush_log_exporter(self._exporter, timeout_millis)


class CountingBatchLogRecordProcessor(BatchLogRecordProcessor):
    """The SDK's batch processor, which also counts records that a full queue drops or that remain at shutdown."""

    def __init__(self, exporter: Any) -> None:
        super().__init__(exporter)
        self._waiting = queue_of(self)

    def on_emit(self, log_record: Any) -> None:
        self._count()
        super().on_emit(log_record)

    def emit(self, log_data: Any) -> None:
        """The older name of the same."""
        self._count()
        super().emit(log_data)  # type: ignore[misc]

    def shutdown(self) -> None:
        super().shutdown()  # type: ignore[no-untyped-call]
        count_left("logs", self._waiting)

    def _count(self) -> None:
        if is_full(self._waiting):
            count_dropped("logs", "queue_full")

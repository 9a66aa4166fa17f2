"""The SDK's side of logs, which is not stable: every difference between its versions, 1.30 to 1.45, is in here."""

from __future__ import annotations

import inspect
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from opentelemetry import trace
from opentelemetry._logs import Logger, LoggerProvider, SeverityNumber
from opentelemetry.sdk import _logs as sdk
from opentelemetry.sdk._logs import export
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor, SimpleLogRecordProcessor

from langflow_otel._content.log_lines import LogLine
from langflow_otel._runs.recorder import count_dropped, nearest_context
from langflow_otel._sdk.batches import GivingWay, count_left, export_in_parts, is_full, queue_of, raise_too_large
from langflow_otel._sdk.otlp import otlp_exporter
from langflow_otel._sdk.resource import langflow_resource
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
    exporter: Any = getattr(export, "ConsoleLogRecordExporter", None) or export.ConsoleLogExporter
    with accepted_environment():
        # Said, for its default is what standard output was when the SDK was imported.
        return _provider(settings, SimpleLogRecordProcessor(exporter(out=sys.stdout)))


def in_memory_logger_provider() -> tuple[sdk.LoggerProvider, Any]:
    """A provider that keeps its records, and the exporter that has them; for tests."""
    exporter: Any = getattr(export, "InMemoryLogRecordExporter", None) or export.InMemoryLogExporter
    provider, kept = sdk.LoggerProvider(shutdown_on_exit=False), exporter()
    provider.add_log_record_processor(SimpleLogRecordProcessor(kept))
    return provider, kept


def _provider(settings: Settings, processor: Any) -> sdk.LoggerProvider:
    provider = sdk.LoggerProvider(resource=langflow_resource(settings), shutdown_on_exit=False)
    provider.add_log_record_processor(processor)
    return provider


def emit_function(provider: LoggerProvider, scope: str) -> Callable[[LogLine], None]:
    """What emits lines under a scope, with the ids of the span that is current then."""
    emit: Any = provider.get_logger(scope).emit
    if not hasattr(provider, "_log_record_limits") and _limits_are_refused():
        emit = _emit_with_accepted_limits(emit)
    if "body" in inspect.signature(Logger.emit).parameters:
        return lambda line: emit(**_context(), **_fields(line))
    # Before 1.38: a record of the SDK's, which knows the resource.
    record: Any = sdk.LogRecord  # type: ignore[attr-defined]
    resource = getattr(provider, "resource", None)
    place = _context if "context" in inspect.signature(record).parameters else _ids
    return lambda line: emit(record(resource=resource, **place(), **_fields(line)))


def _limits_are_refused() -> bool:
    limits: Any = getattr(sdk, "LogRecordLimits", None) or sdk.LogLimits
    try:
        limits()
    except ValueError:
        return True
    return False


def _emit_with_accepted_limits(emit: Any) -> Any:
    """SDKs such as 1.38 and 1.40 read the variables anew for each record."""

    def emit_within(*args: Any, **kwargs: Any) -> None:
        with accepted_environment():
            emit(*args, **kwargs)

    return emit_within


def _context() -> dict[str, Any]:
    return {"context": nearest_context()}


def _ids() -> dict[str, Any]:
    """Before 1.35."""
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
    """The same exporter; records that it could not export are counted, a batch that is too large is sent in parts."""

    def __init__(self, exporter: Any) -> None:
        self._exporter = exporter

    def export(self, batch: Sequence[Any]) -> Any:
        # The class of the result has had more than one name.
        results: Any = getattr(export, "LogRecordExportResult", None) or export.LogExportResult

        def export_part(records: Sequence[Any]) -> Any:
            return self._exporter.export(GivingWay(records))

        return export_in_parts(export_part, batch, "logs", results.SUCCESS)

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        # Older SDKs have none.
        return bool(getattr(self._exporter, "force_flush", lambda _: True)(timeout_millis))


class CountingBatchLogRecordProcessor(BatchLogRecordProcessor):
    """The SDK's processor; records that its full queue pushes out are counted, and those that are left in it when it
    is shut down."""

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

"""Log records read back."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

__all__ = ["LogRecord", "from_sdk"]


@dataclass(frozen=True)
class LogRecord:
    """One log record, as it left.

    Attributes:
        scope: The logger's name.
        level: Such as ``ERROR``.
        severity: OpenTelemetry's severity number.
        trace_id: 32 hex digits; empty outside of a span.
        span_id: 16 hex digits; the same.
        time_ns: Since the epoch, nanoseconds.
    """

    scope: str
    level: str
    severity: int
    body: str
    trace_id: str = ""
    span_id: str = ""
    time_ns: int = 0
    attributes: dict[str, Any] = field(default_factory=dict)


def from_sdk(records: Iterable[Any]) -> list[LogRecord]:
    """The SDK's records, whatever their class is called in its version."""
    return [_from_sdk(each.log_record, each.instrumentation_scope.name) for each in records]


def _from_sdk(record: Any, scope: str) -> LogRecord:
    return LogRecord(
        scope=scope,
        level=record.severity_text,
        severity=record.severity_number.value,
        body=record.body,
        trace_id=format(record.trace_id, "032x") if record.trace_id else "",
        span_id=format(record.span_id, "016x") if record.span_id else "",
        time_ns=record.timestamp,
        attributes=dict(record.attributes),
    )

"""Makes a log record of a log line, without what must not be exported.

The policy is that of LangFlow 1.12 and later, so that it is the same for each sender: severity, place in the code,
classes and frames of an exception always; the text and all else that the author logged only with
``LANGFLOW_OTEL_LOG_BODIES=all``, or where LangFlow itself marks the text as free of users' data.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from langflow_otel import _semconv as semconv
from langflow_otel._content.error_texts import (
    error_type,
    frames_of,
    is_denied,
    message_of,
    qualified_type,
    quotes_denied,
    redacted,
    without_source,
)
from langflow_otel._content.limits import MAX_VALUE, chosen, cut
from langflow_otel._content.plain_values import MARGIN, sendable
from langflow_otel._settings.settings import Settings
from langflow_otel.redaction.known_secrets import recent_secrets, without_secrets
from langflow_otel.redaction.secret_names import is_name_of_secret_number, is_secret_name

Value = str | bool | int | float

SEVERITIES: Final = {"debug": 5, "info": 9, "warning": 13, "warn": 13, "error": 17, "exception": 17, "critical": 21}
"""Severity numbers of OpenTelemetry by the name of the level."""

WITHHELD: Final = "[body withheld; set LANGFLOW_OTEL_LOG_BODIES=all to export bodies]"
"""LangFlow's own words."""

SKELETON: Final = ("logger", "module", "pathname", "filename", "func_name", "lineno")
"""Keys of a line that say where it comes from."""

EXPORT_BODY: Final = "_otel_export_body"
"""LangFlow's mark on its own statements about the runtime (1.12 and later)."""

# What has a field of its own, and what quotes source text.
_NOT_ATTRIBUTES = frozenset({"event", "level", "timestamp", "trace_id", "span_id", "exc_info", "exception", "stack"})
# As LangFlow 1.10 and later has it; before, LangFlow does not mask them.
_MASK = "***"
_INT64 = 2**63
_READ: Final = MAX_VALUE + 2 * MARGIN


@dataclass(frozen=True)
class LogLine:
    """One record, as it is exported.

    Attributes:
        scope: The logger's name.
        severity: OpenTelemetry's severity number.
        level: Its name in upper case.
    """

    scope: str
    severity: int
    level: str
    body: str
    attributes: dict[str, Value]


class LogSink(Protocol):
    """Receives log lines, such as the pipeline that exports them."""

    def takes(self, *, sent_by_langflow: bool) -> bool:
        """True if a line has a destination here."""

    def emit(self, line: LogLine, *, sent_by_langflow: bool) -> None: ...


def log_line(
    scope: str, level: str, event: Mapping[str, Any], error: BaseException | None, root: str | None, settings: Settings
) -> LogLine:
    """The record of a line.

    Args:
        scope: The logger's name.
        level: One of :data:`SEVERITIES`.
        event: Keys and values of the line, as structlog has them; ``event`` is the text.
        error: The exception that was logged with it.
        root: Class of the error below LangFlow's wrappers.
        settings: Says whether texts and messages may leave.
    """
    secrets = recent_secrets()
    # Where the error is denied, so is what is said about it.
    if (settings.log_bodies or event.get(EXPORT_BODY) is True) and not (error is not None and is_denied(error)):
        body = _redacted(str(event.get("event", "")), settings, secrets)
        attributes = {chosen(key): _redacted(value, settings, secrets) for key, value in _all(event).items()}
    else:
        body = WITHHELD
        attributes = {key: _skeleton(event[key]) for key in SKELETON if isinstance(event.get(key), Value)}
    if error is not None:
        attributes[semconv.EXCEPTION_TYPE] = qualified_type(error)
        attributes[semconv.EXCEPTION_STACKTRACE] = frames_of(error, settings, secrets)
        attributes[semconv.ERROR_TYPE] = root or error_type(error)
        message = message_of(error, settings, secrets)
        if message is not None:
            attributes[semconv.EXCEPTION_MESSAGE] = message
    return LogLine(chosen(scope), SEVERITIES[level], level.upper(), body, attributes)


def _all(event: Mapping[str, Any]) -> dict[str, Value]:
    """Texts, numbers and truth values. What is nested stays: secrets in there are not masked on every version."""
    return {
        key: _MASK if _is_secret(key, value) else _sendable(value)
        for key, value in event.items()
        if key not in _NOT_ATTRIBUTES and not key.startswith("_") and isinstance(value, Value)
    }


def _is_secret(key: str, value: Value) -> bool:
    return is_secret_name(key) if isinstance(value, str) else type(value) is not bool and is_name_of_secret_number(key)


def _sendable(value: Value) -> Value:
    """One value that cannot be encoded would cost the whole batch."""
    if isinstance(value, int) and not -_INT64 <= value < _INT64:
        return str(value)
    return value


def _skeleton(value: Value) -> Value:
    return chosen(value) if isinstance(value, str) else _sendable(value)


def _redacted(value: Any, settings: Settings, secrets: Collection[str]) -> Any:
    """The value, cut. Secrets are taken out of no more than leaves."""
    if not isinstance(value, str):
        return value
    if quotes_denied(value):
        return WITHHELD
    read = without_source(sendable(value[:_READ]))
    if not settings.redacts:
        return cut(without_secrets(read, secrets), MAX_VALUE, len(value))
    safe = redacted(read, MAX_VALUE, settings, secrets, len(value))
    return WITHHELD if safe is None else safe


_sink: LogSink | None = None


def log_sink() -> LogSink | None:
    """The sink of this process's lines; None if they have no destination."""
    return _sink


def set_log_sink(sink: LogSink | None) -> None:
    global _sink
    _sink = sink

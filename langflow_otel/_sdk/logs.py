"""Exports log lines: chooses the logger provider, and emits lines to it."""

from __future__ import annotations

import atexit
import logging
import os
from collections.abc import Callable
from typing import Any

from opentelemetry import _logs
from opentelemetry._logs import LoggerProvider

from langflow_otel._content.log_lines import LogLine, log_sink, set_log_sink
from langflow_otel._sdk.providers import Choice, made, unless_refused
from langflow_otel._settings.settings import Settings

logger = logging.getLogger("langflow_otel")

_MAX_SCOPES = 500
_UNKNOWN_SDK = "langflow-otel: log lines are not sent: this OpenTelemetry SDK is not one that is known here (%s)."

Emit = Callable[[LogLine], None]


class OwnLoggerProviders:
    """Our own SDK providers, one for each destination: LangFlow may send by OTLP itself, but it never prints.

    Attributes:
        otlp: Sends by OTLP; None if that is not asked for.
        console: Prints; the same.
    """

    def __init__(self, otlp: LoggerProvider | None, console: LoggerProvider | None) -> None:
        self.otlp = otlp
        self.console = console
        atexit.register(self.shutdown)

    def force_flush(self) -> None:
        """Send what is there."""
        for each in self._all():
            each.force_flush()

    def shutdown(self) -> None:
        """Send what is there, and stop."""
        atexit.unregister(self.shutdown)
        for each in self._all():
            each.shutdown()

    def _all(self) -> list[Any]:
        return [each for each in (self.otlp, self.console) if each is not None]


def choose_logger_provider(settings: Settings, given: LoggerProvider | None) -> Choice[Any] | None:
    """Choose the logger provider; None if log lines have no destination.

    A global provider is never used: LangFlow 1.12 and later, and handlers of the standard library's logging, export
    the same lines to it."""
    if settings.sdk_disabled or settings.enabled == "false":
        return None
    if given is not None:
        return Choice(given, None, "the logger provider that was passed in")
    if not settings.logs_have_destination:
        return None
    try:
        # Logs are not stable in the SDK: a module that moved must cost no more than the logs.
        from langflow_otel._sdk import log_records
    except ImportError as exc:
        logger.warning(_UNKNOWN_SDK, exc)
        return None
    target = settings.logs_otlp
    makers: dict[str, Callable[[], LoggerProvider]] = {}
    if target is not None:
        makers["by OTLP"] = lambda: log_records.otlp_logger_provider(settings, target)
    if settings.logs_console:
        makers["to the console"] = lambda: log_records.console_logger_provider(settings)
    providers = made("LOGS", makers)
    own = OwnLoggerProviders(providers.get("by OTLP"), providers.get("to the console"))
    return Choice(own, own, "our own logger provider, built from the environment")


class LogsPipeline:
    """Log records of one process, from the line to the last export.

    It receives the process's lines from its creation on, and none of a forked child, which creates its own.

    Args:
        settings: Which destinations.
        given: A logger provider that was passed in.
    """

    def __init__(self, settings: Settings, given: LoggerProvider | None = None) -> None:
        self.choice = choice = unless_refused("LOGS", lambda: choose_logger_provider(settings, given))
        self._pid = os.getpid()
        own = None if choice is None else choice.own
        self._given = None if choice is None or own is not None else _Emitter(choice.provider)
        self._otlp = None if own is None or own.otlp is None else _Emitter(own.otlp)
        self._console = None if own is None or own.console is None else _Emitter(own.console)
        if choice is not None:
            set_log_sink(self)

    @property
    def wanted(self) -> bool:
        """True if log lines have a destination."""
        return self.choice is not None

    def takes(self, *, sent_by_langflow: bool) -> bool:
        """True if a line has a destination.

        Args:
            sent_by_langflow: LangFlow hands it to the global provider: then not by OTLP once more.
        """
        if self.choice is None or os.getpid() != self._pid:
            return False
        return not sent_by_langflow or self._console is not None or self._given_is_not_global()

    def emit(self, line: LogLine, *, sent_by_langflow: bool) -> None:
        """Emit the line, with the ids of the current span, to each provider that is meant to have it."""
        if self._given is not None and (not sent_by_langflow or self._given_is_not_global()):
            self._given.emit(line)
        if self._otlp is not None and not sent_by_langflow:
            self._otlp.emit(line)
        if self._console is not None:
            self._console.emit(line)

    def _given_is_not_global(self) -> bool:
        return self._given is not None and self._given.provider is not _logs.get_logger_provider()

    def shutdown(self) -> None:
        """Accept no more lines and export those that wait. A provider that was passed in stays open."""
        if log_sink() is self:
            set_log_sink(None)
        choice, self.choice = self.choice, None
        if choice is not None:
            choice.shutdown()


class _Emitter:
    """Lines to one provider, each under the scope of its logger."""

    def __init__(self, provider: LoggerProvider) -> None:
        from langflow_otel._sdk.log_records import emit_function

        self.provider = provider
        self._make = emit_function
        self._scopes: dict[str, Emit] = {}

    def emit(self, line: LogLine) -> None:
        send = self._scopes.get(line.scope)
        if send is None:
            # Names can be made up without end.
            scope = line.scope if len(self._scopes) < _MAX_SCOPES else "lfx"
            send = self._scopes.get(scope) or self._scopes.setdefault(scope, self._make(self.provider, scope))
        send(line)

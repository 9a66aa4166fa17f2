"""Wires everything, and undoes everything."""

from __future__ import annotations

import dataclasses
import logging
import os
import threading
from collections.abc import Collection
from typing import Any

from langflow_otel._settings import propagators  # noqa: F401  # before all that imports the propagators

# isort: split
from opentelemetry.instrumentation.instrumentor import BaseInstrumentor

from langflow_otel import _guard as guard
from langflow_otel._guard import Guard
from langflow_otel._hooks.embeddings import embedding_classes
from langflow_otel._hooks.logs import say
from langflow_otel._hooks.native import already_pushed, passes
from langflow_otel._hooks.queues import queue_readings
from langflow_otel._hooks.retrieval import searched_classes
from langflow_otel._hooks.table import log_lines, own_spans, patches
from langflow_otel._hooks.versions import (
    INSTALL_HINT,
    OLDEST_LFX,
    lfx_is_installed,
    lfx_is_too_old,
    unknown_version_warning,
)
from langflow_otel._metrics.scrape import Scrape
from langflow_otel._process.process import Given, ProcessTelemetry
from langflow_otel._runs.recorder import Recorder, count_dropped, set_active_recorder
from langflow_otel._runs.request import end_open_requests
from langflow_otel._runs.run import end_open_runs
from langflow_otel._sdk.outgoing_context import inject_current_spans, inject_nearest_spans
from langflow_otel._settings.audit import audit_line
from langflow_otel._settings.masking import one_line
from langflow_otel._settings.settings import ScrapeSettings, Settings

__all__ = [
    "NOTHING_TO_DO",
    "REFUSED",
    "LangflowInstrumentor",
    "instrument",
    "uninstrument",
]

logger = logging.getLogger("langflow_otel")

_INSTRUMENT = Guard("instrument")
_UNINSTRUMENT = Guard("uninstrument")
_ONE_AT_A_TIME = threading.RLock()
"""LangFlow's plugin and the user's own call may come in two threads."""
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_ONE_AT_A_TIME._at_fork_reinit)  # type: ignore[attr-defined]
_PROVIDERS = ("tracer_provider", "meter_provider", "logger_provider")

NOTHING_TO_DO = (
    "langflow-otel: spans, metrics and log lines have nowhere to go, so nothing is instrumented. Set "
    "OTEL_EXPORTER_OTLP_ENDPOINT (or LANGFLOW_OTEL_TRACE_FILE, OTEL_TRACES_EXPORTER=console, "
    "OTEL_METRICS_EXPORTER=prometheus), or pass a tracer_provider or a meter_provider."
)

REFUSED = (
    "langflow-otel: the OpenTelemetry SDK does not accept its settings (%s: %s), so nothing is instrumented. "
    "Check the OTEL_* variables."
)


class LangflowInstrumentor(BaseInstrumentor):  # type: ignore[misc]  # the base class is untyped
    """Instruments LangFlow: every flow run and component execution becomes a span.

    There is one in a process. Its ``instrument()`` and ``uninstrument()`` are those of this package.
    """

    _process: ProcessTelemetry | None = None
    _recorder: Recorder | None = None
    _given: Given = Given()

    @property
    def scrape(self) -> Scrape | None:
        """Makes the page of metrics; None while instrumentation is off, or if metrics have nowhere to go."""
        return self._process.metrics.scrape if self._process is not None and self._process.metrics.wanted else None

    @property
    def scrape_url(self) -> str | None:
        """Where this process answers a scrape; None if it does not, or if a sibling worker does."""
        return None if self._process is None else self._process.metrics.url

    @property
    def scrape_settings(self) -> ScrapeSettings | None:
        """How a scrape is answered; None while instrumentation is off, or if nobody asked for a scrape."""
        return None if self._process is None else self._process.metrics.settings.scrape

    def instrumentation_dependencies(self) -> Collection[str]:
        return (f"lfx >= {OLDEST_LFX}",)

    def _check_dependency_conflicts(self) -> Any:
        # Not by the range alone: pre-releases are in none, and LangFlow's nightly builds have another name.
        return super()._check_dependency_conflicts() if not lfx_is_installed() or lfx_is_too_old() else None

    def instrument(self, **kwargs: Any) -> None:
        # The base class would print a packaging conflict; the remedy is more useful. Auto-instrumentation
        # asks for the exception instead, to skip us silently where LangFlow is not installed.
        automatic = bool(kwargs.get("raise_exception_on_conflict"))
        if not lfx_is_installed() and not automatic:
            logger.error("%s", INSTALL_HINT)
            return
        # The command that it starts may be a server that forks.
        kwargs.setdefault("deferred", automatic)
        with _ONE_AT_A_TIME:
            super().instrument(**kwargs)
            if self._recorder is None:
                self._is_instrumented_by_opentelemetry = False

    def uninstrument(self, **kwargs: Any) -> None:
        with _ONE_AT_A_TIME:
            super().uninstrument(**kwargs)

    def _instrument(self, **kwargs: Any) -> None:
        with _INSTRUMENT:
            try:
                self._turn_on(**kwargs)
            except Exception:
                self._uninstrument()
                raise

    def _turn_on(self, *, deferred: bool = False, **kwargs: Any) -> None:
        settings: Settings = kwargs.get("settings") or Settings.from_env()
        if kwargs.get("redact") is not None:
            settings = dataclasses.replace(settings, redact_hook=kwargs["redact"])
        settings.log_problems()
        if settings.sdk_disabled or settings.enabled == "false":
            return
        self._given = Given(**{name: kwargs[name] for name in _PROVIDERS if kwargs.get(name) is not None})
        recorder = Recorder(None, settings)
        if deferred and settings.has_destination:
            recorder.prepare_with(self._open_deferred)
        elif not self._open(recorder):
            return
        self._recorder = recorder
        recorder.on_stop = self.stop_here
        recorder.on_give_up = self.give_up_here
        recorder.flush = self.flush_here
        warning = unknown_version_warning()
        if warning:
            logger.warning("%s", warning)
        set_active_recorder(recorder)
        guard.on_fault = _count_fault
        inject_nearest_spans()
        patches.apply()
        own_spans.switch_on(settings)
        embedding_classes.switch_on()
        searched_classes.switch_on()
        log_lines.switch_on(settings, exports=settings.logs_have_destination or self._given.logger_provider is not None)

    def _open(self, recorder: Recorder) -> bool:
        """Make what this process sends with; False if there is nowhere to send to."""
        try:
            process = ProcessTelemetry(recorder.settings, self._given, queue_readings, already_pushed, passes)
        except Exception as exc:  # noqa: BLE001 - what all signals have in common, such as a resource detector
            logger.error(REFUSED, type(exc).__name__, one_line(exc))
            return False
        if not process.wanted:
            process.close()
            if not recorder.settings.has_destination:  # Else each signal has said why it is not sent.
                logger.warning(NOTHING_TO_DO)
            return False
        self._process = process
        process.serve(recorder)
        for reason in process.reasons:
            logger.debug("langflow-otel is on: %s", reason)
        if recorder.settings.has_destination:
            say(audit_line(recorder.settings))
        return True

    def _open_deferred(self) -> None:
        with _INSTRUMENT:
            if self._recorder is not None and not self._open(self._recorder):
                self.uninstrument()

    def _uninstrument(self, **_: Any) -> None:
        patches.undo()
        inject_current_spans()
        log_lines.switch_off()
        own_spans.switch_off()
        embedding_classes.switch_off()
        searched_classes.switch_off()
        guard.on_fault = None
        process, self._process = self._process, None
        try:
            with _UNINSTRUMENT:
                if process is not None:
                    if process.closes_spans:
                        # What is still going on would end when nothing is sent any more.
                        _end_all("shutdown")
                    process.close()
        finally:
            self._recorder = None
            set_active_recorder(None)

    def stop_here(self, within_s: float) -> None:
        """This process stops recording: end what is going on, send everything, free the port. What runs after
        all starts it again.

        Args:
            within_s: How long to wait for a collector that does not answer.
        """
        recorder, process = self._recorder, self._process
        if recorder is None or process is None:
            return
        _end_all("shutdown")
        self._process = None
        recorder.prepare_with(self._open_deferred)
        if not process.close_within(within_s):
            logger.warning("The last telemetry was not taken within %s s, and is lost.", within_s)

    def give_up_here(self) -> None:
        """This process may be killed any moment: end what is going on, and send it while there is time."""
        if self._process is not None:
            _end_all("shutdown")
            self._process.flush_meanwhile()

    def flush_here(self) -> threading.Thread | None:
        """Send what is there, in the thread that this returns."""
        return None if self._process is None else self._process.flush_meanwhile()


def _end_all(reason: str) -> None:
    end_open_runs(reason)
    end_open_requests(reason)


def _count_fault(step: str) -> None:
    signal = step.partition(".")[0]
    count_dropped(signal if signal in ("metrics", "logs") else "traces", "own_error")


def instrument(**kwargs: Any) -> None:
    """Instrument LangFlow in this process, before or after it is imported.

    It reads the environment; each argument replaces a part of that. A second call does nothing. A wrong setting or a
    missing LangFlow is one line in the log that says what to do, and no error.

    Args:
        tracer_provider: Makes the spans; default: one built from the ``OTEL_*`` variables, else the
            global SDK provider.
        meter_provider: Makes the metrics that are pushed; default: one built from the ``OTEL_*`` variables, else
            the global SDK provider. A scrape endpoint is opened beside it if ``OTEL_METRICS_EXPORTER`` asks for one.
        logger_provider: Makes the log records; default: one built from the ``OTEL_*`` variables.
        settings: A :class:`~langflow_otel._settings.settings.Settings` instead of the environment.
        redact: Gets each text of content, of a message of an exception, or of a log line that is about to leave,
            without its secrets, and returns what may leave of it. If it fails, nothing of it leaves.
        deferred: Wrap LangFlow now, and make exporters when the first flow runs or the server starts: for a
            process that may yet fork its workers. Needs a destination in the settings.
    """
    LangflowInstrumentor().instrument(**kwargs)


def uninstrument() -> None:
    """Undo :func:`instrument`: end what is going on, send what there is, and put LangFlow's functions back."""
    LangflowInstrumentor().uninstrument()

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
from langflow_otel._process.lifecycle import ProcessLifecycle
from langflow_otel._process.process import PassedIn, ProcessTelemetry
from langflow_otel._runs.recorder import Recorder, count_dropped, set_active_recorder
from langflow_otel._sdk.outgoing_context import inject_current_spans, inject_nearest_spans
from langflow_otel._settings.settings import ScrapeSettings, Settings

__all__ = [
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


class LangflowInstrumentor(BaseInstrumentor):  # type: ignore[misc]  # the base class is untyped
    """Instruments LangFlow: every flow run and component execution becomes a span.

    There is one in a process. Its ``instrument()`` and ``uninstrument()`` are those of this package.
    """

    _lifecycle: ProcessLifecycle | None = None
    _recorder: Recorder | None = None

    @property
    def _process(self) -> ProcessTelemetry | None:
        """What is open in this process; None if nothing is."""
        return None if self._lifecycle is None else self._lifecycle.telemetry

    @property
    def scrape(self) -> Scrape | None:
        """Makes the page of metrics; None while instrumentation is off, or if metrics have nowhere to go."""
        process = self._process
        return process.metrics.scrape if process is not None and process.metrics.wanted else None

    @property
    def scrape_url(self) -> str | None:
        """Where this process answers a scrape; None if it does not, or if a sibling worker does."""
        process = self._process
        return None if process is None else process.metrics.url

    @property
    def scrape_settings(self) -> ScrapeSettings | None:
        """How a scrape is answered; None while instrumentation is off, or if nobody asked for a scrape."""
        process = self._process
        return None if process is None else process.metrics.settings.scrape

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
        passed_in = PassedIn(**{name: kwargs[name] for name in _PROVIDERS if kwargs.get(name) is not None})
        recorder = Recorder(None, settings)
        self._lifecycle = recorder.lifecycle = ProcessLifecycle(recorder, passed_in, on_refused=self.uninstrument)
        if deferred and settings.has_destination:
            self._lifecycle.defer()
        elif not self._lifecycle.open():
            self._lifecycle = None
            return
        self._recorder = recorder
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
        log_lines.switch_on(settings, exports=settings.logs_have_destination or passed_in.logger_provider is not None)

    def _uninstrument(self, **_: Any) -> None:
        patches.undo()
        inject_current_spans()
        log_lines.switch_off()
        own_spans.switch_off()
        embedding_classes.switch_off()
        searched_classes.switch_off()
        guard.on_fault = None
        lifecycle, self._lifecycle = self._lifecycle, None
        try:
            with _UNINSTRUMENT:
                if lifecycle is not None:
                    lifecycle.close()
        finally:
            self._recorder = None
            set_active_recorder(None)


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

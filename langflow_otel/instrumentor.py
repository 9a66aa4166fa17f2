"""Wires everything, and undoes everything."""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import Any

from opentelemetry.instrumentation.instrumentor import BaseInstrumentor

from langflow_otel.export.pipeline import MetricsPipeline
from langflow_otel.export.providers import TracerChoice, choose_tracer_provider
from langflow_otel.export.scrape import Scrape
from langflow_otel.hooks.catalogue import patches
from langflow_otel.hooks.native import already_pushed
from langflow_otel.hooks.queues import queue_readings
from langflow_otel.hooks.versions import INSTALL_HINT, OLDEST_LFX, lfx_is_installed, unknown_version_warning
from langflow_otel.recording import guard
from langflow_otel.recording.guard import Guard
from langflow_otel.recording.recorder import Recorder, count_dropped, set_active_recorder
from langflow_otel.settings import ScrapeSettings, Settings

logger = logging.getLogger("langflow_otel")

_INSTRUMENT = Guard("instrument")

NOTHING_TO_DO = (
    "langflow-otel: spans and metrics have nowhere to go, so nothing is instrumented. Set "
    "OTEL_EXPORTER_OTLP_ENDPOINT (or LANGFLOW_OTEL_TRACE_FILE, OTEL_TRACES_EXPORTER=console, "
    "OTEL_METRICS_EXPORTER=prometheus), or pass a tracer_provider or a meter_provider."
)

REFUSED = (
    "langflow-otel: the OpenTelemetry SDK does not accept its settings (%s: %s), so nothing is instrumented. "
    "Check the OTEL_* variables."
)


class LangflowInstrumentor(BaseInstrumentor):  # type: ignore[misc]  # the base class is untyped
    """Instruments LangFlow: every flow run and component execution becomes a span.

    ``instrument()`` reads the environment (see the README's table of variables) and accepts:

    Args:
        tracer_provider: Makes the spans; default: one built from the OTEL_* variables, else the
            global SDK provider.
        meter_provider: Makes the metrics that are pushed; default: one built from the OTEL_* variables, else
            the global SDK provider. A scrape endpoint is opened beside it if OTEL_METRICS_EXPORTER asks for one.
        logger_provider: Accepted as every instrumentor does; for later use.
        settings: A :class:`~langflow_otel.settings.Settings` instead of the environment.

    A second call does nothing. It never raises on a wrong setting or a missing LangFlow: one line in
    the log says what to do.
    """

    _choice: TracerChoice | None = None
    _pipeline: MetricsPipeline | None = None

    @property
    def scrape(self) -> Scrape | None:
        """Makes the page of metrics; None while instrumentation is off."""
        return None if self._pipeline is None else self._pipeline.scrape

    @property
    def scrape_url(self) -> str | None:
        """Where this process answers a scrape; None if it does not, or if a sibling worker does."""
        return None if self._pipeline is None else self._pipeline.url

    @property
    def scrape_settings(self) -> ScrapeSettings | None:
        """How a scrape is answered; None while instrumentation is off, or if nobody asked for a scrape."""
        return None if self._pipeline is None else self._pipeline.settings.scrape

    def instrumentation_dependencies(self) -> Collection[str]:
        return (f"lfx >= {OLDEST_LFX}",)

    def instrument(self, **kwargs: Any) -> None:
        # The base class would print a packaging conflict; the remedy is more useful. Auto-instrumentation
        # asks for the exception instead, to skip us silently where LangFlow is not installed.
        if not lfx_is_installed() and not kwargs.get("raise_exception_on_conflict"):
            logger.error("%s", INSTALL_HINT)
            return
        super().instrument(**kwargs)
        if self._pipeline is None:
            self._is_instrumented_by_opentelemetry = False

    def _instrument(self, **kwargs: Any) -> None:
        with _INSTRUMENT:
            try:
                self._turn_on(**kwargs)
            except Exception:
                self._uninstrument()
                raise

    def _turn_on(self, **kwargs: Any) -> None:
        settings: Settings = kwargs.get("settings") or Settings.from_env()
        settings.log_problems()
        if settings.sdk_disabled or settings.enabled == "false":
            return
        try:
            self._choice = choose_tracer_provider(settings, kwargs.get("tracer_provider"))
            self._pipeline = pipeline = MetricsPipeline(
                settings, queue_readings, already_pushed, kwargs.get("meter_provider")
            )
        except Exception as exc:  # noqa: BLE001 - the SDK raises anything for a variable that it does not accept
            logger.error(REFUSED, type(exc).__name__, exc)
            self._uninstrument()
            return
        if self._choice is None and not pipeline.wanted:
            self._uninstrument()
            logger.warning(NOTHING_TO_DO)
            return
        warning = unknown_version_warning()
        if warning:
            logger.warning("%s", warning)
        set_active_recorder(
            Recorder(
                None if self._choice is None else self._choice.provider,
                settings,
                pipeline.run_metrics if pipeline.wanted else None,
                pipeline.memory,
            )
        )
        guard.on_fault = _count_fault
        patches.apply()
        for reason in (choice.reason for choice in (self._choice, pipeline.choice) if choice is not None):
            logger.debug("langflow-otel is on: %s", reason)

    def _uninstrument(self, **_: Any) -> None:
        patches.undo()
        guard.on_fault = None
        choice, pipeline = self._choice, self._pipeline
        self._choice = self._pipeline = None
        try:
            # Spans first: what is lost on the way is counted, and the last push of metrics tells.
            if choice is not None:
                choice.shutdown()
        finally:
            if pipeline is not None:
                pipeline.close()
            set_active_recorder(None)


def _count_fault(step: str) -> None:
    count_dropped("metrics" if step.startswith("metrics.") else "traces", "own_error")


def instrument(**kwargs: Any) -> None:
    """The same as ``LangflowInstrumentor().instrument()``."""
    LangflowInstrumentor().instrument(**kwargs)


def uninstrument() -> None:
    """The same as ``LangflowInstrumentor().uninstrument()``."""
    LangflowInstrumentor().uninstrument()

"""Wires everything, and undoes everything."""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import Any

from opentelemetry.instrumentation.instrumentor import BaseInstrumentor

from langflow_otel.export.providers import TracerChoice, choose_tracer_provider
from langflow_otel.hooks.catalogue import patches
from langflow_otel.hooks.versions import INSTALL_HINT, OLDEST_LFX, lfx_is_installed, unknown_version_warning
from langflow_otel.recording.guard import Guard
from langflow_otel.recording.recorder import Recorder, set_active_recorder
from langflow_otel.settings import Settings

logger = logging.getLogger("langflow_otel")

_INSTRUMENT = Guard("instrument")

NOTHING_TO_DO = (
    "langflow-otel: spans have nowhere to go, so nothing is instrumented. Set OTEL_EXPORTER_OTLP_ENDPOINT "
    "(or LANGFLOW_OTEL_TRACE_FILE, or OTEL_TRACES_EXPORTER=console), or pass a tracer_provider."
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
        meter_provider, logger_provider: Accepted as every instrumentor does; for later use.
        settings: A :class:`~langflow_otel.settings.Settings` instead of the environment.

    A second call does nothing. It never raises on a wrong setting or a missing LangFlow: one line in
    the log says what to do.
    """

    _choice: TracerChoice | None = None

    def instrumentation_dependencies(self) -> Collection[str]:
        return (f"lfx >= {OLDEST_LFX}",)

    def instrument(self, **kwargs: Any) -> None:
        # The base class would print a packaging conflict; the remedy is more useful. Auto-instrumentation
        # asks for the exception instead, to skip us silently where LangFlow is not installed.
        if not lfx_is_installed() and not kwargs.get("raise_exception_on_conflict"):
            logger.error("%s", INSTALL_HINT)
            return
        super().instrument(**kwargs)
        if self._choice is None:
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
        try:
            choice = choose_tracer_provider(settings, kwargs.get("tracer_provider"))
        except Exception as exc:  # noqa: BLE001 - the SDK raises anything for a variable that it does not accept
            logger.error(REFUSED, type(exc).__name__, exc)
            return
        if choice is None:
            if settings.enabled != "false" and not settings.sdk_disabled:
                logger.warning(NOTHING_TO_DO)
            return
        warning = unknown_version_warning()
        if warning:
            logger.warning("%s", warning)
        self._choice = choice
        set_active_recorder(Recorder(choice.provider, settings))
        patches.apply()
        logger.debug("langflow-otel is on: %s", choice.reason)

    def _uninstrument(self, **_: Any) -> None:
        patches.undo()
        set_active_recorder(None)
        if self._choice is not None:
            self._choice.shutdown()
            self._choice = None


def instrument(**kwargs: Any) -> None:
    """The same as ``LangflowInstrumentor().instrument()``."""
    LangflowInstrumentor().instrument(**kwargs)


def uninstrument() -> None:
    """The same as ``LangflowInstrumentor().uninstrument()``."""
    LangflowInstrumentor().uninstrument()

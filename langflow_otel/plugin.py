"""Zero-code start: what LangFlow's plugin loader and ``langflow-otel exec`` call."""

from __future__ import annotations

import logging
import os
from typing import Any

from langflow_otel._guard import Guard
from langflow_otel._settings.masking import shown_value
from langflow_otel._settings.otlp_target import spelled_out

__all__ = ["register", "switch_on"]

logger = logging.getLogger("langflow_otel")

_START = Guard("plugin")


def register(app: Any) -> None:
    """The ``langflow.plugins`` entry point: LangFlow 1.8 and later calls it while it makes its application, which
    may be before it forks its workers.

    Args:
        app: LangFlow's wrapper around its FastAPI application.
    """
    with _START:
        if switch_on():
            from langflow_otel._hooks.server import watch_app

            # The wrapper offers routes only.
            watch_app(getattr(app, "_app", app))


def switch_on() -> bool:
    """Instrument this process and those that it forks, if the environment says where to; True if so. Exporters
    are made by whoever uses them. Never raises."""
    with _START:
        return _switch_on()
    return False


def _switch_on() -> bool:
    from langflow_otel._settings.settings import Settings
    from langflow_otel.instrumentor import LangflowInstrumentor

    instrumentor = LangflowInstrumentor()
    if not instrumentor.is_instrumented_by_opentelemetry:
        for name, value in spelled_out(os.environ).items():
            os.environ[name] = value
            _say_what_it_is_now(name, value)
        settings = Settings.from_env()
        if settings.enabled != "true" and not settings.has_destination:
            logger.debug("langflow-otel has no destination, so nothing is instrumented.")
            return False
        instrumentor.instrument(settings=settings, deferred=True)
    return bool(instrumentor.is_instrumented_by_opentelemetry)


def _say_what_it_is_now(name: str, value: str) -> None:
    shown = shown_value(name, value)
    logger.info("%s is now %s, so that LangFlow's own telemetry understands it, too.", name, shown)

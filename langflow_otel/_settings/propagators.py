"""Imports OpenTelemetry's propagators: for an ``OTEL_PROPAGATORS`` that they do not know, they raise at their import,
and with them whatever imports them. To be imported before anything of OpenTelemetry's that does so."""

from __future__ import annotations

import sys
from importlib import import_module

from langflow_otel._settings.standard import accepted_environment
from langflow_otel._settings.standard_variables import PROPAGATORS

_NAME = "opentelemetry.propagate"

if _NAME not in sys.modules:
    with accepted_environment() as _values:
        import_module(_NAME)
    if _values[PROPAGATORS] == "none":
        # Older SDKs do not know this word.
        from opentelemetry.propagate import set_global_textmap
        from opentelemetry.propagators.composite import CompositePropagator

        set_global_textmap(CompositePropagator([]))

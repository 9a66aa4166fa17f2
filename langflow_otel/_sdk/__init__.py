"""Providers, exporters, logs and other instrumentors. The only package that imports the OpenTelemetry SDK."""

from langflow_otel._settings import propagators  # noqa: F401  # before what imports the propagators, which may raise

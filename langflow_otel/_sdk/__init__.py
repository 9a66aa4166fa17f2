"""Where telemetry goes. Knows nothing of LangFlow."""

from langflow_otel._settings import propagators  # noqa: F401  # before what imports the propagators, which may raise

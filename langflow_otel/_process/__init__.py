"""What belongs to one process: its providers, its scrape endpoint, fork and shutdown."""

from langflow_otel._settings import propagators  # noqa: F401  # before what imports the propagators, which may raise

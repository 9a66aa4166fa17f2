"""LangFlow's objects become facts. The only package that knows LangFlow."""

from langflow_otel._settings import propagators  # noqa: F401  # before what imports the propagators, which may raise

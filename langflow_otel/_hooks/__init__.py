"""Wraps functions of LangFlow and LangChain, and makes facts of their objects. No other package imports them."""

from langflow_otel._settings import propagators  # noqa: F401  # before what imports the propagators, which may raise

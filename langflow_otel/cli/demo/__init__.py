"""``langflow-otel demo``."""

"""``langflow-otel doctor``, and the probes by which it tests destinations."""

"""Started by Python itself in the processes below ``langflow-otel exec``."""

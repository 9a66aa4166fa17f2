"""``langflow-otel baseline``: save figures of flows, compare runs with them, and find lasting changes."""

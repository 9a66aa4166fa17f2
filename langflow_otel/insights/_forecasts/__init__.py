"""Daily figures of flows, their forecast, and risks."""

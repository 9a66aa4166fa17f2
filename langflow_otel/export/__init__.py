"""Where telemetry goes. Knows nothing of LangFlow."""

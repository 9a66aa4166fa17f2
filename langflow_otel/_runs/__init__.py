"""Runs of flows, components, model calls, tools and streams become spans and measurements. OpenTelemetry API only."""

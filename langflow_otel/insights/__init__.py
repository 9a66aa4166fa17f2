"""Reads telemetry back and explains it."""

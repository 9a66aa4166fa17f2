"""The settings that ``instrument(settings=...)`` and ``testing.capture_telemetry(settings=...)`` take."""

from __future__ import annotations

from langflow_otel._settings.settings import ScrapeSettings, Settings

__all__ = ["ScrapeSettings", "Settings"]

"""Which environment variables the programs read that the deployments start."""

from __future__ import annotations

import importlib.metadata
import re

import pytest
from opentelemetry.sdk import environment_variables
from overlays import ROOT


def collector_variables(config: str) -> set[str]:
    text = (ROOT / "collector-config" / config).read_text()
    live = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    return set(re.findall(r"\$\{env:(\w+)", live))


READ_BY_LANGFLOWS_LOGGER = {"LANGFLOW_LOG_ENV", "LANGFLOW_LOG_FILE"}
"""From the environment, past LangFlow's settings: lfx.log.logger."""


def check_langflow_variables(names: set[str]) -> None:
    """That LangFlow, or this library, has each of them."""
    ours = {name for name in names if name.startswith(("OTEL_", "LANGFLOW_OTEL_"))}
    assert ours <= library_variables() | sdk_variables()
    settings = {name.removeprefix("LANGFLOW_").lower() for name in names - ours - READ_BY_LANGFLOWS_LOGGER}
    assert settings <= langflow_settings()


def library_variables() -> set[str]:
    page = (ROOT / "docs" / "reference" / "variables.md").read_text()
    return set(re.findall(r"\b(?:OTEL|LANGFLOW_OTEL)_[A-Z_]+[A-Z]\b", page))


def sdk_variables() -> set[str]:
    return {value for value in vars(environment_variables).values() if str(value).startswith("OTEL_")}


def langflow_settings() -> set[str]:
    version = importlib.metadata.version("lfx")
    if tuple(int(part) for part in version.split(".")[:2]) < (1, 11):
        pytest.skip(f"the deployments are for LangFlow 1.11 and later; this is lfx {version}")
    from lfx.services.settings.auth import AuthSettings
    from lfx.services.settings.base import Settings

    return {name.lower() for name in {**Settings.model_fields, **AuthSettings.model_fields}}

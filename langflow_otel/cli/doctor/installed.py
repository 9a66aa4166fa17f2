"""What is installed, and whether it belongs together."""

from __future__ import annotations

import platform
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from typing import Final

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from langflow_otel._hooks.versions import (
    INSTALL_HINT,
    lfx_is_installed,
    lfx_is_too_old,
    lfx_version,
    unknown_version_warning,
)
from langflow_otel._sdk import http_clients
from langflow_otel._settings.settings import Settings
from langflow_otel.cli.doctor.report import Finding, Section

_OLDEST_PYTHON, _NEWEST_PYTHON = (3, 10), (3, 13)
_TESTED = "LangFlow 1.7 to 1.13"
_LANGFLOW: Final = ("langflow", "langflow-base", "lfx")
_OTEL: Final = (
    "opentelemetry-api",
    "opentelemetry-sdk",
    "opentelemetry-exporter-otlp",
    "opentelemetry-instrumentation",
)
_SHOWN: Final = 6
_GROUP: Final = "opentelemetry_instrumentor"
_FOR_MODELS: Final = (
    "openinference-instrumentation",
    # All distributions of OpenLLMetry require the first, and those of OpenTelemetry itself the second.
    "opentelemetry-semantic-conventions-ai",
    "opentelemetry-util-genai",
    "opentelemetry-instrumentation-openai",
    "opentelemetry-instrumentation-google-genai",
    "opentelemetry-instrumentation-vertexai",
)
"""Beginnings of the names of distributions that instrument models, or of what these require."""


def installed_section(settings: Settings, env: Mapping[str, str]) -> Section:
    """Python, LangFlow, OpenTelemetry, and other instrumentors."""
    findings = [_python(), _langflow(), *_opentelemetry(), *_instrumentors(settings), *_distro(env)]
    return Section("Installed", "", findings)


def _python() -> Finding:
    version, facts = platform.python_version(), {"version": platform.python_version()}
    if _OLDEST_PYTHON <= sys.version_info[:2] <= _NEWEST_PYTHON:
        return Finding("Python", "ok", version, facts=facts)
    return Finding("Python", "warning", f"{version}; tested with 3.10 to 3.13", facts=facts)


def _langflow() -> Finding:
    if not lfx_is_installed():
        return Finding("LangFlow", "problem", "not installed in this environment", INSTALL_HINT.partition(". ")[2])
    versions = {name: version for name in _LANGFLOW if (version := _version(name))}
    if "lfx" not in versions and (version := lfx_version()):
        versions["lfx"] = version
    text = ", ".join(f"{name} {version}" for name, version in versions.items()) or "lfx, of no known version"
    if lfx_is_too_old():
        advice = f"nothing is instrumented; upgrade to {_TESTED}"
        return Finding("LangFlow", "problem", f"{text}; tested with {_TESTED}", advice, {"versions": versions})
    if unknown_version_warning() is None:
        return Finding("LangFlow", "ok", text, facts={"versions": versions})
    advice = "It works as far as the engine's functions are the same: see Hooks below."
    return Finding("LangFlow", "warning", f"{text}; tested with {_TESTED}", advice, {"versions": versions})


def _opentelemetry() -> Iterator[Finding]:
    versions = {name: _version(name) for name in _OTEL}
    text = ", ".join(f"{name.removeprefix('opentelemetry-')} {version}" for name, version in versions.items())
    misfits = list(_misfits("langflow-otel"))
    yield Finding("OpenTelemetry", "problem" if misfits else "ok", text, facts={"versions": versions})
    for misfit in misfits:
        yield Finding("OpenTelemetry", "problem", misfit, "pip install --upgrade langflow-otel opentelemetry-sdk")


def _misfits(root: str) -> Iterator[str]:
    """What of OpenTelemetry's packages asks for another version of one of them than is installed."""
    seen, waiting = set(), [root]
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        for needed in _requirements(name):
            version = _version(needed.name)
            if version is None:
                yield f"{name} needs {needed}, which is not installed"
            elif not needed.specifier.contains(version, prereleases=True):
                yield f"{name} needs {needed}, and {version} is installed"
            else:
                waiting.append(canonicalize_name(needed.name))


def _requirements(name: str) -> Iterator[Requirement]:
    try:
        texts = metadata.requires(name) or []
    except metadata.PackageNotFoundError:
        return
    for text in texts:
        try:
            found = Requirement(text)
        except InvalidRequirement:
            continue
        is_used = found.marker is None or found.marker.evaluate({"extra": ""})
        if is_used and canonicalize_name(found.name).startswith("opentelemetry-"):
            yield found


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


# Other instrumentors


def _instrumentors(settings: Settings) -> Iterator[Finding]:
    by_name: defaultdict[str, set[str]] = defaultdict(set)
    models = set()
    for entry in metadata.entry_points(group=_GROUP):
        if entry.dist is None or entry.value.startswith("langflow_otel."):
            continue
        by_name[entry.name].add(canonicalize_name(entry.dist.name))
        if _is_for_models(entry.dist):
            models.add(entry.name)
    for_http, for_models = sorted(by_name.keys() & http_clients.NAMES), sorted(models)
    others = len(by_name) - len(for_http) - len(for_models)
    text = f"HTTP clients: {_some(for_http)}; models: {_some(for_models)}; {others} of other kinds"
    facts = {"http": for_http, "models": for_models, "others": others}
    yield Finding("Instrumentors", "info", text, facts=facts)
    yield from (_wanted(name, by_name) for name in settings.instrumentors)
    yield from _doubled({name: by_name[name] for name in for_models})


def _some(names: Sequence[str]) -> str:
    """LangFlow brings dozens of them."""
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "") or "none"


def _is_for_models(distribution: metadata.Distribution) -> bool:
    names = [distribution.name, *(distribution.requires or ())]
    return any(canonicalize_name(name).startswith(_FOR_MODELS) for name in names)


def _wanted(wanted: str, by_name: Mapping[str, set[str]]) -> Finding:
    distribution, _, name = wanted.rpartition(":")
    found = {each for each in by_name.get(name, ()) if not distribution or each == canonicalize_name(distribution)}
    if len(found) == 1:
        return Finding("Instrumentors", "ok", f"{wanted} will be loaded, of {next(iter(found))}")
    if found:
        choice = " or ".join(f"{each}:{name}" for each in sorted(found))
        text = f"{wanted} is left out: several distributions have it"
        return Finding("Instrumentors", "problem", text, f"LANGFLOW_OTEL_INSTRUMENTORS={choice}")
    text = f"{wanted} is left out: it is not installed"
    return Finding("Instrumentors", "problem", text, "LANGFLOW_OTEL_INSTRUMENTORS: install it, or leave it out")


def _doubled(for_models: Mapping[str, set[str]]) -> Iterator[Finding]:
    """Not wrong in itself: here, who names one says which. LangFlow brings such pairs."""
    names = [name for name, distributions in for_models.items() if len(distributions) > 1]
    if names:
        facts = {"doubled": {name: sorted(for_models[name]) for name in names}}
        text = f"twice there: {_some(names)}; below opentelemetry-instrument, each call of those has two spans"
        yield Finding("Instrumentors", "info", text, facts=facts)


def _distro(env: Mapping[str, str]) -> Iterator[Finding]:
    if _version("opentelemetry-distro") and "prometheus" in env.get("OTEL_METRICS_EXPORTER", ""):
        text = "opentelemetry-distro refuses prometheus below opentelemetry-instrument"
        yield Finding(
            "Instrumentors", "warning", text, "OTEL_METRICS_EXPORTER=otlp there, or: langflow-otel exec -- ..."
        )

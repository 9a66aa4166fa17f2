"""Reads the environment once into one frozen :class:`Settings`.

A plain dataclass rather than pydantic-settings: a wrong value must fall back to the default with a message
instead of raising, and pydantic would be half of the import time of a component that only says
``from langflow_otel import traced``. The variables themselves: ``variables.py``.
"""

from __future__ import annotations

import difflib
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from langflow_otel._settings.masking import masked_line, shown_value
from langflow_otel._settings.otlp_target import OtlpTarget, otlp_target
from langflow_otel._settings.secret_files import is_readable
from langflow_otel._settings.standard import accepted
from langflow_otel._settings.variables import CAPTURE, VARIABLES, Variable, problem_with

logger = logging.getLogger("langflow_otel")

Enabled = Literal["auto", "true", "false"]
Detail = Literal["flow", "component", "model", "output"]
ErrorMessages = Literal["none", "redacted", "full"]
NativeSpans = Literal["keep", "flows", "none"]
RemoteParent = Literal["continue", "link", "ignore"]

RESERVED_BY_LANGFLOW: Final = ("LANGFLOW_OTEL_DB_SPANS",)
"""LangFlow's own variables under our prefix that mean nothing to us."""
_LONGEST_SHOWN: Final = 200


@dataclass(frozen=True)
class ScrapeSettings:
    """The scrape endpoint. See :data:`~langflow_otel._settings.variables.VARIABLES`."""

    host: str = "localhost"
    port: int = 9464
    token_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    hosts: tuple[str, ...] = ()
    registry: bool = True


@dataclass(frozen=True)
class Settings:
    """Everything that the environment decides, read once. See :data:`~langflow_otel._settings.variables.VARIABLES`."""

    service_name: str = "langflow"
    sdk_disabled: bool = False
    enabled: Enabled = "auto"
    detail: Detail = "model"
    error_messages: ErrorMessages = "none"
    content_on_spans: bool = False
    content_in_events: bool = False
    content_deny: tuple[str, ...] = ()
    content_length: int = 8192
    redact: str | None = None
    redact_ips: bool = False
    redact_hook: Callable[[str], str] | None = None
    openinference: bool = False
    user_id: bool = False
    console: bool = False
    otlp: OtlpTarget | None = None
    trace_file: Path | None = None
    metrics_console: bool = False
    metrics_default: bool = True
    metrics_otlp: OtlpTarget | None = None
    scrape: ScrapeSettings | None = None
    window_s: float = 60.0
    max_flows: int = 200
    metric_labels: tuple[str, ...] = ("flow", "component_type")
    logs_console: bool = False
    logs_otlp: OtlpTarget | None = None
    prices: Path | None = None
    log_level: str = "info"
    log_bodies: bool = False
    instrumentors: tuple[str, ...] = ()
    native_spans: NativeSpans = "keep"
    remote_parent: RemoteParent = "continue"
    baggage_keys: tuple[str, ...] = ()
    url_paths: bool = False
    sampling: tuple[tuple[str, float], ...] = ()
    keep_errors: bool = False
    keep_slow_s: float | None = None
    problems: tuple[str, ...] = ()

    @property
    def shows_models(self) -> bool:
        """True if model calls have spans of their own."""
        return self.detail in ("model", "output")

    @property
    def has_destination(self) -> bool:
        """True if spans, metrics or logs have a destination."""
        return (
            self.spans_have_destination
            or self.metrics_are_pushed
            or self.scrape is not None
            or self.logs_have_destination
        )

    @property
    def spans_have_destination(self) -> bool:
        return self.otlp is not None or self.console or self.trace_file is not None

    @property
    def metrics_are_pushed(self) -> bool:
        return self.metrics_otlp is not None or self.metrics_console

    @property
    def logs_have_destination(self) -> bool:
        return self.logs_otlp is not None or self.logs_console

    @property
    def captures_content(self) -> bool:
        """True if prompts, answers, inputs and outputs are exported."""
        return self.content_on_spans or self.content_in_events

    @property
    def redacts(self) -> bool:
        """True if secrets are removed from each exported text, log lines included."""
        asked = self.redact is not None or self.redact_ips or self.redact_hook is not None
        return asked or self.error_messages == "redacted" or self.captures_content

    @property
    def keeps_runs(self) -> bool:
        """True if runs that are not sampled may be kept."""
        return self.keep_errors or self.keep_slow_s is not None

    @property
    def samples(self) -> bool:
        """True if this library decides which runs are exported, and not only the standard sampler."""
        return bool(self.sampling) or self.keeps_runs

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Settings:
        """Read the environment. Never raises: a wrong value becomes its default and a line in ``problems``."""
        env = os.environ if environ is None else environ
        problems: list[str] = []
        value: dict[str, Any] = {variable.name: _read(variable, env, problems) for variable in VARIABLES}
        exporters: tuple[str, ...] = value["OTEL_TRACES_EXPORTER"]
        metric_exporters: tuple[str, ...] = value["OTEL_METRICS_EXPORTER"]
        log_exporters: tuple[str, ...] = value["OTEL_LOGS_EXPORTER"]
        # On its own, the standard sampler means what it always means: what it drops stays dropped.
        keeps = bool(value["LANGFLOW_OTEL_SAMPLING"]) or bool(env.get("LANGFLOW_OTEL_KEEP", "").strip())
        keep: tuple[bool, float | None] = value["LANGFLOW_OTEL_KEEP"] if keeps else (False, None)
        headers = _readable(value["LANGFLOW_OTEL_OTLP_HEADERS_FILE"], problems)
        problems += _misspelled(env)
        problems += accepted(env).problems
        return cls(
            **_fields(value),
            content_on_spans="SPAN" in value[CAPTURE],
            content_in_events="EVENT" in value[CAPTURE],
            console="console" in exporters,
            otlp=otlp_target(env, "TRACES", problems, headers) if "otlp" in exporters else None,
            metrics_console="console" in metric_exporters,
            metrics_default=metric_exporters == ("otlp",),
            metrics_otlp=otlp_target(env, "METRICS", problems, headers) if "otlp" in metric_exporters else None,
            scrape=ScrapeSettings(**_fields(value, "scrape.")) if "prometheus" in metric_exporters else None,
            logs_console="console" in log_exporters,
            logs_otlp=otlp_target(env, "LOGS", problems, headers) if "otlp" in log_exporters else None,
            keep_errors=keep[0],
            keep_slow_s=keep[1],
            problems=_one_for_each_variable(problems),
        )

    def log_problems(self) -> None:
        """One warning for each wrong value."""
        for problem in self.problems:
            logger.warning("%s", masked_line(problem))


def _read(variable: Variable, env: Mapping[str, str], problems: list[str]) -> Any:
    text = env.get(variable.name, "")
    if text.strip():
        try:
            return variable.parse(text)
        except ValueError:
            problems.append(problem_with(variable.name, text, variable.accepts, variable.default))
    return variable.parse(variable.default)


def _fields(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The fields that are each the value of one variable: those of ``Settings``, or of what has the prefix."""
    named = ((variable.setting.rpartition("."), value[variable.name]) for variable in VARIABLES if variable.setting)
    return {name: found for (above, dot, name), found in named if f"{above}{dot}" == prefix}


def _one_for_each_variable(problems: list[str]) -> tuple[str, ...]:
    """One problem for each variable: a general one that is wrong is wrong for each signal."""
    first: dict[str, str] = {}
    for problem in problems:
        first.setdefault(problem.partition("=")[0], problem)
    return tuple(first.values())


def _readable(path: Path | None, problems: list[str]) -> Path | None:
    if path is not None and not is_readable(path):
        name = "LANGFLOW_OTEL_OTLP_HEADERS_FILE"
        shown = shown_value(name, str(path))
        shown = shown if len(shown) <= _LONGEST_SHOWN else shown[: _LONGEST_SHOWN - 3] + "..."
        problems.append(f"{name}={shown!r} cannot be read. Using no further headers instead.")
    return path


def _misspelled(env: Mapping[str, str]) -> list[str]:
    known = [variable.name for variable in VARIABLES if variable.name.startswith("LANGFLOW_OTEL_")]
    found = []
    for name in sorted(env):
        if not name.startswith("LANGFLOW_OTEL_") or name in known or name in RESERVED_BY_LANGFLOW:
            continue
        close = difflib.get_close_matches(name, known, n=1, cutoff=0.88)
        if close:
            shown = name if name.isprintable() else repr(name)
            found.append(f"{shown} is not a variable of langflow-otel; did you mean {close[0]}? It is ignored.")
    return found

"""``langflow-otel doctor``: why telemetry does not arrive, and what to change."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

import typer
from rich.console import Console
from rich.text import Text

from langflow_otel._settings.masking import Secrets, one_line
from langflow_otel._settings.settings import Settings
from langflow_otel.cli.config import all_problems
from langflow_otel.cli.console import FAILED, Warnings, make_console, printable
from langflow_otel.cli.doctor.destinations import destinations_section
from langflow_otel.cli.doctor.hooks import hooks_section
from langflow_otel.cli.doctor.installed import installed_section
from langflow_otel.cli.doctor.local import local_section
from langflow_otel.cli.doctor.report import Finding, Section, as_object, is_well, show, summary, without_secrets
from langflow_otel.version import __version__

_NOWHERE = (
    "OTEL_EXPORTER_OTLP_ENDPOINT: name a collector (or LANGFLOW_OTEL_TRACE_FILE, OTEL_METRICS_EXPORTER=prometheus)"
)


def doctor(*, as_json: bool) -> None:
    """Look at everything, and say it; exits with 1 if something is wrong."""
    # gRPC writes its own lines about each failure to stderr, past all logging; it reads this when it is loaded.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    console = make_console()
    if not as_json:
        console.print(f"[bold]langflow-otel {__version__}[/]: what is installed, what is set, and what arrives")
    sections, secrets = [], Secrets(os.environ)
    for found in _sections(console if not as_json else None):
        section = without_secrets(found, secrets)
        sections.append(section)
        if not as_json:
            show(console, section)
    if as_json:
        typer.echo(json.dumps(as_object(sections), indent=2))
    else:
        style = "green" if is_well(sections) else "bold red"
        console.print(Text(f"\n{summary(sections)}", style))
    if not is_well(sections):
        raise typer.Exit(FAILED)


def _sections(console: Console | None) -> Iterator[Section]:
    env = dict(os.environ)
    settings = Settings.from_env(env)
    yield from _looked("Installed", lambda: installed_section(settings, env))
    with _warnings() as warnings:
        providers = list(_looked("Providers", lambda: _providers(settings)))
        yield from _looked("Settings", lambda: _settings_section(env, warnings))
        yield from providers
        with _waiting(console, "Sending a test span, metric and log record ..."):
            destinations = list(_looked("Destinations", lambda: destinations_section(settings, env)))
        yield from destinations
    yield from _looked("Here", lambda: local_section(settings))
    with _waiting(console, "Importing LangFlow to see which hooks fit, this takes some seconds ..."):
        hooks = list(_looked("Hooks", lambda: hooks_section(env)))
    yield from hooks


def _looked(title: str, look: Callable[[], Section | None]) -> Iterator[Section]:
    """The section, if there is one. An error of ours costs no more than what it would have said."""
    try:
        section = look()
    except Exception as exc:  # noqa: BLE001 - whoever looks for a fault needs the rest all the more
        text = f"could not be looked at: {type(exc).__name__}"
        section = Section(
            title, "", [Finding("doctor", "problem", text, "an error of langflow-otel: please report it")]
        )
    if section is not None:
        yield section


@contextmanager
def _warnings() -> Iterator[list[str]]:
    """What the SDK and this library log meanwhile, instead of on stderr."""
    lines: list[str] = []
    before = {}
    for name in ("langflow_otel", "opentelemetry"):
        logger = logging.getLogger(name)
        before[logger] = (logger.handlers, logger.propagate)
    Warnings(lines.append).listen()
    try:
        yield lines
    finally:
        for logger, (handlers, propagate) in before.items():
            logger.handlers, logger.propagate = handlers, propagate


@contextmanager
def _waiting(console: Console | None, text: str) -> Iterator[None]:
    with console.status(text) if console is not None and console.is_terminal else nullcontext():
        yield


def _settings_section(env: Mapping[str, str], warnings: list[str]) -> Section:
    problems = all_problems(env)
    secrets = Secrets(env)
    findings = [Finding("variable", "problem", secrets.hide(printable(problem))) for problem in problems]
    findings += [
        Finding("SDK", "warning", secrets.hide(printable(line.strip().removeprefix("warning: ")))) for line in warnings
    ]
    if not findings:
        findings.append(Finding("variables", "ok", "all that are set are understood"))
    return Section("Settings", "all of them: langflow-otel config", findings)


def _providers(settings: Settings) -> Section:
    """Which provider each signal would have in a process with these settings, and why."""
    from langflow_otel._sdk.logs import choose_logger_provider
    from langflow_otel._sdk.providers import choose_meter_provider, choose_tracer_provider

    choices: tuple[tuple[str, Callable[[Settings, None], Any]], ...] = (
        ("traces", choose_tracer_provider),
        ("metrics", choose_meter_provider),
        ("logs", choose_logger_provider),
    )
    findings = [_provider(name, choose, settings) for name, choose in choices]
    if settings.scrape is not None:
        findings = _with_scrape(findings)
    is_off = settings.sdk_disabled or settings.enabled == "false"
    if not is_off and not settings.has_destination:
        findings = [Finding("all", "problem", "nothing has anywhere to go, so nothing is instrumented", _NOWHERE)]
    return Section("Providers", "who makes spans, metrics and log records, and why", findings)


def _with_scrape(findings: list[Finding]) -> list[Finding]:
    """Metrics that are scraped need no provider."""
    if any(each.name == "metrics" and each.status != "info" for each in findings):
        return [*findings, Finding("metrics", "ok", "also the scrape endpoint")]
    scraped = Finding("metrics", "ok", "the scrape endpoint; nothing is pushed")
    return [scraped if each.name == "metrics" else each for each in findings]


def _provider(name: str, choose: Callable[[Settings, None], Any], settings: Settings) -> Finding:
    try:
        choice = choose(settings, None)
    except Exception as exc:  # noqa: BLE001 - the SDK raises anything for a variable that it does not accept
        text = f"the OpenTelemetry SDK does not accept its settings: {type(exc).__name__}: {one_line(exc)}"
        return Finding(name, "problem", text, "check the OTEL_* variables: langflow-otel config --check")
    if choice is None:
        return Finding(name, "info", "none: there is no destination")
    choice.shutdown()
    return Finding(name, "ok", choice.reason)

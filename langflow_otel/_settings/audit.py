"""The audit line, logged at the start of a process: what is exported, and to which destinations."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from typing import Final
from urllib.parse import urlsplit

from langflow_otel._settings.masking import masked_line, shown_path
from langflow_otel._settings.otlp_target import OtlpTarget
from langflow_otel._settings.settings import Settings
from langflow_otel._settings.standard import accepted

PREFIX: Final = "langflow-otel audit:"

_PLAIN = re.compile(r"[\w./:,*%+@\[\]-]+")


def audit_line(settings: Settings, env: Mapping[str, str] | None = None) -> str:
    """``langflow-otel audit: pid=7 traces=otlp-http:https://otel.example.com:4318 content=off ...``

    Keys and values with ``=`` between; a value with other signs than those of names and addresses is quoted as in JSON.
    No credential is in it: of an address, its scheme, host and port.

    Args:
        env: For the standard sampler, which the SDK reads itself; ``os.environ`` by default.
    """
    env = os.environ if env is None else env
    line = " ".join([PREFIX, *(f"{key}={_quoted(value)}" for key, value in _parts(settings, env))])
    return masked_line(line, env)


def _parts(settings: Settings, env: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    yield "pid", str(os.getpid())
    yield "service", settings.service_name
    if settings.sdk_disabled or settings.enabled == "false":
        yield "telemetry", "off"
        return
    yield "traces", _places(settings.otlp, console=settings.console, file=settings.trace_file is not None)
    yield (
        "metrics",
        _places(settings.metrics_otlp, console=settings.metrics_console, scrape=settings.scrape is not None),
    )
    yield "logs", _places(settings.logs_otlp, console=settings.logs_console)
    yield from _content(settings)
    yield from _sampling(settings, env)
    yield from _scrape(settings)
    yield "trace_file", "none" if settings.trace_file is None else shown_path(str(settings.trace_file))


def _places(target: OtlpTarget | None, **others: bool) -> str:
    places = [] if target is None else [_address(target)]
    return ",".join([*places, *(name for name, used in others.items() if used)]) or "none"


def _address(target: OtlpTarget) -> str:
    """Neither user nor path nor query: some services have their keys there."""
    parts = urlsplit(target.endpoint)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    port = "" if parts.port is None else f":{parts.port}"
    protocol = "otlp-grpc" if target.protocol == "grpc" else "otlp-http"
    return f"{protocol}:{parts.scheme}://{host}{port}"


def _content(settings: Settings) -> Iterator[tuple[str, str]]:
    kinds = {"spans": settings.content_on_spans, "events": settings.content_in_events}
    yield "content", ",".join(kind for kind, on in kinds.items() if on) or "off"
    yield "error_messages", settings.error_messages
    yield "redact_pattern", "on" if settings.redact else "off"
    yield "log_bodies", "all" if settings.log_bodies else "allowlist"
    yield "log_level", settings.log_level
    yield "user_id", "on" if settings.user_id else "off"
    yield "baggage_keys", ",".join(settings.baggage_keys) or "none"
    yield "instrumentors", ",".join(settings.instrumentors) or "none"


def _sampling(settings: Settings, env: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    ratios = ",".join(f"{pattern}={ratio:g}" for pattern, ratio in settings.sampling)
    yield "sampling", ratios or _standard_sampler(env)
    kept = ["errors"] if settings.keep_errors else []
    if settings.keep_slow_s is not None:
        kept.append(f"slow:{settings.keep_slow_s:g}s")
    yield "keep", ",".join(kept) or "none"


def _standard_sampler(env: Mapping[str, str]) -> str:
    values = accepted(env).values
    name = values["OTEL_TRACES_SAMPLER"]
    if name in ("always_on", "parentbased_always_on"):
        return "all"
    return f"{name}:{float(values['OTEL_TRACES_SAMPLER_ARG']):g}" if name.endswith("traceidratio") else name


def _scrape(settings: Settings) -> Iterator[tuple[str, str]]:
    scrape = settings.scrape
    if scrape is None:
        yield "scrape", "none"
        return
    yield "scrape", f"{f'[{scrape.host}]' if ':' in scrape.host else scrape.host}:{scrape.port}"
    yield "scrape_token", "off" if scrape.token_file is None else "on"
    yield "scrape_tls", "off" if scrape.cert_file is None else "on"


def _quoted(value: str) -> str:
    """One word, whatever it says: a line break would make a line of its own in the log."""
    return value if _PLAIN.fullmatch(value) and value.isascii() else json.dumps(value)

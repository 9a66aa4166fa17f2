"""Every environment variable: what it means, its default, what it accepts, and the message if it is wrong.

Read once, into one frozen :class:`Settings` that is passed down. A plain dataclass rather than
pydantic-settings: a wrong value must fall back to the default with a message instead of raising, and
pydantic would be half of the import time of a component that only says ``from langflow_otel import traced``.
"""

from __future__ import annotations

import difflib
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import urlsplit, urlunsplit

logger = logging.getLogger("langflow_otel")

Enabled = Literal["auto", "true", "false"]
Detail = Literal["flow", "component", "output"]
ErrorMessages = Literal["none", "full"]
Protocol = Literal["grpc", "http/protobuf"]

RESERVED_BY_LANGFLOW: Final = ("LANGFLOW_OTEL_DB_SPANS", "LANGFLOW_OTEL_LOG_LEVEL", "LANGFLOW_OTEL_LOG_BODIES")

GRPC_PORT: Final = 4317
DEFAULT_GRPC_ENDPOINT: Final = "http://localhost:4317"
DEFAULT_HTTP_ENDPOINT: Final = "http://localhost:4318"


@dataclass(frozen=True)
class Variable:
    """One environment variable as it is documented and parsed.

    Attributes:
        parse: Turns the text into a value; raises ValueError when the text is not accepted.
    """

    name: str
    default: str
    accepts: str
    meaning: str
    parse: Callable[[str], Any]


def _one_of(*choices: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        lowered = text.strip().lower()
        if lowered not in choices:
            raise ValueError(text)
        return lowered

    return parse


def _some_of(*choices: str) -> Callable[[str], tuple[str, ...]]:
    def parse(text: str) -> tuple[str, ...]:
        parts = tuple(part.strip().lower() for part in text.split(",") if part.strip())
        if not parts or any(part not in choices for part in parts):
            raise ValueError(text)
        return parts

    return parse


def _boolean(text: str) -> bool:
    lowered = text.strip().lower()
    if lowered not in ("true", "false"):
        raise ValueError(text)
    return lowered == "true"


def _semconv(text: str) -> tuple[str, ...]:
    parts = _some_of("genai", "openinference")(text)
    if "genai" not in parts:
        raise ValueError(text)
    return parts


def _path(text: str) -> Path | None:
    if text.strip().lower() == "none":
        return None
    try:
        return Path(text.strip()).expanduser()
    except RuntimeError as exc:  # "~name" of somebody whom this system does not know
        raise ValueError(text) from exc


def _service_name(text: str) -> str:
    return text


VARIABLES: Final = (
    Variable("OTEL_SERVICE_NAME", "langflow", "any text", "`service.name` of everything that is sent", _service_name),
    Variable(
        "OTEL_TRACES_EXPORTER",
        "otlp",
        "otlp, console, none, or a list",
        "where spans go; `otlp` needs no further word once an endpoint is set",
        _some_of("otlp", "console", "none"),
    ),
    Variable(
        "OTEL_SDK_DISABLED",
        "false",
        "true, false",
        "`true` switches everything off, as the specification says",
        _boolean,
    ),
    Variable(
        "LANGFLOW_OTEL_ENABLED",
        "auto",
        "auto, true, false",
        "auto: on as soon as a destination is configured (endpoint, exporter, trace file)",
        _one_of("auto", "true", "false"),
    ),
    Variable(
        "LANGFLOW_OTEL_DETAIL",
        "component",
        "flow, component, output",
        "how fine the trace is: flows only, with components, or with each output method as well",
        _one_of("flow", "component", "output"),
    ),
    Variable(
        "LANGFLOW_OTEL_ERROR_MESSAGES",
        "none",
        "none, full",
        "exception messages on spans; they often quote the prompt, so only type and frames leave by default",
        _one_of("none", "full"),
    ),
    Variable(
        "LANGFLOW_OTEL_SEMCONV",
        "genai",
        "genai; genai,openinference",
        "`openinference` adds `openinference.span.kind`, for Phoenix and Arize",
        _semconv,
    ),
    Variable(
        "LANGFLOW_OTEL_TRACE_FILE",
        "none",
        "a path, none",
        "append spans to this file as OTLP JSON lines, rotated at 64 MiB, three old files kept",
        _path,
    ),
    Variable("LANGFLOW_OTEL_USER_ID", "false", "true, false", "put LangFlow's user id on flow spans", _boolean),
)
"""The variables that this library reads itself. Those that only the OpenTelemetry SDK reads
(headers, timeouts, certificates, samplers, batch sizes, propagators) keep their specified meaning."""


@dataclass(frozen=True)
class OtlpTarget:
    """Where spans go by OTLP.

    Attributes:
        endpoint: With a scheme; for HTTP the full address including the path.
        insecure: gRPC only: plain text instead of TLS.
    """

    protocol: Protocol
    endpoint: str
    insecure: bool


@dataclass(frozen=True)
class Settings:
    """Everything that the environment decides, read once. See :data:`VARIABLES`."""

    service_name: str = "langflow"
    sdk_disabled: bool = False
    enabled: Enabled = "auto"
    detail: Detail = "component"
    error_messages: ErrorMessages = "none"
    openinference: bool = False
    user_id: bool = False
    console: bool = False
    otlp: OtlpTarget | None = None
    trace_file: Path | None = None
    problems: tuple[str, ...] = ()

    @property
    def has_destination(self) -> bool:
        """True if spans have somewhere to go."""
        return self.otlp is not None or self.console or self.trace_file is not None

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Settings:
        """Read the environment. Never raises: a wrong value becomes its default and a line in ``problems``."""
        env = os.environ if environ is None else environ
        problems: list[str] = []
        value = {variable.name: _read(variable, env, problems) for variable in VARIABLES}
        exporters: tuple[str, ...] = value["OTEL_TRACES_EXPORTER"]
        problems += _misspelled(env)
        return cls(
            service_name=value["OTEL_SERVICE_NAME"],
            sdk_disabled=value["OTEL_SDK_DISABLED"],
            enabled=value["LANGFLOW_OTEL_ENABLED"],
            detail=value["LANGFLOW_OTEL_DETAIL"],
            error_messages=value["LANGFLOW_OTEL_ERROR_MESSAGES"],
            openinference="openinference" in value["LANGFLOW_OTEL_SEMCONV"],
            user_id=value["LANGFLOW_OTEL_USER_ID"],
            console="console" in exporters,
            otlp=_otlp_target(env, problems) if "otlp" in exporters else None,
            trace_file=value["LANGFLOW_OTEL_TRACE_FILE"],
            problems=tuple(problems),
        )

    def log_problems(self) -> None:
        """One warning for each wrong value."""
        for problem in self.problems:
            logger.warning("%s", problem)


def _read(variable: Variable, env: Mapping[str, str], problems: list[str]) -> Any:
    text = env.get(variable.name, "")
    if text.strip():
        try:
            return variable.parse(text)
        except ValueError:
            problems.append(_problem(variable.name, text, variable.accepts, variable.default))
    return variable.parse(variable.default)


def _problem(name: str, text: str, accepts: str, used: str) -> str:
    shown = text if len(text) <= 80 else text[:77] + "..."
    return f"{name}={shown!r} is not accepted; use {accepts}. Using {used!r} instead."


def _misspelled(env: Mapping[str, str]) -> list[str]:
    known = [variable.name for variable in VARIABLES if variable.name.startswith("LANGFLOW_OTEL_")]
    found = []
    for name in sorted(env):
        if not name.startswith("LANGFLOW_OTEL_") or name in known or name in RESERVED_BY_LANGFLOW:
            continue
        close = difflib.get_close_matches(name, known, n=1, cutoff=0.88)
        if close:
            found.append(f"{name} is not a variable of langflow-otel; did you mean {close[0]}? It is ignored.")
    return found


def _otlp_target(env: Mapping[str, str], problems: list[str]) -> OtlpTarget | None:
    """Where OTLP spans go, or None when nothing asks for OTLP.

    The signal's own variable wins over the general one and, for HTTP, is used as it stands; the
    general one gets ``/v1/traces`` appended (OpenTelemetry protocol exporter specification).
    """
    name, given = _first_set(env, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
    asked_for = "otlp" in [part.strip().lower() for part in env.get("OTEL_TRACES_EXPORTER", "").split(",")]
    if not given and not asked_for:
        return None
    protocol = _protocol(env, given, problems)
    endpoint = given or (DEFAULT_GRPC_ENDPOINT if protocol == "grpc" else DEFAULT_HTTP_ENDPOINT)
    insecure = _is_insecure(env, endpoint, problems)
    if "://" not in endpoint:
        endpoint = f"{'http' if insecure else 'https'}://{endpoint}"
    if not _is_address(endpoint, protocol):
        problems.append(_problem(name, given, "host:port or http(s)://host:port", "none"))
        return None
    if protocol == "http/protobuf" and name != "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT":
        parts = urlsplit(endpoint)
        endpoint = urlunsplit(parts._replace(path=parts.path.rstrip("/") + "/v1/traces"))
    return OtlpTarget(protocol, endpoint, insecure)


def _first_set(env: Mapping[str, str], *names: str) -> tuple[str, str]:
    """The first of the variables that is set, and its text; the last one and "" if none is."""
    for name in names:
        text = env.get(name, "").strip()
        if text:
            return name, text
    return names[-1], ""


def _protocol(env: Mapping[str, str], endpoint: str, problems: list[str]) -> Protocol:
    used: Protocol = "grpc" if _port(endpoint) == GRPC_PORT else "http/protobuf"
    wrong = []
    for name in ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"):
        text = env.get(name, "").strip().lower()
        if text in ("grpc", "http/protobuf"):
            used = "grpc" if text == "grpc" else "http/protobuf"
            break
        if text:
            wrong.append(name)
    problems += [_problem(name, env[name], "grpc, http/protobuf", used) for name in wrong]
    return used


def _is_insecure(env: Mapping[str, str], endpoint: str, problems: list[str]) -> bool:
    """Whether the connection is plain text. The scheme says so; without one it is TLS unless
    OTEL_EXPORTER_OTLP_INSECURE (or its TRACES form) is true."""
    scheme = endpoint.partition("://")[0].lower() if "://" in endpoint else ""
    if scheme in ("http", "https"):
        return scheme == "http"
    name, text = _first_set(env, "OTEL_EXPORTER_OTLP_TRACES_INSECURE", "OTEL_EXPORTER_OTLP_INSECURE")
    if text.lower() not in ("true", "false", ""):
        problems.append(_problem(name, text, "true, false", "false"))
    return text.lower() == "true"


def _port(endpoint: str) -> int | None:
    try:
        return urlsplit(endpoint if "://" in endpoint else f"//{endpoint}").port
    except ValueError:
        return None


def _is_address(endpoint: str, protocol: Protocol) -> bool:
    """False for what could only fail at each export. gRPC knows schemes of its own, such as unix and dns."""
    try:
        parts = urlsplit(endpoint)
        usable = bool(parts.hostname) and parts.port != 0 and not any(map(str.isspace, endpoint))
    except ValueError:
        return False
    return usable if parts.scheme in ("http", "https") else protocol == "grpc"

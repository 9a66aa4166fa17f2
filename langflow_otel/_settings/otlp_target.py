"""The OTLP target of a signal, read from the standard variables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal
from urllib.parse import urlsplit, urlunsplit

from langflow_otel._settings.variables import problem_with

Protocol = Literal["grpc", "http/protobuf"]

GRPC_PORT: Final = 4317
DEFAULT_GRPC_ENDPOINT: Final = "http://localhost:4317"
DEFAULT_HTTP_ENDPOINT: Final = "http://localhost:4318"


@dataclass(frozen=True)
class OtlpTarget:
    """The OTLP endpoint of one signal, and how to reach it.

    Attributes:
        endpoint: With a scheme; for HTTP the full address including the path.
        insecure: gRPC only: plain text instead of TLS.
        headers_file: Holds further headers, such as a token; read when an exporter is made.
    """

    protocol: Protocol
    endpoint: str
    insecure: bool
    headers_file: Path | None = None


def otlp_target(
    env: Mapping[str, str], signal: str, problems: list[str], headers_file: Path | None = None
) -> OtlpTarget | None:
    """The OTLP target of a signal (TRACES, METRICS, LOGS); None if OTLP is not configured.

    ``problems`` has the problems of the environment so far; those that are found here are added.

    The signal's own variable wins over the general one and, for HTTP, is used as it stands; the
    general one gets ``/v1/traces`` (``/v1/metrics``) appended (OpenTelemetry protocol exporter specification).
    """
    own = f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT"
    name, given = _first_set(env, own, "OTEL_EXPORTER_OTLP_ENDPOINT")
    if not given and not _asked_for(env, f"OTEL_{signal}_EXPORTER", problems):
        return None
    protocol = _protocol(env, signal, given, problems)
    endpoint = given or (DEFAULT_GRPC_ENDPOINT if protocol == "grpc" else DEFAULT_HTTP_ENDPOINT)
    insecure = _is_insecure(env, signal, endpoint, problems)
    if protocol == "grpc":
        _need_no_deflate(env, signal, problems)
    if "://" not in endpoint:
        endpoint = f"{'http' if insecure else 'https'}://{endpoint}"
    if not _is_address(endpoint, protocol):
        problems.append(problem_with(name, given, "host:port or http(s)://host:port", "none"))
        return None
    if protocol == "http/protobuf" and name != own:
        parts = urlsplit(endpoint)
        endpoint = urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/v1/{signal.lower()}"))
    return OtlpTarget(protocol, endpoint, insecure, headers_file)


def _need_no_deflate(env: Mapping[str, str], signal: str, problems: list[str]) -> None:
    """The exporters over gRPC do not have it."""
    name, text = _first_set(env, f"OTEL_EXPORTER_OTLP_{signal}_COMPRESSION", "OTEL_EXPORTER_OTLP_COMPRESSION")
    if text.lower() == "deflate":
        problems.append(problem_with(name, text, "none, gzip with the protocol grpc", "none"))


def _asked_for(env: Mapping[str, str], exporter: str, problems: list[str]) -> bool:
    # A list that is not accepted, for another word in it, asks for nothing: its default is used.
    accepted = not any(each.startswith(f"{exporter}=") for each in problems)
    return accepted and "otlp" in [part.strip().lower() for part in env.get(exporter, "").split(",")]


def spelled_out(env: Mapping[str, str]) -> dict[str, str]:
    """Complete forms of the OTLP variables that leave out the scheme or the protocol.

    We accept an endpoint without a scheme, and take port 4317 for gRPC; LangFlow's own telemetry (1.12 and
    later), which reads the same variables, does neither, and would send nothing.

    Returns:
        Names and values to set. Empty if the variables are spelled out already, or wrong.
    """
    changes: dict[str, str] = {}
    for infix in ("", "TRACES_", "METRICS_", "LOGS_"):
        name, protocol_name = f"OTEL_EXPORTER_OTLP_{infix}ENDPOINT", f"OTEL_EXPORTER_OTLP_{infix}PROTOCOL"
        endpoint = env.get(name, "").strip()
        if not endpoint:
            continue
        signal = infix.rstrip("_") or "TRACES"
        problems: list[str] = []
        protocol = _protocol(env, signal, endpoint, problems)
        full = endpoint
        if "://" not in endpoint:
            full = f"{'http' if _is_insecure(env, signal, endpoint, problems) else 'https'}://{endpoint}"
        if problems or not _is_address(full, protocol):
            continue
        if full != env[name]:
            changes[name] = full
        named = any(env.get(each, "").strip() for each in (protocol_name, "OTEL_EXPORTER_OTLP_PROTOCOL"))
        if protocol == "grpc" and not named:
            changes[protocol_name] = protocol
    return changes


def _first_set(env: Mapping[str, str], *names: str) -> tuple[str, str]:
    """The first of the variables that is set, and its text; the last one and "" if none is."""
    for name in names:
        text = env.get(name, "").strip()
        if text:
            return name, text
    return names[-1], ""


def _protocol(env: Mapping[str, str], signal: str, endpoint: str, problems: list[str]) -> Protocol:
    used: Protocol = "grpc" if _port(endpoint) == GRPC_PORT else "http/protobuf"
    wrong = []
    for name in (f"OTEL_EXPORTER_OTLP_{signal}_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"):
        text = env.get(name, "").strip().lower()
        if text in ("grpc", "http/protobuf"):
            used = "grpc" if text == "grpc" else "http/protobuf"
            break
        if text:
            wrong.append(name)
    problems += [problem_with(name, env[name], "grpc, http/protobuf", used) for name in wrong]
    return used


def _is_insecure(env: Mapping[str, str], signal: str, endpoint: str, problems: list[str]) -> bool:
    """Whether the connection is plain text. The scheme says so; without one it is TLS unless
    OTEL_EXPORTER_OTLP_INSECURE (or the signal's own form of it) is true."""
    scheme = endpoint.partition("://")[0].lower() if "://" in endpoint else ""
    if scheme in ("http", "https"):
        return scheme == "http"
    name, text = _first_set(env, f"OTEL_EXPORTER_OTLP_{signal}_INSECURE", "OTEL_EXPORTER_OTLP_INSECURE")
    if text.lower() not in ("true", "false", ""):
        problems.append(problem_with(name, text, "true, false", "false"))
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
        usable = bool(parts.hostname) and parts.port != 0 and " " not in endpoint
    except ValueError:
        return False
    # Bytes that are no text reach us as halves of surrogates, with which gRPC cannot even be started.
    if not endpoint.isprintable():
        return False
    return usable if parts.scheme in ("http", "https") else protocol == "grpc"

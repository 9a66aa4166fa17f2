"""The SDK's OTLP exporters for a target."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import Any, Final, Literal

from opentelemetry.util.re import parse_env_headers

from langflow_otel.otlp_target import OtlpTarget

Signal = Literal["traces", "metrics", "logs"]

_CLASSES: Final = {
    "traces": ("trace_exporter", "OTLPSpanExporter"),
    "metrics": ("metric_exporter", "OTLPMetricExporter"),
    "logs": ("_log_exporter", "OTLPLogExporter"),
}


def otlp_exporter(target: OtlpTarget, signal: Signal) -> Any:
    """The SDK's exporter of a signal to the target; timeout, compression and certificates come from the standard
    variables, headers from them and from the target's file.

    Raises:
        Exception: Whatever the SDK raises for a variable that it does not accept.
    """
    transport = "grpc" if target.protocol == "grpc" else "http"
    module, name = _CLASSES[signal]
    exporter = getattr(importlib.import_module(f"opentelemetry.exporter.otlp.proto.{transport}.{module}"), name)
    plain = {"insecure": target.insecure} if transport == "grpc" else {}
    return exporter(endpoint=target.endpoint, headers=_headers(target, signal), **plain)


def _headers(target: OtlpTarget, signal: Signal) -> dict[str, str] | None:
    """None where only the standard variables name any: the SDK reads those itself. The file's win."""
    if target.headers_file is None:
        return None
    own = os.environ.get(f"OTEL_EXPORTER_OTLP_{signal.upper()}_HEADERS")
    named = own or os.environ.get("OTEL_EXPORTER_OTLP_HEADERS", "")
    return {**parse_env_headers(named, liberal=True), **headers_in(target.headers_file)}


def headers_in(path: Path) -> dict[str, str]:
    """The headers in a file: ``name=value`` between commas or on lines of their own, as in the standard variable.

    A file that cannot be read has none; the settings have said so already.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return {}
    text = ",".join(line for line in map(str.strip, lines) if line and not line.startswith("#"))
    return dict(parse_env_headers(text, liberal=True))

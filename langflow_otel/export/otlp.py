"""The SDK's OTLP exporters for a target."""

from __future__ import annotations

import importlib
import logging
import os
import re
from pathlib import Path
from typing import Any, Final, Literal

from opentelemetry.util.re import parse_env_headers

from langflow_otel.otlp_target import OtlpTarget
from langflow_otel.secret_files import read_secret

logger = logging.getLogger("langflow_otel")

Signal = Literal["traces", "metrics", "logs"]

_CLASSES: Final = {
    "traces": ("trace_exporter", "OTLPSpanExporter"),
    "metrics": ("metric_exporter", "OTLPMetricExporter"),
    "logs": ("_log_exporter", "OTLPLogExporter"),
}


# What the SDK takes for a header, in its liberal mode.
_HEADER: Final = re.compile(r"[!#-'*+\-.0-9A-Z^-z|~]+[ \t]*=[ \t]*[ !#-+\--:<-\[\]-~]*")
_NO_HEADERS: Final = (
    "LANGFLOW_OTEL_OTLP_HEADERS_FILE: %d of %d entries in %s are not accepted; use name=value. Not sending them."
)
_told: set[tuple[object, ...]] = set()


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
        lines = read_secret(path).decode("utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return {}
    wanted = (line for line in lines if not line.strip().startswith("#"))
    parts = [part.strip() for line in wanted for part in line.split(",") if part.strip()]
    headers = [part for part in parts if _HEADER.fullmatch(part)]
    said = (len(parts) - len(headers), len(parts), path)
    if said[0] and said not in _told:
        # Once for all signals, and not by the SDK: it would quote them, and most likely they are a token.
        _told.add(said)
        logger.warning(_NO_HEADERS, *said)
    return dict(parse_env_headers(",".join(headers), liberal=True))

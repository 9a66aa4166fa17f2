"""The SDK's OTLP exporters for a target."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal

from opentelemetry.util.re import parse_env_headers

from langflow_otel._guard import WarnOnce
from langflow_otel._settings.otlp_target import OtlpTarget
from langflow_otel._settings.secret_files import read_secret
from langflow_otel._settings.standard import accepted_environment
from langflow_otel._settings.standard_variables import OTLP, is_header

logger = logging.getLogger("langflow_otel")

Signal = Literal["traces", "metrics", "logs"]

_CLASSES: Final = {
    "traces": ("trace_exporter", "OTLPSpanExporter"),
    "metrics": ("metric_exporter", "OTLPMetricExporter"),
    "logs": ("_log_exporter", "OTLPLogExporter"),
}
_FORMS: Final = ("HEADERS", "TIMEOUT", "COMPRESSION", "CERTIFICATE", "CLIENT_CERTIFICATE", "CLIENT_KEY")
_GRPC_FILES: Final = {
    "root_certificates": "CERTIFICATE",
    "certificate_chain": "CLIENT_CERTIFICATE",
    "private_key": "CLIENT_KEY",
}

_NO_HEADERS: Final = (
    "LANGFLOW_OTEL_OTLP_HEADERS_FILE: %d of %d entries in %s are not accepted; use name=value. Not sending them."
)
_warn_once = WarnOnce()


def otlp_exporter(target: OtlpTarget, signal: Signal) -> Any:
    """The SDK's exporter of a signal to the target; timeout, compression and certificates come from the standard
    variables, headers from them and from the target's file.

    Raises:
        Exception: Whatever the SDK raises.
    """
    is_grpc = target.protocol == "grpc"
    module, name = _CLASSES[signal]
    package = f"opentelemetry.exporter.otlp.proto.{'grpc' if is_grpc else 'http'}"
    with accepted_environment() as values:
        exporter = getattr(importlib.import_module(f"{package}.{module}"), name)
        own = {form: values[f"{OTLP}{signal.upper()}_{form}"] for form in _FORMS}
        headers = {**parse_env_headers(own["HEADERS"], liberal=True), **headers_in(target.headers_file)}
        options = _for_grpc(target, own) if is_grpc else _for_http(own)
        return exporter(endpoint=target.endpoint, headers=headers or None, timeout=float(own["TIMEOUT"]), **options)


def _for_grpc(target: OtlpTarget, own: Mapping[str, str]) -> dict[str, Any]:
    import grpc  # type: ignore[import-untyped]

    compression = grpc.Compression.Gzip if own["COMPRESSION"] == "gzip" else grpc.Compression.NoCompression
    options = {"insecure": target.insecure, "compression": compression}
    files = {name: own[form] for name, form in _GRPC_FILES.items() if own[form]}
    if files and not target.insecure:
        # The exporter would read those of a client only beside an authority's.
        found = {name: read_secret(Path(path)) for name, path in files.items()}
        if "certificate_chain" in found:
            found.setdefault("private_key", found["certificate_chain"])
        options["credentials"] = grpc.ssl_channel_credentials(**found)
    return options


def _for_http(own: Mapping[str, str]) -> dict[str, Any]:
    from opentelemetry.exporter.otlp.proto.http import Compression

    return {
        "compression": Compression(own["COMPRESSION"]),
        # True: by the authorities of this system. Older exporters take a variable that is set and empty for "do not
        # verify".
        "certificate_file": own["CERTIFICATE"] or True,
        "client_certificate_file": own["CLIENT_CERTIFICATE"] or None,
        "client_key_file": own["CLIENT_KEY"] or None,
    }


def headers_in(path: Path | None) -> dict[str, str]:
    """The headers in a file: ``name=value`` between commas or on lines of their own, as in the standard variable.

    A file that cannot be read has none; the settings have reported it already.
    """
    if path is None:
        return {}
    try:
        lines = read_secret(path).decode("utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return {}
    wanted = (line for line in lines if not line.strip().startswith("#"))
    parts = [part.strip() for line in wanted for part in line.split(",") if part.strip()]
    headers = [part for part in parts if is_header(part)]
    if len(headers) < len(parts):
        # Once for all signals, and not by the SDK: it would quote them, and most likely they are a token.
        refused = (len(parts) - len(headers), len(parts), path)
        _warn_once(refused, _NO_HEADERS, *refused)
    return dict(parse_env_headers(",".join(headers), liberal=True))

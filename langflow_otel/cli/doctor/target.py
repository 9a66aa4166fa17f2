"""Where one signal goes and by which variables, and whether anything can be sent there at all."""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote, urlsplit

from langflow_otel._sdk.otlp import Signal
from langflow_otel._settings.masking import without_credentials
from langflow_otel._settings.otlp_target import OtlpTarget

FILES: Final = ("CERTIFICATE", "CLIENT_CERTIFICATE", "CLIENT_KEY")
"""Forms of the variables that name PEM files."""


@dataclass(frozen=True)
class Verdict:
    """What is wrong, in words, and what to do about it; empty advice if nothing is wrong."""

    text: str
    advice: str = ""


@dataclass(frozen=True)
class Destination:
    """Where one signal goes, and by which variables."""

    signal: Signal
    target: OtlpTarget
    env: Mapping[str, str]

    def variable(self, form: str) -> str:
        """The variable that decides: the signal's own where it is set, else the general one; where neither is, the one
        to set."""
        own, general = self._own(form), f"OTEL_EXPORTER_OTLP_{form}"
        if self._is_set(own):
            return own
        return general if self._is_set(general) else self.variable_to_set(form)

    def variable_to_set(self, form: str) -> str:
        """The variable to change for this signal alone, if it goes to a place of its own; else for all of them."""
        return self._own(form) if self._is_set(self._own("ENDPOINT")) else f"OTEL_EXPORTER_OTLP_{form}"

    def _own(self, form: str) -> str:
        return f"OTEL_EXPORTER_OTLP_{self.signal.upper()}_{form}"

    def _is_set(self, name: str) -> bool:
        return bool(self.env.get(name, "").strip())

    def value(self, form: str) -> str:
        return self.env.get(self.variable(form), "").strip()

    @property
    def exporter_variable(self) -> str:
        return f"OTEL_{self.signal.upper()}_EXPORTER"

    @property
    def is_grpc(self) -> bool:
        return self.target.protocol == "grpc"

    @property
    def is_tls(self) -> bool:
        return self.target.endpoint.startswith("https://") or (self.is_grpc and not self.target.insecure)

    @property
    def shown(self) -> str:
        """The address, without credentials."""
        return without_credentials(self.target.endpoint)

    @property
    def host(self) -> str:
        return urlsplit(self.target.endpoint).hostname or ""

    @property
    def port(self) -> int:
        # Without one, gRPC takes 443 whatever the scheme.
        return urlsplit(self.target.endpoint).port or (443 if self.is_grpc or self.is_tls else 80)

    @property
    def place(self) -> str:
        return f"{self.host}:{self.port}"

    def with_scheme(self, scheme: str) -> str:
        """``VARIABLE=scheme://host:port/path``, as it should be."""
        variable, parts = self.variable("ENDPOINT"), urlsplit(self.shown)
        # What is added to the general one is not part of it.
        path = parts.path if self.signal.upper() in variable else parts.path.removesuffix(f"/v1/{self.signal}")
        return f"{variable}={scheme}://{parts.netloc}{path}"


def not_sendable(destination: Destination) -> Verdict | None:
    """What keeps anything from being sent: each exporter, and each version of it, says that in another way, or not."""
    if not unquote(destination.value("HEADERS")).isprintable():
        text = "a header holds a line break or another control character, so nothing was sent"
        return Verdict(text, f"{destination.variable('HEADERS')}: take it out, such as %0A at the end")
    return _unusable_file(destination) if destination.is_tls else None


def _unusable_file(destination: Destination) -> Verdict | None:
    for form in FILES:
        path = destination.value(form)
        if path and not os.access(path, os.R_OK):
            text = f"{path} cannot be read, so nothing was sent"
            return Verdict(text, f"{destination.variable(form)}: name a PEM file that exists and can be read")
    authority = destination.value("CERTIFICATE")
    try:
        ssl.create_default_context(cafile=authority or None)
    except (ssl.SSLError, OSError):
        text = f"{authority} holds no certificate, so nothing was sent"
        return Verdict(text, f"{destination.variable('CERTIFICATE')}: the PEM file of the collector's authority")
    return None

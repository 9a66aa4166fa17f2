"""From what came back to what is wrong, and to the one variable to change."""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote, urlsplit

from langflow_otel._sdk.otlp import Signal
from langflow_otel._settings.masking import HIDDEN, masked_headers, without_credentials
from langflow_otel._settings.otlp_target import OtlpTarget
from langflow_otel.cli.doctor.answers import Answer, Outcome
from langflow_otel.cli.doctor.listener import Listener, look

_GRPC_PORT, _HTTP_PORT = 4317, 4318
_HERE: Final = ("localhost", "127.0.0.1", "::1")
_OTHER_BUNDLES: Final = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
_NEEDS_A_LOOK: Final = ("no connection", "untrusted", "tls", "timeout", "rejected", "server error")
"""Outcomes that may come of talking past each other."""
FILES: Final = ("CERTIFICATE", "CLIENT_CERTIFICATE", "CLIENT_KEY")
"""Forms of the variables that name PEM files."""


def listener_behind(answer: Answer, destination: Destination) -> Listener | None:
    """What listens there, where the answer alone does not tell."""
    if answer.outcome not in _NEEDS_A_LOOK or not destination.host:
        return None
    return look(destination.host, destination.port, destination.value("CERTIFICATE") or None)


def verdict(answer: Answer, listener: Listener | None, destination: Destination, *, others_arrive: bool) -> Verdict:
    """What is wrong.

    Args:
        listener: See :func:`listener_behind`.
        others_arrive: The same host accepts another signal.
    """
    if listener is not None:
        found = _talking_past_each_other(listener, destination)
        if found is not None:
            return found
    if answer.outcome == "no connection" and _is_grpc_that_answers(listener, destination):
        return _unavailable(answer, destination)
    if answer.outcome == "timeout":
        return _timeout(listener, destination)
    if answer.outcome == "not found":
        return _not_found(answer, destination, others_arrive=others_arrive)
    return _VERDICTS[answer.outcome](answer, destination)


def _talking_past_each_other(listener: Listener, to: Destination) -> Verdict | None:
    endpoint = to.variable("ENDPOINT")
    if listener.state == "no name":
        return Verdict(f"no host is called {to.host}", f"{endpoint}: name a host that can be found from here")
    if listener.state == "refused":
        return Verdict(f"nothing listens on {to.place}", f"{endpoint}: {_where_else(to)}")
    if listener.state == "unreachable":
        return Verdict(f"{to.place} cannot be reached", f"{endpoint}: is the address right, and is a firewall between?")
    if listener.state == "tls" and not to.is_tls:
        return Verdict("plain text was sent to a port that speaks TLS", to.with_scheme("https"))
    if listener.state == "plain" and to.is_tls:
        return Verdict("TLS was tried on a port that speaks plain text", to.with_scheme("http"))
    if listener.distrust:
        return _distrusted(listener.distrust, to)
    if listener.wants_certificate:
        return _wants_certificate(to)
    if listener.speaks == "http/1" and to.is_grpc:
        return Verdict("gRPC was tried on a port that speaks HTTP", _other_protocol(to, "http/protobuf", _GRPC_PORT))
    if listener.speaks == "http/2" and not to.is_grpc:
        return Verdict("HTTP was tried on a port that speaks gRPC", _other_protocol(to, "grpc", _HTTP_PORT))
    return None


def _where_else(to: Destination) -> str:
    if to.host in _HERE:
        return f"start a collector there, or name yours (inside a container, {to.host} is the container)"
    return f"name the host and port of your collector ({_GRPC_PORT} for gRPC, {_HTTP_PORT} for HTTP)"


def _other_protocol(to: Destination, protocol: str, port: int) -> str:
    return f"{to.variable_to_set('PROTOCOL')}={protocol}, or another port in {to.variable('ENDPOINT')}, such as {port}"


def _distrusted(why: str, to: Destination) -> Verdict:
    text = f"the collector's certificate is not trusted: {why.rstrip('.')}"
    if "mismatch" in why:
        return Verdict(text, f"{to.variable('ENDPOINT')}: name the host as the certificate does")
    if "expired" in why or "not yet valid" in why:
        return Verdict(text, f"renew the collector's certificate; {to.variable('ENDPOINT')} is right")
    certificate = to.variable("CERTIFICATE")
    # Seen in requests 2.34, where the SDK (1.45, not 1.41) gives it the file with the session.
    other = next((name for name in _OTHER_BUNDLES if to.env.get(name)), None)
    if to.value("CERTIFICATE") and other is not None and not to.is_grpc:
        return Verdict(
            text, f"{other} wins over {certificate} here: leave {other} out, or add the authority to its file"
        )
    return Verdict(text, f"{certificate}: the PEM file of the authority that signed it")


def _wants_certificate(to: Destination) -> Verdict:
    text = "the collector wants a certificate of this client"
    if to.value("CLIENT_CERTIFICATE"):
        text = "the collector does not take this client's certificate"
    forms = f"{to.variable('CLIENT_CERTIFICATE')} and {to.variable('CLIENT_KEY')}"
    return Verdict(text, f"{forms}: PEM files that its authority has signed")


def _not_found(answer: Answer, to: Destination, *, others_arrive: bool) -> Verdict:
    endpoint, path = to.variable("ENDPOINT"), urlsplit(to.shown).path
    if to.is_grpc:
        text = f"the server does not take {to.signal} ({answer.code})"
        other = (
            f"{to.variable_to_set('PROTOCOL')}=http/protobuf, or the port of gRPC in {endpoint}, such as {_GRPC_PORT}"
        )
        return Verdict(text, f"{to.exporter_variable}=none" if others_arrive else other)
    text = f"nothing takes {to.signal} at {path or '/'} ({answer.code})"
    wanted = f"/v1/{to.signal}"
    is_own = endpoint != "OTEL_EXPORTER_OTLP_ENDPOINT"
    if is_own and not path.endswith(wanted):
        return Verdict(text, f"{endpoint}={_base(to)}{path.rstrip('/')}{wanted} (it is used as it stands)")
    if not is_own and path.count("/v1/") > 1:
        return Verdict(text, f"{endpoint}={_base(to)}{path.partition('/v1/')[0]} ({wanted} is added to it)")
    if others_arrive:
        return Verdict(text, f"{to.exporter_variable}=none, where the collector takes no {to.signal}")
    return Verdict(text, f"{endpoint}: is it the port of OTLP over HTTP ({_HTTP_PORT}), and is its path whole?")


def _base(to: Destination) -> str:
    parts = urlsplit(to.shown)
    return f"{parts.scheme}://{parts.netloc}"


def _unauthorized(answer: Answer, to: Destination) -> Verdict:
    headers = to.variable("HEADERS")
    text = f"refused, for want of credentials ({answer.code})"
    if not to.value("HEADERS"):
        return Verdict(text, f"set {headers}, such as authorization=Bearer%20TOKEN")
    if HIDDEN in masked_headers(to.value("HEADERS")).split(","):
        return Verdict(text, f"{headers} is no list of name=value, such as authorization=Bearer%20TOKEN")
    return Verdict(text, f"{headers}: is the token right, and each space written as %20?")


def _forbidden(answer: Answer, to: Destination) -> Verdict:
    text = f"refused: these credentials are not allowed to send {to.signal} ({answer.code})"
    return Verdict(text, f"{to.variable('HEADERS')}: use a token that may, or set one")


def _too_many(answer: Answer, to: Destination) -> Verdict:
    less = {
        "traces": "OTEL_TRACES_SAMPLER=parentbased_traceidratio and OTEL_TRACES_SAMPLER_ARG=0.1 send fewer",
        "metrics": "OTEL_METRIC_EXPORT_INTERVAL: push less often than each 60000 ms",
        "logs": "LANGFLOW_OTEL_LOG_LEVEL=warning sends fewer",
    }
    return Verdict(f"the collector has too much to do ({answer.code})", f"{less[to.signal]}; or raise its limit")


def _unavailable(answer: Answer, to: Destination) -> Verdict:
    text = f"the collector is there, and takes nothing at the moment ({answer.code})"
    return Verdict(text, f"{to.variable('ENDPOINT')} is right: look at the collector, and at what is behind it")


def _rejected(answer: Answer, to: Destination) -> Verdict:
    text = f"refused as it is ({answer.code}{_quoted(answer)})"
    if to.value("COMPRESSION").lower() not in ("", "none"):
        return Verdict(text, f"{to.variable('COMPRESSION')}=none, or is {to.variable('ENDPOINT')} no OTLP collector?")
    return Verdict(text, f"{to.variable('ENDPOINT')}: is it an OTLP collector?")


def _server_error(answer: Answer, to: Destination) -> Verdict:
    text = f"the collector failed over it ({answer.code or 'no code'}{_quoted(answer)})"
    return Verdict(text, f"{to.variable('ENDPOINT')}: is it an OTLP collector? If it is, its log says more")


def _timeout(listener: Listener | None, to: Destination) -> Verdict:
    says_nothing = listener is not None and listener.state == "silent"
    text = f"no answer; {to.place} takes connections, and says nothing" if says_nothing else "no answer in time"
    longer = f"If it is only slow, set {to.variable('TIMEOUT')} (seconds)"
    return Verdict(text, f"{to.variable('ENDPOINT')}: is it a collector? {longer}")


def _is_grpc_that_answers(listener: Listener | None, to: Destination) -> bool:
    """The port speaks what it should: then it is the collector that calls itself unavailable."""
    return to.is_grpc and listener is not None and listener.speaks == "http/2"


def _no_connection(answer: Answer, to: Destination) -> Verdict:
    text = f"{to.place} closes the connection, or answers in no known protocol"
    wanted = f"gRPC ({_GRPC_PORT})" if to.is_grpc else f"HTTP ({_HTTP_PORT})"
    return Verdict(text, f"{to.variable('ENDPOINT')}: is it the port of OTLP over {wanted}?")


def _tls(answer: Answer, to: Destination) -> Verdict:
    if "CERTIFICATE_REQUIRED" in answer.told or "HANDSHAKE_FAILURE" in answer.told:
        return _wants_certificate(to)
    text = f"no TLS connection comes about ({answer.told})"
    return Verdict(text, f"{to.variable('ENDPOINT')}: is it a port of TLS, and of a version that is still in use?")


def _settings(answer: Answer, to: Destination) -> Verdict:
    forms = [form for form in ("TIMEOUT", "COMPRESSION", "HEADERS", *FILES) if to.value(form)]
    names = ", ".join(map(to.variable, forms)) or to.variable("ENDPOINT")
    return Verdict(f"the exporter does not start: {answer.told}", f"check {names}")


def _quoted(answer: Answer) -> str:
    return f": {answer.told}" if answer.told else ""


_VERDICTS: Final[dict[Outcome, Callable[[Answer, Destination], Verdict]]] = {
    "accepted": lambda answer, to: Verdict(f"accepted{_quoted(answer)}"),
    "partial": lambda answer, to: Verdict(
        f"taken, and then dropped by the collector{_quoted(answer)}",
        f"{to.variable('ENDPOINT')} is right: the collector's log says what it does not want",
    ),
    "redirected": lambda answer, to: Verdict(
        f"redirected to {without_credentials(answer.told)} ({answer.code}), and so lost",
        f"{to.variable('ENDPOINT')}: name the place that it redirects to",
    ),
    "unauthorized": _unauthorized,
    "forbidden": _forbidden,
    "too many": _too_many,
    "unavailable": _unavailable,
    "rejected": _rejected,
    "server error": _server_error,
    "not otlp": lambda answer, to: Verdict(
        f"{answer.code}, but not as a collector answers ({answer.told or 'no content type'})",
        f"{to.variable('ENDPOINT')}: is it a user interface? OTLP over HTTP has port {_HTTP_PORT}",
    ),
    "no connection": _no_connection,
    "untrusted": lambda answer, to: _distrusted(answer.told, to),
    "tls": _tls,
    "proxy": lambda answer, to: Verdict(
        "the proxy of HTTP_PROXY or HTTPS_PROXY does not let it through", f"NO_PROXY={to.host} goes past it"
    ),
    "settings": _settings,
}


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

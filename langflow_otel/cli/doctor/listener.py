"""What listens at an address, told from the outside: an exporter's error does not say it, or each version of gRPC in
words of its own."""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass
from typing import Final, Literal

State = Literal["no name", "unreachable", "refused", "silent", "plain", "tls"]
Speaks = Literal["", "http/1", "http/2"]

_PATIENCE_S = 1.0
_FRAME_TYPE: Final = 3
_SETTINGS: Final = b"\4"
# RFC 9113, section 3.4: the client's preface and an empty SETTINGS frame.
_HTTP2_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0" + _SETTINGS + b"\0\0\0\0\0"
_HTTP1_REQUEST: Final = b"GET / HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n"


@dataclass(frozen=True)
class Listener:
    """What was found.

    Attributes:
        state: ``silent`` is what takes connections and says nothing.
        speaks: HTTP/2 where it knows no HTTP/1; empty if it is neither, or does not say.
        distrust: Why its certificate is not trusted; empty if it is, or if there is none.
        wants_certificate: It takes only clients that show a certificate.
    """

    state: State
    speaks: Speaks = ""
    distrust: str = ""
    wants_certificate: bool = False


def look(host: str, port: int, authority: str | None = None) -> Listener:
    """Knock at the port, in plain text and with TLS. Sends nothing but a greeting; takes some seconds at most, and as
    long as the system takes to resolve the name.

    Args:
        authority: PEM file of the authority to trust, instead of the system's.
    """
    try:
        socket.create_connection((host, port), _PATIENCE_S).close()
    except (socket.gaierror, UnicodeError):
        return Listener("no name")
    except ConnectionRefusedError:
        return Listener("refused")
    except OSError:
        return Listener("unreachable")
    answer = _said_to(host, port, _HTTP2_PREFACE)
    if answer is None:
        # What expects TLS answers this with an alert, or closes the connection.
        return Listener("silent")
    if answer[:1] == b"\0" and answer[_FRAME_TYPE : _FRAME_TYPE + 1] == _SETTINGS:
        return Listener("plain", "http/2")
    # Some servers of HTTP/1 close the connection at this, without a word.
    if not answer.startswith(b"HTTP/1"):
        answer = _said_to(host, port, _HTTP1_REQUEST % host.encode("ascii", "replace")) or b""
    in_plain_text = Listener("plain", "http/1") if answer.startswith(b"HTTP/1") else Listener("silent")
    # Servers that speak HTTPS say by 400 that they do, in plain text.
    if in_plain_text.speaks and answer.split()[1:2] != [b"400"]:
        return in_plain_text
    return _with_tls(host, port, authority) or in_plain_text


def _said_to(host: str, port: int, greeting: bytes) -> bytes | None:
    try:
        with socket.create_connection((host, port), _PATIENCE_S) as connection:
            connection.sendall(greeting)
            return connection.recv(1024)
    except TimeoutError:
        return None
    except OSError:
        return b""


def _with_tls(host: str, port: int, authority: str | None) -> Listener | None:
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusting.check_hostname = False
    trusting.verify_mode = ssl.CERT_NONE
    protocol = _handshake(host, port, trusting, "h2", "http/1.1")
    if protocol is None:
        return None
    # One that prefers HTTP/2 may know HTTP/1 as well.
    only_http2 = protocol == "h2" and _handshake(host, port, trusting, "http/1.1") != "http/1.1"
    speaks: Speaks = "http/2" if only_http2 else "http/1"
    return Listener("tls", speaks, _distrust(host, port, authority), _wants_certificate(host, port, trusting))


def _handshake(host: str, port: int, context: ssl.SSLContext, *protocols: str) -> str | None:
    """The protocol that was agreed on, empty without one; None if there was no handshake."""
    context.set_alpn_protocols(list(protocols))
    try:
        with (
            socket.create_connection((host, port), _PATIENCE_S) as connection,
            context.wrap_socket(connection, server_hostname=host) as secured,
        ):
            return secured.selected_alpn_protocol() or ""
    except (OSError, ValueError):
        return None


def _distrust(host: str, port: int, authority: str | None) -> str:
    try:
        checking = ssl.create_default_context(cafile=authority)
        with (
            socket.create_connection((host, port), _PATIENCE_S) as connection,
            checking.wrap_socket(connection, server_hostname=host),
        ):
            return ""
    except ssl.SSLCertVerificationError as exc:
        return exc.verify_message
    except (OSError, ValueError):
        # Some other trouble; the certificate is not what it is about.
        return ""


def _wants_certificate(host: str, port: int, context: ssl.SSLContext) -> bool:
    """In TLS 1.3, a server says so only after the handshake, in place of its first words."""
    context.set_alpn_protocols(["h2", "http/1.1"])
    try:
        with (
            socket.create_connection((host, port), _PATIENCE_S) as connection,
            context.wrap_socket(connection, server_hostname=host) as secured,
        ):
            secured.settimeout(_PATIENCE_S / 2)
            # gRPC's own server closes the connection, which nobody else does before the client's first words.
            return not secured.recv(1)
    except ssl.SSLError as exc:
        return "CERTIFICATE_REQUIRED" in (exc.reason or "")
    except (OSError, ValueError):
        # Most servers wait.
        return False

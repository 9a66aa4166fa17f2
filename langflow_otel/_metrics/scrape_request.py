"""Checks of requests to the scrape endpoint: message framing, path and host."""

from __future__ import annotations

import ipaddress
import re
import socket
from email.message import Message
from typing import Final
from urllib.parse import urlsplit

from langflow_otel._settings.settings import ScrapeSettings

ANY_HOST: Final = "*"

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_LOCAL_DOMAINS: Final = (".localhost", ".local", ".internal", ".svc")
"""Reserved, or of Kubernetes: nobody can own a name there in the public DNS."""


def framing_problem(headers: Message) -> str:
    """Why it is not certain where a request with these headers ends; empty if it is. A proxy in front may think
    otherwise, and the rest of the request would be taken for the next one, of another client."""
    if headers.defects or headers.get_unixfrom() or headers.get_payload():
        return "A line of the headers is none"
    for name, value in headers.raw_items():
        if not _NAME.fullmatch(name) or any(char in value for char in "\r\n\0"):
            return "A header is malformed"
    lengths = [length.strip() for length in headers.get_all("Content-Length", [])]
    if len(lengths) > 1 or not all(length.isascii() and length.isdigit() for length in lengths):
        return "More than one length, or none"
    if lengths and "Transfer-Encoding" in headers:
        return "Both a length and an encoding"
    return "More than one host" if len(headers.get_all("Host", [])) > 1 else ""


def has_body(headers: Message) -> bool:
    return headers.get("Content-Length", "0") != "0" or "Transfer-Encoding" in headers


def target_of(target: str, host: str | None) -> tuple[str, str]:
    """Path, without the query, and host of a request. The absolute form (RFC 9112, section 3.2.2) names its own host.

    Args:
        target: As the request line has it.
        host: The ``Host`` header.
    """
    if target[:7].lower() == "http://" or target[:8].lower() == "https://":
        try:
            parts = urlsplit(target)
        except ValueError:  # Brackets that are no IPv6 address.
            return "", ""
        return parts.path or "/", parts.netloc.rpartition("@")[2]
    return target.partition("?")[0], host or ""


class AllowedHosts:
    """Which hosts a request may name.

    A page of the web can have its own name resolve to this machine, and read what is there as its own (DNS
    rebinding). Its requests name its own host, which is neither local nor one of ours. A token is protection enough.

    Args:
        settings: The token's file, the host that is listened on, further names.
        address: What is listened on.
    """

    def __init__(self, settings: ScrapeSettings, address: str) -> None:
        self._any = settings.token_file is not None or ANY_HOST in settings.hosts
        self._names = {"localhost", settings.host.lower(), socket.gethostname().lower(), *settings.hosts}
        self._only_here = _is_loopback(address)

    def allow(self, authority: str) -> bool:
        """True for a ``Host`` that may be answered: none, which no browser sends; an address, which cannot be rebound;
        a name of this machine, or of ``LANGFLOW_OTEL_SCRAPE_HOSTS``; beyond the loopback address also a name without
        a dot, or in a domain that is not public, as other machines and containers have them."""
        if self._any or not authority.strip():
            return True
        host = _host_of(authority)
        if host in self._names or host.endswith(".localhost") or _is_address(host):
            return True
        return not self._only_here and ("." not in host or host.endswith(_LOCAL_DOMAINS))


def _host_of(authority: str) -> str:
    text = authority.strip().lower()
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0].removesuffix(".")


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _is_loopback(address: str) -> bool:
    return _is_address(address) and ipaddress.ip_address(address).is_loopback

"""What the SDK and its exporters accept as the texts of standard variables.

Each function gives the text as every version of the SDK (1.30 and later) reads it, and raises ValueError or OSError for
one that some of them refuse, or take for something else.

What takes long to import is imported where it is needed: only few set these variables, and each component that says
``from langflow_otel import traced`` comes by here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from langflow_otel._settings.secret_files import is_readable, read_secret

LARGEST: Final = 2**31 - 1


class PartlyAcceptedError(ValueError):
    """Some entries of a list are not accepted.

    Attributes:
        used: The text without them.
    """

    def __init__(self, text: str, used: str) -> None:
        super().__init__(text)
        self.used = used


def any_text(text: str) -> str:
    return text


def nothing(text: str) -> str:
    raise ValueError(text)


def number(kind: Callable[[str], float], lowest: float, highest: float) -> Callable[[str], str]:
    """A number between two others, which are accepted too."""

    def parse(text: str) -> str:
        value = kind(text)
        if not lowest <= value <= highest:
            raise ValueError(text)
        return str(value).removesuffix(".0")

    return parse


def one_of(*choices: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text.strip().lower() not in choices:
            raise ValueError(text)
        return text.strip().lower()

    return parse


# Names of what is installed


def installed(group: str) -> Callable[[str], str]:
    """One name that an installed package has as an entry point of the group."""

    def parse(text: str) -> str:
        if not _loads(group, text.strip()):
            raise ValueError(text)
        return text.strip()

    return parse


def _loads(group: str, name: str) -> bool:
    from importlib.metadata import entry_points

    for entry in entry_points(group=group, name=name):
        try:
            entry.load()
        except Exception:  # noqa: BLE001 - another package's module may raise anything when it is imported
            return False
        return True
    return False


def propagators(text: str) -> str:
    names = _parts(text)
    if "none" in (name.lower() for name in names):
        return "none"
    if not names or not all(_is_propagator(name) for name in names):
        raise ValueError(text)
    return ",".join(names)


def _is_propagator(name: str) -> bool:
    return name in ("tracecontext", "baggage") or _loads("opentelemetry_propagator", name)


_DETECTORS: Final = "opentelemetry_resource_detector"


def detectors(text: str) -> str:
    """Resource detectors, without those that are not installed. ``*`` is spelled out: not each SDK knows it."""
    from importlib.metadata import entry_points

    every = {entry.name for entry in entry_points(group=_DETECTORS)}
    names = [name for part in _parts(text) for name in (sorted(every - {"otel"}) if part == "*" else [part])]
    return _without_others(text, names, [name for name in names if _loads(_DETECTORS, name)])


# Lists


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _without_others(text: str, parts: Sequence[str], good: Sequence[str]) -> str:
    used = ",".join(good)
    if len(good) < len(parts):
        raise PartlyAcceptedError(text, used)
    return used


def resource_attributes(text: str) -> str:
    parts = _parts(text)
    return _without_others(text, parts, [part for part in parts if _is_attribute(part)])


def _is_attribute(part: str) -> bool:
    try:
        # Bytes that are no text reach us as halves of surrogates, which no exporter can send.
        part.encode()
    except UnicodeEncodeError:
        return False
    name, equals, _ = part.partition("=")
    return bool(equals and name.strip())


_HEADER: Final = re.compile(r"([\w.-]+)[ \t]*=[ \t]*([ !#-+\--:<-\[\]-~]*)", re.ASCII)
"""What the SDK takes for a header (in its liberal mode) and gRPC can send, too."""


def is_header(part: str) -> bool:
    """True for ``name=value`` that can be sent as a header, over HTTP and gRPC."""
    found = _HEADER.fullmatch(part)
    if found is None:
        return False
    value = unquote(found[2])
    return value.isascii() and (value.isprintable() or not value)


def headers(text: str) -> str:
    parts = _parts(text)
    return _without_others(text, parts, [part for part in parts if is_header(part)])


def status_codes(text: str) -> str:
    from grpc import StatusCode  # type: ignore[import-untyped]

    names = [name.upper() for name in _parts(text)]
    if not names or not all(name in StatusCode.__members__ for name in names):
        raise ValueError(text)
    return ",".join(names)


def patterns(text: str) -> str:
    try:
        re.compile("|".join(_parts(text)))
    except (re.error, OverflowError, RecursionError) as exc:
        raise ValueError(text) from exc
    return text


# Files


def readable_file(text: str) -> str:
    if not is_readable(Path(text)):
        raise ValueError(text)
    return text


def authority(text: str) -> str:
    """A file with certificates to trust."""
    import ssl

    read_secret(Path(text))  # OpenSSL would read a device or a pipe without an end.
    ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(text)
    return text


def are_a_pair(chain: str, key: str) -> bool:
    """True if a client can show itself with this certificate and this private key.

    Args:
        key: Empty where the certificate's file holds it.
    """

    import ssl

    def no_password() -> str:
        # Without this, OpenSSL would ask for one at the terminal, and wait.
        raise ValueError("the private key is encrypted")

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(chain, key or None, no_password)
    except (OSError, ValueError):  # ssl.SSLError is the former.
        return False
    return True

"""Bearer token and TLS certificate of the scrape endpoint, read again when their files change."""

from __future__ import annotations

import functools
import hmac
import ssl
from pathlib import Path
from typing import Final

from langflow_otel._settings.secret_files import read_secret
from langflow_otel._settings.settings import ScrapeSettings
from langflow_otel._settings.watched_file import WatchedFile

_USE: Final = "for the scrape endpoint"


class BearerToken:
    """The token that a scrape must bring, from a file that may change."""

    def __init__(self, path: Path) -> None:
        self._file = WatchedFile({"LANGFLOW_OTEL_SCRAPE_TOKEN_FILE": path}, lambda: _token_in(path), _USE)

    def problem(self, authorization: str | None) -> str | None:
        """Why this ``Authorization`` header is refused; None if it is right. Takes the same time for any
        wrong token of the same length."""
        token: bytes | None = self._file.get()
        if token is None:
            return "the token file cannot be read"
        scheme, _, given = (authorization or "").partition(" ")
        if scheme.lower() != "bearer":
            return "no bearer token"
        # http.server reads headers as Latin-1, whatever bytes they are.
        return None if hmac.compare_digest(given.strip().encode("latin-1", "replace"), token) else "wrong bearer token"


@functools.cache
def bearer_token(path: Path) -> BearerToken:
    """The one for this file."""
    return BearerToken(path)


def _token_in(path: Path) -> bytes:
    token = read_secret(path).strip()
    if not token:
        raise ValueError("it is empty")
    return token


def key_without_certificate(settings: ScrapeSettings) -> str | None:
    """What is said of a private key that no certificate goes with; None where there is none."""
    if settings.cert_file is not None or settings.key_file is None:
        return None
    return (
        "LANGFLOW_OTEL_SCRAPE_KEY_FILE: name its certificate in LANGFLOW_OTEL_SCRAPE_CERT_FILE; until then scrapes are "
        "answered in plain text"
    )


def certificate(chain: Path, key: Path | None) -> WatchedFile:
    """What makes connections TLS, as an ``ssl.SSLContext``."""

    def no_password() -> str:
        # Without this, OpenSSL would ask for one at the terminal, and wait.
        raise ValueError("the private key is encrypted")

    paths = {"LANGFLOW_OTEL_SCRAPE_CERT_FILE": chain}
    if key is not None:
        paths["LANGFLOW_OTEL_SCRAPE_KEY_FILE"] = key

    def load() -> ssl.SSLContext:
        for path in paths.values():
            read_secret(path)  # OpenSSL would read a device or a pipe without an end.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(chain, key, no_password)
        return context

    return WatchedFile(paths, load, _USE)

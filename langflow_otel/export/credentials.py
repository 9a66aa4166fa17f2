"""What the scrape endpoint needs from files that may change while it runs: its token, its certificate."""

from __future__ import annotations

import functools
import hmac
import logging
import ssl
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from langflow_otel.masking import shown_path
from langflow_otel.secret_files import read_secret

logger = logging.getLogger("langflow_otel")

_NOW_LASTS_NS = 2_000_000_000


class WatchedFile:
    """Something made from files; made again when one of them changes. Of a version that cannot be read,
    for example half of one, the log says so once, and what was there before stays in force.

    Without a lock, which a forked child might inherit locked: threads that come at once each read the files.

    Args:
        paths: Each file, by the variable that names it.
        read: Makes it. Raises OSError or ValueError if the files are no good.
    """

    def __init__(self, paths: Mapping[str, Path], read: Callable[[], Any]) -> None:
        self._variables = " and ".join(paths)
        self._paths = tuple(paths.values())
        self._read = read
        self._known: tuple[object, Any] = (None, None)
        self._settled = False
        self._told: object = None

    def get(self) -> Any:
        version = [self._version_of(path) for path in self._paths]
        if version != self._known[0] or not self._settled:
            try:
                self._settled = all(found is None or _is_old(found[0]) for found in version)
                self._known = (version, self._read())
            except (OSError, ValueError) as exc:
                if version != self._told:
                    self._told = version
                    self._say(str(exc))
        return self._known[1]

    def _say(self, why: str) -> None:
        # The error quotes the path, and some put there what belongs into the file.
        for path in map(str, self._paths):
            why = why.replace(path, shown_path(path))
        names = " and ".join(shown_path(str(path)) for path in self._paths)
        logger.warning("%s: %s cannot be used for the scrape endpoint: %s", self._variables, names, why)

    @staticmethod
    def _version_of(path: Path) -> tuple[int, ...] | None:
        try:
            found = path.stat()
        except OSError:
            return None
        # The time of the last change of all cannot be set: a file may be put in place with the times of another.
        return found.st_ctime_ns, found.st_mtime_ns, found.st_size, found.st_ino


def _is_old(changed_ns: int) -> bool:
    """True if a change after this one has another time: what a file system calls now may last for some time."""
    return time.time_ns() - changed_ns > _NOW_LASTS_NS


class BearerToken:
    """The token that a scrape must bring, from a file that may change."""

    def __init__(self, path: Path) -> None:
        self._file = WatchedFile({"LANGFLOW_OTEL_SCRAPE_TOKEN_FILE": path}, lambda: _token_in(path))

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

    return WatchedFile(paths, load)

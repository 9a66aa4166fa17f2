"""The scrape endpoint: a small HTTP server of its own, in threads of its own, never on the event loop."""

from __future__ import annotations

import errno
import hmac
import logging
import socket
import ssl
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeVar

from langflow_otel.export.scrape import Scrape
from langflow_otel.recording.guard import Guard
from langflow_otel.settings import ScrapeSettings

logger = logging.getLogger("langflow_otel")

METRICS_PATH = "/metrics"
HEALTH_PATH = "/-/healthy"
_PATIENCE_S = 10.0
_MAX_CONNECTIONS = 32

_PAGE = Guard("metrics.scrape")

T = TypeVar("T")


class WatchedFile:
    """Something made from files; made again when one of them changes. Of a version that cannot be read,
    for example half of one, the log says so once, and what was there before stays in force.

    Args:
        read: Makes it. Raises OSError or ValueError if the files are no good.
    """

    def __init__(self, paths: tuple[Path, ...], read: Callable[[], T]) -> None:
        self._paths = paths
        self._read = read
        self._version: object = None
        self._value: Any = None
        self._lock = threading.Lock()

    def get(self) -> Any:
        with self._lock:
            version = [self._version_of(path) for path in self._paths]
            if version != self._version:
                self._version = version
                try:
                    self._value = self._read()
                except (OSError, ValueError) as exc:
                    names = " and ".join(map(str, self._paths))
                    logger.warning("%s cannot be used for the scrape endpoint: %s", names, exc)
            return self._value

    @staticmethod
    def _version_of(path: Path) -> object:
        try:
            found = path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino


class BearerToken:
    """The token that a scrape must bring, from a file that may change."""

    def __init__(self, path: Path) -> None:
        self._file = WatchedFile((path,), lambda: _token_in(path))

    def problem(self, authorization: str | None) -> str | None:
        """Why this ``Authorization`` header is refused; None if it is right. Takes the same time for any
        wrong token of the same length."""
        token: bytes | None = self._file.get()
        if token is None:
            return "the token file cannot be read"
        scheme, _, given = (authorization or "").partition(" ")
        if scheme.lower() != "bearer":
            return "no bearer token"
        return None if hmac.compare_digest(given.strip().encode(), token) else "wrong bearer token"


def _token_in(path: Path) -> bytes:
    token = path.read_bytes().strip()
    if not token:
        raise ValueError("it is empty")
    return token


class ScrapeEndpoint:
    """Serves ``/metrics`` and ``/-/healthy``.

    Args:
        settings: Address, token, certificate.
        scrape: Makes the page.

    Raises:
        OSError: The address cannot be listened on.
    """

    def __init__(self, settings: ScrapeSettings, scrape: Scrape) -> None:
        self._settings = settings
        self._server = _Server(settings, scrape)
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, name="langflow-otel-scrape", daemon=True
        )
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        """The address of the metrics page."""
        host = f"[{self._settings.host}]" if ":" in self._settings.host else self._settings.host
        scheme = "https" if self._settings.cert_file is not None else "http"
        return f"{scheme}://{host}:{self.port}{METRICS_PATH}"

    def close(self) -> None:
        """Stop serving and free the port."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(_PATIENCE_S)

    def abandon(self) -> None:
        """In a forked child, which has the socket but no thread: let go of the port, it is the parent's."""
        self._server.socket.close()


def port_problem(settings: ScrapeSettings, error: OSError) -> str:
    """One line on an address that cannot be listened on."""
    reason = "something else listens there" if error.errno == errno.EADDRINUSE else error.strerror or str(error)
    return (
        f"The scrape endpoint cannot listen on {settings.host}:{settings.port}: {reason}. It is tried again; set "
        "OTEL_EXPORTER_PROMETHEUS_HOST and OTEL_EXPORTER_PROMETHEUS_PORT to another address. Everything else works."
    )


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 16

    def __init__(self, settings: ScrapeSettings, scrape: Scrape) -> None:
        # What the host resolves to decides between IPv4 and IPv6; "localhost" means IPv4 where it can.
        found = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = min(found, key=lambda each: each[0] != socket.AF_INET)
        self.address_family = family
        self.scrape = scrape
        self.token = None if settings.token_file is None else BearerToken(settings.token_file)
        self._tls = None if settings.cert_file is None else _tls(settings.cert_file, settings.key_file)
        self._places = threading.BoundedSemaphore(_MAX_CONNECTIONS)
        super().__init__(address[:2], _Handler)  # type: ignore[arg-type]  # typeshed knows IPv4 only

    def server_bind(self) -> None:
        # Not HTTPServer's: it asks a name server for the name of the address.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._places.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(self._secured(request, client_address), client_address)
        except _NotSecuredError:
            self.shutdown_request(request)
        finally:
            self._places.release()

    def _secured(self, request: Any, client_address: Any) -> Any:
        """The connection inside TLS. The handshake is made here, in the connection's own thread: a client
        that is slow about it must not keep others waiting."""
        if self._tls is None:
            return request
        context: ssl.SSLContext | None = self._tls.get()
        try:
            if context is None:
                raise OSError("no usable certificate")
            request.settimeout(_PATIENCE_S)
            return context.wrap_socket(request, server_side=True)
        except OSError as exc:
            logger.warning("Scrape refused: no TLS from %s: %s", client_address[0], exc)
            raise _NotSecuredError from exc

    def handle_error(self, request: Any, client_address: Any) -> None:
        # A client that went away. socketserver would print a traceback.
        logger.debug("The scrape of %s broke off", client_address[0], exc_info=True)


class _NotSecuredError(Exception):
    """The client did not get through the TLS handshake."""


def _tls(certificate: Path, key: Path | None) -> WatchedFile:
    def load() -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(certificate, key)
        return context

    return WatchedFile((certificate,) if key is None else (certificate, key), load)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "langflow-otel"
    sys_version = ""
    timeout = _PATIENCE_S
    server: _Server

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == HEALTH_PATH:
            self._answer(HTTPStatus.OK, "text/plain; charset=utf-8", b"OK\n")
        elif path != METRICS_PATH:
            self._answer(HTTPStatus.NOT_FOUND, "text/plain; charset=utf-8", b"The metrics are at /metrics\n")
        elif self._is_allowed(path):
            self._send_page()

    do_HEAD = do_GET  # noqa: N815 - the base class's way to name them

    def _is_allowed(self, path: str) -> bool:
        token = self.server.token
        problem = None if token is None else token.problem(self.headers.get("Authorization"))
        if problem is None:
            return True
        logger.warning("Scrape refused: 401 %s, %s %s from %s", problem, self.command, path, self.client_address[0])
        self._answer(
            HTTPStatus.UNAUTHORIZED,
            "text/plain; charset=utf-8",
            b"A bearer token is needed\n",
            ("WWW-Authenticate", 'Bearer realm="metrics"'),
        )
        return False

    def _send_page(self) -> None:
        page = None
        with _PAGE:
            page = self.server.scrape.page(self.headers.get("Accept", ""), self.headers.get("Accept-Encoding", ""))
        if page is None:
            self._answer(HTTPStatus.INTERNAL_SERVER_ERROR, "text/plain; charset=utf-8", b"See the log\n")
        else:
            self._answer(HTTPStatus.OK, page.content_type, page.body, *page.headers)

    def _answer(self, status: HTTPStatus, content_type: str, body: bytes, *headers: tuple[str, str]) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Scrapes that were answered are not worth a line."""

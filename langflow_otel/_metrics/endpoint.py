"""The scrape endpoint: a small HTTP server of its own, in threads of its own, never on the event loop."""

from __future__ import annotations

import errno
import logging
import os
import socket
import ssl
import threading
import time
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BufferedIOBase
from typing import Any

from langflow_otel._guard import Guard
from langflow_otel._metrics.connections import Place, Places
from langflow_otel._metrics.credentials import bearer_token, certificate, key_without_certificate
from langflow_otel._metrics.scrape import Scrape
from langflow_otel._metrics.scrape_answer import Answer, ScrapeRequest, answer_to, refused_host
from langflow_otel._metrics.scrape_request import AllowedHosts, framing_problem, has_body, target_of
from langflow_otel._settings.masking import shown_path
from langflow_otel._settings.settings import ScrapeSettings

logger = logging.getLogger("langflow_otel")

METRICS_PATH = "/metrics"
HEALTH_PATH = "/-/healthy"
_PATIENCE_S = 10.0
"""Socket timeout for reads and writes, in seconds."""
_REQUEST_LASTS_S = 30.0
"""At most, from the connection or the answer before: a client may be slow without ever being silent."""
_PAUSE_S = 0.1
_MAX_CONNECTIONS = 32

_PAGE = Guard("metrics.scrape")


class ScrapeEndpoint:
    """Serves ``/metrics`` and ``/-/healthy``.

    Args:
        settings: Address, token, certificate.
        scrape: Makes the page.

    Raises:
        OSError: The address cannot be listened on.
        UnicodeError: The host cannot be a name.
    """

    def __init__(self, settings: ScrapeSettings, scrape: Scrape) -> None:
        self._settings = settings
        self._server = _Server(settings, scrape)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(_PAUSE_S,), name="langflow-otel-scrape", daemon=True
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


def port_problem(settings: ScrapeSettings, error: Exception) -> str:
    """One line on an address that cannot be listened on."""
    taken = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
    reason = "something else listens there" if taken else getattr(error, "strerror", None) or str(error)
    return (
        f"The scrape endpoint cannot listen on {settings.host}:{settings.port}: {reason}. It is tried again; set "
        "OTEL_EXPORTER_PROMETHEUS_HOST and OTEL_EXPORTER_PROMETHEUS_PORT to another address. Everything else works."
    )


def listening_address(settings: ScrapeSettings) -> tuple[socket.AddressFamily, Any]:
    """What to bind a socket of this family to. Raises OSError or UnicodeError if the host cannot be found."""
    # What the host resolves to decides between IPv4 and IPv6; "localhost" means IPv4 where it can.
    found = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, _, _, _, address = min(found, key=lambda each: each[0] != socket.AF_INET)
    return family, address


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    # Who is let in is answered or turned away at once. Beyond a full queue the kernel drops what is sent, and a client
    # that goes on sending waits for a minute.
    request_queue_size = 1024

    def __init__(self, settings: ScrapeSettings, scrape: Scrape) -> None:
        self.address_family, address = listening_address(settings)
        self.scrape = scrape
        self.settings = settings
        self.places = Places(_MAX_CONNECTIONS, _REQUEST_LASTS_S)
        self._tls = None if settings.cert_file is None else certificate(settings.cert_file, settings.key_file)
        super().__init__(address, _Handler)
        self.hosts = AllowedHosts(settings, self.server_name)
        # Read now: what is wrong with the files is said at the start, and not with the first scrape.
        if settings.token_file is not None:
            bearer_token(settings.token_file).problem(None)
        if self._tls is not None:
            self._tls.get()
        problem = key_without_certificate(settings)
        if problem:
            logger.warning("%s (%s is the key of no certificate)", problem, shown_path(str(settings.key_file)))

    def server_bind(self) -> None:
        # Not HTTPServer's: it asks a name server for the name of the address.
        if os.name == "posix":  # On Windows, it lets two servers have one port.
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def server_close(self) -> None:
        super().server_close()
        self.places.close()

    def get_request(self) -> tuple[socket.socket, Any]:
        try:
            return super().get_request()
        except OSError as exc:
            if exc.errno in (errno.EMFILE, errno.ENFILE):
                # The connection stays in the queue; asking again at once would only keep the processor busy.
                time.sleep(_PAUSE_S)
            raise

    def process_request(self, request: Any, client_address: Any) -> None:
        place = self.places.take(request)
        if place is None:
            self.shutdown_request(request)
            return
        try:
            super().process_request(place, client_address)  # type: ignore[arg-type]  # see process_request_thread
        except Exception:  # There is no room for another thread.
            self.places.give_back(place)
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        place: Place = request
        try:
            # In the connection's own thread: a client that is slow to shake hands must not keep others waiting.
            if self._tls is not None:
                _secure(place, self._tls.get())
            try:
                self.finish_request(place, client_address)  # type: ignore[arg-type]  # see _Handler.setup
            except Exception:  # noqa: BLE001 - as the base class has it
                self.handle_error(place, client_address)
        except (ConnectionError, ssl.SSLEOFError):
            logger.debug("%s went away before the TLS handshake", client_address[0])
        except (OSError, ValueError) as exc:
            logger.log(
                logging.DEBUG if place.is_cut else logging.WARNING,
                "Scrape refused: no TLS from %s: %s",
                client_address[0],
                exc,
            )
        finally:
            self.shutdown_request(place.socket)
            self.places.give_back(place)

    def service_actions(self) -> None:
        self.places.cut_late()

    def handle_error(self, request: Any, client_address: Any) -> None:
        # A client that went away. socketserver would print a traceback.
        logger.debug("The scrape of %s broke off", client_address[0], exc_info=True)


def _secure(place: Place, context: ssl.SSLContext | None) -> None:
    if context is None:
        raise OSError("no usable certificate")
    place.socket.settimeout(_PATIENCE_S)
    # Known before the handshake: a client may draw it out.
    place.secure(context.wrap_socket(place.socket, server_side=True, do_handshake_on_connect=False))
    place.socket.do_handshake()  # type: ignore[attr-defined]  # it is an SSLSocket now


class _Lines:
    """The lines of requests; knows whether one had a carriage return in it, which Python takes for the end of a line
    and a proxy may take for a part of it."""

    def __init__(self, file: BufferedIOBase) -> None:
        self._file = file
        self.has_bare_return = False

    def readline(self, limit: int = -1) -> bytes:
        line = self._file.readline(limit)
        self.has_bare_return |= b"\r" in line.removesuffix(b"\n").removesuffix(b"\r")
        return line

    def close(self) -> None:
        self._file.close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "langflow-otel"
    sys_version = ""
    disable_nagle_algorithm = True
    timeout = _PATIENCE_S
    server: _Server

    def setup(self) -> None:
        self.place: Place = self.request
        self.request = self.place.socket
        super().setup()
        self._lines = _Lines(self.rfile)
        self.rfile = self._lines  # type: ignore[assignment]  # no more than these two methods is used of it

    def parse_request(self) -> bool:
        if not super().parse_request():
            return False
        problem = "A line is malformed" if self._lines.has_bare_return else framing_problem(self.headers)
        if problem:
            self.send_error(HTTPStatus.BAD_REQUEST, problem)
        return not problem

    def handle_expect_100(self) -> bool:
        # No body is read.
        return True

    def do_GET(self) -> None:
        self.place.begin_answer()
        # A body is not read; it must not be taken for the next request, of another client behind a proxy.
        self.close_connection = self.close_connection or has_body(self.headers)
        path, host = target_of(self.path, self.headers.get("Host"))
        if path == HEALTH_PATH:
            answer = Answer(HTTPStatus.OK, b"OK\n")
        elif path != METRICS_PATH:
            answer = Answer(HTTPStatus.NOT_FOUND, b"The metrics are at /metrics\n")
        else:
            request = ScrapeRequest(self.command, path, self.client_address[0], self.headers.get)
            if self.server.hosts.allow(host):
                answer = answer_to(request, self.server.scrape, self.server.settings, _PAGE)
            else:
                answer = refused_host(request, host)
        self._send(answer)
        asked_well = answer.status == HTTPStatus.OK
        self.place.end_answer(trusted=asked_well and (path == METRICS_PATH or self.server.settings.token_file is None))

    do_HEAD = do_GET  # noqa: N815 - the base class's way to name them

    def _send(self, answer: Answer) -> None:
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(answer.body)))
        for name, value in answer.headers:
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Scrapes that were answered are not worth a line."""

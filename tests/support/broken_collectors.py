"""Collectors on 127.0.0.1 that do what collectors should not, over HTTP and over gRPC."""

from __future__ import annotations

import ipaddress
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat


@dataclass(frozen=True)
class Pem:
    """A certificate that nobody has signed, and its key."""

    chain: Path
    key: Path


def make_pem(folder: Path, name: str = "localhost", *, expired: bool = False) -> Pem:
    """Of this host, and of 127.0.0.1 if it is ``localhost``; valid for two days, or until yesterday."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    names: list[x509.GeneralName] = [x509.DNSName(name)]
    if name == "localhost":
        names.append(x509.IPAddress(ipaddress.ip_address("127.0.0.1")))
    ends = datetime.now(timezone.utc) + timedelta(days=-1 if expired else 2)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(ends - timedelta(days=4))
        .not_valid_after(ends)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = Pem(folder / "chain.pem", folder / "key.pem")
    pem.chain.write_bytes(certificate.public_bytes(Encoding.PEM))
    pem.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return pem


@contextmanager
def nobody() -> Iterator[str]:
    """An address on which nothing listens."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        # Bound and not listening: it refuses, and nobody else can have it meanwhile.
        yield f"127.0.0.1:{reserved.getsockname()[1]}"


@contextmanager
def silent() -> Iterator[str]:
    """Takes connections, reads nothing, says nothing."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(50)
        yield f"127.0.0.1:{listening.getsockname()[1]}"


@contextmanager
def gibberish() -> Iterator[str]:
    """Answers each connection with a line that is no HTTP."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(50)

        def answer() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(65_536)
                    connection.sendall(b"220 mail.example.com ESMTP\r\n")

        threading.Thread(target=answer, daemon=True).start()
        yield f"127.0.0.1:{listening.getsockname()[1]}"
        listening.shutdown(socket.SHUT_RDWR)


Respond = Callable[[str], tuple[int, Mapping[str, str], bytes]]


@contextmanager
def http_server(
    status: int | Respond = 200,
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
    *,
    pem: Pem | None = None,
    mutual: bool = False,
) -> Iterator[str]:
    """Answers each POST with this status, or as its path asks for; ``mutual`` asks for a certificate as well."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            answer = status(self.path) if callable(status) else (status, headers or {}, body)
            self.send_response(answer[0])
            for name, value in {"Content-Length": str(len(answer[2])), **answer[1]}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer[2])

        def log_message(self, format: str, *args: Any) -> None: ...  # noqa: A002

    class Server(ThreadingHTTPServer):
        # In the connection's own thread: what is no handshake must not stop the server.
        def finish_request(self, request: Any, client_address: Any) -> None:
            if pem is not None:
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                context.load_cert_chain(pem.chain, pem.key)
                if mutual:
                    context.verify_mode = ssl.CERT_REQUIRED
                    context.load_verify_locations(pem.chain)
                request = context.wrap_socket(request, server_side=True)
            super().finish_request(request, client_address)

        def handle_error(self, request: Any, client_address: Any) -> None: ...

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@dataclass
class _Answers(grpc.GenericRpcHandler):  # type: ignore[misc]
    """The same to every method, whatever it is."""

    code: grpc.StatusCode = grpc.StatusCode.OK
    details: str = ""
    body: bytes = b""
    only: str = ""
    seen: list[Mapping[str, str]] = field(default_factory=list)

    def service(self, details: Any) -> Any:
        if self.only not in details.method:
            return None

        def answer(request: bytes, context: Any) -> bytes:
            if self.code is not grpc.StatusCode.OK:
                context.abort(self.code, self.details)
            return self.body

        return grpc.unary_unary_rpc_method_handler(answer)


@contextmanager
def grpc_server(
    code: grpc.StatusCode = grpc.StatusCode.OK,
    details: str = "",
    body: bytes = b"",
    *,
    only: str = "",
    pem: Pem | None = None,
    mutual: bool = False,
) -> Iterator[str]:
    """Answers each call with this code or this message; methods without ``only`` in their name are not there."""
    server = grpc.server(ThreadPoolExecutor(2), handlers=[_Answers(code, details, body, only)])
    if pem is None:
        port = server.add_insecure_port("127.0.0.1:0")
    else:
        pair = pem.key.read_bytes(), pem.chain.read_bytes()
        credentials = grpc.ssl_server_credentials([pair], pair[1] if mutual else None, require_client_auth=mutual)
        port = server.add_secure_port("127.0.0.1:0", credentials)
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()

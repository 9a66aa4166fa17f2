"""The scrape endpoint over real sockets: what it answers, whom it refuses, and what cannot bring it down."""

from __future__ import annotations

import errno
import gzip
import hmac
import http.client
import logging
import os
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from waiting import wait_until

from langflow_otel import _guard as guard
from langflow_otel._metrics import connections, credentials
from langflow_otel._metrics import endpoint as prometheus
from langflow_otel._metrics.catalogue import COMPONENT_RETRIES, EVENT_LOOP_DELAY
from langflow_otel._metrics.connections import Place, Places
from langflow_otel._metrics.credentials import bearer_token
from langflow_otel._metrics.endpoint import ScrapeEndpoint, port_problem
from langflow_otel._metrics.instruments import Instruments
from langflow_otel._metrics.scrape import Page, Scrape
from langflow_otel._metrics.scrape_request import AllowedHosts
from langflow_otel._metrics.store import MemoryStore
from langflow_otel._process.metrics import MetricsPipeline
from langflow_otel._settings import watched_file
from langflow_otel._settings.settings import ScrapeSettings, Settings
from tests.support.recording import at_once

HOST = "127.0.0.1"
Headers = dict[str, str]


@pytest.fixture
def scrape() -> Scrape:
    store = MemoryStore()
    instruments = Instruments(store, None)
    instruments.recording(COMPONENT_RETRIES, "flow", "type").add(3)
    instruments.recording(EVENT_LOOP_DELAY).record(0.002)
    return Scrape(store, own_pid=1, window_s=60, cores=1.0, read=lambda pids: [], info={"service.name": "shop"})


Serve = Callable[..., ScrapeEndpoint]


@pytest.fixture
def serve(scrape) -> Iterator[Serve]:
    opened: list[ScrapeEndpoint] = []

    def serve(host: str = HOST, **settings: Any) -> ScrapeEndpoint:
        opened.append(ScrapeEndpoint(ScrapeSettings(host, settings.pop("port", 0), **settings), scrape))
        return opened[-1]

    yield serve
    for endpoint in opened:
        endpoint.close()


@pytest.fixture
def endpoint(serve) -> ScrapeEndpoint:
    return serve()


@pytest.fixture(autouse=True)
def _nothing_is_left(monkeypatch) -> Iterator[None]:
    monkeypatch.setattr(prometheus, "_PAUSE_S", 0.005)  # close() waits for it.
    yield
    bearer_token.cache_clear()


def ask(
    endpoint: ScrapeEndpoint,
    path: str = "/metrics",
    method: str = "GET",
    host: str = HOST,
    context: ssl.SSLContext | None = None,
    **headers: str,
) -> tuple[int, Headers, bytes]:
    connection: http.client.HTTPConnection
    if context is None:
        connection = http.client.HTTPConnection(host, endpoint.port, timeout=20)
    else:
        connection = http.client.HTTPSConnection(host, endpoint.port, timeout=20, context=context)
    try:
        connection.request(method, path, headers={name.replace("_", "-"): text for name, text in headers.items()})
        answer = connection.getresponse()
        return answer.status, {name.lower(): text for name, text in answer.getheaders()}, answer.read()
    finally:
        connection.close()


def status(endpoint: ScrapeEndpoint, **kwargs: Any) -> int:
    return ask(endpoint, **kwargs)[0]


@contextmanager
def connected(endpoint: ScrapeEndpoint) -> Iterator[socket.socket]:
    with socket.create_connection((HOST, endpoint.port), timeout=20) as client:
        yield client


def all_from(client: socket.socket) -> bytes:
    """What comes until the other end closes."""
    found = b""
    with suppress(ConnectionError):
        while part := client.recv(65536):
            found += part
    return found


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


# What it answers


def test_the_page_as_text(endpoint, scrape):
    status, headers, body = ask(endpoint)

    assert status == 200
    assert headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert headers["content-length"] == str(len(body))
    assert headers["vary"] == "Accept, Accept-Encoding"
    assert "content-encoding" not in headers
    found = {family.name: family for family in parse_text(body.decode())}
    assert found["langflow_component_retries"].samples[0].value == 3.0
    assert found["target_info"].samples[0].labels == {"service_name": "shop"}


def test_the_page_as_openmetrics(endpoint):
    status, headers, body = ask(endpoint, Accept="application/openmetrics-text;version=1.0.0,text/plain;q=0.1")

    assert status == 200
    assert headers["content-type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    assert body.endswith(b"\n# EOF\n")
    assert "langflow_component_retries" in {family.name for family in parse_openmetrics(body.decode())}


def test_the_page_compressed(endpoint):
    _, headers, body = ask(endpoint, Accept_Encoding="gzip")

    assert headers["content-encoding"] == "gzip"
    assert b"langflow_component_retries_total" in gzip.decompress(body)
    _, headers, body = ask(endpoint, Accept_Encoding="gzip;q=0")
    assert "content-encoding" not in headers
    assert b"langflow_component_retries_total" in body


@pytest.mark.parametrize("path", ["/metrics", "/-/healthy", "/nowhere"])
def test_head_is_get_without_the_body(endpoint, path: str):
    status, headers, body = ask(endpoint, path)
    of_head = ask(endpoint, path, "HEAD")

    assert of_head[0] == status
    assert of_head[1]["content-length"] == headers["content-length"] == str(len(body))
    with connected(endpoint) as client:
        client.sendall(f"HEAD {path} HTTP/1.0\r\n\r\n".encode())
        assert all_from(client).endswith(b"\r\n\r\n")


@pytest.mark.parametrize("path", ["/", "/metric", "/metrics/", "/metrics/..", "/favicon.ico", "/%6detrics"])
def test_anything_else_is_not_there(endpoint, path: str):
    assert ask(endpoint, path)[::2] == (404, b"The metrics are at /metrics\n")


def test_a_query_does_not_matter(endpoint):
    assert status(endpoint, path="/metrics?name%5B%5D=up&x=1") == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "metrics"])
def test_nothing_can_be_done_but_reading(endpoint, method: str):
    assert status(endpoint, method=method) == 501


def test_the_health_check_needs_no_token(serve, tmp_path):
    (tmp_path / "token").write_text("secret")
    endpoint = serve(token_file=tmp_path / "token")

    assert ask(endpoint, "/-/healthy")[::2] == (200, b"OK\n")
    assert status(endpoint) == 401


def test_one_connection_serves_many_scrapes(endpoint):
    connection = http.client.HTTPConnection(HOST, endpoint.port, timeout=20)
    connection.connect()
    first = connection.sock
    for path in ("/metrics", "/nowhere", "/-/healthy", "/metrics"):
        connection.request("GET", path)
        answer = connection.getresponse()
        answer.read()
        assert answer.getheader("Connection") is None
        assert connection.sock is first
    connection.close()


def test_an_old_client_gets_its_page_and_an_end(endpoint):
    with connected(endpoint) as client:
        client.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")

        assert b"langflow_component_retries_total" in all_from(client)


@pytest.mark.parametrize("header", [b"Content-Length: %d", b"Transfer-Encoding: chunked\r\nX: %d"])
def test_a_body_is_not_taken_for_the_next_request(endpoint, header: bytes):
    """Else it would be answered to the next client on a proxy's connection."""
    hidden = b"GET /nowhere HTTP/1.1\r\n\r\n"
    with connected(endpoint) as client:
        client.sendall(b"GET /-/healthy HTTP/1.1\r\n" + header % len(hidden) + b"\r\n\r\n" + hidden)
        answer = all_from(client)

    assert answer.count(b"HTTP/1.1 ") == 1
    assert b"\r\nConnection: close\r\n" in answer


@pytest.mark.parametrize(
    "headers",
    [
        b"Content-Length: 0\r\nContent-Length: %d",
        b"Content-Length: %d\r\nContent-Length: %d",
        b"Content-Length : %d",
        b"Content-Length\t: %d",
        b" Content-Length: %d",
        b"X: y\r\njunk\r\nContent-Length: %d",
        b"junk\r\nContent-Length: %d",
        b"From junk\r\nContent-Length: %d",
        b"X: y\r\n Content-Length: %d",
        b"X: y\0\r\nContent-Length: %d",
        b"X: y\rContent-Length: %d",
        b"X: y\r\r\nContent-Length: %d",
        b": y\r\nContent-Length: %d",
        b"X\xe9: y\r\nContent-Length: %d",
        b"Content-Length: 0, %d",
        b"Content-Length: +%d",
        b"Content-Length: %d\r\nTransfer-Encoding: chunked",
        b"Host: a\r\nHost: b\r\nContent-Length: %d",
    ],
)
def test_a_request_without_a_certain_end_is_refused(endpoint, headers: bytes):
    """A proxy that reads it in another way would take the second request, or the answer to it, for another's."""
    hidden = b"GET /metrics HTTP/1.1\r\n\r\n"
    headers = headers.replace(b"%d", str(len(hidden)).encode())
    with connected(endpoint) as client:
        client.sendall(b"GET /-/healthy HTTP/1.1\r\n" + headers + b"\r\n\r\n" + hidden)
        answer = all_from(client)

    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"HTTP/1.1 ") == 1
    assert b"\r\nConnection: close\r\n" in answer
    assert b"langflow" not in answer.partition(b"\r\n\r\n")[2]


def test_no_body_is_asked_for(endpoint):
    with connected(endpoint) as client:
        client.sendall(b"GET /-/healthy HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
        assert all_from(client).startswith(b"HTTP/1.1 200 OK\r\n")


# The target and its host


@pytest.mark.parametrize(
    ("target", "status"),
    [
        (b"http://localhost/metrics", 200),
        (b"HTTP://127.0.0.1:9464/metrics?x=1", 200),
        (b"https://localhost/-/healthy", 200),
        (b"http://localhost/", 404),
        (b"http://localhost", 404),
        (b"http://[/metrics", 404),
        (b"http://attacker.example/metrics", 403),
        (b"//metrics", 200),
        (b"ftp://localhost/metrics", 404),
    ],
)
def test_absolute_targets_are_answered(endpoint, target: bytes, status: int):
    with connected(endpoint) as client:
        client.sendall(b"GET " + target + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert all_from(client).startswith(b"HTTP/1.1 %d " % status)


def test_a_strange_host_is_refused_with_one_line(endpoint, caplog):
    assert ask(endpoint, Host="attacker.example:9464")[::2] == (
        403,
        b"This host is not in LANGFLOW_OTEL_SCRAPE_HOSTS\n",
    )
    assert status(endpoint, path="http://localhost/metrics", Host="attacker.example") == 200
    assert status(endpoint, path="/-/healthy", Host="attacker.example") == 200
    assert status(endpoint, Host="attacker.example" * 50) == 403

    first, second = warnings(caplog)
    assert first == (
        "Scrape refused: 403 the host 'attacker.example:9464' is neither local nor in LANGFLOW_OTEL_SCRAPE_HOSTS, "
        "GET /metrics from 127.0.0.1"
    )
    assert len(second) < 300


@pytest.mark.parametrize("host", ["attacker.example", "localhost.attacker.example", "127.0.0.1.attacker.example"])
def test_with_a_token_any_host_may_be_named(serve, token, host: str):
    assert status(serve(token_file=token), Authorization="Bearer s3cret-token", Host=host) == 200
    assert status(serve(hosts=("*",)), Host=host) == 200
    assert status(serve(hosts=(host,)), Host=f"{host.upper()}:443") == 200
    assert status(serve(hosts=("other.example",)), Host=host) == 403


HERE = [
    "localhost",
    "localhost:9464",
    "LOCALHOST.",
    "metrics.localhost",
    "127.0.0.1:9464",
    "[::1]:9464",
    "[::1]",
    "",
    " ",
]
ADDRESSES = ["10.1.2.3:9464", "[fd00::1]:9464", "192.0.2.1"]
LOCAL_NAMES = ["langflow:9464", "langflow", "langflow.prod.svc:9464", "langflow.prod.svc.cluster.local:9464"]
LOCAL_NAMES += ["machine.local", "metadata.google.internal"]
FOREIGN = [
    "attacker.example",
    "attacker.example:9464",
    "local.example",
    "xlocalhost.com",
    "1.2.3.4.5",
    "a.b:c:localhost",
]


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        ("127.0.0.1", HERE + ADDRESSES),
        ("::1", HERE + ADDRESSES),
        ("0.0.0.0", HERE + ADDRESSES + LOCAL_NAMES),
        ("::", HERE + ADDRESSES + LOCAL_NAMES),
        ("10.1.2.3", HERE + ADDRESSES + LOCAL_NAMES),
    ],
)
def test_hosts_that_may_be_named(address: str, allowed: list[str]):
    """As a Prometheus names them: the target's address."""
    hosts = AllowedHosts(ScrapeSettings(), address)

    assert [host for host in HERE + ADDRESSES + LOCAL_NAMES + FOREIGN if hosts.allow(host)] == allowed
    assert hosts.allow(f"{socket.gethostname()}:9464")
    assert AllowedHosts(ScrapeSettings("Metrics.Example.com"), address).allow("metrics.example.com:9464")


@pytest.mark.parametrize(
    "nonsense",
    [
        b"\r\n\r\n",
        b"GET\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),
        b"GET /metrics HTTP/9.9\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\n" + b"x" * 70_000,
        b"GET /metrics HTTP/1.1\r\n" + b"a: b\r\n" * 200,
        b"GET /" + b"x" * 70_000,
        b"GET /metrics HTTP/1.1\r\nAuthorization: Bearer \xff\xfe\r\n no\r\n\r\n",
    ],
    ids=range(8),
)
def test_nonsense_is_harmless_and_not_worth_a_line(endpoint, caplog, capfd, nonsense: bytes):
    with connected(endpoint) as client, suppress(ConnectionError):
        client.sendall(nonsense)
        client.shutdown(socket.SHUT_WR)
        all_from(client)

    assert status(endpoint) == 200
    assert warnings(caplog) == []
    assert capfd.readouterr() == ("", "")


# The token


@pytest.fixture
def token(tmp_path) -> Path:
    path = tmp_path / "token"
    path.write_text("  s3cret-token\n")
    return path


def test_a_scrape_with_the_token_is_answered(serve, token, caplog):
    endpoint = serve(token_file=token)

    assert status(endpoint, Authorization="Bearer s3cret-token") == 200
    assert status(endpoint, Authorization="bearer   s3cret-token ") == 200
    assert status(endpoint, method="HEAD", Authorization="Bearer s3cret-token") == 200
    assert warnings(caplog) == []


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ({}, "no bearer token"),
        ({"Authorization": "Bearer wr0ng-token"}, "wrong bearer token"),
        ({"Authorization": "Bearer s3cret-tokenX"}, "wrong bearer token"),
        ({"Authorization": "Bearer s3cret-toke"}, "wrong bearer token"),
        ({"Authorization": "Bearer"}, "wrong bearer token"),
        ({"Authorization": "Bearer "}, "wrong bearer token"),
        ({"Authorization": "Basic s3cret-token"}, "no bearer token"),
        ({"Authorization": "s3cret-token"}, "no bearer token"),
        ({"Authorization": ""}, "no bearer token"),
        ({"X-Token": "s3cret-token"}, "no bearer token"),
    ],
)
def test_any_other_scrape_is_refused_with_one_line(serve, token, caplog, headers: Headers, reason: str):
    endpoint = serve(token_file=token)
    for _ in range(2):
        status, answered, body = ask(endpoint, "/metrics?token=s3cret-token", **headers)
        assert (status, body) == (401, b"A bearer token is needed\n")
        assert answered["www-authenticate"] == 'Bearer realm="metrics"'

    assert warnings(caplog) == [f"Scrape refused: 401 {reason}, GET /metrics from 127.0.0.1"] * 2
    assert "s3cret" not in caplog.text


def test_a_token_that_is_not_ascii(serve, tmp_path, caplog):
    (tmp_path / "token").write_text("gehölz-日本", "utf-8")
    endpoint = serve(token_file=tmp_path / "token")
    with connected(endpoint) as client:
        client.sendall(b"GET /metrics HTTP/1.0\r\nAuthorization: Bearer " + "gehölz-日本".encode() + b"\r\n\r\n")

        assert all_from(client).startswith(b"HTTP/1.1 200 OK\r\n")


def test_a_token_is_compared_in_constant_time(serve, token, monkeypatch):
    compared = []

    class Watched:
        @staticmethod
        def compare_digest(given: bytes, right: bytes) -> bool:
            compared.append((given, right))
            return hmac.compare_digest(given, right)

    monkeypatch.setattr(credentials, "hmac", Watched)
    endpoint = serve(token_file=token)
    assert status(endpoint, Authorization="Bearer guess") == 401

    assert compared[-1] == (b"guess", b"s3cret-token")


@pytest.mark.parametrize("how", ["written over", "renamed"])
def test_a_token_may_change_at_any_time(serve, token, how: str):
    endpoint = serve(token_file=token)
    assert status(endpoint, Authorization="Bearer s3cret-token") == 200
    if how == "renamed":
        (token.parent / "new").write_text("another")
        (token.parent / "new").rename(token)
    else:
        token.write_text("another")

    assert status(endpoint, Authorization="Bearer s3cret-token") == 401
    assert status(endpoint, Authorization="Bearer another") == 200


def test_a_token_of_the_same_size_and_time_is_noticed(serve, token):
    endpoint = serve(token_file=token)
    assert status(endpoint, Authorization="Bearer s3cret-token") == 200
    before = token.stat()
    token.write_text("  n3w001-token\n")
    os.utime(token, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = token.stat()
    assert (after.st_size, after.st_mtime_ns, after.st_ino) == (before.st_size, before.st_mtime_ns, before.st_ino)

    assert status(endpoint, Authorization="Bearer s3cret-token") == 401
    assert status(endpoint, Authorization="Bearer n3w001-token") == 200


def test_a_change_within_a_tick_of_the_file_system_is_noticed(tmp_path, monkeypatch):
    """Its clock may stand still for milliseconds, and elsewhere for two seconds."""
    path = tmp_path / "token"
    path.write_text("one")
    found = path.stat()
    monkeypatch.setattr(Path, "stat", lambda *_, **__: found)
    watched = watched_file.WatchedFile({"FILE": path}, path.read_text, "for a test")
    assert watched.get() == "one"
    path.write_text("two")
    assert watched.get() == "two"
    monkeypatch.setattr(watched_file.time, "time_ns", lambda: found.st_ctime_ns + 3_000_000_000)
    assert watched.get() == "two"
    path.write_text("six")
    assert watched.get() == "two"  # Known for long: then nothing is read until the file's times change.


def test_a_token_behind_links_that_are_turned_may_change(serve, tmp_path):
    """As Kubernetes mounts a secret."""
    for version in ("old", "new"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "token").write_text(version)
    (tmp_path / "data").symlink_to("old")
    (tmp_path / "token").symlink_to("data/token")
    endpoint = serve(token_file=tmp_path / "token")
    assert status(endpoint, Authorization="Bearer old") == 200
    (tmp_path / "turned").symlink_to("new")
    (tmp_path / "turned").rename(tmp_path / "data")

    assert status(endpoint, Authorization="Bearer new") == 200
    assert status(endpoint, Authorization="Bearer old") == 401


@pytest.mark.parametrize("content", [None, "", " \n"], ids=["missing", "empty", "blank"])
def test_without_a_token_in_its_file_nobody_is_let_in(serve, tmp_path, caplog, content: str | None):
    path = tmp_path / "token"
    if content is not None:
        path.write_text(content)
    endpoint = serve(token_file=path)
    # Said at the start, and not only when a scrape fails.
    (said,) = warnings(caplog)
    assert said.startswith(f"LANGFLOW_OTEL_SCRAPE_TOKEN_FILE: {path} cannot be used for the scrape endpoint: ")
    for authorization in ("", "Bearer ", "Bearer", "Bearer x"):
        assert status(endpoint, Authorization=authorization) == 401

    refused = "Scrape refused: 401 the token file cannot be read, GET /metrics from 127.0.0.1"
    assert warnings(caplog) == [said, *[refused] * 4]
    path.write_text("now")
    assert status(endpoint, Authorization="Bearer now") == 200


def test_a_token_in_place_of_its_path_is_not_in_the_log(serve, caplog):
    serve(token_file=Path("s3cret-t0ken-a1b2"))

    assert warnings(caplog) == [
        "LANGFLOW_OTEL_SCRAPE_TOKEN_FILE: *** cannot be used for the scrape endpoint: "
        "[Errno 2] No such file or directory: '***'",
    ]


def test_a_token_from_what_has_no_end_lets_nobody_in(serve, caplog):
    endpoint = serve(token_file=Path("/dev/zero"))

    assert warnings(caplog) == [
        "LANGFLOW_OTEL_SCRAPE_TOKEN_FILE: /dev/zero cannot be used for the scrape endpoint: "
        "[Errno 22] it is no regular file",
    ]
    assert status(endpoint, Authorization="Bearer ") == 401


def test_a_token_file_that_is_emptied_or_removed_does_not_open_the_door(serve, token, caplog):
    endpoint = serve(token_file=token)
    for change in (lambda: token.write_text(""), token.unlink):
        change()
        for _ in range(3):
            assert status(endpoint) == 401
            assert status(endpoint, Authorization="Bearer ") == 401
            # Half of a new file is no reason to lock everybody out.
            assert status(endpoint, Authorization="Bearer s3cret-token") == 200

    assert len([line for line in warnings(caplog) if "cannot be used" in line]) == 2


def test_an_error_that_passes_does_not_shut_the_door_for_ever(serve, token, monkeypatch, caplog):
    """Out of file descriptors, say: the file itself does not change afterwards."""
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", lambda *_: os.open("/", os.O_WRONLY))
        endpoint = serve(token_file=token)
        assert status(endpoint, Authorization="Bearer s3cret-token") == 401

    assert status(endpoint, Authorization="Bearer s3cret-token") == 200
    assert len([line for line in warnings(caplog) if "cannot be used" in line]) == 1


# TLS


@pytest.fixture(scope="session")
def made_certificates(tmp_path_factory) -> Path:
    """Two self-signed certificates with their keys, and the first key encrypted."""
    folder = tmp_path_factory.mktemp("certificates")
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs openssl")
    for name in ("a", "b"):
        subprocess.run(
            f"{openssl} req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout {name}.key "
            f"-out {name}.crt -days 2 -subj /CN={name} -addext subjectAltName=IP:127.0.0.1".split(),
            cwd=folder,
            check=True,
            capture_output=True,
        )
    encrypt = [openssl, "ec", "-in", "a.key", "-aes256", "-passout", "pass:secret", "-out", "encrypted.key"]
    subprocess.run(encrypt, cwd=folder, check=True, capture_output=True)
    return folder


@pytest.fixture
def certificates(made_certificates, tmp_path) -> Path:
    return Path(shutil.copytree(made_certificates, tmp_path / "certificates"))


def trusting(certificate: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(certificate))


@pytest.fixture
def secure(serve, certificates) -> ScrapeEndpoint:
    return serve(cert_file=certificates / "a.crt", key_file=certificates / "a.key")


def test_a_certificate_makes_it_https(secure, certificates, caplog):
    status, _, body = ask(secure, context=trusting(certificates / "a.crt"))

    assert status == 200
    assert b"langflow_component_retries_total" in body
    assert secure.url == f"https://127.0.0.1:{secure.port}/metrics"
    assert warnings(caplog) == []


def test_certificate_and_key_in_one_file(serve, certificates):
    both = certificates / "both.pem"
    both.write_text((certificates / "a.crt").read_text() + (certificates / "a.key").read_text())

    assert status(serve(cert_file=both), context=trusting(certificates / "a.crt")) == 200


def test_the_token_goes_with_tls(serve, certificates, token):
    endpoint = serve(cert_file=certificates / "a.crt", key_file=certificates / "a.key", token_file=token)
    context = trusting(certificates / "a.crt")

    assert status(endpoint, context=context) == 401
    assert status(endpoint, context=context, Authorization="Bearer s3cret-token") == 200


def test_a_certificate_may_be_replaced_at_any_time(secure, certificates, caplog):
    old, new = trusting(certificates / "a.crt"), trusting(certificates / "b.crt")
    assert status(secure, context=old) == 200
    # Between the two there is a moment when they do not fit: what was there before stays in force.
    (certificates / "b.crt").rename(certificates / "a.crt")
    assert status(secure, context=old) == 200
    (certificates / "b.key").rename(certificates / "a.key")

    assert status(secure, context=new) == 200
    with pytest.raises(ssl.SSLCertVerificationError):
        status(secure, context=old)
    assert len([line for line in warnings(caplog) if "cannot be used" in line]) == 1


def test_plain_http_on_the_tls_port_is_refused_with_one_line(secure, certificates, caplog):
    with connected(secure) as client:
        client.sendall(b"GET /metrics HTTP/1.1\r\nAuthorization: Bearer s3cret\r\n\r\n")
        assert b"langflow" not in all_from(client)
    wait_until(lambda: warnings(caplog) != [])
    assert status(secure, context=trusting(certificates / "a.crt")) == 200

    (line,) = warnings(caplog)
    assert line.startswith("Scrape refused: no TLS from 127.0.0.1: ")
    assert "s3cret" not in line


def test_who_only_looks_whether_the_port_is_open_is_not_worth_a_line(secure, certificates, caplog):
    """A health check of a load balancer, every other second."""
    for _ in range(3):
        with connected(secure):
            pass
    assert status(secure, context=trusting(certificates / "a.crt")) == 200

    wait_until(lambda: not secure._server.places)
    assert warnings(caplog) == []


@pytest.mark.parametrize("broken", ["missing", "garbage", "wrong key", "encrypted key"])
def test_without_a_usable_certificate_there_is_no_page(serve, certificates, caplog, broken: str):
    """Never in plain text instead; and never a question at the terminal."""
    chain, key = certificates / "a.crt", certificates / "a.key"
    if broken == "missing":
        chain.unlink()
    elif broken == "garbage":
        chain.write_text("garbage")
    elif broken == "wrong key":
        key = certificates / "b.key"
    else:
        key = certificates / "encrypted.key"
    endpoint = serve(cert_file=chain, key_file=key)
    (said,) = warnings(caplog)
    variables = "LANGFLOW_OTEL_SCRAPE_CERT_FILE and LANGFLOW_OTEL_SCRAPE_KEY_FILE"
    assert said.startswith(f"{variables}: {chain} and {key} cannot be used for the scrape endpoint: ")
    with connected(endpoint) as client:
        client.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
        assert all_from(client) == b""
    wait_until(lambda: len(warnings(caplog)) == 2)

    assert warnings(caplog)[1] == "Scrape refused: no TLS from 127.0.0.1: no usable certificate"


def test_who_is_silent_in_the_handshake_keeps_nobody_waiting(secure, certificates, monkeypatch, caplog):
    monkeypatch.setattr(prometheus, "_PATIENCE_S", 0.3)
    with connected(secure) as silent:
        assert status(secure, context=trusting(certificates / "a.crt")) == 200
        assert all_from(silent) == b""

    wait_until(lambda: len(warnings(caplog)) == 1)


# Slow and hostile clients


def test_who_connects_and_says_nothing_is_dropped(endpoint, monkeypatch):
    assert prometheus._Handler.timeout == prometheus._PATIENCE_S
    monkeypatch.setattr(prometheus._Handler, "timeout", 0.3)
    with connected(endpoint) as silent:
        assert status(endpoint) == 200
        assert all_from(silent) == b""


@pytest.mark.parametrize("tls", [False, True])
def test_who_says_a_little_now_and_then_is_dropped(request, certificates, monkeypatch, tls: bool):
    """Each byte comes in time, and yet the request never ends."""
    monkeypatch.setattr(prometheus, "_REQUEST_LASTS_S", 0.3)
    endpoint = request.getfixturevalue("secure" if tls else "endpoint")
    with connected(endpoint) as slow:
        if tls:
            slow = trusting(certificates / "a.crt").wrap_socket(slow, server_hostname=HOST)
        slow.sendall(b"GET /metrics HTTP/1.1\r\n")
        slow.settimeout(0.02)
        deadline = time.monotonic() + 20
        dropped = False
        while not dropped:
            assert time.monotonic() < deadline
            try:
                slow.sendall(b"x")
                dropped = slow.recv(1000) == b""
            except TimeoutError:
                pass
            except OSError:
                dropped = True
        slow.close()


def test_who_uses_his_connection_is_not_dropped(endpoint, monkeypatch):
    """The time is for one request, and begins anew with each."""
    seen: list[tuple[Place, float]] = []
    end_answer = Place.end_answer

    def watched(self: Place, *, trusted: bool) -> None:
        seen.append((self, self.deadline_s))
        end_answer(self, trusted=trusted)
        seen.append((self, self.deadline_s))

    monkeypatch.setattr(Place, "end_answer", watched)
    connection = http.client.HTTPConnection(HOST, endpoint.port, timeout=20)
    for _ in range(3):
        connection.request("GET", "/-/healthy")
        assert connection.getresponse().read() == b"OK\n"
    wait_until(lambda: len(seen) == 6)
    connection.close()

    assert len({place for place, _ in seen}) == 1
    assert [deadline_s for _, deadline_s in seen] == sorted({deadline_s for _, deadline_s in seen})


@contextmanager
def all_places(endpoint: ScrapeEndpoint, greeting: bytes = b"", answer: bytes = b"") -> Iterator[list[socket.socket]]:
    """Clients at each of the places, which have said this and got that as the end of an answer."""
    clients = []
    for number in range(prometheus._MAX_CONNECTIONS):
        clients.append(socket.create_connection((HOST, endpoint.port), timeout=20))
        clients[-1].sendall(greeting)
        wait_until(lambda number=number: len(endpoint._server.places) == number + 1)
        found = b""
        while not found.endswith(answer):
            found += clients[-1].recv(65536)
    if answer:
        wait_until(lambda: {place.state for place in tuple(endpoint._server.places._taken)} == {"idle"})
    try:
        yield clients
    finally:
        for client in clients:
            client.close()


def is_closed(client: socket.socket) -> bool:
    client.settimeout(0)
    try:
        return client.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


@pytest.mark.parametrize("said", [b"", b"GET /metrics HTTP/1.1\r\nX: "], ids=["nothing", "half"])
def test_the_oldest_unfinished_request_makes_room(endpoint, said: bytes):
    with all_places(endpoint, said) as slow:
        for number in range(3):
            assert status(endpoint) == 200
            # The place that the scrape leaves goes to a client that is slow as well.
            wait_until(lambda: len(endpoint._server.places) == prometheus._MAX_CONNECTIONS - 1)
            slow.append(socket.create_connection((HOST, endpoint.port), timeout=20))
            wait_until(lambda: len(endpoint._server.places) == prometheus._MAX_CONNECTIONS)
            wait_until(lambda number=number: is_closed(slow[number]))

        assert [is_closed(client) for client in slow] == [True] * 3 + [False] * (len(slow) - 3)
        # Who has a place is served.
        slow[-1].settimeout(20)
        slow[-1].sendall(b"GET /-/healthy HTTP/1.0\r\n\r\n")
        assert all_from(slow[-1]).endswith(b"OK\n")


def test_slow_handshakes_make_room(secure, certificates, caplog):
    context = trusting(certificates / "a.crt")
    with all_places(secure, b"\x16\x03\x01\x02") as slow:
        for number in range(3):
            assert status(secure, context=context) == 200
            wait_until(lambda: len(secure._server.places) == prometheus._MAX_CONNECTIONS - 1)
            slow.append(socket.create_connection((HOST, secure.port), timeout=20))
            wait_until(lambda number=number: is_closed(slow[number]))

    wait_until(lambda: len(secure._server.places) == 0)
    assert [line for line in warnings(caplog) if "place" in line] == []


def test_a_slow_handshake_has_an_end(secure, monkeypatch):
    monkeypatch.setattr(secure._server.places, "_lasts_s", 0.3)
    with connected(secure) as slow:
        slow.sendall(b"\x16\x03\x01\x02")
        assert all_from(slow) == b""


def test_without_the_token_a_place_is_lost_first(serve, token):
    """Requests that are refused, and health checks, are as good as none."""
    endpoint = serve(token_file=token)
    good = http.client.HTTPConnection(HOST, endpoint.port, timeout=20)
    good.request("GET", "/metrics", headers={"Authorization": "Bearer s3cret-token"})
    assert good.getresponse().read()
    others = []
    for path in ("/metrics", "/-/healthy", "/nowhere") * 12:
        others.append(http.client.HTTPConnection(HOST, endpoint.port, timeout=20))
        others[-1].request("GET", path)
        others[-1].getresponse().read()
    first = good.sock
    good.request("GET", "/metrics", headers={"Authorization": "Bearer s3cret-token"})
    assert good.getresponse().status == 200
    assert good.sock is first
    for connection in (good, *others):
        connection.close()


def test_an_idle_connection_makes_room(endpoint):
    with all_places(endpoint, b"GET /-/healthy HTTP/1.1\r\n\r\n", b"OK\n") as idle:
        assert status(endpoint) == 200
        wait_until(lambda: is_closed(idle[0]))
        assert [is_closed(client) for client in idle[1:]] == [False] * (len(idle) - 1)


def test_who_is_being_answered_keeps_his_place(endpoint, scrape, monkeypatch):
    answers = threading.Event()
    page = scrape.page

    def slow_page(*headers: str) -> Any:
        assert answers.wait(20)
        return page(*headers)

    monkeypatch.setattr(scrape, "page", slow_page)
    with all_places(endpoint, b"GET /metrics HTTP/1.0\r\n\r\n") as waiting:
        wait_until(lambda: {place.state for place in tuple(endpoint._server.places._taken)} == {"answered"})
        with connected(endpoint) as one_more:
            assert all_from(one_more) == b""
        answers.set()
        for client in waiting:
            assert b"langflow_component_retries_total" in all_from(client)
    assert status(endpoint) == 200


def test_who_reads_his_answer_slowly_makes_room(endpoint, scrape, monkeypatch):
    monkeypatch.setattr(connections, "_ANSWER_LASTS_S", 0.1)
    large = Page("text/plain", bytes(20_000_000), ())
    monkeypatch.setattr(scrape, "page", lambda *_: large)
    with all_places(endpoint, b"GET /metrics HTTP/1.0\r\n\r\n"):
        wait_until(lambda: {place.state for place in tuple(endpoint._server.places._taken)} == {"answered"})
        wait_until(lambda: _is_answered(endpoint))


def _is_answered(endpoint: ScrapeEndpoint) -> bool:
    try:
        return ask(endpoint, "/-/healthy")[0] == 200
    except (ConnectionError, http.client.HTTPException):
        return False


def test_a_request_that_lost_its_place_is_not_answered():
    here, there = socket.socketpair()
    place = Places(1, 30.0).take(here)
    assert place is not None
    place.cut()
    with pytest.raises(ConnectionAbortedError):
        place.begin_answer()
    here.close()
    there.close()


def test_places_are_not_lost_when_no_thread_can_be_started(endpoint, monkeypatch):
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        for _ in range(2 * prometheus._MAX_CONNECTIONS):
            with connected(endpoint) as client:
                assert all_from(client) == b""

    assert status(endpoint) == 200


@pytest.mark.slow
def test_without_file_descriptors_it_does_not_spin(endpoint, monkeypatch):
    monkeypatch.setattr(prometheus, "_PAUSE_S", 0.1)
    accept, calls = socket.socket.accept, 0

    def refuse(_: socket.socket) -> Any:
        nonlocal calls
        calls += 1
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(socket.socket, "accept", refuse)
    with connected(endpoint) as client:
        client.sendall(b"GET /-/healthy HTTP/1.0\r\n\r\n")
        time.sleep(0.5)
        monkeypatch.setattr(socket.socket, "accept", accept)
        assert all_from(client).endswith(b"OK\n")

    assert calls < 20


def test_a_fault_in_the_page_is_one_line_and_the_next_page_is_fine(endpoint, scrape, monkeypatch, caplog, lenient):
    def fail(*_: object) -> None:
        raise ValueError("secret of a flow")

    with monkeypatch.context() as patch:
        patch.setattr(scrape, "families", fail)
        for _ in range(3):
            assert ask(endpoint)[::2] == (500, b"See the log\n")

    assert ask(endpoint)[0] == 200
    assert guard.faults["metrics.scrape"] == 3
    (line,) = warnings(caplog)
    assert "contained at metrics.scrape" in line
    assert "secret of a flow" not in caplog.text


def test_one_page_at_a_time(endpoint, scrape, monkeypatch):
    """Many at once would keep the interpreter from the event loop."""
    families, making, crowded = scrape.families, threading.Semaphore(1), []

    def watched() -> Any:
        crowded.append(not making.acquire(blocking=False))
        time.sleep(0.02)
        making.release()
        return families()

    monkeypatch.setattr(scrape, "families", watched)
    at_once(8, lambda: status(endpoint))

    assert crowded == [False] * 8


# Where it listens


@pytest.mark.parametrize(("host", "reached_at"), [("localhost", HOST), (HOST, HOST), ("0.0.0.0", HOST)])
def test_hosts(serve, host: str, reached_at: str):
    endpoint = serve(host)

    assert endpoint.url == f"http://{host}:{endpoint.port}/metrics"
    assert ask(endpoint, host=reached_at)[0] == 200


def has_ipv6() -> bool:
    with suppress(OSError), socket.create_server(("::1", 0), family=socket.AF_INET6):
        return True
    return False


@pytest.mark.skipif(not has_ipv6(), reason="no IPv6 here")
@pytest.mark.parametrize("host", ["::1", "::"])
def test_ipv6_hosts(serve, host: str):
    endpoint = serve(host)

    assert endpoint.url == f"http://[{host}]:{endpoint.port}/metrics"
    assert ask(endpoint, host="::1")[0] == 200


def test_a_local_address_is_not_reached_from_elsewhere(serve):
    endpoint = serve("localhost")
    own = socket.gethostbyname(socket.gethostname())
    if own.startswith("127."):
        pytest.skip("this machine has no other address")

    with pytest.raises(OSError):
        ask(endpoint, host=own)


@pytest.mark.parametrize("host", ["192.0.2.1", "x" * 70, "a..b"])
def test_a_host_that_cannot_be_listened_on(serve, host: str):
    with pytest.raises((OSError, UnicodeError)) as caught:
        serve(host)

    problem = port_problem(ScrapeSettings(host, 9464), caught.value)  # type: ignore[arg-type]
    assert problem.startswith(f"The scrape endpoint cannot listen on {host}:9464: ")
    assert "None" not in problem


# After it is closed


def test_close_frees_the_port_and_ends_all_connections(serve, endpoint, monkeypatch):
    monkeypatch.setattr(prometheus._Handler, "timeout", 1000)
    before = set(threading.enumerate())
    other = serve()
    idle = [socket.create_connection((HOST, other.port), timeout=20) for _ in range(3)]
    idle[0].sendall(b"GET /-/healthy HTTP/1.1\r\n\r\n")
    wait_until(lambda: idle[0].recv(1000).endswith(b"OK\n"))
    wait_until(lambda: len(other._server.places) == 3)
    other.close()

    assert [all_from(client) for client in idle] == [b""] * 3
    assert set(threading.enumerate()) <= before
    assert serve(port=other.port).port == other.port
    for client in idle:
        client.close()


def test_a_page_that_is_being_sent_is_sent_to_its_end(serve, scrape, monkeypatch):
    made = threading.Event()
    page = scrape.page

    def slow_page(*headers: str) -> Any:
        made.set()
        time.sleep(0.2)
        return page(*headers)

    monkeypatch.setattr(scrape, "page", slow_page)
    endpoint = serve()
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(status(endpoint)))
    thread.start()
    assert made.wait(20)
    endpoint.close()
    thread.join()

    assert found == [200]


# In a process: what the log says, and a port that is taken


@contextmanager
def pipeline(**settings: Any) -> Iterator[MetricsPipeline]:
    opened = MetricsPipeline(Settings(scrape=ScrapeSettings(HOST, **settings)), list, tuple)
    try:
        yield opened
    finally:
        opened.close()


def test_the_log_says_where_the_metrics_are(caplog):
    with caplog.at_level(logging.INFO), pipeline(port=0) as opened:
        (record,) = caplog.records
        assert (record.name, record.levelname) == ("langflow_otel", "INFO")
        assert record.getMessage() == f"Prometheus metrics: {opened.url}"


def test_a_port_that_is_taken_is_one_warning_and_used_when_it_is_free(caplog, monkeypatch):
    monkeypatch.setattr("langflow_otel._process.metrics._TICK_S", 0.02)
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        with pipeline(port=port) as opened:
            assert opened.url is None
            time.sleep(0.2)
            (line,) = warnings(caplog)
            assert line == (
                f"The scrape endpoint cannot listen on 127.0.0.1:{port}: something else listens there. It is tried "
                "again; set OTEL_EXPORTER_PROMETHEUS_HOST and OTEL_EXPORTER_PROMETHEUS_PORT to another address. "
                "Everything else works."
            )
            taken.close()
            wait_until(lambda: opened.url is not None)
            assert opened._endpoint is not None
            assert status(opened._endpoint) == 200
    assert len(warnings(caplog)) == 1


@pytest.mark.parametrize("host", ["x" * 70, "a..b", "192.0.2.1"])
def test_a_host_that_is_none_is_one_warning(caplog, host: str):
    settings = Settings(scrape=ScrapeSettings(host, 0))
    opened = MetricsPipeline(settings, list, tuple)
    opened.close()

    (line,) = warnings(caplog)
    assert line.startswith(f"The scrape endpoint cannot listen on {host}:0: ")


def test_a_name_that_is_not_known_is_not_asked_for_all_the_time(caplog, monkeypatch):
    monkeypatch.setattr("langflow_otel._process.metrics._TICK_S", 0.01)
    asked = 0

    def unknown(*_: object, **__: object) -> None:
        nonlocal asked
        asked += 1
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pipeline(port=0) as opened:
        time.sleep(0.2)
        assert asked == 1
        monkeypatch.undo()
        opened._keep(slowly=True)
        assert opened.url is not None

    (line,) = warnings(caplog)
    assert "Name or service not known" in line

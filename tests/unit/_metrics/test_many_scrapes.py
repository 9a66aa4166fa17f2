"""More scrapes at once than anybody makes: each is answered or turned away, and nothing stays behind.

``LONG_TESTS=1`` makes 1,000 of them instead of 100.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from waiting import wait_until

from langflow_otel._metrics import endpoint as prometheus
from langflow_otel._metrics.catalogue import COMPONENT_RETRIES
from langflow_otel._metrics.endpoint import ScrapeEndpoint
from langflow_otel._metrics.instruments import Instruments
from langflow_otel._metrics.scrape import Scrape
from langflow_otel._metrics.store import MemoryStore
from langflow_otel._settings.settings import ScrapeSettings

CLIENTS = 1000 if os.environ.get("LONG_TESTS") else 100
HOST = "127.0.0.1"


@pytest.fixture
def endpoint() -> Iterator[ScrapeEndpoint]:
    store = MemoryStore()
    for number in range(200):
        Instruments(store, None).recording(COMPONENT_RETRIES, f"flow {number}", "type").add(3)
    scrape = Scrape(store, own_pid=1, window_s=60, cores=1.0, read=lambda pids: [], info={})
    endpoint = ScrapeEndpoint(ScrapeSettings(HOST, 0), scrape)
    yield endpoint
    endpoint.close()


def answer(port: int, request: bytes, together: threading.Barrier | None = None) -> bytes:
    """All that comes until the other end closes; nothing if it refuses."""
    if together is not None:
        together.wait(60)
    found = b""
    with suppress(ConnectionError), socket.create_connection((HOST, port), timeout=60) as client:
        client.sendall(request)
        while part := client.recv(65_536):
            found += part
    return found


SCRAPE = b"GET /metrics HTTP/1.0\r\n\r\n"


def kind(found: bytes) -> str:
    """``whole`` for a page that came to its end."""
    head, _, body = found.partition(b"\r\n\r\n")
    if not found:
        return "turned away"
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    return "whole" if head.startswith(b"HTTP/1.1 200") and len(body) == length else "broken"


def test_many_at_once_are_answered_or_turned_away(endpoint):
    files, threads = open_files(), set(threading.enumerate())
    most = 0
    stop = threading.Event()

    def watch() -> None:
        nonlocal most
        while not stop.wait(0.005):
            most = max(most, len(endpoint._server.places))

    watcher = threading.Thread(target=watch)
    watcher.start()
    together = threading.Barrier(CLIENTS)
    with ThreadPoolExecutor(CLIENTS) as clients:
        found = Counter(map(kind, clients.map(lambda _: answer(endpoint.port, SCRAPE, together), range(CLIENTS))))
    stop.set()
    watcher.join()

    assert set(found) <= {"whole", "turned away"}
    assert found["whole"] > 0
    assert most <= prometheus._MAX_CONNECTIONS
    wait_until(lambda: not endpoint._server.places)
    assert kind(answer(endpoint.port, SCRAPE)) == "whole"
    wait_until(lambda: set(threading.enumerate()) <= threads)
    wait_until(lambda: open_files() <= files)


@pytest.mark.parametrize(
    "headers",
    [b"X: " + b"x" * 1_000_000, b"\r\n".join([b"X: y"] * 10_000), b"Authorization: Bearer " + b"t" * 100_000],
    ids=["one", "many", "token"],
)
def test_huge_headers_are_refused_before_they_are_read(endpoint, headers: bytes):
    start_s = time.monotonic()
    found = answer(endpoint.port, b"GET /metrics HTTP/1.1\r\n" + headers + b"\r\n\r\n")

    assert found.partition(b"\r\n")[0].split()[1:2] in ([], [b"431"], [b"400"])
    assert time.monotonic() - start_s < prometheus._PATIENCE_S
    assert kind(answer(endpoint.port, SCRAPE)) == "whole"


def open_files() -> Counter[str]:
    found = Counter[str]()
    if sys.platform == "linux":
        for path in Path("/proc/self/fd").iterdir():
            with suppress(FileNotFoundError):  # The folder's own.
                found[os.readlink(path).partition(":")[0]] += 1
    return found

"""The page of metrics as a route of an application, over a real HTTP server."""

from __future__ import annotations

import asyncio
import gzip
import http.client
import threading
from collections.abc import Iterator

import pytest
import uvicorn
from fastapi import FastAPI
from opentelemetry.sdk.trace import TracerProvider
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from langflow_otel import LangflowInstrumentor, instrument, uninstrument
from langflow_otel._settings.settings import ScrapeSettings, Settings
from langflow_otel.asgi import metrics_app

app = FastAPI()
app.add_route("/metrics", metrics_app)
app.mount("/mounted", metrics_app)


@pytest.fixture
def port() -> Iterator[int]:
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning", lifespan="off"))
    thread = threading.Thread(target=asyncio.run, args=(server.serve(),))
    thread.start()
    while not server.started:
        thread.join(0.01)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    thread.join()


@pytest.fixture
def measuring() -> Iterator[None]:
    settings = Settings(scrape=ScrapeSettings(port=0))
    instrument(tracer_provider=TracerProvider(shutdown_on_exit=False), settings=settings, skip_dep_check=True)
    yield
    uninstrument()


def ask(port: int, path: str = "/metrics", method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request(method, path, headers={name.replace("_", "-"): text for name, text in headers.items()})
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, {name.lower(): text for name, text in answer.getheaders()}, body


@pytest.mark.usefixtures("measuring")
@pytest.mark.parametrize("path", ["/metrics", "/mounted/"])
def test_it_is_the_page_of_the_endpoint(port, path):
    status, headers, body = ask(port, path)

    assert (status, headers["content-type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    assert b"\nlangflow_throughput 0.0\n" in body
    url = LangflowInstrumentor().scrape_url
    own = ask(int(url.rpartition(":")[2].partition("/")[0]))[2]
    assert names_in(ask(port, path)[2]) == names_in(own)


def names_in(page: bytes) -> set[str]:
    """Without utilization, which is there only if the clock of CPU times has ticked since the last scrape."""
    names = {line.split()[2] for line in page.decode().splitlines() if line.startswith("# TYPE")}
    return {name for name in names if not name.endswith("cpu_utilization_ratio")}


@pytest.mark.usefixtures("measuring")
def test_format_and_compression_are_negotiated(port):
    status, headers, body = ask(port, Accept="application/openmetrics-text;version=1.0.0", Accept_Encoding="gzip")

    assert (status, headers["content-encoding"]) == (200, "gzip")
    families = {family.name for family in text_string_to_metric_families(gzip.decompress(body).decode())}
    assert "langflow_throughput" in families


@pytest.mark.usefixtures("measuring")
def test_head_and_other_methods(port):
    status, headers, body = ask(port, method="HEAD")
    assert (status, body) == (200, b"")
    assert int(headers["content-length"]) > 100
    assert ask(port, method="POST")[0] == 405


def test_the_token_is_asked_for_here_too(port, tmp_path, caplog):
    token = tmp_path / "token"
    token.write_text("s3cret\n")
    settings = Settings(scrape=ScrapeSettings(port=0, token_file=token))
    instrument(tracer_provider=TracerProvider(shutdown_on_exit=False), settings=settings, skip_dep_check=True)
    try:
        refused = ask(port, Authorization="Bearer guess")
        assert (refused[0], refused[1]["www-authenticate"]) == (401, 'Bearer realm="metrics"')
        assert ask(port, Authorization="Bearer s3cret")[0] == 200
    finally:
        uninstrument()
    warnings = [record for record in caplog.records if record.name == "langflow_otel" and record.levelname == "WARNING"]
    assert [record.getMessage() for record in warnings] == [
        "Scrape refused: 401 wrong bearer token, GET /metrics from 127.0.0.1"
    ]


def test_while_metrics_are_off_it_says_how_to_turn_them_on(port):
    status, _, body = ask(port)

    assert status == 503
    assert b"OTEL_METRICS_EXPORTER=prometheus" in body

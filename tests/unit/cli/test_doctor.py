"""``langflow-otel doctor`` against a healthy collector, and against each that is not."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from importlib import metadata
from types import SimpleNamespace
from typing import Any, Literal
from urllib.parse import quote

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTracePartialSuccess as Partial
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse as Response
from otlp_receiver import Receiver, otlp_receiver
from typer.testing import CliRunner

from langflow_otel._metrics import catalogue, workers
from langflow_otel._metrics.endpoint import ScrapeEndpoint
from langflow_otel._metrics.store import MemoryStore
from langflow_otel._metrics.workers import WorkerGroup
from langflow_otel._settings.settings import ScrapeSettings, Settings
from langflow_otel.cli.doctor import command as doctor
from langflow_otel.cli.doctor import destinations, listener
from langflow_otel.cli.doctor import hooks as doctor_hooks
from langflow_otel.cli.doctor import installed as doctor_installed
from langflow_otel.cli.doctor.hooks import hooks_section
from langflow_otel.cli.doctor.report import Finding, Section
from langflow_otel.cli.main import app
from tests.support.broken_collectors import Pem, gibberish, grpc_server, http_server, make_pem, nobody, silent
from tests.unit.cli.test_views import scrape_of

GRPC: Literal["grpc"] = "grpc"
HTTP: Literal["http/protobuf"] = "http/protobuf"
SECRET = "s3cret-t0ken"
PROTOBUF = {"Content-Type": "application/x-protobuf"}
HTML = {"Content-Type": "text/html"}
TEXT = {"Content-Type": "text/plain"}
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def pem(tmp_path_factory) -> Pem:
    return make_pem(tmp_path_factory.mktemp("pem"))


@pytest.fixture(autouse=True)
def _quickly(monkeypatch) -> None:
    """LangFlow's import, all packages' metadata and the silent take their time; further down each has its test."""
    monkeypatch.setattr(doctor, "hooks_section", lambda env: None)
    monkeypatch.setattr(doctor, "installed_section", lambda settings, env: Section("Installed", "", []))
    for name in ("NO_COLOR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)


@dataclass
class Result:
    code: int
    stdout: str
    stderr: str

    @property
    def checks(self) -> list[dict[str, Any]]:
        return json.loads(self.stdout)["checks"]

    def check(self, name: str, section: str = "") -> dict[str, Any]:
        """The one of this name."""
        (found,) = (
            each for each in self.checks if each["name"] == name and each["section"] in (section or each["section"],)
        )
        return found


def run(*arguments: str) -> Result:
    result = CliRunner().invoke(app, ["doctor", *arguments], catch_exceptions=False)
    return Result(result.exit_code, result.stdout, result.stderr)


@pytest.fixture
def point(monkeypatch) -> Callable[..., None]:
    """Sets the variables of one destination."""

    def to(address: str, protocol: str, scheme: str = "http", **more: str) -> None:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"{scheme}://{address}")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", f"authorization=Bearer%20{SECRET}")
        for name, value in more.items():
            monkeypatch.setenv(name, value)

    return to


def of_traces(result: Result) -> dict[str, Any]:
    return result.check("traces", "destinations")


# A collector that works


@pytest.fixture(params=[GRPC, HTTP])
def receiver(request, point) -> Iterator[Receiver]:
    with otlp_receiver(request.param) as receiver:
        point(receiver.address, request.param)
        yield receiver


def test_a_healthy_collector_gets_one_item_of_each_signal(receiver):
    result = run()

    assert result.code == 0, result.stdout
    assert "All is well." in result.stdout
    assert list(receiver.spans) == [destinations.NAME]
    assert receiver.metrics()[destinations.METRIC].sum.data_points[0].as_int == 1
    ((scope, record),) = receiver.logs()
    assert (scope, record.body.string_value) == ("langflow_otel", destinations.NAME)
    assert len(receiver.requests) == len(receiver.metric_requests) == len(receiver.log_requests) == 1


def test_what_is_sent_is_of_the_service_and_brings_the_headers(receiver, monkeypatch):
    monkeypatch.setenv("OTEL_SERVICE_NAME", "shop")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
    assert run().code == 0

    for requests in (receiver.requests, receiver.metric_requests, receiver.log_requests):
        assert requests[0].headers["authorization"] == f"Bearer {SECRET}"
    resources = [
        receiver.requests[0].message.resource_spans[0].resource,
        receiver.metric_requests[0].message.resource_metrics[0].resource,
        receiver.log_requests[0].message.resource_logs[0].resource,
    ]
    for resource in resources:
        attributes = {each.key: each.value.string_value for each in resource.attributes}
        assert attributes["service.name"] == "shop"


def test_as_json(receiver):
    result = run("--json")
    told = json.loads(result.stdout)

    assert (result.code, result.stderr) == (0, "")
    assert (told["ok"], told["problems"]) == (True, 0)
    for signal in ("traces", "metrics", "logs"):
        check = result.check(signal, "destinations")
        assert (check["status"], check["outcome"], check["advice"]) == ("ok", "accepted", None)
        assert 0 < check["took_ms"] < 60_000
        assert receiver.address in check["endpoint"]
    assert SECRET not in result.stdout


def test_only_what_is_asked_for_is_sent(receiver, monkeypatch):
    monkeypatch.setenv("OTEL_METRICS_EXPORTER", "none")
    monkeypatch.setenv("OTEL_LOGS_EXPORTER", "console")
    result = run("--json")

    assert result.code == 0
    assert (len(receiver.requests), receiver.metric_requests, receiver.log_requests) == (1, [], [])
    assert result.check("metrics", "destinations")["text"] == "not by OTLP"
    assert result.check("logs", "destinations")["text"] == "to the console only"


@pytest.mark.parametrize(
    ("exporters", "texts"),
    [
        ("prometheus", ["the scrape endpoint; nothing is pushed"]),
        ("otlp,prometheus", ["our own meter provider, built from the environment", "also the scrape endpoint"]),
        ("none", ["none: there is no destination"]),
    ],
)
def test_metrics_that_are_scraped_have_a_destination(receiver, monkeypatch, exporters: str, texts: list[str]):
    monkeypatch.setenv("OTEL_METRICS_EXPORTER", exporters)
    monkeypatch.setenv("OTEL_EXPORTER_PROMETHEUS_PORT", "0")
    found = [each for each in run("--json").checks if (each["section"], each["name"]) == ("providers", "metrics")]

    assert [each["text"] for each in found] == texts
    assert {each["status"] for each in found} == {"info" if exporters == "none" else "ok"}


@pytest.mark.parametrize("variable", ["OTEL_SDK_DISABLED=true", "LANGFLOW_OTEL_ENABLED=false"])
def test_what_is_switched_off_sends_nothing(receiver, monkeypatch, variable: str):
    monkeypatch.setenv(*variable.split("="))
    result = run("--json")

    assert result.code == 0
    assert receiver.requests == receiver.metric_requests == receiver.log_requests == []
    assert result.check("all", "destinations")["text"] == f"switched off by {variable}"


def test_without_any_destination_it_says_which_variable_gives_one():
    result = run("--json")

    assert result.code == 1
    assert result.check("all", "providers")["advice"].startswith("OTEL_EXPORTER_OTLP_ENDPOINT: name a collector")


# Collectors that do not

Collector = Callable[[], AbstractContextManager[str]]


def aborts(code: str, details: str = "") -> Collector:
    return lambda: grpc_server(grpc.StatusCode[code], details)


def answers(status: int, headers: dict[str, str] | None = None, body: bytes = b"") -> Collector:
    return lambda: http_server(status, headers, body)


PARTIAL = Response(partial_success=Partial(rejected_spans=1, error_message="too old")).SerializeToString()
PARTIAL_JSON = b'{"partialSuccess":{"rejectedLogRecords":"1","errorMessage":"too old"}}'
ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
HEADERS = "OTEL_EXPORTER_OTLP_HEADERS"
CASES: list[Any] = [
    # protocol, collector, what is said, what is advised
    (HTTP, nobody, "nothing listens on 127.0.0.1:", f"{ENDPOINT}: start a collector there, or name yours"),
    (GRPC, nobody, "nothing listens on 127.0.0.1:", f"{ENDPOINT}: start a collector there, or name yours"),
    (HTTP, gibberish, "closes the connection, or answers in no known protocol", f"{ENDPOINT}: is it the port of OTLP"),
    (GRPC, gibberish, "closes the connection, or answers in no known protocol", f"{ENDPOINT}: is it the port of OTLP"),
    (HTTP, grpc_server, "HTTP was tried on a port that speaks gRPC", "OTEL_EXPORTER_OTLP_PROTOCOL=grpc"),
    (GRPC, http_server, "gRPC was tried on a port that speaks HTTP", "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf"),
    (HTTP, answers(404), "nothing takes traces at /v1/traces (404 Not Found)", f"{ENDPOINT}: is it the port of OTLP"),
    (HTTP, answers(405), "nothing takes traces at /v1/traces (405", f"{ENDPOINT}: is it the port of OTLP"),
    (GRPC, aborts("UNIMPLEMENTED"), "the server does not take traces", "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf"),
    (HTTP, answers(401), "for want of credentials (401", f"{HEADERS}: is the token right"),
    (GRPC, aborts("UNAUTHENTICATED"), "for want of credentials (UNAUTH", f"{HEADERS}: is the token right"),
    (HTTP, answers(403), "not allowed to send traces (403", f"{HEADERS}: use a token that may"),
    (GRPC, aborts("PERMISSION_DENIED"), "not allowed to send traces", f"{HEADERS}: use a token that may"),
    (HTTP, answers(429, {"Retry-After": "60"}), "too much to do (429", "OTEL_TRACES_SAMPLER=parentbased_trace"),
    (GRPC, aborts("RESOURCE_EXHAUSTED"), "too much to do (RES", "OTEL_TRACES_SAMPLER=parentbased_trace"),
    (HTTP, answers(503), "takes nothing at the moment (503", f"{ENDPOINT} is right"),
    (GRPC, aborts("UNAVAILABLE", "try later"), "takes nothing at the moment (UNAVAILABLE)", f"{ENDPOINT} is right"),
    (HTTP, answers(400, TEXT, b"no"), "refused as it is (400 Bad Request: no)", ENDPOINT),
    (GRPC, aborts("INVALID_ARGUMENT", "no"), "refused as it is (INVALID_ARGUMENT: no)", ENDPOINT),
    (HTTP, answers(500), "the collector failed over it (500", f"{ENDPOINT}: is it an OTLP collector?"),
    (GRPC, aborts("INTERNAL", "disk"), "the collector failed over it (INTERNAL: disk)", ENDPOINT),
    (HTTP, answers(301, {"Location": "https://u:p@x.example/v1"}), "redirected to https://***@x.example", ENDPOINT),
    (HTTP, answers(200, HTML, b"<html>"), "200 OK, but not as a collector answers (text/html)", ENDPOINT),
    (HTTP, answers(200, PROTOBUF, b"\xff\xffgarbage"), "200 OK, but not as a collector answers", ENDPOINT),
    (HTTP, answers(200, PROTOBUF, PARTIAL), "dropped by the collector: too old", f"{ENDPOINT} is right"),
    (HTTP, answers(200, JSON, PARTIAL_JSON), "dropped by the collector: too old", ENDPOINT),
    (GRPC, lambda: grpc_server(body=PARTIAL), "dropped by the collector: too old", f"{ENDPOINT} is right"),
]  # fmt: skip


@pytest.mark.parametrize(("protocol", "collector", "said", "advised"), CASES)
def test_what_is_wrong_is_said_with_the_variable_to_change(
    point, protocol, collector: Collector, said: str, advised: str
):
    with collector() as address:
        point(address, protocol)
        told, human = run("--json"), run()

    check = of_traces(told)
    assert said in check["text"]
    assert check["advice"].startswith(advised)
    assert check["status"] == "problem"
    assert "\n" not in check["advice"]
    assert (told.code, human.code) == (1, 1)
    # The table breaks long lines.
    assert "".join(said.split()) in "".join(human.stdout.split())
    assert "".join(advised.split()) in "".join(human.stdout.split())
    assert SECRET not in told.stdout + human.stdout + told.stderr + human.stderr


@pytest.mark.parametrize("content", [b"", b"{}"])
def test_an_answer_without_a_message_is_a_success(point, content: bytes):
    with http_server(200, JSON if content else {}, content) as address:
        point(address, HTTP)

        assert run().code == 0


@pytest.mark.parametrize("protocol", [GRPC, HTTP])
def test_the_first_answer_is_told_and_no_retry_waited_for(point, protocol):
    collector = aborts("UNAVAILABLE") if protocol == GRPC else answers(503)
    with collector() as address:
        point(address, protocol, OTEL_EXPORTER_OTLP_TIMEOUT="60")
        result = run("--json")

    # Retries of every version would take longer: 1 + 2 + 4 + 8 + 16 s, or until the time is up.
    assert of_traces(result)["took_ms"] < 15_000


@pytest.mark.parametrize("protocol", [GRPC, HTTP])
def test_a_collector_that_hangs_is_given_up(point, protocol, monkeypatch):
    monkeypatch.setattr(listener, "_PATIENCE_S", 0.2)
    with silent() as address:
        point(address, protocol, OTEL_EXPORTER_OTLP_TIMEOUT="1")
        started_s = time.monotonic()
        result = run("--json")

    assert time.monotonic() - started_s < 9
    assert result.code == 1
    assert "takes connections, and says nothing" in of_traces(result)["text"]
    assert of_traces(result)["outcome"] == "timeout"
    assert of_traces(result)["advice"].startswith(f"{ENDPOINT}: is it a collector?")
    assert "OTEL_EXPORTER_OTLP_TIMEOUT (seconds)" in of_traces(result)["advice"]


@pytest.mark.parametrize("protocol", [GRPC, HTTP])
def test_a_name_that_nobody_has(point, protocol):
    point("no-such-host.invalid:4318", protocol)
    result = run("--json")

    assert result.code == 1
    assert "no host is called no-such-host.invalid" in of_traces(result)["text"]
    assert of_traces(result)["advice"] == f"{ENDPOINT}: name a host that can be found from here"


@pytest.mark.parametrize("protocol", [GRPC, HTTP])
def test_an_address_that_cannot_be_reached(point, protocol):
    # The broadcast address takes no connections, on any system.
    point("255.255.255.255:4318", protocol, OTEL_EXPORTER_OTLP_TIMEOUT="2")
    result = run("--json")

    assert result.code == 1
    assert "255.255.255.255:4318 cannot be reached" in of_traces(result)["text"]
    assert of_traces(result)["advice"] == f"{ENDPOINT}: is the address right, and is a firewall between?"


@pytest.mark.parametrize("refuses", [nobody, lambda: http_server(407)], ids=["nobody", "wants credentials"])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_does_not_let_it_through(point, monkeypatch, refuses: Collector, scheme: str):
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    with refuses() as proxy:
        monkeypatch.setenv(f"{scheme.upper()}_PROXY", f"http://{proxy}")
        point("collector.example.com:4318", HTTP, scheme)
        result = run("--json")

    assert result.code == 1
    assert of_traces(result)["outcome"] == "proxy"
    assert of_traces(result)["advice"] == "NO_PROXY=collector.example.com goes past it"


def secured(protocol: str, pem: Pem, *, mutual: bool = False) -> AbstractContextManager[str]:
    return grpc_server(pem=pem, mutual=mutual) if protocol == GRPC else http_server(pem=pem, mutual=mutual)


@pytest.mark.parametrize("protocol", [GRPC, HTTP])
class TestTls:
    def test_a_certificate_that_nobody_signed(self, point, pem: Pem, protocol):
        with secured(protocol, pem) as address:
            point(address, protocol, "https")
            result = run("--json")

        assert result.code == 1
        assert "certificate is not trusted: self" in of_traces(result)["text"]
        assert of_traces(result)["advice"].startswith("OTEL_EXPORTER_OTLP_CERTIFICATE: the PEM file")

    def test_is_trusted_once_it_is_named(self, point, pem: Pem, protocol):
        with secured(protocol, pem) as address:
            point(address, protocol, "https", OTEL_EXPORTER_OTLP_CERTIFICATE=str(pem.chain))
            result = run("--json")

        assert result.code == 0, result.stdout

    def test_plain_text_on_its_port(self, point, pem: Pem, protocol):
        with secured(protocol, pem) as address:
            point(address, protocol)
            result = run("--json")

        assert result.code == 1
        assert "plain text was sent to a port that speaks TLS" in of_traces(result)["text"]
        assert of_traces(result)["advice"] == f"{ENDPOINT}=https://{address}"

    def test_tls_on_a_port_of_plain_text(self, point, protocol):
        with grpc_server() if protocol == GRPC else http_server() as address:
            point(address, protocol, "https")
            result = run("--json")

        assert result.code == 1
        assert "TLS was tried on a port that speaks plain text" in of_traces(result)["text"]
        assert of_traces(result)["advice"] == f"{ENDPOINT}=http://{address}"

    def test_a_certificate_file_that_is_not_there(self, point, pem: Pem, protocol):
        with secured(protocol, pem) as address:
            point(address, protocol, "https", OTEL_EXPORTER_OTLP_CERTIFICATE="/no/such.pem")
            result = run("--json")

        assert result.code == 1
        assert of_traces(result)["outcome"] == "not sent"
        assert of_traces(result)["advice"].startswith("OTEL_EXPORTER_OTLP_CERTIFICATE: name a PEM file that exists")

    def test_a_certificate_file_that_holds_none(self, point, pem: Pem, protocol, tmp_path):
        (tmp_path / "empty.pem").touch()
        with secured(protocol, pem) as address:
            point(address, protocol, "https", OTEL_EXPORTER_OTLP_CERTIFICATE=str(tmp_path / "empty.pem"))
            result = run("--json")

        assert result.code == 1
        assert of_traces(result)["advice"].startswith("OTEL_EXPORTER_OTLP_CERTIFICATE: the PEM file of")

    @pytest.mark.parametrize(
        ("wrong", "said", "advised"),
        [
            ({"expired": True}, "expired", f"renew the collector's certificate; {ENDPOINT} is right"),
            ({"name": "other.example.com"}, "mismatch", f"{ENDPOINT}: name the host as the certificate does"),
        ],
        ids=["expired", "of another host"],
    )
    def test_a_certificate_that_does_not_hold_here(self, point, tmp_path, protocol, wrong, said: str, advised: str):
        pem = make_pem(tmp_path, **wrong)
        with secured(protocol, pem) as address:
            point(address, protocol, "https", OTEL_EXPORTER_OTLP_CERTIFICATE=str(pem.chain))
            result = run("--json")

        assert result.code == 1
        assert "certificate is not trusted: " in of_traces(result)["text"]
        assert said in of_traces(result)["text"]
        assert of_traces(result)["advice"] == advised

    def test_a_collector_that_wants_a_certificate(self, point, pem: Pem, protocol):
        with secured(protocol, pem, mutual=True) as address:
            point(address, protocol, "https", OTEL_EXPORTER_OTLP_CERTIFICATE=str(pem.chain))
            without = run("--json")
            ours = {
                "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE": str(pem.chain),
                "OTEL_EXPORTER_OTLP_CLIENT_KEY": str(pem.key),
            }
            point(address, protocol, "https", **ours)
            with_one = run("--json")

        assert "the collector wants a certificate of this client" in of_traces(without)["text"]
        assert of_traces(without)["advice"].startswith("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE and OTEL_EXP")
        assert (without.code, with_one.code) == (1, 0), with_one.stdout


def test_a_bundle_for_all_of_requests_is_named_where_it_wins(point, pem: Pem, monkeypatch, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(make_pem(other).chain))
    with http_server(pem=pem) as address:
        point(address, HTTP, "https", OTEL_EXPORTER_OTLP_CERTIFICATE=str(pem.chain))
        result = run("--json")

    if result.code == 0:
        pytest.skip("this SDK hands the file to each request, and then it wins")
    assert of_traces(result)["advice"].startswith("REQUESTS_CA_BUNDLE wins over OTEL_EXPORTER_OTLP_CERTIFICATE here")


def test_a_server_of_https_that_says_so_in_plain_text(point, pem: Pem, monkeypatch):
    """As those of Go and nginx do."""
    said = {True: b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n"}
    real = listener._said_to
    with http_server(pem=pem) as https, http_server(400) as plain:
        monkeypatch.setattr(listener, "_said_to", lambda *a: said.get(f"{a[0]}:{a[1]}" == https) or real(*a))
        found = listener.look("127.0.0.1", int(https.rpartition(":")[2]), str(pem.chain))
        assert (found.state, found.distrust) == ("tls", "")
        assert listener.look("127.0.0.1", int(plain.rpartition(":")[2])).state == "plain"


def test_the_scheme_that_is_advised_keeps_the_path(monkeypatch):
    with http_server() as address:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"https://{address}/tenant")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", f"https://{address}/v1/logs")
        result = run("--json")

    assert of_traces(result)["advice"] == f"OTEL_EXPORTER_OTLP_ENDPOINT=http://{address}/tenant"
    assert (
        result.check("logs", "destinations")["advice"] == f"OTEL_EXPORTER_OTLP_LOGS_ENDPOINT=http://{address}/v1/logs"
    )


# The path over HTTP


@pytest.mark.parametrize(
    ("variable", "path", "advice"),
    [
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "", "={0}/v1/traces (it is used as it stands)"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "/tenant/", "={0}/tenant/v1/traces (it is used as it stands)"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "/v1/traces", "={0} (/v1/traces is added to it)"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "/tenant", ": is it the port of OTLP over HTTP (4318), and is its path whole?"),
    ],
)
def test_a_path_that_is_not_there(monkeypatch, variable: str, path: str, advice: str):
    with http_server(404) as address:
        monkeypatch.setenv(variable, f"http://{address}{path}")
        result = run("--json")

    assert of_traces(result)["advice"] == f"{variable}{advice.format(f'http://{address}')}"


@pytest.mark.parametrize("protocol", [GRPC, HTTP])
def test_a_collector_that_takes_other_signals_only(point, protocol):
    def only_traces(path: str) -> Any:
        return (200 if path == "/v1/traces" else 404), {}, b""

    with grpc_server(only="TraceService") if protocol == GRPC else http_server(only_traces) as address:
        point(address, protocol)
        result = run("--json")

    assert of_traces(result)["status"] == "ok"
    for signal in ("metrics", "logs"):
        assert result.check(signal, "destinations")["advice"].startswith(f"OTEL_{signal.upper()}_EXPORTER=none")


def test_signals_that_go_to_different_places(monkeypatch):
    with otlp_receiver(HTTP) as good, otlp_receiver(GRPC) as also_good, nobody() as bad:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", f"http://{good.address}/v1/traces")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", f"http://{also_good.address}")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "grpc")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", f"http://{bad}/v1/logs")
        result = run("--json")

    assert (len(good.spans), len(also_good.metric_requests)) == (1, 1)
    assert result.code == 1
    assert result.check("logs", "destinations")["advice"].startswith("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT: ")


def test_advice_for_a_signal_with_a_place_of_its_own_leaves_the_others_alone(monkeypatch):
    with otlp_receiver(HTTP) as good, grpc_server() as other, http_server(401) as closed:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://{good.address}")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", f"http://{other}/v1/metrics")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", f"http://{closed}/v1/logs")
        result = run("--json")

    assert of_traces(result)["status"] == "ok"
    assert result.check("metrics", "destinations")["advice"].startswith("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL=grpc")
    assert result.check("logs", "destinations")["advice"].startswith("set OTEL_EXPORTER_OTLP_LOGS_HEADERS")


# Settings


@pytest.mark.parametrize("protocol", [GRPC, HTTP])
def test_settings_that_the_sdk_does_not_like_are_told_without_a_traceback(point, protocol):
    with otlp_receiver(protocol) as receiver:
        point(receiver.address, protocol, OTEL_EXPORTER_OTLP_TIMEOUT="soon", LANGFLOW_OTEL_DETIAL="flow")
        result = run("--json")

    assert result.code == 1
    wrong = [check["text"] for check in result.checks if check["name"] == "variable"]
    assert [text.split()[0] for text in wrong] == ["LANGFLOW_OTEL_DETIAL", "OTEL_EXPORTER_OTLP_TIMEOUT='soon'"]


@pytest.mark.parametrize("protocol", [GRPC, HTTP])
def test_credentials_are_nowhere_in_it(monkeypatch, protocol):
    """Whatever is wrong with them, and whoever quotes them."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", f"Authorization: {SECRET}")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_METRICS_HEADERS", f"authorization={SECRET}%0A{SECRET}")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", f"htp://user:{SECRET}@no where")
    says = f"wrong: {SECRET}"
    refusing = aborts("UNAUTHENTICATED", says) if protocol == GRPC else answers(401, TEXT, says.encode())
    with refusing() as address:
        host = address if protocol == GRPC else f"user:{SECRET}@{address}"
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://{host}?key={SECRET}")
        human, told = run(), run("--json")

    assert (human.code, told.code) == (1, 1)
    assert of_traces(told)["advice"].startswith("OTEL_EXPORTER_OTLP_HEADERS is no list of name=value")
    assert "a header holds a line break" in told.check("metrics", "destinations")["text"]
    assert "?key=***" in of_traces(told)["endpoint"]
    assert SECRET not in "".join((human.stdout, human.stderr, told.stdout, told.stderr))


@pytest.mark.parametrize("protocol", [GRPC, HTTP])
def test_credentials_of_files_and_paths_are_nowhere_in_it(monkeypatch, tmp_path, protocol):
    """A collector echoes what it got, in whatever spelling."""
    token = f'{SECRET}"/{SECRET}'
    (tmp_path / "headers").write_text(f"authorization=Bearer {SECRET}%22%2F{SECRET}\n")
    encoded = base64.b64encode(f"me:{token}".encode()).decode()
    says = " ".join((token, json.dumps({"got": token}), quote(token, safe=""), encoded))
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
    monkeypatch.setenv("LANGFLOW_OTEL_OTLP_HEADERS_FILE", str(tmp_path / "headers"))
    monkeypatch.setenv("LANGFLOW_OTEL_SCRAPE_TOKEN_FILE", SECRET)
    monkeypatch.setenv("LANGFLOW_OTEL_SCRAPE_CERT_FILE", f"/{SECRET}")
    monkeypatch.setenv("OTEL_METRICS_EXPORTER", "otlp,prometheus")
    monkeypatch.setenv("OTEL_EXPORTER_PROMETHEUS_PORT", "0")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_CERTIFICATE", f"/{SECRET}/ca.pem")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", f"conn=postgres://u:{SECRET}@h,{SECRET}")
    refusing = aborts("INVALID_ARGUMENT", says) if protocol == GRPC else answers(400, TEXT, says.encode())
    with refusing() as address:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://{address}/{SECRET}")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", f"https://{address}/{SECRET}")
        human, told = run(), run("--json")

    assert (human.code, told.code) == (1, 1)
    assert "***" in of_traces(told)["text"]
    everything = "".join((human.stdout, human.stderr, told.stdout, told.stderr))
    assert SECRET not in everything.replace("\n", "")
    assert encoded not in everything.replace("\n", "")


def test_destinations_beside_the_collector_write_nothing_on_stdout(monkeypatch):
    for name in ("TRACES", "METRICS", "LOGS"):
        monkeypatch.setenv(f"OTEL_{name}_EXPORTER", "console")
    result = run("--json")

    assert result.code == 0
    assert {result.check(name, "providers")["status"] for name in ("traces", "metrics", "logs")} == {"ok"}


def test_an_error_of_ours_costs_its_section_alone(receiver, monkeypatch):
    def broken(settings: Settings) -> None:
        raise KeyError(SECRET)

    monkeypatch.setattr(doctor, "local_section", broken)
    result = run("--json")

    assert result.code == 1
    assert result.check("doctor", "here")["text"] == "could not be looked at: KeyError"
    assert of_traces(result)["outcome"] == "accepted"
    assert SECRET not in result.stdout


# This machine


@pytest.fixture
def scrape(monkeypatch) -> ScrapeSettings:
    """A scrape is asked for, on a port that nobody has."""
    with nobody() as address:
        port = address.rpartition(":")[2]
    monkeypatch.setenv("OTEL_METRICS_EXPORTER", "prometheus")
    monkeypatch.setenv("OTEL_EXPORTER_PROMETHEUS_PORT", port)
    found = Settings.from_env().scrape
    assert found is not None
    return found


def test_a_scrape_endpoint_that_could_be_opened(scrape):
    result = run("--json")

    assert (result.code, result.check("scrape")["status"]) == (0, "ok")
    assert result.check("scrape")["text"] == f"localhost:{scrape.port} is free; nobody answers there now"
    assert result.check("workers")["status"] == "ok"


def test_a_process_that_answers_tells_what_it_lost(scrape, monkeypatch, tmp_path):
    token = tmp_path / "token"
    token.write_text(SECRET)
    monkeypatch.setenv("LANGFLOW_OTEL_SCRAPE_TOKEN_FILE", str(token))
    store = MemoryStore()
    store.series(catalogue.DROPPED, ("traces", "queue_full")).cells[0] = 7
    endpoint = ScrapeEndpoint(replace(scrape, token_file=token), scrape_of(store))
    try:
        result = run("--json")
    finally:
        endpoint.close()

    assert result.code == 0
    assert result.check("scrape")["text"].endswith("a process with langflow-otel answers, 0 flow runs")
    assert (result.check("dropped")["status"], result.check("dropped")["dropped"]) == (
        "warning",
        {"traces queue_full": 7},
    )
    assert "OTEL_BSP_MAX_QUEUE_SIZE" in result.check("dropped")["advice"]
    assert SECRET not in result.stdout


def test_a_port_that_something_else_has(scrape, monkeypatch):
    with http_server() as address:
        monkeypatch.setenv("OTEL_EXPORTER_PROMETHEUS_HOST", "127.0.0.1")
        monkeypatch.setenv("OTEL_EXPORTER_PROMETHEUS_PORT", address.rpartition(":")[2])
        result = run("--json")

    assert result.code == 1
    assert "does not give the page: 501" in result.check("scrape")["text"]
    assert result.check("scrape")["advice"].startswith("OTEL_EXPORTER_PROMETHEUS_PORT: take another port")


def test_an_address_that_is_not_of_this_machine(scrape, monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_PROMETHEUS_HOST", "192.0.2.1")
    monkeypatch.setattr("langflow_otel.cli.scraping._PATIENCE_S", 0.1)
    result = run("--json")

    assert result.code == 1
    assert result.check("scrape")["advice"].startswith("OTEL_EXPORTER_PROMETHEUS_HOST: name an address")
    assert result.check("token")["status"] == "warning"


def test_files_of_the_scrape_endpoint_that_are_no_good(scrape, monkeypatch, tmp_path):
    empty = tmp_path / "empty"
    empty.touch()
    monkeypatch.setenv("LANGFLOW_OTEL_SCRAPE_TOKEN_FILE", str(empty))
    monkeypatch.setenv("LANGFLOW_OTEL_SCRAPE_CERT_FILE", str(empty))
    result = run("--json")

    assert result.code == 1
    assert result.check("token")["text"] == f"{empty}: it is empty"
    assert result.check("certificate")["status"] == "problem"


def test_a_scrape_with_tls(scrape, pem: Pem, monkeypatch):
    monkeypatch.setenv("LANGFLOW_OTEL_SCRAPE_CERT_FILE", str(pem.chain))
    monkeypatch.setenv("LANGFLOW_OTEL_SCRAPE_KEY_FILE", str(pem.key))
    endpoint = ScrapeEndpoint(replace(scrape, cert_file=pem.chain, key_file=pem.key), scrape_of(MemoryStore()))
    try:
        result = run("--json")
    finally:
        endpoint.close()

    assert result.code == 0
    assert (result.check("certificate")["status"], result.check("dropped")["dropped"]) == ("ok", {})


def test_the_folder_of_workers_tells_who_lives(scrape, monkeypatch, tmp_path):
    root = tmp_path / "workers"
    monkeypatch.setattr(workers, "default_root", lambda: root)
    assert run("--json").check("workers")["text"] == f"{root} is made when several workers start"

    group = WorkerGroup(os.getpid(), root)
    store = group.join()
    assert run("--json").check("workers")["groups"] == 1
    store.close()
    group.leave()
    assert run("--json").check("workers")["groups"] == 0

    root.chmod(0o777)
    result = run("--json")
    assert (result.code, result.check("workers")["status"]) == (1, "problem")


def test_the_trace_file(monkeypatch, tmp_path):
    path = tmp_path / "new" / "spans.jsonl"
    monkeypatch.setenv("LANGFLOW_OTEL_TRACE_FILE", str(path))
    result = run("--json")

    assert (result.code, result.check("trace file")["status"]) == (0, "ok")
    assert list(tmp_path.iterdir()) == []

    monkeypatch.setenv("LANGFLOW_OTEL_TRACE_FILE", str(tmp_path))
    result = run("--json")
    assert (result.code, result.check("trace file")["text"]) == (1, f"{tmp_path}: it is a folder")

    (tmp_path / "device").symlink_to(os.devnull)
    monkeypatch.setenv("LANGFLOW_OTEL_TRACE_FILE", str(tmp_path / "device"))
    result = run("--json")
    assert (result.code, result.check("trace file")["text"]) == (1, f"{tmp_path / 'device'}: it is a device")

    (tmp_path / "file").touch()
    monkeypatch.setenv("LANGFLOW_OTEL_TRACE_FILE", str(tmp_path / "file" / "spans.jsonl"))
    assert run("--json").check("trace file")["advice"].startswith("LANGFLOW_OTEL_TRACE_FILE: ")


def test_the_prices(monkeypatch, tmp_path):
    path = tmp_path / "prices.json"
    path.write_text('{"currency": "USD", "prices": [{"model": "m", "input": 1, "output": 2}]}')
    monkeypatch.setenv("LANGFLOW_OTEL_PRICES", str(path))
    found = run("--json").check("prices")
    assert (found["status"], found["text"]) == ("ok", f"{path}: 1 price in USD")

    path.write_text('{"currency": "USD", "prices": [{"model": "m", "input": 1, "output": -2}]}')
    result = run("--json")
    found = result.check("prices")
    assert (result.code, found["status"]) == (1, "problem")
    assert found["text"].startswith(f"{path}: prices[0].output: -2 is not accepted; use a price of a million tokens")


# What is installed


@pytest.fixture
def installed(monkeypatch) -> None:
    monkeypatch.setattr(doctor, "installed_section", doctor_installed.installed_section)


def test_without_langflow_it_says_how_to_install_it(installed, receiver, monkeypatch):
    monkeypatch.setattr(doctor_installed, "lfx_is_installed", lambda: False)
    result = run("--json")

    assert result.code == 1
    assert "pip install 'langflow-otel[lfx]'" in result.check("LangFlow")["advice"]


def test_what_is_installed_here_belongs_together(installed, receiver):
    result = run("--json")

    assert result.code == 0
    assert [result.check(name)["status"] for name in ("LangFlow", "OpenTelemetry")] == ["ok", "ok"]
    assert {"httpx", "requests"} <= set(result.check("Instrumentors")["http"])


def test_packages_that_do_not_belong_together(installed, receiver, monkeypatch):
    real = metadata.version
    monkeypatch.setattr(metadata, "version", lambda name: "1.29.0" if name == "opentelemetry-sdk" else real(name))
    result = run("--json")

    assert result.code == 1
    texts = [check["text"] for check in result.checks if check["name"] == "OpenTelemetry"]
    assert any(text.startswith("langflow-otel needs opentelemetry-sdk>=1.30, and 1.29.0") for text in texts[1:])


class _Distribution:
    requires = None

    def __init__(self, name: str) -> None:
        self.name = name


def test_other_instrumentors(installed, receiver, monkeypatch):
    entries = [
        SimpleNamespace(name="langchain", value="a:B", dist=_Distribution(f"{who}-instrumentation-langchain"))
        for who in ("openinference", "opentelemetry")
    ]
    monkeypatch.setattr(metadata, "entry_points", lambda group: entries)
    result = run("--json")
    assert result.code == 0
    assert any("twice there: langchain; below" in check["text"] for check in result.checks)

    monkeypatch.setenv(
        "LANGFLOW_OTEL_INSTRUMENTORS", "langchain,openinference-instrumentation-langchain:langchain,nope"
    )
    result = run("--json")
    told = [check for check in result.checks if check["name"] == "Instrumentors"][1:-1]
    assert [check["status"] for check in told] == ["problem", "ok", "problem"]
    assert told[0]["advice"].startswith(
        "LANGFLOW_OTEL_INSTRUMENTORS=openinference-instrumentation-langchain:langchain or"
    )
    assert told[2]["text"] == "nope is left out: it is not installed"


# LangFlow


def hooks(monkeypatch, found: object, **further: str) -> list[Finding]:
    monkeypatch.setattr(doctor_hooks, "_look", lambda env: found)
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "LANGFLOW_PRETTY_LOGS": "false", **further}
    section = hooks_section(env)
    assert section is not None
    return list(section.findings)


def test_hooks_that_do_not_fit_are_named(monkeypatch):
    found = {
        "on": ["a"],
        "off": {"lfx.x:Graph.run": "Graph.run does not exist"},
        "total": 3,
        "absent": ["b"],
        "not_importable": {"lfx.graph.y": "ImportError: z", "lfx.cli.y": "ImportError: z"},
        "own_telemetry": True,
    }
    told = hooks(monkeypatch, found)

    assert [each.status for each in told] == ["ok", "problem", "problem", "warning", "info"]
    assert told[1].text == "lfx.x:Graph.run is off: Graph.run does not exist"
    assert told[2].text == "lfx.graph.y cannot be imported: ImportError: z"
    assert told[4].facts == {"own_telemetry": True}


OWN_SPANS = {"on": ["a"], "off": {}, "total": 1, "absent": [], "not_importable": {}, "own_telemetry": True}


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        (
            "keep",
            "go to the same place as ours, some 6 for each request to its API, 30 for a run, a hundred",
        ),
        ("flows", "Of its spans those of traces with a flow are sent"),
        ("none", "Its spans are not sent"),
    ],
)
def test_where_langflows_own_spans_go(monkeypatch, wanted, said):
    told = hooks(monkeypatch, OWN_SPANS, LANGFLOW_OTEL_NATIVE_SPANS=wanted)[-1]

    assert said in told.text
    assert ("LANGFLOW_OTEL_NATIVE_SPANS=flows sends only" in told.text) is (wanted == "keep")


@pytest.mark.parametrize(
    "variables",
    [
        {"OTEL_TRACES_EXPORTER": "none"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://x"},
    ],
    ids=["switched off", "metrics alone"],
)
def test_langflows_own_spans_without_a_destination_go_nowhere(monkeypatch, variables):
    told = hooks(monkeypatch, OWN_SPANS, **variables)[-1]

    assert told.text.endswith("Its spans are not sent: there is no OTLP endpoint for traces")


@pytest.mark.parametrize(
    ("env", "is_said"),
    [
        ({"LANGFLOW_PRETTY_LOGS": "true"}, True),
        ({"LANGFLOW_PRETTY_LOGS": "True", "LANGFLOW_LOG_ENV": "default"}, True),
        ({"LANGFLOW_PRETTY_LOGS": "true", "LANGFLOW_LOG_ENV": "container_json"}, False),
        ({"LANGFLOW_PRETTY_LOGS": "false"}, False),
    ],
)
def test_the_remedy_for_tracebacks_that_take_long(monkeypatch, env, is_said):
    found = {"on": ["a"], "off": {}, "total": 1, "absent": [], "not_importable": {}, "own_telemetry": True}
    advice = [each.advice for each in hooks(monkeypatch, found, **env) if each.name == "tracebacks"]

    assert bool(advice) is is_said
    assert all("LANGFLOW_PRETTY_LOGS=false and LANGFLOW_LOG_ENV=container_json" in each for each in advice)


def test_a_langflow_that_cannot_be_imported(monkeypatch):
    (told,) = hooks(monkeypatch, "it takes longer than 120 s")

    assert (told.status, told.text) == ("problem", "cannot be imported: it takes longer than 120 s")


def test_the_process_that_imports_langflow_has_nowhere_to_send_to(monkeypatch):
    calls = []

    def crash(command: Any, env: dict[str, str], **_: Any) -> subprocess.CompletedProcess[str]:
        calls.append(env)
        return subprocess.CompletedProcess(command, 1, "", "Traceback ...\nImportError: half of it is missing\n")

    monkeypatch.setattr(subprocess, "run", crash)
    section = hooks_section(
        {"PATH": "/bin", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "LANGFLOW_OTEL_ENABLED": "true"}
    )

    assert section is not None
    assert section.findings[0].text == "cannot be imported: ImportError: half of it is missing"
    assert {"PATH", "LANGFLOW_CONFIG_DIR"} <= set(calls[0])
    assert [name for name in calls[0] if "OTEL" in name] == []


@pytest.mark.slow
class TestProcesses:
    def call(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", "from langflow_otel.cli.main import main; main()", "doctor", *arguments],
            capture_output=True,
            text=True,
            env={**os.environ, **variables},
            timeout=110,
            check=False,
        )

    def test_all_is_well(self) -> None:
        with otlp_receiver(HTTP) as receiver:
            done = self.call("--json", OTEL_EXPORTER_OTLP_ENDPOINT=f"http://{receiver.address}")

        told = json.loads(done.stdout)
        (hooked,) = (check for check in told["checks"] if check["section"] == "hooks" and check["name"] == "hooks")
        assert (done.returncode, done.stderr, told["ok"]) == (0, "", True)
        assert "lfx.graph.graph.base:Graph.arun" in hooked["on"]
        assert hooked["off"] == {}
        # The other process, which imports LangFlow, sends nothing.
        assert len(receiver.requests) == 1

    def test_nothing_but_its_own_words_is_on_a_terminal_without_unicode(self) -> None:
        with nobody() as address:
            done = self.call(
                OTEL_EXPORTER_OTLP_ENDPOINT=f"http://{address}",
                OTEL_EXPORTER_OTLP_PROTOCOL="grpc",
                PYTHONIOENCODING="ascii",
                COLUMNS="80",
            )

        assert (done.returncode, done.stderr) == (1, "")
        assert done.stdout.isascii()
        assert "-> OTEL_EXPORTER_OTLP_ENDPOINT: start a collector there" in done.stdout
        assert done.stdout.rstrip().endswith("3 problems.")

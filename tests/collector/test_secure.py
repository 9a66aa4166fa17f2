"""Only who has a certificate of ours and the token gets telemetry in; further on it goes in the same way."""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from backends import arrived, tls_receiver
from certificates import GATEWAY_TOKEN, TOKEN, Authority, write_tls_folder
from collector_flows import instrumented, run_flows
from collector_process import Collector, eventually
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub
from otlp_receiver import Receiver

pytestmark = pytest.mark.slow

Door = tuple[Collector, Path, Receiver]


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    folder = tmp_path_factory.mktemp("secure")
    tls = write_tls_folder(folder / "tls")
    stranger = Authority("another authority")
    stranger.issue(tls / "stranger.pem", tls / "stranger-key.pem")
    with (
        tls_receiver(tls) as backend,
        Collector("secure.yaml", folder, COLLECTOR_TLS=tls, GATEWAY_ENDPOINT=backend.address) as collector,
    ):
        yield collector, tls, backend


def client(tls: Path, certificate: str | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(tls / "ca.pem"))
    if certificate:
        context.load_cert_chain(tls / f"{certificate}.pem", tls / f"{certificate}-key.pem")
    return context


def posted(door: Door, certificate: str | None, token: str | None) -> int:
    """The answer to a request over HTTP."""
    collector, tls, _ = door
    connection = http.client.HTTPSConnection(collector.http, context=client(tls, certificate), timeout=10)
    headers = {"Content-Type": "application/x-protobuf"} | ({"Authorization": f"Bearer {token}"} if token else {})
    try:
        connection.request("POST", "/v1/traces", body=b"", headers=headers)
        return connection.getresponse().status
    finally:
        connection.close()


def called(door: Door, certificate: str | None, token: str | None) -> str:
    """The status of a call over gRPC."""
    collector, tls, _ = door
    pair = [(tls / f"{certificate}{end}").read_bytes() for end in ("-key.pem", ".pem")] if certificate else [None, None]
    credentials = grpc.ssl_channel_credentials((tls / "ca.pem").read_bytes(), *pair)
    with grpc.secure_channel(collector.grpc, credentials) as channel:
        metadata = [("authorization", f"Bearer {token}")] if token else []
        try:
            TraceServiceStub(channel).Export(ExportTraceServiceRequest(), timeout=10, metadata=metadata)
        except grpc.RpcError as error:
            return str(error.code().name)
    return "OK"


def test_with_certificate_and_token_it_opens(door):
    assert posted(door, "client", TOKEN) == 200
    assert called(door, "client", TOKEN) == "OK"


@pytest.mark.parametrize("token", [None, "a guess", GATEWAY_TOKEN])
def test_without_the_token_it_does_not(door, token):
    assert posted(door, "client", token) == 401
    assert called(door, "client", token) == "UNAUTHENTICATED"


@pytest.mark.parametrize("certificate", [None, "stranger"])
def test_without_a_certificate_of_ours_it_does_not(door, certificate):
    with pytest.raises(OSError, match=r"certificate required|unknown ca|reset"):
        posted(door, certificate, TOKEN)
    assert called(door, certificate, TOKEN) == "UNAVAILABLE"


def test_it_does_not_speak_in_plain(door):
    connection = http.client.HTTPConnection(door[0].http, timeout=10)
    connection.request("POST", "/v1/traces", body=b"", headers={"Authorization": f"Bearer {TOKEN}"})

    assert connection.getresponse().status == 400


def test_real_flows_pass_through_an_agent_and_the_door_to_a_backend_as_strict(door, tmp_path):
    collector, tls, backend = door
    with Collector(
        "agent.yaml",
        tmp_path,
        GATEWAY_ENDPOINT=collector.grpc,
        GATEWAY_INSECURE="false",
        GATEWAY_CA_FILE=tls / "ca.pem",
        GATEWAY_CERT_FILE=tls / "client.pem",
        GATEWAY_KEY_FILE=tls / "client-key.pem",
        GATEWAY_TOKEN=TOKEN,
    ) as agent:
        with instrumented(tmp_path, agent.http) as sent:
            run_flows("ok", "failing")
        eventually(lambda: sent.span_ids <= set(arrived(backend)))


def test_the_library_passes_with_a_certificate_and_a_token_of_its_own(door, tmp_path, monkeypatch):
    collector, tls, backend = door
    # Where it is set, requests heeds it more than the exporter's own certificate.
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    monkeypatch.delenv("CURL_CA_BUNDLE", raising=False)
    headers = tmp_path / "headers"
    headers.write_text(f"authorization=Bearer {TOKEN}\n")
    with instrumented(
        tmp_path,
        collector.http,
        OTEL_EXPORTER_OTLP_ENDPOINT=f"https://{collector.http}",
        OTEL_EXPORTER_OTLP_CERTIFICATE=str(tls / "ca.pem"),
        OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE=str(tls / "client.pem"),
        OTEL_EXPORTER_OTLP_CLIENT_KEY=str(tls / "client-key.pem"),
        LANGFLOW_OTEL_OTLP_HEADERS_FILE=str(headers),
    ) as sent:
        run_flows("ok")
    eventually(lambda: sent.span_ids <= set(arrived(backend)))

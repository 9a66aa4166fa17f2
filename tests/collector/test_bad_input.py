"""What the collector says of a wrong set-up, and what becomes of the telemetry: the README's table of troubles."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from backends import arrived, made_span, remote_written_prometheus, send, send_total, tls_receiver
from certificates import TOKEN, Authority, write_tls_folder
from collector_process import CONFIGS, Collector, eventually, free_ports, refused_to_start
from otlp_receiver import Receiver, otlp_receiver

pytestmark = pytest.mark.slow

Door = tuple[Collector, Path, Receiver]


def in_the_readme(phrase: str) -> str:
    """The phrase, which the README's table has to quote."""
    assert f"`{phrase}`" in (CONFIGS / "README.md").read_text()
    return phrase


def some_spans(count: int = 10) -> list:
    return [made_span(bytes([index]) * 16) for index in range(1, count + 1)]


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    folder = tmp_path_factory.mktemp("door")
    tls = write_tls_folder(folder / "tls")
    (tls / "other-ca.pem").write_bytes(Authority("another authority").pem)
    with (
        tls_receiver(tls) as backend,
        Collector("secure.yaml", folder, COLLECTOR_TLS=tls, GATEWAY_ENDPOINT=backend.address) as collector,
    ):
        yield collector, tls, backend


def agent(door: Door, folder: Path, *, authority: str = "ca", token: str = TOKEN) -> Collector:
    collector, tls, _ = door
    return Collector(
        "agent.yaml",
        folder,
        GATEWAY_ENDPOINT=collector.grpc,
        GATEWAY_INSECURE="false",
        GATEWAY_CA_FILE=tls / f"{authority}.pem",
        GATEWAY_CERT_FILE=tls / "client.pem",
        GATEWAY_KEY_FILE=tls / "client-key.pem",
        GATEWAY_TOKEN=token,
    )


@pytest.mark.parametrize(
    ("missing", "phrase"),
    [
        ("token", "failed to read credentials file"),
        ("server-key.pem", "failed to load TLS cert and key"),
        ("ca.pem", "failed to load CA CertPool"),
    ],
)
def test_a_missing_secret_keeps_it_from_starting(tmp_path, missing, phrase):
    tls = write_tls_folder(tmp_path / "tls")
    (tls / missing).unlink()

    said = refused_to_start("secure.yaml", tmp_path, COLLECTOR_TLS=tls)

    assert in_the_readme(phrase) in said
    assert missing in said


def test_a_number_that_is_none_keeps_it_from_starting(tmp_path):
    said = refused_to_start("agent.yaml", tmp_path, COLLECTOR_QUEUE_ITEMS="many")

    assert in_the_readme("expected type 'int64', got unconvertible type 'string'") in said
    assert "queue_size" in said


def test_an_unreachable_gateway_is_waited_for_on_disk(tmp_path):
    [port] = free_ports(1)

    with Collector("agent.yaml", tmp_path, GATEWAY_ENDPOINT=f"127.0.0.1:{port}") as collector:
        send(collector.grpc, [some_spans()])
        eventually(lambda: in_the_readme("connect: connection refused") in collector.said)
        eventually(lambda: "Will retry the request" in collector.said)
        assert collector.own_metric("otelcol_exporter_queue_size", data_type="traces") == 10
    with otlp_receiver("grpc") as backend:
        collector.environment["GATEWAY_ENDPOINT"] = backend.address
        with collector:
            eventually(lambda: len(arrived(backend)) == 10)


def test_a_gateway_with_another_certificate_is_waited_for(door, tmp_path):
    collector = agent(door, tmp_path, authority="other-ca")

    with collector:
        send(collector.grpc, [some_spans()])
        eventually(lambda: in_the_readme("x509: certificate signed by unknown authority") in collector.said)
        assert collector.own_metric("otelcol_exporter_queue_size", data_type="traces") == 10
    collector.environment["GATEWAY_CA_FILE"] = str(door[1] / "ca.pem")
    with collector:
        eventually(lambda: len(arrived(door[2])) == 10)


def test_with_a_wrong_token_all_is_lost_and_counted(door, tmp_path):
    with agent(door, tmp_path, token="a guess") as collector:
        send(collector.grpc, [some_spans()])
        eventually(lambda: in_the_readme("code = Unauthenticated") in collector.said)
        assert "Dropping data" in collector.said
        eventually(lambda: collector.own_metric("otelcol_exporter_send_failed_spans_total") == 10)


def test_a_full_queue_refuses_and_the_sender_keeps_what_it_has(tmp_path):
    [port] = free_ports(1)

    with Collector(
        "agent.yaml", tmp_path, GATEWAY_ENDPOINT=f"127.0.0.1:{port}", COLLECTOR_QUEUE_ITEMS=100
    ) as collector:
        send(collector.grpc, [some_spans(90)])
        with pytest.raises(grpc.RpcError) as refused:
            send(collector.grpc, [some_spans(90)])
        assert refused.value.code() == grpc.StatusCode.UNAVAILABLE
        assert in_the_readme("sending queue is full") in collector.said
        assert collector.own_metric("otelcol_receiver_refused_spans_total") == 90


@pytest.mark.skipif(
    shutil.which("prometheus") is None, reason="Prometheus is not installed: apt-get install prometheus"
)
def test_a_prometheus_that_takes_no_remote_write_is_named(tmp_path):
    with (
        remote_written_prometheus(tmp_path, receiver=()) as prometheus,
        Collector("gateway.yaml", tmp_path, PROMETHEUS_REMOTE_WRITE=prometheus.write_url) as gateway,
    ):
        send_total(gateway.grpc, "made_total", [1], [time.time_ns()])
        eventually(lambda: in_the_readme("remote write receiver needs to be enabled") in gateway.said)
        eventually(lambda: gateway.own_metric("otelcol_exporter_send_failed_metric_points_total"))


def test_an_endpoint_without_a_scheme_is_waited_for(tmp_path):
    quick = {"KEEP_PERCENT": 100, "DECISION_WAIT": "1s", "DECISION_WAIT_AFTER_ROOT": "1s"}

    with Collector("gateway.yaml", tmp_path, TRACES_ENDPOINT="tempo:4318", **quick) as gateway:
        send(gateway.grpc, [some_spans()])
        eventually(lambda: in_the_readme("unsupported protocol scheme") in gateway.said)
        assert "Will retry the request" in gateway.said


def test_a_port_in_use_keeps_it_from_starting(tmp_path):
    with Collector("standalone.yaml", tmp_path, PROMETHEUS_PORT="127.0.0.1:0") as collector:
        said = refused_to_start("standalone.yaml", tmp_path, COLLECTOR_OTLP_GRPC=collector.grpc)

    assert in_the_readme("address already in use") in said
    assert collector.grpc in said

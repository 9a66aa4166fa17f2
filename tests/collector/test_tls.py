"""TLS is switched on by variables: between agent and gateway with certificates of both, and to the backend."""

from __future__ import annotations

import os
import ssl
import urllib.error
import urllib.request

import grpc
import pytest
from backends import arrived, made_span, send
from certificates import write_tls_folder
from collector_process import Collector, eventually
from otlp_receiver import otlp_receiver

pytestmark = pytest.mark.slow


def test_agent_gateway_and_backend_speak_tls_alone(tmp_path):
    tls = write_tls_folder(tmp_path / "tls")
    serves = {
        "COLLECTOR_TLS_ENABLED": "true",
        "COLLECTOR_CERT_FILE": tls / "server.pem",
        "COLLECTOR_KEY_FILE": tls / "server-key.pem",
        "COLLECTOR_CLIENT_CA_FILE": tls / "ca.pem",
    }
    shows = {"CA_FILE": tls / "ca.pem", "CERT_FILE": tls / "client.pem", "KEY_FILE": tls / "client-key.pem"}
    backend = {f"BACKEND_{name}": path for name, path in shows.items()}
    gateway_is = {"GATEWAY_INSECURE": "false", **{f"GATEWAY_{name}": path for name, path in shows.items()}}
    spans = [made_span(os.urandom(16), failed=True) for _ in range(20)]

    with (
        otlp_receiver("grpc") as received,
        # In the place of a backend of traces: it takes OTLP over HTTP, from who has a certificate.
        Collector("agent.yaml", tmp_path, GATEWAY_ENDPOINT=received.address, **serves) as behind,
        Collector(
            "gateway.yaml",
            tmp_path,
            TRACES_ENDPOINT=f"https://{behind.http}",
            DECISION_WAIT="1s",
            **serves,
            **backend,
        ) as gateway,
        Collector("agent.yaml", tmp_path, GATEWAY_ENDPOINT=gateway.grpc, **gateway_is) as agent,
    ):
        send(agent.grpc, [spans])
        eventually(lambda: {span.span_id.hex() for span in spans} <= set(arrived(received)))

        with pytest.raises(grpc.RpcError):
            send(gateway.grpc, [spans])
        without = ssl.create_default_context(cafile=str(tls / "ca.pem"))
        with pytest.raises(OSError, match=r"certificate required|reset"):
            urllib.request.urlopen(f"https://{gateway.http}/v1/traces", timeout=10, context=without)
        with pytest.raises(urllib.error.HTTPError, match="400"):
            urllib.request.urlopen(f"http://{gateway.http}/v1/traces", timeout=10)

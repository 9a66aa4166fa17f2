"""The collector with the variables of compose.tls.yaml and the certificates of its script: TLS from LangFlow on."""

from __future__ import annotations

import http.client
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml
from backends import arrived
from collector_flows import instrumented, run_flows
from collector_process import CONFIGS, Collector, eventually
from otlp_receiver import Receiver, otlp_receiver

pytestmark = pytest.mark.slow


class Composed(NamedTuple):
    """The services of the compose file, as processes.

    Attributes:
        langflow: The variables of LangFlow's, with the paths of the folder that is mounted there.
    """

    collector: Collector
    backend: Receiver
    certs: Path
    langflow: dict[str, str]


@pytest.fixture(scope="module")
def composed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Composed]:
    folder = tmp_path_factory.mktemp("compose-tls")
    certs = folder / "certs"
    subprocess.run(["sh", CONFIGS / "compose" / "certificates.sh", certs], check=True, capture_output=True, timeout=60)
    langflow, given = (with_paths(name, certs) for name in ("langflow", "otel-collector"))
    quick = {"KEEP_PERCENT": 100, "DECISION_WAIT": "1s", "DECISION_WAIT_AFTER_ROOT": "1s"}
    with otlp_receiver("http/protobuf") as backend:
        to_backend = {"TRACES_ENDPOINT": f"http://{backend.address}", "LOGS_ENDPOINT": f"http://{backend.address}"}
        with Collector("gateway.yaml", folder, **to_backend, **quick, **given) as collector:
            yield Composed(collector, backend, certs, langflow)


def with_paths(name: str, certs: Path) -> dict[str, str]:
    """A service's variables, with the folder that is mounted in the place of where it is mounted."""
    service = yaml.safe_load((CONFIGS / "compose" / "compose.tls.yaml").read_text())["services"][name]
    (mount,) = service["volumes"]
    folder = str(certs / Path(mount["source"]).name)
    return {variable: value.replace(mount["target"], folder) for variable, value in service["environment"].items()}


def test_runs_reach_the_backend(composed: Composed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Where it is set, requests heeds it more than the exporter's own certificate.
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    monkeypatch.delenv("CURL_CA_BUNDLE", raising=False)
    address = by_name(composed.collector.http)
    with instrumented(
        tmp_path, address, **{**composed.langflow, "OTEL_EXPORTER_OTLP_ENDPOINT": f"https://{address}"}
    ) as sent:
        run_flows("ok")

    eventually(lambda: sent.span_ids and sent.span_ids <= set(arrived(composed.backend)))


def test_only_a_sender_with_a_certificate_is_heard(composed: Composed) -> None:
    address = by_name(composed.collector.http)

    assert answer(http.client.HTTPSConnection(address, context=client(composed, "langflow"), timeout=10)) == 200
    with pytest.raises(OSError, match=r"certificate required|reset"):
        answer(http.client.HTTPSConnection(address, context=client(composed, None), timeout=10))
    assert answer(http.client.HTTPConnection(address, timeout=10)) == 400


def client(composed: Composed, name: str | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(composed.certs / "ca.crt"))
    if name:
        context.load_cert_chain(composed.certs / name / "tls.crt", composed.certs / name / "tls.key")
    return context


def by_name(address: str) -> str:
    """The certificates are for names."""
    return address.replace("127.0.0.1", "localhost")


def answer(connection: http.client.HTTPConnection) -> int:
    try:
        connection.request("POST", "/v1/traces", body=b"", headers={"Content-Type": "application/x-protobuf"})
        return connection.getresponse().status
    finally:
        connection.close()

"""Prometheus accepts its configuration; with web.yml it is reached by TLS and a password alone."""

from __future__ import annotations

import base64
import datetime
import ipaddress
import json
import shutil
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

pytest.importorskip("promql_parser", reason="reads the rules: pip install 'langflow-otel[configs]'")
pytest.importorskip("bcrypt", reason="hashes a password: pip install 'langflow-otel[configs]'")
pytest.importorskip("cryptography", reason="makes a certificate: pip install 'langflow-otel[configs]'")

import bcrypt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from live import free_port, process
from promql import CONFIG

PROMETHEUS = CONFIG / "prometheus"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        shutil.which("promtool") is None, reason="Prometheus is not installed: apt-get install prometheus"
    ),
]


@pytest.mark.parametrize("name", ["alone.yml", "prometheus.yml"])
def test_promtool_accepts_the_configuration(name: str):
    checked = subprocess.run(
        ["promtool", "check", "config", str(PROMETHEUS / name)], capture_output=True, text=True, check=False
    )

    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "6 rule files found" in checked.stdout


def test_the_target_that_is_only_shown_is_accepted_as_well(tmp_path: Path):
    """InfluxDB, TLS, the scrape's token and the pods of Kubernetes stand in comments."""
    text = (PROMETHEUS / "prometheus.yml").read_text()
    for name in ("influxdb", "scheme: https", "authorization:"):
        assert f"# {'- name: ' if name == 'influxdb' else ''}{name}" in text
    config = yaml.safe_load(with_what_is_shown(text))
    assert [each["name"] for each in config["remote_write"]] == ["victoria-metrics", "influxdb"]
    assert config["scrape_configs"][-1]["job_name"] == "probe-langflow"
    assert [each["scheme"] for each in config["scrape_configs"] if "scheme" in each] == ["https", "https"]
    (tmp_path / "certs").mkdir()
    (tmp_path / "secrets").mkdir()
    make_certificate(tmp_path / "certs" / "ca.crt", tmp_path / "certs" / "ca.key")
    for secret in ("scrape_token", "prometheus_password", "influxdb_password"):
        (tmp_path / "secrets" / secret).write_text("s")
    shutil.copytree(PROMETHEUS / "rules", tmp_path / "rules")
    # Debian's Prometheus has no discovery of Kubernetes.
    config["scrape_configs"] = [each for each in config["scrape_configs"] if "kubernetes_sd_configs" not in each]
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(config))

    checked = subprocess.run(
        ["promtool", "check", "config", "prometheus.yml"], cwd=tmp_path, capture_output=True, text=True, check=False
    )

    assert checked.returncode == 0, checked.stdout + checked.stderr


def with_what_is_shown(text: str) -> str:
    """The configuration with its comments that are configuration."""
    return "\n".join(
        line.replace("# ", "", 1)
        if line.lstrip().startswith(("# - name", "# - job_name", "#   ", "# scheme", "# tls", "# auth", "# basic"))
        else line
        for line in text.splitlines()
    )


def test_pods_have_the_namespace_that_tells_them_apart(tmp_path: Path):
    text = with_what_is_shown((PROMETHEUS / "prometheus.yml").read_text())
    job = next(each for each in yaml.safe_load(text)["scrape_configs"] if "kubernetes_sd_configs" in each)
    del job["kubernetes_sd_configs"]
    job["static_configs"] = [
        {"targets": [f"10.0.0.{n}:{port}"], "labels": pod_labels(namespace, name)}
        for n, (namespace, name, port) in enumerate(
            [("test", "metrics", 9464), ("live", "metrics", 9464), ("live", "http", 1)]
        )
    ]
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump({"scrape_configs": [job]}))

    found = subprocess.run(
        # It asks for results without a pause until the time is over, and has these at once.
        ["promtool", "check", "service-discovery", "--timeout=5s", "prometheus.yml", "langflow"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )

    kept = [each["labels"] for each in json.loads(found.stdout) if each.get("labels")]
    assert {(each["job"], each["namespace"]) for each in kept} == {("langflow", "test"), ("langflow", "live")}
    assert len(kept) == 2


def pod_labels(namespace: str, port_name: str) -> dict[str, str]:
    """As Prometheus finds a pod of LangFlow."""
    return {
        "__meta_kubernetes_namespace": namespace,
        "__meta_kubernetes_pod_name": f"langflow-of-{namespace}",
        "__meta_kubernetes_pod_label_app_kubernetes_io_name": "langflow",
        "__meta_kubernetes_pod_container_port_name": port_name,
    }


@pytest.mark.parametrize("name", ["alone.yml", "prometheus.yml"])
def test_no_missing_file_can_keep_it_from_starting(name: str):
    """Files that Prometheus opens at its start: the rules alone, which are here."""
    config = yaml.safe_load((PROMETHEUS / name).read_text())

    assert "query_log_file" not in config["global"]
    assert config["rule_files"] == ["rules/*.yml"]
    assert "_file" not in yaml.safe_dump(config).replace("rule_files", "")


def test_alone_langflow_is_scraped_as_with_the_rest():
    alone, whole = (yaml.safe_load((PROMETHEUS / name).read_text()) for name in ("alone.yml", "prometheus.yml"))

    assert {"remote_write", "storage"} & set(alone) == set()
    assert alone["global"] == whole["global"]
    jobs = {each["job_name"]: each for each in whole["scrape_configs"]}
    for each in alone["scrape_configs"]:
        shipped = jobs[each["job_name"]]
        assert each.get("metric_relabel_configs") == shipped.get("metric_relabel_configs")


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, ssl.SSLContext]]:
    """Our prometheus.yml and web.yml as they are, but for a password that is known and a certificate of today."""
    folder = tmp_path_factory.mktemp("secured")
    shutil.copytree(PROMETHEUS, folder, dirs_exist_ok=True)
    (folder / "certs").mkdir()
    make_certificate(folder / "certs" / "prometheus.crt", folder / "certs" / "prometheus.key")
    web = yaml.safe_load((folder / "web.yml").read_text())
    web["basic_auth_users"]["grafana"] = bcrypt.hashpw(b"known", bcrypt.gensalt(4)).decode()
    (folder / "web.yml").write_text(yaml.safe_dump(web))
    address = f"127.0.0.1:{free_port()}"
    command = ["prometheus", f"--config.file={folder / 'prometheus.yml'}", f"--web.config.file={folder / 'web.yml'}"]
    command += [f"--storage.tsdb.path={folder / 'data'}", f"--web.listen-address={address}"]
    with process([*command, "--storage.remote.flush-deadline=1s"], folder / "prometheus.log"):
        context = ssl.create_default_context(cafile=str(folder / "certs" / "prometheus.crt"))
        for _ in range(100):
            try:
                get(f"https://{address}/-/ready", context, "grafana:known")
                break
            except OSError:
                time.sleep(0.1)
        yield address, context


def get(url: str, context: ssl.SSLContext | None = None, user: str = "") -> str:
    request = urllib.request.Request(url)
    if user:
        request.add_header("Authorization", f"Basic {base64.b64encode(user.encode()).decode()}")
    with urllib.request.urlopen(request, timeout=5, context=context) as response:
        return response.read().decode()


def test_it_answers_by_tls_with_a_password(secured):
    address, context = secured

    assert '"status":"success"' in get(f"https://{address}/api/v1/query?query=1", context, "grafana:known")


@pytest.mark.parametrize("user", ["", "grafana:wrong", "prometheus:known", "nobody:known"])
def test_it_answers_nobody_else(secured, user: str):
    address, context = secured

    with pytest.raises(urllib.error.HTTPError, match="401"):
        get(f"https://{address}/api/v1/query?query=1", context, user)


def test_it_does_not_answer_in_the_clear(secured):
    address, _ = secured

    with pytest.raises(urllib.error.HTTPError, match="400"):
        get(f"http://{address}/api/v1/query?query=1")


def test_a_certificate_of_somebody_else_is_refused(secured):
    address, _ = secured

    with pytest.raises(urllib.error.URLError, match="CERTIFICATE_VERIFY_FAILED"):
        get(f"https://{address}/-/ready", ssl.create_default_context())


def make_certificate(certificate: Path, key: Path) -> None:
    """For 127.0.0.1, signed by itself, for an hour."""
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "prometheus")])
    now = datetime.datetime.now(datetime.timezone.utc)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(private, hashes.SHA256())
    )
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    key.write_bytes(private.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))

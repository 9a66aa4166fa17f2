"""Prometheus accepts its configuration; with web.yml it is reached by TLS and a password alone."""

from __future__ import annotations

import base64
import datetime
import ipaddress
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


def test_promtool_accepts_the_configuration():
    checked = subprocess.run(
        ["promtool", "check", "config", str(PROMETHEUS / "prometheus.yml")], capture_output=True, text=True, check=False
    )

    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "6 rule files found" in checked.stdout


def test_the_target_that_is_only_shown_is_accepted_as_well(tmp_path: Path):
    """InfluxDB, TLS and the scrape's token stand in comments."""
    text = (PROMETHEUS / "prometheus.yml").read_text()
    for name in ("influxdb", "scheme: https", "authorization:"):
        assert f"# {'- name: ' if name == 'influxdb' else ''}{name}" in text
    shown = "\n".join(
        line.replace("# ", "", 1)
        if line.lstrip().startswith(("# - name", "# - job_name", "#   ", "# scheme", "# tls", "# auth", "# basic"))
        else line
        for line in text.splitlines()
    )
    config = yaml.safe_load(shown)
    assert [each["name"] for each in config["remote_write"]] == ["victoria-metrics", "influxdb"]
    assert config["scrape_configs"][-1]["job_name"] == "probe-langflow"
    assert [each["scheme"] for each in config["scrape_configs"] if "scheme" in each] == ["https", "https"]
    (tmp_path / "certs").mkdir()
    (tmp_path / "secrets").mkdir()
    make_certificate(tmp_path / "certs" / "ca.crt", tmp_path / "certs" / "ca.key")
    for secret in ("scrape_token", "prometheus_password", "influxdb_password"):
        (tmp_path / "secrets" / secret).write_text("s")
    shutil.copytree(PROMETHEUS / "rules", tmp_path / "rules")
    (tmp_path / "prometheus.yml").write_text(shown)

    checked = subprocess.run(
        ["promtool", "check", "config", "prometheus.yml"], cwd=tmp_path, capture_output=True, text=True, check=False
    )

    assert checked.returncode == 0, checked.stdout + checked.stderr


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

"""A certificate authority for a test, and the folder of certificates that secure.yaml reads."""

from __future__ import annotations

import datetime
import ipaddress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes

USES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)
TOKEN, GATEWAY_TOKEN = "token-of-the-senders", "token-of-the-gateway"


class Authority:
    """Signs certificates for 127.0.0.1, with what Python 3.13 wants of them (``ssl.VERIFY_X509_STRICT``)."""

    def __init__(self, name: str = "test authority") -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name(name)
        self._certificate = _sign(self._name, self._key.public_key(), self._name, self._key, is_authority=True)

    @property
    def pem(self) -> bytes:
        return self._certificate.public_bytes(serialization.Encoding.PEM)

    def issue(self, certificate: Path, key_file: Path) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        signed = _sign(_name(certificate.stem), key.public_key(), self._name, self._key, is_authority=False)
        certificate.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
        key_file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )


def write_tls_folder(folder: Path) -> Path:
    """Everything that secure.yaml wants of its folder COLLECTOR_TLS."""
    folder.mkdir()
    authority = Authority()
    (folder / "ca.pem").write_bytes(authority.pem)
    for name in ("server", "client"):
        authority.issue(folder / f"{name}.pem", folder / f"{name}-key.pem")
    (folder / "token").write_text(TOKEN)
    (folder / "gateway-token").write_text(GATEWAY_TOKEN)
    return folder


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])


def _sign(
    subject: x509.Name,
    public_key: ec.EllipticCurvePublicKey,
    issuer: x509.Name,
    issuer_key: CertificateIssuerPrivateKeyTypes,
    *,
    is_authority: bool,
) -> x509.Certificate:
    now = datetime.datetime.now(datetime.timezone.utc)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    signs = dict.fromkeys(USES, False) | {"key_cert_sign" if is_authority else "digital_signature": True}
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=2))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        .add_extension(x509.KeyUsage(**signs), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
        .sign(issuer_key, hashes.SHA256())
    )

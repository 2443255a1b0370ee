"""Certificates for tests: an authority of one's own, and what it signs."""

import datetime as dt
import ipaddress
import ssl
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_PEM = serialization.Encoding.PEM


@dataclass
class Authority:
    """Signs certificates for 127.0.0.1. ``file`` is what clients trust."""

    file: Path

    def __post_init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._certificate = _signed("authority", self._key.public_key(), "authority", self._key, is_authority=True)
        self.file.write_bytes(self._certificate.public_bytes(_PEM))

    def issue(self, certificate: Path, key: Path, *, name: str = "server", passphrase: bytes | None = None) -> None:
        """Write a new certificate and its key, in place of what is there."""
        private = ec.generate_private_key(ec.SECP256R1())
        found = _signed(name, private.public_key(), "authority", self._key, is_authority=False)
        encryption = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
        key.write_bytes(private.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, encryption))
        certificate.write_bytes(found.public_bytes(_PEM))


def serving(authority: Authority) -> ssl.SSLContext:
    """What a server needs that shows a certificate of this authority."""
    certificate, key = authority.file.with_suffix(".crt"), authority.file.with_suffix(".key")
    authority.issue(certificate, key)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    return context


def _signed(
    name: str,
    key: ec.EllipticCurvePublicKey,
    issuer: str,
    signer: ec.EllipticCurvePrivateKey,
    *,
    is_authority: bool,
) -> x509.Certificate:
    now = dt.datetime.now(dt.UTC)
    addresses = [x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("localhost")]
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(minutes=5))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName(addresses), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
        .sign(signer, hashes.SHA256())
    )

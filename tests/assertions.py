"""SAML responses as a provider makes them, signed as it does."""

import base64
import datetime as dt
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import NameOID
from lxml import etree
from signxml import DigestAlgorithm, SignatureMethod, XMLSigner
from signxml.algorithms import CanonicalizationMethod

from issuer import rsa_key

ISSUER, AUDIENCE, RECIPIENT = "urn:idp:example", "urn:raworc", "https://raworc.example.com/saml"
NAMESPACES = {
    "p": "urn:oasis:names:tc:SAML:2.0:protocol",
    "a": "urn:oasis:names:tc:SAML:2.0:assertion",
    "ds": "http://www.w3.org/2000/09/xmldsig#",
}


def moment(seconds: float) -> str:
    return (dt.datetime.now(dt.UTC) + dt.timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass
class Signer:
    """A key and its certificate. ``valid_days``: from yesterday on."""

    valid_days: float = 30
    key: Any = field(default_factory=rsa_key)

    def __post_init__(self) -> None:
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "provider")])
        since = dt.datetime.now(dt.UTC) - dt.timedelta(days=1)
        self.certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(since)
            .not_valid_after(since + dt.timedelta(days=self.valid_days))
            .sign(self.key, hashes.SHA256())
        )

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def write(self, file: Path, *others: "Signer") -> Path:
        file.write_bytes(b"".join(one.pem for one in (self, *others)))
        return file

    def sign(self, root: etree._Element, part: str, method: str = "RSA_SHA256", digest: str = "SHA256") -> None:
        """Sign the part of this id, behind its issuer."""
        found = next(item for item in root.iter() if item.get("ID") == part)
        found.insert(
            1, etree.Element(f"{{{NAMESPACES['ds']}}}Signature", Id="placeholder", nsmap={"ds": NAMESPACES["ds"]})
        )
        signer = XMLSigner(
            signature_algorithm=SignatureMethod[method],
            digest_algorithm=DigestAlgorithm[digest],
            c14n_algorithm=CanonicalizationMethod.EXCLUSIVE_XML_CANONICALIZATION_1_0,
        )
        signed = signer.sign(root, key=self.key, cert=[self.certificate], reference_uri=part, id_attribute="ID")
        root[:] = signed[:]


@dataclass
class Response:
    """A good response; change what a test is about. ``signed``: which of its two parts are."""

    subject: str = "subject-1"
    name_id: str | None = None
    issuer: str = ISSUER
    audience: str | None = AUDIENCE
    recipient: str = RECIPIENT
    destination: str = RECIPIENT
    status: str = "urn:oasis:names:tc:SAML:2.0:status:Success"
    method: str = "urn:oasis:names:tc:SAML:2.0:cm:bearer"
    format: str = "urn:oasis:names:tc:SAML:2.0:nameid-format:persistent"
    since_s: float = -5
    until_s: float = 300
    confirmed_s: float = 300
    session_s: float = 3600
    attributes: dict[str, list[str]] = field(default_factory=dict)
    login: bool = True
    id: str = field(default_factory=lambda: f"_{uuid.uuid4().hex}")
    signed: tuple[str, ...] = ("assertion",)

    @property
    def response_id(self) -> str:
        return f"{self.id}-response"

    def assertion(self) -> str:
        only = f"<a:AudienceRestriction><a:Audience>{self.audience}</a:Audience></a:AudienceRestriction>"
        values = {
            name: "".join(f"<a:AttributeValue>{value}</a:AttributeValue>" for value in several)
            for name, several in self.attributes.items()
        }
        statement = "".join(f'<a:Attribute Name="{name}">{value}</a:Attribute>' for name, value in values.items())
        named = f'<a:NameID Format="{self.format}">{self.subject}</a:NameID>'
        login = f'<a:AuthnStatement AuthnInstant="{moment(-5)}" SessionNotOnOrAfter="{moment(self.session_s)}"/>'
        return (
            f'<a:Assertion xmlns:a="{NAMESPACES["a"]}" ID="{self.id}" Version="2.0" IssueInstant="{moment(-5)}">'
            f"<a:Issuer>{self.issuer}</a:Issuer>"
            f"<a:Subject>{self.name_id or named}"
            f'<a:SubjectConfirmation Method="{self.method}"><a:SubjectConfirmationData InResponseTo="_request"'
            f' NotOnOrAfter="{moment(self.confirmed_s)}" Recipient="{self.recipient}"/></a:SubjectConfirmation>'
            "</a:Subject>"
            f'<a:Conditions NotBefore="{moment(self.since_s)}" NotOnOrAfter="{moment(self.until_s)}">'
            f"{'' if self.audience is None else only}</a:Conditions>"
            f"{login if self.login else ''}<a:AttributeStatement>{statement}</a:AttributeStatement></a:Assertion>"
        )

    def tree(self) -> etree._Element:
        """Still without signatures."""
        return etree.fromstring(
            f'<p:Response xmlns:p="{NAMESPACES["p"]}" ID="{self.response_id}" Version="2.0" IssueInstant="{moment(-5)}"'
            f' Destination="{self.destination}"><a:Issuer xmlns:a="{NAMESPACES["a"]}">{self.issuer}</a:Issuer>'
            f'<p:Status><p:StatusCode Value="{self.status}"/></p:Status>'
            f"{self.assertion()}</p:Response>"
        )

    def made(self, signer: Signer, **how: str) -> etree._Element:
        root = self.tree()
        for part in self.signed:
            signer.sign(root, self.id if part == "assertion" else self.response_id, **how)
        return root


def encoded(root: etree._Element | bytes) -> str:
    return base64.b64encode(root if isinstance(root, bytes) else etree.tostring(root)).decode()

"""SAML 2.0 responses (base64): a signature of the provider, and an assertion that is meant for us and counts now.

signxml verifies; only what it gives back as signed is read, never the document that came. Needs the extra ``saml``.
Responses are taken as they are posted to the address that the provider knows, so ``InResponseTo``, which belongs to a
request of whoever runs that address, is left to it; each assertion counts once instead.
"""

import asyncio
import hashlib
from base64 import b64decode
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from importlib import import_module
from typing import Any, Final

from cryptography.x509 import Certificate

from raworc.clock import now
from raworc.domain.identities import MAX_SUBJECT_CHARACTERS, Identity, OneUse, Saml
from raworc.domain.text import is_plain
from raworc.wire.identities.verifier import Rejected

_MAX_CHARACTERS: Final = 262_144
_OF_ASSERTION: Final = "{urn:oasis:names:tc:SAML:2.0:assertion}"
_OF_PROTOCOL: Final = "{urn:oasis:names:tc:SAML:2.0:protocol}"
_SIGNATURE: Final = "{http://www.w3.org/2000/09/xmldsig#}Signature"
_SUCCESS: Final = "urn:oasis:names:tc:SAML:2.0:status:Success"
_BEARER: Final = "urn:oasis:names:tc:SAML:2.0:cm:bearer"
_TRANSIENT: Final = "urn:oasis:names:tc:SAML:2.0:nameid-format:transient"
_METHODS: Final = tuple(f"{kind}_SHA{bits}" for kind in ("RSA", "ECDSA") for bits in (256, 384, 512))
_YEARS: Final = range(2000, 9000)
_DIGESTS: Final = ("SHA256", "SHA384", "SHA512")

Element = Any
"""An element of lxml, which tells no types."""


class SamlVerifier:
    """Proves responses of one provider by its ``certificates``.

    Raises:
        ImportError: the extra ``saml`` is not installed.
    """

    def __init__(self, provider: Saml, certificates: Sequence[Certificate]) -> None:
        self._provider = provider
        self._certificates = certificates
        self._etree: Any = import_module("lxml.etree")
        self._signxml: Any = import_module("signxml")

    async def verify(self, token: str) -> Identity:
        """As ``Verifier`` says; the provider is never asked."""
        return await asyncio.to_thread(self._verify, token)

    async def close(self) -> None:
        """Nothing is open."""

    def _verify(self, token: str) -> Identity:
        document = _decoded(token)
        root = self._parsed(document)
        _check_shape(root)
        if root.get("Destination", self._provider.recipient) != self._provider.recipient:
            raise Rejected("it was sent to another address")
        assertion = self._signed_assertion(document, root)
        return _Assertion(self._provider, assertion).identity()

    def _parsed(self, document: bytes) -> Element:
        parser = self._etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
        try:
            root = self._etree.fromstring(document, parser=parser)
        except (self._etree.XMLSyntaxError, ValueError):
            raise Rejected("it is no XML document") from None
        info = root.getroottree().docinfo
        if info.internalDTD is not None or info.externalDTD is not None:
            raise Rejected("it declares types of its own")
        return root

    def _signed_assertion(self, document: bytes, root: Element) -> Element:
        """The assertion as it was signed, alone or with all of the response."""
        inner = root.find(f"{_OF_ASSERTION}Assertion")
        if inner.find(_SIGNATURE) is not None:
            signed = self._signed(document, f"./{_OF_ASSERTION}Assertion/")
            if signed is None or signed.tag != f"{_OF_ASSERTION}Assertion":
                raise Rejected("what is signed is not its assertion")
            return signed
        if root.find(_SIGNATURE) is None:
            raise Rejected("it is not signed")
        signed = self._signed(document, "./")
        if signed is None or signed.tag != f"{_OF_PROTOCOL}Response":
            raise Rejected("what is signed is not the response")
        return _one(signed, "Assertion")

    def _signed(self, document: bytes, location: str) -> Element | None:
        """What is signed at a place, by any of the certificates."""
        configuration = self._signxml.SignatureConfiguration(
            location=location,
            signature_methods=frozenset(self._signxml.SignatureMethod[name] for name in _METHODS),
            digest_algorithms=frozenset(self._signxml.DigestAlgorithm[name] for name in _DIGESTS),
            ignore_ambiguous_key_info=True,  # keys that the signature brings are not read at all
        )
        reason = "no certificate is configured"
        for certificate in self._certificates:
            try:
                verified = self._signxml.XMLVerifier().verify(
                    document, x509_cert=certificate, id_attribute="ID", expect_config=configuration
                )
            except self._signxml.exceptions.InvalidCertificate:
                reason = "the certificate that is configured does not count any more"
            except (
                self._signxml.exceptions.SignXMLException,
                self._etree.LxmlError,
                ValueError,
                TypeError,
                AttributeError,
                LookupError,
                AssertionError,
            ):  # what a signature holds is read by it unchecked, so a made-up one ends in any of these
                reason = "no key of the provider has signed it"
            else:
                return verified.signed_xml
        raise Rejected(reason)


class _Assertion:
    """An assertion that is signed."""

    def __init__(self, provider: Saml, element: Element) -> None:
        self._provider = provider
        self._element = element
        self._now = now()
        self._leeway = timedelta(seconds=provider.leeway_s)

    def identity(self) -> Identity:
        """Whom it is about, once everything holds that it says of itself.

        Raises:
            Rejected: it does not.
        """
        if _text(_one(self._element, "Issuer")) != self._provider.issuer:
            raise Rejected("it is of another issuer")
        self._check_conditions()
        until = self._confirmed_until()
        self._check_session()
        subject = self._subject()
        claims = {"email_verified": True, **self._attributes(), "sub": subject}
        return Identity(self._provider.issuer, subject, claims, OneUse(self._digest(), until + self._leeway))

    def _check_conditions(self) -> None:
        conditions = _one(self._element, "Conditions")
        if (since := conditions.get("NotBefore")) and _moment(since) > self._now + self._leeway:
            raise Rejected("it counts in the future only")
        if (until := conditions.get("NotOnOrAfter")) and _moment(until) <= self._now - self._leeway:
            raise Rejected("it has expired")
        restrictions = conditions.findall(f"{_OF_ASSERTION}AudienceRestriction")
        if not restrictions or not all(self._is_for_us(item) for item in restrictions):
            raise Rejected("it is for another audience")

    def _is_for_us(self, restriction: Element) -> bool:
        return any(_text(item) == self._provider.audience for item in restriction.findall(f"{_OF_ASSERTION}Audience"))

    def _confirmed_until(self) -> datetime:
        """When it ends, by whichever way it may be presented here."""
        for confirmation in _one(self._element, "Subject").findall(f"{_OF_ASSERTION}SubjectConfirmation"):
            data = confirmation.find(f"{_OF_ASSERTION}SubjectConfirmationData")
            if confirmation.get("Method") != _BEARER or data is None or data.get("NotBefore") is not None:
                continue
            until = data.get("NotOnOrAfter")
            if until and data.get("Recipient") == self._provider.recipient:
                if _moment(until) <= self._now - self._leeway:
                    raise Rejected("it has expired")
                return _moment(until)
        raise Rejected("it may not be presented here")

    def _check_session(self) -> None:
        statements = self._element.findall(f"{_OF_ASSERTION}AuthnStatement")
        if not statements:
            raise Rejected("it does not say that anybody logged in")
        for statement in statements:
            until = statement.get("SessionNotOnOrAfter")
            if until and _moment(until) <= self._now - self._leeway:
                raise Rejected("the session at the provider has ended")

    def _subject(self) -> str:
        names = _one(self._element, "Subject").findall(f"{_OF_ASSERTION}NameID")
        if len(names) != 1 or names[0].get("Format") == _TRANSIENT:
            raise Rejected("it has no subject that stays the same")
        subject = _text(names[0])
        if not 0 < len(subject) <= MAX_SUBJECT_CHARACTERS or not is_plain(subject):
            raise Rejected("its subject is empty or too long")
        return subject

    def _attributes(self) -> dict[str, str | list[str]]:
        found: dict[str, list[str]] = {}
        for attribute in self._element.findall(f"{_OF_ASSERTION}AttributeStatement/{_OF_ASSERTION}Attribute"):
            values = [_text(value) for value in attribute.findall(f"{_OF_ASSERTION}AttributeValue") if not len(value)]
            found.setdefault(attribute.get("Name", ""), []).extend(values)
        return {name: values[0] if len(values) == 1 else values for name, values in found.items()}

    def _digest(self) -> bytes:
        name = self._element.get("ID")
        if not name:
            raise Rejected("it has no id")
        return hashlib.sha256(f"{self._provider.issuer}\0{name}".encode()).digest()


def _decoded(token: str) -> bytes:
    if not 0 < len(token) <= _MAX_CHARACTERS:
        raise Rejected("it is empty or too long")
    try:
        return b64decode("".join(token.split()), validate=True)
    except ValueError:
        raise Rejected("it is not base64") from None


def _check_shape(root: Element) -> None:
    """A successful response with one assertion anywhere, and no id twice: nothing that could be taken for another."""
    if root.tag != f"{_OF_PROTOCOL}Response":
        raise Rejected("it is no SAML response")
    status = root.find(f"{_OF_PROTOCOL}Status/{_OF_PROTOCOL}StatusCode")
    if status is None or status.get("Value") != _SUCCESS:
        raise Rejected("the provider says that the login failed")
    if next(root.iter(f"{_OF_ASSERTION}EncryptedAssertion"), None) is not None:
        raise Rejected("it is encrypted: let the provider sign only")
    assertions = list(root.iter(f"{_OF_ASSERTION}Assertion"))
    if len(assertions) != 1 or assertions[0].getparent() is not root:
        raise Rejected("it has no assertion, several, or one in a place of its own")
    ids = [value for item in root.iter() if isinstance(item.tag, str) and (value := item.get("ID")) is not None]
    if len(ids) != len(set(ids)):
        raise Rejected("two parts of it have one id")


def _one(element: Element, name: str) -> Element:
    found = element.findall(f"{_OF_ASSERTION}{name}")
    if len(found) != 1:
        raise Rejected(f"it has no '{name}', or several")
    return found[0]


def _text(element: Element) -> str:
    """An element's text; whatever stands in its middle, a comment say, makes it none."""
    return "" if len(element) else element.text or ""


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise Rejected("a time of it is malformed") from None
    if moment.year not in _YEARS:
        raise Rejected("a time of it is out of this world")
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)

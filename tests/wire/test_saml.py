"""SAML responses: what proves somebody, what does not, and what only looks as if it were signed."""

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
from lxml import etree

from assertions import AUDIENCE, ISSUER, NAMESPACES, RECIPIENT, Response, Signer, encoded, moment
from issuer import ec_key
from raworc.domain.identities import Identity, Saml
from raworc.wire.identities import saml
from raworc.wire.identities.saml import SamlVerifier
from raworc.wire.identities.verifier import Rejected

pytestmark = pytest.mark.anyio

PROVIDER = Saml(issuer=ISSUER, audience=AUDIENCE, recipient=RECIPIENT, certificate_file=Path("unused"))
SIGNER = Signer()
Tree = etree._Element


async def proven(root: Tree | bytes, *signers: Signer) -> Identity:
    certificates = [signer.certificate for signer in signers or (SIGNER,)]
    return await SamlVerifier(PROVIDER, certificates).verify(encoded(root))


@pytest.mark.parametrize("signed", [("assertion",), ("response",), ("assertion", "response")])
async def test_a_signed_response_proves_its_subject(signed: tuple[str, ...]):
    made = Response(signed=signed, attributes={"groups": ["a", "b"], "mail": ["ann@example.com"]})
    found = await proven(made.made(SIGNER))
    assert (found.issuer, found.subject) == (ISSUER, "subject-1")
    assert (found.claims["groups"], found.claims["mail"]) == (["a", "b"], "ann@example.com")
    again = await proven(made.made(SIGNER))
    assert found.one_use
    assert again.one_use
    assert found.one_use.digest == again.one_use.digest


async def test_a_comment_cuts_no_subject_short():
    root = Response(subject="admin.evil").made(SIGNER)
    name = part(root, "a:NameID")
    name.text = "admin"
    name.append(etree.Comment("signatures do not see it"))
    name[0].tail = ".evil"
    assert (await proven(root)).subject == "admin.evil"


async def test_lines_of_base64_are_read():
    token = encoded(Response().made(SIGNER))
    lines = "\r\n".join(token[at : at + 76] for at in range(0, len(token), 76))
    assert (await SamlVerifier(PROVIDER, [SIGNER.certificate]).verify(lines)).subject == "subject-1"


async def test_an_attribute_cannot_take_the_subjects_place():
    found = await proven(Response(attributes={"sub": ["admin"]}).made(SIGNER))
    assert (found.subject, found.claims["sub"]) == ("subject-1", "subject-1")


async def test_a_certificate_may_be_renewed_beside_the_old_one():
    young = Signer(key=ec_key())
    for signer, how in ((SIGNER, {}), (young, {"method": "ECDSA_SHA256"})):
        assert (await proven(Response().made(signer, **how), SIGNER, young)).subject == "subject-1"


REFUSED = {
    "not signed": Response(signed=()),
    "another issuer": Response(issuer="urn:idp:other"),
    "another audience": Response(audience="urn:other"),
    "no audience": Response(audience=None),
    "for another address": Response(recipient="https://other.example.com/saml"),
    "sent to another address": Response(destination="https://other.example.com/saml"),
    "expired": Response(until_s=-61),
    "not yet": Response(since_s=600),
    "may not be presented any more": Response(confirmed_s=-61),
    "the session has ended": Response(session_s=-61),
    "of another way to present it": Response(method="urn:oasis:names:tc:SAML:2.0:cm:sender-vouches"),
    "nobody logged in": Response(login=False),
    "the login failed": Response(status="urn:oasis:names:tc:SAML:2.0:status:Responder"),
    "a subject for once": Response(format="urn:oasis:names:tc:SAML:2.0:nameid-format:transient"),
    "no subject": Response(subject=""),
    "an element within the subject": Response(subject="admin<x/>"),
    "two subjects": Response(name_id="<a:NameID>a</a:NameID><a:NameID>b</a:NameID>"),
    "an assertion without an id": Response(id="", signed=("response",)),
}


@pytest.mark.parametrize("response", REFUSED.values(), ids=REFUSED)
async def test_a_response_is_refused_for_what_it_says(response: Response):
    with pytest.raises(Rejected):
        await proven(response.made(SIGNER))


@pytest.mark.parametrize(
    ("signer", "how"), [(Signer(), {}), (Signer(valid_days=0.5, key=SIGNER.key), {}), (SIGNER, {"digest": "SHA3_256"})]
)
async def test_a_signature_must_be_of_a_valid_certificate_and_a_usual_method(signer: Signer, how: dict[str, str]):
    with pytest.raises(Rejected):
        await proven(Response().made(signer, **how), signer if signer.valid_days < 1 else SIGNER)


NO_RESPONSES = {
    "nothing": b"",
    "no XML": b"hello",
    "no response": b"<a/>",
    "a type declaration": b'<!DOCTYPE p [<!ENTITY e "x">]><p:Response xmlns:p="urn:oasis:names:tc:SAML:2.0:protocol"/>',
    "a file": b'<!DOCTYPE p [<!ENTITY e SYSTEM "file:///etc/passwd">]><p>&e;</p>',
    "a bomb": b'<!DOCTYPE p [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]><p>&b;&b;&b;&b;</p>',
    "too deep": b"<a>" * 5000 + b"</a>" * 5000,
    "too long": b"<a>" + b" " * 300_000 + b"</a>",
}


@pytest.mark.parametrize("document", NO_RESPONSES.values(), ids=NO_RESPONSES)
async def test_what_is_no_response_proves_nothing(document: bytes):
    reason = "declares types" if document.startswith(b"<!DOCTYPE") else None
    with pytest.raises(Rejected, match=reason):
        await proven(document)
    with pytest.raises(Rejected):
        await SamlVerifier(PROVIDER, [SIGNER.certificate]).verify("no base64!")


def part(root: Tree, name: str) -> Tree:
    found = root.find(f".//{name}", NAMESPACES)
    assert found is not None
    return found


def evil(original: Tree, *, keep_id: bool = False, keep_signature: bool = False) -> Tree:
    """The same for another subject."""
    forged = copy.deepcopy(original)
    part(forged, "a:NameID").text = "admin"
    if not keep_id:
        forged.set("ID", "_evil")
    if not keep_signature:
        forged.remove(part(forged, "ds:Signature"))
    return forged


def before(root: Tree) -> Tree:
    original = part(root, "a:Assertion")
    original.addprevious(evil(original))
    return root


def behind(root: Tree) -> Tree:
    original = part(root, "a:Assertion")
    original.addnext(evil(original))
    return root


def around(root: Tree) -> Tree:
    original = part(root, "a:Assertion")
    forged = evil(original)
    root.replace(original, forged)
    forged.append(original)
    return root


def in_extensions(root: Tree, **kept: bool) -> Tree:
    original = part(root, "a:Assertion")
    root.replace(original, evil(original, **kept))
    aside = etree.Element(f"{{{NAMESPACES['p']}}}Extensions")
    root.insert(1, aside)
    aside.append(original)
    return root


def under_one_id(root: Tree) -> Tree:
    return in_extensions(root, keep_id=True, keep_signature=True)


def with_its_signature(root: Tree) -> Tree:
    return in_extensions(root, keep_signature=True)


def in_the_signature(root: Tree) -> Tree:
    """The forged assertion has the signature, and that has the original in an object of its own."""
    original = part(root, "a:Assertion")
    forged = evil(original, keep_signature=True)
    root.replace(original, forged)
    holder = etree.SubElement(part(forged, "ds:Signature"), f"{{{NAMESPACES['ds']}}}Object")
    original.remove(part(original, "ds:Signature"))
    holder.append(original)
    return root


def in_another_response(root: Tree) -> Tree:
    outer = copy.deepcopy(root)
    outer.set("ID", "_evil-response")
    original = part(outer, "a:Assertion")
    outer.replace(original, evil(original, keep_signature=original.find("ds:Signature", NAMESPACES) is None))
    aside = etree.Element(f"{{{NAMESPACES['p']}}}Extensions")
    outer.insert(1, aside)
    aside.append(root)
    return outer


def changed(root: Tree) -> Tree:
    part(root, "a:NameID").text = "admin"
    return root


def unsigned(root: Tree) -> Tree:
    original = part(root, "a:Assertion")
    root.replace(original, evil(original))
    return root


WRAPPED: tuple[Callable[[Tree], Tree], ...] = (
    changed,
    unsigned,
    before,
    behind,
    around,
    in_extensions,
    under_one_id,
    with_its_signature,
    in_the_signature,
    in_another_response,
)


@pytest.mark.parametrize("wrap", WRAPPED)
async def test_a_signature_around_something_else_proves_nothing(wrap: Callable[[Tree], Tree]):
    with pytest.raises(Rejected):
        await proven(wrap(Response().made(SIGNER)))


@pytest.mark.parametrize("wrap", WRAPPED)
async def test_nothing_is_read_but_what_was_signed(wrap: Callable[[Tree], Tree], monkeypatch: pytest.MonkeyPatch):
    """Even without the look at the document's shape, which refuses most of it first."""
    monkeypatch.setattr(saml, "_check_shape", lambda _: None)
    try:
        found = await proven(wrap(Response().made(SIGNER)))
    except Rejected:
        return
    assert found.subject == "subject-1"


async def test_no_two_parts_may_have_one_id():
    root = Response().made(SIGNER)
    root.set("ID", str(part(root, "a:Assertion").get("ID")))
    with pytest.raises(Rejected, match="one id"):
        await proven(root)


async def test_keys_that_a_signature_brings_are_not_read():
    root = Response().made(SIGNER)
    info = part(root, "ds:KeyInfo")
    value = etree.SubElement(info, f"{{{NAMESPACES['ds']}}}KeyValue")
    rsa = etree.SubElement(value, f"{{{NAMESPACES['ds']}}}RSAKeyValue")
    etree.SubElement(rsa, f"{{{NAMESPACES['ds']}}}Modulus").text = "AQAB"
    etree.SubElement(rsa, f"{{{NAMESPACES['ds']}}}Exponent").text = "AQAB"
    assert (await proven(root)).subject == "subject-1"


async def test_times_may_differ_by_the_leeway():
    assert (await proven(Response(since_s=30, until_s=-30, confirmed_s=-30, session_s=-30).made(SIGNER))).subject
    assert moment(0).endswith("Z")

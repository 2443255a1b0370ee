"""Tokens of a local identity provider that speaks the real protocols: what proves somebody, and what does not."""

import asyncio
import base64
import json
import ssl
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import jwt
import msgspec
import pytest

from certificates import Authority
from issuer import CLIENT, SECRET, Issuer, basic, ec_key, jwk_of, pem_of, rsa_key, running_issuer
from raworc.domain.identities import OAuth2, Oidc
from raworc.wire.identities.fetching import Fetcher
from raworc.wire.identities.introspection import IntrospectionVerifier
from raworc.wire.identities.keys import IssuerKeys
from raworc.wire.identities.oidc import OidcVerifier
from raworc.wire.identities.verifier import ProviderAway, Rejected

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def kept() -> Iterator[Issuer]:
    with running_issuer() as found:
        yield found


@pytest.fixture
def issuer(kept: Issuer) -> Issuer:
    """As it was at first."""
    kept.keys = {"first": kept.keys["first"]}
    kept.published, kept.answer = None, None
    kept.asked, kept.tokens, kept.discovery, kept.forms = {}, {}, {}, []
    return kept


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def oidc(issuer: Issuer, clock: Clock, anyio_backend: str) -> AsyncIterator[OidcVerifier]:
    provider = Oidc(issuer=issuer.url, audience=CLIENT, algorithms=("RS256", "ES256"))
    fetcher = Fetcher(ca_file=None, is_local=True)
    verifier = OidcVerifier(provider, fetcher, IssuerKeys(provider, fetcher, clock))
    yield verifier
    await verifier.close()


async def test_a_good_token_proves_its_subject_with_all_that_it_says(oidc: OidcVerifier, issuer: Issuer):
    for token in (
        issuer.token(groups=["a"]),
        issuer.token(kid=None, groups=["a"]),
        issuer.token(aud=[CLIENT], azp="x"),
    ):
        found = await oidc.verify(token)
        assert (found.issuer, found.subject) == (issuer.url, "subject-1")
    assert found.one_use is None
    assert issuer.asked == {"/.well-known/openid-configuration": 1, "/keys": 1}


async def test_a_token_counts_once_where_that_is_configured(oidc: OidcVerifier, issuer: Issuer):
    """Named by what is signed: a signature can be written in several ways, and not every token has an id."""
    oidc._provider = msgspec.structs.replace(oidc._provider, once=True)
    first, second, endless = issuer.token(), issuer.token(jti="another"), issuer.token(exp=10**17)
    uses = [(await oidc.verify(token)).one_use for token in (first, first, second, endless)]
    digests = [use.digest for use in uses if use is not None]
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3
    claims = jwt.decode(first, options={"verify_signature": False})
    assert [use.until.timestamp() - claims["exp"] for use in uses[:1] if use is not None] == [60]


NOW = int(time.time())
LATER = NOW + 86_400  # hours may lie between the reading of this file and a test
REFUSED = {
    "expired": {"exp": NOW - 61},
    "without an end": {"exp": None},
    "an end that is no time": {"exp": "soon"},
    "an endless end": {"exp": float("inf")},
    "not yet": {"nbf": LATER},
    "of the future": {"iat": LATER},
    "another issuer": {"iss": "https://evil.example"},
    "an issuer that only begins alike": {"iss": "http://127.0.0.1"},
    "another audience": {"aud": "somebody-else"},
    "no audience": {"aud": None},
    "several audiences, given to another": {"aud": [CLIENT, "other"], "azp": "other"},
    "several audiences, given to nobody": {"aud": [CLIENT, "other"]},
    "no subject": {"sub": None},
    "an empty subject": {"sub": ""},
    "a subject with a NUL": {"sub": "a\0b"},
    "a subject that is no text": {"sub": 7},
    "an access token": {"headers": {"typ": "at+jwt"}},
    "a logout token": {"headers": {"typ": "logout+jwt"}},
    "a header that must be understood": {"headers": {"crit": ["exp"], "exp": 1}},
    "an algorithm of the same key that is not allowed": {"algorithm": "PS256"},
}


@pytest.mark.parametrize("changes", REFUSED.values(), ids=REFUSED)
async def test_a_token_that_is_signed_well_is_refused_for_what_it_says(oidc: OidcVerifier, issuer: Issuer, changes):
    with pytest.raises(Rejected):
        await oidc.verify(issuer.token(**changes))


async def test_times_may_differ_by_the_leeway(oidc: OidcVerifier, issuer: Issuer):
    now = int(time.time())
    await oidc.verify(issuer.token(exp=now - 30, iat=now + 30, nbf=now + 30))


def unsigned(claims: dict, **header: object) -> str:
    parts = [json.dumps({"typ": "JWT", "kid": "first"} | header).encode(), json.dumps(claims).encode()]
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts) + "."


def with_public_key_as_secret(issuer: Issuer) -> str:
    """PyJWT refuses to make one, so it is made by hand."""
    head = unsigned(issuer.claims(), alg="HS256").rstrip(".")
    secret = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256)
    mac = secret.sign(head.encode(), pem_of(issuer.keys["first"]))
    return f"{head}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"


FORGED = {
    "unsigned": lambda issuer: unsigned(issuer.claims(), alg="none"),
    "unsigned, but says that it is not": lambda issuer: unsigned(issuer.claims(), alg="RS256"),
    "no algorithm": lambda issuer: unsigned(issuer.claims()),
    "an algorithm that is no text": lambda issuer: unsigned(issuer.claims(), alg=["RS256"]),
    "the public key as a shared secret": with_public_key_as_secret,
    "signed by somebody else under our key's id": lambda issuer: issuer.token(key=rsa_key()),
    "a key that it brings": lambda issuer: issuer.token(
        key=(key := rsa_key()), headers={"jwk": jwk_of(key), "jku": f"{issuer.url}/evil"}
    ),
    "an unknown key id": lambda issuer: issuer.token(kid="nobody's", key=issuer.keys["first"]),
    "a key of another kind": lambda issuer: issuer.token(key=ec_key(), algorithm="ES256"),
    "changed after it was signed": lambda issuer: _changed(issuer.token()),
    "nothing": lambda _: "",
    "no token": lambda _: "a.b.c",
    "two tokens": lambda issuer: f"{issuer.token()} {issuer.token()}",
    "other letters": lambda issuer: issuer.token() + "ä",
    "too long": lambda issuer: issuer.token(more="x" * 20_000),
}


def _changed(token: str) -> str:
    head, body, signature = token.split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "=="))
    return f"{head}.{unsigned(claims | {'sub': 'admin'}).split('.')[1]}.{signature}"


@pytest.mark.parametrize("make", FORGED.values(), ids=FORGED)
async def test_a_forged_token_proves_nothing(oidc: OidcVerifier, issuer: Issuer, make):
    with pytest.raises(Rejected):
        await oidc.verify(make(issuer))
    assert "/evil" not in issuer.asked


UNFIT = {
    "for encrypting": {"use": "enc"},
    "for another algorithm": {"alg": "RS512"},
    "for signing only": {"key_ops": ["sign"]},
    "of a kind that it is not": {"kty": "oct", "k": "c2VjcmV0"},
}


@pytest.mark.parametrize("unfit", UNFIT.values(), ids=UNFIT)
async def test_a_key_counts_for_what_it_is_published_for(oidc: OidcVerifier, issuer: Issuer, unfit):
    issuer.published = [jwk_of(issuer.keys["first"], kid="first", **unfit), {"kid": "first"}, "nonsense", None]
    with pytest.raises(Rejected):
        await oidc.verify(issuer.token())


@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")
async def test_a_weak_key_counts_for_nothing(oidc: OidcVerifier, issuer: Issuer):
    issuer.keys["weak"] = rsa_key(1024)
    with pytest.raises(Rejected):
        await oidc.verify(issuer.token("weak"))


async def test_a_rotated_key_is_found_by_its_id_and_a_withdrawn_one_ends(
    oidc: OidcVerifier, issuer: Issuer, clock: Clock
):
    await oidc.verify(issuer.token())
    old = issuer.token()
    issuer.keys = {"second": ec_key()}
    clock.now += 11
    await oidc.verify(issuer.token("second", "ES256"))
    with pytest.raises(Rejected):
        await oidc.verify(old)
    issuer.keys = {"first": rsa_key(), "third": rsa_key()}
    clock.now += 11
    await oidc.verify(issuer.token(None, key=issuer.keys["third"]))
    assert issuer.asked["/keys"] == 3


async def test_made_up_key_ids_cannot_make_us_ask_the_issuer_all_the_time(
    oidc: OidcVerifier, issuer: Issuer, clock: Clock
):
    for number in range(20):
        with pytest.raises(Rejected):
            await oidc.verify(issuer.token(f"made-up-{number}", key=issuer.keys["first"]))
    assert issuer.asked["/keys"] == 1
    clock.now += 11
    with pytest.raises(Rejected):
        await oidc.verify(issuer.token("made-up", key=issuer.keys["first"]))
    assert issuer.asked["/keys"] == 2


async def test_known_keys_outlive_an_issuer_that_is_away_for_an_hour(oidc: OidcVerifier, issuer: Issuer, clock: Clock):
    await oidc.verify(issuer.token())
    issuer.answer = (503, {}, b"")
    clock.now += 3500
    await oidc.verify(issuer.token())
    asked = issuer.asked.copy()
    await oidc.verify(issuer.token())
    assert issuer.asked == asked
    clock.now += 200
    with pytest.raises(ProviderAway):
        await oidc.verify(issuer.token())


async def test_an_issuer_that_is_away_is_not_asked_by_everybody(oidc: OidcVerifier, issuer: Issuer, clock: Clock):
    issuer.answer = (503, {}, b"")
    answers = await asyncio.gather(*(oidc.verify(issuer.token()) for _ in range(5)), return_exceptions=True)
    assert {type(answer) for answer in answers} == {ProviderAway}
    assert issuer.asked == {"/.well-known/openid-configuration": 1}
    issuer.answer = None
    clock.now += 11
    assert (await oidc.verify(issuer.token())).subject == "subject-1"


async def test_who_has_a_known_key_waits_for_no_issuer(oidc: OidcVerifier, issuer: Issuer, clock: Clock):
    await oidc.verify(issuer.token())
    clock.now += 301
    keys = oidc._keys
    async with keys._asking:  # somebody asks, and the issuer takes its time
        assert (await oidc.verify(issuer.token())).subject == "subject-1"


NO_ANSWER = {
    "an error": ((500, {}, b"{}"), "status 500"),
    "a redirect": ((302, {"location": "/elsewhere"}, b""), "status 302"),
    "no JSON": ((200, {}, b"<html>"), "not JSON"),
    "no object": ((200, {}, b"[]"), "not a JSON object"),
    "too much": ((200, {}, b'{"keys": [' + b" " * 600_000 + b"]}"), "more than"),
    "compressed": ((200, {"content-encoding": "gzip"}, b"{}"), "compressed"),
    "another document": ((200, {}, b'{"keys": []}'), "another issuer's"),
}


@pytest.mark.parametrize(("answer", "reason"), NO_ANSWER.values(), ids=NO_ANSWER)
async def test_an_issuer_that_answers_otherwise_is_away(oidc: OidcVerifier, issuer: Issuer, answer, reason: str):
    issuer.answer = answer
    with pytest.raises(ProviderAway, match=reason):
        await oidc.verify(issuer.token())
    assert "/elsewhere" not in issuer.asked


async def test_keys_must_be_a_list(oidc: OidcVerifier, issuer: Issuer):
    issuer.published = {"first": "no list"}
    with pytest.raises(ProviderAway, match="no keys"):
        await oidc.verify(issuer.token())


@pytest.mark.parametrize(
    "changes",
    [{"issuer": "https://other.example"}, {"jwks_uri": None}, {"jwks_uri": "file:///etc/passwd"}, {"jwks_uri": 7}],
)
async def test_keys_are_fetched_only_where_the_issuers_own_document_says(oidc: OidcVerifier, issuer: Issuer, changes):
    issuer.discovery = changes
    with pytest.raises(ProviderAway):
        await oidc.verify(issuer.token())
    assert "/keys" not in issuer.asked


async def test_an_issuer_with_an_authority_of_its_own_is_trusted_by_name_only(tmp_path: Path):
    authority = Authority(tmp_path / "ca.pem")
    authority.issue(tmp_path / "pem", tmp_path / "key")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "pem", tmp_path / "key")
    with running_issuer(context) as found:
        provider = Oidc(issuer=found.url, audience=CLIENT)
        trusting = OidcVerifier(provider, Fetcher(ca_file=authority.file, is_local=True))
        assert (await trusting.verify(found.token())).subject == "subject-1"
        doubting = OidcVerifier(provider, Fetcher(ca_file=None, is_local=True))
        with pytest.raises(ProviderAway):
            await doubting.verify(found.token())
        await trusting.close()
        await doubting.close()


@pytest.fixture
async def ask(issuer: Issuer, anyio_backend: str) -> AsyncIterator:
    fetcher = Fetcher(ca_file=None, is_local=True)

    async def asking(said: dict, **config: object):
        issuer.tokens["opaque"] = said
        given = {"audience": CLIENT} | config
        provider = OAuth2(introspection_url=f"{issuer.url}/introspect", client_id=CLIENT, client_secret=SECRET, **given)
        return await IntrospectionVerifier(provider, SECRET, fetcher).verify("opaque")

    yield asking
    await fetcher.close()


GOOD = {"active": True, "sub": "subject-1", "aud": CLIENT}


async def test_an_active_token_proves_whom_its_server_names(ask, issuer: Issuer):
    found = await ask(GOOD | {"groups": ["a"]})
    assert (found.issuer, found.subject) == (f"{issuer.url}/introspect", "subject-1")
    await ask(GOOD, client_auth="post")
    (basic_header, form), (no_header, posted) = issuer.forms
    assert basic_header == basic("raworc", "the-client%27s+secret%3A%25")
    assert form == {"token": ["opaque"], "token_type_hint": ["access_token"]}
    assert (no_header, posted["client_secret"]) == (None, [SECRET])


INACTIVE = {
    "not active": ({"active": False}, {}),
    "active in words": (GOOD | {"active": "true"}, {}),
    "nothing": ({}, {}),
    "expired": (GOOD | {"exp": NOW - 61}, {}),
    "not yet": (GOOD | {"nbf": LATER}, {}),
    "an end that is no time": (GOOD | {"exp": "soon"}, {}),
    "another audience": (GOOD | {"aud": ["other"]}, {}),
    "no audience": ({"active": True, "sub": "subject-1"}, {}),
    "another client": (GOOD | {"client_id": "other"}, {"clients": ("mine",)}),
    "another issuer": (GOOD | {"iss": "https://other.example"}, {"issuer": "https://id.example"}),
    "a scope that is missing": (GOOD | {"scope": "email profile"}, {"scopes": ("raworc",)}),
    "no subject": ({"active": True, "aud": CLIENT}, {}),
}


@pytest.mark.parametrize(("said", "config"), INACTIVE.values(), ids=INACTIVE)
async def test_what_a_server_says_of_a_token_must_be_for_us_and_count_now(ask, said, config):
    with pytest.raises(Rejected):
        await ask(said, **config)


async def test_a_server_that_refuses_us_is_away(ask, issuer: Issuer):
    issuer.answer = (401, {}, b'{"error": "invalid_client"}')
    with pytest.raises(ProviderAway):
        await ask(GOOD)

"""What identity providers may be configured to be."""

import pytest

from raworc.domain.identities import Granted, Identity, OAuth2, Oidc, granted, name_for, parse
from raworc.errors import BadRequest, Forbidden

GOOD = 'kind = "oidc"\nissuer = "https://id.example.com"\naudience = "raworc"\n'
ASKED = 'kind = "oauth2"\nintrospection_url = "https://id.example.com/introspect"\nclient_id = "raworc"\n'


def provider(text: str, name: str = "corp"):
    return parse(f"[providers.{name}]\n{text}")[name]


def test_the_least_that_is_said_is_safe():
    assert parse("") == {}
    found = provider(GOOD)
    assert isinstance(found, Oidc)
    assert (found.create, found.link_by_name, found.name, found.roles) == (False, False, "sub", ())
    assert found.algorithms == ("RS256", "ES256")
    assert isinstance(provider(ASKED + 'client_secret = "s"\naudience = "raworc"'), OAuth2)


WRONG = {
    "no TOML": ("[providers", "TOML"),
    "something else": ("[other]", "providers.NAME"),
    "no tables": ("providers = 7", "providers.NAME"),
    "a name that is none": (f'[providers."a b"]\n{GOOD}', "'a b'"),
    "no kind": ('[providers.corp]\nissuer = "https://id"', "kind"),
    "an unknown kind": ('[providers.corp]\nkind = "ldap"', "ldap"),
    "an unknown key": (f"[providers.corp]\n{GOOD}colour = 7", "colour"),
    "no audience": ('[providers.corp]\nkind = "oidc"\nissuer = "https://id.example.com"', "audience"),
    "an empty audience": ("[providers.corp]\n" + GOOD.replace("raworc", ""), "audience"),
    "a shared secret": (f'[providers.corp]\n{GOOD}algorithms = ["HS256"]', "HS256"),
    "no signature": (f'[providers.corp]\n{GOOD}algorithms = ["none"]', "none"),
    "no algorithm": (f"[providers.corp]\n{GOOD}algorithms = []", "algorithms"),
    "plain http": (f"[providers.corp]\n{GOOD.replace('https:', 'http:')}", "https"),
    "a name that only begins as this machine's": (
        f"[providers.corp]\n{GOOD.replace('https://id', 'http://localhost')}",
        "https",
    ),
    "a password in an address": (f'[providers.corp]\n{GOOD}jwks_url = "https://a:b@id.example.com/"', "jwks_url"),
    "a file": (f'[providers.corp]\n{GOOD}jwks_url = "file:///keys"', "jwks_url"),
    "no end": (f"[providers.corp]\n{GOOD}ttl_hours = 0", "ttl_hours"),
    "too much leeway": (f"[providers.corp]\n{GOOD}leeway_s = 3600", "leeway_s"),
    "a role without a space": (f'[providers.corp]\n{GOOD}roles = [{{ group = "a", role = "admin" }}]', "space"),
    "a role in what is no space": (
        f'[providers.corp]\n{GOOD}roles = [{{ group = "a", role = "admin", space = "a b" }}]',
        "a b",
    ),
    "an account that has no name": (f'[providers.corp]\n{GOOD}accounts = {{ x = "a b" }}', "a b"),
    "no secret": (f'[providers.corp]\n{ASKED}audience = "raworc"', "client_secret"),
    "a file by a relative path": (f'[providers.corp]\n{GOOD}ca_file = "ca.pem"', "absolute path"),
    "a file that is no path": (f"[providers.corp]\n{GOOD}ca_file = 7", "absolute path"),
    "anybody's tokens": (f'[providers.corp]\n{ASKED}client_secret = "s"', "clients"),
}


@pytest.mark.parametrize(("text", "named"), WRONG.values(), ids=WRONG)
def test_what_cannot_be_meant_is_refused_by_its_name(text: str, named: str):
    with pytest.raises(BadRequest) as caught:
        parse(text)
    assert named in caught.value.message


def somebody(**claims: object) -> Identity:
    return Identity("https://id.example.com", "subject", claims)


def test_claims_are_found_by_name_or_by_path():
    rules = provider(
        GOOD + 'groups = "realm_access.roles"\nroles = [{ group = "a", role = "Dev", space = "Alpha" }]\nname = "x.y"'
    )
    assert granted(rules, somebody(realm_access={"roles": ["a", 7, None]})) == {Granted("dev", "alpha")}
    for claims in ({}, {"realm_access": "a"}, {"realm_access": {"roles": "b"}}, {"realm_access": {"roles": {"a": 1}}}):
        assert granted(rules, somebody(**claims)) == frozenset()
    assert name_for(rules, somebody(**{"x.y": "ann", "x": {"y": "bob"}})) == "ann"


def test_an_address_that_is_not_verified_is_no_name():
    rules = provider(GOOD + 'name = "email"')
    assert name_for(rules, somebody(email="ann@example.com", email_verified=True)) == "ann@example.com"
    for verified in (False, None, 1, "false"):
        with pytest.raises(Forbidden):
            name_for(rules, somebody(email="ann@example.com", email_verified=verified))

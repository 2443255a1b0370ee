"""The guide to identity providers: its example can be used as it stands, and its table has every key."""

import re
from pathlib import Path

import msgspec

from raworc.domain.identities import OAuth2, Oidc, Saml, parse

GUIDE = (Path(__file__).parents[2] / "docs" / "identity.md").read_text()


def example() -> str:
    found = re.search(r"```toml\n(.*?)```", GUIDE, re.DOTALL)
    assert found
    return found[1]


def test_the_example_is_a_configuration_of_every_kind():
    assert {type(provider) for provider in parse(example()).values()} == {Oidc, OAuth2, Saml}


def test_every_key_is_explained():
    keys = {item.encode_name for kind in (Oidc, OAuth2, Saml) for item in msgspec.structs.fields(kind)}
    in_table = set(re.findall(r"^\| `(\w+)` \|", GUIDE, re.MULTILINE))
    in_example = set(re.findall(r"^(\w+) = ", example(), re.MULTILINE))
    assert in_table <= keys
    assert keys <= in_table | in_example

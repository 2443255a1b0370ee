"""Identity providers as settings name them: what they need is read at the start, or refused by its name."""

import sys
from pathlib import Path

import pytest

from assertions import RECIPIENT, Signer
from raworc.errors import BadRequest
from raworc.settings import Settings
from raworc.wiring.identities import identity_providers

pytestmark = pytest.mark.anyio

SAML = f'[providers.p]\nkind = "saml"\nissuer = "i"\naudience = "a"\nrecipient = "{RECIPIENT}"\n'
ASKED = f'[providers.p]\nkind = "oauth2"\nintrospection_url = "{RECIPIENT}"\nclient_id = "i"\nclients = ["c"]\n'
UNREADABLE = {
    "no certificates": (SAML + 'certificate_file = "{folder}/empty"', "certificate_file"),
    "certificates that are not there": (SAML + 'certificate_file = "{folder}/missing"', "certificate_file"),
    "a secret that is empty": (ASKED + 'client_secret_file = "{folder}/empty"', "secret is empty"),
    "a secret that is not there": (ASKED + 'client_secret_file = "{folder}/missing"', "client_secret_file"),
    "authorities that are none": (ASKED + 'client_secret = "s"\nca_file = "{folder}/text"', "ca_file"),
}


@pytest.mark.parametrize(("text", "named"), UNREADABLE.values(), ids=UNREADABLE)
async def test_files_that_a_provider_needs_are_read_at_the_start(tmp_path: Path, text: str, named: str):
    (tmp_path / "empty").touch()
    (tmp_path / "text").write_text("text")
    given = Settings(home=tmp_path, identity=text.format(folder=tmp_path))
    with pytest.raises(BadRequest, match=named):
        async with identity_providers(given):
            pass


async def test_where_providers_stand_is_said_once_and_must_be_there(tmp_path: Path):
    for given in ({"identity_file": tmp_path / "missing"}, {"identity_file": tmp_path, "identity": "x"}):
        with pytest.raises(BadRequest, match="RAWORC_IDENTITY_FILE"):
            async with identity_providers(Settings(home=tmp_path, **given)):
                pass


async def test_saml_without_its_extra_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "signxml", None)
    given = Settings(home=tmp_path, identity=f'{SAML}certificate_file = "{Signer().write(tmp_path / "pem")}"')
    with pytest.raises(BadRequest, match=r"raworc\[saml\]"):
        async with identity_providers(given):
            pass

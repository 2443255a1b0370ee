"""Settings of the way to providers and back to clients."""

from pathlib import Path

import pytest

from raworc.errors import BadRequest
from raworc.keys import load_keys
from raworc.services.secrets import Secrets
from raworc.settings import Settings
from raworc.store.database import Database
from raworc.supervisor.home import prepare_home
from raworc.wiring.server import _edge
from raworc.wiring.upstreams import upstream_parts

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("content", [None, b"", b"no certificate"])
async def test_an_authority_that_cannot_be_read_is_told_by_its_variable(home: Path, content: bytes | None) -> None:
    file = home / "ca.pem"
    if content is not None:
        file.write_bytes(content)
    db = Database("postgresql://nobody@127.0.0.1:1/none", pool_size=1)
    with pytest.raises(BadRequest, match=f"'RAWORC_UPSTREAM_CA_FILE': '{file}' is no file of certificates"):
        async with upstream_parts(Settings(home=home, upstream_ca_file=file), db, Secrets(b"m" * 32)):
            pass
    await db.close()


def test_how_long_a_client_may_read_nothing_is_a_setting(home: Path) -> None:
    settings = Settings(home=home, write_timeout_s=4.5)
    prepare_home(settings)
    assert _edge(settings, load_keys(settings)).write_timeout_s == 4.5

"""OAuth tokens are renewed once, whoever asks, and are never lost on the way."""

import asyncio
import json
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from certificates import Authority, serving
from raworc.domain.credentials import OAuth, RenewalFailed
from raworc.keys import MasterKeys
from raworc.services.renewals import Renewals
from raworc.services.secrets import Secrets
from raworc.services.upstream_uses import UpstreamUses
from raworc.services.upstreams import Fields, Upstreams
from raworc.wire.client import trusting
from standin import Script, answers, json_answer, standin
from waiting import until

pytestmark = pytest.mark.anyio


async def stored(db, secrets, admin, url: str) -> OAuth:
    """An upstream whose tokens are about to end; these."""
    soon = datetime.now(UTC) + timedelta(seconds=30)
    tokens = OAuth("refresh-0", f"{url}/token", "client", access_token="access-0", expires_at=soon)
    new = Fields(name="pool", provider="openai", credential=tokens)
    await Upstreams(db, secrets, Renewals(db, secrets)).create(admin, new)
    return tokens


async def kept(db, secrets) -> tuple[str, OAuth]:
    (use,) = await UpstreamUses(db, secrets).now({})
    assert isinstance(use.credential, OAuth)
    return use.id, use.credential


def numbered() -> Script:
    numbers = iter(range(1, 100))

    async def play(writer: asyncio.StreamWriter) -> None:
        number = next(numbers)
        tokens = {"access_token": f"access-{number}", "refresh_token": f"refresh-{number}", "expires_in": 3600}
        writer.write(json_answer(json.dumps(tokens).encode()))

    return play


async def test_many_servers_that_ask_at_once_ask_the_provider_once(db, secrets, admin):
    async with standin(numbered()) as endpoint:
        held = await stored(db, secrets, admin, endpoint.url)
        upstream_id, _ = await kept(db, secrets)
        servers = [Renewals(db, secrets) for _ in range(3)]
        found = await asyncio.gather(*(server.renewed(upstream_id, held) for server in servers for _ in range(5)))
        assert {tokens.access_token for tokens in found} == {"access-1"}
        assert len(endpoint.seen) == 1
    assert (await kept(db, secrets))[1].refresh_token == "refresh-1"


async def test_who_stops_waiting_stops_nothing(db, secrets, admin):
    async with standin(numbered()) as endpoint:
        held = await stored(db, secrets, admin, endpoint.url)
        upstream_id, _ = await kept(db, secrets)
        server = Renewals(db, secrets)
        waiting = asyncio.create_task(server.renewed(upstream_id, held))
        await until(lambda: bool(endpoint.seen))
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await server.close()
    assert (await kept(db, secrets))[1].access_token == "access-1"


async def test_a_refusal_is_remembered_for_a_while(db, secrets, admin):
    refusal = json_answer(b'{"error":"invalid_grant","error_description":"over"}', "400 Bad Request")
    async with standin(answers(refusal)) as endpoint:
        held = await stored(db, secrets, admin, endpoint.url)
        upstream_id, _ = await kept(db, secrets)
        server = Renewals(db, secrets)
        for _ in range(3):
            with pytest.raises(RenewalFailed, match="over") as caught:
                await server.renewed(upstream_id, held)
            assert caught.value.is_final
        assert len(endpoint.seen) == 1


async def test_servers_tell_each_other_which_accounts_have_had_enough(db, secrets):
    one, two = UpstreamUses(db, secrets), UpstreamUses(db, secrets)
    assert await one.cooling({}) == {}
    found = await one.cooling({"a": 50.0, "b": 0.000_001})
    assert 40 < found["a"] <= 50
    assert set(await two.cooling({"a": 20.0, "c": 50.0})) == {"a", "c"}
    assert (await one.cooling({}))["a"] > 30, "a longer time stays"
    async with db.reading() as conn:
        rows = await conn.execute(text("SELECT name FROM upstream_cool_downs"))
        assert {name for (name,) in rows} == {"a", "c"}, "those that are over are cleared away"


async def test_the_token_endpoint_s_certificate_has_to_count(db, secrets, admin, home):
    authority = Authority(home / "ca.pem")
    async with standin(numbered(), serving(authority)) as endpoint:
        held = await stored(db, secrets, admin, endpoint.url)
        upstream_id, _ = await kept(db, secrets)
        with pytest.raises(RenewalFailed, match="its certificate does not count"):
            await Renewals(db, secrets).renewed(upstream_id, held)
        found = await Renewals(db, secrets, trusting(authority.file)).renewed(upstream_id, held)
        assert found.access_token == "access-1"


async def test_credentials_outlive_another_master_key(db, admin):
    old, new = b"o" * 32, b"n" * 32
    held = await stored(db, Secrets(old), admin, "https://id.example")
    async with db.transaction() as conn:
        await Secrets(MasterKeys(lambda: [new, old])).rewrap(conn, new)
    assert (await kept(db, Secrets(new)))[1] == held

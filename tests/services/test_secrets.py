import pytest
from sqlalchemy import select, update

from raworc.errors import BadRequest, Unavailable
from raworc.services.agents import NewAgent, find
from raworc.services.secrets import Secrets, check_secrets
from raworc.store.schema import agent_secrets, data_keys

pytestmark = pytest.mark.anyio


@pytest.fixture
async def agent(agents, ann, db):
    await agents.create(ann, NewAgent("demo", secrets={"A": "alpha", "B": "beta \u20ac"}))
    async with db.reading() as conn:
        return (await find(conn, ann, "demo", "get")).id


async def opened(db, secrets, agent_id):
    async with db.reading() as conn:
        return await secrets.values(conn, agent_id, "default")


async def test_values_come_back_and_are_replaced_by_name(secrets, db, agent):
    async with db.transaction() as conn:
        await secrets.put(conn, agent, "default", {"A": "new", "C": ""})
    assert await opened(db, secrets, agent) == {"A": "new", "B": "beta \u20ac", "C": ""}


async def test_a_space_has_one_data_key_and_a_nonce_per_value(secrets, agents, ann, db, agent):
    await agents.create(ann, NewAgent("other", secrets={"A": "alpha"}))
    async with db.reading() as conn:
        assert len((await conn.execute(select(data_keys))).all()) == 1
        rows = (await conn.execute(select(agent_secrets))).all()
        assert len({row.nonce for row in rows}) == 3
        assert len({row.ciphertext for row in rows}) == 3


async def test_another_master_key_opens_nothing_and_says_so(db, agent):
    with pytest.raises(Unavailable, match="master key") as caught:
        await opened(db, Secrets(b"x" * 32), agent)
    assert "alpha" not in str(caught.value)
    with pytest.raises(Unavailable):
        async with db.transaction() as conn:
            await Secrets(b"x" * 32).put(conn, agent, "default", {"A": "overwritten?"})


@pytest.mark.parametrize("column", ["ciphertext", "nonce"])
async def test_a_flipped_byte_is_seen(secrets, db, agent, column):
    async with db.transaction() as conn:
        stored = await conn.scalar(select(agent_secrets.c[column]).where(agent_secrets.c.key == "A"))
        changed = bytes([stored[0] ^ 1]) + stored[1:]
        await conn.execute(update(agent_secrets).where(agent_secrets.c.key == "A").values({column: changed}))
    with pytest.raises(Unavailable, match="'A' was changed"):
        await opened(db, secrets, agent)


async def test_rows_cannot_be_swapped(secrets, db, agent):
    async with db.transaction() as conn:
        first, second = (await conn.execute(select(agent_secrets).order_by(agent_secrets.c.key))).all()
        for row, other in ((first, second), (second, first)):
            values = {"nonce": other.nonce, "ciphertext": other.ciphertext}
            await conn.execute(update(agent_secrets).where(agent_secrets.c.key == row.key).values(values))
    with pytest.raises(Unavailable):
        await opened(db, secrets, agent)


async def test_a_secret_moved_to_another_agent_does_not_open(secrets, agents, ann, db, agent):
    await agents.create(ann, NewAgent("thief"))
    async with db.transaction() as conn:
        thief = (await find(conn, ann, "thief", "get")).id
        await conn.execute(update(agent_secrets).values(agent_id=thief))
    with pytest.raises(Unavailable):
        await opened(db, secrets, thief)


async def test_a_data_key_is_bound_to_its_space_and_version(secrets, db, agent):
    async with db.transaction() as conn:
        await conn.execute(update(data_keys).values(version=2))
        await conn.execute(update(agent_secrets).values(key_version=2))
    with pytest.raises(Unavailable):
        await opened(db, secrets, agent)


async def test_a_data_key_that_is_gone_is_named(secrets, db, agent):
    async with db.transaction() as conn:
        await conn.execute(data_keys.delete())
    with pytest.raises(Unavailable, match="data key that is not there"):
        await opened(db, secrets, agent)


def test_refusals_do_not_repeat_values():
    for values in ({"A": "canary\x00"}, {"A": "canary" * 20_000}, {"A-B": "canary"}):
        with pytest.raises(BadRequest) as caught:
            check_secrets(values)
        assert "canary" not in str(caught.value) + str(caught.value.details)


def test_limits_of_values_are_bytes():
    check_secrets({"A" * 255: "x" * 65_536, "_9": ""})
    with pytest.raises(BadRequest):
        check_secrets({"A": "\u20ac" * 30_000})
    with pytest.raises(BadRequest):
        check_secrets({"A" * 256: ""})

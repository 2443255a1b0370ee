"""Another master key while everything runs, cut short anywhere: every secret opens at any moment."""

import fcntl
import uuid
from dataclasses import replace

import psycopg
import pytest
from sqlalchemy import insert, select

from raworc.errors import Conflict, Unavailable
from raworc.ids import new_id
from raworc.keys import MasterKeys, adopt_next_master_key, key_id, load_keys, next_master_key
from raworc.services.secrets import Secrets
from raworc.settings import Settings
from raworc.store.database import Database
from raworc.store.schema import accounts, agents
from raworc.supervisor.rotate import run_rotate
from rows import add_session
from stack import Stack

CANARY = "sealed-and-sealed-again-117"


def ids(url: str) -> set[str]:
    with psycopg.connect(url) as conn:
        return {row[0] for row in conn.execute("SELECT master_key_id FROM data_keys")}


def test_running_processes_follow(stack: Stack):
    client = stack.client()
    agents = [client.agents.create(f"sealed-{number}", secrets={"CANARY": CANARY}).name for number in range(2)]
    before = load_keys(stack.settings).master
    assert client.responses.ask(agents[0], "```bash\necho $CANARY\n```").output_content[0]["content"] == CANARY
    for _ in range(2):
        assert run_rotate(stack.settings) == 1
        after = load_keys(stack.settings).master
        assert ids(stack.settings.database_url) == {key_id(after)} != {key_id(before)}
        client.agents.create(f"later-{key_id(after)}", secrets={"CANARY": CANARY})
    for agent in (agents[1], f"later-{key_id(after)}"):
        assert client.responses.ask(agent, "```bash\necho $CANARY\n```").output_content[0]["content"] == CANARY


@pytest.mark.anyio
async def test_cut_short_anywhere_it_opens_and_is_finished_by_the_next(settings: Settings, db: Database):
    agent_id, running = new_id(), Secrets(MasterKeys.of(settings))
    load_keys(settings)
    await add_agent(db, agent_id)
    async with db.transaction() as conn:
        await running.put(conn, agent_id, "default", {"CANARY": CANARY})

    async def check_opens() -> None:
        for secrets in (running, Secrets(MasterKeys.of(settings))):
            async with db.reading() as conn:
                assert await secrets.values(conn, agent_id, "default") == {"CANARY": CANARY}

    key = next_master_key(settings)
    await check_opens()
    async with db.transaction() as conn:
        assert await Secrets(MasterKeys.of(settings)).rewrap(conn, key) == 1
    await check_opens()
    assert next_master_key(settings) == key
    (settings.home / "keys" / "master.former").hardlink_to(settings.home / "keys" / "master")
    await check_opens()
    async with db.transaction() as conn:
        assert await Secrets(MasterKeys.of(settings)).rewrap(conn, key) == 0
    adopt_next_master_key(settings)
    await check_opens()
    assert load_keys(settings).master == key
    assert sorted(path.name for path in (settings.home / "keys").iterdir()) == [
        "door",
        "jwt",
        "master",
        "master.former",
    ]
    assert {path.stat().st_mode & 0o777 for path in (settings.home / "keys").iterdir()} == {0o600}


@pytest.mark.anyio
async def test_a_key_from_the_environment(settings: Settings, db: Database, anyio_backend: str):
    old = replace(settings, master_key="the first of two long secrets")
    new = replace(settings, master_key="the second of two long secrets", master_key_former=old.master_key)
    agent_id = new_id()
    await add_agent(db, agent_id)
    async with db.transaction() as conn:
        await Secrets(MasterKeys.of(old)).put(conn, agent_id, "default", {"CANARY": CANARY})
    async with db.transaction() as conn:
        masters = MasterKeys.of(new)
        assert await Secrets(masters).rewrap(conn, masters.newest()) == 1
    alone = Secrets(MasterKeys.of(replace(new, master_key_former=None)))
    async with db.reading() as conn:
        assert await alone.values(conn, agent_id, "default") == {"CANARY": CANARY}
        with pytest.raises(Unavailable, match="belongs to another master key"):
            await Secrets(MasterKeys.of(old)).values(conn, agent_id, "default")


@pytest.mark.anyio
async def test_a_data_key_that_nobody_can_open_stops_it(settings: Settings, db: Database):
    agent_id = new_id()
    await add_agent(db, agent_id)
    async with db.transaction() as conn:
        await Secrets(b"x" * 32).put(conn, agent_id, "default", {"CANARY": CANARY})
    with pytest.raises(Unavailable, match="belongs to another master key"):
        async with db.transaction() as conn:
            await Secrets(MasterKeys.of(settings)).rewrap(conn, b"y" * 32)
    assert ids(settings.database_url) == {key_id(b"x" * 32)}


def test_one_at_a_time(settings: Settings):
    with (settings.run_dir / "rotate.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(Conflict, match="Another rotation runs"):
            run_rotate(settings)


async def add_agent(db: Database, agent_id: uuid.UUID) -> None:
    """The rows that a secret needs."""
    async with db.transaction() as conn:
        owner = await conn.scalar(select(accounts.c.id))
        columns = {"kind": "named", "name": "demo", "space": "default", "owner_id": owner, "created_by": "admin"}
        await conn.execute(insert(agents).values(id=agent_id, session_id=await add_session(conn), **columns))

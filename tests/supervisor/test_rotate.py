"""Another master key while everything runs, cut short anywhere: every secret opens at any moment."""

import asyncio
import fcntl
import uuid
from dataclasses import replace
from typing import Any

import psycopg
import pytest
from sqlalchemy import insert, select, text

from raworc.domain.credentials import ApiKey
from raworc.errors import Conflict, NotFound, Unavailable
from raworc.ids import new_id
from raworc.keys import MasterKeys, adopt_next_master_key, key_id, load_keys, next_master_key
from raworc.services.data_keys import DataKeys
from raworc.services.secrets import Secrets, of_space
from raworc.services.upstream_uses import opened, sealed_columns
from raworc.settings import Settings
from raworc.store import space_secrets, upstreams
from raworc.store.database import Database
from raworc.store.schema import accounts, agents, audit
from raworc.supervisor.rotate import run_rotate, run_rotate_data
from rows import add_session
from stack import Stack
from waiting import until

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


VALUES = {f"KEY_{number}": f"{CANARY}-{number}" for number in range(5)}


VERSIONS = """
SELECT 'agent_secrets', key_version FROM agent_secrets UNION SELECT 'space_secrets', key_version FROM space_secrets
UNION SELECT 'upstreams', key_version FROM upstreams UNION SELECT 'keys', version FROM data_keys
"""


def versions(url: str) -> set[tuple[str, int]]:
    """Which data keys seal what there is, and which there are."""
    with psycopg.connect(url) as conn:
        return {(str(name), int(version)) for name, version in conn.execute(VERSIONS)}


@pytest.fixture
async def sealed(settings: Settings, db: Database) -> tuple[uuid.UUID, uuid.UUID]:
    """An agent and an upstream with secrets, and those of space ``default``."""
    agent_id, upstream_id, secrets = new_id(), new_id(), Secrets(MasterKeys.of(settings))
    load_keys(settings)
    await add_agent(db, agent_id)
    async with db.transaction() as conn:
        await secrets.put(conn, agent_id, "default", VALUES)
        for value in await secrets.sealed(conn, "default", of_space("default"), VALUES):
            row = {"space": "default", "key": value.key, "created_by": "x", "description": None}
            await space_secrets.insert(conn, row | space_secrets.sealed_columns(value))
        columns = await sealed_columns(secrets, conn, upstream_id, ApiKey(CANARY))
        named = {"id": upstream_id, "name": "u", "provider": "custom", "base_url": "http://h", "models": []}
        await upstreams.insert(conn, named | {"is_default": False, "every_space": True, **columns})
    return agent_id, upstream_id


async def check_opens(settings: Settings, db: Database, sealed: tuple[uuid.UUID, uuid.UUID]) -> None:
    secrets = Secrets(MasterKeys.of(settings))
    async with db.reading() as conn:
        assert await secrets.values(conn, sealed[0], "default") == VALUES
        rows = await space_secrets.of_space(conn, "default")
        assert await secrets.opened(conn, "default", of_space("default"), rows) == VALUES
        assert await opened(secrets, conn, await upstreams.find(conn, sealed[1])) == ApiKey(CANARY)


@pytest.mark.anyio
async def test_a_spaces_data_key_is_replaced_batch_by_batch_and_cut_short_anywhere(
    settings: Settings, db: Database, sealed: tuple[uuid.UUID, uuid.UUID], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("raworc.services.data_keys._AT_ONCE", 2)
    url, keys = str(settings.database_url), DataKeys(db, Secrets(MasterKeys.of(settings)))
    tables = ("agent_secrets", "space_secrets", "upstreams")
    batch = keys._batch
    for cut in (0, 1, 2, 4):  # batches
        left = iter(range(cut))

        async def dies(*given: Any, left: Any = left) -> Any:
            if next(left, None) is None:
                raise KeyboardInterrupt
            return await batch(*given)

        monkeypatch.setattr(keys, "_batch", dies)
        with pytest.raises(KeyboardInterrupt):
            await keys.rotate("default")
        await check_opens(settings, db, sealed)
        assert ("keys", 2) in versions(url)
    monkeypatch.setattr(keys, "_batch", batch)
    assert await keys.rotate("default") == 1  # goes on, to no third key
    assert versions(url) == {*((table, 2) for table in tables), ("keys", 1), ("keys", 2)}
    assert await keys.rotate("default") == 11
    assert versions(url) == {*((table, 3) for table in tables), ("keys", 2), ("keys", 3)}
    await check_opens(settings, db, sealed)
    async with db.reading() as conn:
        kept = await conn.scalars(select(audit.c.details).where(audit.c.verb == "rotate").order_by(audit.c.number))
        assert [told["data_key"] for told in kept][-2:] == [2, 3]


@pytest.mark.anyio
async def test_what_is_put_while_a_data_key_is_replaced_is_sealed_by_the_new_one(
    settings: Settings, db: Database, sealed: tuple[uuid.UUID, uuid.UUID]
):
    """Whoever has begun to seal is waited for; whoever comes later waits for the new key."""
    secrets = Secrets(MasterKeys.of(settings))
    keys = DataKeys(db, secrets)
    async with db.transaction() as conn:
        await secrets.put(conn, sealed[0], "default", {"KEY_0": "before"})
        rotating = asyncio.create_task(keys.rotate("default"))
        async with db.reading() as looking:
            waiting = text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")

            async def waits() -> bool:
                return await looking.scalar(waiting) == 1

            await until(waits)
        assert not rotating.done()
    assert await rotating == 11
    async with db.transaction() as conn:
        await secrets.put(conn, sealed[0], "default", {"KEY_1": "after"})
    async with db.reading() as conn:
        assert await secrets.values(conn, sealed[0], "default") == {**VALUES, "KEY_0": "before", "KEY_1": "after"}
    assert versions(str(settings.database_url)) >= {("agent_secrets", 2)}
    assert ("agent_secrets", 1) not in versions(str(settings.database_url))


def test_data_keys_by_the_command(stack: Stack):
    client = stack.client()
    agent = client.agents.create("resealed", secrets={"CANARY": CANARY}).name
    assert run_rotate_data(stack.settings, [])["default"] >= 1
    assert client.responses.ask(agent, "```bash\necho $CANARY\n```").output_content[0]["content"] == CANARY
    with pytest.raises(NotFound, match="'nowhere'"):
        run_rotate_data(stack.settings, ["nowhere"])


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

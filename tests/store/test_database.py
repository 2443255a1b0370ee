"""The pool and its errors against a real Postgres, killed backends included."""

import asyncio

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import insert, select, text

from raworc.errors import DatabaseUnavailable
from raworc.ids import new_id
from raworc.store.database import Conflicted, Database, Duplicate
from raworc.store.schema import roles, spaces
from raworc.supervisor.cluster import SUPERUSER

pytestmark = pytest.mark.anyio


async def test_a_transaction_commits_at_its_end(db):
    async with db.transaction() as conn:
        await conn.execute(insert(spaces).values(name="one"))
    async with db.reading() as conn:
        assert await conn.scalar(select(spaces.c.name).where(spaces.c.name == "one")) == "one"


async def test_an_exception_undoes_the_transaction(db):
    with pytest.raises(RuntimeError):
        async with db.transaction() as conn:
            await conn.execute(insert(spaces).values(name="one"))
            raise RuntimeError
    async with db.reading() as conn:
        assert await conn.scalar(select(spaces.c.name).where(spaces.c.name == "one")) is None


async def test_a_taken_key_names_its_constraint(db):
    with pytest.raises(Duplicate) as caught:
        async with db.transaction() as conn:
            await conn.execute(insert(spaces).values(name="default"))
    assert caught.value.constraint == "pk_spaces"


async def test_a_taken_key_can_be_handled_inside_the_transaction(db):
    async with db.transaction() as conn:
        await conn.execute(insert(spaces).values(name="kept"))
        with pytest.raises(Duplicate):
            async with conn.begin_nested():
                await conn.execute(insert(spaces).values(name="default"))
    async with db.reading() as conn:
        assert await conn.scalar(select(spaces.c.name).where(spaces.c.name == "kept")) == "kept"


async def test_json_comes_back_as_it_went_in(db):
    rules = [{"text": "ä\u2028\U0001f600", "big": 10**30, "float": 1.5, "none": None}]
    async with db.transaction() as conn:
        await conn.execute(insert(roles).values(id=new_id(), name="r", rules=rules))
    async with db.reading() as conn:
        assert await conn.scalar(select(roles.c.rules).where(roles.c.name == "r")) == rules


async def test_a_deadlock_is_tried_again(db):
    async with db.transaction() as conn:
        await conn.execute(insert(spaces), [{"name": "a"}, {"name": "b"}])
    both = asyncio.Barrier(2)
    attempts = 0

    async def touch(first: str, second: str) -> None:
        async def work(conn):
            nonlocal attempts
            attempts += 1
            await conn.execute(spaces.update().where(spaces.c.name == first).values(description="x"))
            if attempts <= 2:
                await both.wait()
            await conn.execute(spaces.update().where(spaces.c.name == second).values(description="x"))

        await db.run(work)

    await asyncio.gather(touch("a", "b"), touch("b", "a"))
    assert attempts == 3


async def test_a_lost_race_shows_outside_run(db):
    with pytest.raises(Conflicted):
        async with db.transaction() as conn:
            await conn.execute(text("DO $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '40001'; END $$"))


def _kill_backends(postgres, url: str) -> None:
    name = psycopg.conninfo.conninfo_to_dict(url)["dbname"]
    with psycopg.connect(postgres.url("postgres", SUPERUSER), autocommit=True) as conn:
        conn.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
        waiting = sql.SQL("SELECT count(*) FROM pg_stat_activity WHERE datname = %s")
        while conn.execute(waiting, [name]).fetchone() != (0,):
            pass


async def test_backends_killed_while_idle_are_never_noticed(db, postgres):
    async with db.reading() as one, db.reading() as two:
        await one.execute(text("SELECT 1"))
        await two.execute(text("SELECT 1"))
    _kill_backends(postgres, db.url)
    async with db.transaction() as conn:
        assert await conn.scalar(text("SELECT 2")) == 2


async def test_a_backend_killed_in_use_is_unavailable_and_the_next_use_works(db, postgres):
    with pytest.raises(DatabaseUnavailable) as caught:
        async with db.transaction() as conn:
            await conn.execute(text("SELECT 1"))
            _kill_backends(postgres, db.url)
            await conn.execute(text("SELECT 1"))
    assert caught.value.headers["Retry-After"] == "1"
    async with db.reading() as conn:
        assert await conn.scalar(text("SELECT 3")) == 3


async def test_a_statement_that_takes_too_long_is_unavailable(db):
    async with db.transaction() as conn:
        await conn.execute(text("SET LOCAL statement_timeout = 1"))
        with pytest.raises(DatabaseUnavailable):
            await conn.execute(text("SELECT pg_sleep(5)"))


async def test_no_server_is_unavailable(tmp_path):
    database = Database(f"postgresql://nobody@/none?host={tmp_path}", pool_size=1)
    with pytest.raises(DatabaseUnavailable):
        async with database.reading():
            pass
    await database.close()


async def test_a_pool_that_stays_empty_is_unavailable(database_url, monkeypatch):
    monkeypatch.setattr("raworc.store.database.POOL_WAIT_S", 0.05)
    database = Database(database_url, pool_size=1)
    async with database.reading():
        with pytest.raises(DatabaseUnavailable, match="busy"):
            async with database.reading():
                pass
    await database.close()


async def test_a_connection_goes_to_whoever_waits_longest(database_url):
    database = Database(database_url, pool_size=2)
    served: list[str] = []

    async def use(name: str) -> None:
        async with database.reading():
            served.append(name)

    async with database.reading():
        waiting = [asyncio.create_task(use(name)) for name in ("first", "second")]
        for _ in range(10):  # until both stand in line
            await asyncio.sleep(0)
    await use("one who comes now")
    await asyncio.gather(*waiting)
    assert served == ["first", "second", "one who comes now"]
    await database.close()

"""The stream of recorded calls: neither gap nor repeat, whoever stores them at once."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from calls import call, load, place
from raworc.domain.ledger import Chosen
from raworc.services.accounts import Caller
from raworc.services.feed import Feed, Stored
from raworc.store.database import Database
from raworc.store.notify import ACCOUNTS, CALLS, ListenerOnDemand
from rows import add_role, bind

pytestmark = pytest.mark.anyio

NOW = datetime.now(UTC)
MANY = 60


@pytest.fixture
async def feed(db: Database, database_url: str) -> AsyncIterator[Feed]:
    async with ListenerOnDemand(database_url, [ACCOUNTS, CALLS]) as listening:
        yield Feed(db, listening, ping_s=0.2)


async def told(stream: AsyncIterator[Stored | None], count: int) -> list[Stored]:
    found: list[Stored] = []
    async with asyncio.timeout(60):
        async for stored in stream:
            found += [stored] if stored else []
            if len(found) == count:
                return found
    return found


async def test_those_who_store_at_once_leave_no_gap(db: Database, feed: Feed, admin: Caller, database_url: str) -> None:
    other = Database(database_url, pool_size=2)
    stream = feed.stream(admin, Chosen(), None)
    assert await anext(stream) is None
    calls = [call(NOW + timedelta(seconds=number % 7), b"same") for number in range(2 * MANY)]

    async def storing(where: Database, part: list) -> None:
        for one in part:
            await load(where, [one])

    reading = asyncio.create_task(told(stream, 2 * MANY))
    await asyncio.gather(storing(db, calls[:MANY]), storing(other, calls[MANY:]))
    await place(db)
    found = await reading
    await other.close()
    assert {stored.call.id for stored in found} == {one.id for one in calls}
    numbers = [stored.number for stored in found]
    assert numbers == sorted(set(numbers))
    again = await told(feed.stream(admin, Chosen(), numbers[9]), 2 * MANY - 10)
    assert [stored.number for stored in again] == numbers[10:]


async def test_a_call_that_has_no_conversation_yet_is_held_back_until_it_has(
    db: Database, feed: Feed, admin: Caller
) -> None:
    stream = feed.stream(admin, Chosen(), None)
    assert await anext(stream) is None
    reading = asyncio.create_task(told(stream, 1))
    await load(db, [call(NOW, b"one")])
    await place(db)
    (stored,) = await reading
    assert stored.begins is not None
    assert stored.call.conversation_id == stored.begins.row.id


async def test_what_is_told_is_what_the_caller_may_see_and_asked_for(
    db: Database, feed: Feed, ann: Caller, people
) -> None:
    async with db.transaction() as conn:
        await conn.exec_driver_sql("INSERT INTO spaces (name) VALUES ('lab')")
        looks = {"resources": ["requests"], "verbs": ["list"], "scope": "space"}
        await bind(conn, await add_role(conn, "looks", looks), ann.account_id, "lab")
    ann = await people.caller("ann")
    wanted = call(NOW, space="lab", train_id="mine")
    await load(db, [call(NOW), call(NOW, space="lab"), call(NOW, train_id="mine"), wanted])
    stream = feed.stream(ann, Chosen(train_id="mine"), 0)
    assert [stored.call.id for stored in await told(stream, 1)] == [wanted.id]
    async with db.transaction() as conn:
        await conn.exec_driver_sql("UPDATE accounts SET active = false WHERE name = 'ann'")
    await load(db, [call(NOW, id=uuid.uuid4())])
    assert await told(stream, 1) == []

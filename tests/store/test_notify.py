"""Notices over a real Postgres: kinds, order, splitting, losing and coming back."""

import asyncio

import psycopg
import pytest
from sqlalchemy import text

from raworc.ids import new_id
from raworc.store.notify import (
    CALLS,
    EVENTS,
    WORK,
    CallNotice,
    DeltaNotice,
    EventNotice,
    Listener,
    ListenerOnDemand,
    Subscription,
    WorkNotice,
    notify_calls,
    notify_delta,
    notify_event,
    notify_work,
)
from raworc.supervisor.cluster import SUPERUSER
from waiting import until

pytestmark = pytest.mark.anyio


@pytest.fixture
async def listener(db):
    async with Listener(db.url, [WORK, EVENTS]) as open_listener:
        yield open_listener


async def test_each_kind_arrives_in_order_for_its_session_only(db, listener):
    mine, other, turn = new_id(), new_id(), new_id()
    async with listener.subscribe(str(mine)) as subscription:
        async with db.transaction() as conn:
            await notify_event(conn, other, 1)
            await notify_work(conn, mine)
            await notify_event(conn, mine, 7)
            await notify_delta(conn, mine, turn, "commentary", "hällo")
        assert await subscription.get(5) == WorkNotice(mine)
        assert await subscription.get(5) == EventNotice(mine, 7)
        assert await subscription.get(5) == DeltaNotice(mine, turn, "commentary", "hällo")
        assert await subscription.get(0) is None


async def test_who_asks_for_all_hears_all(db, listener):
    ids = [new_id(), new_id()]
    async with listener.subscribe(None) as subscription:
        async with db.transaction() as conn:
            for session_id in ids:
                await notify_work(conn, session_id)
        assert [await subscription.get(5), await subscription.get(5)] == [WorkNotice(i) for i in ids]


@pytest.mark.parametrize("rounds", range(4))
async def test_who_is_told_to_end_ends_also_when_a_notice_came_just_before(rounds):
    subscription = Subscription()
    waiting = asyncio.create_task(subscription.get(60))
    for _ in range(3):  # until it waits
        await asyncio.sleep(0)
    notice = WorkNotice(new_id())
    subscription.put(notice)
    for _ in range(rounds):
        await asyncio.sleep(0)
    still_waiting = waiting.cancel()
    assert await asyncio.gather(waiting, return_exceptions=True) != [notice] or not still_waiting


async def test_nothing_is_heard_of_a_transaction_that_was_undone(db, listener):
    session_id = new_id()
    async with listener.subscribe(session_id) as subscription:
        with pytest.raises(RuntimeError):
            async with db.transaction() as conn:
                await notify_event(conn, session_id, 1)
                raise RuntimeError
        async with db.transaction() as conn:
            await notify_event(conn, session_id, 2)
        assert await subscription.get(5) == EventNotice(session_id, 2)


@pytest.mark.parametrize("content", ["x" * 30_000, "\u0001" * 9_000, "\U0001f600" * 6_000, '"\\' * 8_000])
async def test_long_text_is_split_and_whole(db, listener, content):
    session_id, turn_id = new_id(), new_id()
    async with listener.subscribe(session_id) as subscription:
        async with db.transaction() as conn:
            await notify_delta(conn, session_id, turn_id, "commentary", content)
        heard = ""
        while len(heard) < len(content):
            notice = await subscription.get(5)
            assert isinstance(notice, DeltaNotice)
            heard += notice.text
        assert heard == content


async def test_a_killed_listener_says_what_it_lost_and_listens_again(db, listener, postgres):
    session_id = new_id()
    async with listener.subscribe(session_id) as subscription:
        with psycopg.connect(postgres.url("postgres", SUPERUSER), autocommit=True) as conn:
            conn.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name = 'raworc listener' AND datname = %s",
                [psycopg.conninfo.conninfo_to_dict(db.url)["dbname"]],
            )
        assert await subscription.get(5) is None
        assert subscription.overflowed
        heard = None
        for number in range(100):
            async with db.transaction() as conn:
                await notify_event(conn, session_id, number)
            subscription.overflowed = False
            heard = await subscription.get(0.1)
            if heard:
                break
        assert isinstance(heard, EventNotice)


async def test_nonsense_on_the_channel_is_skipped(db, listener):
    session_id = new_id()
    async with listener.subscribe(None) as subscription:
        async with db.transaction() as conn:
            for channel in (WORK, EVENTS):
                await conn.execute(text("SELECT pg_notify(:c, 'nonsense')"), {"c": channel})
            await notify_work(conn, session_id)
        assert await subscription.get(5) == WorkNotice(session_id)


async def test_a_reader_that_is_too_slow_loses_notices_and_knows():
    subscription = Subscription()
    for number in range(2_000):
        subscription.put(EventNotice(new_id(), number))
    assert subscription.overflowed


async def test_what_nobody_wants_to_hear_has_no_connection(db):
    async def is_silent() -> bool:
        query = "SELECT application_name FROM pg_stat_activity WHERE datname = current_database()"
        async with db.reading() as conn:
            return "raworc listener" not in (await conn.execute(text(query))).scalars().all()

    async def hears(listener: Listener, number: int) -> None:
        async with listener.subscribe(CALLS) as subscription:
            subscription.overflowed = False  # whatever was said before there was a connection
            async with db.transaction() as conn:
                await notify_calls(conn, number)
            assert await subscription.get(60) == CallNotice(number)

    async with ListenerOnDemand(db.url, [CALLS]) as listener:
        assert await is_silent()
        await asyncio.gather(hears(listener, 1), hears(listener, 1))
        await until(is_silent)
        await hears(listener, 2)
    await until(is_silent)

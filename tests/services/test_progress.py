import asyncio

import pytest
from sqlalchemy import select, update

from raworc.errors import LostHold, NotFound, TurnSettled
from raworc.ids import new_id
from raworc.services import progress
from raworc.services.progress import Fence, NewTurn, ResponseChanged, SegmentAdded, StateChanged
from raworc.store.notify import EVENTS, WORK, EventNotice, Listener, WorkNotice
from raworc.store.schema import segments, session_events, sessions, turns
from rows import add_session, session_row

pytestmark = pytest.mark.anyio


def a_turn(status="pending", kind="input"):
    return NewTurn(new_id(), None, kind, status, {"content": []}, "admin")


async def add_turn(conn, session_id, status="pending"):
    turn = a_turn(status)
    await progress.write(conn, session_id, [ResponseChanged(turn.turn_id, status)], new_turns=[turn])
    return turn.turn_id


async def rows(conn, table, *order):
    return (await conn.execute(select(table).order_by(*order))).all()


async def test_entries_are_numbered_in_order_across_segments_states_and_responses(db):
    async with db.transaction() as conn:
        session = await add_session(conn)
        turn = await add_turn(conn, session)
        last = await progress.write(
            conn,
            session,
            [
                StateChanged("busy"),
                ResponseChanged(turn, "processing"),
                SegmentAdded(turn, {"type": "commentary", "text": "one"}),
                SegmentAdded(turn, {"type": "commentary", "text": "two"}),
            ],
        )
        assert last.event_seq == 5
        assert (await session_row(conn, session)).event_seq == 5
        found = await rows(conn, segments, segments.c.seq)
        assert [(row.seq, row.event_seq, row.body["text"]) for row in found] == [(1, 4, "one"), (2, 5, "two")]
        told = await rows(conn, session_events, session_events.c.event_seq)
        assert [(row.event_seq, row.kind, row.turn_id) for row in told] == [
            (1, "response", turn),
            (2, "state", None),
            (3, "response", turn),
        ]
        assert told[1].body == {"state": "busy"}
        assert told[2].body["status"] == "processing"


async def test_a_response_entry_is_the_turns_status_and_its_times(db):
    async with db.transaction() as conn:
        session = await add_session(conn)
        turn = await add_turn(conn, session)
        await progress.response_event(conn, session, turn, "processing")
        row = (await rows(conn, turns))[0]
        assert (row.status, row.finished_at) == ("processing", None)
        assert row.started_at == row.updated_at
        failed = ResponseChanged(turn, "failed", error={"code": "x", "message": "y"}, cancel_reason="why")
        await progress.write(conn, session, [failed])
        row = (await rows(conn, turns))[0]
        assert (row.status, row.error, row.cancel_reason) == ("failed", {"code": "x", "message": "y"}, "why")
        assert row.finished_at == row.updated_at
        told = (await rows(conn, session_events, session_events.c.event_seq))[-1]
        assert told.body["updated_at"] == row.updated_at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


async def test_a_marker_comes_complete_with_its_segments_in_one_statement(db):
    async with db.transaction() as conn:
        session = await add_session(conn)
        marker = a_turn("completed", "marker")
        entries = [
            SegmentAdded(marker.turn_id, {"type": "slept"}),
            ResponseChanged(marker.turn_id, "completed"),
            StateChanged("slept"),
        ]
        await progress.write(conn, session, entries, new_turns=[marker])
        row = (await rows(conn, turns))[0]
        assert (row.status, row.segment_count, row.kind) == ("completed", 1, "marker")
        assert row.finished_at is not None
        await progress.append(conn, session, marker.turn_id, [{"type": "later"}])
        assert [(row.seq, row.type) for row in await rows(conn, segments, segments.c.seq)] == [
            (1, "slept"),
            (2, "later"),
        ]


@pytest.mark.parametrize(
    ("state", "idle", "busy"), [("idle", True, False), ("busy", False, True), ("slept", False, False)]
)
async def test_a_state_brings_its_moments_along(db, state, idle, busy):
    async with db.transaction() as conn:
        session = await add_session(conn, state="init")
        await progress.state_event(conn, session, state)
        row = await session_row(conn, session)
        assert (row.state, row.idle_from is not None, row.busy_from is not None) == (state, idle, busy)


async def test_segments_leave_the_state_and_its_moments_alone(db):
    async with db.transaction() as conn:
        session = await add_session(conn)
        turn = await add_turn(conn, session)
        await progress.state_event(conn, session, "busy")
        before = await session_row(conn, session)
        await progress.append(conn, session, turn, [{"type": "note"}])
        after = await session_row(conn, session)
        assert (after.state, after.busy_from) == ("busy", before.busy_from)


async def test_a_fence_that_holds_writes_and_sets_attempts_back(db):
    async with db.transaction() as conn:
        fence = Fence(new_id(), 3)
        session = await add_session(conn, held_by=fence.worker_id, hold_epoch=3)
        turn = await add_turn(conn, session, "processing")
        await conn.execute(update(turns).values(attempts=2))
        await progress.append(conn, session, turn, [{"type": "note"}], fence=fence)
        assert (await rows(conn, turns))[0].attempts == 0


@pytest.mark.parametrize("other", ["worker", "epoch"])
async def test_a_lost_hold_writes_nothing(db, other):
    worker = new_id()
    async with db.transaction() as conn:
        session = await add_session(conn, held_by=worker, hold_epoch=3)
        turn = await add_turn(conn, session)
    fence = Fence(new_id(), 3) if other == "worker" else Fence(worker, 2)
    with pytest.raises(LostHold):
        async with db.transaction() as conn:
            await progress.append(conn, session, turn, [{"type": "note"}], fence=fence)
    async with db.reading() as conn:
        assert await rows(conn, segments) == []
        assert (await session_row(conn, session)).event_seq == 1


async def test_an_empty_write_checks_the_fence(db):
    fence = Fence(new_id(), 1)
    async with db.transaction() as conn:
        session = await add_session(conn, held_by=fence.worker_id, hold_epoch=1)
        assert (await progress.write(conn, session, [], fence=fence)).event_seq == 0
    with pytest.raises(LostHold):
        async with db.transaction() as conn:
            await progress.write(conn, session, [], fence=Fence(new_id(), 1))


async def test_an_operator_learns_that_its_turn_was_settled_and_nothing_is_written(db):
    fence = Fence(new_id(), 1)
    async with db.transaction() as conn:
        session = await add_session(conn, state="busy", held_by=fence.worker_id, hold_epoch=1)
        turn = await add_turn(conn, session, "processing")
        await progress.response_event(conn, session, turn, "cancelled")
    with pytest.raises(TurnSettled):
        async with db.transaction() as conn:
            final = [SegmentAdded(turn, {"type": "final"}), ResponseChanged(turn, "completed"), StateChanged("idle")]
            await progress.write(conn, session, final, fence=fence)
    async with db.reading() as conn:
        assert await rows(conn, segments) == []
        assert (await rows(conn, turns))[0].status == "cancelled"
        assert (await session_row(conn, session)).state == "busy"


async def test_unknown_sessions_and_turns_are_not_found(db):
    async with db.transaction() as conn:
        session = await add_session(conn)
        with pytest.raises(NotFound):
            await progress.state_event(conn, new_id(), "idle")
        with pytest.raises(NotFound):
            await progress.append(conn, session, new_id(), [{"type": "note"}])


async def test_a_turn_of_another_session_is_out_of_reach(db):
    async with db.transaction() as conn:
        mine, other = await add_session(conn), await add_session(conn)
        turn = await add_turn(conn, other)
        with pytest.raises(NotFound):
            await progress.append(conn, mine, turn, [{"type": "note"}])


async def test_concurrent_writers_number_without_gap_or_double(db):
    async with db.transaction() as conn:
        session = await add_session(conn)
        turn = await add_turn(conn, session, "processing")

    async def add(text):
        async with db.transaction() as conn:
            await progress.append(conn, session, turn, [{"type": "note", "text": text}] * 2)

    await asyncio.gather(*(add(str(number)) for number in range(20)))
    async with db.reading() as conn:
        found = await rows(conn, segments, segments.c.event_seq)
        assert [row.event_seq for row in found] == list(range(2, 42))
        assert [row.seq for row in found] == list(range(1, 41))


async def test_servers_are_told_and_operators_too_unless_one_of_them_wrote(db, database_url):
    fence = Fence(new_id(), 1)
    async with db.transaction() as conn:
        session = await add_session(conn, held_by=fence.worker_id, hold_epoch=1)
    async with Listener(database_url, [WORK, EVENTS]) as listener, listener.subscribe(session) as heard:
        await heard.get(0)
        heard.overflowed = False
        async with db.transaction() as conn:
            await progress.state_event(conn, session, "busy", fence=fence)
        assert await heard.get(5) == EventNotice(session, 1, settles=False)
        async with db.transaction() as conn:
            await progress.state_event(conn, session, "idle")
        assert {await heard.get(5), await heard.get(5)} == {EventNotice(session, 2, settles=False), WorkNotice(session)}
        async with db.transaction() as conn:
            turn = await add_turn(conn, session)
        assert {await heard.get(5), await heard.get(5)} == {EventNotice(session, 3, settles=False), WorkNotice(session)}
        async with db.transaction() as conn:
            await progress.response_event(conn, session, turn, "cancelled")
        assert {await heard.get(5), await heard.get(5)} == {EventNotice(session, 4, settles=True), WorkNotice(session)}


async def test_one_processing_turn_a_session(db):
    async with db.transaction() as conn:
        session = await add_session(conn)
        await add_turn(conn, session, "processing")
        assert (await conn.execute(select(sessions.c.id))).one()
    with pytest.raises(Exception, match="uq_turns_processing"):
        async with db.transaction() as conn:
            await add_turn(conn, session, "processing")

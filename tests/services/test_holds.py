"""Who may claim which session, and when a holder counts as dead."""

import asyncio
import uuid

import pytest
from sqlalchemy import func, text

from raworc.domain.duties import Situation
from raworc.errors import LostHold
from raworc.ids import SessionId, WorkerId, new_id
from raworc.services.holds import Holds
from raworc.store import workers
from raworc.store.database import Database
from raworc.store.schema import sessions, turns
from rows import add_session, session_row

pytestmark = pytest.mark.anyio


class Some:
    """Workers of a node; ``ended`` are those whose lock is free."""

    def __init__(self, db: Database) -> None:
        self.db = db
        self.ended: set[uuid.UUID] = set()

    def holds(self, node: str = "here") -> Holds:
        return Holds(self.db, WorkerId(new_id()), node, lambda other: other in self.ended)

    async def session(self, **columns: object) -> SessionId:
        async with self.db.transaction() as conn:
            return SessionId(await add_session(conn, **columns))

    async def pending(self, session_id: uuid.UUID, status: str = "pending") -> None:
        async with self.db.transaction() as conn:
            row = {"id": new_id(), "session_id": session_id, "kind": "input", "status": status}
            await conn.execute(turns.insert().values(**row))

    async def seen(self, worker_id: uuid.UUID, node: str, *, ago_s: float) -> None:
        async with self.db.transaction() as conn:
            await workers.seen(conn, worker_id, "operator", node, 1)
            await conn.execute(
                text("UPDATE workers SET seen_at = clock_timestamp() - make_interval(secs => :s) WHERE id = :id"),
                {"s": ago_s, "id": worker_id},
            )


@pytest.fixture
def some(db: Database) -> Some:
    return Some(db)


async def claimed(holds: Holds, **options: object) -> list[uuid.UUID]:
    await holds.find_dead()
    return [hold.session_id for hold in await holds.claim(held=(), limit=10, **options)]


WANTING = {
    "new": {"state": "init", "desired": "idle"},
    "to wake": {"state": "slept", "desired": "idle"},
    "to sleep": {"state": "idle", "desired": "slept"},
    "to remove": {"state": "slept", "desired": "terminated"},
    "removed, shown so": {"state": "terminated", "desired": "terminated"},
    "sleep is due": {"state": "idle", "sleep_at": func.now()},
    "idle for too long": {"state": "idle", "idle_from": text("now() - interval '1 day'")},
    "busy for too long": {"state": "busy", "busy_from": text("now() - interval '1 day'")},
    "held busy for too long": {"state": "idle", "busy_hold_from": text("now() - interval '1 day'")},
    "busy with nothing": {"state": "busy"},
}

CONTENT = {
    "idle": {"state": "idle", "idle_from": func.now()},
    "held busy": {"state": "idle", "idle_from": text("now() - interval '1 day'"), "busy_hold_from": func.now()},
    "asleep": {"state": "slept"},
    "broken": {"state": "error"},
    "sleeps later": {"state": "idle", "sleep_at": text("now() + interval '1 hour'")},
}


@pytest.mark.parametrize("columns", WANTING.values(), ids=WANTING)
async def test_a_session_that_wants_something_is_claimed(some: Some, columns: dict[str, object]):
    session_id = await some.session(**columns)
    assert await claimed(some.holds()) == [session_id]


@pytest.mark.parametrize("columns", WANTING.values(), ids=WANTING)
async def test_it_is_claimed_by_name_too(some: Some, columns: dict[str, object]):
    session_id = await some.session(**columns)
    assert await claimed(some.holds(), only=[session_id]) == [session_id]


@pytest.mark.parametrize("columns", CONTENT.values(), ids=CONTENT)
async def test_a_session_that_wants_nothing_is_left_alone(some: Some, columns: dict[str, object]):
    session_id = await some.session(**columns)
    assert await claimed(some.holds()) == []
    assert await claimed(some.holds(), only=[session_id]) == []


@pytest.mark.parametrize("status", ["pending", "processing"])
async def test_an_open_turn_is_work(some: Some, status: str):
    session_id = await some.session(state="idle")
    await some.pending(session_id, status)
    assert await claimed(some.holds(), only=[session_id]) == [session_id]
    assert await claimed(some.holds()) == []


async def test_a_claim_raises_the_epoch_and_names_holder_and_node(some: Some):
    session_id = await some.session(state="busy", hold_epoch=7)
    holds = some.holds("there")
    (hold,) = await holds.claim(held=(), limit=10)
    async with some.db.reading() as conn:
        row = await session_row(conn, session_id)
    assert (row.held_by, row.hold_epoch, row.node) == (hold.worker_id, 8, "there")
    assert (hold.epoch, hold.number, hold.space) == (8, row.number, "default")


async def test_a_session_stays_on_its_node(some: Some):
    session_id = await some.session(state="busy", node="there")
    assert await claimed(some.holds("here")) == []
    assert await claimed(some.holds("there")) == [session_id]


async def test_a_holder_of_this_node_is_dead_when_its_lock_is_free(some: Some):
    holder = new_id()
    session_id = await some.session(state="busy", held_by=holder, node="here")
    await some.seen(holder, "here", ago_s=3600)  # late, but its lock is held
    assert await claimed(some.holds()) == []
    some.ended.add(holder)
    assert await claimed(some.holds()) == [session_id]


@pytest.mark.parametrize(("ago_s", "dead"), [(0, False), (14, False), (16, True)])
async def test_a_holder_of_another_node_is_dead_when_it_was_not_seen(some: Some, ago_s: float, dead: bool):
    holder = new_id()
    session_id = await some.session(state="busy", held_by=holder)  # may move
    await some.seen(holder, "there", ago_s=ago_s)
    some.ended.add(holder)  # no lock of this node tells anything about it
    assert await claimed(some.holds()) == ([session_id] if dead else [])


async def test_a_holder_without_a_row_is_probed_by_its_lock(some: Some):
    holder = new_id()
    session_id = await some.session(state="busy", held_by=holder)
    assert await claimed(some.holds()) == []
    some.ended.add(holder)
    assert await claimed(some.holds()) == [session_id]


async def test_one_s_own_forgotten_session_is_free_to_oneself(some: Some):
    session_id = await some.session(state="busy")
    holds = some.holds()
    (hold,) = await holds.claim(held=(), limit=10)
    assert await holds.claim(held=[session_id], limit=10) == []
    (again,) = await holds.claim(held=(), limit=10)
    assert again.epoch == hold.epoch + 1
    with pytest.raises(LostHold):
        await holds.look(hold)


async def test_a_session_is_claimed_once_however_many_ask(some: Some):
    for _ in range(10):
        await some.session(state="busy")
    answers = await asyncio.gather(*(some.holds().claim(held=(), limit=4) for _ in range(6)))
    found = [hold.session_id for holds in answers for hold in holds]
    assert len(found) == len(set(found)) == 10


async def test_what_is_held_and_wants_attention(some: Some):
    holds = some.holds()
    quiet = await some.session(state="idle", held_by=holds._worker_id, hold_epoch=3)
    loud = await some.session(state="idle", held_by=holds._worker_id, desired="terminated")
    await some.session(state="idle", held_by=new_id())
    found = await holds.standing()
    assert {key: (one.epoch, one.wants) for key, one in found.items()} == {quiet: (3, False), loud: (0, True)}


async def test_a_look_shows_what_runs_and_what_waits(some: Some):
    session_id = await some.session(state="busy")
    await some.pending(session_id, "processing")
    await some.pending(session_id)
    await some.pending(session_id)
    holds = some.holds()
    (hold,) = await holds.claim(held=(), limit=1)
    found = await holds.look(hold)
    assert isinstance(found, Situation)
    async with some.db.reading() as conn:
        rows = (await conn.execute(turns.select().order_by(turns.c.number))).all()
    assert (found.processing, found.pending) == (rows[0].id, rows[1].id)
    assert found.timers.queued


async def test_letting_go_keeps_wishes_that_are_not_fulfilled(some: Some):
    holds = some.holds()
    me = {"held_by": holds._worker_id}
    rows = {
        "asleep": await some.session(state="slept", desired="slept", **me),
        "to remove": await some.session(state="terminated", desired="terminated", **me),
        "to wake": await some.session(state="init", desired="idle", **me),
    }
    another = await some.session(state="idle", held_by=new_id())
    await holds.release([*rows.values(), another])
    async with some.db.reading() as conn:
        found = {row.id: row for row in await conn.execute(sessions.select())}
    assert [found[rows[name]].desired for name in rows] == [None, "terminated", "idle"]
    assert all(found[session_id].held_by is None for session_id in rows.values())
    assert found[another].held_by is not None

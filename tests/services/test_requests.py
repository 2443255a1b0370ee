"""The ledger as an agent's owner sees it, and whose turn a sandbox's call belongs to."""

import asyncio
import time
import uuid
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, text, update

from raworc.domain.agents import NewAgent
from raworc.errors import Forbidden, NotFound
from raworc.services.accounts import Caller
from raworc.services.agents import Agents
from raworc.services.recording import Recording
from raworc.services.requests import Requests
from raworc.services.turns import Turns
from raworc.store import schema as tables
from raworc.store import steps
from raworc.store.database import Database
from raworc.store.recordings import RequestRow, SpoolPosition
from raworc.store.steps import Finished, Started
from rows import add_code_agent, home_of, set_home, take_turn

pytestmark = pytest.mark.anyio

NAME = "worker"


@pytest.fixture
def requests(db: Database) -> Requests:
    return Requests(db)


@pytest.fixture
async def turn_id(db: Database, agents: Agents, turns: Turns, ann: Caller) -> uuid.UUID:
    """A turn in progress of an agent of Ann's."""
    await agents.create(ann, NewAgent(name=NAME))
    await turns.start(ann, NAME, {"text": "go"})
    return await take_turn(db, NAME)


async def record(db: Database, turn_id: uuid.UUID | None, *ids: uuid.UUID, after_s: float = 0) -> None:
    home = await home_of(db, NAME)
    made = [
        RequestRow(
            id=request_id,
            created_at=datetime.now(UTC) + timedelta(seconds=after_s + number),
            caller="turn",
            space="default",
            train_id=f"default.{NAME}",
            session_id=home.id,
            turn_id=turn_id,
            account_id="scripted",
            method="POST",
            path="/v1/messages",
            model="m",
            status_code=200,
            input_tokens=3,
            output_tokens=4,
            duration_ms=5,
        )
        for number, request_id in enumerate(ids)
    ]
    await Recording(db, "node").load(made, SpoolPosition(uuid.uuid4(), 1, 0))


async def step(db: Database, turn_id: uuid.UUID, number: int, request_id: uuid.UUID, *, done: bool) -> None:
    async with db.transaction() as conn:
        await steps.step(conn, turn_id, 1, then=Started(number, "model", request_id))
        if done:
            await steps.step(conn, turn_id, 1, done=Finished(number, "done", []))


async def test_newest_first_in_pages(db: Database, requests: Requests, ann: Caller, turn_id: uuid.UUID) -> None:
    ids = [uuid.uuid4() for _ in range(5)]
    await record(db, turn_id, *ids[:4])
    await record(db, None, ids[4], after_s=9)
    page = await requests.for_agent(ann, NAME, page=2, per_page=2)
    assert [call.id for call in page.requests] == [ids[2], ids[1]]
    assert (page.total, page.page, page.per_page, page.total_pages) == (5, 2, 2, 3)
    (call,) = (await requests.for_turn(ann, NAME, turn_id, per_page=1)).requests
    assert (call.id, call.status, call.total_tokens, call.turn_id) == (ids[3], "recorded", 7, turn_id)
    assert (await requests.for_turn(ann, NAME, turn_id)).total == 4
    beyond = await requests.for_agent(ann, NAME, page=2**60, per_page=500)
    assert (beyond.requests, beyond.total, beyond.per_page) == ([], 5, 100)


async def test_no_calls_is_one_empty_page(requests: Requests, ann: Caller, turn_id: uuid.UUID) -> None:
    page = await requests.for_turn(ann, NAME, turn_id)
    assert (page.requests, page.total, page.total_pages) == ([], 0, 1)


async def test_only_the_owner_and_admins(
    requests: Requests, ann: Caller, bob: Caller, admin: Caller, turn_id: uuid.UUID
) -> None:
    assert (await requests.for_agent(admin, NAME)).total == 0
    with pytest.raises(Forbidden):
        await requests.for_agent(bob, NAME)
    with pytest.raises(Forbidden):
        await requests.for_turn(bob, NAME, turn_id)
    with pytest.raises(NotFound):
        await requests.for_agent(ann, "nobody")
    with pytest.raises(NotFound):
        await requests.for_turn(ann, NAME, uuid.uuid4())


async def test_calls_just_answered_are_waited_for(
    db: Database, requests: Requests, ann: Caller, turn_id: uuid.UUID
) -> None:
    request_id = uuid.uuid4()
    await step(db, turn_id, 1, request_id, done=True)
    listing = asyncio.create_task(requests.for_turn(ann, NAME, turn_id))
    done, _ = await asyncio.wait([listing], timeout=0.1)
    assert not done
    await record(db, turn_id, request_id)
    (call,) = (await listing).requests
    assert (call.id, call.status) == (request_id, "recorded")


async def test_a_call_whose_record_does_not_come_is_shown_as_recording(
    db: Database, requests: Requests, ann: Caller, turn_id: uuid.UUID
) -> None:
    known, late = uuid.uuid4(), uuid.uuid4()
    await record(db, turn_id, known)
    await step(db, turn_id, 1, known, done=True)
    await step(db, turn_id, 2, late, done=True)
    began = time.monotonic()
    page = await requests.for_agent(ann, NAME)
    assert 1.9 < time.monotonic() - began < 4
    assert [(call.id, call.status) for call in page.requests] == [(late, "recording"), (known, "recorded")]
    assert (page.requests[0].train_id, page.requests[0].turn_id, page.total) == (f"default.{NAME}", turn_id, 2)
    second = await requests.for_agent(ann, NAME, page=2, per_page=1)
    assert [call.id for call in second.requests] == [known]


async def test_a_call_in_progress_is_shown_at_once(
    db: Database, requests: Requests, ann: Caller, turn_id: uuid.UUID
) -> None:
    running = uuid.uuid4()
    await step(db, turn_id, 1, running, done=False)
    began = time.monotonic()
    (call,) = (await requests.for_turn(ann, NAME, turn_id)).requests
    assert (call.id, call.status, call.status_code, call.path) == (running, "recording", None, "")
    assert time.monotonic() - began < 1
    async with db.transaction() as conn:
        await conn.execute(text("UPDATE turns SET status = 'cancelled'"))
    assert (await requests.for_turn(ann, NAME, turn_id)).requests == []


async def test_the_turn_of_a_sandboxs_call(db: Database, requests: Requests, turn_id: uuid.UUID) -> None:
    session_id = await set_home(db, NAME, hold_epoch=7)
    assert await requests.processing(session_id, 7) == turn_id
    assert await requests.processing(session_id, 6) is None
    assert await requests.processing(uuid.uuid4(), 7) is None
    async with db.transaction() as conn:
        await conn.execute(text("UPDATE turns SET status = 'completed'"))
    assert await requests.processing(session_id, 7) is None


async def test_the_handler_of_a_deployed_agent_may_call_between_turns(
    db: Database, requests: Requests, turn_id: uuid.UUID
) -> None:
    session_id = await set_home(db, NAME, hold_epoch=7)
    async with db.transaction() as conn:
        agent_id = await add_code_agent(conn, "default", "warm")
    assert not await requests.keeps_warm(session_id, 7, agent_id)
    for columns, holds in (({"deployed_at": func.now()}, True), ({"active": False}, False), ({"active": True}, True)):
        async with db.transaction() as conn:
            await conn.execute(update(tables.agents).where(tables.agents.c.id == agent_id).values(**columns))
        assert await requests.keeps_warm(session_id, 7, agent_id) is holds, columns
    assert not await requests.keeps_warm(session_id, 6, agent_id)
    assert not await requests.keeps_warm(uuid.uuid4(), 7, agent_id)
    async with db.transaction() as conn:
        await conn.execute(text("INSERT INTO spaces (name) VALUES ('elsewhere')"))
        stranger = await add_code_agent(conn, "elsewhere", "warm", deployed_at=func.now())
    assert not await requests.keeps_warm(session_id, 7, stranger)

"""What is asked of agents stands in the audit log: who asked, which responses; never what was said."""

import asyncio
from contextlib import asynccontextmanager
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import select

from raworc.errors import Conflict, Hidden, StorageFull
from raworc.services.agent_states import AgentStates
from raworc.services.agents import AgentChange, Agents, NewAgent
from raworc.services.audit_log import verify
from raworc.services.messages import Messages, NewMessage
from raworc.services.queue import QueueLimits
from raworc.services.remixes import Remix, Remixes
from raworc.services.session_remixes import SessionRemix, SessionRemixes
from raworc.services.sessions import NewSession, Sessions
from raworc.services.turns import TurnChange, Turns
from raworc.settings import Settings
from raworc.store.database import Conflicted, Database
from raworc.store.schema import audit
from rows import finish_turn, open_sandbox, set_home, take_turn, turn_rows

pytestmark = pytest.mark.anyio

SECRET = "what only these two should know"
INPUT = {"content": [{"type": "text", "content": SECRET}]}
WIDE = Settings(home=Path("/nowhere"), max_pending_turns=10 * 64, max_queued_per_space=10 * 64)
CROWD = 64


class Undone(Database):
    """Counts the transactions that Postgres undid for the sake of others: there is an order of locks, so none."""

    count = 0

    @asynccontextmanager
    async def transaction(self):
        try:
            async with super().transaction() as conn:
                yield conn
        except Conflicted:
            self.count += 1
            raise


@pytest.fixture
async def demo(agents, ann, db):
    await agents.create(ann, NewAgent("demo"))
    await open_sandbox(db, "demo")


async def entries(db: Database) -> list[tuple[str, dict]]:
    async with db.reading() as conn:
        found = await conn.execute(select(audit).order_by(audit.c.number))
        rows = [row for row in found.all() if row.allowed]
    assert not any(SECRET in str(row) for row in rows)
    return [(row.verb, row.details) for row in rows]


async def test_every_write_to_a_response_is_an_entry_with_ids_only(db, turns, sessions, ann, demo):
    first = (await turns.start(ann, "DEMO", INPUT)).id
    await take_turn(db, "demo")
    more = {"items": [{"type": "commentary", "content": SECRET}], "key": SECRET}
    await turns.change(ann, "demo", first, TurnChange(output=more))
    second = (await turns.start(ann, "demo", INPUT, when_busy="interrupt")).id
    await turns.change(ann, "demo", second, TurnChange(input=INPUT))
    await turns.change(ann, "demo", second, TurnChange(status="completed", output={"text": SECRET}))
    await turns.change(ann, "demo", second, TurnChange(output={"key": SECRET}))  # after its end
    third = (await turns.start(ann, "demo", INPUT)).id
    await sessions.cancel(ann, "demo")

    assert await entries(db) == [
        ("create", {}),
        ("create-response", {"response": str(first)}),
        ("update-response", {"response": str(first), "output": "appended"}),
        ("cancel", {"response": str(first)}),
        ("create-response", {"response": str(second)}),
        ("update-response", {"response": str(second), "input": "replaced"}),
        ("update-response", {"response": str(second), "status": "completed", "output": "appended"}),
        ("update-response", {"response": str(second), "output": "appended"}),
        ("create-response", {"response": str(third)}),
        ("cancel", {"response": str(third)}),
    ]
    async with db.reading() as conn:
        found = (await conn.execute(select(audit).where(audit.c.verb == "create-response"))).first()
    assert (found.actor, found.resource, found.name, found.space) == ("ann", "agents", "demo", "default")


async def test_what_is_refused_or_undone_is_no_entry_of_a_deed(db, turns, ann, demo):
    await turns.start(ann, "demo", INPUT)
    before = await entries(db)

    async def broken(_conn: object, _result: object) -> None:
        raise StorageFull("no")

    with pytest.raises(Conflict):
        await turns.start(ann, "demo", INPUT, when_busy="reject")
    with pytest.raises(StorageFull):
        await turns.start(ann, "demo", INPUT, keep=broken)
    assert await entries(db) == before


async def test_a_first_input_is_named_by_what_it_came_with(db, agents, sessions, secrets, ann):
    await agents.create(ann, NewAgent("demo", prompt=SECRET))
    await Remixes(db, secrets, WIDE).make(ann, "demo", Remix("copy", prompt=SECRET))
    await set_home(db, "demo", state="slept", desired=None)
    await sessions.wake(ann, "demo", prompt=SECRET)

    (first, _, later), (copied,) = await turn_rows(db, "demo"), await turn_rows(db, "copy")
    assert await entries(db) == [
        ("create", {"response": str(first.id)}),
        ("create", {"remix of": "demo", "response": str(copied.id)}),
        ("update-state", {"state": "idle", "response": str(later.id)}),
    ]


async def test_so_is_that_of_a_session_and_of_its_remix(db, admin, ann):
    sessions, new = Sessions(db), NewSession(starting_prompt=SECRET)
    made = await sessions.create(admin, new)
    message = await Messages(db).post(admin, str(made.id), NewMessage(SECRET))
    copy = await SessionRemixes(db, QueueLimits()).make(admin, str(made.id), SessionRemix(starting_prompt=SECRET))
    for _ in range(2):
        with pytest.raises(Hidden):
            await sessions.create(ann, new)

    (asked, *_), (again,) = [await Messages(db).page(admin, str(one.id), limit=2, offset=0) for one in (made, copy)]
    assert await entries(db) == [
        ("create", {"message": str(asked.id)}),
        ("create-message", {"message": str(message.id)}),
        ("create", {"parent": str(made.id), "message": str(again.id)}),
    ]
    async with db.reading() as conn:
        (refused,) = await conn.execute(select(audit).where(~audit.c.allowed))
    assert (refused.verb, refused.resource, refused.name) == ("create", "sessions", None)


async def test_what_an_operator_writes_is_nobodys_deed(db, turns, ann, demo):
    view = await turns.start(ann, "demo", INPUT)
    before = await entries(db)
    await take_turn(db, "demo")
    await finish_turn(db, "demo", view.id)
    assert await entries(db) == before


async def test_an_entry_costs_a_turn_no_round_trip_of_its_own(turns, sessions, ann, demo, monkeypatch):
    asked: list[str] = []
    plain = psycopg.AsyncConnection.execute

    async def counted(conn, query, *given, **more):
        asked.append(query.decode().split()[0])
        return await plain(conn, query, *given, **more)

    monkeypatch.setattr(psycopg.AsyncConnection, "execute", counted)
    await turns.start(ann, "demo", INPUT)
    assert asked == ["SELECT", "SELECT", "SELECT", "WITH"]  # the agent, its open turns, the space's queue; the write
    asked.clear()
    await sessions.cancel(ann, "demo")
    assert asked == ["SELECT", "SELECT", "WITH"]


@pytest.fixture
async def processes(database_url, anyio_backend, monkeypatch):
    monkeypatch.setattr("raworc.store.database.POOL_WAIT_S", 120.0)  # a busy machine is not what is tested
    dbs = [Undone(database_url, pool_size=8) for _ in range(3)]
    yield dbs
    for db in dbs:
        await db.close()


async def test_many_at_once_write_one_chain_and_nobody_waits_in_a_circle(processes, ann, secrets, listener):
    """Of several processes, on agents of their own and on a shared one, each write beside every other."""
    turns = [Turns(db, listener, WIDE) for db in processes]
    agents = [Agents(db, secrets, WIDE) for db in processes]
    names = [f"agent-{number}" for number in range(CROWD)]
    await asyncio.gather(*(agents[number % 3].create(ann, NewAgent(name)) for number, name in enumerate(names)))

    async def work(number: int, name: str) -> int:
        here, there = number % 3, (number + 1) % 3
        first = await turns[here].start(ann, name, INPUT)
        wishes = (
            turns[here].change(ann, name, first.id, TurnChange(output={"items": [{"type": "note", "text": "x"}]})),
            turns[there].start(ann, name, INPUT, when_busy="interrupt"),
            turns[there].start(ann, names[0], INPUT),
            agents[there].update(ann, name, AgentChange(description="x")),
            AgentStates(processes[here]).cancel(ann, name),
            agents[here].create(ann, NewAgent(f"new-{number}", prompt="x")),
        )
        return 1 + len(await asyncio.gather(*wishes))

    done = sum(await asyncio.gather(*(work(number, name) for number, name in enumerate(names))))
    verdict = await verify(processes[0])
    assert (verdict.broken, verdict.entries) == (None, CROWD + done)
    assert [db.count for db in processes] == [0, 0, 0]

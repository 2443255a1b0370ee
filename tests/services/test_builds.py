"""Code agents and the builds that they start: who builds, what coalesces, and what becomes of a dead builder's."""

import asyncio
import uuid

import pytest
from sqlalchemy import select, text, update

from raworc.errors import BadRequest, Conflict, LostHold, NotFound
from raworc.ids import WorkerId, new_id
from raworc.services.accounts import Caller
from raworc.services.build_work import BuildHold, BuildWork, BuiltAgent
from raworc.services.builds import Builds, want
from raworc.services.code_agents import CodeAgent, CodeAgents
from raworc.store import built_agents
from raworc.store.builds import KEPT
from raworc.store.built_agents import BuiltAgentRow
from raworc.store.database import Database
from raworc.store.schema import builds

pytestmark = pytest.mark.anyio

SPACE = "default"


class Some:
    """Who builds; ``ended`` are those whose lock is free."""

    def __init__(self, db: Database) -> None:
        self.db = db
        self.ended: set[uuid.UUID] = set()
        self.agents = CodeAgents(db, files=True)
        self.builds = Builds(db)

    def work(self, worker_id: uuid.UUID | None = None, node: str = "here") -> BuildWork:
        return BuildWork(self.db, WorkerId(worker_id or new_id()), node, lambda other: other in self.ended)

    async def rows(self) -> list[tuple[str, int]]:
        async with self.db.reading() as conn:
            chosen = select(builds.c.status, builds.c.attempts).order_by(builds.c.number)
            return [(status, attempts) for status, attempts in await conn.execute(chosen)]


@pytest.fixture
def some(db: Database) -> Some:
    return Some(db)


def made(hold: BuildHold, digest: str = "d" * 64) -> list[BuiltAgent]:
    return [BuiltAgent(one.id, digest, "python3", "main.process_message", "d", "p", "c" * 40) for one in hold.agents]


async def agent(some: Some, admin: Caller, name: str = "greeter", **fields: str) -> None:
    await some.agents.create(admin, SPACE, CodeAgent(name, source_repo="owner/name", **fields))


async def built(db: Database) -> list[BuiltAgentRow]:
    async with db.reading() as conn:
        return await built_agents.of_space(conn, SPACE)


async def test_what_is_asked_for_while_one_waits_is_one_build(some: Some, admin: Caller):
    await agent(some, admin)
    await agent(some, admin, "other")
    waiting = await some.builds.latest(admin, SPACE)
    again = await some.builds.start(admin, SPACE)
    assert (again.id, again.status) == (waiting.id, "pending")
    (hold,) = await some.work().claim((), 5)
    assert [one.name for one in hold.agents] == ["greeter", "other"]

    later = [await some.builds.start(admin, SPACE) for _ in range(3)]
    assert len({one.id for one in later} - {hold.held.id}) == 1
    assert await some.work().claim((), 5) == []
    assert await some.rows() == [("building", 0), ("pending", 0)]


async def test_a_change_that_commits_while_its_build_is_claimed_is_built(some: Some, admin: Caller, db: Database):
    await agent(some, admin)
    async with db.transaction() as conn:
        await want(conn, SPACE, "admin")  # and would change agents
        assert await some.work().claim((), 5) == []
    assert len(await some.work().claim((), 5)) == 1


async def test_two_that_claim_at_once_never_build_a_space_twice(some: Some, admin: Caller):
    await agent(some, admin)
    claimed = await asyncio.gather(*(some.work().claim((), 5) for _ in range(4)))
    assert sorted(len(one) for one in claimed) == [0, 0, 0, 1]


async def test_what_a_completed_build_made_is_found_until_a_newer_one_does(some: Some, admin: Caller, db: Database):
    work = some.work()
    await agent(some, admin)
    assert await built(db) == []
    (hold,) = await work.claim((), 1)
    await work.note(hold, "so far")
    assert (await some.builds.latest(admin, SPACE)).log == "so far"
    await work.finish(hold, "completed", "done", made(hold))
    (one,) = await built(db)
    assert (one.name, one.digest, one.runtime, one.handler) == ("greeter", "d" * 64, "python3", "main.process_message")
    assert (one.node, one.build_id, one.is_deployed, one.purpose) == ("here", hold.held.id, False, "p")
    assert await work.used() == [(SPACE, "d" * 64)]

    await some.builds.start(admin, SPACE)
    (bad,) = await work.claim((), 1)
    await work.finish(bad, "failed", "no", made(bad, "e" * 64))
    assert [one.digest for one in await built(db)] == ["d" * 64]

    await some.agents.switch(admin, SPACE, "greeter", "inactive")
    assert await built(db) == []
    await some.agents.switch(admin, SPACE, "greeter", "active")
    assert (await some.builds.latest(admin, SPACE)).status == "pending"


async def test_a_dead_builders_build_is_taken_up_and_the_dead_one_writes_nothing(some: Some, admin: Caller):
    await agent(some, admin)
    dead = new_id()
    (lost,) = await some.work(dead).claim((), 1)
    assert await some.work().claim((), 1) == []
    some.ended.add(dead)
    (hold,) = await some.work().claim((), 1)
    assert (hold.held.id, hold.deaths, hold.held.epoch) == (lost.held.id, 1, lost.held.epoch + 1)
    assert hold.number != lost.number
    for attempt in (some.work(dead).note(lost, "x"), some.work(dead).finish(lost, "completed", "x", made(lost))):
        with pytest.raises(LostHold):
            await attempt


async def test_who_lets_go_of_a_build_has_not_died_with_it(some: Some, admin: Caller):
    await agent(some, admin)
    work = some.work()
    (hold,) = await work.claim((), 1)
    await work.release(hold)
    (again,) = await some.work().claim((), 1)
    assert (again.held.id, again.deaths) == (hold.held.id, 0)


async def test_old_builds_are_forgotten_but_for_the_newest_completed_one(some: Some, admin: Caller):
    await agent(some, admin)
    work, first = some.work(), None
    for number in range(KEPT + 3):
        await some.builds.start(admin, SPACE)
        (hold,) = await work.claim((), 1)
        first = first or hold
        await work.finish(hold, "failed" if number else "completed", "", made(hold))
    assert len(await some.rows()) == KEPT + 1
    assert (await some.builds.get(admin, SPACE, f"build-{first.held.id}")).status == "completed"


async def test_builds_of_other_spaces_and_other_words_are_not_there(some: Some, admin: Caller, db: Database):
    with pytest.raises(NotFound, match="never built"):
        await some.builds.latest(admin, SPACE)
    await agent(some, admin)
    build = await some.builds.latest(admin, SPACE)
    async with db.transaction() as conn:
        await conn.execute(text("INSERT INTO spaces (name) VALUES ('elsewhere')"))
    for space, which in ((SPACE, str(build.id)), (SPACE, "build-x"), ("elsewhere", f"build-{build.id}")):
        with pytest.raises(NotFound):
            await some.builds.get(admin, space, which)


async def test_names_are_unique_while_they_are_used_and_running_is_none(some: Some, admin: Caller):
    await agent(some, admin)
    with pytest.raises(Conflict):
        await agent(some, admin, "GREETER")
    for name in ("running", "Running", "", "-a", "a" * 64, "a b"):
        with pytest.raises(BadRequest):
            await agent(some, admin, name)
    await some.agents.delete(admin, SPACE, "Greeter")
    await agent(some, admin)
    with pytest.raises(NotFound):
        await some.agents.create(admin, "nosuch", CodeAgent("a", source_repo="a/b"))


async def test_a_space_that_goes_takes_its_builds_from_their_builder(some: Some, admin: Caller, db: Database):
    async with db.transaction() as conn:
        await conn.execute(text("INSERT INTO spaces (name) VALUES ('going')"))
    await some.builds.start(admin, "going")
    work = some.work()
    (hold,) = await work.claim((), 1)
    async with db.transaction() as conn:
        await conn.execute(text("DELETE FROM spaces WHERE name = 'going'"))
    with pytest.raises(LostHold):
        await work.note(hold, "x")


async def test_a_workers_row_on_another_node_counts_by_when_it_was_seen(some: Some, admin: Caller, db: Database):
    await agent(some, admin)
    far = new_id()
    async with db.transaction() as conn:
        row = {"id": far, "kind": "operator", "node": "far", "pid": 1}
        await conn.execute(text("INSERT INTO workers (id, kind, node, pid) VALUES (:id, :kind, :node, :pid)"), row)
    await some.work(far, "far").claim((), 1)
    some.ended.add(far)  # nobody here can tell
    assert await some.work().claim((), 1) == []
    async with db.transaction() as conn:
        await conn.execute(text("UPDATE workers SET seen_at = now() - interval '1 minute'"))
    assert len(await some.work().claim((), 1)) == 1
    async with db.transaction() as conn:
        await conn.execute(update(builds).values(held_by=None))

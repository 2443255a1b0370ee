import asyncio
import dataclasses

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError

from raworc.errors import Forbidden, Unauthorized
from raworc.services import audit
from raworc.services.agents import AgentChange, NewAgent
from raworc.services.audit import Deed
from raworc.services.audit_log import AuditLog, Wanted, verify
from raworc.store.schema import audit as table
from rows import open_sandbox

pytestmark = pytest.mark.anyio

DEED = Deed("delete", "agents", "demo", "default", {"files": True})


async def rows(db):
    async with db.reading() as conn:
        return (await conn.execute(select(table).order_by(table.c.number))).all()


async def test_a_deed_is_kept_with_who_what_and_from_where(db, ann):
    caller = dataclasses.replace(ann, address="192.0.2.7")
    async with db.transaction() as conn:
        await audit.done(conn, caller, DEED)
    await audit.refused(db, caller, DEED)
    done, refused = await rows(db)
    assert (done.actor_id, done.actor, done.address) == (ann.account_id, "ann", "192.0.2.7")
    assert (done.verb, done.resource, done.name, done.space) == ("delete", "agents", "demo", "default")
    assert (done.allowed, done.details) == (True, {"files": True})
    assert done.at is not None
    assert (refused.actor, refused.verb, refused.allowed) == ("ann", "delete", False)
    assert refused.number > done.number


async def test_what_is_undone_was_not_done(db, ann):
    with pytest.raises(RuntimeError):
        async with db.transaction() as conn:
            await audit.done(conn, ann, DEED)
            raise RuntimeError
    assert await rows(db) == []


@pytest.mark.parametrize("change", ["UPDATE audit SET actor = 'eve'", "DELETE FROM audit", "TRUNCATE audit"])
async def test_what_was_written_stays(db, ann, change):
    await audit.refused(db, ann, DEED)
    with pytest.raises(DBAPIError, match="only ever added"):
        async with db.transaction() as conn:
            await conn.execute(text(change))
    assert len(await rows(db)) == 1


async def test_logins_are_kept_and_names_that_nobody_has_are_not(db, accounts):
    await accounts.login("admin", "admin", contract="agents", address="192.0.2.1")
    for name in ("admin", "hunter2-typed-as-a-name"):
        with pytest.raises(Unauthorized):
            await accounts.login(name, "wrong", contract="agents", address="192.0.2.2")
    kept = [(row.actor, row.verb, row.name, row.address, row.allowed) for row in await rows(db)]
    assert kept == [
        ("admin", "login", "admin", "192.0.2.1", True),
        (None, "login", "admin", "192.0.2.2", False),
        (None, "login", None, "192.0.2.2", False),
    ]


async def written(db, caller, count: int = 3) -> None:
    for number in range(count):
        await audit.refused(db, caller, dataclasses.replace(DEED, name=f"demo-{number}"))


async def tampered(db, *statements: str) -> None:
    """As somebody can who owns the database."""
    async with db.transaction() as conn:
        for name in ("audit", "audit_chain"):
            await conn.execute(text(f"ALTER TABLE {name} DISABLE TRIGGER USER"))
        for statement in statements:
            await conn.execute(text(statement))
        for name in ("audit", "audit_chain"):
            await conn.execute(text(f"ALTER TABLE {name} ENABLE TRIGGER USER"))


async def a_minute_later(db):
    async with db.transaction() as conn:
        await conn.execute(text("UPDATE denials SET since = since - interval '1 minute'"))


async def denials(db):
    async with db.reading() as conn:
        return await conn.scalar(text("SELECT count(*) FROM denials"))


async def test_the_same_refusal_within_a_minute_is_counted_in_one_entry(db, ann, bob, admin, watched):
    """Also of two processes at once; another caller's, or from elsewhere, is another one."""
    elsewhere = dataclasses.replace(ann, address="192.0.2.9")
    await asyncio.gather(*(audit.refused(watched if number % 2 else db, ann, DEED) for number in range(30)))
    for other in (bob, elsewhere):
        await audit.refused(db, other, DEED)
    assert [row.details for row in await rows(db)] == [DEED.details] * 3
    await a_minute_later(db)
    await audit.refused(db, ann, DEED)
    again = (await rows(db))[3:]
    assert [row.details.get("repeated") for row in again] == [29, None]
    assert {(row.actor, row.verb, row.name, row.allowed) for row in again} == {("ann", "delete", "demo", False)}
    assert await denials(db) == 1
    assert (await verify(db)).broken is None


async def test_what_was_counted_becomes_an_entry_without_another_refusal(db, ann, admin):
    for _ in range(3):
        await audit.refused(db, ann, DEED)
    await a_minute_later(db)
    (newest, _) = await AuditLog(db).page(admin, Wanted(actor="ann"), limit=10)
    assert (newest.details["repeated"], newest.details["files"], "since" in newest.details) == (2, True, True)
    assert await denials(db) == 0


async def test_who_asks_for_something_else_each_time_fills_no_log_either(db, ann, bob, monkeypatch):
    monkeypatch.setattr("raworc.store.denials.MOST", 5)
    for number in range(20):
        await audit.refused(db, ann, dataclasses.replace(DEED, name=f"demo-{number}"))
    await audit.refused(db, bob, DEED)
    kept = [(row.actor, row.name, row.verb) for row in await rows(db)]
    assert kept == [
        *(("ann", f"demo-{number}", "delete") for number in range(5)),
        ("ann", None, "*"),
        ("bob", "demo", "delete"),
    ]
    assert await denials(db) == 7
    await a_minute_later(db)
    await audit.refused(db, ann, DEED)
    summary = [row.details for row in await rows(db) if "repeated" in row.details]
    assert [(told["repeated"], told["different"]) for told in summary] == [(14, True)]


async def test_writers_at_once_make_one_chain(db, ann, watched):
    """Some of them are undone, and leave no gap."""

    async def write(number: int) -> None:
        async with (db if number % 2 else watched).transaction() as conn:
            await audit.done(conn, ann, dataclasses.replace(DEED, name=f"demo-{number}"))
            if number % 5 == 0:
                raise RuntimeError

    results = await asyncio.gather(*(write(number) for number in range(40)), return_exceptions=True)
    assert sum(isinstance(result, RuntimeError) for result in results) == 8
    verdict = await verify(db)
    assert (verdict.broken, verdict.entries) == (None, 32)
    async with db.reading() as conn:
        assert (await conn.execute(text("SELECT max(position), count(*) FROM audit_chain"))).one() == (32, 32)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("UPDATE audit SET actor = 'eve' WHERE name = 'demo-1'", "link 2"),
        ("UPDATE audit SET at = at - interval '1 s' WHERE name = 'demo-1'", "link 2"),
        ("UPDATE audit SET details = '{}' WHERE name = 'demo-0'", "link 1"),
        ("DELETE FROM audit WHERE name = 'demo-1'", "link 2"),
        ("DELETE FROM audit_chain WHERE position = 2", "link 3"),
        ("UPDATE audit_chain SET hash = 'x' WHERE position = 3", "link 3"),
        ("INSERT INTO audit (verb, resource, allowed) VALUES ('x', 'y', true)", "not part of the chain"),
    ],
)
async def test_whatever_is_changed_behind_our_back_is_found(db, ann, change, told):
    await written(db, ann)
    assert (await verify(db)).broken is None
    await tampered(db, change)
    assert told in str((await verify(db)).broken)


async def test_a_log_that_was_replaced_is_known_by_a_noted_hash(db, ann):
    await written(db, ann)
    noted = (await verify(db)).head
    await written(db, ann)
    assert (await verify(db, noted)).broken is None
    await tampered(db, "DELETE FROM audit_chain WHERE position > 2", "DELETE FROM audit WHERE name <> 'demo-0'")
    await tampered(db, "DELETE FROM audit_chain", "DELETE FROM audit")
    await written(db, ann)
    assert (await verify(db)).broken is None
    assert "replaced" in str((await verify(db, noted)).broken)


async def test_the_log_does_not_depend_on_who_looks_from_where(db, ann):
    await written(db, ann)
    async with db.transaction() as conn:
        await conn.execute(text("SET LOCAL timezone = 'Asia/Tokyo'"))
        await audit.done(conn, ann, DEED)
    assert (await verify(db)).broken is None


async def test_administrators_page_through_it_and_choose(db, ann, admin):
    log = AuditLog(db)
    await written(db, ann, 5)
    first = await log.page(admin, Wanted(actor="ann"), limit=2)
    rest = await log.page(admin, Wanted(actor="ann", before=first[-1].number), limit=10)
    assert [row.name for row in (*first, *rest)] == [f"demo-{number}" for number in (4, 3, 2, 1, 0)]
    assert await log.page(admin, Wanted(allowed=True, resource="agents"), limit=10) == []
    assert len(await log.page(admin, Wanted(name="demo-3", verb="delete", space="default"), limit=10)) == 1
    assert await log.page(admin, Wanted(end=first[-1].at, start=first[0].at), limit=10) == []
    with pytest.raises(Forbidden):
        await log.page(ann, Wanted(), limit=1)
    assert (await log.page(admin, Wanted(), limit=1))[0].resource == "audit"


async def test_what_people_do_to_an_agent_stands_in_it(db, agents, sessions, ann):
    await agents.create(ann, NewAgent("demo"))
    await open_sandbox(db, "demo")
    await sessions.busy(ann, "demo")
    await sessions.busy(ann, "demo")
    await sessions.idle(ann, "demo")
    await sessions.sleep(ann, "demo", delay_s=None, note=None)
    await sessions.set_state(ann, "demo", "slept")
    await sessions.wake(ann, "demo", prompt=None)
    await agents.update(ann, "demo", AgentChange(description="d"))
    await agents.delete(ann, "demo")
    assert [(row.verb, row.details.get("state")) for row in await rows(db)] == [
        ("create", None),
        ("update-state", "busy"),
        ("update-state", "idle"),
        ("update-state", "slept"),
        ("update-state", "slept"),
        ("update-state", "idle"),
        ("update", None),
        ("delete", None),
    ]

import dataclasses

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError

from raworc.errors import Unauthorized
from raworc.services import audit
from raworc.services.audit import Deed
from raworc.store.schema import audit as table

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

"""Every route of the train, asked by everybody, about calls, keys and upstreams of two spaces and of none.

The expected statuses stand in ``train_table.py``, written by hand.
"""

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select

from asking import Api
from calls import call, store
from crowd import Crowd, Named, examined, gathered, name_of, writes_done
from deeds import LOOKED_FOR_ELSEWHERE, WRITING
from raworc.api.app import DOCUMENTS
from raworc.api.routes import Route
from raworc.ids import new_id
from raworc.settings import Settings
from raworc.store.database import Database
from raworc.store.records import client_keys, links, upstream_spaces, upstreams
from raworc.store.schema import accounts
from train_table import TABLE

pytestmark = pytest.mark.anyio

ROUTES = list(DOCUMENTS["train"])
NOON = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0) - timedelta(days=2)


def test_every_write_is_looked_for_in_the_audit_log():
    writes = {name_of(route) for route in ROUTES if route.method in WRITING}
    assert writes == writes_done(TABLE, ROUTES) | (writes & LOOKED_FOR_ELSEWHERE)


def test_every_route_has_its_rows_and_no_other():
    assert {name_of(route) for route in ROUTES} == set(TABLE)


@pytest.fixture(scope="module")
async def crowd(admin: Api, nobody: Api, db: Database, settings: Settings) -> AsyncIterator[Crowd]:
    async with gathered(admin, nobody, db, settings) as everybody:
        yield everybody


async def recorded(db: Database, space: str) -> Named:
    """A call of that space, in a conversation of its own; its account and train are named after it."""
    made = call(NOON, uuid.uuid4().bytes, space=space, train_id=f"{space}.train", account_id=f"{space}-account")
    await store(db, [made])
    async with db.reading() as conn:
        conversation = await conn.scalar(select(links.c.conversation_id).where(links.c.id == made.id))
    return {"request_id": str(made.id), "conversation_id": str(conversation)}


async def key(db: Database, space: str) -> Named:
    """A key of that space that somebody of there has made."""
    async with db.transaction() as conn:
        owner = await conn.scalar(select(accounts.c.id).where(accounts.c.name == f"dweller-of-{space}"))
        row = {"id": new_id(), "name": f"of {space}", "space": space, "owner_id": owner, "prefix": "rwk_x"}
        await conn.execute(client_keys.insert().values(**row, digest=uuid.uuid4().bytes))
    return {"key_id": str(row["id"])}


async def upstream(db: Database, space: str) -> Named:
    """One that serves that space alone."""
    made = new_id()
    row = {"id": made, "name": f"{space}-{made.hex[:12]}", "provider": "custom", "base_url": "http://h"}
    async with db.transaction() as conn:
        await conn.execute(upstreams.insert().values(**row, every_space=False, is_default=False))
        await conn.execute(upstream_spaces.insert().values(upstream_id=made, space=space))
    return {"upstream": str(made)}


THINGS: dict[str, Callable[[Database, str], Awaitable[Named]]] = {
    "/keys": key,
    "/upstreams": upstream,
    "": recorded,
}
"""What there is before a route with this part in its path is asked."""


@pytest.mark.parametrize("route", ROUTES, ids=name_of)
async def test_everybody_is_answered_what_he_may(crowd: Crowd, route: Route, db: Database):
    async def made(route: Route, space: str) -> Named:
        """Things of that space, and of both spaces whichever is asked about, so that lists have something to hide."""
        nothing = dict.fromkeys(("request_id", "conversation_id", "key_id", "upstream"), str(new_id()))
        make = next(make for part, make in THINGS.items() if part in route.path)
        there = {name: await make(db, name) for name in ("alpha", "beta")}
        return {**nothing, **there.get(space, {}), "space": space, "fresh": f"fresh-{new_id().hex[:12]}"}

    await examined(crowd, route, TABLE[name_of(route)], made)

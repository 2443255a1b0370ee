"""Every route of the contracts spaces and organizations, asked by everybody, about things in two spaces and in none.

The expected statuses stand in ``tenant_table.py``, written by hand.
"""

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable

import argon2
import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from asking import Api
from crowd import VIEWER, Crowd, Named, examined, gathered, name_of, writes_done
from deeds import LOOKED_FOR_ELSEWHERE, WRITING
from raworc.api.app import DOCUMENTS
from raworc.api.routes import Route
from raworc.ids import new_id
from raworc.settings import Settings
from raworc.store import approvals
from raworc.store.database import Database
from raworc.store.schema import agents, bindings, builds, roles, shared_sessions, turns
from raworc.store.tenants import space_secrets
from rows import add_account, add_build, add_code_agent, add_role, add_session
from tenant_table import NEW_AGENT, PASSWORD, TABLE

pytestmark = pytest.mark.anyio

ROUTES = [route for name in ("spaces", "organizations") for route in DOCUMENTS[name]]


def test_every_write_is_looked_for_in_the_audit_log():
    writes = {name_of(route) for route in ROUTES if route.method in WRITING}
    assert writes == writes_done(TABLE, ROUTES) | (writes & LOOKED_FOR_ELSEWHERE)


def test_every_route_has_its_rows_and_no_other():
    assert {name_of(route) for route in ROUTES} == set(TABLE)


@pytest.fixture(scope="module")
async def crowd(admin: Api, nobody: Api, db: Database, settings: Settings) -> AsyncIterator[Crowd]:
    async with gathered(admin, nobody, db, settings) as everybody:
        yield everybody


async def things(route: Route, space: str, db: Database) -> dict[str, str]:
    """What path and body name: each time anew, in this space where it is there."""
    unique = uuid.uuid4().hex[:12]
    names = {"name": space, "space": space, "fresh": f"fresh-{unique}", "fresh_key": f"FRESH_{unique}"}
    made = next((make for part, make in THINGS.items() if part in route.path), None)
    if made is not None:
        async with db.transaction() as conn:
            names |= await made(conn, space)
    return names


HASH = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)
"""A cheap one: many are checked."""


async def account(conn: AsyncConnection, space: str) -> dict[str, str]:
    if space == "nosuch":
        return {"id": str(new_id())}
    made = await add_account(conn, f"thing-{new_id().hex[:12]}", space=space, password_hash=HASH)
    return {"id": str(made)}


async def role(conn: AsyncConnection, space: str) -> dict[str, str]:
    """Of no space: it is there whichever is asked about."""
    return {"id": str(await add_role(conn, f"thing-{new_id().hex[:12]}", VIEWER))}


async def binding(conn: AsyncConnection, space: str) -> dict[str, str]:
    bystander = f"bystander-{new_id().hex[:12]}"
    account_id = await add_account(conn, bystander)
    if space == "nosuch":
        return {"id": str(new_id()), "bystander": bystander}
    made, operator = new_id(), await conn.scalar(select(roles.c.id).where(roles.c.name == "operator"))
    row = {"id": made, "role_id": operator, "account_id": account_id, "space": space}
    await conn.execute(bindings.insert().values(row))
    return {"id": str(made), "bystander": bystander}


async def secret(conn: AsyncConnection, space: str) -> dict[str, str]:
    """Sealed with nothing: nobody opens it here."""
    key = f"KEY_{new_id().hex[:12]}"
    sealed = {"key_version": 1, "nonce": b"n", "ciphertext": b"c"}
    if space != "nosuch":
        await conn.execute(space_secrets.insert().values(space=space, key=key, created_by="x", **sealed))
    return {"key": key}


async def definition(conn: AsyncConnection, space: str) -> dict[str, str]:
    made = new_id()
    if space != "nosuch":
        values = {"id": made, "kind": "definition", "name": f"thing-{made.hex[:12]}", "created_by": "x", **NEW_AGENT}
        await conn.execute(agents.insert().values(space=space, **values))
    return {"id": str(made)}


async def code(conn: AsyncConnection, space: str) -> dict[str, str]:
    """A code agent that was built."""
    name = f"thing-{new_id().hex[:12]}"
    if space != "nosuch":
        await add_build(conn, space, await add_code_agent(conn, space, name))
    return {"agent_name": name}


async def build(conn: AsyncConnection, space: str) -> dict[str, str]:
    made = new_id()
    if space != "nosuch":
        await conn.execute(builds.insert().values(id=made, space=space, status="completed", created_by="x"))
    return {"build_id": f"build-{made}"}


async def session(conn: AsyncConnection, space: str) -> dict[str, str]:
    if space == "nosuch":
        return {"id": str(new_id())}
    made = await add_session(conn, space=space, kind="shared")
    await conn.execute(shared_sessions.insert().values(session_id=made, created_by="x"))
    return {"id": str(made)}


async def approval(conn: AsyncConnection, space: str) -> dict[str, str]:
    """A session whose turn waits for a person."""
    names, asked = await session(conn, space), new_id()
    if space != "nosuch":
        turn = {"id": new_id(), "session_id": names["id"], "kind": "input", "status": "processing"}
        await conn.execute(turns.insert().values(turn))
        await approvals.ask(conn, asked, turn["id"], approvals.Question(2, "toolu_1", "bash", {}))
    return {**names, "approval_id": str(asked)}


THINGS: dict[str, Callable[[AsyncConnection, str], Awaitable[dict[str, str]]]] = {
    "/secrets": secret,
    "/agents/{agent_name}": code,
    "/approvals/": approval,
    "/sessions/": session,
    "/agents/": definition,
    "/build/": build,
    "/service-accounts/": account,
    "/roles/": role,
    "/role-bindings": binding,
}
"""What is made for routes with these parts in their path."""


@pytest.mark.parametrize("route", ROUTES, ids=name_of)
async def test_everybody_is_answered_what_he_may(crowd: Crowd, route: Route, db: Database):
    async def made(route: Route, space: str) -> Named:
        return await things(route, space, db)

    await examined(crowd, route, TABLE[name_of(route)], made)

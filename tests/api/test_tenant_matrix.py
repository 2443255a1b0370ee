"""Every route of the contracts spaces and organizations, asked by everybody, about things in two spaces and in none.

The expected statuses stand in ``tenant_table.py``, written by hand. Whoever is refused has changed nothing (the whole
database is compared) and has read nothing of what he may not see.
"""

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import argon2
import pytest
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from asking import Api, client_of
from deeds import LOOKED_FOR_ELSEWHERE, WRITING, newest, refusals, since
from raworc.api.app import DOCUMENTS
from raworc.api.routes import Route
from raworc.ids import new_id
from raworc.keys import load_keys
from raworc.services.tokens import Tokens
from raworc.settings import Settings
from raworc.store import approvals
from raworc.store.database import Database
from raworc.store.schema import agents, bindings, builds, roles, shared_sessions, spaces, turns
from raworc.store.tenants import space_secrets
from rows import add_account, add_build, add_code_agent, add_role, add_session, bind
from tenant_table import KEEPER, NEW_AGENT, PASSWORD, PRINCIPALS, SCOPES, TABLE, VIEWER, Public, Rows

pytestmark = pytest.mark.anyio

ROUTES = [route for name in ("spaces", "organizations") for route in DOCUMENTS[name]]


def name_of(route: Route) -> str:
    return f"{route.method} {route.full_path}"


def test_every_write_is_looked_for_in_the_audit_log():
    writes = {name_of(route) for route in ROUTES if route.method in WRITING}
    done = {str(status) for status in DONE}
    here = {name for name in writes if isinstance(row := TABLE[name], Rows) and done & set(row.alpha.split())}
    assert writes == here | (writes & LOOKED_FOR_ELSEWHERE)


def test_every_route_has_its_rows_and_no_other():
    assert {name_of(route) for route in ROUTES} == set(TABLE)


@dataclass(frozen=True)
class Crowd:
    """Everybody, and what they ask about."""

    callers: dict[str, Api]
    shut_out: dict[str, str]
    agent: Api
    nobody: Api


BOUND: dict[str, tuple[str, str | None]] = {
    "viewer@A": ("viewer", "alpha"),
    "developer@A": ("developer", "alpha"),
    "operator@A": ("operator", "alpha"),
    "admin@A": ("admin", "alpha"),
    "keeper@A": ("keeper", "alpha"),
    "developer@B": ("developer", "beta"),
    "viewer": ("viewer", None),
    "admin": ("admin", None),
}


async def settle(db: Database) -> dict[str, tuple[uuid.UUID, int]]:
    """Spaces, roles and accounts; the accounts' ids and versions."""
    found: dict[str, tuple[uuid.UUID, int]] = {}
    async with db.transaction() as conn:
        for space in ("alpha", "beta"):
            await conn.execute(spaces.insert().values(name=space))
            await add_account(conn, f"dweller-of-{space}", space=space)
        await add_role(conn, "viewer", VIEWER)
        await add_role(conn, "keeper", KEEPER)
        known = {row.name: row.id for row in await conn.execute(roles.select())}
        for who in (*PRINCIPALS, "disabled"):
            account_id = await add_account(conn, f"{who}-here", active=who != "disabled")
            found[who] = account_id, 1
            role, space = BOUND.get(who, (None, None))
            if role is not None:
                await bind(conn, known[role], account_id, space)
    return found


@pytest.fixture(scope="module")
async def crowd(admin: Api, nobody: Api, db: Database, settings: Settings) -> AsyncIterator[Crowd]:
    people, tokens = await settle(db), Tokens(load_keys(settings).jwt)
    shut_out = {"anonymous": ""}
    shut_out["expired"], _ = tokens.login(*people["admin"], "spaces", ttl_s=-60)
    shut_out["disabled"], _ = tokens.login(*people["disabled"], "spaces", ttl_s=60)
    agent = (await admin.made())["name"]
    own = (await admin.ask("POST", f"/agents/{agent}/token")).json()["token"]
    async with AsyncExitStack() as stack:
        callers = {
            who: await stack.enter_async_context(client_of(nobody.served, token))
            for who, (token, _) in ((who, tokens.login(*people[who], "spaces", ttl_s=900)) for who in PRINCIPALS)
        }
        yield Crowd(callers, shut_out, await stack.enter_async_context(client_of(nobody.served, own)), nobody)


REFUSALS = {"403", "404"}
DONE = {200, 201, 204}
GROWS_BY_ITSELF = {"audit", "audit_chain", "denials", "workers", "alembic_version"}


async def everything(db: Database) -> dict[str, str]:
    """A digest of each table."""
    async with db.reading() as conn:
        found = await conn.scalars(text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'"))
        tables = sorted(set(found) - GROWS_BY_ITSELF)
        digest = "SELECT md5(coalesce(string_agg(t::text, '|' ORDER BY t::text), '')) FROM {} t"
        return {table: str(await conn.scalar(text(digest.format(table)))) for table in tables}


async def ask(api: Api, route: Route, names: dict[str, str], token: str | None = None) -> tuple[int, str]:
    """Status and body of one request."""
    row = TABLE[name_of(route)]
    given = {} if row.body is None else {"json": filled(row.body, names)}
    headers = {"authorization": f"Bearer {token}"} if token else {}
    path = route.full_path.format(**names)
    answer = await api.http.request(route.method, api.served.url + path, headers=headers, **given)
    return answer.status_code, answer.text


def filled(value: Any, names: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: filled(inner, names) for key, inner in value.items()}
    if isinstance(value, list):
        return [filled(inner, names) for inner in value]
    return value.format(**names) if isinstance(value, str) else value


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
    row = TABLE[name_of(route)]
    if isinstance(row, Public):
        for token in (None, "nonsense", crowd.shut_out["disabled"]):
            assert (await ask(crowd.nobody, route, await things(route, "alpha", db), token))[0] == row.status
        return
    expected = {scope: dict(zip(PRINCIPALS, getattr(row, scope).split(), strict=True)) for scope in SCOPES}
    named = {scope: await things(route, scope, db) for scope in SCOPES}
    before = await everything(db)
    for scope in SCOPES:
        known = await refusals(db)
        kept = await check_refusals(crowd, route, scope, expected[scope], named[scope])
        assert await refusals(db) == known + kept, f"a refusal is not in the audit log: {scope}"
    assert await everything(db) == before
    for scope in SCOPES:
        for who, status in expected[scope].items():
            if status not in REFUSALS:
                names, last = await things(route, scope, db), await newest(db)
                found, body = await ask(crowd.callers[who], route, names)
                assert found == int(status), (who, scope, body)
                if route.method in WRITING and found in DONE:
                    assert await since(db, last), (who, scope)


async def check_refusals(
    crowd: Crowd, route: Route, scope: str, expected: dict[str, str], names: dict[str, str]
) -> int:
    """How many refusals that makes: of who is not known at all there is no entry."""
    for who, token in crowd.shut_out.items():
        assert (await ask(crowd.nobody, route, names, token))[0] == 401, who
    assert (await ask(crowd.agent, route, names))[0] == 403
    refused = 1
    for who, status in expected.items():
        if status in REFUSALS:
            refused += status == "403" or expected["admin"] != "404"  # else it is not there for anybody
            found, body = await ask(crowd.callers[who], route, names)
            assert found == int(status), (who, scope, body)
            assert not any(other in body for other in {"alpha", "beta"} - {scope}), (who, scope, body)
    return refused

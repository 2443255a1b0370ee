"""Everybody who may ask: accounts with roles in one space, in another, everywhere and nowhere, and what each is told.

Tables of expected statuses, written by hand, name one for each of ``PRINCIPALS`` and each of ``SCOPES``. Whoever is
refused has changed nothing (the whole database is compared) and has read nothing of what he may not see.
"""

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text

from asking import Api, client_of
from deeds import WRITING, newest, refusals, since
from raworc.api.routes import Route
from raworc.keys import load_keys
from raworc.services.tokens import Tokens
from raworc.settings import Settings
from raworc.store.database import Database
from raworc.store.schema import roles, spaces
from rows import add_account, add_role, bind

SCOPES = ("alpha", "beta", "nosuch")
"""A space in which some have roles, one in which others have, and one that is not there."""

PRINCIPALS = (
    "unbound",
    "viewer@A",
    "developer@A",
    "operator@A",
    "admin@A",
    "keeper@A",
    "developer@B",
    "viewer",
    "admin",
)
"""``viewer`` may read and list everything, ``keeper`` may do everything; those with ``@A`` are bound in alpha, ``@B``
in beta, the others everywhere. Rules of the built-in ``admin`` are of scope ``global``: bound to a space they show that
space and nothing else. An agent's own token is refused everywhere."""

VIEWER = {"resources": ["*"], "verbs": ["read", "list"], "scope": "space"}
KEEPER = {"resources": ["*"], "verbs": ["*"], "scope": "space"}
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

REFUSALS = {"403", "404"}
DONE = {200, 201, 204}
GROWS_BY_ITSELF = {"audit", "audit_chain", "denials", "workers", "alembic_version"}
"""Refusals are audited; processes note that they live."""


@dataclass(frozen=True)
class Rows:
    """What each principal is answered about things in alpha, in beta, and in no space that is there.

    ``body``: what is sent; ``{space}``, ``{fresh}`` and other braces are filled in.
    """

    alpha: str
    beta: str
    nosuch: str
    body: Any = None

    def expected(self, scope: str) -> dict[str, str]:
        """The status of each principal."""
        return dict(zip(PRINCIPALS, getattr(self, scope).split(), strict=True))


@dataclass(frozen=True)
class Public:
    """What everybody is answered, whatever token he sends."""

    status: int
    body: Any = None


def everywhere(row: str, body: Any = None) -> Rows:
    """What does not depend on a space."""
    return Rows(row, row, row, body)


Table = dict[str, Rows | Public]
Named = dict[str, str]
"""What path, query and body name."""
Making = Callable[[Route, str], Awaitable[Named]]
"""Makes what a route is asked about, each time anew, in a space where that is there."""


@dataclass(frozen=True)
class Crowd:
    """Everybody. ``shut_out`` are tokens that do not count, ``agent`` is an agent's own."""

    callers: dict[str, Api]
    shut_out: dict[str, str]
    agent: Api
    nobody: Api
    db: Database


@asynccontextmanager
async def gathered(admin: Api, nobody: Api, db: Database, settings: Settings) -> AsyncIterator[Crowd]:
    """Everybody, in a database of their own."""
    people, tokens = await _settle(db), Tokens(load_keys(settings).jwt)
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
        of_agent = await stack.enter_async_context(client_of(nobody.served, own))
        yield Crowd(callers, shut_out, of_agent, nobody, db)


async def _settle(db: Database) -> dict[str, tuple[uuid.UUID, int]]:
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


async def everything(db: Database) -> dict[str, str]:
    """A digest of each table."""
    async with db.reading() as conn:
        found = await conn.scalars(text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'"))
        tables = sorted(set(found) - GROWS_BY_ITSELF)
        digest = "SELECT md5(coalesce(string_agg(t::text, '|' ORDER BY t::text), '')) FROM {} t"
        return {table: str(await conn.scalar(text(digest.format(table)))) for table in tables}


def name_of(route: Route) -> str:
    return f"{route.method} {route.full_path}"


def writes_done(table: Table, routes: list[Route]) -> set[str]:
    """Routes that write, and which somebody of the table gets done."""
    done, names = {str(status) for status in DONE}, {name_of(route) for route in routes if route.method in WRITING}
    return {name for name in names if isinstance(row := table[name], Rows) and done & set(row.alpha.split())}


async def examined(crowd: Crowd, route: Route, row: Rows | Public, made: Making) -> None:
    """Have everybody ask, and compare."""
    if isinstance(row, Public):
        for token in (None, "nonsense", crowd.shut_out["disabled"]):
            found, _ = await _ask(crowd.nobody, route, row.body, await made(route, "alpha"), token)
            assert found == row.status
        return
    named = {scope: await made(route, scope) for scope in SCOPES}
    before = await everything(crowd.db)
    for scope in SCOPES:
        known = await refusals(crowd.db)
        kept = await _check_refusals(crowd, route, row, scope, named[scope])
        assert await refusals(crowd.db) == known + kept, f"a refusal is not in the audit log: {scope}"
    assert await everything(crowd.db) == before
    for scope in SCOPES:
        for who, status in row.expected(scope).items():
            if status not in REFUSALS:
                names, last = await made(route, scope), await newest(crowd.db)
                found, body = await _ask(crowd.callers[who], route, row.body, names)
                assert found == int(status), (who, scope, body)
                assert not _foreign(who, scope, body), (who, scope, body)
                if route.method in WRITING and found in DONE:
                    assert await since(crowd.db, last), (who, scope)


async def _check_refusals(crowd: Crowd, route: Route, row: Rows, scope: str, names: Named) -> int:
    """How many refusals that makes: of who is not known at all there is no entry."""
    for who, token in crowd.shut_out.items():
        assert (await _ask(crowd.nobody, route, row.body, names, token))[0] == 401, who
    found, _ = await _ask(crowd.agent, route, row.body, names)
    assert found == 403 or (scope == "nosuch" and found == 404), found
    refused, expected = int(found == 403), row.expected(scope)
    for who, status in expected.items():
        if status in REFUSALS:
            refused += status == "403" or expected["admin"] != "404"  # else it is not there for anybody
            found, body = await _ask(crowd.callers[who], route, row.body, names)
            assert found == int(status), (who, scope, body)
            assert not any(other in body for other in {"alpha", "beta"} - {scope}), (who, scope, body)
    return refused


def _foreign(who: str, scope: str, body: str) -> bool:
    """Whether somebody of one space is told of the other one, which he did not name."""
    other = {"@A": "beta", "@B": "alpha"}.get(who[-2:])
    return other is not None and other != scope and other in body


async def _ask(api: Api, route: Route, body: Any, names: Named, token: str | None = None) -> tuple[int, str]:
    """Status and body of one request; of a stream the status alone, as it does not end."""
    given = {} if body is None else {"json": _filled(body, names)}
    headers = {"authorization": f"Bearer {token}"} if token else {}
    path = route.full_path.replace("{path:file}", "none.txt").format(**names)
    query = names.get("query")
    url = f"{api.served.url}{path}{f'?{query}' if query else ''}"
    async with api.http.stream(route.method, url, headers=headers, **given) as answer:
        if answer.headers.get("content-type", "").startswith("text/event-stream"):
            return answer.status_code, ""
        return answer.status_code, (await answer.aread()).decode(errors="replace")


def _filled(value: Any, names: Named) -> Any:
    if isinstance(value, dict):
        return {key: _filled(inner, names) for key, inner in value.items()}
    if isinstance(value, list):
        return [_filled(inner, names) for inner in value]
    return value.format(**names) if isinstance(value, str) else value

"""Every route that is served, asked by everybody: what each may do is written down here by hand.

Whoever adds a route adds its row. Whoever is refused has changed nothing: the whole database is compared.
"""

import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import pytest
from sqlalchemy import text

from asking import Api, client_of
from crowd import everything
from deeds import LOOKED_FOR_ELSEWHERE, WRITING, newest, refusals, since
from raworc.api.app import ROUTES
from raworc.api.routes import Route
from raworc.keys import load_keys
from raworc.services.tokens import Tokens, WorkClaims
from raworc.settings import Settings
from raworc.store.database import Database
from raworc.store.schema import accounts
from rows import add_role, bind
from served import Served
from workspaces import make, place

pytestmark = pytest.mark.anyio

PASSWORD = "a-password-of-tests"
HELPS = {"resources": ["service-accounts"], "verbs": ["*"], "scope": "global"}


@dataclass(frozen=True)
class May:
    """What each is answered. ``owner``: of the agent, or the account itself that the path names.

    ``stranger`` has agents of his own, ``helper`` looks after accounts and nothing else.
    """

    stranger: int
    helper: int
    owner: int
    admin: int
    body: Any = None


@dataclass(frozen=True)
class Public:
    """What everybody is answered, whatever token he sends."""

    status: int
    body: Any = None


TEXT = {"content": [{"type": "text", "content": "hello"}]}
NEW = {"user": "{fresh}", "pass": PASSWORD}

TABLE: dict[str, May | Public] = {
    "GET /api/v0/version": Public(200),
    "GET /api/v0/health": Public(200),
    "GET /livez": Public(200),
    "GET /readyz": Public(200),
    "GET /health": Public(200),
    "GET /metrics": Public(200),  # to this machine; tests/api/test_metrics.py asks from elsewhere
    "POST /api/v0/operators/{name}/login": Public(401, {"pass": "wrong"}),
    "GET /api/v0/auth": May(200, 200, 200, 200),
    "POST /api/v0/auth/token": May(403, 403, 403, 200, {"principal": "{fresh}", "type": "User"}),
    "GET /api/v0/operators": May(200, 200, 200, 200),
    "POST /api/v0/operators": May(403, 200, 403, 200, NEW),
    "GET /api/v0/operators/{name}": May(403, 200, 200, 200),
    "PUT /api/v0/operators/{name}": May(403, 200, 403, 200, {"description": "x"}),
    "DELETE /api/v0/operators/{name}": May(403, 200, 403, 200),
    "PUT /api/v0/operators/{name}/password": May(
        403, 200, 200, 200, {"new_password": "another-password", "current_password": PASSWORD}
    ),
    "GET /api/v0/blocklist": May(403, 200, 403, 200),
    "POST /api/v0/blocklist/block": May(403, 200, 403, 200, {"principal": "{name}"}),
    "POST /api/v0/blocklist/unblock": May(403, 200, 403, 200, {"principal": "{name}"}),
    "GET /api/keys": May(200, 200, 200, 200),
    "POST /api/keys": May(201, 201, 201, 201, {"name": "{fresh}"}),
    "DELETE /api/keys/{key_id}": May(404, 404, 404, 404),
    "GET /token-stats": May(403, 403, 403, 200),
    "GET /api/stats": May(403, 403, 403, 200),
    "GET /api/token-usage/current": May(403, 403, 403, 200),
    "GET /api/token-usage/daily": May(403, 403, 403, 200),
    "GET /api/requests": May(403, 403, 403, 200),
    "GET /api/requests/{request_id}": May(403, 403, 403, 404),
    "GET /api/events": May(403, 403, 403, 200),
    "GET /api/conversations": May(403, 403, 403, 200),
    "GET /api/conversations/{conversation_id}": May(403, 403, 403, 404),
    "GET /api/audit": May(403, 403, 403, 200),
    "GET /api/upstreams": May(403, 403, 403, 200),
    "POST /api/upstreams": May(403, 403, 403, 201, {"name": "{fresh}", "provider": "custom", "base_url": "http://h"}),
    "GET /api/upstreams/{upstream}": May(403, 403, 403, 404),
    "PUT /api/upstreams/{upstream}": May(403, 403, 403, 404, {"default": True}),
    "POST /api/upstreams/{upstream}/refresh": May(403, 403, 403, 404),
    "DELETE /api/upstreams/{upstream}": May(403, 403, 403, 404),
    "GET /api/v0/agents": May(200, 200, 200, 200),
    "POST /api/v0/agents": May(200, 200, 200, 200, {"name": "{fresh}"}),
    "GET /api/v0/agents/{name}": May(403, 403, 200, 200),
    "PUT /api/v0/agents/{name}": May(403, 403, 200, 200, {"description": "x"}),
    "DELETE /api/v0/agents/{name}": May(403, 403, 200, 200),
    "PUT /api/v0/agents/{name}/state": May(403, 403, 200, 200, {"state": "slept"}),
    "POST /api/v0/agents/{name}/busy": May(403, 403, 200, 200),
    "POST /api/v0/agents/{name}/idle": May(403, 403, 200, 200),
    "POST /api/v0/agents/{name}/sleep": May(403, 403, 200, 200),
    "POST /api/v0/agents/{name}/wake": May(403, 403, 400, 400),
    "POST /api/v0/agents/{name}/token": May(403, 403, 200, 200),
    "POST /api/v0/agents/{name}/cancel": May(403, 403, 200, 200),
    "GET /api/v0/agents/{name}/responses": May(403, 403, 200, 200),
    "POST /api/v0/agents/{name}/responses": May(403, 403, 200, 200, {"input": TEXT}),
    "GET /api/v0/agents/{name}/responses/count": May(403, 403, 200, 200),
    "GET /api/v0/agents/{name}/responses/{response_id}": May(403, 403, 200, 200),
    "PUT /api/v0/agents/{name}/responses/{response_id}": May(403, 403, 200, 200, {"status": "completed"}),
    "GET /api/v0/agents/{name}/responses/{response_id}/events": May(403, 403, 200, 200),
    "GET /api/v0/agents/{name}/responses/{response_id}/requests": May(403, 403, 200, 200),
    "GET /api/v0/agents/{name}/requests": May(403, 403, 200, 200),
    "GET /api/v0/agents/{name}/events": May(403, 403, 200, 200),
    "GET /api/v0/published/agents": Public(200),
    "GET /api/v0/published/agents/{name}": Public(404),
    "GET /api/v0/agents/{name}/runtime": May(403, 403, 200, 200),
    "POST /api/v0/agents/{name}/remix": May(403, 403, 200, 200, {"name": "{fresh}"}),
    "GET /api/v0/agents/{name}/secrets": May(403, 403, 200, 200),
    "PUT /api/v0/agents/{name}/secrets/{key}": May(403, 403, 200, 200, {"value": "v"}),
    "DELETE /api/v0/agents/{name}/secrets/{key}": May(403, 403, 404, 404),
    "POST /api/v0/agents/{name}/publish": May(403, 403, 200, 200),
    "POST /api/v0/agents/{name}/unpublish": May(403, 403, 200, 200),
    "GET /api/v0/agents/{name}/approvals": May(403, 403, 200, 200),
    "POST /api/v0/agents/{name}/approvals/{approval_id}": May(403, 403, 404, 404, {"decision": "approve"}),
    "GET /api/v0/agents/{name}/context": May(403, 403, 200, 200),
    "POST /api/v0/agents/{name}/context/clear": May(403, 403, 200, 200),
    "POST /api/v0/agents/{name}/context/compact": May(403, 403, 409, 409),
    "POST /api/v0/agents/{name}/context/restore": May(403, 403, 409, 409),
    "GET /api/v0/agents/{name}/files/list": May(403, 403, 200, 200),
    "GET /api/v0/agents/{name}/files/list/{path:file}": May(403, 403, 404, 404),
    "GET /api/v0/agents/{name}/files/metadata/{path:file}": May(403, 403, 404, 404),
    "GET /api/v0/agents/{name}/files/read/{path:file}": May(403, 403, 404, 404),
    "DELETE /api/v0/agents/{name}/files/delete/{path:file}": May(403, 403, 404, 404),
    "PUT /api/v0/agents/{name}/files/write/{path:file}": May(403, 403, 200, 200),
    "GET /api/v0/agents/{name}/files/archive": May(403, 403, 200, 200),
}


DONE = {200, 201, 204}

OURS = [route for route in ROUTES if route.contract == "agents"]
"""The others: see test_tenant_matrix.py."""


def name_of(route: Route) -> str:
    return f"{route.method} {route.full_path}"


def test_every_write_is_looked_for_in_the_audit_log():
    writes = {name_of(route) for route in OURS if route.method in WRITING}
    here = {name for name in writes if isinstance(row := TABLE[name], May) and row.admin in DONE}
    assert writes == here | (writes & LOOKED_FOR_ELSEWHERE)


def test_every_route_that_is_served_has_its_row_and_no_other():
    assert {name_of(route) for route in OURS} == set(TABLE)


@dataclass(frozen=True)
class Crowd:
    """Everybody. ``settled`` owns the agents that are asked about.

    ``shut_out`` are administrators and agents' tokens which do not count here.
    """

    nobody: Api
    settled: Api
    stranger: Api
    helper: Api
    admin: Api
    shut_out: dict[str, str]
    served: Served
    db: Database
    settings: Settings


async def token_of(api: Api, name: str) -> str:
    return (await api.ask("POST", f"/operators/{name}/login", {"pass": PASSWORD})).json()["token"]


async def account(admin: Api, name: str, **fields: Any) -> str:
    """A new account's token."""
    answer = await admin.ask("POST", "/operators", {"user": name, "pass": PASSWORD, **fields})
    assert answer.status_code == 200, answer.text
    return await token_of(admin, name)


@pytest.fixture(scope="module")
async def crowd(admin: Api, nobody: Api, db: Database, settings: Settings) -> AsyncIterator[Crowd]:
    shut_out = {"no header": "", "nonsense": "nonsense"}
    for name in ("blocked", "inactive", "deleted", "renewed"):
        shut_out[name] = await account(admin, name, role="admin")
    await admin.ask("POST", "/blocklist/block", {"principal": "blocked"})
    await admin.ask("PUT", "/operators/inactive", {"active": False})
    await admin.ask("DELETE", "/operators/deleted")
    await admin.ask("PUT", "/operators/renewed/password", {"new_password": "another-password"})
    tokens = Tokens(load_keys(settings).jwt)
    async with db.reading() as conn:
        me = (await conn.execute(accounts.select().where(accounts.c.name == "admin"))).one()
    shut_out["expired"], _ = tokens.login(me.id, me.version, "agents", ttl_s=-60)
    shut_out["forged"], _ = Tokens(b"x" * 32).login(me.id, me.version, "agents", ttl_s=60)
    async with AsyncExitStack() as stack:

        async def client(token: str) -> Api:
            return await stack.enter_async_context(client_of(nobody.served, token))

        settled, stranger, helper = [await client(await account(admin, who)) for who in ("seth", "sam", "helen")]
        async with db.transaction() as conn:
            helen = (await conn.execute(accounts.select().where(accounts.c.name == "helen"))).one()
            await bind(conn, await add_role(conn, "helper", HELPS), helen.id)
        yield Crowd(nobody, settled, stranger, helper, admin, shut_out, nobody.served, db, settings)


@dataclass(frozen=True)
class Scene:
    """Who owns what the path names: a fresh account itself, or a fresh agent, which has one response."""

    owner: Api
    account: str
    agent: str
    response: str


async def scene(crowd: Crowd, stack: AsyncExitStack, route: Route) -> Scene:
    if "/agents/{name}" not in route.path:
        name = f"owner-{uuid.uuid4().hex[:12]}"
        owner = await stack.enter_async_context(client_of(crowd.served, await account(crowd.admin, name)))
        return Scene(owner, name, "", "")
    agent = (await crowd.settled.made())["name"]
    response = (await crowd.settled.ask("POST", f"/agents/{agent}/responses", {"input": TEXT})).json()["id"]
    if "/files/write/" in route.path:  # which waits for a new agent's workspace
        make(await place(agent, crowd.db, crowd.settings))
    return Scene(crowd.settled, "seth", agent, response)


async def status_of(api: Api, route: Route, around: Scene, body: Any, token: str | None = None) -> int:
    """The status alone, as some answers do not end."""
    names = {
        "name": around.account if "/operators/" in route.path else around.agent,
        "response_id": around.response,
        "approval_id": str(uuid.uuid4()),
        "key": "KEY",
        "key_id": str(uuid.uuid4()),
        "request_id": str(uuid.uuid4()),
        "conversation_id": str(uuid.uuid4()),
        "upstream": "nobody-of-this-name",
    }
    path = route.full_path.replace("{path:file}", "none.txt").format(**names)
    fresh = f"fresh-{uuid.uuid4().hex[:12]}"
    given = None if body is None else {k: _filled(v, name=around.account, fresh=fresh) for k, v in body.items()}
    headers = {"authorization": f"Bearer {token}"} if token else {}
    more = {} if given is None else {"json": given}
    async with api.http.stream(route.method, api.served.url + path, headers=headers, **more) as answer:
        return answer.status_code


def _filled(value: Any, **names: str) -> Any:
    return value.format(**names) if isinstance(value, str) else value


@pytest.mark.parametrize("route", OURS, ids=name_of)
async def test_everybody_is_answered_what_he_may(crowd: Crowd, route: Route, db: Database, settings: Settings):
    row = TABLE[name_of(route)]
    async with AsyncExitStack() as stack:
        around = await scene(crowd, stack, route)
        if isinstance(row, Public):
            for token in (None, crowd.shut_out["blocked"], "nonsense"):
                assert await status_of(crowd.nobody, route, around, row.body, token) == row.status
            return
        before = await everything(db)
        for who, token in {**crowd.shut_out, **await _of_agent(db, settings, around)}.items():
            assert await status_of(crowd.nobody, route, around, row.body, token) == 401, who
        for api, status in ((crowd.stranger, row.stranger), (crowd.helper, row.helper), (around.owner, row.owner)):
            if status == 403:
                known = await refusals(db)
                assert await status_of(api, route, around, row.body) == 403
                assert await refusals(db) == known + 1, "the refusal is not in the audit log"
        assert await everything(db) == before
        if row.owner != 403:
            assert await status_of(around.owner, route, around, row.body) == row.owner
        for api, status in ((crowd.stranger, row.stranger), (crowd.helper, row.helper), (crowd.admin, row.admin)):
            if status != 403:
                assert await status_of(api, route, await scene(crowd, stack, route), row.body) == status
        if route.method in WRITING and row.admin in DONE:
            around, last = await scene(crowd, stack, route), await newest(db)
            assert await status_of(crowd.admin, route, around, row.body) == row.admin
            assert await since(db, last), "no entry of the audit log"


async def _of_agent(db: Database, settings: Settings, around: Scene) -> dict[str, str]:
    """Tokens that speak for the agent's turn and sandbox: good at the gateway's own doors, never here."""
    if not around.agent:
        return {}
    async with db.reading() as conn:
        found = text("SELECT session_id FROM agents WHERE name = :name")
        session_id = await conn.scalar(found, {"name": around.agent})
    tokens = Tokens(load_keys(settings).jwt)
    return {
        kind: tokens.work(WorkClaims(kind, session_id, 1, "default", "default.x", turn_id), ttl_s=60)
        for kind, turn_id in (("sandbox", None), ("turn", uuid.UUID(around.response)))
    }

"""An agent's own token: who makes it, what it is good for, and what ends it."""

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from sqlalchemy import select

from asking import PASSWORD, Api, client_of, error_of, somebody
from house.test_routes import FOR_THE_AGENT_ITSELF
from raworc.api.app import ROUTES
from raworc.api.routes import Route
from raworc.keys import load_keys
from raworc.services.progress import ResponseChanged, StateChanged
from raworc.services.tokens import LoginClaims, Tokens
from raworc.settings import Settings
from raworc.store.database import Database
from raworc.store.schema import audit
from works import Works

pytestmark = pytest.mark.anyio

NOT_OF_ACCOUNTS = [route for route in ROUTES if "/agents/{name}" in route.path and "published" not in route.path]


@dataclass(frozen=True)
class Own:
    """An idle agent with one response in work, its owner, and a client with its own token."""

    owner: Api
    name: str
    response: str
    api: Api


@asynccontextmanager
async def own(owner: Api, works: Works) -> AsyncIterator[Own]:
    name = (await owner.made(instructions="be kind"))["name"]
    await works(name, StateChanged("idle"), desired=None)
    response = (await owner.ask("POST", f"/agents/{name}/responses", {"input": {"text": "hi"}})).json()["id"]
    await works(name, ResponseChanged(uuid.UUID(response), "processing"), StateChanged("busy"))
    token = (await owner.ask("POST", f"/agents/{name}/token")).json()["token"]
    async with client_of(owner.served, token) as api:
        yield Own(owner, name, response, api)


async def asked(api: Api, route: Route, name: str, response: str) -> int:
    path = route.full_path.replace("{path:file}", "x").format(
        name=name, response_id=response, key="KEY", approval_id=response
    )
    body = {"state": "busy"} if route.path.endswith("/state") else {"status": "processing"}
    given = {"json": body} if route.method == "PUT" else {}
    async with api.http.stream(route.method, api.served.url + path, **given) as answer:
        return answer.status_code


async def test_it_is_answered_with_its_end_and_its_agent(other: Api, settings: Settings, db: Database):
    name = (await other.made())["name"]

    answer = await other.ask("POST", f"/agents/{name.upper()}/token", {"ttl_hours": 2})

    assert set(answer.json()) == {"token", "token_type", "expires_at", "agent_name"}
    assert (answer.json()["token_type"], answer.json()["agent_name"]) == ("Bearer", name)
    assert answer.headers["cache-control"] == "no-store"
    claims = Tokens(load_keys(settings).jwt).read(answer.json()["token"])
    assert isinstance(claims, LoginClaims)
    assert claims.agent_id is not None
    async with db.reading() as conn:
        told = (await conn.execute(select(audit).where(audit.c.name == name, audit.c.verb != "create"))).one()
    assert (told.actor, told.verb, told.resource, told.details) == ("olive", "create-token", "agents", {"ttl_s": 7200})
    assert answer.json()["token"] not in str(told)


@pytest.mark.parametrize("ttl", [0, -1, 1e9, "1", [1]])
async def test_a_ttl_outside_its_rules_is_400_and_named(other: Api, ttl: object):
    name = (await other.made())["name"]

    answer = await other.ask("POST", f"/agents/{name}/token", {"ttl_hours": ttl})

    assert error_of(answer, 400, "BAD_REQUEST")["error"]["details"][0]["field"] == "ttl_hours"


async def test_it_does_the_work_of_its_agent(other: Api, works: Works):
    async with own(other, works) as mine:
        name, api, at = mine.name, mine.api, f"/agents/{mine.name}/responses/{mine.response}"
        item = {"type": "commentary", "channel": "analysis", "text": "thinking"}

        assert (await api.get(f"/agents/{name}")).json()["instructions"] == "be kind"
        assert (await api.ask("POST", f"/agents/{name}/busy")).json()["timeout_status"] == "paused"
        assert (await api.ask("PUT", at, {"output": {"items": [item]}})).json()["segments"] == [item]
        done = await api.ask("PUT", at, {"status": "completed", "output": {"text": "done"}})
        assert done.json()["output_content"] == [{"type": "text", "content": "done"}]
        assert (await api.ask("POST", f"/agents/{name}/idle")).json()["state"] == "idle"
        assert (await api.ask("PUT", f"/agents/{name}/state", {"state": "slept"})).json()["state"] == "slept"
        assert (await other.get(f"/agents/{name}")).json()["state"] == "slept"


async def test_nothing_else_and_no_other_agent(other: Api, works: Works):
    """Whoever made the token may do all of it, with both agents."""
    async with own(other, works) as mine:
        sibling = (await other.made())["name"]
        answers = {route: await asked(mine.api, route, mine.name, mine.response) for route in NOT_OF_ACCOUNTS}

        allowed = {(route.method, route.full_path) for route, status in answers.items() if status != 403}
        assert allowed == FOR_THE_AGENT_ITSELF
        for route in NOT_OF_ACCOUNTS:
            assert await asked(mine.api, route, sibling, mine.response) == 403, route


async def test_no_account_and_no_collection(admin: Api, works: Works):
    """An administrator's agent is no administrator."""
    async with own(admin, works) as mine:
        for path in ("/agents", "/auth", "/operators", "/operators/admin", "/blocklist"):
            assert "An agent's own token" in error_of(await mine.api.get(path), 403, "FORBIDDEN")["message"]
        posts: dict[str, Any] = {"/agents": {"name": "another"}, "/auth/token": {"principal": "x", "type": "User"}}
        for path, body in posts.items():
            error_of(await mine.api.ask("POST", path, body), 403, "FORBIDDEN")
        called = await mine.api.http.post(f"{mine.api.served.url}/v1/messages", json={})
        assert called.status_code == 401
        assert "own token" in called.text


async def test_an_answer_kept_for_its_maker_is_not_told_to_it(other: Api, works: Works):
    key = {"idempotency-key": uuid.uuid4().hex}
    async with own(other, works) as mine:
        sibling = (await other.made())["name"]
        await works(sibling, StateChanged("idle"), desired=None)
        assert (await other.ask("POST", f"/agents/{sibling}/busy", headers=key)).status_code == 200

        error_of(await mine.api.ask("POST", f"/agents/{sibling}/busy", headers=key), 409, "CONFLICT")


async def test_it_ends_with_its_agent_and_is_not_that_of_the_next_one(other: Api, works: Works):
    async with own(other, works) as mine:
        await other.ask("DELETE", f"/agents/{mine.name}")
        error_of(await mine.api.get(f"/agents/{mine.name}"), 404, "NOT_FOUND")

        await other.made(name=mine.name)
        error_of(await mine.api.get(f"/agents/{mine.name}"), 403, "FORBIDDEN")


@pytest.mark.parametrize("end", ["password", "inactive", "blocked"])
async def test_it_ends_with_its_makers_tokens(admin: Api, db: Database, works: Works, end: str):
    async with somebody(admin.served, db) as maker, own(maker, works) as mine:
        user = (await maker.get("/auth")).json()["user"]
        match end:
            case "password":
                body = {"new_password": "another-password", "current_password": PASSWORD}
                await maker.ask("PUT", f"/operators/{user}/password", body)
            case "inactive":
                await admin.ask("PUT", f"/operators/{user}", {"active": False})
            case _:
                await admin.ask("POST", "/blocklist/block", {"principal": user})

        error_of(await mine.api.get(f"/agents/{mine.name}"), 401, "UNAUTHORIZED")


async def test_an_administrators_for_anothers_agent_ends_with_the_right_to_change_it(
    admin: Api, other: Api, db: Database, works: Works
):
    async with somebody(admin.served, db) as helper:
        user = (await helper.get("/auth")).json()["user"]
        name = (await other.made())["name"]
        error_of(await helper.ask("POST", f"/agents/{name}/token"), 403, "FORBIDDEN")
        await admin.ask("PUT", f"/operators/{user}", {"role": "admin"})
        token = (await helper.ask("POST", f"/agents/{name}/token")).json()["token"]
        async with client_of(admin.served, token) as api:
            assert (await api.get(f"/agents/{name}")).status_code == 200
            await admin.ask("PUT", f"/operators/{user}", {"role": "user"})
            error_of(await api.get(f"/agents/{name}"), 403, "FORBIDDEN")

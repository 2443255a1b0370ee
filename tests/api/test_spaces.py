"""Spaces, as the spaces contract shows them."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest

from asking import Api, client_of, error_of, somebody
from raworc.store.database import Database
from raworc.store.schema import accounts
from rows import add_role, bind
from served import Served

pytestmark = pytest.mark.anyio

FIELDS = {"name", "description", "settings", "active", "created_at", "updated_at"}


@pytest.fixture
async def spaces(admin: Api) -> AsyncIterator[Api]:
    """An administrator of the spaces contract."""
    async with under("spaces", admin) as api:
        yield api


def under(contract: str, api: Api) -> Any:
    """The same caller, under a contract's prefix."""
    token = api.http.headers.get("authorization", "").removeprefix("Bearer ")
    return client_of(api.served, token or None, contract)


def fresh() -> str:
    return f"space-{uuid.uuid4().hex[:12]}"


async def test_a_space_is_made_shown_changed_and_removed(spaces: Api):
    name = fresh()
    made = await spaces.ask("POST", "/spaces", {"name": name, "description": "d", "settings": {"environment": "s"}})
    assert made.status_code == 200
    assert set(made.json()) == FIELDS
    assert (await spaces.get(f"/spaces/{name}")).json() == made.json()
    assert name in [item["name"] for item in (await spaces.get("/spaces")).json()]

    changed = (await spaces.ask("PUT", f"/spaces/{name}", {"description": "e", "settings": None})).json()
    assert (changed["description"], changed["settings"]) == ("e", {"environment": "s"})
    assert changed["updated_at"] > made.json()["updated_at"]

    gone = await spaces.ask("DELETE", f"/spaces/{name}")
    assert (gone.status_code, gone.content) == (200, b"")
    error_of(await spaces.get(f"/spaces/{name}"), 404, "NOT_FOUND")


async def test_default_is_there_and_stays(spaces: Api):
    assert (await spaces.get("/spaces/default")).json()["active"] is True
    error_of(await spaces.ask("DELETE", "/spaces/default"), 409, "CONFLICT")


@pytest.mark.parametrize("name", ["", "-a", "_a", "a b", "a.b", "a/b", "ä", "a" * 64, "a\n", 5, None])
async def test_a_name_outside_its_rules_is_400_and_named(spaces: Api, name: object):
    answer = await spaces.ask("POST", "/spaces", {"name": name})
    assert error_of(answer, 400, "BAD_REQUEST")["error"]["details"][0]["field"] == "name"


@pytest.mark.parametrize("given", ["text", [1], 5, {"a": "x" * 65_536}])
async def test_settings_are_an_object_of_bounded_size(spaces: Api, given: object):
    answer = await spaces.ask("POST", "/spaces", {"name": fresh(), "settings": given})
    assert error_of(answer, 400, "BAD_REQUEST")["error"]["details"][0]["field"] == "settings"


async def test_a_name_is_taken_in_any_case_and_by_one_of_many_at_once(spaces: Api):
    name = fresh()
    answers = await asyncio.gather(*(spaces.ask("POST", "/spaces", {"name": name}) for _ in range(6)))
    assert sorted(answer.status_code for answer in answers) == [200, *[409] * 5]
    error_of(await spaces.ask("POST", "/spaces", {"name": name.upper()}), 409, "CONFLICT")


async def test_nothing_to_change_is_400(spaces: Api):
    error_of(await spaces.ask("PUT", "/spaces/default", {}), 400, "BAD_REQUEST")
    error_of(await spaces.ask("PUT", "/spaces/nosuch", {"description": "x"}), 404, "NOT_FOUND")


async def test_a_space_in_use_stays_and_says_why(spaces: Api, admin: Api):
    name = fresh()
    await spaces.ask("POST", "/spaces", {"name": name})
    agent = (await admin.made(space=name))["name"]
    answer = await spaces.ask("DELETE", f"/spaces/{name}")
    assert "1 agents" in error_of(answer, 409, "CONFLICT")["message"]
    assert (await admin.get(f"/agents/{agent}")).json()["space"] == name


async def test_agents_and_the_removal_of_their_space_do_not_meet(spaces: Api, admin: Api):
    """Whoever is first wins; nothing is ever 500, no agent is without its space."""
    for _ in range(5):
        name = fresh()
        await spaces.ask("POST", "/spaces", {"name": name})
        made, removed = await asyncio.gather(
            admin.ask("POST", "/agents", {"name": f"agent-{uuid.uuid4().hex[:12]}", "space": name}),
            spaces.ask("DELETE", f"/spaces/{name}"),
        )
        assert (made.status_code, removed.status_code) in {(200, 409), (404, 200)}


async def test_the_same_key_makes_one_space(spaces: Api):
    name = fresh()
    for _ in range(2):
        answer = await spaces.ask("POST", "/spaces", {"name": name}, headers={"idempotency-key": name})
        assert (answer.status_code, answer.json()["name"]) == (200, name)


async def test_who_sees_no_space_is_told_of_none_and_who_sees_one_may_not_change_it(
    spaces: Api, served: Served, db: Database
):
    name, other = fresh(), fresh()
    for space in (name, other):
        await spaces.ask("POST", "/spaces", {"name": space})
    async with somebody(served, db) as caller, under("spaces", caller) as api:
        error_of(await api.get("/spaces"), 403, "FORBIDDEN")
        absent = error_of(await api.get("/spaces/nosuch"), 404, "NOT_FOUND")["message"]
        hidden = error_of(await api.get(f"/spaces/{name}"), 404, "NOT_FOUND")["message"]
        assert hidden.replace(name, "nosuch") == absent
        me = (await api.get("/auth/me")).json()["user"]
        async with db.transaction() as conn:
            looks = {"resources": ["spaces"], "verbs": ["read", "list"], "scope": "global"}
            role = await add_role(conn, f"looks-{name}", looks)
            account = (await conn.execute(accounts.select().where(accounts.c.name == me))).one()
            await bind(conn, role, account.id, name)
        assert [item["name"] for item in (await api.get("/spaces")).json()] == [name]
        assert (await api.get(f"/spaces/{name}")).status_code == 200
        error_of(await api.ask("PUT", f"/spaces/{name}", {"description": "x"}), 403, "FORBIDDEN")
        error_of(await api.ask("DELETE", f"/spaces/{name}"), 403, "FORBIDDEN")
        error_of(await api.get(f"/spaces/{other}"), 404, "NOT_FOUND")

"""Agents of the contract organizations, with all their constraints."""

import asyncio
import uuid
from typing import Any

import pytest
from sqlalchemy import select

from asking import Api, client_of, error_of, somebody
from raworc.store.database import Database
from raworc.store.schema import accounts, agents, roles, spaces
from rows import bind

pytestmark = pytest.mark.anyio

GOOD: dict[str, Any] = {"instructions": "Be kind", "model": "gpt-4"}
FIELDS = {"id", "name", "namespace", "description", "instructions", "model", "tools", "routes", "guardrails"}
FIELDS |= {"knowledge_bases", "active", "created_at", "updated_at"}


def fresh() -> str:
    return f"agent_{uuid.uuid4().hex[:12]}"


@pytest.fixture
async def namespace(db: Database) -> str:
    name = f"space-{uuid.uuid4().hex[:12]}"
    async with db.transaction() as conn:
        await conn.execute(spaces.insert().values(name=name))
    return name


async def made(api: Api, **fields: Any) -> dict[str, Any]:
    answer = await api.ask("POST", "/agents", {"name": fresh(), **GOOD, **fields})
    assert answer.status_code == 201, answer.text
    return answer.json()


async def test_an_agent_is_made_shown_changed_and_removed(organizations: Api, namespace: str):
    lists = {
        "tools": ["bash", {"a": 1}],
        "routes": [{"pattern": "x", "weight": 1}],
        "guardrails": [],
        "knowledge_bases": [],
    }
    agent = await made(organizations, namespace=namespace, description="d", **lists)
    assert set(agent) == FIELDS
    assert {key: agent[key] for key in lists} == lists
    assert (agent["namespace"], agent["active"]) == (namespace, True)
    assert (await organizations.get(f"/agents/{agent['id']}")).json() == agent
    named = await organizations.get(f"/agents/{agent['name'].upper()}", namespace=namespace)
    assert named.json() == agent
    error_of(await organizations.get(f"/agents/{agent['name']}", namespace="default"), 404, "NOT_FOUND")

    change = {"description": "e", "active": False, "model": "claude-3", "tools": None}
    changed = (await organizations.ask("PUT", f"/agents/{agent['id']}", change)).json()
    assert (changed["description"], changed["active"], changed["model"]) == ("e", False, "claude-3")
    assert changed["tools"] == lists["tools"]
    assert changed["updated_at"] > agent["updated_at"]

    gone = await organizations.ask("DELETE", f"/agents/{agent['id']}")
    assert (gone.status_code, gone.content) == (204, b"")
    for method in ("GET", "PUT", "DELETE"):
        body = {"description": "x"} if method == "PUT" else None
        error_of(await organizations.ask(method, f"/agents/{agent['id']}", body), 404, "NOT_FOUND")


async def test_what_is_removed_frees_its_name_and_its_row_stays(organizations: Api, db: Database):
    agent = await made(organizations)
    await organizations.ask("DELETE", f"/agents/{agent['name']}")
    again = await made(organizations, name=agent["name"])
    assert again["id"] != agent["id"]
    async with db.reading() as conn:
        rows = (await conn.execute(agents.select().where(agents.c.name == agent["name"]))).all()
    assert {(str(row.id), row.deleted_at is None, row.active) for row in rows} == {
        (agent["id"], False, False),
        (again["id"], True, True),
    }


WRONG = [
    ({"name": None}, "name"),
    ({"name": ""}, "name"),
    ({"name": "a" * 256}, "name"),
    ({"name": "a.b"}, "name"),
    ({"name": "\u00e4"}, "name"),
    ({"instructions": None}, "instructions"),
    ({"instructions": ""}, "instructions"),
    ({"instructions": "x" * 65_536}, "instructions"),
    ({"description": "x" * 1001}, "description"),
    ({"model": None}, "model"),
    ({"model": ""}, "model"),
    ({"model": "gpt-4-of-nobody-" + "x" * 20}, "model"),
    ({"tools": {}}, "tools"),
    ({"routes": "x"}, "routes"),
    ({"guardrails": [1] * 65}, "guardrails"),
]


@pytest.mark.parametrize(("wrong", "field"), WRONG, ids=str)
async def test_a_field_outside_its_rules_is_400_and_named(organizations: Api, wrong: dict[str, Any], field: str):
    answer = await organizations.ask("POST", "/agents", {"name": fresh(), **GOOD, **wrong})
    assert error_of(answer, 400, "BAD_REQUEST")["error"]["details"][0]["field"] == field
    if wrong[field] is not None:
        agent = await made(organizations)
        answer = await organizations.ask("PUT", f"/agents/{agent['id']}", wrong)
        assert error_of(answer, 400, "BAD_REQUEST")["error"]["details"][0]["field"] == field


async def test_the_limits_themselves_are_allowed(organizations: Api):
    agent = await made(organizations, name=fresh() + "-" + "a" * 236, instructions="x" * 65_535, description="y" * 1000)
    assert len(agent["name"]) == 255
    for model in ("gpt-4", "gpt-3.5-turbo", "claude-3", "scripted", "claude-sonnet-4-5", "gpt-4o"):
        await made(organizations, model=model)
    for least in ({"name": "a"}, {"name": "-_1"}):
        agent = await made(organizations, **least)
        await organizations.ask("DELETE", f"/agents/{agent['id']}")


async def test_a_name_is_taken_once_in_its_namespace(organizations: Api, namespace: str):
    name = fresh()
    body = {"name": name, **GOOD, "namespace": namespace}
    answers = await asyncio.gather(*(organizations.ask("POST", "/agents", body) for _ in range(5)))
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409, 409]
    error_of(await organizations.ask("POST", "/agents", {**body, "name": name.upper()}), 409, "CONFLICT")
    other = await made(organizations, name=name)
    taken = await made(organizations, namespace=namespace)
    error_of(await organizations.ask("PUT", f"/agents/{taken['id']}", {"name": name}), 409, "CONFLICT")
    assert (await organizations.ask("PUT", f"/agents/{other['id']}", {"name": name})).status_code == 200


async def test_a_name_alone_is_the_one_that_is_seen(organizations: Api, namespace: str, db: Database):
    """In `default` first; elsewhere where it is the only one; never one that the caller may not see."""
    name, other = fresh(), f"space-{uuid.uuid4().hex[:12]}"
    async with db.transaction() as conn:
        await conn.execute(spaces.insert().values(name=other))
    there = await made(organizations, name=name, namespace=namespace)
    assert (await organizations.get(f"/agents/{name.upper()}")).json()["id"] == there["id"]
    await made(organizations, name=name, namespace=other)
    told = error_of(await organizations.ask("DELETE", f"/agents/{name}"), 400, "BAD_REQUEST")["message"]
    assert all(f"'{space}'" in told for space in (namespace, other))
    async with somebody(organizations.served, db) as member:
        error_of(await member.http.get(f"{member.served.url}/organizations/api/v0/agents/{name}"), 404, "NOT_FOUND")
        async with db.transaction() as conn:
            me = await conn.scalar(select(accounts.c.id).order_by(accounts.c.created_at.desc()).limit(1))
            await bind(conn, await conn.scalar(select(roles.c.id).where(roles.c.name == "developer")), me, other)
        seen = await member.http.get(f"{member.served.url}/organizations/api/v0/agents/{name}")
        assert seen.json()["namespace"] == other
    common = await made(organizations, name=name)
    assert (await organizations.get(f"/agents/{name}")).json()["id"] == common["id"]


async def test_an_unknown_namespace_is_404_and_nothing_to_change_400(organizations: Api):
    answer = await organizations.ask("POST", "/agents", {"name": fresh(), **GOOD, "namespace": "nosuch"})
    error_of(answer, 404, "NOT_FOUND")
    error_of(await organizations.get("/agents", namespace="nosuch"), 404, "NOT_FOUND")
    agent = await made(organizations)
    error_of(await organizations.ask("PUT", f"/agents/{agent['id']}", {"name": None}), 400, "BAD_REQUEST")


async def test_lists_are_bare_filtered_and_paged_where_asked(organizations: Api, namespace: str):
    names = sorted([(await made(organizations, namespace=namespace))["name"] for _ in range(5)])
    scripted = await made(organizations, namespace=namespace, model="scripted", name="zzz")
    await organizations.ask("PUT", f"/agents/{scripted['id']}", {"active": False})

    async def listed(**query: Any) -> Any:
        return (await organizations.get("/agents", namespace=namespace, **query)).json()

    assert [item["name"] for item in await listed()] == [*names, "zzz"]
    assert [item["name"] for item in await listed(active="true")] == names
    assert [item["name"] for item in await listed(active="false", model="scripted")] == ["zzz"]
    assert await listed(active="true", model="scripted") == []
    first, last = await listed(limit=4), await listed(page=2, limit=4)
    assert set(first) == {"items", "total", "page", "per_page", "has_more"}
    assert ([item["name"] for item in first["items"]], first["has_more"]) == (names[:4], True)
    assert ([item["name"] for item in last["items"]], last["has_more"]) == ([names[4], "zzz"], False)
    assert (last["total"], last["page"], last["per_page"]) == (6, 2, 4)
    assert (await listed(page=1))["total"] == 6
    for wrong in ({"page": 0}, {"limit": "x"}, {"active": "maybe"}):
        error_of(await organizations.get("/agents", **wrong), 400, "BAD_REQUEST")


async def test_each_contract_lists_and_names_its_own_agents(organizations: Api, admin: Api):
    named, definition = (await admin.made())["name"], await made(organizations)
    error_of(await organizations.get(f"/agents/{named}"), 404, "NOT_FOUND")
    error_of(await admin.get(f"/agents/{definition['name'].replace('_', '-')}"), 404, "NOT_FOUND")
    assert named not in [item["name"] for item in (await organizations.get("/agents")).json()]
    assert definition["name"] not in [item["name"] for item in (await admin.get("/agents", q="agent_")).json()["items"]]


async def test_what_is_ones_own_in_the_agents_contract_counts_nothing_here(organizations: Api, other: Api):
    token = other.http.headers["authorization"].removeprefix("Bearer ")
    async with client_of(other.served, token, "organizations") as api:
        error_of(await api.get("/agents"), 403, "FORBIDDEN")
        error_of(await api.ask("POST", "/agents", {"name": fresh(), **GOOD}), 404, "NOT_FOUND")


async def test_a_space_goes_with_the_agents_that_were_removed_from_it(organizations: Api, namespace: str):
    agent = await made(organizations, namespace=namespace)
    path = f"{organizations.served.url}/spaces/api/v0/spaces/{namespace}"
    error_of(await organizations.http.delete(path), 409, "CONFLICT")
    await organizations.ask("DELETE", f"/agents/{agent['id']}")
    assert (await organizations.http.delete(path)).status_code == 200


async def test_the_same_key_makes_one_agent_and_is_answered_alike(organizations: Api):
    body, headers = {"name": fresh(), **GOOD}, {"idempotency-key": fresh()}
    first, again = [await organizations.ask("POST", "/agents", body, headers=headers) for _ in range(2)]
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json() == again.json()
    assert again.headers["idempotent-replayed"] == "true"

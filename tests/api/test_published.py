"""Published agents: what anybody sees of them, what stays the owner's, and who may publish."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from asking import Api, error_of, somebody
from raworc.ids import new_id
from raworc.services import published as services_published
from raworc.services.progress import StateChanged
from raworc.store.database import Database
from raworc.store.schema import agents, audit, runs
from works import Works

pytestmark = pytest.mark.anyio

ALL = {"code": True, "secrets": True, "content": True}
PRIVATE = ("instructions", "setup", "tools", "guardrails", "knowledge_bases")


@pytest.fixture(scope="module")
async def third(db: Database, served: Any) -> AsyncIterator[Api]:
    """An ordinary account that owns nothing."""
    async with somebody(served, db) as api:
        yield api


async def published(owner: Api, body: object = None, **fields: Any) -> dict[str, Any]:
    name = (await owner.made(**fields))["name"]
    answer = await owner.ask("POST", f"/agents/{name}/publish", body)
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.parametrize(
    ("body", "shown", "offered"),
    [
        (None, ALL, False),
        ({}, ALL, False),
        ({"secrets": None}, ALL, False),
        ({"secrets": True}, ALL, True),
        ({"code": False, "secrets": False}, {"code": False, "secrets": False, "content": True}, False),
        ({"content": False, "other": 1}, {"code": True, "secrets": True, "content": False}, False),
    ],
)
async def test_publishing_shows_who_when_and_what(
    other: Api, db: Database, body: object, shown: dict[str, bool], *, offered: bool
):
    agent = await published(other, body)

    assert (agent["is_published"], agent["published_by"]) == (True, "olive")
    assert agent["publish_permissions"] == shown
    assert datetime.now(UTC) - datetime.fromisoformat(agent["published_at"]) < timedelta(minutes=1)
    async with db.reading() as conn:
        asked = select(agents.c.offers_secrets).where(agents.c.name == agent["name"])
        assert await conn.scalar(asked) is offered


async def test_publishing_is_written_down(other: Api, db: Database):
    name = (await published(other, {"content": False}))["name"]
    await other.ask("POST", f"/agents/{name}/unpublish")

    async with db.reading() as conn:
        told = (
            await conn.execute(
                select(audit).where(audit.c.name == name, audit.c.verb != "create").order_by(audit.c.number)
            )
        ).all()
    assert [(row.actor, row.verb, row.resource, row.allowed) for row in told] == [
        ("olive", "publish", "agents", True),
        ("olive", "unpublish", "agents", True),
    ]
    assert told[0].details == {"code": True, "secrets": False, "content": False}


async def test_publishing_again_changes_the_permissions_and_nothing_else(other: Api):
    first = await published(other, {"secrets": True})

    again = await other.ask("POST", f"/agents/{first['name'].upper()}/publish", {"code": False})

    assert again.json() == first | {"publish_permissions": {"code": False, "secrets": True, "content": True}}


async def test_unpublishing_hides_and_may_be_repeated(other: Api, nobody: Api):
    agent = await published(other, {"code": False})

    for _ in range(2):
        answer = await other.ask("POST", f"/agents/{agent['name']}/unpublish")
        gone = {"is_published": False, "published_at": None, "published_by": None, "publish_permissions": ALL}
        assert answer.json() == agent | gone
    error_of(await nobody.get(f"/published/agents/{agent['name']}"), 404, "NOT_FOUND")


async def test_anybody_sees_the_agent_object_and_nothing_private(other: Api, nobody: Api, third: Api):
    private = {"instructions": "the recipe", "setup": "echo recipe", "secrets": {"TOKEN": "the recipe"}}
    agent = await published(other, description="Cooks", metadata={"a": 1}, tags=["food"], **private)
    assert agent["instructions"] == "the recipe"

    shown = await nobody.get(f"/published/agents/{agent['name'].upper()}")
    listed = [item for item in (await nobody.get("/published/agents")).json() if item["name"] == agent["name"]]
    to_another = await third.get(f"/agents/{agent['name']}")

    assert shown.json() == agent | dict.fromkeys(PRIVATE)
    assert listed == [shown.json()]
    assert to_another.json() == shown.json()
    assert "recipe" not in shown.text + to_another.text


async def test_the_rest_of_a_published_agent_stays_its_owners(other: Api, third: Api, nobody: Api):
    name = (await published(other, {"secrets": True}))["name"]

    looks = ["responses", "responses/count", "files/list", "events", "requests", "runtime"]
    answers = [await third.get(f"/agents/{name}/{path}") for path in looks]
    writes = [
        ("PUT", "", {"description": "mine"}),
        ("PUT", "/state", {"state": "slept"}),
        ("DELETE", "", None),
        ("POST", "/responses", {"input": {"text": "hi"}}),
        ("POST", "/wake", None),
        ("POST", "/cancel", None),
        ("POST", "/publish", {"secrets": True}),
        ("POST", "/unpublish", None),
    ]
    answers += [await third.ask(method, f"/agents/{name}{path}", body) for method, path, body in writes]

    for answer in answers:
        error_of(answer, 403, "FORBIDDEN")
    error_of(await nobody.get(f"/agents/{name}"), 401, "UNAUTHORIZED")
    assert name not in [item["name"] for item in (await third.get("/agents")).json()["items"]]


async def test_absent_and_unpublished_agents_are_told_apart_by_nobody(other: Api, nobody: Api):
    hidden = (await other.made())["name"]

    for name in (hidden, "nothing-there", "a_b", "a" * 300):
        error = error_of(await nobody.get(f"/published/agents/{name}"), 404, "NOT_FOUND")
        assert error["message"].endswith("not found")
    assert hidden not in [item["name"] for item in (await nobody.get("/published/agents")).json()]


async def test_the_list_is_newest_first_and_paged(other: Api, nobody: Api, db: Database):
    names = [(await published(other))["name"] for _ in range(3)]
    async with db.transaction() as conn:
        for days, name in enumerate(names):
            moment = datetime.now(UTC) + timedelta(days=1 + days)
            await conn.execute(update(agents).where(agents.c.name == name).values(published_at=moment))

    whole = [item["name"] for item in (await nobody.get("/published/agents")).json()]
    second = [item["name"] for item in (await nobody.get("/published/agents", limit=1, offset=1)).json()]

    assert whole[:3] == names[::-1]
    assert second == [names[1]]
    assert (await nobody.get("/published/agents", limit=1000)).status_code == 200
    assert (await nobody.get("/published/agents", offset=2**53)).json() == []
    for query in ({"limit": 0}, {"limit": "many"}, {"offset": -1}):
        error_of(await nobody.get("/published/agents", **query), 400, "BAD_REQUEST")


async def test_without_a_limit_all_are_listed_however_they_are_read(
    other: Api, nobody: Api, monkeypatch: pytest.MonkeyPatch
):
    names = [(await published(other))["name"] for _ in range(5)]
    monkeypatch.setattr(services_published, "MAX_PAGE", 2)

    whole = [item["name"] for item in (await nobody.get("/published/agents")).json()]
    rest = [item["name"] for item in (await nobody.get("/published/agents", offset=3)).json()]
    page = (await nobody.get("/published/agents", limit=2)).json()

    assert [name for name in whole if name in names] == names[::-1]
    assert (rest, [item["name"] for item in page]) == (whole[3:], whole[:2])
    assert (await nobody.get("/published/agents", offset=len(whole))).json() == []


async def test_what_is_published_meanwhile_neither_repeats_nor_hides_others(
    other: Api, db: Database, monkeypatch: pytest.MonkeyPatch
):
    names = [(await published(other))["name"] for _ in range(4)]
    monkeypatch.setattr(services_published, "MAX_PAGE", 2)
    pages = services_published.Published(db).everything(offset=0)

    found = [agent.name for agent in await anext(pages)]
    await published(other)
    await other.ask("POST", f"/agents/{found[1]}/unpublish")
    async for page in pages:
        found += [agent.name for agent in page]

    assert [name for name in found if name in names] == names[::-1]
    assert len(found) == len(set(found))


@pytest.mark.parametrize("body", [{"code": "yes"}, {"code": None}, {"secrets": 1}, {"content": None}])
async def test_a_permission_is_a_boolean(other: Api, body: object):
    name = (await other.made())["name"]

    error = error_of(await other.ask("POST", f"/agents/{name}/publish", body), 400, "BAD_REQUEST")

    assert error["error"]["details"][0]["field"] == next(iter(body))  # type: ignore[call-overload]
    assert (await other.get(f"/agents/{name}")).json()["is_published"] is False


@pytest.mark.parametrize("action", ["publish", "unpublish"])
async def test_only_who_may_change_an_agent_publishes_it(other: Api, admin: Api, nobody: Api, third: Api, action: str):
    name = (await other.made())["name"]

    error_of(await third.ask("POST", f"/agents/{name}/{action}"), 403, "FORBIDDEN")
    error_of(await nobody.ask("POST", f"/agents/{name}/{action}"), 401, "UNAUTHORIZED")
    error_of(await third.ask("POST", f"/agents/no-such-agent/{action}"), 404, "NOT_FOUND")
    answer = await admin.ask("POST", f"/agents/{name}/{action}")
    assert answer.json()["published_by"] == ("admin" if action == "publish" else None)


async def test_runtime_sums_the_awake_spans(other: Api, db: Database, works: Works):
    name = (await other.made())["name"]
    never = (await other.get(f"/agents/{name.upper()}/runtime")).json()
    async with db.transaction() as conn:
        session_id = await conn.scalar(select(agents.c.session_id).where(agents.c.name == name))
        now = datetime.now(UTC)
        for start, end in ((1000, 900), (500, 450), (30, None)):
            ended_at = None if end is None else now - timedelta(seconds=end)
            started_at = now - timedelta(seconds=start)
            values = {"id": new_id(), "session_id": session_id, "started_at": started_at, "ended_at": ended_at}
            await conn.execute(runs.insert().values(values))
    awake = (await other.get(f"/agents/{name}/runtime")).json()
    async with db.transaction() as conn:
        await conn.execute(update(runs).where(runs.c.ended_at.is_(None)).values(ended_at=now))
    await works(name, StateChanged("slept"), desired=None)
    asleep = (await other.get(f"/agents/{name}/runtime")).json()

    assert never == {"agent_name": name, "total_runtime_seconds": 0, "current_session_seconds": 0}
    assert awake["agent_name"] == name
    assert 180 <= awake["total_runtime_seconds"] <= 185
    assert 30 <= awake["current_session_seconds"] <= 35
    assert asleep == {"agent_name": name, "total_runtime_seconds": 180, "current_session_seconds": 0}


async def test_names_are_answered_as_they_are_stored(other: Api, works: Works):
    name = (await other.made())["name"]
    await works(name, StateChanged("idle"), desired=None)

    count = await other.get(f"/agents/{name.upper()}/responses/count")
    cancel = await other.ask("POST", f"/agents/{name.upper()}/cancel")

    assert count.json() == {"count": 0, "agent_name": name}
    assert cancel.json() == {"status": "ok", "agent": name, "cancelled": False}

"""Code agents and builds of spaces as the contract spaces shows them."""

import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import select

from asking import Api, client_of, error_of
from raworc.store.database import Database
from raworc.store.schema import audit, spaces

pytestmark = pytest.mark.anyio

REPO = "Raworc/raworc-agent-python-demo"


@pytest.fixture
async def api(admin: Api) -> AsyncIterator[Api]:
    token = admin.http.headers["authorization"].removeprefix("Bearer ")
    async with client_of(admin.served, token, "spaces") as api:
        yield api


@pytest.fixture
async def space(db: Database) -> str:
    name = f"space-{uuid.uuid4().hex[:12]}"
    async with db.transaction() as conn:
        await conn.execute(spaces.insert().values(name=name))
    return name


async def made(api: Api, space: str, name: str = "demo", **fields: Any) -> dict[str, Any]:
    answer = await api.ask("POST", f"/spaces/{space}/agents", {"name": name, "source_repo": REPO, **fields})
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_an_agent_is_made_shown_changed_switched_and_removed(api: Api, space: str):
    given = {"description": "Data", "purpose": "analyze data", "source_branch": "main"}
    agent = await made(api, space, **given)
    assert agent == {"name": "demo", "source_repo": REPO, "status": "active", **given}
    assert (await api.get(f"/spaces/{space}/agents")).json() == [agent]
    assert (await api.get(f"/spaces/{space}/agents/DEMO")).json() == agent
    change = {"description": "Other", "purpose": None, "source_repo": "https://example.org/a/b.git"}
    changed = (await api.ask("PUT", f"/spaces/{space}/agents/demo", change)).json()
    assert changed == agent | {"description": "Other", "source_repo": "https://example.org/a/b.git"}
    off = await api.ask("PATCH", f"/spaces/{space}/agents/demo/status", {"status": "inactive"})
    assert off.json() == changed | {"status": "inactive"}
    gone = await api.ask("DELETE", f"/spaces/{space}/agents/demo")
    assert (gone.status_code, gone.content) == (200, b"")
    error_of(await api.get(f"/spaces/{space}/agents/demo"), 404, "NOT_FOUND")
    assert (await made(api, space))["description"] is None


async def test_making_and_changing_an_agent_starts_one_build(api: Api, space: str):
    error_of(await api.get(f"/spaces/{space}/build/latest"), 404, "NOT_FOUND")
    await made(api, space)
    build = (await api.get(f"/spaces/{space}/build/latest")).json()
    assert build == {**build, "status": "pending", "started_at": None, "completed_at": None, "logs": ""}
    assert set(build) == {"id", "status", "started_at", "completed_at", "logs"}
    assert uuid.UUID(build["id"].removeprefix("build-")).version == 4
    assert (await api.get(f"/spaces/{space}/build/{build['id']}")).json() == build
    again = await api.ask("POST", f"/spaces/{space}/build", {"force": True})
    assert again.json() == build
    for which in ("build-x", "latest-", build["id"].removeprefix("build-"), f"build-{uuid.uuid4()}"):
        error_of(await api.get(f"/spaces/{space}/build/{which}"), 404, "NOT_FOUND")


REFUSED = {
    "name": ["running", "RUNNING", "", "-x", "a b", "x" * 64, None, 1],
    "source_repo": [
        *("", "name", "owner/name/more", "http://example.org/a", "ftp://example.org/a", "https://", "owner/.."),
        *("https://user:secret@example.org/a", "https://token@example.org/a/b", "ext::sh -c id", "-u/x", "a/b c"),
        *("file://host/x", "file:///a/../b", "ssh://example.org/a", "https://[/a", "https://example.org:x/a", None),
    ],
    "source_branch": ["-b", "a..b", "a b", "", "x.lock", "a//b", "--upload-pack=x", "x" * 256],
    "description": ["x" * 4001, 1],
    "purpose": ["x" * 4001],
}


async def test_what_is_refused_is_named_and_changes_nothing(api: Api, space: str):
    for field, values in REFUSED.items():
        for value in values:
            body = {"name": "demo", "source_repo": REPO, field: value}
            error = error_of(await api.ask("POST", f"/spaces/{space}/agents", body), 400, "BAD_REQUEST")
            assert [detail["field"] for detail in error["error"]["details"]] == [field], value
            assert "secret" not in error["message"]
    assert (await api.get(f"/spaces/{space}/agents")).json() == []
    await made(api, space)
    error_of(await api.ask("PUT", f"/spaces/{space}/agents/demo", {}), 400, "BAD_REQUEST")
    error_of(await api.ask("PATCH", f"/spaces/{space}/agents/demo/status", {"status": "on"}), 400, "BAD_REQUEST")
    error_of(await api.ask("POST", f"/spaces/{space}/agents", {"name": "Demo", "source_repo": REPO}), 409, "CONFLICT")


async def test_every_kind_of_address_is_taken(api: Api, space: str):
    addresses = ("a/b", "https://example.org:8443/a/b.git", "git@example.org:a/b.git", "ssh://git@example.org/a/b")
    for number, address in enumerate((*addresses, "file:///srv/repos/a")):
        assert (await made(api, space, f"r{number}", source_repo=address))["source_repo"] == address


async def test_a_key_has_an_agent_made_once(api: Api, space: str):
    body, key = {"name": "once", "source_repo": REPO}, {"headers": {"idempotency-key": uuid.uuid4().hex}}
    first = await api.ask("POST", f"/spaces/{space}/agents", body, **key)
    again = await api.ask("POST", f"/spaces/{space}/agents", body, **key)
    assert (first.json(), again.headers["idempotent-replayed"]) == (again.json(), "true")


async def test_a_space_with_agents_stays_and_one_that_was_built_goes(api: Api, space: str):
    await made(api, space)
    error_of(await api.ask("DELETE", f"/spaces/{space}"), 409, "CONFLICT")
    await api.ask("DELETE", f"/spaces/{space}/agents/demo")
    assert (await api.ask("DELETE", f"/spaces/{space}")).status_code == 200


async def test_every_deed_is_in_the_audit_log(api: Api, space: str, db: Database):
    await made(api, space)
    await api.ask("PUT", f"/spaces/{space}/agents/demo", {"purpose": "x"})
    await api.ask("PATCH", f"/spaces/{space}/agents/demo/status", {"status": "inactive"})
    await api.ask("POST", f"/spaces/{space}/build")
    await api.ask("DELETE", f"/spaces/{space}/agents/demo")
    async with db.reading() as conn:
        chosen = select(audit.c.verb, audit.c.resource, audit.c.name).where(audit.c.space == space)
        told = [tuple(row) for row in await conn.execute(chosen.order_by(audit.c.number))]
    agents = [(verb, "agents", "demo") for verb in ("create", "update", "update")]
    assert told == [*agents, ("create", "builds", None), ("delete", "agents", "demo")]

"""Writes that take more than a thing that is there, each with its entry in the audit log.

All others are looked for by the matrices of access, which do them anyway.
"""

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest
from sqlalchemy import select

from asking import Api, client_of
from deeds import LOOKED_FOR_ELSEWHERE, newest, since
from raworc.ids import new_id
from raworc.services.progress import ResponseChanged, StateChanged
from raworc.settings import Settings
from raworc.store import approvals
from raworc.store.approvals import Question
from raworc.store.database import Database
from raworc.store.schema import audit
from rows import open_sandbox, set_home
from waiting import until
from works import Works
from workspaces import make, place

pytestmark = pytest.mark.anyio

LOGIN = {"user": "admin", "pass": "admin"}
WORK = {"input": {"text": "work"}}
BUSY = StateChanged("busy")


@dataclass(frozen=True)
class Scene:
    admin: Api
    db: Database
    settings: Settings
    works: Works

    async def ask(self, method: str, path: str, body: object = None) -> Any:
        """By the whole path."""
        more = {} if body is None else {"json": body}
        return await self.admin.http.request(method, f"{self.admin.served.url}{path}", **more)

    async def agent(self) -> str:
        """The path of a new agent."""
        return f"/api/v0/agents/{(await self.admin.made())['name']}"

    async def upstream(self) -> str:
        body = {"name": f"u-{uuid.uuid4().hex[:8]}", "provider": "custom", "base_url": "http://h", "models": ["none"]}
        return f"/api/upstreams/{(await self.ask('POST', '/api/upstreams', body)).json()['id']}"

    async def woken(self) -> tuple[str, str]:
        path = await self.agent()
        await set_home(self.db, path.rpartition("/")[2], state="slept", desired=None)
        return "POST", f"{path}/wake"

    async def without_secret(self) -> tuple[str, str]:
        path = await self.agent()
        await self.ask("PUT", f"{path}/secrets/KEY", {"value": "v"})
        return "DELETE", f"{path}/secrets/KEY"

    async def approved(self) -> tuple[str, str, Any]:
        path, response = await self.working()
        turn_id = uuid.UUID(response)
        async with self.db.transaction() as conn:
            asked = await approvals.ask(conn, new_id(), turn_id, Question(2, "toolu_1", "bash", {}))
        return "POST", f"{path}/approvals/{asked.id}", {"decision": "approve"}

    async def working(self) -> tuple[str, str]:
        """The path of an agent that works on a response, and the response's id."""
        path = await self.agent()
        made = (await self.ask("POST", f"{path}/responses", WORK)).json()
        await self.works(path.rpartition("/")[2], ResponseChanged(uuid.UUID(made["id"]), "processing"), BUSY)
        return path, made["id"]

    async def interrupted(self) -> tuple[str, str, Any]:
        path, _ = await self.working()
        return "POST", f"{path}/responses", {**WORK, "when_busy": "interrupt"}

    async def with_output(self) -> tuple[str, str, Any]:
        path, response = await self.working()
        return "PUT", f"{path}/responses/{response}", {"output": {"items": [{"type": "note", "text": "x"}]}}

    async def settled(self) -> tuple[str, str, Any]:
        path, response = await self.working()
        return "PUT", f"{path}/responses/{response}", {"status": "completed"}

    async def waited_for(self) -> tuple[str, str, Any]:
        return "POST", f"{await self.agent()}/responses", {**WORK, "background": False}

    async def restored(self) -> tuple[str, str]:
        path = await self.agent()
        await self.ask("POST", f"{path}/context/clear")
        return "POST", f"{path}/context/restore"

    async def compacted(self) -> tuple[str, str]:
        path = await self.agent()
        await open_sandbox(self.db, path.rpartition("/")[2])
        return "POST", f"{path}/context/compact"

    async def without_file(self) -> tuple[str, str]:
        path = await self.agent()
        make(await place(path.rpartition("/")[2], self.db, self.settings))
        await self.ask("PUT", f"{path}/files/write/a.txt", {})
        return "DELETE", f"{path}/files/delete/a.txt"

    async def without_key(self) -> tuple[str, str]:
        return "DELETE", f"/api/keys/{(await self.ask('POST', '/api/keys', {'name': 'k'})).json()['id']}"

    async def without_space(self) -> tuple[str, str]:
        name = f"space-{uuid.uuid4().hex[:8]}"
        await self.ask("POST", "/spaces/api/v0/spaces", {"name": name})
        return "DELETE", f"/spaces/api/v0/spaces/{name}"

    async def changed_upstream(self) -> tuple[str, str, Any]:
        return "PUT", await self.upstream(), {"default": True}

    async def refreshed_upstream(self) -> tuple[str, str]:
        return "POST", f"{await self.upstream()}/refresh"

    async def without_upstream(self) -> tuple[str, str]:
        return "DELETE", await self.upstream()

    async def resumed_session(self) -> tuple[str, str]:
        made = (await self.ask("POST", "/spaces/api/v0/sessions")).json()
        path = f"/spaces/api/v0/sessions/{made['id']}"
        await self.ask("POST", f"{path}/suspend")
        return "POST", f"{path}/resume"

    async def by_operator(self) -> tuple[str, str, Any]:
        return "POST", "/api/v0/operators/admin/login", LOGIN

    async def by_login(self) -> tuple[str, str, Any]:
        return "POST", "/spaces/api/v0/auth/login", LOGIN

    async def by_internal(self) -> tuple[str, str, Any]:
        return "POST", "/organizations/api/v0/auth/internal", LOGIN


WRITES: dict[str, tuple[Callable[[Scene], Awaitable[tuple[Any, ...]]], str]] = {
    "DELETE /api/keys/{key_id}": (Scene.without_key, "delete keys"),
    "PUT /api/upstreams/{upstream}": (Scene.changed_upstream, "update upstreams"),
    "POST /api/upstreams/{upstream}/refresh": (Scene.refreshed_upstream, "update upstreams"),
    "DELETE /api/upstreams/{upstream}": (Scene.without_upstream, "delete upstreams"),
    "POST /api/v0/operators/{name}/login": (Scene.by_operator, "login service-accounts"),
    "POST /spaces/api/v0/auth/login": (Scene.by_login, "login service-accounts"),
    "POST /organizations/api/v0/auth/internal": (Scene.by_internal, "login service-accounts"),
    "POST /api/v0/agents/{name}/wake": (Scene.woken, "update-state agents"),
    "DELETE /api/v0/agents/{name}/secrets/{key}": (Scene.without_secret, "delete secrets"),
    "POST /api/v0/agents/{name}/approvals/{approval_id}": (Scene.approved, "approve approvals"),
    "POST /api/v0/agents/{name}/context/compact": (Scene.compacted, "compact-context agents"),
    "POST /api/v0/agents/{name}/context/restore": (Scene.restored, "restore-context agents"),
    "DELETE /api/v0/agents/{name}/files/delete/{path:file}": (Scene.without_file, "delete-file agents"),
    "POST /spaces/api/v0/sessions/{id}/resume": (Scene.resumed_session, "update-state sessions"),
    "DELETE /spaces/api/v0/spaces/{name}": (Scene.without_space, "delete spaces"),
}

WAYS: dict[str, tuple[Callable[[Scene], Awaitable[tuple[Any, ...]]], str]] = {
    "a response that takes another's place": (Scene.interrupted, "cancel agents, create-response agents"),
    "a response that is waited for": (Scene.waited_for, "create-response agents"),
    "output from outside": (Scene.with_output, "update-response agents"),
    "an end from outside": (Scene.settled, "update-response agents"),
}
"""Other ways of writing by routes that the matrices ask in one way."""


def test_no_write_is_left_out():
    assert {*WRITES, "POST /organizations/api/v0/auth/external"} == LOOKED_FOR_ELSEWHERE  # that: test_identities.py


@pytest.mark.parametrize("name", [*WRITES, *WAYS])
async def test_it_leaves_an_entry(admin: Api, db: Database, settings: Settings, works: Works, name: str):
    prepare, expected = {**WRITES, **WAYS}[name]
    scene = Scene(admin, db, settings, works)
    wanted = await prepare(scene)
    last = await newest(db)
    asking = asyncio.create_task(scene.ask(*wanted))  # not all of them end without an operator

    async def stands() -> bool:
        return ", ".join(await since(db, last)) == expected

    try:
        await until(stands)
    finally:
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)


async def test_an_agents_own_token_answers_for_what_it_writes(admin: Api, db: Database, nobody: Api):
    name = (await admin.made())["name"]
    response = (await admin.ask("POST", f"/agents/{name}/responses", WORK)).json()["id"]
    token = (await admin.ask("POST", f"/agents/{name}/token")).json()["token"]
    last = await newest(db)
    async with client_of(nobody.served, token) as own:
        for wish in ({"output": {"text": "x"}}, {"status": "completed"}):
            answer = await own.ask("PUT", f"/agents/{name}/responses/{response}", wish)
            assert answer.status_code == 200, answer.text
    assert await since(db, last) == ["update-response agents"] * 2
    async with db.reading() as conn:
        said = await conn.scalars(select(audit.c.details["by"].astext).where(audit.c.number > last))
        assert set(said) == {"an agent's own token"}


async def test_a_write_that_is_asked_twice_under_one_key_is_one_entry(admin: Api, db: Database):
    name, key = (await admin.made())["name"], {"idempotency-key": uuid.uuid4().hex}
    last = await newest(db)
    for _ in range(2):
        await asyncio.gather(*(admin.ask("POST", f"/agents/{name}/responses", WORK, headers=key) for _ in range(6)))
    assert await since(db, last) == ["create-response agents"]

"""Writes that take more than a thing that is there, each with its entry in the audit log.

All others are looked for by the matrices of access, which do them anyway.
"""

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest

from asking import Api
from deeds import LOOKED_FOR_ELSEWHERE, newest, since
from raworc.ids import new_id
from raworc.services.progress import ResponseChanged, StateChanged
from raworc.settings import Settings
from raworc.store import approvals
from raworc.store.approvals import Question
from raworc.store.database import Database
from rows import open_sandbox, set_home
from waiting import until
from works import Works
from workspaces import make, place

pytestmark = pytest.mark.anyio

LOGIN = {"user": "admin", "pass": "admin"}


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
        path = await self.agent()
        made = await self.ask("POST", f"{path}/responses", {"input": {"text": "work"}})
        turn_id = uuid.UUID(made.json()["id"])
        await self.works(path.rpartition("/")[2], ResponseChanged(turn_id, "processing"), StateChanged("busy"))
        async with self.db.transaction() as conn:
            asked = await approvals.ask(conn, new_id(), turn_id, Question(2, "toolu_1", "bash", {}))
        return "POST", f"{path}/approvals/{asked.id}", {"decision": "approve"}

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


def test_no_write_is_left_out():
    assert {*WRITES, "POST /organizations/api/v0/auth/external"} == LOOKED_FOR_ELSEWHERE  # that: test_identities.py


@pytest.mark.parametrize("name", WRITES)
async def test_it_leaves_an_entry(admin: Api, db: Database, settings: Settings, works: Works, name: str):
    prepare, expected = WRITES[name]
    scene = Scene(admin, db, settings, works)
    wanted = await prepare(scene)
    last = await newest(db)
    asking = asyncio.create_task(scene.ask(*wanted))  # not all of them end without an operator

    async def stands() -> bool:
        return await since(db, last) == [expected]

    try:
        await until(stands)
    finally:
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)

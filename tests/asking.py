"""Asking the API: a client of one account, and what every error looks like."""

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx2

from raworc.services.passwords import Passwords
from raworc.store.database import Database
from raworc.store.schema import accounts
from served import Served

Json = dict[str, Any]
PASSWORD = "a-password-of-tests"


@dataclass(frozen=True)
class Api:
    """A client of one account. Paths are below the prefix of one contract, agents by default."""

    http: httpx2.AsyncClient
    served: Served

    async def ask(self, method: str, path: str, body: object = None, **more: Any) -> httpx2.Response:
        given = {} if body is None else {"json": body}
        return await self.http.request(method, path, **given, **more)

    async def get(self, path: str, **query: Any) -> httpx2.Response:
        return await self.http.get(path, params=query)

    async def made(self, **fields: Any) -> Json:
        """A new agent, of a new name unless one is given."""
        answer = await self.ask("POST", "/agents", {"name": f"agent-{uuid.uuid4().hex[:12]}", **fields})
        assert answer.status_code == 200, answer.text
        return answer.json()


def error_of(answer: httpx2.Response, status: int, code: str) -> Json:
    """The error body, once it is known to be the one that every error has."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert set(body) == {"message", "error", "request_id", "timestamp"}
    assert set(body["error"]) - {"details"} == {"code", "type", "message"}
    assert body["error"]["code"] == code
    assert body["error"]["type"] == code.lower()
    assert body["error"]["message"] == body["message"]
    assert body["request_id"] == answer.headers["x-request-id"]
    return body


@asynccontextmanager
async def client_of(served: Served, token: str | None, contract: str = "agents") -> AsyncIterator[Api]:
    headers = {"authorization": f"Bearer {token}"} if token else {}
    base = f"{served.url}/{contract}/api/v0"
    async with httpx2.AsyncClient(base_url=base, headers=headers, timeout=20, trust_env=False) as http:
        yield Api(http, served)


@asynccontextmanager
async def somebody(served: Served, db: Database, name: str | None = None) -> AsyncIterator[Api]:
    """An ordinary account that is logged in; a new name unless one is given."""
    name, passwords = name or f"user-{uuid.uuid4().hex[:8]}", Passwords()
    values = {"id": uuid.uuid4(), "name": name, "space": "default", "password_hash": await passwords.hash(PASSWORD)}
    passwords.close()
    async with db.transaction() as conn:
        await conn.execute(accounts.insert().values(values))
    async with client_of(served, None) as api:
        token = (await api.ask("POST", f"/operators/{name}/login", {"pass": PASSWORD})).json()["token"]
    async with client_of(served, token) as api:
        yield api

"""Code agents that are kept warm, and what their handlers said: shown, followed, bounded."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx2
import pytest
from sqlalchemy import func, select, update

from asking import Api, client_of, error_of
from raworc.domain.handlers import LogLine
from raworc.services.agent_logs import KeptLogs
from raworc.store.database import Database
from raworc.store.schema import agent_logs, agents, audit, spaces
from rows import add_build, add_code_agent

pytestmark = pytest.mark.anyio

AT = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


@pytest.fixture
async def api(admin: Api) -> AsyncIterator[Api]:
    token = admin.http.headers["authorization"].removeprefix("Bearer ")
    async with client_of(admin.served, token, "spaces") as made:
        yield made


@dataclass(frozen=True)
class Coded:
    """A code agent of a space of its own."""

    agent_id: uuid.UUID
    space: str
    path: str


@pytest.fixture
async def coded(db: Database) -> Coded:
    space = f"space-{uuid.uuid4().hex[:12]}"
    async with db.transaction() as conn:
        await conn.execute(spaces.insert().values(name=space))
        agent_id = await add_code_agent(conn, space, "Demo")
    return Coded(agent_id, space, f"/spaces/{space}/agents/demo")


async def build(db: Database, coded: Coded) -> None:
    async with db.transaction() as conn:
        await add_build(conn, coded.space, coded.agent_id)


def lines(*texts: str) -> list[LogLine]:
    return [LogLine(AT, "INFO", text) for text in texts]


async def test_an_agent_is_deployed_listed_and_stopped(api: Api, coded: Coded, db: Database):
    await build(db, coded)
    running = f"/spaces/{coded.space}/agents/running"
    assert (await api.get(running)).json() == []
    first = (await api.ask("POST", f"{coded.path}/deploy")).json()
    assert (first["name"], first["status"]) == ("Demo", "running")
    assert (await api.ask("POST", f"{coded.path}/deploy")).json() == first, "deploying twice changes something"
    assert (await api.get(running)).json() == [first]
    stopped = {"name": "Demo", "status": "stopped", "started_at": None}
    for _ in range(2):
        assert (await api.ask("POST", f"{coded.path}/stop")).json() == stopped
    assert (await api.get(running)).json() == []
    async with db.reading() as conn:
        wanted = select(audit.c.verb, audit.c.details).where(audit.c.space == coded.space, audit.c.name == "demo")
        kept = [(row.verb, row.details.get("action")) for row in await conn.execute(wanted.order_by(audit.c.number))]
    assert kept == [("update", action) for action in ("deploy", "deploy", "stop", "stop")]


async def test_what_was_not_built_or_is_not_active_is_not_deployed(api: Api, coded: Coded, db: Database):
    body = error_of(await api.ask("POST", f"{coded.path}/deploy"), 409, "CONFLICT")
    assert body["message"].startswith(f"Agent 'Demo' is in no completed build of space '{coded.space}': wait for")
    await build(db, coded)
    assert (await api.ask("POST", f"{coded.path}/deploy")).status_code == 200
    async with db.transaction() as conn:
        await conn.execute(update(agents).where(agents.c.id == coded.agent_id).values(active=False))
    body = error_of(await api.ask("POST", f"{coded.path}/deploy"), 409, "CONFLICT")
    assert body["message"] == "Agent 'Demo' is not active: set its status to 'active' first"
    assert (await api.get(f"/spaces/{coded.space}/agents/running")).json() == []
    for action in ("deploy", "stop"):
        error_of(await api.ask("POST", f"/spaces/{coded.space}/agents/none/{action}"), 404, "NOT_FOUND")
        error_of(await api.ask("POST", f"/spaces/nosuch/agents/demo/{action}"), 404, "NOT_FOUND")


async def test_two_deploy_and_stop_at_once(api: Api, coded: Coded, db: Database):
    await build(db, coded)
    asked = [api.ask("POST", f"{coded.path}/{action}") for action in ("deploy", "stop") * 4]
    assert {answer.status_code for answer in await asyncio.gather(*asked)} == {200}


async def test_the_last_lines_are_shown_oldest_first(api: Api, coded: Coded, db: Database):
    assert (await api.get(f"{coded.path}/logs")).json() == {"logs": []}
    kept = KeptLogs(db)
    await kept.append(coded.agent_id, lines(*(f"line {n}" for n in range(120))))
    await kept.append(coded.agent_id, [LogLine(AT, "ERROR", "h\u00e9 [x]")])
    told = (await api.get(f"{coded.path}/logs")).json()["logs"]
    assert len(told) == 100
    assert told[0] == "2026-01-02T03:04:05.678901Z [INFO] line 21"
    assert told[-1] == "2026-01-02T03:04:05.678901Z [ERROR] h\u00e9 [x]"
    assert (await api.get(f"{coded.path}/logs", limit=2)).json()["logs"] == told[-2:]
    assert len((await api.get(f"{coded.path}/logs", limit=5000)).json()["logs"]) == 121
    for wrong in ({"limit": 0}, {"limit": "x"}, {"follow": "perhaps"}):
        error_of(await api.get(f"{coded.path}/logs", **wrong), 400, "BAD_REQUEST")


async def test_a_log_is_a_ring(coded: Coded, db: Database):
    kept = KeptLogs(db, most_bytes=20_000)
    for batch in range(20):
        await kept.append(coded.agent_id, lines(*(f"{batch} {n} {'x' * 900}" for n in range(10))))
    async with db.reading() as conn:
        mine = agent_logs.c.agent_id == coded.agent_id
        size = await conn.scalar(select(func.sum(func.octet_length(agent_logs.c.line))).where(mine))
        newest = await conn.scalar(select(agent_logs.c.line).where(mine).order_by(agent_logs.c.number.desc()).limit(1))
    assert newest.startswith("19 9 ")
    assert 10_000 < size < 20_000 + 65_536 + 10_000


async def test_an_agent_that_is_gone_has_no_log(coded: Coded, db: Database):
    await KeptLogs(db).append(coded.agent_id, lines("said before"))
    async with db.transaction() as conn:
        await conn.execute(update(agents).where(agents.c.id == coded.agent_id).values(deleted_at=func.now()))
        await conn.execute(agent_logs.delete().where(agent_logs.c.agent_id == coded.agent_id))
    await KeptLogs(db).append(coded.agent_id, lines("said after"))
    async with db.reading() as conn:
        found = select(func.count()).select_from(agent_logs).where(agent_logs.c.agent_id == coded.agent_id)
        assert await conn.scalar(found) == 0


class Followed:
    """Reads a stream of log lines."""

    def __init__(self, answer: httpx2.Response) -> None:
        self._lines = answer.aiter_lines()

    async def next(self) -> tuple[str, str] | None:
        """Id and text of the next line; None at the end."""
        found: dict[str, Any] = {}
        async with asyncio.timeout(20):
            async for line in self._lines:
                key, _, value = line.partition(": ")
                found[key] = value
                if not line and "data" in found:
                    assert found["event"] == "log"
                    return found["id"], json.loads(found["data"])["line"].partition("] ")[2]
        return None


@asynccontextmanager
async def followed(api: Api, coded: Coded, after: str | None = None, **query: Any) -> AsyncIterator[Followed]:
    headers = {"Last-Event-ID": after} if after else {}
    params = {"follow": "true", **query}
    async with api.http.stream("GET", f"{coded.path}/logs", params=params, headers=headers) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        yield Followed(answer)


async def test_a_log_is_followed_without_gap_or_repeat(api: Api, coded: Coded, db: Database):
    kept = KeptLogs(db)
    await kept.append(coded.agent_id, lines("one", "two", "three"))
    async with followed(api, coded, limit=2) as stream:
        said = [await stream.next(), await stream.next()]
        assert [text for _, text in said if said] == ["two", "three"]
        await kept.append(coded.agent_id, lines("four"))
        assert (await stream.next())[1] == "four"
    many = [f"many {n}" for n in range(500)]
    await kept.append(coded.agent_id, lines(*many))
    async with followed(api, coded, after=said[0][0]) as stream:
        assert [(await stream.next())[1] for _ in range(502)] == ["three", "four", *many]


async def test_following_ends_when_there_is_nothing_more_to_see(api: Api, coded: Coded, db: Database):
    async with followed(api, coded) as stream:
        async with db.transaction() as conn:
            await conn.execute(update(agents).where(agents.c.id == coded.agent_id).values(deleted_at=func.now()))
        await KeptLogs(db).append(coded.agent_id, lines("unseen"))
        assert await stream.next() is None

"""Event streams: what they say, how they resume, and how they end."""

import asyncio
import contextlib
import json
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest
from sqlalchemy import text

from asking import Api, error_of
from raworc.services.progress import ResponseChanged, SegmentAdded, StateChanged
from raworc.store import agents as agent_rows
from raworc.store.database import Database
from raworc.store.notify import notify_delta
from waiting import until
from works import Works

pytestmark = pytest.mark.anyio

NOTE = {"type": "note", "level": "info", "text": "working"}
FINAL = {"type": "final", "channel": "final", "text": "done"}


@dataclass(frozen=True)
class Said:
    id: int | None
    name: str
    data: dict[str, Any]


class Stream:
    """Reads a stream block by block; ``raw`` is all that came."""

    def __init__(self, answer: httpx2.Response) -> None:
        self.answer = answer
        self.raw = ""
        self._lines = answer.aiter_lines()

    async def next(self) -> Said | None:
        """The next event, pings left out; None at the end."""
        fields: dict[str, str] = {}
        async with asyncio.timeout(20):
            async for line in self._lines:
                self.raw += line + "\n"
                if line:
                    key, _, value = line.partition(":")
                    fields[key] = value.removeprefix(" ")
                elif "data" in fields:
                    found = fields.get("id")
                    return Said(int(found) if found else None, fields["event"], json.loads(fields["data"]))
                else:
                    fields = {}
        return None

    async def all(self) -> list[Said]:
        """Everything up to the end."""
        said: list[Said] = []
        while (event := await self.next()) is not None:
            said.append(event)
        return said


@asynccontextmanager
async def opened(api: Api, path: str, after: int | None = None) -> AsyncIterator[Stream]:
    headers = {} if after is None else {"last-event-id": str(after)}
    async with api.http.stream("GET", path, headers=headers) as answer:
        assert answer.status_code == 200, await answer.aread()
        yield Stream(answer)


async def asked(admin: Api, works: Works) -> tuple[str, str]:
    """An awake agent with a pending response: its name and the response's id."""
    name = (await admin.made())["name"]
    await works(name, StateChanged("idle"), desired=None)
    made = await admin.ask("POST", f"/agents/{name}/responses", {"input": {"text": "hi"}})
    return name, made.json()["id"]


async def run(works: Works, name: str, response_id: str) -> None:
    turn_id = uuid.UUID(response_id)
    await works(name, ResponseChanged(turn_id, "processing"), StateChanged("busy"))
    await works(name, SegmentAdded(turn_id, NOTE))
    await works(name, SegmentAdded(turn_id, FINAL), ResponseChanged(turn_id, "completed"), StateChanged("idle"))


async def test_a_responses_stream_tells_its_whole_story_and_ends(admin: Api, works: Works):
    name, response_id = await asked(admin, works)
    path = f"/agents/{name}/responses/{response_id}"

    async with opened(admin, f"{path}/events") as stream:
        running = asyncio.create_task(run(works, name, response_id))
        said = await stream.all()
        await running
        headers = stream.answer.headers

    assert headers["content-type"].startswith("text/event-stream")
    assert headers["cache-control"] == "no-store"
    stages = [(event.name, event.data.get("status")) for event in said]
    assert stages == [
        ("response", "pending"),
        ("response", "processing"),
        ("segment", None),
        ("segment", None),
        ("response", "completed"),
    ]
    numbers = [event.id for event in said]
    assert None not in numbers
    assert numbers == sorted(set(numbers))
    segments = [event.data for event in said if event.name == "segment"]
    assert segments == [
        {"response_id": response_id, "seq": 1, "segment": NOTE},
        {"response_id": response_id, "seq": 2, "segment": FINAL},
    ]
    whole = (await admin.get(path)).json()
    assert said[-1].data == {key: value for key, value in whole.items() if key != "segments"}


async def test_a_settled_response_is_told_from_the_tables(admin: Api, works: Works):
    name, response_id = await asked(admin, works)
    await run(works, name, response_id)

    async with opened(admin, f"/agents/{name}/responses/{response_id}/events") as stream:
        said = await stream.all()

    assert [event.name for event in said] == ["response", "response", "segment", "segment", "response"]


async def test_resuming_behind_any_event_has_neither_gap_nor_repeat(admin: Api, works: Works):
    name, response_id = await asked(admin, works)
    await run(works, name, response_id)
    path = f"/agents/{name}/responses/{response_id}/events"
    async with opened(admin, path) as stream:
        whole = await stream.all()

    for place, event in enumerate(whole):
        async with opened(admin, path, after=event.id) as stream:
            assert await stream.all() == whole[place + 1 :]


async def test_an_agents_stream_tells_states_and_every_response(admin: Api, works: Works):
    name, _ = await asked(admin, works)

    async with opened(admin, f"/agents/{name}/events") as stream:
        second = (await admin.ask("POST", f"/agents/{name}/responses", {"input": {"text": "two"}})).json()["id"]
        await works(name, StateChanged("busy"))
        await works(name, StateChanged("slept"))
        said = [await stream.next() for _ in range(3)]

    assert [(event.name, event.data.get("status") or event.data.get("state")) for event in said if event] == [
        ("response", "pending"),
        ("state", "busy"),
        ("state", "slept"),
    ]
    assert said[0] is not None
    assert said[0].data["id"] == second


async def test_an_agents_stream_resumes_behind_an_event_and_ends_with_the_agent(admin: Api, works: Works):
    name, response_id = await asked(admin, works)
    await run(works, name, response_id)

    async with opened(admin, f"/agents/{name}/events", after=0) as stream:
        told = asyncio.create_task(stream.all())
        await admin.ask("DELETE", f"/agents/{name}")
        said = await asyncio.wait_for(told, 60)

    assert said[0].id == 1
    assert [event.id for event in said] == list(range(1, len(said) + 1))
    assert said[-1].data == {"state": "slept"}


async def test_running_text_comes_without_an_id(admin: Api, works: Works, db: Database):
    name, response_id = await asked(admin, works)

    async with opened(admin, f"/agents/{name}/responses/{response_id}/events") as stream:
        assert (await stream.next()) is not None
        async with db.transaction() as conn:
            row = await agent_rows.find(conn, name)
            assert row is not None
            await notify_delta(conn, row.session_id, uuid.UUID(response_id), "final", "Hel\nlo ü")
        said = await stream.next()

    assert said == Said(None, "delta", {"response_id": response_id, "channel": "final", "text": "Hel\nlo ü"})


async def test_a_stream_says_at_once_that_it_lives(admin: Api, works: Works):
    name, _ = await asked(admin, works)

    async with opened(admin, f"/agents/{name}/events") as stream:
        first = await asyncio.wait_for(anext(stream.answer.aiter_lines()), 60)

    assert first == ": ping"


async def test_text_with_line_breaks_stays_one_line_of_data(admin: Api, works: Works):
    name, response_id = await asked(admin, works)
    odd = {"type": "note", "level": "info", "text": "a\r\nb\n\nevent: x\rdata: y\u2028z"}
    await works(name, SegmentAdded(uuid.UUID(response_id), odd))

    async with opened(admin, f"/agents/{name}/responses/{response_id}/events", after=0) as stream:
        await stream.next()
        said = await stream.next()

    assert said is not None
    assert said.data["segment"] == odd


@pytest.mark.parametrize("header", ["x", "-1", "1.5", "9" * 30, "1 2", "½"])
async def test_a_last_event_id_that_is_none_is_400(admin: Api, works: Works, header: str):
    name, response_id = await asked(admin, works)

    for path in (f"/agents/{name}/events", f"/agents/{name}/responses/{response_id}/events"):
        answer = await admin.http.get(path, headers={"last-event-id": header.encode("latin-1")})
        assert error_of(answer, 400, "BAD_REQUEST")["error"]["details"][0]["field"] == "Last-Event-ID"


async def test_what_is_not_there_is_404_before_the_stream_begins(admin: Api, works: Works):
    name, _ = await asked(admin, works)

    for path in (
        "/agents/nosuch/events",
        f"/agents/{name}/responses/{uuid.uuid4()}/events",
        f"/agents/{name}/responses/none/events",
    ):
        error_of(await admin.get(path), 404, "NOT_FOUND")


async def test_a_stream_whose_reader_is_gone_is_let_go(admin: Api, works: Works, db: Database):
    name, _ = await asked(admin, works)
    server = admin.served.server.server_state

    async with opened(admin, f"/agents/{name}/events") as stream:
        await anext(stream.answer.aiter_lines())
        during = len(server.tasks)
    await until(lambda: len(server.tasks) < during)

    async with db.reading() as conn:
        assert await conn.scalar(text("SELECT 1")) == 1


async def test_streams_hold_no_connection_to_the_database(admin: Api, works: Works):
    name, _ = await asked(admin, works)

    async with contextlib.AsyncExitStack() as stack:
        for _ in range(20):  # five times the pool
            stream = await stack.enter_async_context(opened(admin, f"/agents/{name}/events"))
            await anext(stream.answer.aiter_lines())
        assert (await admin.get(f"/agents/{name}")).status_code == 200

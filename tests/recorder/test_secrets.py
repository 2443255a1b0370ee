"""An agent's secrets in what it says to a model and is answered: nothing of them is recorded."""

import asyncio
import gzip
import json
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from sqlalchemy import text

from gate import Gate, gate
from raworc.domain.redaction import redacted
from raworc.ids import new_id
from raworc.recorder.loop import Placing, Recorder
from raworc.services import known_secrets
from raworc.services.known_secrets import KnownSecrets
from raworc.services.recording import Recording
from raworc.services.secrets import Secrets, of_space
from raworc.store import secrets as store
from raworc.store import space_secrets
from raworc.store.database import Database
from raworc.store.schema import agents
from rows import add_account, add_session, bind
from standin import answers, chunk, json_answer, standin, stream_head
from waiting import until

pytestmark = pytest.mark.anyio

VALUE = 'canary "unum"\ncanary-ä-€-two'
TRACES = ("canary", "unum", "-two")
SECRETS = Secrets(b"m" * 32)


@asynccontextmanager
async def recording(home: Path, db: Database) -> AsyncIterator[None]:
    """A recorder that runs, and has loaded everything when this ends."""
    stop = asyncio.Event()
    service = Recording(db, "node", KnownSecrets(db, SECRETS))
    running = asyncio.create_task(
        Recorder(service, Placing.over(db), spool_dir=home / "spool", run_dir=home / "run").run(stop)
    )
    try:
        yield
    finally:
        stop.set()
        await running


@pytest.fixture
async def agent(db: Database) -> tuple[uuid.UUID, uuid.UUID]:
    return await add_agent(db)


async def add_agent(db: Database) -> tuple[uuid.UUID, uuid.UUID]:
    """An agent and its session."""
    agent_id, name = new_id(), f"agent-{uuid.uuid4().hex[:8]}"
    async with db.transaction() as conn:
        owner, session_id = await add_account(conn, name), await add_session(conn)
        row = {"id": agent_id, "kind": "named", "name": name, "space": "default", "session_id": session_id}
        await conn.execute(agents.insert().values(**row, owner_id=owner, created_by=name))
    return agent_id, session_id


async def put(db: Database, agent_id: uuid.UUID, **values: str) -> None:
    async with db.transaction() as conn:
        await SECRETS.put(conn, agent_id, "default", values)


async def say(at: Gate, session_id: uuid.UUID, content: bytes, **headers: str) -> None:
    """One call of the session's turn, as an operator makes it."""
    known = {"authorization": f"Bearer {at.turn_token(session_id, uuid.uuid4())}", "content-type": "application/json"}
    transport = httpx2.AsyncHTTPTransport(uds=str(at.served.folder / "model.sock"))
    async with httpx2.AsyncClient(transport=transport, base_url="http://model") as http:
        answer = await http.post(f"/v1/messages?q={len(content)}", content=content, headers=known | headers)
        assert answer.status_code == 200, answer.text


def prompt(content: str) -> bytes:
    return json.dumps({"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": content}]}).encode()


async def kept(db: Database, *, calls: int) -> str:
    """All that is stored of the calls, once they are."""
    found: dict[str, list[Any]] = {}

    async def there() -> bool:
        async with db.reading() as conn:
            for table in ("requests", "request_bodies", "api_requests", "streaming_chunks"):
                found[table] = [dict(row) for row in (await conn.execute(text(f"SELECT * FROM {table}"))).mappings()]  # noqa: S608  written here
        return len(found["requests"]) >= calls

    await until(there)
    return str(found)


def sse(name: str, **event: Any) -> bytes:
    return f"event: {name}\ndata: {json.dumps({'type': name, **event}, ensure_ascii=False)}\n\n".encode()


def streamed(value: str) -> bytes:
    """A stream which says ``value`` in pieces of two characters, as text and as a tool's input."""
    usage = {"input_tokens": 1, "output_tokens": 1}
    blocks = [
        ({"type": "text", "text": ""}, "text_delta", "text", f"so {value}."),
        ({"type": "tool_use", "id": "t", "name": "x", "input": {}}, "input_json_delta", "partial_json", _json(value)),
    ]
    events = [
        sse("message_start", message={"id": "m", "role": "assistant", "content": [], "model": "m", "usage": usage})
    ]
    for index, (block, kind, field, said) in enumerate(blocks):
        events.append(sse("content_block_start", index=index, content_block=block))
        for at in range(0, len(said), 2):
            delta = {"type": kind, field: said[at : at + 2]}
            events.append(sse("content_block_delta", index=index, delta=delta))
        events.append(sse("content_block_stop", index=index))
    events.append(sse("message_delta", delta={"stop_reason": "tool_use"}, usage={"output_tokens": 9}))
    return b"".join([*events, sse("message_stop")])


def _json(value: str) -> str:
    return json.dumps({"command": value})


async def test_a_secret_in_prompt_and_streamed_answer_is_not_recorded(
    home: Path, db: Database, agent: tuple[uuid.UUID, uuid.UUID]
) -> None:
    agent_id, session_id = agent
    await put(db, agent_id, A=VALUE, SHORT="so")
    whole = streamed(VALUE)
    cut = [whole[at : at + 97] for at in range(0, len(whole), 97)]
    play = answers(stream_head(), *map(chunk, cut), chunk(b""))
    async with standin(play) as upstream, gate(home, base_url=upstream.url, api_key="k") as at, recording(home, db):
        await say(at, session_id, prompt(f"tell {VALUE}, please"))
        stored = await kept(db, calls=1)
    assert not [trace for trace in TRACES if trace in stored]
    assert "please" in stored
    async with db.reading() as conn:
        chunks = await conn.scalars(text("SELECT content FROM streaming_chunks ORDER BY chunk_index"))
        events = [json.loads(line[6:]) for line in "".join(chunks).splitlines() if line.startswith("data: ")]
        content = await conn.scalar(text("SELECT response_body -> 'content' FROM api_requests"))
    deltas = [event["delta"] for event in events if event["type"] == "content_block_delta"]
    assert set("".join(delta.get("text", "") for delta in deltas)) == set("so *.")
    assert set("".join(delta.get("partial_json", "") for delta in deltas)) == set('{"command": "*"}')
    assert set(content[0]["text"]) == set("so *.")
    assert set(content[1]["input"]["command"]) == {"*"}


async def test_values_that_were_changed_or_taken_away_are_struck_out_still(
    home: Path, db: Database, agent: tuple[uuid.UUID, uuid.UUID]
) -> None:
    agent_id, session_id = agent
    await put(db, agent_id, A="the-first-canary", B="the-other-canary")
    async with gate(home) as at, recording(home, db):
        await say(at, session_id, prompt("begin"))
        await kept(db, calls=1)
        await put(db, agent_id, A="the-second-canary")
        await say(at, session_id, prompt("the-first-canary and the-second-canary"))
        await kept(db, calls=2)
        async with db.transaction() as conn:
            assert await store.remove(conn, agent_id, "A")
            assert await store.remove(conn, agent_id, "B")
        await say(at, session_id, prompt("the-first-canary, the-second-canary, the-other-canary: all gone"))
        stored = await kept(db, calls=3)
    assert "canary" not in stored
    assert "all gone" in stored


async def test_one_agents_secret_is_anothers_ordinary_word(
    home: Path, db: Database, agent: tuple[uuid.UUID, uuid.UUID]
) -> None:
    await put(db, agent[0], A="correct horse")
    async with db.transaction() as conn:
        stranger = await add_session(conn)
    async with gate(home) as at, recording(home, db):
        await say(at, stranger, prompt("correct horse"))
        assert "correct horse" in await kept(db, calls=1)


async def test_a_spaces_secret_is_struck_out_where_its_sandboxes_have_it_and_nowhere_else(
    home: Path, db: Database, agent: tuple[uuid.UUID, uuid.UUID]
) -> None:
    """A session of the space has it, as long as the agent of somebody who may not see it does not."""
    async with db.transaction() as conn:
        (sealed,) = await SECRETS.sealed(conn, "default", of_space("default"), {"A": "a-word-of-the-space"})
        row = {"space": "default", "key": "A", "created_by": "x", "description": None}
        await space_secrets.insert(conn, row | space_secrets.sealed_columns(sealed))
        session_id = await add_session(conn)
    async with gate(home) as at, recording(home, db):
        await say(at, session_id, prompt("one a-word-of-the-space"))
        assert "a-word-of-the-space" not in await kept(db, calls=1)
        await say(at, agent[1], prompt("two a-word-of-the-space"))
        assert "two a-word-of-the-space" in await kept(db, calls=2)
        async with db.transaction() as conn:
            developer = await conn.scalar(text("SELECT id FROM roles WHERE name = 'developer'"))
            owner = await conn.scalar(text("SELECT owner_id FROM agents WHERE id = :id"), {"id": agent[0]})
            await bind(conn, developer, owner, "default")
        await say(at, agent[1], prompt("three a-word-of-the-space"))
        stored = await kept(db, calls=3)
    assert "three *" in stored
    assert "three a-word" not in stored


async def test_a_secret_in_a_body_that_came_compressed_is_not_recorded(
    home: Path, db: Database, agent: tuple[uuid.UUID, uuid.UUID]
) -> None:
    agent_id, session_id = agent
    await put(db, agent_id, A=VALUE)
    answer = json_answer(json.dumps({"type": "message", "content": VALUE}).encode())
    async with (
        standin(answers(answer)) as upstream,
        gate(home, base_url=upstream.url, api_key="k") as at,
        recording(home, db),
    ):
        await say(at, session_id, gzip.compress(prompt(VALUE + " zipped")), **{"content-encoding": "gzip"})
        stored = await kept(db, calls=1)
    assert "zipped" in stored
    assert not [trace for trace in TRACES if trace in stored]


async def test_more_agents_at_once_than_are_remembered(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_secrets, "_MOST_SESSIONS", 1)
    made = [await add_agent(db) for _ in range(3)]
    for agent_id, _ in made:
        await put(db, agent_id, A=f"value of {agent_id}")
    service = KnownSecrets(db, SECRETS)
    for _ in range(2):
        known = await service.of([session_id for _, session_id in made])
        for agent_id, session_id in made:
            assert redacted(f"value of {agent_id}".encode(), known[session_id]) == b"*" * 45


async def test_secrets_that_cannot_be_opened_hold_nothing_up(
    home: Path, db: Database, agent: tuple[uuid.UUID, uuid.UUID]
) -> None:
    async with db.transaction() as conn:
        await Secrets(b"x" * 32).put(conn, agent[0], "default", {"A": "sealed by another key"})
    async with gate(home) as at, recording(home, db):
        await say(at, agent[1], prompt("still recorded"))
        assert "still recorded" in await kept(db, calls=1)

"""Conversations in the database: whatever the order in which calls are loaded, and whatever the batches."""

import asyncio
import random
import subprocess
import sys
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from raworc.domain.conversations import Known, SessionKey, place
from raworc.domain.digests import fingerprint, system_digest
from raworc.recorder.relink import relink
from raworc.recorder.rows import RecordedCall, build_row
from raworc.services.linking import Linking
from raworc.services.recording import Recording
from raworc.settings import Settings
from raworc.store import link_statements, links
from raworc.store.database import Database
from raworc.store.recordings import RequestRow, SpoolPosition
from raworc.wire.frames import AnswerHead, CallEnd, CallStart
from talk import Said, World, as_chat, as_items, assistant, blocks

pytestmark = pytest.mark.anyio

BEGIN = datetime(2026, 11, 25, 12, 0, 0, tzinfo=UTC)
NOWHERE = SpoolPosition(uuid.UUID(int=7), 1, 0)


def recorded(said: Said, at: datetime, path: str = "/v1/messages") -> RequestRow:
    """The row that the recorder makes of a call."""
    request, answer = _BODIES[path](said)
    named = b"x-claude-code-session-id" if path == "/v1/messages" else b"session-id"
    key = [(named, said.key.session.encode())] if said.key else []
    path = path.partition("#")[0]
    start = CallStart(uuid.uuid4(), "POST", path, "login", "t", space="default", headers=key)
    head = AnswerHead(200, [(b"content-type", b"application/json")])
    at_us = int(at.timestamp() * 1_000_000)
    call = RecordedCall(at_us, start, msgspec.json.encode(request), head, [(at_us, msgspec.json.encode(answer))])
    call.end = CallEnd(1000)
    return build_row(call)


def _messages(said: Said) -> tuple[dict, dict]:
    answer = {"type": "message", "content": blocks(said.answer), "usage": {"input_tokens": 3, "output_tokens": 4}}
    request = {"model": "m", "system": "Be brief", "messages": said.messages, "tools": [{"name": "bash"}]}
    return request, answer


def _chat(said: Said) -> tuple[dict, dict]:
    answer = {"choices": [{"message": as_chat(assistant(said.answer))}]}
    return {"model": "m", "messages": [as_chat(one) for one in said.messages], "tools": [{}]}, answer


def _responses(said: Said) -> tuple[dict, dict]:
    given = [item for one in said.messages for item in as_items(one)]
    return {"model": "m", "input": given, "tools": [{}]}, {"output": as_items(assistant(said.answer))}


def _named(said: Said) -> tuple[dict, dict]:
    """A response that names the one before it."""
    before = {"previous_response_id": f"resp_{id(said.parent)}"} if said.parent else {}
    answer = {"id": f"resp_{id(said)}", "output": as_items(assistant(said.answer))}
    return {"model": "m", "input": as_items(said.messages[-1]), "tools": [{}], **before}, answer


def _held(said: Said) -> tuple[dict, dict]:
    """A response of a conversation that the provider keeps."""
    first = said
    while first.parent is not None:
        first = first.parent
    body = {"model": "m", "input": as_items(said.messages[-1]), "tools": [{}], "conversation": f"conv_{id(first)}"}
    return body, {"output": as_items(assistant(said.answer))}


_BODIES = {
    "/v1/messages": _messages,
    "/v1/chat/completions": _chat,
    "/v1/responses": _responses,
    "/v1/responses#named": _named,
    "/v1/responses#held": _held,
}


async def stored(db: Database) -> list[tuple]:
    async with db.reading() as conn:
        found = await conn.execute(
            text("""SELECT l.id, conversation_id, branch_id, source, parent_id, parent_digest, retry_of, is_subtask,
            parent_task_id, task_use FROM links l ORDER BY created_at, id""")
        )
        return [tuple(row) for row in found]


async def sums(db: Database) -> list[list[tuple]]:
    tables = (
        "SELECT * FROM conversations ORDER BY id",
        "SELECT * FROM conversation_branches ORDER BY conversation_id, branch_id",
        "SELECT * FROM link_tasks ORDER BY request_id, number",
    )
    async with db.reading() as conn:
        return [[tuple(row) for row in await conn.execute(text(one))] for one in tables]


async def expected(db: Database) -> list[tuple]:
    """The same, found by placing all of them in memory, one after the other."""
    async with db.transaction() as conn:
        await links.clear(conn)
        unplaced = "SELECT count(*) FROM api_requests WHERE link_source IS NOT NULL OR branch_id <> 'main'"
        assert await conn.scalar(text(unplaced)) == 0
        rows = await links.unplaced(conn, 100_000)
        await conn.rollback()
    known, found = Known(), []
    for row in rows:
        link = place(row, known)
        assert link is not None
        found.append((row.id, *vars(link).values()))
    return found


@pytest.mark.parametrize(("seed", "path"), list(enumerate([*_BODIES, "/v1/messages", "/v1/responses#named"])))
async def test_neither_the_order_of_loading_nor_the_batches_decide(db: Database, seed: int, path: str) -> None:
    dice = random.Random(seed)  # noqa: S311  a seed makes the run repeatable
    world = World(dice, losses="#" not in path)
    for _ in range(60):
        world.step()
    rows = [recorded(said, BEGIN + timedelta(seconds=n), path) for n, said in enumerate(world.sent) if said.recorded]
    late = rows[:]
    for _ in range(8):  # some come late, as long streams do, or from another node
        late.insert(dice.randrange(len(late)), late.pop(dice.randrange(len(late))))
    recording, linking = Recording(db, "node"), Linking(db, batch=dice.choice([1, 3, 50]))
    while late:
        size = dice.randint(1, 9)
        await recording.load(late[:size], NOWHERE)
        late = late[size:]
        while await linking.link():
            pass
    found, summed = await stored(db), await sums(db)
    assert found == await expected(db)
    assert len(found) == len(rows)

    await relink(db, batch=dice.choice([1, 7, 200]))
    assert await stored(db) == found
    assert await sums(db) == summed


async def test_digests_are_made_again_from_what_was_said(db: Database) -> None:
    world = World(random.Random(1))  # noqa: S311  a seed makes the run repeatable
    for _ in range(30):
        world.step()
    rows = [recorded(said, BEGIN + timedelta(seconds=n)) for n, said in enumerate(world.sent) if said.recorded]
    await Recording(db, "node").load(rows, NOWHERE)
    while await Linking(db).link():
        pass
    before = await stored(db)
    async with db.transaction() as conn:
        await conn.execute(text("UPDATE links SET whole = '\\x00', first = '\\x00', answered = NULL, tasks = NULL"))
    assert await relink(db) == len(rows)
    assert await stored(db) == before


async def test_a_call_that_comes_late_moves_those_that_came_before_it(db: Database) -> None:
    def turn(*words: str) -> Said:
        said = [{"role": "user" if n % 2 == 0 else "assistant", "content": word} for n, word in enumerate(words)]
        return Said(said[:-1], words[-1], 1, None, None)

    opening, second, fork = turn("a", "b"), turn("a", "b", "c", "d"), turn("a", "b", "x", "y")
    late, early, last = (
        recorded(said, BEGIN + timedelta(seconds=n)) for n, said in enumerate((opening, second, fork), start=1)
    )
    recording, linking = Recording(db, "node"), Linking(db)
    for row in (last, early, late):
        await recording.load([row], NOWHERE)
        assert await linking.link() >= 1
    (_, one, *_), (_, two, branch, *_), (_, three, other, *_) = await stored(db)
    assert one == two == three
    assert (branch, other) == ("main", "branch_20261125120003")
    ((_, _, _, _, first_at, last_at, latest, count, tokens, *_),), branches, _ = await sums(db)
    assert (first_at, last_at, latest) == (late.created_at, last.created_at, last.id)
    assert (count, tokens, len(branches)) == (3, 21, 2)


async def test_the_view_tells_where_a_call_stands(db: Database) -> None:
    turns = [{"role": role, "content": role} for role in ("user", "assistant", "user", "assistant")]
    first, second = (
        recorded(Said(turns[:end], turns[end]["content"], 1, None, SessionKey("s-1")), BEGIN + timedelta(seconds=end))
        for end in (1, 3)
    )
    await Recording(db, "node").load([first, second], NOWHERE)
    await Linking(db).link()
    columns = "current_message_hash, parent_message_hash, parent_request_id, link_source, session_key, system_hash"
    async with db.reading() as conn:
        rows = (await conn.execute(text(f"SELECT {columns} FROM api_requests ORDER BY created_at"))).all()  # noqa: S608  ours
    opening, shared, whole = ((fingerprint(turns[:end], []).whole or b"").hex() for end in (1, 2, 3))
    system = (system_digest("Be brief") or b"").hex()
    assert [tuple(row) for row in rows] == [
        (opening, None, None, "header", "s-1", system),
        (whole, shared, first.id, "header", "s-1", system),
    ]


async def test_calls_without_messages_and_those_of_other_paths_have_no_place(db: Database) -> None:
    said = recorded(Said([], "x", 1, None, None), BEGIN)
    assert said.link is None
    counted = recorded(Said([{"role": "user", "content": "x"}], "x", 1, None, None), BEGIN)
    assert counted.link is not None
    await Recording(db, "node").load([replace(said, id=uuid.uuid4()), counted], NOWHERE)
    assert await Linking(db).link() == 1
    async with db.reading() as conn:
        rows = (await conn.execute(text("SELECT conversation_id, link_source FROM api_requests"))).all()
    assert sorted(row.link_source or "" for row in rows) == ["", "none"]


async def test_the_command_relinks_a_home_whose_server_runs(settings: Settings, db: Database) -> None:
    said = Said([{"role": "user", "content": "x"}], "y", 1, None, None)
    await Recording(db, "node").load([recorded(said, BEGIN)], NOWHERE)
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "raworc", "relink", "--home", settings.home, "--database-url", settings.database_url],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "1 calls have their place in a conversation.\n"
    assert [row[3] for row in await stored(db)] == ["none"]


async def test_while_another_process_places_calls_nothing_is_done(db: Database) -> None:
    await Recording(db, "node").load(
        [recorded(Said([{"role": "user", "content": "x"}], "y", 1, None, None), BEGIN)], NOWHERE
    )
    async with db.transaction() as conn:
        assert await links.lock(conn)
        assert await Linking(db).link() == 0
    assert await Linking(db).link() == 1


async def test_of_a_long_conversation_only_the_last_messages_are_looked_for(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_for: list[int] = []
    plain = links.repeated

    async def heard(conn: AsyncConnection, statement: str, parameters: object) -> list[dict]:
        if statement == link_statements.SHARING:
            looked_for.append(len(parameters["digest"]))
        return await plain(conn, statement, parameters)

    words = [f"word {number}" for number in range(101)]
    said = [{"role": "user" if n % 2 == 0 else "assistant", "content": word} for n, word in enumerate(words)]
    calls = [Said(said[: 2 * n + 1], words[2 * n + 1], 1, None, None) for n in range(50)]
    recording, linking = Recording(db, "node"), Linking(db)
    for number, call in enumerate(calls):
        await recording.load([recorded(call, BEGIN + timedelta(seconds=number))], NOWHERE)
        if number == len(calls) - 1:
            monkeypatch.setattr(links, "repeated", heard)
        assert await linking.link() == 1
    assert 1 <= sum(looked_for) <= 10
    assert len({row[1] for row in await stored(db)}) == 1

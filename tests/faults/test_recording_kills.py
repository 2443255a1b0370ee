"""Servers and recorders killed amid recorded calls: what a client saw is in the record, nothing twice."""

import asyncio
import contextlib
import json
import random
import sys
from collections import Counter
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import httpx2
import pytest
from sqlalchemy import text

from faults import mortalrecorder
from faults.counts import Counts
from gate import gate
from gateprocess import gate_process
from raworc.gateway.spool import SpoolLimits
from raworc.recorder.loop import Placing, Recorder
from raworc.services.recording import Recording
from raworc.store.database import Database
from raworc.wire.client import Client, Target, UpstreamError
from standin import chunk, json_answer, standin, stream_head
from waiting import until

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(600)]

_SEED = 20_261_129
_CLIENTS = 32
_EVENTS = 12
_CALLS = 30
BODY = {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "x"}]}
LAST = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'


@dataclass
class Load:
    """What clients saw, by the id of the call: the bytes, and whether the answer ended."""

    seen: dict[str, bytes] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)
    pieces: int = 0

    async def work(self, server: dict[str, str]) -> None:
        """One call after the other, until the server is gone."""
        client = Client(Target.parse(server["url"]))
        headers = [(b"x-api-key", server["token"].encode())]
        with contextlib.suppress(UpstreamError):
            while True:
                response = await client.open("POST", "/v1/messages", headers, json.dumps(BODY).encode())
                call = dict(response.headers)[b"x-raworc-request-id"].decode()
                self.seen[call] = b""
                async for piece in response.chunks():
                    self.seen[call] += piece
                    self.pieces += 1
                self.ended.add(call)
                await response.close()


def provider() -> Any:
    """Answers alternately with a whole body and with a stream, each unlike every other."""
    numbers = count(1)

    async def play(writer: asyncio.StreamWriter) -> None:
        number = next(numbers)
        if number % 2:
            writer.write(json_answer(b'{"id":"%d","type":"message"}' % number))
        else:
            writer.write(stream_head())
            for piece in range(_EVENTS):
                writer.write(chunk(b'event: ping\ndata: {"type":"ping","n":"%d of %d"}\n\n' % (piece, number)))
                await writer.drain()
                await asyncio.sleep(0.001)
            writer.write(chunk(LAST) + chunk(b""))
        await writer.drain()

    return play


async def stored(db: Database) -> dict[str, Any]:
    """Rows by id, with the bytes of the answer."""
    async with db.reading() as conn:
        statement = text(
            "SELECT r.id, r.error_type, r.bodies, coalesce(b.stream, b.response_body, '') AS answer"
            " FROM requests r JOIN request_bodies b ON b.id = r.id"
        )
        return {str(row.id): row for row in await conn.execute(statement)}


async def test_every_byte_that_a_client_saw_is_in_the_record(home: Path, db: Database, counts: Counts) -> None:
    dice = random.Random(_SEED)  # noqa: S311  a seed makes the run repeatable
    load = Load()
    async with standin(provider()) as upstream:
        for _ in range(counts.server_kills):
            async with gate_process(home, upstream.url) as (process, server):
                clients = [asyncio.create_task(load.work(server)) for _ in range(_CLIENTS)]
                goal = load.pieces + dice.randrange(200, 1500)
                await until(lambda goal=goal: load.pieces >= goal, limit_s=60)
                assert not any(task.done() for task in clients)
                process.kill()
                await asyncio.gather(*clients)
            for left in (home / "run").glob("*.sock"):
                left.unlink()
        reached = len(upstream.seen)
    recorder = Recorder(Recording(db, "node"), Placing.over(db), spool_dir=home / "spool", run_dir=home / "run")
    assert await recorder.load_all() >= reached  # what the provider saw was on file before
    assert await recorder.load_all() == 0
    assert list((home / "spool").iterdir()) == []

    rows = await stored(db)
    assert load.seen.keys() <= rows.keys()
    assert [call for call, seen in load.seen.items() if not rows[call].answer.startswith(seen)] == []
    assert {rows[call].answer == load.seen[call] for call in load.ended} == {True}
    assert {rows[call].error_type for call in load.ended} == {None}
    assert Counter(row.error_type for row in rows.values()).keys() <= {None, "server_stopped"}
    assert any(row.error_type == "server_stopped" for row in rows.values()), "no call was cut, so nothing was tried"


async def test_a_recorder_killed_before_any_act_stores_every_call_once(
    home: Path, db: Database, database_url: str, counts: Counts
) -> None:
    async with gate(home, limits=SpoolLimits(rotate_bytes=6000, free_bytes=0)) as at, httpx2.AsyncClient() as http:
        headers, ids = {"x-api-key": at.login()}, set[str]()
        for number in range(_CALLS):
            said = [{"role": "user", "content": f"call {number // 3}"}]
            body = {**BODY, "model": "scripted", "stream": number % 3 == 1, "messages": said}
            answer = await http.post(f"{at.url}/v1/messages", json=body, headers=headers)
            ids.add(answer.headers["x-raworc-request-id"])
    assert len(list((home / "spool").iterdir())) > 3

    lives = await asyncio.create_subprocess_exec(
        sys.executable,
        mortalrecorder.__file__,
        *(str(home), database_url, str(counts.recorder_steps)),
        stdout=asyncio.subprocess.PIPE,
    )
    said, _ = await lives.communicate()
    assert lives.returncode == 0
    assert int(said) > 10, "hardly any recorder died"

    assert list((home / "spool").iterdir()) == []
    async with db.reading() as conn:
        found = [str(row.id) for row in await conn.execute(text("SELECT id FROM requests"))]
        bodies = await conn.scalar(text("SELECT count(*) FROM request_bodies"))
        summed = await conn.scalar(text("SELECT sum(requests) FROM request_hours"))
        placed = await conn.scalar(text("SELECT sum(requests) FROM conversations"))
        left = await conn.scalar(text("SELECT count(*) FROM spool_positions"))
    assert sorted(found) == sorted(ids)
    assert (bodies, summed, placed, left) == (_CALLS, _CALLS, _CALLS, 0)

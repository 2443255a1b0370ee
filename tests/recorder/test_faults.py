"""A server killed, Postgres away, rows that nobody can store, a recorder that starts again."""

import asyncio
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx2
import psycopg
import pytest
from sqlalchemy import text

from gate import Gate, gate
from gateprocess import gate_process
from raworc.errors import DatabaseUnavailable, Unavailable
from raworc.gateway.spool import SpoolLimits
from raworc.recorder import loop
from raworc.recorder.loop import Keeping, Placing, Recorder
from raworc.services.recording import Recording
from raworc.services.retention import Retention
from raworc.store.database import Database
from raworc.store.recordings import RequestRow, SpoolPosition
from raworc.wire.client import Client, Target
from standin import answers, chunk, standin, stream_head
from waiting import until

pytestmark = pytest.mark.anyio

BODY = {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "x"}]}
NOW = datetime.now(UTC)
SPOOL = SpoolPosition(uuid.uuid4(), 1, 10)


def recorder(home: Path, db: Database) -> Recorder:
    return Recorder(Recording(db, "node"), Placing.over(db), spool_dir=home / "spool", run_dir=home / "run")


async def rows(db: Database, columns: str = "*", order: str = "created_at") -> list[dict]:
    async with db.reading() as conn:
        statement = text(f"SELECT {columns} FROM api_requests ORDER BY {order}")  # noqa: S608  written above
        return [dict(row) for row in (await conn.execute(statement)).mappings()]


WHOLE = b'event: message_start\ndata: {"type":"message_start","message":{"id":"m","usage":{"input_tokens":3}}}\n\n'
LAST = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'


@pytest.mark.parametrize(
    ("pieces", "error_type"), [([WHOLE], "server_stopped"), ([WHOLE, LAST], None), ([], "server_stopped")]
)
async def test_a_killed_server_leaves_a_row_with_all_that_a_client_saw(
    home: Path, db: Database, pieces: list[bytes], error_type: str | None
) -> None:
    play = answers(stream_head() + b"".join(map(chunk, pieces)), b"", delay_s=60)
    async with standin(play) as upstream, gate_process(home, upstream.url) as (process, server):
        client = Client(Target.parse(server["url"]))
        response = await client.open("POST", "/v1/messages", [(b"x-api-key", server["token"].encode())], b"{}")
        chunks, seen = response.chunks(), b""
        while len(seen) < len(b"".join(pieces)):
            seen += await anext(chunks)
        live = recorder(home, db)
        assert await live.load_all() == 0
        process.kill()
        process.wait()
        await response.close()
        assert await live.load_all() == 1
    (row,) = await rows(db)
    assert (row["status_code"], row["error_type"]) == (200, error_type)
    async with db.reading() as conn:
        stored = (await conn.execute(text("SELECT stream FROM request_bodies"))).scalar_one()
    assert (stored or b"") == b"".join(pieces)
    assert list((home / "spool").iterdir()) == []
    assert await live.load_all() == 0
    async with db.reading() as conn:
        assert (await conn.execute(text("SELECT count(*) FROM spool_positions"))).scalar_one() == 0
    live.close()


async def test_a_call_killed_before_its_answer(home: Path, db: Database) -> None:
    async with standin(answers(b"", delay_s=60)) as upstream, gate_process(home, upstream.url) as (process, server):
        async with httpx2.AsyncClient() as http:
            calling = asyncio.create_task(
                http.post(f"{server['url']}/v1/messages", json=BODY, headers={"x-api-key": server["token"]})
            )
            await until(lambda: len(upstream.seen) == 1)
            process.kill()
            with pytest.raises(httpx2.TransportError):
                await calling
        process.wait()
    dead = recorder(home, db)
    assert await dead.load_all() == 1
    dead.close()
    (row,) = await rows(db)
    assert (row["status_code"], row["error_type"], row["request_body"]) == (None, "server_stopped", BODY)


async def cut_connections(database_url: str, stop: asyncio.Event) -> None:
    """End every connection to the database again and again."""
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as conn:
        while not stop.is_set():
            await conn.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            await asyncio.sleep(0.02)


async def test_postgres_away_fails_no_call_and_loses_no_row(home: Path, db: Database, database_url: str) -> None:
    """Connections are cut again and again while calls are made; every answered call has one row in the end."""
    stop = asyncio.Event()
    ids: list[str] = []

    async def calling(at: Gate) -> None:
        async with httpx2.AsyncClient(headers={"x-api-key": at.login()}) as http:
            for number in range(40):
                answer = await http.post(f"{at.url}/v1/messages", json={**BODY, "stream": number % 2 == 0})
                assert answer.status_code == 200
                ids.append(answer.headers["x-raworc-request-id"])

    running = recorder(home, db)
    async with gate(home) as at:
        done = asyncio.Event()
        tasks = [asyncio.create_task(cut_connections(database_url, stop)), asyncio.create_task(running.run(done))]
        await asyncio.gather(*(calling(at) for _ in range(4)))
        stop.set()
        await tasks[0]

        async def all_there() -> bool:
            try:
                return len(await rows(db, "id")) == len(ids)
            except DatabaseUnavailable:
                return False

        await until(all_there)
        done.set()
        await tasks[1]
    assert sorted(str(row["id"]) for row in await rows(db, "id")) == sorted(ids)
    assert {row["error_type"] for row in await rows(db)} == {None}


async def test_nothing_is_read_on_while_the_database_is_away(home: Path, db: Database) -> None:
    class Away(Recording):
        async def load(self, *_: object) -> int:
            raise DatabaseUnavailable("away")

    waiting = Recorder(Away(db, "node"), Placing.over(db), spool_dir=home / "spool", run_dir=home / "run")
    async with gate(home) as at, httpx2.AsyncClient() as http:
        headers = {"x-api-key": at.login()}
        await http.post(f"{at.url}/v1/messages", json=BODY, headers=headers)
        with pytest.raises(Unavailable):
            await waiting.load_all()
        (spool,) = waiting._spools.values()
        kept = spool.pending
        for _ in range(5):
            await http.post(f"{at.url}/v1/messages", json=BODY, headers=headers)
            with pytest.raises(Unavailable):
                await waiting.load_all()
            assert spool.pending is kept
    waiting.close()


async def test_a_stop_does_not_wait_for_a_recorder_that_has_much_to_load(
    home: Path, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Slow(Recording):
        async def load(self, *_: object) -> int:
            await asyncio.Event().wait()
            return 0

    monkeypatch.setattr(loop, "_LAST_S", 0.05)
    async with gate(home) as at, httpx2.AsyncClient() as http:
        await http.post(f"{at.url}/v1/messages", json=BODY, headers={"x-api-key": at.login()})
    stop = asyncio.Event()
    stop.set()
    async with asyncio.timeout(60):
        await Recorder(Slow(db, "node"), Placing.over(db), spool_dir=home / "spool", run_dir=home / "run").run(stop)
    again = recorder(home, db)
    assert await again.load_all() == 1
    again.close()


async def test_a_recorder_starts_where_the_last_one_stopped(home: Path, db: Database) -> None:
    async with gate(home) as at, httpx2.AsyncClient() as http:
        headers = {"x-api-key": at.login()}
        for number in range(1, 4):
            await http.post(f"{at.url}/v1/messages", json=BODY, headers=headers)
            one = recorder(home, db)
            assert await one.load_all() == 1
            one.close()
            assert len(await rows(db, "id")) == number
        async with db.transaction() as conn:
            await conn.execute(text("DELETE FROM spool_positions"))
        again = recorder(home, db)
        assert await again.load_all() == 0  # known already
        again.close()
    async with db.reading() as conn:
        assert (await conn.execute(text("SELECT sum(requests) FROM request_hours"))).scalar_one() == 3


async def test_files_go_when_they_are_loaded(home: Path, db: Database) -> None:
    async with gate(home) as at, httpx2.AsyncClient() as http:
        at.spool._limits = replace(at.spool._limits, rotate_bytes=2000)
        for _ in range(10):
            await http.post(f"{at.url}/v1/messages", json=BODY, headers={"x-api-key": at.login()})
        assert len(list((home / "spool").iterdir())) > 3
        one = recorder(home, db)
        assert await one.load_all() == 10
        assert len(list((home / "spool").iterdir())) == 1
        one.close()


async def test_what_was_said_does_not_lie_in_the_spool_of_a_server_that_idles(home: Path, db: Database) -> None:
    """As long as a call goes on, its file stays."""
    last, stop, spool = asyncio.Event(), asyncio.Event(), home / "spool"

    async def slow(stream: asyncio.StreamWriter) -> None:
        stream.write(stream_head() + chunk(WHOLE))
        await last.wait()
        stream.write(chunk(LAST) + chunk(b""))

    def said() -> bool:
        return any(b"canary" in path.read_bytes() for path in spool.iterdir())

    running = asyncio.create_task(recorder(home, db).run(stop))
    limits = SpoolLimits(rotate_s=0.1, free_bytes=0)
    async with standin(slow) as upstream, gate(home, base_url=upstream.url, api_key="k", limits=limits) as at:
        async with httpx2.AsyncClient() as http:
            body = {**BODY, "system": "canary"}
            call = asyncio.create_task(http.post(f"{at.url}/v1/messages", json=body, headers={"x-api-key": at.login()}))
            await until(lambda: len(list(spool.iterdir())) == 2)
            assert said()
            last.set()
            assert (await call).status_code == 200
            await until(lambda: not said())
        await until(lambda: len(list(spool.iterdir())) == 1)
        assert [row["request_body"]["system"] for row in await rows(db, "request_body")] == ["canary"]
    stop.set()
    await running


async def test_a_recorder_removes_what_the_last_one_did_not_come_to(home: Path, db: Database) -> None:
    async with gate(home) as at, httpx2.AsyncClient() as http:
        await http.post(f"{at.url}/v1/messages", json=BODY, headers={"x-api-key": at.login()})
        at.spool._next_file()
        first = min((home / "spool").iterdir())
        content = first.read_bytes()
        one = recorder(home, db)
        assert await one.load_all() == 1
        one.close()
        first.write_bytes(content)  # as if it had died after it had stored how far it was
        again = recorder(home, db)
        assert await again.load_all() == 0
        assert not first.exists()
        again.close()


def row(**columns: object) -> RequestRow:
    values = {"id": uuid.uuid4(), "created_at": NOW, "caller": "login", "train_id": "t", "method": "POST", "path": "/"}
    return RequestRow(**{**values, **columns})


async def test_a_row_that_cannot_be_stored_costs_only_its_bodies(db: Database) -> None:
    bad = [
        row(model="nul\x00", request_body=b"kept?"),
        row(path=None),
        row(usage={"deep": "\ud800"}, request_body=b"kept?"),
        row(request_headers={"a": "\x00"}, request_body=b"kept?"),
    ]
    good = [row(request_body=b"good") for _ in range(20)]
    mixed = [*good[:7], bad[0], *good[7:12], *bad[1:], *good[12:]]
    recording = Recording(db, "node")
    assert await recording.load(mixed, SPOOL) == 23
    stored = {found["id"]: found for found in await rows(db)}
    assert {found.id for found in good} <= stored.keys()
    assert all(stored[found.id]["bodies"] == "kept" for found in good)
    for found in (bad[0], bad[2], bad[3]):
        assert (stored[found.id]["bodies"], stored[found.id]["request_body"]) == ("unstorable", None)
    assert bad[1].id not in stored  # nothing of it could be stored; it is logged
    assert (await recording.positions([SPOOL.worker_id]))[SPOOL.worker_id] == SPOOL
    assert await recording.load(mixed, SPOOL) == 0


async def test_what_is_left_of_an_incomplete_record_is_stored(db: Database) -> None:
    assert await Recording(db, "node").load([row(bodies="incomplete", request_body=b'"left"')], SPOOL) == 1
    assert [(found["bodies"], found["request_body"]) for found in await rows(db)] == [("incomplete", "left")]


async def offers_lz4(db: Database) -> bool:
    offered = "SELECT 'lz4' = ANY(enumvals) FROM pg_settings WHERE name = 'default_toast_compression'"
    async with db.reading() as conn:
        return bool(await conn.scalar(text(offered)))


async def compressions(db: Database) -> set[str]:
    """How the bodies of all days are compressed."""
    bodies = """SELECT attcompression::text FROM pg_attribute JOIN pg_inherits ON inhrelid = attrelid
        WHERE inhparent = 'request_bodies'::regclass AND attname IN ('request_body', 'response_body', 'stream')"""
    async with db.reading() as conn:
        return set(await conn.scalars(text(bodies)))


async def test_a_recorder_that_runs_drops_days_that_are_kept_no_longer(home: Path, db: Database) -> None:
    await Recording(db, "node").load([row(created_at=NOW - timedelta(days=9)), row()], SPOOL)
    stop, keeping = asyncio.Event(), Keeping(Retention(db), 3)
    parts = {"spool_dir": home / "spool", "run_dir": home / "run", "keeping": keeping}
    running = asyncio.create_task(Recorder(Recording(db, "node"), Placing.over(db), **parts).run(stop))

    async def is_gone() -> bool:
        return len(await rows(db, "id")) == 1

    await until(is_gone)
    stop.set()
    await running
    async with db.reading() as conn:
        assert await conn.scalar(text("SELECT sum(requests) FROM request_dates")) == 2  # what was counted stays


async def test_days_are_made_when_they_are_needed(db: Database) -> None:
    days = [NOW - timedelta(days=back) for back in (0, 1, 400)]
    many = [Recording(db, "node") for _ in range(3)]
    await asyncio.gather(*(one.load([row(created_at=day) for day in days], SPOOL) for one in many))
    assert len(await rows(db, "id")) == 9
    assert await compressions(db) == {"l"} if await offers_lz4(db) else {""}
    async with db.transaction() as conn:
        await conn.execute(text(f"DROP TABLE request_days.requests_{NOW:%Y%m%d}"))
        await conn.execute(text(f"DROP TABLE request_days.request_bodies_{NOW:%Y%m%d}"))
    assert await many[0].load([row()], SPOOL) == 1  # dropped behind its back


async def test_the_same_row_counts_once(db: Database) -> None:
    one = row(input_tokens=5)
    recording = Recording(db, "node")
    assert await recording.load([one, one], SPOOL) == 1
    assert await recording.load([one, row(input_tokens=7)], SPOOL) == 1
    async with db.reading() as conn:
        sums = (await conn.execute(text("SELECT sum(requests), sum(input_tokens) FROM request_hours"))).one()
    assert tuple(map(int, sums)) == (2, 12)

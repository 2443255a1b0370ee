"""From a call through the gateway to rows that any SQL client can read."""

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path

import anthropic
import httpx2
import pytest
from sqlalchemy import text

from gate import Gate, gate
from raworc.domain.prices import PRICE_VERSION
from raworc.recorder import loop
from raworc.recorder.loop import Placing, Recorder
from raworc.recorder.rows import RecordedCall, build_row
from raworc.services.recording import Recording
from raworc.store.database import Database
from raworc.store.recordings import SpoolPosition
from raworc.wire.frames import AnswerHead, CallEnd, CallStart
from standin import answers, chunk, json_answer, standin, stream_head
from waiting import until

pytestmark = pytest.mark.anyio

Row = dict


@asynccontextmanager
async def recording(home: Path, db: Database) -> AsyncIterator[Recorder]:
    """A recorder that runs."""
    stop = asyncio.Event()
    recorder = Recorder(Recording(db, "node"), Placing.over(db), spool_dir=home / "spool", run_dir=home / "run")
    running = asyncio.create_task(recorder.run(stop))
    try:
        yield recorder
    finally:
        stop.set()
        await running


@pytest.fixture
async def at(home: Path) -> AsyncIterator[Gate]:
    async with gate(home) as running:
        yield running


async def rows(db: Database, statement: str = "SELECT * FROM api_requests ORDER BY created_at, id") -> list[Row]:
    async with db.reading() as conn:
        return [dict(row) for row in (await conn.execute(text(statement))).mappings()]


async def wait_rows(db: Database, count: int) -> list[Row]:
    async def there() -> bool:
        return len(await rows(db)) >= count

    await until(there)
    return await rows(db)


def body(content: str, **more: object) -> Row:
    return {"model": "claude-x", "max_tokens": 9, "messages": [{"role": "user", "content": content}], **more}


async def test_a_call_becomes_a_row(at: Gate, home: Path, db: Database) -> None:
    sent = body("hello", system=[{"type": "text", "text": "a"}, {"type": "text", "text": "b"}])
    async with recording(home, db), httpx2.AsyncClient() as http:
        headers = {"x-api-key": at.login(), "msl-train-id": "mine", "x-odd": "1"}
        answer = await http.post(f"{at.url}/v1/messages?beta=true", json=sent, headers=headers)
        (row,) = await wait_rows(db, 1)
    assert str(row["id"]) == answer.headers["x-raworc-request-id"]
    expected = {
        "train_id": "mine",
        "account_id": "scripted",
        "method": "POST",
        "path": "/v1/messages",
        "query": "beta=true",
        "status_code": 200,
        "upstream_status": 200,
        "error_type": None,
        "error_message": None,
        "model": "claude-x",
        "request_type": "inference",
        "input_tokens": 2,
        "output_tokens": 4,
        "total_tokens": 6,
        "stop_reason": "end_turn",
        "request_body": sent,
        "response_body": answer.json(),
        "usage": answer.json()["usage"],
        "space": "default",
        "caller": "login",
        "streamed": False,
        "bodies": "kept",
        "branch_id": "main",
        "is_subtask": False,
        "message_count": 1,
    }
    assert {name: row[name] for name in expected} == expected
    assert row["headers"]["x-odd"] == "1"
    assert "x-api-key" not in row["headers"]
    assert row["response_time_ms"] == row["duration_ms"] >= row["first_byte_ms"] >= 0
    assert row["created_at"].tzinfo is None


DOCUMENTED = {
    "id": "uuid",
    "train_id": "character varying(255)",
    "account_id": "character varying(255)",
    "method": "character varying(10)",
    "path": "character varying(255)",
    "status_code": "integer",
    "error_type": "character varying(255)",
    "error_message": "text",
    "model": "character varying(100)",
    "request_type": "character varying(50)",
    "input_tokens": "integer",
    "output_tokens": "integer",
    "total_tokens": "integer",
    "response_time_ms": "integer",
    "request_body": "jsonb",
    "response_body": "jsonb",
    "headers": "jsonb",
    "conversation_id": "uuid",
    "branch_id": "character varying(50)",
    "current_message_hash": "character varying(64)",
    "parent_message_hash": "character varying(64)",
    "is_subtask": "boolean",
    "parent_task_request_id": "uuid",
    "task_tool_invocation": "jsonb",
    "created_at": "timestamp without time zone",
    "updated_at": "timestamp without time zone",
}
BESIDES = {
    "cache_creation_input_tokens": "integer",
    "cache_creation_5m_input_tokens": "integer",
    "cache_creation_1h_input_tokens": "integer",
    "cache_read_input_tokens": "integer",
    "usage": "jsonb",
    "cost_usd": "numeric",
    "price_version": "text",
    "first_byte_ms": "integer",
    "duration_ms": "integer",
    "stop_reason": "text",
    "session_key": "text",
    "turn_id": "uuid",
    "space": "text",
    "upstream_status": "integer",
    "upstream_headers": "jsonb",
    "system_hash": "text",
    "link_source": "text",
    "message_count": "integer",
    "parent_request_id": "uuid",
}
CHUNKS = {
    "id": "uuid",
    "request_id": "uuid",
    "chunk_index": "integer",
    "content": "text",
    "created_at": "timestamp without time zone",
}
_COLUMNS = """
SELECT attname AS name, format_type(atttypid, atttypmod) AS type FROM pg_attribute
WHERE attrelid = '{}'::regclass AND attnum > 0 ORDER BY attnum
"""


async def test_the_documented_columns_come_first_and_in_order(db: Database) -> None:
    columns = {view: {} for view in ("api_requests", "streaming_chunks")}
    for view, found in columns.items():
        found |= {row["name"]: row["type"] for row in await rows(db, _COLUMNS.format(view))}
    requests, chunks = columns.values()
    assert list(requests.items())[: len(DOCUMENTED)] == list(DOCUMENTED.items())
    assert {name: requests.get(name) for name in BESIDES} == BESIDES
    assert list(chunks.items()) == list(CHUNKS.items())


async def test_documented_columns_have_their_defaults_where_nothing_is_known(db: Database) -> None:
    start = CallStart(uuid.uuid4(), "GET", "/v1/models", "none", "default", bodies=False)
    call = RecordedCall(int(time.time() * 1_000_000), start, b"", AnswerHead(401, own=True), [], CallEnd(3_400))
    await Recording(db, "node").load([build_row(call)], SpoolPosition(uuid.uuid4(), 1, 1))
    (row,) = await rows(db)
    known = {"id", "train_id", "method", "path", "status_code", "request_type", "created_at", "updated_at"}
    defaults = {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0, "branch_id": "main", "is_subtask": False}
    assert {name: row[name] for name in defaults} == defaults
    assert {name for name in DOCUMENTED if row[name] is not None} >= known | defaults.keys()
    assert {row[name] for name in ("conversation_id", "account_id", "request_body", "model")} == {None}


async def test_a_stream_is_put_together_and_its_chunks_are_kept(at: Gate, home: Path, db: Database) -> None:
    prompt = "wörds " * 30
    async with recording(home, db), anthropic.AsyncAnthropic(base_url=at.url, auth_token=at.login()) as sdk:
        async with sdk.messages.stream(model="m", max_tokens=9, messages=body(prompt)["messages"]) as stream:
            message = await stream.get_final_message()
        (row,) = await wait_rows(db, 1)
    assert row["response_body"]["content"] == [{"type": "text", "text": message.content[0].text}]
    assert (row["output_tokens"], row["streamed"]) == (message.usage.output_tokens, True)
    chunks = await rows(db, "SELECT * FROM streaming_chunks ORDER BY chunk_index")
    assert [chunk["chunk_index"] for chunk in chunks] == list(range(len(chunks)))
    assert {chunk["request_id"] for chunk in chunks} == {row["id"]}
    assert all(uuid.UUID(str(chunk["id"])).version == 4 for chunk in chunks)
    assert chunks[0]["content"].startswith("event: message_start\n")
    assert chunks[-1]["content"].startswith("event: message_stop\n")
    assert [chunk["created_at"] for chunk in chunks] == sorted(chunk["created_at"] for chunk in chunks)


async def test_chunks_cut_within_a_character_stay_readable(home: Path, db: Database) -> None:
    whole = 'event: x\ndata: {"a":"é😀€"}\n\n'.encode()
    pieces = [whole[at : at + 1] for at in range(len(whole))]
    play = answers(stream_head(), *map(chunk, pieces), chunk(b""), delay_s=0.001)
    async with standin(play) as upstream, gate(home, base_url=upstream.url, api_key="k") as at, recording(home, db):
        async with httpx2.AsyncClient() as http:
            await http.post(f"{at.url}/v1/messages", json=body("x"), headers={"x-api-key": at.login()})
        await wait_rows(db, 1)
    chunks = await rows(db, "SELECT content FROM streaming_chunks ORDER BY chunk_index")
    assert "".join(chunk["content"] for chunk in chunks).encode() == whole


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b'{"a":"\\u0000"}', '{"a":"\\u0000"}'),
        (b'{"a":"\\ud800"}', '{"a":"\\ud800"}'),
        (b"\xff\x00", "\\377\\000"),
        (b"plain", "plain"),
        (b'{"a":1e400}', {"a": 10**400}),
        (b"[" * 100_000, "[" * 100_000),
        (b"", None),
    ],
)
async def test_the_view_shows_whatever_was_answered(home: Path, db: Database, answer: bytes, expected: object) -> None:
    async with (
        standin(answers(json_answer(answer))) as upstream,
        gate(home, base_url=upstream.url, api_key="k") as at,
        recording(home, db),
        httpx2.AsyncClient() as http,
    ):
        await http.post(f"{at.url}/v1/messages", content=answer, headers={"x-api-key": at.login()})
        await wait_rows(db, 1)
        (row,) = await rows(
            db, "SELECT response_body #>> '{}' AS said, request_body #>> '{}' AS asked FROM api_requests"
        )
    assert row["said"] == row["asked"]
    if isinstance(expected, dict):
        assert json.loads(row["said"]) == expected
    else:
        assert row["said"] == expected


async def test_errors_have_the_providers_words(home: Path, db: Database) -> None:
    said = b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}'
    event = b"event: error\ndata: " + said + b"\n\n"
    plays = [
        answers(json_answer(said, "529 x")),
        answers(stream_head(), chunk(event), chunk(b"")),
        answers(json_answer(b"<html>", "502 x")),
        answers(stream_head(), chunk(b"data: x\n\n"), close=True),
    ]
    for play in plays:
        async with standin(play) as upstream:
            folder = home / uuid.uuid4().hex[:8]
            folder.mkdir()
            async with (
                gate(folder, base_url=upstream.url, api_key="k") as at,
                recording(folder, db),
                httpx2.AsyncClient() as http,
            ):
                await http.post(f"{at.url}/v1/messages", json=body("x"), headers={"x-api-key": at.login()})
    found = [(row["status_code"], row["error_type"], row["error_message"]) for row in await wait_rows(db, 4)]
    assert found == [
        (529, "overloaded_error", "Overloaded"),
        (200, "overloaded_error", "Overloaded"),
        (502, "api_error", "Status 502"),
        (200, "upstream_disconnected", "The connection ended before the answer did"),
    ]


async def test_refused_and_aborted_calls_have_rows(at: Gate, home: Path, db: Database) -> None:
    async with recording(home, db), httpx2.AsyncClient() as http:
        await http.post(f"{at.url}/v1/messages", json=body("x"))
        await http.get(f"{at.url}/v1/nothing", headers={"x-api-key": at.login()})
        slow = body('```fault\n{"delay_ms": 60000}\n```')
        with pytest.raises(httpx2.ReadTimeout):
            await http.post(f"{at.url}/v1/messages", json=slow, headers={"x-api-key": at.login()}, timeout=0.2)
        found = await wait_rows(db, 3)
    facts = [(row["caller"], row["status_code"], row["error_type"], row["upstream_status"]) for row in found]
    assert facts == [
        ("none", 401, "authentication_error", None),
        ("login", 404, "not_found_error", 404),  # passed on, and answered by the provider
        ("login", None, "client_disconnected", None),
    ]
    assert found[0]["space"] is None
    assert found[0]["response_body"]["error"]["type"] == "authentication_error"


async def test_keys_are_struck_out_of_what_was_said(at: Gate, home: Path, db: Database) -> None:
    key, token = "sk-ant-api03-" + "canary" * 8, at.login()
    async with recording(home, db), httpx2.AsyncClient() as http:
        for stream in (True, False):
            content = body(f"my keys are {key} and {token}", stream=stream)
            await http.post(f"{at.url}/v1/messages", json=content, headers={"x-api-key": token})
        await wait_rows(db, 2)
    for table in ("requests", "request_bodies"):
        for row in await rows(db, f"SELECT * FROM {table}"):  # noqa: S608  written above
            assert "canary" not in str(row)
            assert not [token[at : at + 12] for at in range(40, len(token) - 12) if token[at : at + 12] in str(row)]
    assert "my keys are **********" in str(await rows(db))


async def test_a_finished_call_is_visible_without_anybody_looking(
    at: Gate, home: Path, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "_LOOK_EVERY_S", 3600.0)
    async with recording(home, db), httpx2.AsyncClient() as http:
        for number in range(1, 6):
            await http.post(f"{at.url}/v1/messages", json=body("x"), headers={"x-api-key": at.login()})
            await wait_rows(db, number)


async def test_sums_are_those_of_the_rows(at: Gate, home: Path, db: Database) -> None:
    async with recording(home, db), httpx2.AsyncClient() as http:
        headers = {"x-api-key": at.login()}
        await asyncio.gather(
            *(http.post(f"{at.url}/v1/messages", json=body("x" * n), headers=headers) for n in range(1, 25)),
            http.post(f"{at.url}/v1/messages", json=body("x")),
        )
        await wait_rows(db, 25)
    named = "input_tokens", "output_tokens", "duration_ms"
    sums = ", ".join(f"sum({name})::bigint AS {name}" for name in named)
    (ledger,) = await rows(db, f"SELECT count(*) AS requests, count(error_type) AS failed, {sums} FROM requests")  # noqa: S608  written above
    (hours,) = await rows(
        db,
        f"SELECT sum(requests)::bigint AS requests, sum(failed)::bigint AS failed, {sums} FROM request_hours",  # noqa: S608  written above
    )
    assert ledger == hours
    assert ledger["failed"] == 1


async def test_costs_are_stored_and_summed_and_a_call_without_a_price_is_counted(db: Database) -> None:
    answer = json.dumps({"usage": {"input_tokens": 1000, "output_tokens": 10}}).encode()
    calls = [
        RecordedCall(
            5_000_000,
            CallStart(uuid.uuid4(), "POST", "/v1/messages", "login", "t"),
            json.dumps({"model": model}).encode(),
            AnswerHead(200, [(b"content-type", b"application/json")]),
            [(5_002_000, answer)],
            CallEnd(3_400),
        )
        for model in ("claude-opus-4-5", "claude-opus-4-5", "claude-unheard-of-7")
    ]
    reached = SpoolPosition(uuid.uuid4(), 1, 1)
    for _ in range(2):  # a batch that is loaded again is not summed again
        await Recording(db, "node").load([build_row(one) for one in calls], reached)
    stored = await rows(db, "SELECT cost_usd, price_version FROM api_requests ORDER BY cost_usd NULLS LAST")
    assert [row["cost_usd"] for row in stored] == [Decimal("0.00525"), Decimal("0.00525"), None]
    assert [row["price_version"] for row in stored] == [PRICE_VERSION, PRICE_VERSION, None]
    (sums,) = await rows(db, "SELECT sum(cost_usd) AS cost, sum(unpriced)::int AS unpriced FROM request_hours")
    assert sums == {"cost": Decimal("0.01050"), "unpriced": 1}


async def test_what_a_response_in_the_background_used_is_told_by_whoever_asks_for_it(home: Path, db: Database) -> None:
    """Through gateway, spool and recorder; and an embedding, of which nothing but that is kept."""
    usage = {"input_tokens": 1000, "output_tokens": 30}
    queued = {"id": "resp_1", "background": True, "status": "queued", "model": "gpt-4o", "usage": None}
    embedded = {"data": [{"embedding": [0.5]}], "usage": {"prompt_tokens": 7, "total_tokens": 7}}
    said = [queued, {**queued, "status": "in_progress"}, {**queued, "status": "completed", "usage": usage}, embedded]

    async def play(writer: asyncio.StreamWriter) -> None:
        writer.write(json_answer(json.dumps(said.pop(0)).encode()))
        await writer.drain()

    async with standin(play) as upstream, gate(home, base_url=upstream.url, api_key="sk-x") as at:
        async with httpx2.AsyncClient(headers={"authorization": f"Bearer {at.login()}"}) as http:
            made = {"model": "gpt-4o", "input": "hi", "background": True}
            await http.post(f"{at.url}/v1/responses", json=made)
            for _ in range(2):
                await http.get(f"{at.url}/v1/responses/resp_1")
            await http.post(f"{at.url}/v1/embeddings", json={"model": "text-embedding-3-small", "input": "x"})
        async with recording(home, db):
            await wait_rows(db, 4)

            async def told() -> bool:
                return (await rows(db))[0]["cost_usd"] is not None

            await until(told)
    first, *looks, embedding = await rows(db)
    assert (first["input_tokens"], first["output_tokens"], first["stop_reason"]) == (1000, 30, "completed")
    assert [(one["total_tokens"], one["cost_usd"], one["response_body"]) for one in looks] == [(0, None, None)] * 2
    assert (embedding["input_tokens"], embedding["response_body"], embedding["bodies"]) == (7, None, "omitted")
    assert embedding["cost_usd"] > 0

"""Responses in the background: whoever asks for one's answer tells what the call that made it has used, once."""

import asyncio
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from sqlalchemy import func, select, text

from calls import call, load, place, store
from raworc.domain.prices import PRICE_VERSION
from raworc.services.background import Background
from raworc.services.prices import Prices
from raworc.store.database import Database
from raworc.store.recordings import BackgroundRow, RequestRow
from raworc.store.records import background_responses, requests

pytestmark = pytest.mark.anyio

USAGE = {"input_tokens": 1000, "output_tokens": 30, "input_tokens_details": {"cached_tokens": 400}}
NAMED = {"space": "default", "response_id": "resp_1"}


def made(**more: object) -> RequestRow:
    at, own = datetime.now(UTC), uuid.uuid4()
    said = BackgroundRow(**NAMED, request_id=own, request_at=at)
    nothing = {"input_tokens": 0, "output_tokens": 0, "cost_usd": None, "price_version": None}
    named = {"id": own, "path": "/v1/responses", "model": "gpt-4o", "account_id": "openai", "note": "later"}
    return call(at, b"said", **(nothing | named | {"background": said} | more))


def look(**more: object) -> RequestRow:
    said = BackgroundRow(**(NAMED | {"ended": True, "stop_reason": "completed", "usage": USAGE} | more))
    return replace(made(), id=uuid.uuid4(), method="GET", path="/v1/responses/resp_1", link=None, background=said)


async def stored(db: Database, row: RequestRow):
    async with db.reading() as conn:
        return (await conn.execute(select(requests).where(requests.c.id == row.id))).one()


async def waiting(db: Database) -> int:
    async with db.reading() as conn:
        return await conn.scalar(select(func.count()).select_from(background_responses))


async def test_it_is_told_once_however_often_somebody_asks(db: Database):
    first, service = made(), Background(db)
    await load(db, [first])
    await place(db)
    assert await service.settle() == 0
    assert (await stored(db, first)).note == "later"
    await load(db, [look(), look()])
    assert sorted(await asyncio.gather(service.settle(), service.settle())) == [0, 1]
    found = await stored(db, first)
    assert (found.input_tokens, found.cache_read_input_tokens, found.output_tokens) == (600, 400, 30)
    assert (found.usage, found.stop_reason, found.note) == (USAGE, "completed", None)
    assert (found.cost_usd, found.price_version) == (Decimal("0.0023"), PRICE_VERSION)
    assert found.updated_at > found.created_at
    await load(db, [look(usage={**USAGE, "output_tokens": 999})])
    assert await service.settle() == 0
    assert (await stored(db, first)).output_tokens == 30
    assert (await Prices(db).recost(lambda _: None, dry_run=True)).changed == 0


async def test_a_spool_that_is_loaded_again_changes_nothing(db: Database):
    first, seen, service = made(), look(), Background(db)
    await load(db, [first, seen])
    assert await service.settle() == 1
    assert await load(db, [first, seen]) == 0
    await service.settle()
    async with db.reading() as conn:
        assert await conn.scalar(text("SELECT sum(output_tokens) FROM request_hours")) == 30


async def test_an_answer_may_be_loaded_before_the_call_that_it_answers(db: Database):
    first, service = made(), Background(db)
    await load(db, [look()])
    assert await service.settle() == 0
    await load(db, [first])
    assert await service.settle() == 1
    assert (await stored(db, first)).output_tokens == 30
    assert await waiting(db) == 0


async def test_one_that_was_cancelled_before_it_used_anything_stays_without_a_cost(db: Database):
    first, service = made(), Background(db)
    await load(db, [first, look(usage=None, stop_reason="cancelled")])
    assert await service.settle() == 1
    found = await stored(db, first)
    assert (found.stop_reason, found.usage, found.cost_usd, found.note) == ("cancelled", None, None, "later")


async def test_one_that_failed_is_an_error_in_every_sum_and_what_is_sent_again_another_try(db: Database):
    first, service = made(), Background(db)
    again = replace(made(background=None), link=first.link, created_at=first.created_at + timedelta(seconds=9))
    await store(db, [first, again])
    told = {"usage": None, "stop_reason": "failed", "error_type": "server_error", "error_message": "It broke"}
    await load(db, [look(**told)])
    assert await service.settle() == 1
    await place(db)
    found = await stored(db, first)
    assert (found.error_type, found.error_message, found.stop_reason) == ("server_error", "It broke", "failed")
    assert (found.note, found.cost_usd) == (None, None)
    async with db.reading() as conn:
        for table in ("request_hours", "request_dates"):
            assert await conn.scalar(text(f"SELECT sum(failed) FROM {table}")) == 1  # noqa: S608  written above
        tries = await conn.execute(text("SELECT id, retry_of FROM links ORDER BY created_at"))
        assert [tuple(row) for row in tries] == [(first.id, None), (again.id, first.id)]
        assert await conn.scalar(text("SELECT sum(requests) FROM conversations")) == 2


async def test_another_space_s_word_does_not_count(db: Database):
    first, service = made(), Background(db)
    await load(db, [first, look(space="lab")])
    assert await service.settle() == 0
    assert (await stored(db, first)).usage is None


async def test_what_nobody_will_hear_of_is_forgotten(db: Database):
    old = {"old answer": (True, "2 hours"), "old call": (False, "32 days")}
    kept = {"new answer": (True, "1 minute"), "waiting call": (False, "2 days")}
    async with db.transaction() as conn:
        for name, (ended, age) in (old | kept).items():
            row = "INSERT INTO background_responses (space, response_id, ended, noted_at) VALUES ('', :name, :ended, "
            await conn.execute(text(f"{row} now() - interval '{age}')"), {"name": name, "ended": ended})
    assert await Background(db).settle() == 0
    async with db.reading() as conn:
        left = set(await conn.scalars(select(background_responses.c.response_id)))
    assert left == set(kept)

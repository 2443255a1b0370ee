"""Days of recorded calls that go: cut short, in the way of readers, and asked for on the command line."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from calls import call, load, store
from raworc.cli.main import run
from raworc.domain.periods import day_of
from raworc.errors import Unavailable
from raworc.ids import new_id
from raworc.metrics import Metrics
from raworc.services.recording import Recording
from raworc.services.retention import Retention
from raworc.settings import Settings
from raworc.store.database import Database
from raworc.store.recordings import RequestRow, SpoolPosition

pytestmark = pytest.mark.anyio


@pytest.fixture
def calls() -> list[RequestRow]:
    """One of each of the last five days, the newest first. The file may have been read before midnight."""
    today = day_of(datetime.now(UTC))
    return [call(today - timedelta(days=day, hours=1), b"said") for day in range(5)]


async def days(db: Database) -> int:
    async with db.reading() as conn:
        counted = "SELECT count(*) FROM pg_class WHERE relnamespace = 'request_days'::regnamespace AND relkind = 'r'"
        return await conn.scalar(text(counted))


async def count(db: Database, table: str) -> int:
    async with db.reading() as conn:
        return await conn.scalar(text(f"SELECT count(*) FROM {table}"))  # noqa: S608  written below


async def test_what_was_cut_short_is_finished_by_the_next_one(db: Database, calls: list[RequestRow]) -> None:
    await store(db, calls)

    def die(_: str) -> None:
        raise KeyError("killed")

    with pytest.raises(KeyError):
        await Retention(db, batch=1).drop(2, die)
    assert await days(db) == 8
    done = await Retention(db, batch=1).drop(2, lambda _: None)
    assert [old.calls for old in done.days] == [1, 1]
    assert (await days(db), await count(db, "links"), await count(db, "conversations")) == (4, 2, 2)
    assert await Retention(db).drop(2, lambda _: None) == type(done)([], done.since)


async def test_a_recorder_that_knew_a_day_does_not_bring_it_back(db: Database, calls: list[RequestRow]) -> None:
    metrics = Metrics()
    recording = Recording(db, "node", metrics=metrics)
    reached = SpoolPosition(new_id(), 1, 0)
    assert await recording.load(calls, reached) == 5
    await Retention(db).drop(2, lambda _: None)
    late = [call(one.created_at + timedelta(minutes=1)) for one in calls]
    assert await recording.load(late, reached) == 2
    assert await days(db) == 4
    counted = {line.name: line.value for family in metrics.snapshot("w").families for line in family.samples}
    assert counted["raworc_late_calls_total"] == 3


async def test_readers_are_waited_for_and_then_left_alone(db: Database, calls: list[RequestRow]) -> None:
    await load(db, calls[-1:])
    async with db.transaction() as conn:
        await conn.execute(text("SELECT FROM requests"))
        with pytest.raises(Unavailable, match="cannot be dropped while they are read"):
            await Retention(db, tries=1).drop(2, lambda _: None)
    assert await days(db) == 2
    await Retention(db, tries=1).drop(2, lambda _: None)
    assert await days(db) == 0


async def test_the_commands_say_what_they_would_do_and_did(
    db: Database, calls: list[RequestRow], settings: Settings, capsys
) -> None:
    await load(db, calls)

    async def command(*words: str) -> str:
        where = ("--home", str(settings.home), "--database-url", str(settings.database_url))
        assert await asyncio.to_thread(run, [*words, *where]) == 0
        return capsys.readouterr().out

    said = await command("retention", "--days", "3", "--dry-run")
    assert said.splitlines()[-1].startswith("2 calls of 2 days would go; kept since ")
    assert await days(db) == 10
    assert "5 of 5 calls would get another price" in await command("recost", "--dry-run")
    assert "5 of 5 calls have another price" in await command("recost")
    assert "0 of 5 calls have another price" in await command("recost")
    assert "2 calls of 2 days are gone" in await command("retention", "--days", "3")
    async with db.reading() as conn:
        cost, sums = (
            await conn.execute(text("SELECT cost_usd, (SELECT sum(cost_usd) FROM request_dates) FROM requests"))
        ).first()
    assert sums == 5 * cost > 0

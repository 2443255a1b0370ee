"""One account of every call: however calls are stored, placed, priced anew and dropped, all sums say the same."""

import random
import uuid
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import text

from calls import call, load, place
from raworc.domain.ledger import Chosen, Outcome
from raworc.domain.periods import day_of, hour_of
from raworc.recorder.relink import relink
from raworc.services.accounts import Accounts, Caller
from raworc.services.background import Background
from raworc.services.ledger import Ledger
from raworc.services.prices import Prices
from raworc.services.retention import Retention
from raworc.services.tokens import Tokens
from raworc.services.usage import Sums, Usage
from raworc.store import accounts as account_rows
from raworc.store import requests as ledger
from raworc.store.database import Database
from raworc.store.prices import NewPrice, PricedCall
from raworc.store.recordings import BackgroundRow, RequestRow
from raworc.store.requests import Booked

pytestmark = pytest.mark.anyio

DAYS = 6
FEW = 2
SESSION = uuid.UUID(int=5)
KEPT = ("requests", "failed", "input_tokens", "output_tokens", "cache_read_input_tokens", "cost_usd", "unpriced")
WINDOW = timedelta(hours=5)


@pytest.fixture
async def admin(db: Database) -> Caller:
    tokens = Tokens(b"k" * 32)
    async with db.reading() as conn:
        account = await account_rows.by_name(conn, "admin")
    service = Accounts(db, tokens)
    caller = await service.authenticate(tokens.login(account.id, account.version, "agents", ttl_s=600)[0])
    service.close()
    return caller


class Books:
    """All calls that were ever stored, as they must be accounted for."""

    def __init__(self, db: Database, dice: random.Random) -> None:
        self.db = db
        self.dice = dice
        self.today = day_of(datetime.now(UTC))
        self.calls: dict[uuid.UUID, RequestRow] = {}
        self.since: datetime | None = None
        self.waiting: list[RequestRow] = []
        self.turns = [uuid.uuid4() for _ in range(4)]

    @property
    def kept(self) -> list[RequestRow]:
        return [one for one in self.calls.values() if self.since is None or one.created_at >= self.since]

    def made(self) -> RequestRow:
        dice = self.dice
        at = self.today - timedelta(days=dice.randrange(DAYS)) + timedelta(microseconds=dice.randrange(86_400_000_000))
        cost = dice.choice([None, Decimal(dice.randrange(1000)) / 1000])
        failed = dice.random() < 0.2
        return call(
            at,
            dice.choice([b"", b"a", b"b", b"c", b"d"]),
            space=dice.choice([None, "default", "lab"]),
            train_id=dice.choice(["x", "y"]),
            account_id=dice.choice([None, "one", "two"]),
            model=dice.choice([None, "m", "n"]),
            session_id=SESSION,
            turn_id=dice.choice([None, *self.turns]),
            input_tokens=dice.choice([0, dice.randrange(500)]),
            output_tokens=dice.choice([0, dice.randrange(500)]),
            cache_read_input_tokens=dice.choice([0, 7]),
            status_code=dice.choice([None, 200, 500]) if failed else 200,
            error_type="broken" if failed else None,
            cost_usd=cost,
            price_version=None if cost is None else "p",
        )

    async def background(self) -> None:
        """Responses that are made, looked at, often more than once, and told what they used, in any order."""
        dice = self.dice
        for one in [self.made() for _ in range(2)]:
            name, zero = str(one.id), dict.fromkeys(("input_tokens", "output_tokens", "cache_read_input_tokens"), 0)
            said = BackgroundRow(space=one.space or "", response_id=name, request_id=one.id, request_at=one.created_at)
            self.waiting.append(replace(one, **zero, cost_usd=None, price_version=None, background=said))
        for one in dice.sample(self.waiting, min(2, len(self.waiting))):
            looks = [self.look(one) for _ in range(dice.randint(1, 2))]
            rows = dice.sample([one, *looks], len(looks) + 1)
            kept = [row for row in rows if self.since is None or row.created_at >= self.since]
            for row in kept:
                assert await load(self.db, [row]) == (row.id not in self.calls)
                await Background(self.db).settle()
                self.calls[row.id] = row
            self.waiting.remove(one)
            if one in kept:
                told = {"input_tokens": 40, "output_tokens": 7, "cache_read_input_tokens": 60, "usage": looks[0].usage}
                self.calls[one.id] = replace(one, **told)

    def look(self, one: RequestRow) -> RequestRow:
        usage = {"input_tokens": 100, "output_tokens": 7, "input_tokens_details": {"cached_tokens": 60}}
        said = BackgroundRow(space=one.space or "", response_id=str(one.id), ended=True, usage=usage)
        zero = dict.fromkeys(("input_tokens", "output_tokens", "cache_read_input_tokens"), 0)
        return replace(one, **zero, id=uuid.uuid4(), cost_usd=None, price_version=None, link=None, background=said)

    async def store(self) -> None:
        new = [self.made() for _ in range(self.dice.randint(1, 12))]
        again = self.dice.sample(sorted(self.calls), min(2, len(self.calls)))
        taken = [one for one in new if self.since is None or one.created_at >= self.since]
        assert await load(self.db, new + [self.calls[key] for key in again]) == len(taken)
        self.calls |= {one.id: one for one in taken}

    async def place(self) -> None:
        await place(self.db)

    async def recost(self) -> None:
        factor = self.dice.randrange(5)

        def priced(one: PricedCall) -> NewPrice:
            cost = None if one.model is None else factor * Decimal(one.input_tokens) / 8
            return NewPrice(one.id, one.created_at, cost, str(factor))

        looked = await Prices(self.db, batch=7, pricing=priced).recost(lambda _: None, dry_run=True)
        done = await Prices(self.db, batch=7, pricing=priced).recost(lambda _: None, dry_run=False)
        assert looked == done
        for one in self.kept:
            cost = None if one.model is None else factor * Decimal(one.input_tokens) / 8
            self.calls[one.id] = replace(one, cost_usd=cost)
        assert (await Prices(self.db, pricing=priced).recost(lambda _: None, dry_run=False)).changed == 0

    async def drop(self) -> None:
        days = self.dice.randint(2, DAYS)
        dropped = await Retention(self.db, batch=3).drop(days, lambda _: None)
        assert dropped.since == self.today - timedelta(days=days)
        self.since = max(self.since or dropped.since, dropped.since)

    async def relink(self) -> None:
        await relink(self.db, batch=5)


def added(calls: Iterable[RequestRow]) -> dict[str, Any]:
    listed = list(calls)
    tokens = ("input_tokens", "output_tokens", "cache_read_input_tokens")
    return {
        "requests": len(listed),
        "failed": sum(one.error_type is not None for one in listed),
        **{name: sum(getattr(one, name) for one in listed) for name in tokens},
        "cost_usd": sum((one.cost_usd or Decimal(0) for one in listed), Decimal(0)),
        "unpriced": sum(one.cost_usd is None and any(getattr(one, name) for name in tokens) for one in listed),
    }


def grouped(calls: Iterable[RequestRow], key: Any) -> dict[Any, dict[str, Any]]:
    found: dict[Any, list[RequestRow]] = defaultdict(list)
    for one in calls:
        found[key(one)].append(one)
    return {name: added(part) for name, part in found.items()}


def shown(sums: Sums) -> dict[str, Any]:
    return {name: getattr(sums, name) for name in KEPT}


def windows(calls: Iterable[RequestRow]) -> dict[tuple[str, datetime], int]:
    found: dict[tuple[str, datetime], int] = {}
    start: dict[str, datetime] = {}
    for one in sorted(calls, key=lambda one: one.created_at):
        if one.account_id is not None:
            if one.account_id not in start or one.created_at >= start[one.account_id] + WINDOW:
                start[one.account_id] = one.created_at
            key = one.account_id, start[one.account_id]
            found[key] = found.get(key, 0) + one.input_tokens + one.output_tokens
    return found


async def rows(db: Database, statement: str) -> list[tuple[Any, ...]]:
    async with db.reading() as conn:
        return [tuple(row) for row in await conn.execute(text(statement))]


async def check(books: Books, admin: Caller) -> None:
    db, every, kept = books.db, books.calls.values(), books.kept
    sums = ", ".join(f"sum({name})" for name in KEPT)
    for table, unit, floor in (("request_hours", "hour", hour_of), ("request_dates", "day", day_of)):
        found = await rows(db, f"SELECT {unit}, space, train_id, {sums} FROM {table} GROUP BY 1, 2, 3")  # noqa: S608  ours
        keyed = {one.id: (floor(one.created_at), one.space or "", one.train_id) for one in every}
        expected = grouped(every, lambda one, keyed=keyed: keyed[one.id])
        assert {row[:3]: dict(zip(KEPT, row[3:], strict=True)) for row in found} == expected
    usage = Usage(db)
    totals = await usage.totals(admin, Chosen())
    assert shown(totals.all) == added(every)
    days = await usage.daily(admin, Chosen(), DAYS)
    assert {day.at: shown(day.sums) for day in days.days if day.sums.requests} == grouped(
        every, lambda one: day_of(one.created_at)
    )
    for space in ("default", "lab"):
        assert shown((await usage.totals(admin, Chosen(space=space))).all) == added(
            o for o in every if o.space == space
        )
    for failed in (True, False):
        chosen = Chosen(outcome=Outcome(failed=failed))
        ended = [one for one in kept if (one.error_type is not None) == failed]
        assert shown((await usage.totals(admin, chosen)).all) == added(ended)
        days = await usage.daily(admin, chosen, DAYS)
        assert {day.at: shown(day.sums) for day in days.days if day.sums.requests} == grouped(
            ended, lambda one: day_of(one.created_at)
        )
    await check_calls(books, admin)
    found = await rows(db, "SELECT account_id, starts_at, tokens FROM usage_windows")
    assert {row[:2]: row[2] for row in found} == windows(every)
    split = sorted(books.dice.choice(kept).created_at for _ in range(2)) if kept else [books.today] * 2
    part = await usage.stats(admin, Chosen(start=split[0], end=split[1]))
    assert shown(part.sums) == added(one for one in kept if split[0] <= one.created_at < split[1])


async def check_calls(books: Books, admin: Caller) -> None:
    """What is told of single calls, of turns, and of conversations: of those that are kept."""
    db, kept = books.db, books.kept
    newest = sorted(kept, key=lambda one: (one.created_at, one.id), reverse=True)
    offset, limit = books.dice.randrange(len(kept) + 1), books.dice.randint(1, 20)
    page = await Ledger(db).page(admin, Chosen(), limit=limit, offset=offset)
    assert page.total == len(kept)
    assert [one.id for one in page.calls] == [one.id for one in newest[offset : offset + limit]]
    found = await rows(db, "SELECT turn_id, count(*), sum(cost_usd) FROM requests GROUP BY 1")
    turns = grouped(kept, lambda one: one.turn_id)
    assert {row[0]: (row[1], row[2] or 0) for row in found} == {
        key: (one["requests"], one["cost_usd"]) for key, one in turns.items()
    }
    for turn in books.turns:
        async with db.reading() as conn:
            together = await ledger.sums(conn, Booked(SESSION, turn, books.today - timedelta(days=DAYS)))
        assert shown(together) == turns.get(turn, added([]))
    async with db.reading() as conn:
        of_agent = await ledger.sums(conn, Booked(SESSION, None, books.today - timedelta(days=DAYS)))
    assert shown(of_agent) == added(kept)  # all are of one agent
    linked = dict(await rows(db, "SELECT id, conversation_id FROM links"))
    assert set(linked) == {one.id for one in kept if one.link is not None}
    await check_conversations(db, [(one, linked[one.id]) for one in kept if linked.get(one.id)])
    orphans = "SELECT count(*) FROM conversation_branches WHERE conversation_id NOT IN (SELECT id FROM conversations)"
    assert await rows(db, orphans) == [(0,)]


async def check_conversations(db: Database, placed: list[tuple[RequestRow, uuid.UUID]]) -> None:
    where = {one.id: talk for one, talk in placed}
    said = grouped((one for one, _ in placed), lambda one: where[one.id])
    found = await rows(db, "SELECT id, requests, failed, tokens, cost_usd, unpriced FROM conversations")
    names = ("requests", "failed", "tokens", "cost_usd", "unpriced")
    assert {row[0]: row[1:] for row in found} == {
        key: tuple((one | {"tokens": one["input_tokens"] + one["output_tokens"]})[name] for name in names)
        for key, one in said.items()
    }
    kinds: dict[uuid.UUID, tuple[set[str], set[str], set[int]]] = defaultdict(lambda: (set(), set(), set()))
    for one, talk in placed:
        for seen, value in zip(kinds[talk], (one.model or "", one.request_type, one.status_code or 0), strict=True):
            seen.add(value)
    found = await rows(db, "SELECT id, models, request_types, status_codes FROM conversations")
    assert {row[0]: tuple(map(sorted, row[1:])) for row in found} == {
        key: tuple(map(sorted, sets)) for key, sets in kinds.items()
    }


@pytest.mark.parametrize("seed", range(24))
async def test_all_sums_say_the_same(db: Database, admin: Caller, seed: int, pytestconfig: pytest.Config) -> None:
    if seed >= FEW and not pytestconfig.getoption("--faults"):
        pytest.skip("asked for with --faults")
    dice = random.Random(seed)  # noqa: S311  a seed makes the run repeatable
    books = Books(db, dice)
    moves = [books.store] * 5 + [books.place] * 3 + [books.background] * 2 + [books.recost, books.drop, books.relink]
    for number in range(21):
        await dice.choice(moves)()
        if number % 3 == 2:
            await check(books, admin)

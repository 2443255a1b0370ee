"""The statements that run again and again read few rows, by an index, however many agents sleep."""

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, date, datetime

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from raworc.store import agents, events, holds, link_statements, messages, recordings, shared_sessions, turns
from raworc.store.database import Database
from raworc.store.statement import Statement, repeated
from raworc.supervisor.cluster import SUPERUSER, Cluster
from rows import add_session

pytestmark = pytest.mark.anyio

WORKER = uuid.UUID(int=1)
MANY = 3_000
"""Enough that reading all of them is not what the planner prefers."""

_SLEEPING = """
INSERT INTO sessions (id, space, kind, state, node, idle_timeout_s, busy_timeout_s)
SELECT gen_random_uuid(), 'default', 'home', 'slept', 'here', 300, 3600 FROM generate_series(1, :many)
"""
_AGENTS = """
INSERT INTO agents (id, kind, name, space, session_id, owner_id, created_by)
SELECT gen_random_uuid(), 'named', 'agent' || s.number, 'default', s.id, a.id, 'admin'
FROM sessions s, accounts a WHERE a.name = 'admin'
"""
_TURNS = """
INSERT INTO turns (id, session_id, kind, status)
SELECT gen_random_uuid(), :session_id, 'input', 'completed' FROM generate_series(1, :many)
"""
_SEGMENTS = """
INSERT INTO segments (turn_id, seq, session_id, event_seq, type, body)
SELECT id, 1, session_id, 2 * number, 'note', '{"type": "note"}' FROM turns
"""
_EVENTS = """
INSERT INTO session_events (session_id, event_seq, kind, turn_id, body)
SELECT session_id, 2 * number + 1, 'response', id, '{"status": "completed"}' FROM turns
"""


class Watched:
    """Rows that were read on the way to an answer, as Postgres counts them."""

    def __init__(self, conn: AsyncConnection, monkeypatch: pytest.MonkeyPatch) -> None:
        self.conn = conn
        self._explained: list[dict] = []
        self._patch = monkeypatch

    async def rows_read(self, ask: Callable[[AsyncConnection], Awaitable[object]]) -> int:
        """How many rows the scans below ``ask``'s statements went through."""
        plans: list[dict] = []
        plain = Statement._execute

        async def explained(statement: Statement, conn: AsyncConnection, parameters: dict):
            explaining = Statement(text("SELECT 1"))
            explaining._sql = b"EXPLAIN (ANALYZE, FORMAT JSON) " + statement._sql
            explaining._documents = statement._documents
            async with conn.begin_nested() as point:
                cursor = await plain(explaining, conn, parameters)
                plans.append((await cursor.fetchone())[0][0]["Plan"])
                await point.rollback()
            return await plain(statement, conn, parameters)

        with self._patch.context() as patch:
            patch.setattr(Statement, "_execute", explained)
            await ask(self.conn)
        assert plans
        return sum(_read(plan) for plan in plans)


def _read(plan: dict) -> int:
    inner = sum(_read(child) for child in plan.get("Plans", ()))
    if not plan["Node Type"].endswith("Scan") or plan["Node Type"] in {"CTE Scan", "Subquery Scan", "Function Scan"}:
        return inner
    dropped = plan.get("Rows Removed by Filter", 0) + plan.get("Rows Removed by Index Recheck", 0)
    return inner + round((plan["Actual Rows"] + dropped) * plan["Actual Loops"])


@pytest.fixture
async def crowd(db: Database, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Watched]:
    """Very many agents that sleep, and one that had very many turns."""
    async with db.transaction() as conn:
        await conn.execute(text(_SLEEPING), {"many": MANY})
        await conn.execute(text(_AGENTS))
        await conn.execute(text(_TURNS), {"session_id": await _eldest(conn), "many": MANY})
        await conn.execute(text(_SEGMENTS))
        await conn.execute(text(_EVENTS))
        await conn.execute(text("ANALYZE"))
    async with db.transaction() as conn:
        yield Watched(conn, monkeypatch)


async def _eldest(conn: AsyncConnection) -> uuid.UUID:
    return await conn.scalar(text("SELECT id FROM sessions ORDER BY number LIMIT 1"))


async def test_the_poll_for_work_does_not_look_at_who_sleeps(crowd: Watched):
    waiting = await add_session(crowd.conn, state="init")
    found: list[holds.Claimed] = []

    async def poll(conn: AsyncConnection) -> None:
        found.extend(await holds.claim(conn, holds.Claim(WORKER, "here"), limit=64))

    assert await crowd.rows_read(poll) < 50
    assert [claimed.session_id for claimed in found] == [waiting]


async def test_the_poll_of_held_sessions_does_not_look_at_others(crowd: Watched):
    assert await crowd.rows_read(lambda conn: holds.standing(conn, WORKER)) < 50
    assert await crowd.rows_read(lambda conn: holds.holders(conn, WORKER, 15.0)) < 50


async def test_agents_that_are_awake_are_listed_without_those_that_sleep(crowd: Watched):
    owner = await crowd.conn.scalar(text("SELECT id FROM accounts WHERE name = 'admin'"))
    init, idle, busy = (agents.Wanted(owner, None, state=state) for state in ("init", "idle", "busy"))
    assert await crowd.rows_read(lambda conn: agents.page(conn, init, limit=30, offset=0)) < 50
    assert await crowd.rows_read(lambda conn: agents.page(conn, idle, limit=30, offset=0)) < 50
    assert await crowd.rows_read(lambda conn: agents.page(conn, busy, limit=30, offset=0)) < 50


async def test_a_page_is_counted_without_reading_what_it_does_not_show(crowd: Watched):
    owner = await crowd.conn.scalar(text("SELECT id FROM accounts WHERE name = 'admin'"))
    for spaces in (None, frozenset[str](), frozenset({"default"})):
        wanted = agents.Wanted(owner, spaces)
        rows, total = await agents.page(crowd.conn, wanted, limit=30, offset=0)
        assert (len(rows), total) == (30, MANY)
        assert await crowd.rows_read(lambda conn, wanted=wanted: agents.page(conn, wanted, limit=30, offset=0)) < 150


async def test_an_agent_is_found_by_its_name(crowd: Watched):
    assert await crowd.rows_read(lambda conn: agents.find(conn, "AGENT777")) < 50


async def test_published_agents_are_listed_without_the_others(crowd: Watched):
    await crowd.conn.execute(text("UPDATE agents SET is_published = true, published_at = now() WHERE name LIKE '%7'"))
    found: list[agents.AgentRow] = []

    async def look(conn: AsyncConnection) -> None:
        found.extend(await agents.published(conn, limit=5, offset=5))

    assert await crowd.rows_read(look) < 50
    assert len(found) == 5


async def test_a_turns_events_are_read_without_those_of_the_session(crowd: Watched):
    session_id = await _eldest(crowd.conn)
    turn_id = await crowd.conn.scalar(text("SELECT id FROM turns ORDER BY number DESC LIMIT 1"))
    assert await crowd.rows_read(lambda conn: events.of_turn(conn, session_id, turn_id, after=0, limit=32)) < 50
    assert await crowd.rows_read(lambda conn: events.of_session(conn, session_id, after=900, limit=32)) < 150


async def test_turns_that_a_page_passes_over_cost_no_segments(crowd: Watched):
    session_id = await _eldest(crowd.conn)
    read = await crowd.rows_read(lambda conn: turns.page(conn, session_id, limit=10, offset=MANY - 10))
    assert read <= MANY + 50


async def test_messages_are_paged_from_either_end_without_the_others(crowd: Watched):
    session_id = await _eldest(crowd.conn)
    answered = "UPDATE turns SET reply_id = gen_random_uuid(), finished_at = created_at + number * interval '1 second'"
    for change in (
        answered,
        "UPDATE turns SET created_at = created_at + number * interval '1 second'",
        "ANALYZE turns",
    ):
        await crowd.conn.execute(text(change))
    assert await crowd.rows_read(lambda conn: messages.newest(conn, session_id, None, limit=10)) < 100
    assert await crowd.rows_read(lambda conn: messages.page(conn, session_id, None, limit=10, offset=10)) < 100
    assert len(await messages.newest(crowd.conn, session_id, None, limit=10)) == 10


async def test_sessions_of_spaces_are_listed_without_the_others(crowd: Watched):
    for change in (
        "UPDATE sessions SET kind = 'shared', created_at = created_at + number * interval '1 second'",
        "INSERT INTO shared_sessions (session_id, created_by) SELECT id, 'x' FROM sessions",
        "ANALYZE sessions, shared_sessions",
    ):
        await crowd.conn.execute(text(change))
    for spaces in (None, frozenset({"default"})):
        wanted = shared_sessions.Wanted(spaces)
        assert await crowd.rows_read(lambda conn, of=wanted: shared_sessions.page(conn, of, limit=10, offset=10)) < 150
        asleep = shared_sessions.Wanted(spaces, frozenset({"SUSPENDED"}))
        assert await crowd.rows_read(lambda conn, of=asleep: shared_sessions.page(conn, of, limit=10, offset=10)) < 150


_LINKS = """
INSERT INTO links (id, created_at, space, train_id, first, whole, prefixes, body_digest, ok, side, conversation_id)
SELECT gen_random_uuid(), now() + number * interval '1 second', 'default', 't', digest, digest, digest, digest, true,
    false, gen_random_uuid()
FROM generate_series(1, :many) number, sha256(number::text::bytea) digest
"""


async def test_who_may_be_disturbed_by_a_late_call_is_found_by_what_it_says(db: Database):
    """On a table that nobody has analysed yet, too: so it is while an installation is young."""
    async with db.transaction() as conn:
        await conn.execute(text(_LINKS), {"many": MANY})
        names = ("created_at", "id", "space", "session", "first", "response")
        rows = (await conn.execute(text(f"SELECT {', '.join(names)} FROM links ORDER BY created_at LIMIT 5"))).all()  # noqa: S608  our names
        columns = [list(column) for column in zip(*rows, strict=True)]
        parameters = dict(zip(("at", *names[1:]), columns, strict=True))
        explained = "EXPLAIN (ANALYZE, FORMAT JSON) " + link_statements.DISTURBED
        (plan,) = await repeated(conn, explained, parameters)
    assert _read(plan["QUERY PLAN"][0]["Plan"]) <= 10 * len(rows)


_ALIKE = """
INSERT INTO links (id, created_at, space, train_id, session, first, whole, answered, response, prefixes, body_digest,
    ok, side, conversation_id, parent_id)
SELECT gen_random_uuid(), now() + number * interval '1 second', 'default', 't', 's' || number, 'said', 'said', 'said',
    'said', 'said', 'said', true, false, gen_random_uuid(), gen_random_uuid()
FROM generate_series(1, :many) number
"""


async def test_who_says_the_same_is_found_without_those_of_other_sessions(db: Database):
    """They may all begin alike: then a digest alone tells nothing."""
    async with db.transaction() as conn:
        await conn.execute(text(_ALIKE), {"many": MANY})
        parameters = {"space": ["default"], "session": ["s7"], "first": [b"said"], "digest": [b"said"], "limit": 50}
        parameters["bound"] = await conn.scalar(text("SELECT max(created_at) FROM links"))
        (plan,) = await repeated(conn, "EXPLAIN (ANALYZE, FORMAT JSON) " + link_statements.SHARING, parameters)
        found = await repeated(conn, link_statements.SHARING, parameters)
        node = {"ids": [found[0]["parent_id"]], "conversations": [found[0]["conversation_id"]]}
        (children,) = await repeated(conn, "EXPLAIN (ANALYZE, FORMAT JSON) " + link_statements.CONTINUED, node)
    assert [row["session"] for row in found] == ["s7"] * 3
    assert _read(plan["QUERY PLAN"][0]["Plan"]) <= 10
    assert _read(children["QUERY PLAN"][0]["Plan"]) <= 10


async def test_who_may_be_disturbed_in_a_session_is_found_without_those_of_other_sessions(db: Database):
    """However many calls came since the late one."""
    async with db.transaction() as conn:
        await conn.execute(text(_ALIKE), {"many": MANY})
        await conn.execute(text("ANALYZE links"))
        earliest = await conn.scalar(text("SELECT min(created_at) FROM links"))
        parameters = {"at": [earliest], "id": [WORKER], "space": ["default"], "session": ["s7"]}
        parameters |= {"first": [b"said"], "response": [None]}
        (plan,) = await repeated(conn, "EXPLAIN (ANALYZE, FORMAT JSON) " + link_statements.DISTURBED, parameters)
        found = await repeated(conn, link_statements.DISTURBED, parameters)
    assert len(found) == 1
    assert _read(plan["QUERY PLAN"][0]["Plan"]) <= 10


async def test_what_each_call_might_disturb_is_not_collected_in_tables_as_large_as_all_calls(db: Database):
    """One is made, emptied and gone through for each call, however little is in it."""
    async with db.transaction() as conn:
        await conn.execute(text(_LINKS), {"many": MANY})
        await conn.execute(text("ANALYZE links"))
        names = ("at", "id", "space", "session", "first", "response")
        explained = "EXPLAIN (FORMAT JSON) " + link_statements.DISTURBED
        (plan,) = await repeated(conn, explained, {name: [] for name in names})
    assert [node["Plan Rows"] for node in _nodes(plan["QUERY PLAN"][0]["Plan"]) if node["Plan Rows"] > MANY / 10] == []


async def test_placing_a_call_opens_the_partition_of_its_day_only(db: Database):
    """Each that is opened takes time, also for one call, and there may be hundreds."""
    at = datetime(2026, 3, 4, 12, tzinfo=UTC)
    named = {"ids": [WORKER], "at": [at], "since": at, "until": at}
    named |= {"standing": [WORKER], "subtasks": [0], "numbers": [0], "heads": [True]}
    opened: list[set[str]] = []
    async with db.transaction() as conn:
        await recordings.ensure_days(conn, {date(2026, 3, day) for day in range(1, 8)})
        for statement, given in (
            (link_statements.UNPLACED, [1]),
            (link_statements.ADD_BRANCHES, named),
            (link_statements.ADD_CONVERSATIONS, named),
        ):
            (plan,) = await repeated(conn, "EXPLAIN (FORMAT JSON) " + statement, given)
            names = {node.get("Relation Name", "") for node in _nodes(plan["QUERY PLAN"][0]["Plan"])}
            opened.append({name for name in names if name.startswith("requests")})
    assert opened == [set(), {"requests_20260304"}, {"requests_20260304"}]


def _nodes(plan: dict) -> list[dict]:
    return [plan, *(node for child in plan.get("Plans", ()) for node in _nodes(child))]


_TALKS = """
INSERT INTO links (id, created_at, space, train_id, first, whole, answered, prefixes, body_digest, ok, side,
    conversation_id, parent_id)
SELECT gen_random_uuid(), now() + number * interval '1 second', 'default', 't', sha256(talk::text::bytea),
    sha256(random()::text::bytea), sha256(random()::text::bytea), 'said', 'said', true, false,
    md5(talk::text)::uuid, gen_random_uuid()
FROM generate_series(cast(:first AS integer), :last) number, LATERAL (SELECT least(number / 10, :many) AS talk) t
"""


async def test_a_call_is_entered_beside_those_it_goes_on_from(db: Database, postgres: Cluster):
    """Whatever digests and ids are: where each entry has a page of its own, all of an index has to be in memory."""
    async with db.transaction() as conn:
        await conn.execute(text(_TALKS), {"first": 1, "last": 10 * MANY, "many": MANY})
    with psycopg.connect(postgres.url(role=SUPERUSER), autocommit=True) as other:
        other.execute("CHECKPOINT")
    async with db.transaction() as conn:
        explained = text("EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) " + _TALKS)
        plan = await conn.scalar(explained, {"first": 10 * MANY + 1, "last": 10 * MANY + 200, "many": MANY})
    assert plan[0]["Plan"]["Shared Dirtied Blocks"] < 80

"""Writing recorded model calls: by COPY into a temporary table, then into the ledger, its bodies and its sums.

All of it is idempotent: a call that is stored already (``id`` and ``created_at`` equal) is passed over, and only
rows that were really added are summed. Runs on the driver's own connection, which SQLAlchemy has no COPY for.
"""

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final, cast

import msgspec
import psycopg
from psycopg.types.json import Jsonb
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncConnection

from raworc.store import windows
from raworc.store.notify import notify_calls
from raworc.store.records import DAYS, links, request_bodies, requests

Json = dict[str, Any]

DAY_LOCK: Final = 7_236_902
_BAD_DATA: Final = ("22", "23", "54")  # data exception, integrity violation, a limit of the program
_PARTITIONED: Final = (requests.name, request_bodies.name)


class BadRow(Exception):
    """Postgres, or the driver, will not take one of these rows, however often it is tried."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkRow:
    """What a call says, as digests: the fields are columns of ``links``, see ``domain.digests``."""

    session: str = ""
    agent: str = ""
    parent_agent: str = ""
    first: bytes
    whole: bytes
    prefixes: bytes
    answered: bytes | None = None
    response: bytes | None = None
    body_digest: bytes
    system_digest: bytes | None = None
    prompt: bytes | None = None
    opening: str = ""
    tasks: list[list[str]] | None = None
    summary: str | None = None
    ok: bool
    side: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class BackgroundRow:
    """What a call says of a response in the background: the fields are columns of ``background_responses``.

    ``request_id`` and ``request_at`` name the call that made it, and are None where another one looks at it.
    """

    space: str
    response_id: str
    request_id: uuid.UUID | None = None
    request_at: datetime | None = None
    ended: bool = False
    stop_reason: str | None = None
    error_type: str | None = None
    error_message: str | None = None
    usage: Json | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestRow:
    """One recorded call; the fields are the columns of ``requests`` and ``request_bodies``.

    ``link`` is what conversations are made of, None for a call that belongs to none; ``background``: see there.
    """

    id: uuid.UUID
    created_at: datetime
    caller: str
    caller_id: uuid.UUID | None = None
    space: str | None = None
    train_id: str
    session_id: uuid.UUID | None = None
    turn_id: uuid.UUID | None = None
    account_id: str | None = None
    method: str
    path: str
    query: str | None = None
    model: str | None = None
    request_type: str = "inference"
    streamed: bool = False
    status_code: int | None = None
    upstream_status: int | None = None
    error_type: str | None = None
    error_message: str | None = None
    stop_reason: str | None = None
    note: str | None = None
    bodies: str = "kept"
    input_tokens: int = 0
    output_tokens: int = 0
    cache_creation_input_tokens: int = 0
    cache_creation_5m_input_tokens: int = 0
    cache_creation_1h_input_tokens: int = 0
    cache_read_input_tokens: int = 0
    usage: Json | None = None
    cost_usd: Decimal | None = None
    price_version: str | None = None
    first_byte_ms: int | None = None
    duration_ms: int | None = None
    attempts: list[Json] | None = None
    message_count: int | None = None
    request_headers: Json | None = None
    request_body: bytes | None = None
    response_headers: Json | None = None
    response_body: bytes | None = None
    stream: bytes | None = None
    offsets: list[int] | None = None
    at_ms: list[int] | None = None
    task_tool_invocation: list[Json] | None = None
    link: LinkRow | None = None
    background: BackgroundRow | None = None


@dataclass(frozen=True, kw_only=True)
class StoredCall:
    """What is stored of a call that may be in a conversation. Bodies are as they were kept."""

    id: uuid.UUID
    created_at: datetime
    path: str
    caller: str
    session_id: uuid.UUID | None
    ok: bool
    headers: list[tuple[str, str]]
    request_body: bytes
    response_body: bytes


@dataclass(frozen=True)
class SpoolPosition:
    """All that stands before ``position`` in file ``number`` of a server's spool is loaded."""

    worker_id: uuid.UUID
    number: int
    position: int


async def insert(conn: AsyncConnection, rows: Sequence[RequestRow]) -> int:
    """Add the rows that are not there yet, with their bodies and sums; how many were added.

    Their days must exist (``ensure_days``).

    Raises:
        BadRow: one of them cannot be stored. The transaction is spoilt: undo it.
    """
    driver = await _driver(conn)
    try:
        async with driver.cursor() as cursor:
            await cursor.execute(_INCOMING)
            async with cursor.copy(_COPY) as copy:
                copy.set_types(_TYPES)
                for row in rows:
                    said = [_value(name, getattr(row.link, name)) for name in _SAID] if row.link else _NOTHING_SAID
                    await copy.write_row([_value(name, getattr(row, name)) for name in _CALL] + said)
            await cursor.execute(_SPREAD)
            added = await cursor.fetchall()
            await windows.add(cursor, [row[:3] for row in added if row[0] is not None])
            await _add_background(cursor, [row.background for row in rows if row.background is not None])
        if added:
            await notify_calls(conn, max(row[3] for row in added))
    except psycopg.Error as error:
        if isinstance(error, psycopg.DataError) or (error.sqlstate or "").startswith(_BAD_DATA):
            raise BadRow(str(error)) from None
        raise
    except (ValueError, OverflowError) as error:  # what the driver cannot even write down
        raise BadRow(str(error)) from None
    return len(added)


async def _add_background(cursor: psycopg.AsyncCursor[Any], rows: Sequence[BackgroundRow]) -> None:
    if rows:
        values = [[_value(name, getattr(row, name)) for name in _BACKGROUND] for row in rows]
        await cursor.executemany(_ADD_BACKGROUND, values)


async def ensure_days(conn: AsyncConnection, days: set[date]) -> set[date]:
    """Make the partitions of these days where they are missing; those of them that were dropped and stay so.

    Two recorders may try at once.
    """
    driver = await _driver(conn)
    async with driver.cursor() as cursor:
        await cursor.execute("SELECT pg_advisory_xact_lock(%s)", [DAY_LOCK])
        await cursor.execute("SELECT 'lz4' = ANY(enumvals) FROM pg_settings WHERE name = 'default_toast_compression'")
        lz4 = await cursor.fetchone() == (True,)
        await cursor.execute("SELECT (kept_since AT TIME ZONE 'UTC')::date FROM ledger WHERE kept_since IS NOT NULL")
        since = await cursor.fetchone()
        gone = {day for day in days if since is not None and day < since[0]}
        for day in sorted(days - gone):
            await cursor.execute("SELECT to_regclass(%s)", [_day_name(requests.name, day)])
            if await cursor.fetchone() == (None,):
                for statement in day_statements(day):
                    await cursor.execute(statement)
                if lz4:
                    await _use_lz4(cursor, day)
        return gone


async def positions(conn: AsyncConnection, worker_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, SpoolPosition]:
    """How far these servers' spools are loaded; nothing for those never seen."""
    driver = await _driver(conn)
    async with driver.cursor() as cursor:
        await cursor.execute(
            "SELECT worker_id, number, position FROM spool_positions WHERE worker_id = ANY(%s)", [list(worker_ids)]
        )
        return {row[0]: SpoolPosition(*row) for row in await cursor.fetchall()}


async def save_position(conn: AsyncConnection, node: str, reached: SpoolPosition) -> None:
    """Remember how far a spool is loaded: in the transaction that loads it."""
    driver = await _driver(conn)
    async with driver.cursor() as cursor:
        await cursor.execute(_SAVE_POSITION, [reached.worker_id, node, reached.number, reached.position])


async def forget_positions(conn: AsyncConnection, worker_ids: Sequence[uuid.UUID]) -> None:
    """These spools are loaded to their end, and their files gone."""
    driver = await _driver(conn)
    async with driver.cursor() as cursor:
        await cursor.execute("DELETE FROM spool_positions WHERE worker_id = ANY(%s)", [list(worker_ids)])


async def stored_calls(conn: AsyncConnection, after: tuple[datetime, uuid.UUID] | None, limit: int) -> list[StoredCall]:
    """Calls with a body, from the oldest on, those after ``after`` (start and id)."""
    driver = await _driver(conn)
    at, call_id = after or (datetime.min.replace(tzinfo=UTC), uuid.UUID(int=0))
    async with driver.cursor() as cursor:
        await cursor.execute(_STORED_CALLS, {"at": at, "id": call_id, "limit": limit})
        found = await cursor.fetchall()
    names = tuple(field.name for field in fields(StoredCall))
    return [StoredCall(**dict(zip(names, row, strict=True))) for row in found]


async def replace_links(conn: AsyncConnection, said: Sequence[tuple[StoredCall, LinkRow | None]]) -> None:
    """Store what these calls say in place of what was stored; where they stand is left as it is."""
    driver = await _driver(conn)
    async with driver.cursor() as cursor:
        gone = [(call.id, call.created_at) for call, row in said if row is None]
        await cursor.executemany("DELETE FROM links WHERE id = %s AND created_at = %s", gone)
        told = [(call, row) for call, row in said if row is not None]
        values = [
            [*(_value(name, getattr(row, name)) for name in _SAID), call.id, call.created_at] for call, row in told
        ]
        await cursor.executemany(_REPLACE_LINK, values)


async def _driver(conn: AsyncConnection) -> psycopg.AsyncConnection[Any]:
    raw = await conn.get_raw_connection()
    return cast("psycopg.AsyncConnection[Any]", raw.driver_connection)


def day_statements(day: date) -> Iterator[bytes]:
    """What makes a day's partitions: beside the parent first, then attached, so that its readers are not held up."""
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    bounds = f"FROM ('{start.isoformat()}') TO ('{(start + timedelta(days=1)).isoformat()}')"
    for table in _PARTITIONED:
        name = _day_name(table, day)
        yield f"CREATE TABLE {name} (LIKE {table} INCLUDING ALL)".encode()
        yield f"ALTER TABLE {table} ATTACH PARTITION {name} FOR VALUES {bounds}".encode()


async def _use_lz4(cursor: psycopg.AsyncCursor[Any], day: date) -> None:
    for column in ("request_body", "response_body", "stream"):
        await cursor.execute(
            f"ALTER TABLE {_day_name(request_bodies.name, day)} ALTER COLUMN {column} SET COMPRESSION lz4".encode()
        )


def _day_name(table: str, day: date) -> str:
    return f"{DAYS}.{table}_{day:%Y%m%d}"


def _value(name: str, value: object) -> object:
    return Jsonb(value, dumps=msgspec.json.encode) if name in _JSON and value is not None else value


_CALL: Final = tuple(field.name for field in fields(RequestRow) if field.name not in {"link", "background"})
_BACKGROUND: Final = tuple(field.name for field in fields(BackgroundRow))
_SAID: Final = tuple(field.name for field in fields(LinkRow))
_NOTHING_SAID: Final[list[object]] = [None] * len(_SAID)
_COLUMNS: Final = _CALL + _SAID
_LEDGER: Final = tuple(name for name in _CALL if name in requests.c)
_BODIES: Final = tuple(name for name in _CALL if name in request_bodies.c)
_TABLES: Final = {"r": requests, "b": request_bodies, "l": links}
_OWNER: Final = {
    name: "l" if name in _SAID else next(alias for alias, table in _TABLES.items() if name in table.c)
    for name in _COLUMNS
}
_OF: Final = {name: _TABLES[alias].c[name] for name, alias in _OWNER.items()}
_DIALECT: Final = postgresql.dialect()
_TYPES: Final = [_OF[name].type.compile(dialect=_DIALECT).lower() for name in _COLUMNS]
_JSON: Final = frozenset(name for name in _COLUMNS if isinstance(_OF[name].type, postgresql.JSONB))
_INCOMING: Final = (
    "CREATE TEMPORARY TABLE IF NOT EXISTS incoming_requests ON COMMIT DELETE ROWS AS SELECT "  # noqa: S608  our names
    + ", ".join(f"{alias}.{name}" for name, alias in _OWNER.items())
    + " FROM requests r, request_bodies b, links l WITH NO DATA"
).encode()
_COPY: Final = f"COPY incoming_requests ({', '.join(_COLUMNS)}) FROM STDIN (FORMAT BINARY)".encode()
_TOKENS: Final = ("input_tokens", "output_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
SUMS: Final = {
    "requests": "count(*)",
    "failed": "count(*) FILTER (WHERE error_type IS NOT NULL)",
    **{name: f"coalesce(sum({name}), 0)::bigint" for name in _TOKENS},
    "duration_ms": "coalesce(sum(duration_ms), 0)::bigint",
    "cost_usd": "coalesce(sum(cost_usd), 0)",
    "unpriced": f"count(*) FILTER (WHERE cost_usd IS NULL AND {' + '.join(_TOKENS)} > 0)",
}
KEYS: Final = {
    "space": "coalesce(space, '')",
    "train_id": "train_id",
    "account_id": "coalesce(account_id, '')",
    "model": "coalesce(model, '')",
    "request_type": "request_type",
    "status_code": "coalesce(status_code, 0)",
}


def _summed(table: str, unit: str) -> str:
    """The part of ``_SPREAD`` that adds what was added to one table of sums."""
    keys = ", ".join([unit, *KEYS])
    return f"""
    INSERT INTO {table} ({keys}, {", ".join(SUMS)})
    SELECT date_trunc('{unit}', created_at, 'UTC'), {", ".join(KEYS.values())}, {", ".join(SUMS.values())}
    FROM added GROUP BY 1, 2, 3, 4, 5, 6, 7 ORDER BY 1, 2, 3, 4, 5, 6, 7
    ON CONFLICT ({keys}) DO UPDATE SET {", ".join(f"{name} = {table}.{name} + excluded.{name}" for name in SUMS)}
"""  # noqa: S608  names of our own columns


_SPREAD: Final = f"""
WITH numbered AS (
    INSERT INTO ledger (id, last_number) SELECT 1, count(*) FROM incoming_requests
    ON CONFLICT (id) DO UPDATE SET last_number = ledger.last_number + excluded.last_number RETURNING last_number
), added AS (
    INSERT INTO requests ({", ".join(_LEDGER)}, number)
    SELECT {", ".join(_LEDGER)},
        (SELECT last_number FROM numbered) + 1 - row_number() OVER (ORDER BY created_at DESC, id DESC)
    FROM incoming_requests
    ON CONFLICT (id, created_at) DO NOTHING RETURNING *
), said AS (
    INSERT INTO request_bodies ({", ".join(_BODIES)})
    SELECT {", ".join("i." + name for name in _BODIES)} FROM incoming_requests i JOIN added USING (id, created_at)
    WHERE added.bodies <> 'unstorable' ON CONFLICT (id, created_at) DO NOTHING
), told AS (
    INSERT INTO links (id, created_at, space, train_id, {", ".join(_SAID)})
    SELECT i.id, i.created_at, coalesce(i.space, ''), i.train_id, {", ".join("i." + name for name in _SAID)}
    FROM incoming_requests i JOIN added USING (id, created_at) WHERE i.whole IS NOT NULL
    ON CONFLICT (id, created_at) DO NOTHING
), hours AS ({_summed("request_hours", "hour")}), days AS ({_summed("request_dates", "day")})
SELECT account_id, created_at, input_tokens + output_tokens AS tokens, number FROM added
""".encode()  # noqa: S608  names of our own columns, no input
_STORED_CALLS: Final = """
SELECT r.id, r.created_at, r.path, r.caller, r.session_id, r.error_type IS NULL,
    array(SELECT array[h.key, h.value] FROM jsonb_each_text(b.request_headers) h),
    b.request_body, coalesce(b.response_body, ''::bytea)
FROM requests r JOIN request_bodies b ON b.id = r.id AND b.created_at = r.created_at
WHERE r.created_at >= %(at)s AND (r.created_at, r.id) > (%(at)s, %(id)s) AND b.request_body IS NOT NULL
ORDER BY r.created_at, r.id LIMIT %(limit)s
"""
_REPLACE_LINK: Final = f"""
INSERT INTO links ({", ".join(_SAID)}, id, created_at, space, train_id)
SELECT {", ".join(["%s"] * len(_SAID))}, r.id, r.created_at, coalesce(r.space, ''), r.train_id
FROM requests r WHERE r.id = %s AND r.created_at = %s
ON CONFLICT (id, created_at) DO UPDATE SET {", ".join(f"{name} = excluded.{name}" for name in _SAID)}
""".encode()  # noqa: S608  names of our own columns, no input
_ADD_BACKGROUND: Final = f"""
INSERT INTO background_responses AS b ({", ".join(_BACKGROUND)}) VALUES ({", ".join(["%s"] * len(_BACKGROUND))})
ON CONFLICT (space, response_id) DO UPDATE SET request_id = coalesce(b.request_id, excluded.request_id),
    request_at = coalesce(b.request_at, excluded.request_at), ended = b.ended OR excluded.ended,
    stop_reason = coalesce(excluded.stop_reason, b.stop_reason),
    error_type = coalesce(excluded.error_type, b.error_type),
    error_message = coalesce(excluded.error_message, b.error_message), usage = coalesce(excluded.usage, b.usage)
""".encode()  # noqa: S608  names of our own columns, no input
_SAVE_POSITION: Final = """
INSERT INTO spool_positions (worker_id, node, number, position) VALUES (%s, %s, %s, %s)
ON CONFLICT (worker_id) DO UPDATE SET number = excluded.number, position = excluded.position, updated_at = now()
"""

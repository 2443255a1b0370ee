"""Writing recorded model calls: by COPY into a temporary table, then into the ledger, its bodies and its sums.

All of it is idempotent: a call that is stored already (``id`` and ``created_at`` equal) is passed over, and only
rows that were really added are summed. Runs on the driver's own connection, which SQLAlchemy has no COPY for.
"""

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final, cast

import msgspec
import psycopg
from psycopg.types.json import Jsonb
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncConnection

from raworc.store.records import DAYS, request_bodies, requests

Json = dict[str, Any]

_DAY_LOCK: Final = 7_236_902
_BAD_DATA: Final = ("22", "23", "54")  # data exception, integrity violation, a limit of the program
_PARTITIONED: Final = (requests.name, request_bodies.name)


class BadRow(Exception):
    """Postgres, or the driver, will not take one of these rows, however often it is tried."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestRow:
    """One recorded call; the fields are the columns of ``requests`` and ``request_bodies``."""

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
    bodies: str = "kept"
    input_tokens: int = 0
    output_tokens: int = 0
    cache_creation_input_tokens: int = 0
    cache_creation_5m_input_tokens: int = 0
    cache_creation_1h_input_tokens: int = 0
    cache_read_input_tokens: int = 0
    usage: Json | None = None
    first_byte_ms: int | None = None
    duration_ms: int | None = None
    message_count: int | None = None
    request_headers: Json | None = None
    request_body: bytes | None = None
    response_headers: Json | None = None
    response_body: bytes | None = None
    stream: bytes | None = None
    offsets: list[int] | None = None
    at_ms: list[int] | None = None


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
                    await copy.write_row([_value(name, getattr(row, name)) for name in _COLUMNS])
            await cursor.execute(_SPREAD)
            added = await cursor.fetchone()
    except psycopg.Error as error:
        if isinstance(error, psycopg.DataError) or (error.sqlstate or "").startswith(_BAD_DATA):
            raise BadRow(str(error)) from None
        raise
    except (ValueError, OverflowError) as error:  # what the driver cannot even write down
        raise BadRow(str(error)) from None
    return int(added[0]) if added else 0


async def ensure_days(conn: AsyncConnection, days: set[date]) -> None:
    """Make the partitions of these days where they are missing. Two recorders may try at once."""
    driver = await _driver(conn)
    async with driver.cursor() as cursor:
        await cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_DAY_LOCK])
        await cursor.execute("SELECT 'lz4' = ANY(enumvals) FROM pg_settings WHERE name = 'default_toast_compression'")
        lz4 = await cursor.fetchone() == (True,)
        for day in sorted(days):
            await cursor.execute("SELECT to_regclass(%s)", [_day_name(requests.name, day)])
            if await cursor.fetchone() == (None,):
                for statement in day_statements(day):
                    await cursor.execute(statement)
                if lz4:
                    await _use_lz4(cursor, day)


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


_COLUMNS: Final = tuple(field.name for field in fields(RequestRow))
_LEDGER: Final = tuple(name for name in _COLUMNS if name in requests.c)
_BODIES: Final = tuple(name for name in _COLUMNS if name in request_bodies.c)
_OF: Final = {name: (requests if name in requests.c else request_bodies).c[name] for name in _COLUMNS}
_DIALECT: Final = postgresql.dialect()
_TYPES: Final = [_OF[name].type.compile(dialect=_DIALECT).lower() for name in _COLUMNS]
_JSON: Final = frozenset(name for name in _COLUMNS if isinstance(_OF[name].type, postgresql.JSONB))
_INCOMING: Final = (
    "CREATE TEMPORARY TABLE IF NOT EXISTS incoming_requests ON COMMIT DELETE ROWS AS SELECT "  # noqa: S608  our names
    + ", ".join(f"{'r' if name in requests.c else 'b'}.{name}" for name in _COLUMNS)
    + " FROM requests r, request_bodies b WITH NO DATA"
).encode()
_COPY: Final = f"COPY incoming_requests ({', '.join(_COLUMNS)}) FROM STDIN (FORMAT BINARY)".encode()
_TOKENS: Final = ("input_tokens", "output_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
_SUMS: Final = {
    "requests": "count(*)",
    "failed": "count(*) FILTER (WHERE error_type IS NOT NULL)",
    **{name: f"sum({name})" for name in _TOKENS},
    "duration_ms": "coalesce(sum(duration_ms), 0)",
    "cost_usd": "coalesce(sum(cost_usd), 0)",
    "unpriced": "count(*) FILTER (WHERE cost_usd IS NULL AND input_tokens + output_tokens > 0)",
}
_SPREAD: Final = f"""
WITH added AS (
    INSERT INTO requests ({", ".join(_LEDGER)}) SELECT {", ".join(_LEDGER)} FROM incoming_requests
    ON CONFLICT (id, created_at) DO NOTHING RETURNING *
), said AS (
    INSERT INTO request_bodies ({", ".join(_BODIES)})
    SELECT {", ".join("i." + name for name in _BODIES)} FROM incoming_requests i JOIN added USING (id, created_at)
    WHERE added.bodies = 'kept' ON CONFLICT (id, created_at) DO NOTHING
), summed AS (
    INSERT INTO request_hours (hour, space, train_id, account_id, model, request_type, {", ".join(_SUMS)})
    SELECT date_trunc('hour', created_at), coalesce(space, ''), train_id, coalesce(account_id, ''),
        coalesce(model, ''), request_type, {", ".join(_SUMS.values())}
    FROM added GROUP BY 1, 2, 3, 4, 5, 6 ORDER BY 1, 2, 3, 4, 5, 6
    ON CONFLICT (hour, space, train_id, account_id, model, request_type) DO UPDATE SET
        {", ".join(f"{name} = request_hours.{name} + excluded.{name}" for name in _SUMS)}
)
SELECT count(*) FROM added
""".encode()  # noqa: S608  names of our own columns, no input
_SAVE_POSITION: Final = """
INSERT INTO spool_positions (worker_id, node, number, position) VALUES (%s, %s, %s, %s)
ON CONFLICT (worker_id) DO UPDATE SET number = excluded.number, position = excluded.position, updated_at = now()
"""

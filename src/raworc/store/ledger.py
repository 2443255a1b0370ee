"""Reading recorded model calls as the dashboard does: pages of them, and single ones with all that was said."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from raworc.domain.ledger import Chosen
from raworc.domain.periods import Stretch
from raworc.store.choosing import values, where
from raworc.store.requests import COLUMNS, LedgerRow
from raworc.store.statement import composed


@dataclass(frozen=True)
class Chunk:
    """One piece of a streamed answer, as it came."""

    content: str
    created_at: datetime


@dataclass(frozen=True)
class Said:
    """What was said in one call. Bodies are as they were kept; headers are without credentials."""

    request_headers: dict[str, str] | None
    request_body: bytes | None
    response_headers: dict[str, str] | None
    response_body: bytes | None


async def page(conn: AsyncConnection, chosen: Chosen, place: Stretch, *, limit: int) -> list[LedgerRow]:
    """Calls that are meant, the newest first, where ``place`` says."""
    bounds = {"start": place.start, "end": place.end, "skip": place.skip, "limit": limit}
    statement = f"""
        SELECT {COLUMNS} FROM (
            SELECT * FROM requests WHERE created_at >= %(start)s AND created_at < %(end)s {where(chosen, "call")}
            ORDER BY created_at DESC, id DESC LIMIT %(limit)s OFFSET %(skip)s
        ) r LEFT JOIN links l ON l.id = r.id AND l.created_at = r.created_at
        ORDER BY r.created_at DESC, r.id DESC
    """  # noqa: S608  our own names
    return [LedgerRow(**row) for row in await composed(conn, statement, values(chosen) | bounds)]


async def find(conn: AsyncConnection, call_id: uuid.UUID) -> LedgerRow | None:
    """One call by its id."""
    rows = await composed(conn, _FIND, {"id": call_id})
    return LedgerRow(**rows[0]) if rows else None


async def said(conn: AsyncConnection, row: LedgerRow) -> Said:
    """What was said in a call; nothing of one whose bodies could not be kept."""
    rows = await composed(conn, _SAID, {"id": row.id, "at": row.created_at})
    return Said(**rows[0]) if rows else Said(None, None, None, None)


async def chunks(conn: AsyncConnection, row: LedgerRow) -> list[Chunk]:
    """The pieces of a streamed answer, in order; none of one that was not streamed."""
    rows = await composed(conn, _CHUNKS, {"id": row.id, "at": row.created_at})
    return [Chunk(**chunk) for chunk in rows]


async def of_conversation(
    conn: AsyncConnection, conversation_id: uuid.UUID, *, limit: int, offset: int
) -> list[LedgerRow]:
    """Calls of a conversation, the oldest first."""
    parameters = {"id": conversation_id, "limit": limit, "offset": offset}
    return [LedgerRow(**row) for row in await composed(conn, _OF_CONVERSATION, parameters)]


async def numbered(conn: AsyncConnection, chosen: Chosen, *, after: int, limit: int) -> list[tuple[int, LedgerRow]]:
    """Calls that are meant, in the order of storing, each with its number; those behind ``after``."""
    statement = f"""
        SELECT r.number, {COLUMNS} FROM (
            SELECT * FROM requests WHERE number > %(after)s {where(chosen, "call")} ORDER BY number LIMIT %(limit)s
        ) r LEFT JOIN links l ON l.id = r.id AND l.created_at = r.created_at ORDER BY r.number
    """  # noqa: S608  our own names
    rows = await composed(conn, statement, values(chosen) | {"after": after, "limit": limit})
    return [(row.pop("number"), LedgerRow(**row)) for row in rows]


async def last_number(conn: AsyncConnection) -> int:
    """The number of the call that was stored last; 0 before the first."""
    rows = await composed(conn, "SELECT last_number FROM ledger", {})
    return int(rows[0]["last_number"]) if rows else 0


async def kept_since(conn: AsyncConnection) -> datetime | None:
    """Calls that began before are gone; None where none was ever dropped."""
    rows = await composed(conn, "SELECT kept_since FROM ledger", {})
    return rows[0]["kept_since"] if rows else None


async def unplaced(conn: AsyncConnection, calls: Sequence[LedgerRow], fresh_s: float) -> bool:
    """Whether one of these calls was stored in the last seconds and still waits for its conversation."""
    at = {"ids": [call.id for call in calls], "ats": [call.created_at for call in calls], "fresh_s": fresh_s}
    return bool((await composed(conn, _UNPLACED, at))[0]["waits"])


_FIND: Final = f"""
SELECT {COLUMNS} FROM requests r LEFT JOIN links l ON l.id = r.id AND l.created_at = r.created_at WHERE r.id = %(id)s
"""  # noqa: S608  our own names
_SAID: Final = """
SELECT request_headers, request_body, response_headers, response_body FROM request_bodies
WHERE id = %(id)s AND created_at = %(at)s
"""
_CHUNKS: Final = """
SELECT raworc_text(substring(s.whole FROM s.offsets[n] + 1
    FOR coalesce(s.offsets[n + 1], length(s.whole)) - s.offsets[n])) AS content,
    s.created_at + s.at_ms[n] * interval '1 millisecond' AS created_at
FROM (SELECT created_at, offsets, at_ms, stream || ''::bytea AS whole FROM request_bodies
    WHERE id = %(id)s AND created_at = %(at)s AND stream IS NOT NULL OFFSET 0) s
CROSS JOIN LATERAL generate_series(1, cardinality(s.offsets)) n ORDER BY n
"""
_OF_CONVERSATION: Final = f"""
SELECT {COLUMNS} FROM (
    SELECT * FROM links WHERE conversation_id = %(id)s ORDER BY created_at, id LIMIT %(limit)s OFFSET %(offset)s
) l CROSS JOIN LATERAL (SELECT * FROM requests WHERE id = l.id AND created_at = l.created_at) r
ORDER BY r.created_at, r.id
"""  # noqa: S608  our own names
_UNPLACED: Final = """
SELECT EXISTS (SELECT FROM unnest(%(ids)s::uuid[], %(ats)s::timestamptz[]) AS c (id, at)
    JOIN links l ON l.id = c.id AND l.created_at = c.at AND l.conversation_id IS NULL
    JOIN requests r ON r.id = c.id AND r.created_at = c.at
    WHERE r.updated_at > now() - %(fresh_s)s * interval '1 second') AS waits
"""

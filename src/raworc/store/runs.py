"""A session's awake spans, and what an operator clears in its row where one begins or ends."""

import uuid
from typing import Final

from sqlalchemy import bindparam, delete, text
from sqlalchemy.dialects.postgresql import UUID
from sqlalchemy.ext.asyncio import AsyncConnection

from raworc.store.schema import sessions
from raworc.store.statement import Statement


async def begin(conn: AsyncConnection, run_id: uuid.UUID, session_id: uuid.UUID) -> None:
    """A span begins, unless one is open."""
    await conn.execute(_BEGIN, {"run_id": run_id, "session_id": session_id})


async def end(conn: AsyncConnection, session_id: uuid.UUID) -> None:
    """The open span ends; nobody holds the session any more and nothing is wanted of it."""
    await conn.execute(_END, {"session_id": session_id})


async def seconds(conn: AsyncConnection, session_id: uuid.UUID) -> tuple[float, float]:
    """How long the session has been awake: in all spans, and in the open one (0 when there is none)."""
    row = await _SECONDS.first(conn, {"session_id": session_id})
    return (0.0, 0.0) if row is None else (row[0], row[1])


async def fulfil(conn: AsyncConnection, session_id: uuid.UUID) -> None:
    """What was wanted of the session is there."""
    await conn.execute(sessions.update().where(sessions.c.id == session_id).values(desired=None))


async def remove(conn: AsyncConnection, session_id: uuid.UUID) -> None:
    """Delete a session, and with it its turns, segments, events and spans."""
    await conn.execute(delete(sessions).where(sessions.c.id == session_id))


_BEGIN: Final = text(
    """
INSERT INTO runs (id, session_id) VALUES (:run_id, :session_id)
ON CONFLICT (session_id) WHERE ended_at IS NULL DO NOTHING
"""
).bindparams(bindparam("run_id", type_=UUID), bindparam("session_id", type_=UUID))

_END: Final = text(
    """
WITH ended AS (
    UPDATE runs SET ended_at = clock_timestamp() WHERE session_id = :session_id AND ended_at IS NULL
)
UPDATE sessions SET held_by = NULL, desired = NULL, sleep_at = NULL, sleep_note = NULL, sleep_by = NULL,
                    busy_hold_from = NULL
WHERE id = :session_id
"""
).bindparams(bindparam("session_id", type_=UUID))

_SECONDS: Final = Statement(
    text(
        """
SELECT coalesce(sum(awake), 0), coalesce(sum(awake) FILTER (WHERE is_open), 0)
FROM (
    SELECT ended_at IS NULL AS is_open,
           CAST(greatest(extract(epoch FROM coalesce(ended_at, clock_timestamp()) - started_at), 0) AS float) AS awake
    FROM runs WHERE session_id = :session_id
) AS spans
"""
    ).bindparams(bindparam("session_id", type_=UUID))
)

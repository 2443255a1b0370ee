"""A session's awake spans, and what an operator clears in its row where one begins or ends."""

import uuid
from typing import Final

from sqlalchemy import bindparam, delete, text
from sqlalchemy.dialects.postgresql import UUID
from sqlalchemy.ext.asyncio import AsyncConnection

from raworc.store.schema import sessions


async def begin(conn: AsyncConnection, run_id: uuid.UUID, session_id: uuid.UUID) -> None:
    """A span begins, unless one is open."""
    await conn.execute(_BEGIN, {"run_id": run_id, "session_id": session_id})


async def end(conn: AsyncConnection, session_id: uuid.UUID) -> None:
    """The open span ends; nobody holds the session any more and nothing is wanted of it."""
    await conn.execute(_END, {"session_id": session_id})


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

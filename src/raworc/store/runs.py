"""A session's awake spans, and what changes in its row where one begins or ends."""

import uuid
from dataclasses import dataclass
from typing import Final

from sqlalchemy import bindparam, delete, select, text
from sqlalchemy.dialects.postgresql import UUID
from sqlalchemy.ext.asyncio import AsyncConnection

from raworc.domain.lifecycle import TurnStatus
from raworc.store.schema import sessions, turns


@dataclass(frozen=True)
class OpenTurn:
    """A turn that is not settled."""

    turn_id: uuid.UUID
    status: TurnStatus


async def open_turns(conn: AsyncConnection, session_id: uuid.UUID) -> list[OpenTurn]:
    """A session's pending and processing turns, oldest first."""
    rows = await conn.execute(
        select(turns.c.id, turns.c.status)
        .where(turns.c.session_id == session_id, turns.c.status.in_(("pending", "processing")))
        .order_by(turns.c.number)
    )
    return [OpenTurn(row.id, row.status) for row in rows]


async def begin(conn: AsyncConnection, run_id: uuid.UUID, session_id: uuid.UUID) -> None:
    """A span begins, unless one is open; the wish that led to it is fulfilled."""
    await conn.execute(_BEGIN, {"run_id": run_id, "session_id": session_id})


async def end(conn: AsyncConnection, session_id: uuid.UUID) -> None:
    """The open span ends; nobody holds the session any more and nothing is wanted of it."""
    await conn.execute(_END, {"session_id": session_id})


async def fulfil(conn: AsyncConnection, session_id: uuid.UUID) -> None:
    """The wish for the present state is fulfilled."""
    await conn.execute(
        sessions.update().where(sessions.c.id == session_id, sessions.c.desired == "idle").values(desired=None)
    )


async def end_busy_hold(conn: AsyncConnection, session_id: uuid.UUID) -> None:
    """``POST /busy`` ends; the idle timer starts anew where nothing runs."""
    await conn.execute(_END_BUSY_HOLD, {"session_id": session_id})


async def remove(conn: AsyncConnection, session_id: uuid.UUID) -> None:
    """Delete a session, and with it its turns, segments, events and spans."""
    await conn.execute(delete(sessions).where(sessions.c.id == session_id))


_BEGIN: Final = text(
    """
WITH fulfilled AS (
    UPDATE sessions SET desired = CASE WHEN desired = 'idle' THEN NULL ELSE desired END WHERE id = :session_id
)
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

_END_BUSY_HOLD: Final = text(
    """
UPDATE sessions SET busy_hold_from = NULL,
                    idle_from = CASE WHEN state = 'idle' THEN clock_timestamp() ELSE idle_from END
WHERE id = :session_id
"""
).bindparams(bindparam("session_id", type_=UUID))

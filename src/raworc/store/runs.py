"""A session's awake spans, and what an operator clears in its row where one begins or ends."""

import uuid
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Text, bindparam, text
from sqlalchemy.dialects.postgresql import UUID
from sqlalchemy.ext.asyncio import AsyncConnection

from raworc.store.schema import sessions
from raworc.store.statement import Statement


@dataclass(frozen=True)
class Source:
    """Whose files a session starts with: ``number`` names them on the node, ``code`` says if ``code`` is among them.

    ``has_run``: there was a sandbox around them, so they must be there.
    """

    session_id: uuid.UUID
    number: int
    code: bool
    has_run: bool


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


async def source(conn: AsyncConnection, session_id: uuid.UUID) -> Source | None:
    """Whose files the session is still to be given; None when it has its own."""
    row = await _SOURCE.first(conn, {"session_id": session_id})
    return None if row is None else Source(*row)


async def filled(conn: AsyncConnection, session_id: uuid.UUID) -> None:
    """The session has its files: they are its own from now on."""
    await conn.execute(sessions.update().where(sessions.c.id == session_id).values(copy_of=None, copy_code=True))


async def frozen(conn: AsyncConnection, session_id: uuid.UUID, epoch: int | None) -> None:
    """What was wanted is there: the session's memory is kept under this hold, or (None) it is frozen no more."""
    values = {"paused_epoch": epoch} if epoch is None else {"paused_epoch": epoch, "desired": None}
    await conn.execute(sessions.update().where(sessions.c.id == session_id).values(values))


async def fulfil(conn: AsyncConnection, session_id: uuid.UUID) -> None:
    """What was wanted of the session is there."""
    await conn.execute(sessions.update().where(sessions.c.id == session_id).values(desired=None))


async def opened(conn: AsyncConnection, session_id: uuid.UUID, sandbox_id: str) -> None:
    """Which sandbox the session has now; of a space's, the first one is its start."""
    await conn.execute(_OPENED, {"session_id": session_id, "sandbox_id": sandbox_id})


async def remove(conn: AsyncConnection, session_id: uuid.UUID) -> None:
    """Delete a session, and with it its turns, segments, events and spans.

    One of a space that was terminated, not deleted, stays to be read: nobody holds it and nothing is wanted of it.
    """
    await conn.execute(_REMOVE, {"session_id": session_id})
    await conn.execute(
        sessions.update()
        .where(sessions.c.id == session_id)
        .values(held_by=None, desired=None, copy_of=None, sandbox_id=None)
    )


_BEGIN: Final = text(
    """
INSERT INTO runs (id, session_id) VALUES (:run_id, :session_id)
ON CONFLICT (session_id) WHERE ended_at IS NULL DO NOTHING
"""
).bindparams(bindparam("run_id", type_=UUID), bindparam("session_id", type_=UUID))

_OPENED: Final = text(
    """
WITH started AS (
    UPDATE shared_sessions SET started_at = clock_timestamp() WHERE session_id = :session_id AND started_at IS NULL
)
UPDATE sessions SET sandbox_id = :sandbox_id WHERE id = :session_id
"""
).bindparams(bindparam("session_id", type_=UUID), bindparam("sandbox_id", type_=Text))

_REMOVE: Final = text(
    """
DELETE FROM sessions s WHERE id = :session_id
AND NOT EXISTS (SELECT FROM shared_sessions h WHERE h.session_id = s.id AND h.deleted_at IS NULL)
"""
).bindparams(bindparam("session_id", type_=UUID))

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

_SOURCE: Final = Statement(
    text(
        """
SELECT source.id, source.number, copy.copy_code, EXISTS (SELECT FROM runs WHERE session_id = source.id)
FROM sessions copy JOIN sessions source ON source.id = copy.copy_of WHERE copy.id = :session_id
"""
    ).bindparams(bindparam("session_id", type_=UUID))
)

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

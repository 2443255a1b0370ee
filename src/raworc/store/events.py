"""A session's events in their one numbering: segments, responses and states."""

import uuid
from dataclasses import dataclass
from typing import Any, Final, Literal

from sqlalchemy import BigInteger, bindparam, text
from sqlalchemy.dialects.postgresql import UUID
from sqlalchemy.ext.asyncio import AsyncConnection

from raworc.store.statement import Statement

Json = dict[str, Any]


@dataclass(frozen=True)
class EventRow:
    """One event, in the order of the queries. ``seq`` is a segment's number within its turn."""

    event_seq: int
    kind: Literal["segment", "response", "state"]
    turn_id: uuid.UUID | None
    seq: int | None
    body: Json


async def of_session(conn: AsyncConnection, session_id: uuid.UUID, *, after: int, limit: int) -> list[EventRow]:
    """Events of a session with numbers above ``after``, in order."""
    rows = await _OF_SESSION.all(conn, {"session_id": session_id, "after": after, "limit": limit})
    return [EventRow(*row) for row in rows]


async def of_turn(
    conn: AsyncConnection, session_id: uuid.UUID, turn_id: uuid.UUID, *, after: int, limit: int
) -> list[EventRow]:
    """Events of one turn with numbers above ``after``, in order."""
    parameters = {"session_id": session_id, "turn_id": turn_id, "after": after, "limit": limit}
    return [EventRow(*row) for row in await _OF_TURN.all(conn, parameters)]


async def last(conn: AsyncConnection, session_id: uuid.UUID) -> int | None:
    """The number of a session's newest event; None when the session is gone."""
    return await _LAST.scalar(conn, {"session_id": session_id})


_SESSION: Final = bindparam("session_id", type_=UUID)
_AFTER: Final = bindparam("after", type_=BigInteger)
_LIMIT: Final = bindparam("limit", type_=BigInteger)

# Each part is bounded by itself, so that both are read in index order and no further than needed.
_OF_SESSION: Final = Statement(
    text(
        """
(SELECT event_seq, 'segment' AS kind, turn_id, seq, body FROM segments
 WHERE session_id = :session_id AND event_seq > :after ORDER BY event_seq LIMIT :limit)
UNION ALL
(SELECT event_seq, kind, turn_id, NULL, body FROM session_events
 WHERE session_id = :session_id AND event_seq > :after ORDER BY event_seq LIMIT :limit)
ORDER BY event_seq LIMIT :limit
"""
    ).bindparams(_SESSION, _AFTER, _LIMIT)
)

_OF_TURN: Final = Statement(
    text(
        """
(SELECT event_seq, 'segment' AS kind, turn_id, seq, body FROM segments
 WHERE turn_id = :turn_id AND session_id = :session_id AND event_seq > :after ORDER BY event_seq LIMIT :limit)
UNION ALL
(SELECT event_seq, kind, turn_id, NULL, body FROM session_events
 WHERE session_id = :session_id AND turn_id = :turn_id AND event_seq > :after ORDER BY event_seq LIMIT :limit)
ORDER BY event_seq LIMIT :limit
"""
    ).bindparams(_SESSION, bindparam("turn_id", type_=UUID), _AFTER, _LIMIT)
)

_LAST: Final = Statement(text("SELECT event_seq FROM sessions WHERE id = :session_id").bindparams(_SESSION))

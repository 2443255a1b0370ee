"""Turns of a session of spaces as messages: each input is one, and so is each answer.

They are in the order in which they came to be, so a page that was read once does not change: what is new is last.
"""

import uuid
from datetime import datetime
from typing import Any, Final, NamedTuple

from sqlalchemy import BigInteger, DateTime, bindparam, text
from sqlalchemy.dialects.postgresql import UUID
from sqlalchemy.ext.asyncio import AsyncConnection

from raworc.domain.lifecycle import TurnStatus
from raworc.store.statement import Statement

Json = dict[str, Any]


class MessageRow(NamedTuple):
    """One message; of an answer, ``status`` is how its turn ended, and ``failure`` or ``cancel_reason`` why.

    ``role`` is None for an answer. ``agent_id``: who said it.
    """

    id: uuid.UUID
    role: str | None
    content: str
    status: TurnStatus
    failure: str | None
    cancel_reason: str | None
    agent_id: uuid.UUID | None
    agent_name: str | None
    metadata: Json
    created_at: datetime


async def page(
    conn: AsyncConnection, session_id: uuid.UUID, since: datetime | None, *, limit: int, offset: int
) -> list[MessageRow]:
    """Messages that are newer than ``since``, from the oldest on."""
    parameters = {"session_id": session_id, "since": since, "limit": limit, "offset": offset}
    return [MessageRow(*row) for row in await _PAGE.all(conn, parameters)]


async def newest(
    conn: AsyncConnection, session_id: uuid.UUID, since: datetime | None, *, limit: int
) -> list[MessageRow]:
    """The newest ``limit`` of them, the oldest first."""
    return [
        MessageRow(*row) for row in await _NEWEST.all(conn, {"session_id": session_id, "since": since, "limit": limit})
    ]


async def count(conn: AsyncConnection, session_id: uuid.UUID, since: datetime | None) -> int:
    """How many are newer than ``since``."""
    return await _COUNT.scalar(conn, {"session_id": session_id, "since": since}) or 0


async def hide(conn: AsyncConnection, session_id: uuid.UUID) -> datetime:
    """Show none of those that there are; the moment of that. The session must be locked."""
    return await _HIDE.scalar(conn, {"session_id": session_id})


async def remove(conn: AsyncConnection, session_id: uuid.UUID, until: datetime, *, limit: int) -> int:
    """Delete up to ``limit`` turns that had ended by then, with their segments; how many."""
    return await _REMOVE.scalar(conn, {"session_id": session_id, "until": until, "limit": limit}) or 0


_SESSION: Final = bindparam("session_id", type_=UUID)
_SINCE: Final = bindparam("since", type_=DateTime(timezone=True))
_LIMIT: Final = bindparam("limit", type_=BigInteger)
_OFFSET: Final = bindparam("offset", type_=BigInteger)

_ASKED: Final = """
    SELECT id, created_at AS at, number, false AS answers FROM turns
    WHERE session_id = :session_id AND kind IN ('input', 'said') AND created_at > coalesce(:since, '-infinity')
"""
_ANSWERED: Final = """
    SELECT id, finished_at AS at, number, true AS answers FROM turns
    WHERE session_id = :session_id AND reply_id IS NOT NULL AND finished_at > coalesce(:since, '-infinity')
"""


def _first(order: str, most: str) -> str:
    """The first ``most`` messages in an order of ``at`` and ``number``: of each kind so many are read, by its index."""
    asked, answered = (
        f"({branch} ORDER BY {order.format(at=at)} LIMIT {most})"
        for branch, at in ((_ASKED, "created_at"), (_ANSWERED, "finished_at"))
    )
    return f"SELECT * FROM ({asked} UNION ALL {answered}) AS every ORDER BY {order.format(at='at')}"  # noqa: S608  of constants


_SHOWN: Final = """
SELECT CASE WHEN m.answers THEN t.reply_id ELSE t.id END,
       CASE WHEN NOT m.answers THEN coalesce(t.input ->> 'role', 'USER') END,
       CASE WHEN NOT m.answers THEN t.input #>> '{content,0,content}'
            ELSE coalesce(t.output ->> 'text', (
                SELECT s.body ->> 'text' FROM segments s WHERE s.turn_id = t.id AND s.type = 'final'
                ORDER BY s.seq DESC LIMIT 1), '') END,
       t.status, t.error ->> 'message', t.cancel_reason,
       a.id, a.name,
       CASE WHEN m.answers THEN '{}' ELSE coalesce(t.input -> 'metadata', '{}') END,
       m.at
FROM chosen m JOIN turns t ON t.id = m.id
LEFT JOIN agents a ON a.id = t.agent_id AND (m.answers OR t.kind = 'said')
ORDER BY m.at, m.number
"""

_PAGE: Final = Statement(
    text(
        f"""WITH chosen AS (
    {_first("{at}, number", ":limit + :offset")} LIMIT :limit OFFSET :offset
) {_SHOWN}"""
    ).bindparams(_SESSION, _SINCE, _LIMIT, _OFFSET)
)

_NEWEST: Final = Statement(
    text(
        f"""WITH chosen AS (
    {_first("{at} DESC, number DESC", ":limit")} LIMIT :limit
) {_SHOWN}"""
    ).bindparams(_SESSION, _SINCE, _LIMIT)
)

_COUNT: Final = Statement(
    text(f"SELECT (SELECT count(*) FROM ({_ASKED}) AS q) + (SELECT count(*) FROM ({_ANSWERED}) AS a)").bindparams(  # noqa: S608  of constants
        _SESSION, _SINCE
    )
)

_HIDE: Final = Statement(
    text(
        """
UPDATE shared_sessions SET messages_cleared_at = clock_timestamp() WHERE session_id = :session_id
RETURNING messages_cleared_at
"""
    ).bindparams(_SESSION)
)

_REMOVE: Final = Statement(
    text(
        """
WITH gone AS (
    DELETE FROM turns WHERE id IN (
        SELECT id FROM turns
        WHERE session_id = :session_id AND created_at <= :until AND finished_at <= :until AND kind IN ('input', 'said')
        ORDER BY created_at, number LIMIT :limit
    ) RETURNING id
)
SELECT count(*) FROM gone
"""
    ).bindparams(_SESSION, bindparam("until", type_=DateTime(timezone=True)), _LIMIT)
)

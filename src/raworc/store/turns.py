"""Rows of ``turns``, read together with their segments. They are written by ``store/progress.py``."""

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import BigInteger, Text, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, UUID
from sqlalchemy.ext.asyncio import AsyncConnection

from raworc.domain.lifecycle import TurnStatus
from raworc.store.statement import Statement

Json = dict[str, Any]


@dataclass(frozen=True)
class OpenTurn:
    """One that is pending or processing, and who asked for it."""

    id: uuid.UUID
    status: TurnStatus
    agent_id: uuid.UUID | None


@dataclass(frozen=True)
class TurnRow:
    """A turn with its segments as they are shown; fields in the order of ``_COLUMNS``."""

    id: uuid.UUID
    kind: str
    status: TurnStatus
    input: Json
    output: Json
    segments: list[Json]
    created_at: datetime
    updated_at: datetime


async def open_turns(conn: AsyncConnection, session_id: uuid.UUID) -> list[OpenTurn]:
    """The turns of a session that are not settled, in order of arrival."""
    return [OpenTurn(*row[:3]) for row in await _OPEN.all(conn, {"session_id": session_id})]


async def queued_in_space(conn: AsyncConnection, space: str, *, at_most: int) -> int:
    """How many turns wait in all sessions of a space; counting stops at ``at_most``."""
    return await _QUEUED.scalar(conn, {"space": space, "at_most": at_most}) or 0


async def find(conn: AsyncConnection, session_id: uuid.UUID, turn_id: uuid.UUID) -> TurnRow | None:
    """One turn of a session."""
    row = await _FIND.first(conn, {"session_id": session_id, "turn_id": turn_id})
    return None if row is None else TurnRow(*row)


async def status(conn: AsyncConnection, session_id: uuid.UUID, turn_id: uuid.UUID) -> TurnStatus | None:
    """How one turn of a session stands."""
    return await _STATUS.scalar(conn, {"session_id": session_id, "turn_id": turn_id})


async def error(conn: AsyncConnection, turn_id: uuid.UUID) -> Json | None:
    """``{"code", "message"}`` of a failed turn; None for every other one."""
    return await _ERROR.scalar(conn, {"turn_id": turn_id})


async def page(conn: AsyncConnection, session_id: uuid.UUID, *, limit: int, offset: int) -> tuple[list[TurnRow], int]:
    """Turns of a session, oldest first: as many as fit into ``_PAGE_BYTES``, one at least, and how many did not."""
    rows = await _PAGE.all(conn, {"session_id": session_id, "limit": limit, "offset": offset, "most": _PAGE_BYTES})
    return [TurnRow(*row[:-1]) for row in rows], rows[0][-1] - len(rows) if rows else 0


async def weight(conn: AsyncConnection, turn_id: uuid.UUID) -> int:
    """The bytes of a turn's segments as JSON, 1 KiB each at least."""
    return await _WEIGHT.scalar(conn, {"turn_id": turn_id}) or 0


async def several(conn: AsyncConnection, session_id: uuid.UUID, turn_ids: list[uuid.UUID]) -> list[TurnRow]:
    """Some turns of a session, in no order."""
    rows = await _SEVERAL.all(conn, {"session_id": session_id, "turn_ids": turn_ids})
    return [TurnRow(*row) for row in rows]


async def count(conn: AsyncConnection, session_id: uuid.UUID) -> int:
    """How many turns a session has, markers included."""
    return await _COUNT.scalar(conn, {"session_id": session_id}) or 0


async def set_content(conn: AsyncConnection, turn_id: uuid.UUID, *, given: Json | None, output: Json | None) -> None:
    """Replace input and output; None keeps."""
    await _SET_CONTENT.run(conn, {"turn_id": turn_id, "given": given, "output": output})


_PAGE_BYTES: Final = 1_048_576  # as they are stored, which may be compressed: asking for that unpacks nothing

# json_agg, because an array of jsonb cannot have more than 256 MiB
_COLUMNS: Final = """
SELECT t.id, t.kind, t.status, t.input, t.output,
       coalesce((SELECT json_agg(s.body ORDER BY s.seq) FROM segments s WHERE s.turn_id = t.id), '[]') AS segments,
       t.created_at, t.updated_at
"""
_SHOWN: Final = _COLUMNS + "FROM turns t WHERE t.session_id = :session_id "

_SESSION: Final = bindparam("session_id", type_=UUID)
_TURN: Final = bindparam("turn_id", type_=UUID)

_OPEN: Final = Statement(
    text(
        """
SELECT id, status, agent_id, number FROM turns WHERE session_id = :session_id AND status = 'processing'
UNION ALL
SELECT id, status, agent_id, number FROM turns WHERE session_id = :session_id AND status = 'pending'
ORDER BY number
"""
    ).bindparams(_SESSION)
)

_QUEUED: Final = Statement(
    text(
        """
SELECT count(*) FROM (
    SELECT FROM turns JOIN sessions ON sessions.id = turns.session_id
    WHERE turns.status = 'pending' AND sessions.space = :space LIMIT :at_most
) AS queued
"""
    ).bindparams(bindparam("space", type_=Text), bindparam("at_most", type_=BigInteger))
)

_FIND: Final = Statement(text(_SHOWN + "AND t.id = :turn_id").bindparams(_SESSION, _TURN))

_SEVERAL: Final = Statement(
    text(_SHOWN + "AND t.id = ANY(:turn_ids)").bindparams(_SESSION, bindparam("turn_ids", type_=ARRAY(UUID)))
)

_PAGE: Final = Statement(  # the turns are chosen first: those that are passed over need no segments
    text(
        f"""{_COLUMNS}, t.of FROM (
    SELECT c.*, count(*) OVER () AS of, row_number() OVER upto AS place, sum(c.bytes) OVER upto AS bytes_upto
    FROM (
        SELECT p.*, pg_column_size(p.input) + pg_column_size(p.output) + coalesce(
            (SELECT sum(pg_column_size(s.body)) FROM segments s WHERE s.turn_id = p.id), 0) AS bytes
        FROM (
            SELECT * FROM turns WHERE session_id = :session_id ORDER BY created_at, number LIMIT :limit OFFSET :offset
        ) AS p
    ) AS c WINDOW upto AS (ORDER BY c.created_at, c.number)
) AS t WHERE t.bytes_upto <= :most OR t.place = 1 ORDER BY t.created_at, t.number"""  # noqa: S608  of constants
    ).bindparams(
        _SESSION,
        bindparam("limit", type_=BigInteger),
        bindparam("offset", type_=BigInteger),
        bindparam("most", type_=BigInteger),
    )
)

_WEIGHT: Final = Statement(
    text("SELECT sum(greatest(octet_length(body::text), 1024)) FROM segments WHERE turn_id = :turn_id").bindparams(
        _TURN
    )
)

_STATUS: Final = Statement(
    text("SELECT status FROM turns WHERE session_id = :session_id AND id = :turn_id").bindparams(_SESSION, _TURN)
)

_ERROR: Final = Statement(text("SELECT error FROM turns WHERE id = :turn_id").bindparams(_TURN))

_COUNT: Final = Statement(text("SELECT count(*) FROM turns WHERE session_id = :session_id").bindparams(_SESSION))

_SET_CONTENT: Final = Statement(
    text(
        """
UPDATE turns SET input = coalesce(:given, input), output = coalesce(:output, output), updated_at = clock_timestamp()
WHERE id = :turn_id
"""
    ).bindparams(_TURN, bindparam("given", type_=JSONB), bindparam("output", type_=JSONB))
)

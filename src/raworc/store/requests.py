"""Reading the ledger of recorded model calls."""

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import BigInteger, DateTime, bindparam, text
from sqlalchemy.dialects.postgresql import UUID
from sqlalchemy.ext.asyncio import AsyncConnection


@dataclass(frozen=True)
class Booked:
    """Whose calls are meant: all of a session, or those of one of its turns, begun after ``since``."""

    session_id: uuid.UUID
    turn_id: uuid.UUID | None
    since: datetime


@dataclass(frozen=True, kw_only=True)
class LedgerRow:
    """One recorded call; the fields are columns of ``requests``."""

    id: uuid.UUID
    train_id: str
    account_id: str | None = None
    method: str
    path: str
    status_code: int | None = None
    error_type: str | None = None
    error_message: str | None = None
    model: str | None = None
    request_type: str
    input_tokens: int = 0
    output_tokens: int = 0
    cache_creation_input_tokens: int = 0
    cache_read_input_tokens: int = 0
    stop_reason: str | None = None
    first_byte_ms: int | None = None
    duration_ms: int | None = None
    created_at: datetime
    updated_at: datetime
    conversation_id: uuid.UUID | None = None
    branch_id: str | None = None
    current_message_hash: str | None = None
    parent_message_hash: str | None = None
    is_subtask: bool = False
    parent_task_request_id: uuid.UUID | None = None
    space: str | None = None
    turn_id: uuid.UUID | None = None


@dataclass(frozen=True)
class Awaited:
    """A model call of an operator that is not in the ledger yet; ``fresh``: answered in the last seconds."""

    id: uuid.UUID
    turn_id: uuid.UUID
    started_at: datetime
    fresh: bool


async def page(conn: AsyncConnection, booked: Booked, *, limit: int, offset: int) -> list[LedgerRow]:
    """Newest first."""
    parameters = {**_parameters(booked), "limit": limit, "offset": offset}
    return [LedgerRow(**row) for row in (await conn.execute(_PAGE, parameters)).mappings()]


async def count(conn: AsyncConnection, booked: Booked) -> int:
    """How many there are."""
    return (await conn.execute(_COUNT, _parameters(booked))).scalar_one()


async def awaited(conn: AsyncConnection, booked: Booked) -> list[Awaited]:
    """Calls that were made and are not recorded yet, newest first. What is a day old will not come any more."""
    return [Awaited(*row) for row in await conn.execute(_AWAITED, _parameters(booked))]


async def processing_turn(conn: AsyncConnection, session_id: uuid.UUID, epoch: int) -> uuid.UUID | None:
    """The turn that a session processes under this epoch of its hold."""
    return (await conn.execute(_PROCESSING, {"session_id": session_id, "epoch": epoch})).scalar_one_or_none()


def _parameters(booked: Booked) -> dict[str, object]:
    return {"session_id": booked.session_id, "turn_id": booked.turn_id, "since": booked.since}


_COLUMNS: Final = ", ".join(LedgerRow.__dataclass_fields__)
_BOOKED: Final = """
session_id = :session_id AND (cast(:turn_id AS uuid) IS NULL OR turn_id = :turn_id)
AND created_at >= cast(:since AS timestamptz) - interval '1 hour'
"""  # servers' clocks may be behind Postgres'; the bound is there to leave most days' partitions alone
_KEYS: Final = (
    bindparam("session_id", type_=UUID),
    bindparam("turn_id", type_=UUID),
    bindparam("since", type_=DateTime(timezone=True)),
)
_PAGE: Final = text(
    f"SELECT {_COLUMNS} FROM requests WHERE {_BOOKED} ORDER BY created_at DESC, id DESC"  # noqa: S608  our names
    " LIMIT :limit OFFSET :offset"
).bindparams(*_KEYS, bindparam("limit", type_=BigInteger), bindparam("offset", type_=BigInteger))
_COUNT: Final = text(f"SELECT count(*) FROM requests WHERE {_BOOKED}").bindparams(*_KEYS)  # noqa: S608  our names
_AWAITED: Final = text("""
SELECT s.request_id, s.turn_id, s.started_at, coalesce(s.finished_at > now() - interval '10 seconds', false)
FROM steps s JOIN turns t ON t.id = s.turn_id
WHERE t.session_id = :session_id AND (cast(:turn_id AS uuid) IS NULL OR t.id = :turn_id)
    AND t.created_at >= :since AND s.kind = 'model' AND s.request_id IS NOT NULL
    AND s.started_at > now() - interval '1 day' AND (s.state = 'done' OR t.status = 'processing')
    AND NOT EXISTS (SELECT FROM requests r
        WHERE r.id = s.request_id AND r.created_at > s.started_at - interval '1 hour')
ORDER BY s.started_at DESC
""").bindparams(*_KEYS)
_PROCESSING: Final = text("""
SELECT t.id FROM turns t JOIN sessions s ON s.id = t.session_id
WHERE t.session_id = :session_id AND t.status = 'processing' AND s.hold_epoch = :epoch
""").bindparams(bindparam("session_id", type_=UUID), bindparam("epoch", type_=BigInteger))

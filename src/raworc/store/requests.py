"""Reading the ledger of recorded model calls."""

import uuid
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final

from sqlalchemy import BigInteger, DateTime, bindparam, text
from sqlalchemy.dialects.postgresql import UUID
from sqlalchemy.ext.asyncio import AsyncConnection

from raworc.store.recordings import SUMS
from raworc.store.usage import Sums


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
    note: str | None = None
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
    parent_request_id: uuid.UUID | None = None
    retry_of: uuid.UUID | None = None
    link_source: str | None = None
    space: str | None = None
    turn_id: uuid.UUID | None = None
    session_id: uuid.UUID | None = None
    cost_usd: Decimal | None = None
    price_version: str | None = None


@dataclass(frozen=True)
class TurnCost:
    """``unpriced``: answered calls whose price nobody knows, which are not in the sum."""

    usd: Decimal
    unpriced: int
    complete: bool


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


async def sums(conn: AsyncConnection, booked: Booked) -> Sums:
    """How many there are, and what they used together."""
    return Sums(**(await conn.execute(_SUMS, _parameters(booked))).mappings().one())


async def awaited(conn: AsyncConnection, booked: Booked) -> list[Awaited]:
    """Calls that were made and are not recorded yet, newest first. What is a day old will not come any more."""
    return [Awaited(*row) for row in await conn.execute(_AWAITED, _parameters(booked))]


async def cost_of_turn(conn: AsyncConnection, turn_id: uuid.UUID, awaited: uuid.UUID | None) -> TurnCost:
    """What the recorded calls of a turn cost so far; ``complete`` once ``awaited`` is among them."""
    row = (await conn.execute(_COST, {"turn_id": turn_id, "awaited": awaited})).one()
    return TurnCost(*row)


async def processing_turn(conn: AsyncConnection, session_id: uuid.UUID, epoch: int) -> uuid.UUID | None:
    """The turn that a session processes under this epoch of its hold."""
    return (await conn.execute(_PROCESSING, {"session_id": session_id, "epoch": epoch})).scalar_one_or_none()


def _parameters(booked: Booked) -> dict[str, object]:
    return {"session_id": booked.session_id, "turn_id": booked.turn_id, "since": booked.since}


_LINKED: Final = {
    "conversation_id": "l.conversation_id",
    "branch_id": "coalesce(l.branch_id, 'main')",
    "current_message_hash": "encode(l.whole, 'hex')",
    "parent_message_hash": "encode(l.parent_digest, 'hex')",
    "is_subtask": "coalesce(l.is_subtask, false)",
    "parent_task_request_id": "l.parent_task_id",
    "parent_request_id": "l.parent_id",
    "retry_of": "l.retry_of",
    "link_source": "l.source",
}
COLUMNS: Final = ", ".join(f"{_LINKED.get(name, f'r.{name}')} AS {name}" for name in LedgerRow.__dataclass_fields__)
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
    f"SELECT {COLUMNS} FROM requests r LEFT JOIN links l USING (id, created_at)"  # noqa: S608  our names
    f" WHERE {_BOOKED} ORDER BY r.created_at DESC, r.id DESC LIMIT :limit OFFSET :offset"
).bindparams(*_KEYS, bindparam("limit", type_=BigInteger), bindparam("offset", type_=BigInteger))
_SUMMED: Final = ", ".join(f"{expression} AS {name}" for name, expression in SUMS.items())
_SUMS: Final = text(f"SELECT {_SUMMED} FROM requests WHERE {_BOOKED}").bindparams(*_KEYS)  # noqa: S608  our names
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
_COST: Final = text("""
SELECT coalesce(sum(cost_usd), 0), count(*) FILTER (WHERE cost_usd IS NULL AND input_tokens + output_tokens > 0),
    cast(:awaited AS uuid) IS NULL OR coalesce(bool_or(id = :awaited), false)
FROM requests WHERE turn_id = :turn_id
    AND created_at >= (SELECT created_at FROM turns WHERE id = :turn_id) - interval '1 hour'
""").bindparams(bindparam("turn_id", type_=UUID), bindparam("awaited", type_=UUID))

"""Reading conversations: sums of the calls that were placed in them, their branches, and their newest call."""

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from raworc.domain.ledger import Chosen
from raworc.store.choosing import values
from raworc.store.statement import composed


@dataclass(frozen=True, kw_only=True)
class ConversationRow:
    """One conversation. ``latest_*`` are of its newest call, which may have no status or model."""

    id: uuid.UUID
    space: str
    train_id: str
    account_id: str | None
    first_at: datetime
    last_at: datetime
    requests: int
    tokens: int
    cost_usd: Decimal
    unpriced: int
    message_count: int
    subtasks: int
    latest_request_id: uuid.UUID
    latest_status_code: int | None
    latest_model: str | None


@dataclass(frozen=True, kw_only=True)
class BranchRow:
    """A branch; ``parent_hash`` (hex) is of the part that its first call shares with its parent, None for none."""

    conversation_id: uuid.UUID
    branch_id: str
    parent_hash: str | None
    created_at: datetime
    message_count: int


async def page(conn: AsyncConnection, chosen: Chosen, *, limit: int, offset: int) -> list[ConversationRow]:
    """Conversations whose newest call is in the period, the last ones to be used first.

    Those with a call of this model, one of this kind, and one that ended so: not always the same call.
    """
    statement = f"""
        SELECT {_COLUMNS} FROM (
            SELECT * FROM conversations {_where(chosen)} ORDER BY last_at DESC, id DESC
            LIMIT %(limit)s OFFSET %(offset)s
        ) c {_LATEST} ORDER BY c.last_at DESC, c.id DESC
    """  # noqa: S608  our own names
    parameters = _values(chosen) | {"limit": limit, "offset": offset}
    return [ConversationRow(**row) for row in await composed(conn, statement, parameters)]


async def count(conn: AsyncConnection, chosen: Chosen) -> int:
    """How many there are."""
    statement = f"SELECT count(*) AS many FROM conversations {_where(chosen)}"  # noqa: S608  our own names
    return int((await composed(conn, statement, _values(chosen)))[0]["many"])


async def find(conn: AsyncConnection, conversation_id: uuid.UUID) -> ConversationRow | None:
    """One by its id."""
    rows = await composed(conn, _FIND, {"id": conversation_id})
    return ConversationRow(**rows[0]) if rows else None


async def several(conn: AsyncConnection, conversation_ids: Sequence[uuid.UUID]) -> list[ConversationRow]:
    """Those of these that are there."""
    return [ConversationRow(**row) for row in await composed(conn, _SEVERAL, {"ids": list(conversation_ids)})]


async def branches(conn: AsyncConnection, conversation_ids: Sequence[uuid.UUID]) -> list[BranchRow]:
    """The branches of these conversations, each one's oldest first."""
    return [BranchRow(**row) for row in await composed(conn, _BRANCHES, {"ids": list(conversation_ids)})]


async def subtasks(conn: AsyncConnection, chosen: Chosen) -> int:
    """How many subtasks began in the period, in conversations that are meant."""
    own = _where(chosen, timed=False)
    statement = """
        SELECT count(*) AS many FROM conversation_branches
        WHERE is_subtask AND branch_id LIKE 'subtask\\_%%' AND created_at >= %(start)s AND created_at < %(end)s
    """
    if own:
        statement += f"AND conversation_id IN (SELECT id FROM conversations {own})"  # noqa: S608  our own names
    return int((await composed(conn, statement, _values(chosen)))[0]["many"])


def _where(chosen: Chosen, *, timed: bool = True) -> str:
    conditions = [*_conditions(chosen), *(("last_at >= %(start)s", "last_at < %(end)s") if timed else ())]
    return f"WHERE {' AND '.join(conditions)}" if conditions else ""


def _conditions(chosen: Chosen) -> Iterator[str]:
    if chosen.spaces is not None:
        yield "space = ANY(%(spaces)s)"
    for name in ("space", "train_id", "account_id"):
        if getattr(chosen, name) is not None:
            yield f"{name} = %({name})s"
    if chosen.outcome.failed is not None:
        yield "failed > 0" if chosen.outcome.failed else "failed < requests"
    if chosen.outcome.least_status is not None:  # of a class the few codes that there were: looked up once
        yield f"status_codes && ({_KNOWN_STATUSES})"
    for name, kinds in (("model", "models"), ("request_type", "request_types")):
        if getattr(chosen, name) is not None:
            yield f"%({name})s = ANY({kinds})"


def _values(chosen: Chosen) -> dict[str, Any]:
    return values(chosen) | {"start": chosen.start, "end": chosen.end}


_KNOWN_STATUSES: Final = """SELECT array_agg(DISTINCT status_code) FROM request_dates
    WHERE status_code BETWEEN %(least_status)s AND %(most_status)s"""
_LATEST: Final = """
LEFT JOIN LATERAL (SELECT status_code, model FROM requests
    WHERE id = c.latest_request_id AND created_at = c.last_at LIMIT 1) r ON true
"""
_OF_LATEST: Final = {"latest_status_code": "r.status_code", "latest_model": "r.model"}
_COLUMNS: Final = ", ".join(
    f"{_OF_LATEST.get(name, f'c.{name}')} AS {name}" for name in ConversationRow.__dataclass_fields__
)
_FIND: Final = f"SELECT {_COLUMNS} FROM conversations c {_LATEST} WHERE c.id = %(id)s"  # noqa: S608  our own names
_SEVERAL: Final = f"SELECT {_COLUMNS} FROM conversations c {_LATEST} WHERE c.id = ANY(%(ids)s)"  # noqa: S608  our own
_BRANCHES: Final = """
SELECT conversation_id, branch_id, encode(parent_digest, 'hex') AS parent_hash, created_at, message_count
FROM conversation_branches WHERE conversation_id = ANY(%(ids)s) ORDER BY conversation_id, created_at, branch_id
"""

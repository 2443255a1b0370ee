"""Rows of ``approvals``: tool calls that a person has to decide about before they are made."""

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

from sqlalchemy import Integer, Text, bindparam, text
from sqlalchemy.dialects.postgresql import JSONB, UUID
from sqlalchemy.ext.asyncio import AsyncConnection

from raworc.domain.lifecycle import TurnStatus
from raworc.store.statement import Statement

Decision = Literal["approve", "deny"]


@dataclass(frozen=True)
class Question:
    """A call as it waits: the number of the step that it will be, and what people may see of it."""

    step: int
    tool_use_id: str
    tool: str
    args: Any


@dataclass(frozen=True)
class Asked:
    """A stored question, and whether it was stored just now."""

    id: uuid.UUID
    is_new: bool


@dataclass(frozen=True)
class ApprovalRow:
    """One question with its answer, and how its turn stands; fields in the order of ``_COLUMNS``."""

    id: uuid.UUID
    turn_id: uuid.UUID
    tool_use_id: str
    tool: str
    args: Any
    asked_at: datetime
    decision: Decision | None
    reason: str | None
    decided_by: str | None
    decided_at: datetime | None
    turn_status: TurnStatus

    @property
    def is_open(self) -> bool:
        """Whether somebody waits for a decision."""
        return self.decision is None and self.turn_status == "processing"


async def ask(conn: AsyncConnection, approval_id: uuid.UUID, turn_id: uuid.UUID, question: Question) -> Asked:
    """Store a question under this id, unless that step of the turn has one already.

    Whoever waits works: the turn's count of workers that stopped begins anew.
    """
    parameters = {"id": approval_id, "turn_id": turn_id, **vars(question)}
    found = await _ASK.scalar(conn, parameters)
    return Asked(found, is_new=found == approval_id)


async def find(conn: AsyncConnection, approval_id: uuid.UUID) -> ApprovalRow | None:
    """One question, of whatever session."""
    row = await _FIND.first(conn, {"id": approval_id})
    return None if row is None else ApprovalRow(*row)


async def find_in(conn: AsyncConnection, session_id: uuid.UUID, approval_id: uuid.UUID) -> ApprovalRow | None:
    """One question of a session."""
    row = await _FIND_IN.first(conn, {"id": approval_id, "session_id": session_id})
    return None if row is None else ApprovalRow(*row)


async def open_ones(conn: AsyncConnection, session_id: uuid.UUID) -> list[ApprovalRow]:
    """What a session waits for, oldest first."""
    return [ApprovalRow(*row) for row in await _OPEN.all(conn, {"session_id": session_id})]


async def decide(
    conn: AsyncConnection, approval_id: uuid.UUID, decision: Decision, *, reason: str | None, by: str
) -> None:
    """Answer a question that has no answer yet."""
    await _DECIDE.run(conn, {"id": approval_id, "decision": decision, "reason": reason, "by": by})


_ASK: Final = Statement(
    text(
        """
WITH waits AS (UPDATE turns SET attempts = 0 WHERE id = :turn_id),
added AS (
    INSERT INTO approvals (id, turn_id, step, tool_use_id, tool, args)
    VALUES (:id, :turn_id, :step, :tool_use_id, :tool, :args)
    ON CONFLICT (turn_id, step) DO NOTHING
    RETURNING id
)
SELECT id FROM added UNION ALL SELECT id FROM approvals WHERE turn_id = :turn_id AND step = :step
"""
    ).bindparams(
        bindparam("id", type_=UUID),
        bindparam("turn_id", type_=UUID),
        bindparam("step", type_=Integer),
        bindparam("tool_use_id", type_=Text),
        bindparam("tool", type_=Text),
        bindparam("args", type_=JSONB),
    )
)

_COLUMNS: Final = """
SELECT a.id, a.turn_id, a.tool_use_id, a.tool, a.args, a.asked_at,
       a.decision, a.reason, a.decided_by, a.decided_at, t.status
FROM approvals a JOIN turns t ON t.id = a.turn_id
"""

_FIND: Final = Statement(text(f"{_COLUMNS} WHERE a.id = :id").bindparams(bindparam("id", type_=UUID)))

_FIND_IN: Final = Statement(
    text(f"{_COLUMNS} WHERE a.id = :id AND t.session_id = :session_id").bindparams(
        bindparam("id", type_=UUID), bindparam("session_id", type_=UUID)
    )
)

_OPEN: Final = Statement(
    text(
        f"{_COLUMNS} WHERE t.session_id = :session_id AND t.status = 'processing' AND a.decision IS NULL"
        " ORDER BY a.step"
    ).bindparams(bindparam("session_id", type_=UUID))
)

_DECIDE: Final = Statement(
    text(
        """
UPDATE approvals SET decision = :decision, reason = :reason, decided_by = :by, decided_at = clock_timestamp()
WHERE id = :id AND decision IS NULL
"""
    ).bindparams(
        bindparam("id", type_=UUID),
        bindparam("decision", type_=Text),
        bindparam("reason", type_=Text),
        bindparam("by", type_=Text),
    )
)

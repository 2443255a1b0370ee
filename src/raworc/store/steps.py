"""The log of a turn: what was started, what is done, and what a model is told of it."""

import uuid
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import BigInteger, Integer, Text, bindparam, text
from sqlalchemy.dialects.postgresql import JSONB, UUID
from sqlalchemy.ext.asyncio import AsyncConnection

from raworc.domain.context import PastTurn
from raworc.domain.turns import Step, StepKind, StepState


@dataclass(frozen=True)
class Started:
    """A step that begins: a model call with the id of its recorded request, or a tool run."""

    number: int
    kind: StepKind
    request_id: uuid.UUID | None = None
    tool_use_id: str | None = None


@dataclass(frozen=True)
class Finished:
    """How a started step ended: ``content`` as in ``Step``."""

    number: int
    state: StepState
    content: Any


@dataclass(frozen=True)
class TurnRow:
    """What a worker must know of a turn itself. ``attempts``: takes since the last new segment, this one included."""

    turn_id: uuid.UUID
    attempts: int
    model_calls: int
    past: PastTurn


async def start(conn: AsyncConnection, turn_id: uuid.UUID, epoch: int, step: Started, *, attempts: int = 0) -> None:
    """Store that a step begins, or that a model call is made again; count the call, and ``attempts`` to take it."""
    await conn.execute(
        _START,
        {
            "turn_id": turn_id,
            "number": step.number,
            "kind": step.kind,
            "epoch": epoch,
            "request_id": step.request_id,
            "tool_use_id": step.tool_use_id,
            "attempts": attempts,
        },
    )


async def finish(conn: AsyncConnection, turn_id: uuid.UUID, step: Finished) -> bool:
    """Store a step's end; False when it has one already, or never began."""
    parameters = {"turn_id": turn_id, "number": step.number, "state": step.state, "content": step.content}
    return (await conn.execute(_FINISH, parameters)).rowcount == 1


async def attempt(conn: AsyncConnection, turn_id: uuid.UUID) -> None:
    """Count one more worker that takes the turn."""
    await conn.execute(_ATTEMPT, {"turn_id": turn_id})


async def history(conn: AsyncConnection, session_id: uuid.UUID, turn_id: uuid.UUID) -> tuple[list[PastTurn], TurnRow]:
    """The turns before this one that count since the context's cutoff, oldest first, and the turn itself.

    A turn counts when it is completed, or was cancelled after the model had said something.
    """
    rows = (await conn.execute(_HISTORY, {"session_id": session_id, "turn_id": turn_id})).all()
    turns: dict[uuid.UUID, tuple[Any, list[Step]]] = {}
    for row in rows:
        _, steps = turns.setdefault(row.id, (row, []))
        if row.number is not None:
            steps.append(Step(row.number, row.kind, row.state, row.content, row.tool_use_id))
    present, log = turns.pop(turn_id)
    past = [
        PastTurn(row.input, tuple(steps), row.answer)
        for row, steps in turns.values()
        if row.status == "completed" or any(step.blocks for step in steps)
    ]
    own = PastTurn(present.input, tuple(log))
    return past, TurnRow(turn_id, present.attempts, present.model_calls, own)


_START: Final = text(
    """
WITH step AS (
    INSERT INTO steps (turn_id, number, kind, state, epoch, request_id, tool_use_id)
    VALUES (:turn_id, :number, :kind, 'started', :epoch, :request_id, :tool_use_id)
    ON CONFLICT (turn_id, number) DO UPDATE
    SET epoch = excluded.epoch, request_id = excluded.request_id, started_at = clock_timestamp()
    WHERE steps.kind = 'model' AND steps.state = 'started'
    RETURNING kind
)
UPDATE turns SET model_calls = model_calls + 1, attempts = attempts + :attempts
FROM step WHERE turns.id = :turn_id AND step.kind = 'model'
"""
).bindparams(
    bindparam("turn_id", type_=UUID),
    bindparam("number", type_=Integer),
    bindparam("kind", type_=Text),
    bindparam("epoch", type_=BigInteger),
    bindparam("request_id", type_=UUID),
    bindparam("tool_use_id", type_=Text),
    bindparam("attempts", type_=Integer),
)

_FINISH: Final = text(
    """
UPDATE steps SET state = :state, content = :content, finished_at = clock_timestamp()
WHERE turn_id = :turn_id AND number = :number AND state = 'started'
"""
).bindparams(
    bindparam("turn_id", type_=UUID),
    bindparam("number", type_=Integer),
    bindparam("state", type_=Text),
    bindparam("content", type_=JSONB),
)

_ATTEMPT: Final = text("UPDATE turns SET attempts = attempts + 1 WHERE id = :turn_id").bindparams(
    bindparam("turn_id", type_=UUID)
)

_HISTORY: Final = text(
    """
SELECT t.id, t.status, t.input, t.output ->> 'text' AS answer, t.attempts, t.model_calls,
       steps.number, steps.kind, steps.state, steps.content, steps.tool_use_id
FROM turns AS present
JOIN sessions ON sessions.id = present.session_id
JOIN turns AS t ON t.id = present.id OR (
    t.session_id = present.session_id AND t.number < present.number AND t.kind = 'input'
    AND t.status IN ('completed', 'cancelled')
    AND t.created_at > coalesce(sessions.context_cutoff_at, '-infinity'))
LEFT JOIN steps ON steps.turn_id = t.id
WHERE present.id = :turn_id AND present.session_id = :session_id
ORDER BY t.number, steps.number
"""
).bindparams(bindparam("session_id", type_=UUID), bindparam("turn_id", type_=UUID))

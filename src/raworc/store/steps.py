"""The log of a turn: what was started, what is done, and what a model is told of it."""

import uuid
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import BigInteger, Integer, Text, bindparam, text
from sqlalchemy.dialects.postgresql import JSONB, UUID
from sqlalchemy.ext.asyncio import AsyncConnection

from raworc.domain.context import PastTurn
from raworc.domain.turns import Step, StepKind, StepState
from raworc.store.briefs import Brief
from raworc.store.statement import Statement


@dataclass(frozen=True)
class Started:
    """A step that begins: a model call with the id of its recorded request, or a tool run."""

    number: int
    kind: StepKind
    request_id: uuid.UUID | None = None
    tool_use_id: str | None = None


@dataclass(frozen=True)
class Finished:
    """How a started step ended: ``content``, ``context_tokens`` and ``tokens`` as in ``Step``, and its length."""

    number: int
    state: StepState
    content: Any
    characters: int = 0
    context_tokens: int | None = None
    tokens: int = 0


@dataclass(frozen=True)
class Taken:
    """A turn as its worker finds it, and the agent it is for; None when that was deleted.

    ``attempts`` counts the workers that took it since its last new segment, this one included. ``past`` are the
    turns before it that count since the context's cutoff, oldest first: completed ones, and those that were
    cancelled after the model had said something. ``summary`` stands for what is before them, where something was
    kept of that; ``cutoff`` is the number of the cutoff that says so, 0 for none. ``compacts``: the turn is none of
    the agent's, but asks for a summary.
    """

    attempts: int
    model_calls: int
    present: PastTurn
    past: list[PastTurn]
    agent: Brief | None
    summary: str | None = None
    cutoff: int = 0
    compacts: bool = False


async def take(
    conn: AsyncConnection, session_id: uuid.UUID, turn_id: uuid.UUID, *, epoch: int, request_id: uuid.UUID | None
) -> Taken:
    """Count one more worker that takes the turn, once an ``epoch``: one that asks again is no other worker.

    Begins the turn's first model call where ``request_id`` names one.
    """
    parameters = {"session_id": session_id, "turn_id": turn_id, "epoch": epoch, "request_id": request_id}
    rows = [_TakenRow(*row) for row in await _TAKE.all(conn, parameters)]
    turns: dict[uuid.UUID, tuple[_TakenRow, list[Step]]] = {}
    for row in rows:
        _, log = turns.setdefault(row.turn_id, (row, []))
        if row.number is not None:
            seen = row.context_tokens, row.tokens
            log.append(Step(row.number, row.kind, row.state, row.content, row.tool_use_id, *seen))
    own, log = turns.pop(turn_id)
    past = [
        PastTurn(row.input, tuple(steps), row.answer, row.told)
        for row, steps in turns.values()
        if row.status == "completed" or any(step.blocks for step in steps)
    ]
    return Taken(
        own.attempts,
        own.model_calls,
        PastTurn(own.input, tuple(log), told=own.told),
        past,
        None if own.agent[0] is None else Brief(*own.agent),
        own.summary,
        own.cutoff,
        compacts=own.turn_kind == "compact",
    )


async def step(
    conn: AsyncConnection, turn_id: uuid.UUID, epoch: int, *, done: Finished | None = None, then: Started | None = None
) -> bool:
    """End a step, begin another one (or make a model call again, which is counted).

    False when ``done`` has an end already: then nothing is stored.
    """
    parameters = {
        "turn_id": turn_id,
        "epoch": epoch,
        "done": done.number if done else None,
        "state": done.state if done else None,
        "content": done.content if done else None,
        "characters": done.characters if done else 0,
        "context_tokens": done.context_tokens if done else None,
        "tokens": done.tokens if done else 0,
        "number": then.number if then else None,
        "kind": then.kind if then else None,
        "request_id": then.request_id if then else None,
        "tool_use_id": then.tool_use_id if then else None,
    }
    return bool(await _STEP.scalar(conn, parameters))


class _TakenRow:
    """One row of ``_TAKE``: a turn, one of its steps (or none), and for the turn itself its agent."""

    def __init__(self, *columns: Any) -> None:  # noqa: ANN401  in the order of the statement
        self.turn_id, self.status, self.input, self.answer, self.attempts, self.model_calls = columns[:6]
        self.number, self.kind, self.state, self.content, self.tool_use_id, self.context_tokens = columns[6:12]
        self.tokens, self.turn_kind, self.told, self.summary, self.cutoff = columns[12:17]
        self.agent = columns[17:]


_TAKE: Final = Statement(
    text(
        """
WITH begun AS (
    INSERT INTO steps (turn_id, number, kind, state, epoch, request_id)
    SELECT :turn_id, 1, 'model', 'started', :epoch, :request_id WHERE :request_id IS NOT NULL
    ON CONFLICT (turn_id, number) DO UPDATE
    SET epoch = excluded.epoch, request_id = excluded.request_id, started_at = clock_timestamp()
    RETURNING number
),
counted AS (
    UPDATE turns SET attempts = attempts + (attempt_epoch IS DISTINCT FROM :epoch)::int, attempt_epoch = :epoch,
        model_calls = model_calls + (SELECT count(*) FROM begun)
    WHERE id = :turn_id
    RETURNING id, attempts, model_calls
)
SELECT t.id, t.status, t.input, t.output ->> 'text', counted.attempts, counted.model_calls,
       steps.number, steps.kind, steps.state, steps.content, steps.tool_use_id, steps.context_tokens, steps.tokens,
       t.kind, CASE WHEN t.id = cut.turn_id THEN cut.step ELSE 0 END,
       CASE WHEN t.id = present.id THEN cut.summary END, coalesce(cut.number, 0),
       a.id, a.name, a.space, a.instructions, a.setup, a.model, a.max_tokens, a.network, a.limits,
       a.tools, a.guardrails, a.knowledge_bases
FROM turns AS present
LEFT JOIN LATERAL (
    SELECT * FROM context_cutoffs WHERE session_id = present.session_id ORDER BY number DESC LIMIT 1
) AS cut ON true
JOIN turns AS t ON t.id = present.id OR (
    t.session_id = present.session_id AND t.number < present.number AND t.kind = 'input'
    AND t.status IN ('completed', 'cancelled')
    AND t.created_at >= coalesce(cut.counts_from, '-infinity'))
LEFT JOIN steps ON steps.turn_id = t.id
LEFT JOIN counted ON counted.id = t.id
LEFT JOIN agents AS a ON t.id = present.id AND a.session_id = present.session_id
WHERE present.id = :turn_id AND present.session_id = :session_id
ORDER BY t.number, steps.number
"""
    ).bindparams(
        bindparam("session_id", type_=UUID),
        bindparam("turn_id", type_=UUID),
        bindparam("epoch", type_=BigInteger),
        bindparam("request_id", type_=UUID),
    )
)

_STEP: Final = Statement(
    text(
        """
WITH done AS (
    UPDATE steps SET state = :state, content = :content, characters = :characters, context_tokens = :context_tokens,
        tokens = :tokens, finished_at = clock_timestamp()
    WHERE turn_id = :turn_id AND number = :done AND state = 'started'
    RETURNING number
),
begun AS (
    INSERT INTO steps (turn_id, number, kind, state, epoch, request_id, tool_use_id)
    SELECT :turn_id, :number, :kind, 'started', :epoch, :request_id, :tool_use_id
    WHERE :number IS NOT NULL AND (:done IS NULL OR EXISTS (SELECT FROM done))
    ON CONFLICT (turn_id, number) DO UPDATE
    SET epoch = excluded.epoch, request_id = excluded.request_id, started_at = clock_timestamp()
    WHERE steps.kind = 'model' AND steps.state = 'started'
    RETURNING kind
),
counted AS (
    UPDATE turns SET model_calls = model_calls + 1 FROM begun WHERE turns.id = :turn_id AND begun.kind = 'model'
)
SELECT :done IS NULL OR EXISTS (SELECT FROM done)
"""
    ).bindparams(
        bindparam("turn_id", type_=UUID),
        bindparam("epoch", type_=BigInteger),
        bindparam("done", type_=Integer),
        bindparam("state", type_=Text),
        bindparam("content", type_=JSONB),
        bindparam("characters", type_=Integer),
        bindparam("context_tokens", type_=Integer),
        bindparam("tokens", type_=BigInteger),
        bindparam("number", type_=Integer),
        bindparam("kind", type_=Text),
        bindparam("request_id", type_=UUID),
        bindparam("tool_use_id", type_=Text),
    )
)

"""The log of a turn: what was started, what is done, and what a model is told of it."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from sqlalchemy import BigInteger, Integer, Text, bindparam, text
from sqlalchemy.dialects.postgresql import JSONB, UUID
from sqlalchemy.ext.asyncio import AsyncConnection

from raworc.domain.context import PastTurn, Speaker, said_turn
from raworc.domain.turns import Step, StepKind, StepState
from raworc.domain.upstreams import Offer, ProviderName
from raworc.store.briefs import COLUMNS, Brief
from raworc.store.statement import Statement


@dataclass(frozen=True)
class Started:
    """A step that begins: a model call with the id of its recorded request, a tool run, or a handler's work.

    A handler may take the place of a model call that has begun with the turn and was not made.
    """

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
    """A turn as its worker finds it, and the agent whose home it is in; None: deleted, or in a session of a space.

    ``attempts`` counts the workers that took it since its last new segment, this one included. ``past`` are the
    turns before it that count since the context's cutoff, oldest first: completed ones, and those that were
    cancelled after the model had said something. ``summary`` stands for what is before them, where something was
    kept of that; ``cutoff`` is the number of the cutoff that says so, 0 for none. ``compacts``: the turn is none of
    the agent's, but asks for a summary. ``upstreams``: all that are stored, the space's own credentials included; those
    of other spaces serve none. In a session of a space, ``is_routed`` says whether ``agent_id`` is who answers.
    """

    attempts: int
    model_calls: int
    stepless_tokens: int
    present: PastTurn
    past: list[PastTurn]
    agent: Brief | None
    summary: str | None = None
    cutoff: int = 0
    compacts: bool = False
    upstreams: Sequence[Offer] = ()
    agent_id: uuid.UUID | None = None
    is_routed: bool = False


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
        _past(row, steps)
        for row, steps in turns.values()
        if row.status == "completed" or any(step.blocks for step in steps)
    ]
    return Taken(
        own.attempts,
        own.model_calls,
        own.stepless_tokens,
        PastTurn(own.input, tuple(log), told=own.told),
        past,
        None if own.agent[0] is None else Brief(*own.agent),
        own.summary,
        own.cutoff,
        compacts=own.turn_kind == "compact",
        upstreams=[_offer(*upstream) for upstream in own.upstreams or ()],
        agent_id=own.agent_id,
        is_routed=own.is_routed,
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


async def route(conn: AsyncConnection, turn_id: uuid.UUID, agent_id: uuid.UUID | None) -> None:
    """Who answers a turn, for whoever may take it later, too."""
    await _ROUTE.run(conn, {"turn_id": turn_id, "agent_id": agent_id})


async def spend(conn: AsyncConnection, turn_id: uuid.UUID, *, calls: int, tokens: int) -> None:
    """Count model calls that are no steps, or what they used."""
    await _SPEND.run(conn, {"turn_id": turn_id, "calls": calls, "tokens": tokens})


def _offer(name: str, provider: ProviderName, models: Sequence[str], *columns: bool) -> Offer:
    serves, is_own = columns
    return Offer(name, provider, tuple(models), None if serves else frozenset(), is_own=is_own)


class _TakenRow:
    """One row of ``_TAKE``: a turn, one of its steps (or none), and for the turn itself its agent."""

    def __init__(self, *columns: Any) -> None:  # noqa: ANN401  in the order of the statement
        self.turn_id, self.status, self.input, self.answer, self.attempts, self.model_calls = columns[:6]
        self.number, self.kind, self.state, self.content, self.tool_use_id, self.context_tokens = columns[6:12]
        self.tokens, self.turn_kind, self.told, self.summary, self.cutoff = columns[12:17]
        self.stepless_tokens, self.upstreams = columns[17:19]
        self.agent_id, self.is_routed, self.agent_name = columns[19:22]
        self.agent = columns[22:]

    @property
    def speaker(self) -> Speaker | None:
        """Who answered it, where several may; an agent whose row is gone has left no name."""
        if self.agent_id is None:
            return Speaker() if self.is_routed else None
        return None if self.agent_name is None else Speaker(self.agent_id, self.agent_name)


def _past(row: _TakenRow, steps: Sequence[Step]) -> PastTurn:
    if row.turn_kind == "said":
        return replace(said_turn(row.input), speaker=row.speaker)
    return PastTurn(row.input, tuple(steps), row.answer, row.told, row.speaker)


_TAKE: Final = Statement(
    text(
        f"""
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
    RETURNING id, attempts, model_calls, stepless_tokens
)
SELECT t.id, t.status, t.input, t.output ->> 'text', counted.attempts, counted.model_calls,
       steps.number, steps.kind, steps.state, steps.content, steps.tool_use_id, steps.context_tokens, steps.tokens,
       t.kind, CASE WHEN t.id = cut.turn_id THEN cut.step ELSE 0 END,
       CASE WHEN t.id = present.id THEN cut.summary END, coalesce(cut.number, 0),
       counted.stepless_tokens,
       CASE WHEN t.id = present.id THEN (
           SELECT jsonb_agg(jsonb_build_array(u.name, u.provider, u.models, u.serves, u.is_own)) FROM (
               SELECT name, provider, models, false AS is_own, every_space OR EXISTS (
                   SELECT FROM upstream_spaces s WHERE s.upstream_id = upstreams.id AND s.space = place.space) AS serves
               FROM upstreams
               UNION ALL
               SELECT k.key, CASE k.key WHEN 'OPENAI_API_KEY' THEN 'openai' ELSE 'anthropic' END, '{{}}', true, true
               FROM space_secrets k JOIN spaces p ON p.name = k.space
               WHERE k.space = place.space AND k.key IN ('ANTHROPIC_API_KEY', 'OPENAI_API_KEY')
                   AND p.settings ->> 'gateway' IS DISTINCT FROM 'off') u) END,
       t.agent_id, t.is_routed, speaker.name,
       {COLUMNS}
FROM turns AS present
JOIN sessions AS place ON place.id = present.session_id
LEFT JOIN LATERAL (
    SELECT * FROM context_cutoffs WHERE session_id = present.session_id ORDER BY number DESC LIMIT 1
) AS cut ON true
JOIN turns AS t ON t.id = present.id OR (
    t.session_id = present.session_id AND t.number < present.number AND t.kind IN ('input', 'said')
    AND t.status IN ('completed', 'cancelled')
    AND t.created_at >= coalesce(cut.counts_from, '-infinity'))
LEFT JOIN steps ON steps.turn_id = t.id
LEFT JOIN counted ON counted.id = t.id
LEFT JOIN agents AS speaker ON speaker.id = t.agent_id AND (t.is_routed OR t.kind = 'said')
LEFT JOIN agents AS a ON t.id = present.id AND a.session_id = present.session_id
LEFT JOIN spaces AS p ON p.name = a.space
WHERE present.id = :turn_id AND present.session_id = :session_id
ORDER BY t.number, steps.number
"""  # noqa: S608  put together from constants
    ).bindparams(
        bindparam("session_id", type_=UUID),
        bindparam("turn_id", type_=UUID),
        bindparam("epoch", type_=BigInteger),
        bindparam("request_id", type_=UUID),
    )
)

_ROUTE: Final = Statement(
    text("UPDATE turns SET agent_id = :agent_id, is_routed = true WHERE id = :turn_id").bindparams(
        bindparam("turn_id", type_=UUID), bindparam("agent_id", type_=UUID)
    )
)

_SPEND: Final = Statement(
    text(
        "UPDATE turns SET model_calls = model_calls + :calls, stepless_tokens = stepless_tokens + :tokens"
        " WHERE id = :turn_id"
    ).bindparams(
        bindparam("turn_id", type_=UUID), bindparam("calls", type_=Integer), bindparam("tokens", type_=BigInteger)
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
    SET kind = excluded.kind, epoch = excluded.epoch, request_id = excluded.request_id,
        tool_use_id = excluded.tool_use_id, started_at = clock_timestamp()
    WHERE steps.kind = 'model' AND steps.state = 'started' AND excluded.kind <> 'tool'
    RETURNING kind, xmax <> 0 AS replaced
),
counted AS (
    UPDATE turns SET model_calls = model_calls + CASE begun.kind WHEN 'model' THEN 1 ELSE -1 END FROM begun
    WHERE turns.id = :turn_id AND (begun.kind = 'model' OR begun.kind = 'handler' AND begun.replaced)
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

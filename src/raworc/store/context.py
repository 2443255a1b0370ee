"""Rows of ``context_cutoffs``, a stack for each session, and how much was said since the newest of them."""

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import BigInteger, Boolean, Integer, Text, bindparam, text
from sqlalchemy.dialects.postgresql import UUID
from sqlalchemy.ext.asyncio import AsyncConnection

from raworc.domain.compaction import Measured
from raworc.store.statement import Statement


@dataclass(frozen=True)
class Cut:
    """What is cut off: every turn that ran, and, where ``keeps_turn``, only ``step`` steps of the turn it is made in.

    ``known``: the number of the cutoff it builds on (0: none); when another one is there by now, nothing is cut.
    """

    summary: str | None = None
    step: int = 0
    keeps_turn: bool = False
    known: int | None = None


@dataclass(frozen=True)
class Cutoff:
    """A cutoff that was made."""

    number: int
    at: datetime


async def cut(conn: AsyncConnection, session_id: uuid.UUID, turn_id: uuid.UUID, made: Cut) -> Cutoff | None:
    """Set a cutoff at now; turns that still wait stay on this side of it. None: see ``Cut.known``.

    The session must be locked.
    """
    row = await _CUT.first(conn, {"session_id": session_id, "turn_id": turn_id, **vars(made)})
    return None if row is None else Cutoff(*row)


async def newest_summary(conn: AsyncConnection, session_id: uuid.UUID) -> str | None:
    """What the history starts with now."""
    return await _SUMMARY.scalar(conn, {"session_id": session_id})


async def restore(conn: AsyncConnection, session_id: uuid.UUID) -> tuple[bool, datetime | None]:
    """Take the newest cutoff back: whether there was one, and the one that counts now. The session must be locked."""
    row = await _RESTORE.first(conn, {"session_id": session_id})
    return (False, None) if row is None else (True, row[0])


async def measure(conn: AsyncConnection, session_id: uuid.UUID) -> Measured:
    """How much of the context is used, from counts that are kept with each step: no content is read."""
    row = await _MEASURE.first(conn, {"session_id": session_id})
    if row is None:
        raise LookupError("An aggregate has a row always")
    return Measured(*row)


_SESSION: Final = bindparam("session_id", type_=UUID)

_CUT: Final = Statement(
    text(
        """
WITH added AS (
    INSERT INTO context_cutoffs (session_id, turn_id, step, summary, counts_from, cutoff_at)
    SELECT :session_id, :turn_id, :step, :summary, coalesce((
        SELECT min(created_at) FROM turns
        WHERE session_id = :session_id AND kind = 'input'
          AND (status = 'pending' OR (:keeps_turn AND status = 'processing' AND id = :turn_id))
    ), clock_timestamp()), clock_timestamp()
    WHERE :known IS NULL OR :known = coalesce(
        (SELECT number FROM context_cutoffs WHERE session_id = :session_id ORDER BY number DESC LIMIT 1), 0)
    RETURNING number, cutoff_at
)
UPDATE sessions SET context_cutoff_at = added.cutoff_at FROM added
WHERE id = :session_id RETURNING added.number, added.cutoff_at
"""
    ).bindparams(
        _SESSION,
        bindparam("turn_id", type_=UUID),
        bindparam("step", type_=Integer),
        bindparam("summary", type_=Text),
        bindparam("keeps_turn", type_=Boolean),
        bindparam("known", type_=BigInteger),
    )
)

_SUMMARY: Final = Statement(
    text("SELECT summary FROM context_cutoffs WHERE session_id = :session_id ORDER BY number DESC LIMIT 1").bindparams(
        _SESSION
    )
)

_RESTORE: Final = Statement(
    text(
        """
WITH newest AS (
    SELECT number FROM context_cutoffs WHERE session_id = :session_id ORDER BY number DESC LIMIT 1
),
gone AS (
    DELETE FROM context_cutoffs USING newest WHERE context_cutoffs.number = newest.number
    RETURNING context_cutoffs.number
)
UPDATE sessions SET context_cutoff_at = (
    SELECT cutoff_at FROM context_cutoffs c
    WHERE c.session_id = :session_id AND c.number < gone.number ORDER BY c.number DESC LIMIT 1
)
FROM gone WHERE id = :session_id RETURNING context_cutoff_at
"""
    ).bindparams(_SESSION)
)

# What counts is what `store/steps.py` gives a model; an input is counted as `domain/context.py` reads it.
_MEASURE: Final = Statement(
    text(
        """
WITH cut AS (
    SELECT * FROM context_cutoffs WHERE session_id = :session_id ORDER BY number DESC LIMIT 1
),
counted AS (
    SELECT t.id, t.number, t.input, t.output, coalesce((SELECT step FROM cut WHERE turn_id = t.id), 0) AS told
    FROM turns t
    WHERE t.session_id = :session_id AND t.kind IN ('input', 'said')
      AND t.created_at >= coalesce((SELECT counts_from FROM cut), '-infinity')
      AND (t.status IN ('completed', 'processing') OR (t.status = 'cancelled' AND EXISTS (
          SELECT FROM steps WHERE turn_id = t.id AND kind = 'model' AND state = 'done')))
),
said AS (
    SELECT 0 AS turn, 0 AS step, length(summary) AS characters, NULL::int AS reported FROM cut WHERE summary <> ''
    UNION ALL
    SELECT number, 0, coalesce((
        SELECT sum(length(item ->> 'content'))::int
        FROM jsonb_array_elements(CASE WHEN jsonb_typeof(input -> 'content') = 'array' THEN input -> 'content' END) item
    ), length(input ->> 'text'), 0), NULL FROM counted
    UNION ALL
    SELECT c.number, s.number, s.characters, s.context_tokens FROM counted c JOIN steps s ON s.turn_id = c.id
    WHERE s.state <> 'started' AND s.number > c.told
    UNION ALL
    SELECT number, 0, length(output ->> 'text'), NULL FROM counted
    WHERE output ->> 'text' <> '' AND NOT EXISTS (SELECT FROM steps WHERE turn_id = counted.id AND state <> 'started')
),
last AS (SELECT turn, step, reported FROM said WHERE reported IS NOT NULL ORDER BY turn DESC, step DESC LIMIT 1)
SELECT count(*)::int, (SELECT reported FROM last),
       coalesce(sum(characters) FILTER (
           WHERE (SELECT turn FROM last) IS NULL OR (turn, step) > (SELECT turn, step FROM last)), 0)::bigint,
       (SELECT cutoff_at FROM cut), clock_timestamp()
FROM said
"""
    ).bindparams(_SESSION)
)

"""Which operator holds which session, and what a held session looks like."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import BigInteger, Float, Text, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY, UUID
from sqlalchemy.ext.asyncio import AsyncConnection

from raworc.domain.duties import Situation
from raworc.domain.lifecycle import Timers
from raworc.store.progress import Fence
from raworc.store.statement import Statement


@dataclass(frozen=True)
class Claim:
    """Who claims (``worker_id`` on ``node``), whose holds count as free, and what is left alone."""

    worker_id: uuid.UUID
    node: str
    dead: Sequence[uuid.UUID] = ()
    excluded: Sequence[uuid.UUID] = ()


@dataclass(frozen=True)
class Claimed:
    """A session that is held now. ``number`` names its workspace on the node."""

    session_id: uuid.UUID
    number: int
    epoch: int
    space: str
    kind: str


@dataclass(frozen=True)
class Holder:
    """Another worker that holds sessions. ``node`` is None when it has no row (any more)."""

    worker_id: uuid.UUID
    node: str | None
    late: bool


@dataclass(frozen=True)
class Standing:
    """A session that the table says is held by the asking worker: whether it wants attention, and runs a turn."""

    session_id: uuid.UUID
    epoch: int
    wants: bool
    runs: bool


async def claim(
    conn: AsyncConnection, claim: Claim, *, limit: int, only: Sequence[uuid.UUID] | None = None
) -> list[Claimed]:
    """Take up to ``limit`` sessions that have work and no living holder, each with its epoch raised.

    ``only`` names the ones to look at; None looks at all. A session that the worker held and no longer has
    (it is not ``excluded``) is free to itself too.
    """
    if only is None:
        rows = await _CLAIM_ANY.all(conn, _claiming(claim) | {"limit": limit})
    else:
        rows = await _CLAIM_THESE.all(conn, _claiming(claim) | {"limit": limit, "only": list(only)})
    return [Claimed(*row) for row in rows]


async def adopt(conn: AsyncConnection, claim: Claim, session_ids: Sequence[uuid.UUID]) -> list[Claimed]:
    """Take those of the sessions that have no living holder, whether they have work or not."""
    rows = await _ADOPT.all(conn, _claiming(claim) | {"only": list(session_ids)})
    return [Claimed(*row) for row in rows]


async def known(conn: AsyncConnection, session_ids: Sequence[uuid.UUID]) -> set[uuid.UUID]:
    """Those of the sessions that have a row, or are builds under way, which have sandboxes, too."""
    return {session_id for (session_id,) in await _KNOWN.all(conn, {"session_ids": list(session_ids)})}


async def standing(conn: AsyncConnection, worker_id: uuid.UUID) -> list[Standing]:
    """Every session that ``worker_id`` holds."""
    return [Standing(*row) for row in await _STANDING.all(conn, {"worker_id": worker_id})]


async def holders(conn: AsyncConnection, worker_id: uuid.UUID, late_s: float) -> list[Holder]:
    """Everyone but ``worker_id`` that holds a session. ``late``: not seen for ``late_s`` by the database's clock."""
    return [Holder(*row) for row in await _HOLDERS.all(conn, {"worker_id": worker_id, "late_s": late_s})]


async def look(conn: AsyncConnection, session_id: uuid.UUID, fence: Fence) -> Situation | None:
    """A held session as it is now; None when it is not held as ``fence`` says."""
    parameters = {"session_id": session_id, "worker_id": fence.worker_id, "epoch": fence.epoch}
    row = await _LOOK.first(conn, parameters)
    return None if row is None else _situation(*row)


async def release(conn: AsyncConnection, worker_id: uuid.UUID, session_ids: Sequence[uuid.UUID]) -> None:
    """Give up holds; turns that are processing stay so and wait for the next holder."""
    await _RELEASE.run(conn, {"worker_id": worker_id, "session_ids": list(session_ids)})


def _claiming(claim: Claim) -> dict[str, Any]:
    return {
        "worker_id": claim.worker_id,
        "node": claim.node,
        "dead": list(claim.dead),
        "excluded": list(claim.excluded),
    }


def _situation(*columns: Any) -> Situation:  # noqa: ANN401  in the order of _LOOK
    pending = columns[13]
    return Situation(Timers(*columns[:7], queued=pending is not None), *columns[7:])


# Some timer of the session may be due; which one, and whether it counts, is decided by domain/lifecycle.py.
_AWAKE: Final = "s.state IN ('init', 'idle', 'busy')"

_DUE: Final = f"""
    ({_AWAKE} AND (
        s.sleep_at <= clock_timestamp()
        OR s.busy_hold_from IS NULL AND s.idle_timeout_s > 0
           AND s.idle_from + make_interval(secs => s.idle_timeout_s) <= clock_timestamp()
        OR s.busy_from + make_interval(secs => s.busy_timeout_s) <= clock_timestamp()
        OR s.busy_hold_from + make_interval(secs => s.busy_timeout_s) <= clock_timestamp()))
"""

_FREE: Final = """
    (s.node IS NULL OR s.node = :node)
    AND (s.held_by IS NULL OR s.held_by = :worker_id OR s.held_by = ANY(:dead))
    AND NOT s.id = ANY(:excluded)
"""

# Who is deleted waits while others still need its files; who needs files waits for their node.
_IN_TURN: Final = """
    CASE WHEN s.desired = 'terminated' THEN NOT EXISTS (SELECT FROM sessions copy WHERE copy.copy_of = s.id)
         WHEN s.copy_of IS NULL THEN true
         ELSE NOT EXISTS (SELECT FROM sessions source WHERE source.id = s.copy_of AND source.node <> :node) END
"""

_CALLABLE: Final = f"(s.desired IS NOT NULL OR s.state = 'paused' OR {_AWAKE}) AND {_IN_TURN}"

_TAKE: Final = """
UPDATE sessions SET held_by = :worker_id, hold_epoch = hold_epoch + 1, node = :node
FROM picked WHERE sessions.id = picked.id
RETURNING sessions.id, sessions.number, sessions.hold_epoch, sessions.space, sessions.kind
"""

_CLAIMER: Final = (
    bindparam("worker_id", type_=UUID),
    bindparam("node", type_=Text),
    bindparam("dead", type_=ARRAY(UUID)),
    bindparam("excluded", type_=ARRAY(UUID)),
)

_CLAIM_ANY: Final = Statement(
    text(
        f"""
WITH wanting AS (
    SELECT session_id AS id FROM turns WHERE status = 'pending'
    UNION SELECT session_id FROM turns WHERE status = 'processing'
    UNION SELECT id FROM sessions WHERE desired IS NOT NULL
    UNION SELECT id FROM sessions WHERE state = 'paused'
    UNION SELECT id FROM sessions s WHERE {_AWAKE} AND (s.state <> 'idle' OR {_DUE})
),
picked AS (
    SELECT s.id FROM sessions s JOIN wanting USING (id)
    WHERE {_FREE} AND {_CALLABLE}
    LIMIT :limit FOR UPDATE OF s SKIP LOCKED
)
{_TAKE}"""  # noqa: S608  put together from constants
    ).bindparams(*_CLAIMER)
)

_CLAIM_THESE: Final = Statement(
    text(
        f"""
WITH picked AS (
    SELECT s.id FROM sessions s
    WHERE s.id = ANY(:only) AND {_FREE} AND {_CALLABLE} AND (
        s.desired IS NOT NULL OR s.state IN ('init', 'busy', 'paused') OR {_DUE}
        OR EXISTS (SELECT FROM turns WHERE session_id = s.id AND status IN ('pending', 'processing')))
    LIMIT :limit FOR UPDATE OF s SKIP LOCKED
)
{_TAKE}"""  # noqa: S608  put together from constants
    ).bindparams(*_CLAIMER, bindparam("only", type_=ARRAY(UUID)))
)

_ADOPT: Final = Statement(
    text(
        f"""
WITH picked AS (
    SELECT s.id FROM sessions s WHERE s.id = ANY(:only) AND {_FREE} FOR UPDATE OF s SKIP LOCKED
)
{_TAKE}"""  # noqa: S608  put together from constants
    ).bindparams(*_CLAIMER, bindparam("only", type_=ARRAY(UUID)))
)

_KNOWN: Final = Statement(
    text(
        """
SELECT id FROM sessions WHERE id = ANY(:session_ids)
UNION ALL SELECT id FROM builds WHERE id = ANY(:session_ids) AND status = 'building'
"""
    ).bindparams(bindparam("session_ids", type_=ARRAY(UUID)))
)

_STANDING: Final = Statement(
    text(
        f"""
SELECT s.id, s.hold_epoch,
       s.desired IS NOT NULL OR coalesce({_DUE}, false)
       OR (s.state <> 'paused' AND s.paused_epoch IS NOT DISTINCT FROM s.hold_epoch)
       OR (s.state = 'idle' AND EXISTS (SELECT FROM turns WHERE session_id = s.id AND status = 'pending'))
       OR (s.state = 'busy' AND NOT EXISTS (
           SELECT FROM turns WHERE session_id = s.id AND status = 'processing' AND cancel_reason IS NULL)),
       EXISTS (SELECT FROM turns WHERE session_id = s.id AND status = 'processing')
FROM sessions s WHERE s.held_by = :worker_id
"""  # noqa: S608  put together from constants
    ).bindparams(bindparam("worker_id", type_=UUID))
)

_HOLDERS: Final = Statement(
    text(
        """
SELECT held.held_by, workers.node,
       coalesce(workers.seen_at < clock_timestamp() - make_interval(secs => :late_s), true) AS late
FROM (SELECT DISTINCT held_by FROM sessions WHERE held_by IS NOT NULL AND held_by <> :worker_id) AS held
LEFT JOIN workers ON workers.id = held.held_by
"""
    ).bindparams(bindparam("worker_id", type_=UUID), bindparam("late_s", type_=Float))
)

_LOOK: Final = Statement(
    text(
        """
SELECT s.state, s.idle_timeout_s, s.busy_timeout_s, s.idle_from, s.busy_from, s.busy_hold_from, s.sleep_at,
       clock_timestamp(), s.desired, s.sleep_note, s.sleep_by, running.id, running.cancel_reason, waiting.id,
       s.copy_of IS NOT NULL,
       s.desired = 'terminated' AND EXISTS (SELECT FROM sessions copy WHERE copy.copy_of = s.id),
       s.paused_epoch = s.hold_epoch
FROM sessions s
LEFT JOIN turns running ON running.session_id = s.id AND running.status = 'processing'
LEFT JOIN LATERAL (
    SELECT id FROM turns WHERE session_id = s.id AND status = 'pending' ORDER BY number LIMIT 1
) AS waiting ON true
WHERE s.id = :session_id AND s.held_by = :worker_id AND s.hold_epoch = :epoch
"""
    ).bindparams(
        bindparam("session_id", type_=UUID), bindparam("worker_id", type_=UUID), bindparam("epoch", type_=BigInteger)
    )
)

_RELEASE: Final = Statement(
    text(
        """
UPDATE sessions SET held_by = NULL, desired = CASE WHEN state = 'slept' AND desired = 'slept' THEN NULL ELSE desired END
WHERE held_by = :worker_id AND id = ANY(:session_ids)
"""
    ).bindparams(bindparam("worker_id", type_=UUID), bindparam("session_ids", type_=ARRAY(UUID)))
)

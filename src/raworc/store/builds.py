"""Builds of spaces: asked for, claimed by who builds, finished. One of a space runs at a time, one may wait."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import BigInteger, Float, Text, bindparam, func, select, text
from sqlalchemy.dialects.postgresql import ARRAY, UUID, insert
from sqlalchemy.ext.asyncio import AsyncConnection

from raworc.domain.builds import BuildStatus
from raworc.store.build_tables import builds, built_agents
from raworc.store.holds import Claim, Holder
from raworc.store.statement import Statement

KEPT: Final = 20
"""Finished builds of a space that are remembered; its newest completed one always is."""


@dataclass(frozen=True)
class BuildRow:
    """A build, in the order of ``_COLUMNS``."""

    id: uuid.UUID
    space: str
    status: BuildStatus
    log: str
    started_at: datetime | None
    finished_at: datetime | None


@dataclass(frozen=True)
class Claimed:
    """A build that is held now. ``number`` names its workspace on the node; ``deaths``: holders that died with it."""

    id: uuid.UUID
    space: str
    epoch: int
    deaths: int
    number: int


@dataclass(frozen=True)
class Held:
    """A build as its holder names it: nothing of another one's is ever written."""

    id: uuid.UUID
    worker_id: uuid.UUID
    epoch: int


@dataclass(frozen=True)
class BuiltAgent:
    """What came of one agent. ``digest`` names the folder of its files; the texts are its manifest's."""

    agent_id: uuid.UUID
    digest: str
    runtime: str
    handler: str
    description: str | None
    purpose: str | None
    commit: str


async def want(conn: AsyncConnection, build_id: uuid.UUID, space: str, by: str) -> BuildRow:
    """The build that waits in a space: a new one, or the one that was asked for before and has not begun.

    It is locked, so nobody begins it before this transaction's changes of agents are there to be seen.
    """
    asked = insert(builds).values(id=build_id, space=space, status="pending", created_by=by)
    waiting = asked.on_conflict_do_update(
        index_elements=[builds.c.space],
        index_where=text("status = 'pending'"),
        set_={"created_by": asked.excluded.created_by},
    )
    return BuildRow(*(await conn.execute(waiting.returning(*_COLUMNS))).one())


async def latest(conn: AsyncConnection, space: str) -> BuildRow | None:
    """The build of a space that was asked for last."""
    chosen = select(*_COLUMNS).where(builds.c.space == space).order_by(builds.c.number.desc()).limit(1)
    row = (await conn.execute(chosen)).one_or_none()
    return None if row is None else BuildRow(*row)


async def find(conn: AsyncConnection, space: str, build_id: uuid.UUID) -> BuildRow | None:
    """One build of a space."""
    chosen = select(*_COLUMNS).where(builds.c.space == space, builds.c.id == build_id)
    row = (await conn.execute(chosen)).one_or_none()
    return None if row is None else BuildRow(*row)


async def claim(conn: AsyncConnection, claim: Claim, limit: int) -> list[Claimed]:
    """Take up to ``limit`` builds that wait, or whose holder is dead or let go, each with its epoch raised.

    Raises:
        Duplicate: another one was quicker with a build of the same space.
    """
    given = {"worker_id": claim.worker_id, "node": claim.node, "dead": list(claim.dead), "limit": limit}
    return [Claimed(*row) for row in await _CLAIM.all(conn, given | {"excluded": list(claim.excluded)})]


async def holders(conn: AsyncConnection, worker_id: uuid.UUID, late_s: float) -> list[Holder]:
    """Everyone but ``worker_id`` that holds a build. ``late``: not seen for ``late_s`` by the database's clock."""
    return [Holder(*row) for row in await _HOLDERS.all(conn, {"worker_id": worker_id, "late_s": late_s})]


async def note(conn: AsyncConnection, held: Held, log: str) -> bool:
    """Keep a log as far as it goes; False when the build is not held so any more."""
    return await conn.scalar(_mine(held).values(log=log).returning(builds.c.id)) is not None


async def finish(conn: AsyncConnection, held: Held, status: BuildStatus, log: str, made: Sequence[BuiltAgent]) -> bool:
    """End a build and keep what it made; False when it is not held so any more."""
    ending = _mine(held).values(status=status, log=log, finished_at=func.now(), held_by=None)
    space = await conn.scalar(ending.returning(builds.c.space))
    if space is None:
        return False
    if made:
        await conn.execute(built_agents.insert(), [{"build_id": held.id, **vars(one)} for one in made])
    await _FORGET.run(conn, {"space": space, "kept": KEPT})
    return True


async def release(conn: AsyncConnection, held: Held) -> None:
    """Let go of a build that is not finished: the next one begins it anew."""
    await conn.execute(_mine(held).values(held_by=None))


async def running(conn: AsyncConnection) -> set[uuid.UUID]:
    """The builds that somebody is at, or will go on with."""
    return set(await conn.scalars(select(builds.c.id).where(builds.c.status == "building")))


async def spaces_of(conn: AsyncConnection, node: str) -> list[tuple[str, str]]:
    """What newest completed builds made on a node: each space with each digest."""
    return [(space, digest) for space, digest in await _NEWEST.all(conn, {"node": node})]


def _mine(held: Held):  # noqa: ANN202  an UPDATE, whose type says nothing
    return builds.update().where(
        builds.c.id == held.id,
        builds.c.held_by == held.worker_id,
        builds.c.hold_epoch == held.epoch,
        builds.c.status == "building",
    )


_COLUMNS: Final = tuple(builds.c[name] for name in BuildRow.__dataclass_fields__)

# Numbers come from those of sessions: a build's user on the host is no session's.
_CLAIM: Final = Statement(
    text(
        """
WITH picked AS (
    SELECT b.id FROM builds b
    WHERE (b.status = 'pending'
            AND NOT EXISTS (SELECT FROM builds o WHERE o.space = b.space AND o.status = 'building')
        OR b.status = 'building' AND (b.held_by IS NULL OR b.held_by = :worker_id OR b.held_by = ANY(:dead)))
        AND NOT b.id = ANY(:excluded)
    ORDER BY b.number LIMIT :limit FOR UPDATE SKIP LOCKED
)
UPDATE builds SET status = 'building', held_by = :worker_id, hold_epoch = hold_epoch + 1, node = :node,
    started_at = coalesce(started_at, now()), attempts = attempts + (held_by IS NOT NULL)::int
FROM picked WHERE builds.id = picked.id
RETURNING builds.id, builds.space, builds.hold_epoch, builds.attempts,
    nextval(pg_get_serial_sequence('sessions', 'number'))
"""
    ).bindparams(
        bindparam("worker_id", type_=UUID),
        bindparam("node", type_=Text),
        bindparam("dead", type_=ARRAY(UUID)),
        bindparam("excluded", type_=ARRAY(UUID)),
        bindparam("limit", type_=BigInteger),
    )
)

_HOLDERS: Final = Statement(
    text(
        """
SELECT DISTINCT b.held_by, w.node, coalesce(w.seen_at < clock_timestamp() - make_interval(secs => :late_s), true)
FROM builds b LEFT JOIN workers w ON w.id = b.held_by
WHERE b.status = 'building' AND b.held_by <> :worker_id
"""
    ).bindparams(bindparam("worker_id", type_=UUID), bindparam("late_s", type_=Float))
)

_FORGET: Final = Statement(
    text(
        """
DELETE FROM builds WHERE space = :space AND status IN ('completed', 'failed')
    AND number < (SELECT min(number) FROM (
        SELECT number FROM builds WHERE space = :space ORDER BY number DESC LIMIT :kept) newest)
    AND id <> ALL (SELECT id FROM builds WHERE space = :space AND status = 'completed' ORDER BY number DESC LIMIT 1)
"""
    ).bindparams(bindparam("space", type_=Text), bindparam("kept", type_=BigInteger))
)

_NEWEST: Final = Statement(
    text(
        """
SELECT DISTINCT b.space, m.digest FROM built_agents m
JOIN (SELECT DISTINCT ON (space) id, space, node FROM builds WHERE status = 'completed'
    ORDER BY space, number DESC) b ON b.id = m.build_id
WHERE b.node = :node
"""
    ).bindparams(bindparam("node", type_=Text))
)

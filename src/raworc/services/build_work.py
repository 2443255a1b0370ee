"""Builds as operators work on them: claimed under a hold, noted while they run, finished once.

A hold is a worker's id and an epoch, as that of a session is (``services/holds.py``): a build whose holder died is
taken up again, and whoever lost one can write nothing. Begun anew, it makes the same thing again.
"""

import uuid
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from raworc.domain.builds import BuildStatus
from raworc.domain.text import storable_text
from raworc.errors import LostHold
from raworc.ids import WorkerId
from raworc.services.builds import want
from raworc.services.workers import DEAD_AFTER_S, is_dead
from raworc.store import builds as store
from raworc.store import code_agents
from raworc.store.builds import BuiltAgent, Claimed, Held
from raworc.store.code_agents import CodeAgentRow
from raworc.store.database import Database, Duplicate
from raworc.store.holds import Claim
from raworc.store.notify import notify_build

__all__ = ["BuildHold", "BuildWork", "BuiltAgent", "CodeAgentRow"]

_SYSTEM: Final = "system"


@dataclass(frozen=True)
class BuildHold:
    """One build, held. ``number`` names its workspace on the node; ``agents``: as they stood when it was claimed."""

    held: Held
    space: str
    number: int
    deaths: int
    agents: tuple[CodeAgentRow, ...]


class BuildWork:
    """The builds of one operator. ``has_ended`` probes a process of this node by its lock."""

    def __init__(self, db: Database, worker_id: WorkerId, node: str, has_ended: Callable[[uuid.UUID], bool]) -> None:
        self._db = db
        self._worker_id = worker_id
        self._node = node
        self._has_ended = has_ended

    async def claim(self, mine: Collection[uuid.UUID], limit: int) -> list[BuildHold]:
        """Up to ``limit`` builds that wait or whose holder is dead; those of ``mine`` are left alone."""
        async with self._db.reading() as conn:
            others = await store.holders(conn, self._worker_id, DEAD_AFTER_S)
        dead = [one.worker_id for one in others if is_dead(one, self._node, self._has_ended)]
        wish = Claim(self._worker_id, self._node, dead, tuple(mine))

        async def work(conn: AsyncConnection) -> list[BuildHold]:
            claimed = await store.claim(conn, wish, limit)
            return [self._hold(one, await code_agents.active(conn, one.space)) for one in claimed]

        try:
            return await self._db.run(work)
        except Duplicate:  # another operator was quicker with one of them
            return []

    async def note(self, hold: BuildHold, log: str) -> None:
        """Keep the log as far as it goes.

        Raises:
            LostHold: the build is somebody else's by now, or its space is gone.
        """
        if not await self._db.run(lambda conn: store.note(conn, hold.held, storable_text(log))):
            raise _lost(hold)

    async def finish(self, hold: BuildHold, status: BuildStatus, log: str, made: Sequence[BuiltAgent]) -> None:
        """End it; what waits in its space may begin. Raises as :meth:`note`."""

        async def work(conn: AsyncConnection) -> None:
            if not await store.finish(conn, hold.held, status, storable_text(log), made):
                raise _lost(hold)
            await notify_build(conn, hold.held.id)

        await self._db.run(work)

    async def release(self, hold: BuildHold) -> None:
        """Let go of it unfinished; who takes it up begins anew."""
        async with self._db.transaction() as conn:
            await store.release(conn, hold.held)
            await notify_build(conn, hold.held.id)

    async def running(self) -> set[uuid.UUID]:
        """Every build that is under way, whoever holds it."""
        async with self._db.reading() as conn:
            return await store.running(conn)

    async def used(self) -> list[tuple[str, str]]:
        """Spaces of which this node has the newest completed build, with each digest of it."""
        async with self._db.reading() as conn:
            return await store.spaces_of(conn, self._node)

    async def again(self, space: str) -> None:
        """Have a space built whose files this node has lost."""
        async with self._db.transaction() as conn:
            await want(conn, space, _SYSTEM)

    def _hold(self, one: Claimed, agents: list[CodeAgentRow]) -> BuildHold:
        return BuildHold(Held(one.id, self._worker_id, one.epoch), one.space, one.number, one.deaths, tuple(agents))


def _lost(hold: BuildHold) -> LostHold:
    return LostHold(f"Build '{hold.held.id}' is held by another operator")

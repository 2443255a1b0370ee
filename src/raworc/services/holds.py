"""Sessions held by operators: claim, look, give back.

A hold is a worker's id and an epoch in the session's row. Every claim raises the epoch, and every write of an
operator checks both (``services/progress.py``): whoever lost a hold can write nothing. A holder on this node is
dead the moment its lock file is free; on another node once it was not seen for ``DEAD_AFTER_S``.
"""

import uuid
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Final

from raworc.domain.duties import Situation
from raworc.errors import LostHold
from raworc.ids import SessionId, WorkerId
from raworc.services.progress import Fence
from raworc.services.workers import DEAD_AFTER_S, is_dead
from raworc.store import holds as store
from raworc.store.database import Database
from raworc.store.shared_sessions import KIND

_ORPHANS_AT_ONCE: Final = 100


@dataclass(frozen=True)
class Hold:
    """One session, held by ``worker_id`` at ``epoch``. ``number`` names its workspace on the node."""

    session_id: SessionId
    number: int
    space: str
    worker_id: WorkerId
    epoch: int
    is_shared: bool = False  # of a space; else the home of a named agent

    @property
    def fence(self) -> Fence:
        """What every write under this hold carries."""
        return Fence(self.worker_id, self.epoch)


class Holds:
    """The holds of one operator. ``has_ended`` probes a process of this node by its lock."""

    def __init__(self, db: Database, worker_id: WorkerId, node: str, has_ended: Callable[[uuid.UUID], bool]) -> None:
        self._db = db
        self._worker_id = worker_id
        self._node = node
        self._has_ended = has_ended
        self._dead: list[uuid.UUID] = []

    async def find_dead(self) -> None:
        """Learn which other holders are dead; claims count their sessions as free until the next time."""
        async with self._db.reading() as conn:
            others = await store.holders(conn, self._worker_id, DEAD_AFTER_S)
        self._dead = [holder.worker_id for holder in others if is_dead(holder, self._node, self._has_ended)]

    async def claim(
        self, *, held: Collection[SessionId], limit: int, only: Sequence[SessionId] | None = None
    ) -> list[Hold]:
        """Up to ``limit`` sessions that have work and no living holder. ``held`` ones are left alone."""
        async with self._db.transaction() as conn:
            claimed = await store.claim(conn, self._claim(held), limit=limit, only=only)
        return [self._hold(one) for one in claimed]

    async def orphans(
        self, found: Collection[SessionId], *, held: Collection[SessionId]
    ) -> tuple[list[SessionId], list[Hold]]:
        """Which of the sandboxes ``found`` on this node nobody owns: of no session, and of sessions now held here.

        The latter must be given back by :meth:`release` once their sandboxes are gone.
        """
        await self.find_dead()
        mine = [session_id for session_id in found if session_id not in held][:_ORPHANS_AT_ONCE]
        async with self._db.transaction() as conn:
            known = await store.known(conn, mine)
            adopted = await store.adopt(conn, self._claim(held), mine)
        return [session_id for session_id in mine if session_id not in known], [self._hold(one) for one in adopted]

    async def standing(self) -> dict[SessionId, store.Standing]:
        """Every session that is held by this worker, by its id."""
        async with self._db.reading() as conn:
            rows = await store.standing(conn, self._worker_id)
        return {SessionId(row.session_id): row for row in rows}

    async def look(self, hold: Hold) -> Situation:
        """The session as it is now.

        Raises:
            LostHold: it is not ours any more.
        """
        async with self._db.reading() as conn:
            situation = await store.look(conn, hold.session_id, hold.fence)
        if situation is None:
            raise LostHold(f"Session '{hold.session_id}' is held by another operator")
        return situation

    async def release(self, session_ids: Sequence[SessionId]) -> None:
        """Let go of sessions whose sandboxes are closed; what is processing waits for the next holder."""
        async with self._db.transaction() as conn:
            await store.release(conn, self._worker_id, session_ids)

    def _claim(self, held: Collection[SessionId]) -> store.Claim:
        return store.Claim(self._worker_id, self._node, self._dead, tuple(held))

    def _hold(self, claimed: store.Claimed) -> Hold:
        session_id, is_shared = SessionId(claimed.session_id), claimed.kind == KIND
        return Hold(session_id, claimed.number, claimed.space, self._worker_id, claimed.epoch, is_shared)

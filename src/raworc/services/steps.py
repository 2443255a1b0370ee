"""The progress of a turn under an operator: every write is fenced, and stored before it counts.

Each method is one transaction. It may be tried again after ``DatabaseUnavailable``, although the first try may
have been stored: a step ends once, a settled turn stays settled. All raise ``LostHold``, and ``TurnSettled``
when a server has settled the turn meanwhile.
"""

import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncConnection

from raworc.clock import now, rfc3339
from raworc.domain.context import PastTurn
from raworc.domain.lifecycle import TurnStatus
from raworc.domain.turns import Failure, Segment, note
from raworc.errors import TurnSettled
from raworc.ids import TurnId
from raworc.services import progress
from raworc.services.holds import Hold
from raworc.services.progress import Entry, ResponseChanged, SegmentAdded, StateChanged
from raworc.store import briefs, notify
from raworc.store import steps as store
from raworc.store.briefs import Brief
from raworc.store.database import Database
from raworc.store.steps import Finished, Started

__all__ = ["Brief", "Finished", "Outcome", "Started", "Steps", "Work"]


@dataclass(frozen=True)
class Work:
    """A turn in hand: its log, the turns before it, and the agent it is for.

    ``attempts`` counts the workers that took it since its last new segment, this one included.
    """

    turn_id: TurnId
    attempts: int
    model_calls: int
    present: PastTurn
    past: list[PastTurn]
    agent: Brief


@dataclass(frozen=True)
class Outcome:
    """How a turn ends, and the segments that say so."""

    status: TurnStatus
    segments: Sequence[Segment]
    failure: Failure | None = None

    @classmethod
    def completed(cls, segments: Sequence[Segment]) -> "Outcome":
        """With the segments of the model's last message."""
        return cls("completed", segments)

    @classmethod
    def failed(cls, failure: Failure) -> "Outcome":
        """With a note that tells people what happened."""
        return cls("failed", [note("error", failure.message)], failure)

    @classmethod
    def cancelled(cls, reason: str) -> "Outcome":
        """By someone's wish."""
        return cls("cancelled", [{"type": "cancelled", "reason": reason, "at": rfc3339(now())}])

    def entries(self, turn_id: uuid.UUID) -> list[Entry]:
        """What is to be written for a turn that ends so."""
        segments: list[Entry] = [SegmentAdded(turn_id, segment) for segment in self.segments]
        error = None if self.failure is None else {"code": self.failure.code, "message": self.failure.message}
        return [*segments, ResponseChanged(turn_id, self.status, error)]


class _Stored(Exception):
    """What is to be written was written by an earlier try whose answer got lost."""


class Steps:
    """Turn progress, for operators."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def take(self, hold: Hold, turn_id: TurnId, request_id: uuid.UUID) -> Work:
        """Move a pending turn to processing, the session to busy, and begin the first model call."""
        entries = [ResponseChanged(turn_id, "processing"), StateChanged("busy")]

        async def work(conn: AsyncConnection) -> Work:
            await progress.write(conn, hold.session_id, entries, fence=hold.fence)
            await store.start(conn, turn_id, hold.epoch, Started(1, "model", request_id), attempts=1)
            return await _work(conn, hold, turn_id)

        return await self._db.run(work)

    async def resume(self, hold: Hold, turn_id: TurnId) -> Work:
        """Take over a turn that is processing."""

        async def work(conn: AsyncConnection) -> Work:
            await progress.write(conn, hold.session_id, [], fence=hold.fence)
            await store.attempt(conn, turn_id)
            return await _work(conn, hold, turn_id)

        return await self._db.run(work)

    async def start(self, hold: Hold, turn_id: TurnId, step: Started) -> None:
        """Begin a step, or make a model call again."""

        async def work(conn: AsyncConnection) -> None:
            await progress.append(conn, hold.session_id, turn_id, [], fence=hold.fence)
            await store.start(conn, turn_id, hold.epoch, step)

        await self._db.run(work)

    async def advance(
        self, hold: Hold, turn_id: TurnId, done: Finished, segments: Sequence[Segment], then: Started | None
    ) -> None:
        """End a step with what it shows, and begin the next one."""
        entries = [SegmentAdded(turn_id, segment) for segment in segments]

        async def work(conn: AsyncConnection) -> None:
            await progress.write(conn, hold.session_id, entries, fence=hold.fence)
            await _finish(conn, turn_id, done)
            if then is not None:
                await store.start(conn, turn_id, hold.epoch, then)

        await self._once(work)

    async def settle(self, hold: Hold, turn_id: TurnId, outcome: Outcome, done: Finished | None = None) -> None:
        """End the turn, and with it its last step; the session becomes idle."""
        entries = [*outcome.entries(turn_id), StateChanged("idle")]

        async def work(conn: AsyncConnection) -> None:
            await progress.write(conn, hold.session_id, entries, fence=hold.fence)
            if done is not None:
                await _finish(conn, turn_id, done)

        await self._once(work)

    async def add(self, hold: Hold, turn_id: TurnId, segments: Sequence[Segment]) -> None:
        """Append remarks of the platform's own."""

        async def work(conn: AsyncConnection) -> None:
            await progress.append(conn, hold.session_id, turn_id, segments, fence=hold.fence)

        await self._db.run(work)

    async def publish(self, hold: Hold, turn_id: TurnId, channel: str, text: str) -> None:
        """Show running text to whoever listens now; it is stored nowhere."""
        async with self._db.transaction() as conn:
            await notify.notify_delta(conn, hold.session_id, turn_id, channel, text)

    async def _once(self, work: Callable[[AsyncConnection], Awaitable[None]]) -> None:
        try:
            await self._db.run(work)
        except _Stored:
            return


async def _finish(conn: AsyncConnection, turn_id: TurnId, done: Finished) -> None:
    if not await store.finish(conn, turn_id, done):
        raise _Stored


async def _work(conn: AsyncConnection, hold: Hold, turn_id: TurnId) -> Work:
    agent = await briefs.of_session(conn, hold.session_id)
    if agent is None:
        raise TurnSettled(f"The agent of session '{hold.session_id}' was deleted")
    past, row = await store.history(conn, hold.session_id, turn_id)
    return Work(turn_id, row.attempts, row.model_calls, row.past, past, agent)

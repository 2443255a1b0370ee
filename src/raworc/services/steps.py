"""The progress of a turn under an operator: every write is fenced, and stored before it counts.

Each method is one transaction. It may be tried again after ``DatabaseUnavailable``, although the first try may
have been stored: a step ends once, a settled turn stays settled. All raise ``LostHold``, and ``TurnSettled``
when a server has settled the turn meanwhile.
"""

import contextlib
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from raworc.clock import now, rfc3339
from raworc.domain.compaction import NOTHING_SAID, compacted
from raworc.domain.context import PastTurn
from raworc.domain.lifecycle import TurnStatus
from raworc.domain.turns import Failure, Segment, note
from raworc.domain.upstreams import Offer
from raworc.errors import TurnSettled
from raworc.ids import TurnId
from raworc.metrics import Metrics
from raworc.services import progress
from raworc.services.holds import Hold
from raworc.services.progress import Entry, ResponseChanged, SegmentAdded, StateChanged
from raworc.store import briefs, context, notify
from raworc.store import steps as store
from raworc.store.briefs import Brief
from raworc.store.context import Cut, Cutoff
from raworc.store.database import Database
from raworc.store.steps import Finished, Started, Taken

__all__ = ["Brief", "Cut", "Finished", "Outcome", "Started", "Steps", "Work"]

_OVERTAKEN: Final = Failure("context_changed", "The context was cleared or restored while it was summarised")


@dataclass(frozen=True)
class Work:
    """A turn in hand: its log, the turns before it, and the agent it is for; the rest as ``store.steps.Taken``.

    ``attempts`` counts the workers that took it since its last new segment, this one included. ``host``: whom the
    sandbox is opened for, if not the agent. ``candidates``: in a session of a space with several agents, who may answer
    while that is not decided; ``agent`` is then the first of them.
    """

    turn_id: TurnId
    attempts: int
    model_calls: int
    stepless_tokens: int
    present: PastTurn
    past: list[PastTurn]
    agent: Brief
    summary: str | None = None
    cutoff: int = 0
    compacts: bool = False
    upstreams: Sequence[Offer] = ()
    host: Brief | None = None
    candidates: Sequence[Brief] = ()

    @property
    def place_of(self) -> Brief:
        """Whom the sandbox is opened for."""
        return self.host or self.agent


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

    def __init__(self, db: Database, metrics: Metrics | None = None) -> None:
        self._db = db
        self._metrics = metrics or Metrics()

    async def take(self, hold: Hold, turn_id: TurnId, request_id: uuid.UUID) -> Work:
        """Move a pending turn to processing, the session to busy, and begin the first model call."""
        return await self._taken(
            hold, turn_id, [ResponseChanged(turn_id, "processing"), StateChanged("busy")], request_id
        )

    async def resume(self, hold: Hold, turn_id: TurnId) -> Work:
        """Take over a turn that is processing."""
        return await self._taken(hold, turn_id, [], None)

    async def route(self, hold: Hold, turn_id: TurnId, agent: Brief) -> None:
        """Keep who answers, for whoever may go on with the turn."""

        async def work(conn: AsyncConnection) -> None:
            await progress.write(conn, hold.session_id, [], fence=hold.fence)
            await store.route(conn, turn_id, agent.agent_id)

        await self._db.run(work)

    async def start(self, hold: Hold, turn_id: TurnId, step: Started) -> None:
        """Begin a step, or make a model call again."""
        await self._moved(hold, turn_id, [], then=step)

    async def advance(
        self, hold: Hold, turn_id: TurnId, done: Finished, segments: Sequence[Segment], then: Started | None
    ) -> None:
        """End a step with what it shows, and begin the next one."""
        await self._moved(hold, turn_id, [SegmentAdded(turn_id, segment) for segment in segments], done=done, then=then)

    async def settle(self, hold: Hold, turn_id: TurnId, outcome: Outcome, done: Finished | None = None) -> None:
        """End the turn, and with it its last step; the session becomes idle."""
        await self._moved(hold, turn_id, [*outcome.entries(turn_id), StateChanged("idle")], done=done)
        self._metrics.turn_ended(outcome.status)

    async def spend(self, hold: Hold, turn_id: TurnId, *, calls: int, tokens: int) -> None:
        """Count model calls that are no steps of the turn, or tokens of theirs; twice at worst, when tried again."""

        async def work(conn: AsyncConnection) -> None:
            await progress.write(conn, hold.session_id, [], fence=hold.fence)
            await store.spend(conn, turn_id, calls=calls, tokens=tokens)

        await self._db.run(work)

    async def compact(self, hold: Hold, turn_id: TurnId, cut: Cut, remark: Segment) -> int | None:
        """Let a summary stand for what came before a point of the turn in work, and say so in it; its number.

        None: nothing is stored, because the session's cutoff is not the one that ``cut`` builds on any more.
        """

        async def work(conn: AsyncConnection) -> int | None:
            made = await self._cut(conn, hold, turn_id, cut)
            if made is None:
                return None
            told = [remark, compacted(cut.summary or "", rfc3339(made.at), automatic=True)]
            await progress.append(conn, hold.session_id, turn_id, told, fence=hold.fence)
            return made.number

        return await self._db.run(work)

    async def settle_compaction(self, hold: Hold, turn_id: TurnId, cut: Cut, done: Finished | None) -> None:
        """End a turn that was there to compact; it fails when the cutoff was changed meanwhile."""

        async def work(conn: AsyncConnection) -> None:
            made = await self._cut(conn, hold, turn_id, cut)
            if made is None:
                outcome = Outcome.failed(_OVERTAKEN)
            else:
                told = compacted(cut.summary or NOTHING_SAID, rfc3339(made.at), automatic=False)
                outcome = Outcome.completed([told])
            entries = [*outcome.entries(turn_id), StateChanged("idle")]
            await progress.write(conn, hold.session_id, entries, fence=hold.fence)
            if done is not None:
                await store.step(conn, turn_id, hold.epoch, done=done)

        await self._db.run(work)

    async def publish(self, hold: Hold, turn_id: TurnId, channel: str, text: str) -> None:
        """Show running text to whoever listens now; it is stored nowhere."""
        async with self._db.reading() as conn:
            await notify.notify_delta(conn, hold.session_id, turn_id, channel, text)

    async def _taken(self, hold: Hold, turn_id: TurnId, entries: Sequence[Entry], request_id: uuid.UUID | None) -> Work:
        async def work(conn: AsyncConnection) -> Work:
            await progress.write(conn, hold.session_id, entries, fence=hold.fence)
            taken = await store.take(conn, hold.session_id, turn_id, epoch=hold.epoch, request_id=request_id)
            parties = await _parties(conn, hold, turn_id, taken)
            return Work(
                turn_id,
                taken.attempts,
                taken.model_calls,
                taken.stepless_tokens,
                taken.present,
                taken.past,
                parties.agent,
                taken.summary,
                taken.cutoff,
                taken.compacts,
                taken.upstreams,
                parties.host,
                parties.candidates,
            )

        return await self._db.run(work)

    async def _cut(self, conn: AsyncConnection, hold: Hold, turn_id: TurnId, cut: Cut) -> Cutoff | None:
        await progress.write(conn, hold.session_id, [], fence=hold.fence)  # from here on nobody else writes
        return await context.cut(conn, hold.session_id, turn_id, cut)

    async def _moved(
        self,
        hold: Hold,
        turn_id: TurnId,
        entries: Sequence[Entry],
        *,
        done: Finished | None = None,
        then: Started | None = None,
    ) -> None:
        async def work(conn: AsyncConnection) -> None:
            await progress.write(conn, hold.session_id, entries, fence=hold.fence)
            if not await store.step(conn, turn_id, hold.epoch, done=done, then=then):
                raise _Stored

        with contextlib.suppress(_Stored):
            await self._db.run(work)


@dataclass(frozen=True)
class _Parties:
    """Of ``Work``."""

    agent: Brief
    host: Brief | None = None
    candidates: Sequence[Brief] = ()


async def _parties(conn: AsyncConnection, hold: Hold, turn_id: TurnId, taken: Taken) -> _Parties:
    """Who answers the turn. Where there is no choice, it is made."""
    if not hold.is_shared:
        if taken.agent is None:
            raise TurnSettled(f"The agent of session '{hold.session_id}' was deleted")
        return _Parties(taken.agent)
    host = await briefs.of_space(conn, hold.session_id)
    if host is None:
        raise TurnSettled(f"Session '{hold.session_id}' was deleted")
    if taken.is_routed:
        agent = None if taken.agent_id is None else await briefs.of_agent(conn, hold.session_id, taken.agent_id)
        return _Parties(agent or host, host)
    found = await briefs.candidates(conn, hold.session_id)
    if len(found) > 1:
        return _Parties(found[0], host, found)
    agent = found[0] if found else host
    await store.route(conn, turn_id, agent.agent_id)
    return _Parties(agent, host)

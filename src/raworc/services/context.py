"""An agent's context as its users know it: how full it is; cleared, compacted, and brought back."""

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from sqlalchemy.ext.asyncio import AsyncConnection

from raworc.clock import rfc3339
from raworc.domain.compaction import Measured, cleared, restored
from raworc.domain.lifecycle import ASLEEP
from raworc.errors import Conflict, Unavailable
from raworc.ids import new_id
from raworc.services import agents, audit
from raworc.services.accounts import Caller
from raworc.services.answers import Keep, unkept
from raworc.services.audit import Deed
from raworc.services.changes import compaction_queued, marked, woken
from raworc.services.queue import QueueLimits, check_room
from raworc.services.turns import Turns
from raworc.settings import Settings
from raworc.store import context as store
from raworc.store import sessions, turns
from raworc.store.context import Cut
from raworc.store.database import Database

_MAY_PASS: Final = frozenset(
    {
        "api_error",
        "gateway_unreachable",
        "operator_crash_loop",
        "overloaded_error",
        "rate_limit_error",
        "timeout_error",
        "upstream_disconnected",
    }
)
"""Codes of failures that may be gone when the same is asked again."""


@dataclass(frozen=True)
class ContextUsage:
    """How full a context is, as the agents contract shows it; ``basis`` is the one word that its document knows."""

    agent: str
    soft_limit_tokens: int
    used_tokens_estimated: int
    used_percent: float
    basis: Literal["estimated_from_history_chars"]
    cutoff_at: datetime | None
    measured_at: datetime
    total_messages_considered: int


class Context:
    """The context of named agents. Every method raises as ``agents.find``."""

    def __init__(self, db: Database, responses: Turns, settings: Settings) -> None:
        self._db = db
        self._responses = responses
        self._limits = QueueLimits.of(settings)
        self._soft_limit = settings.context_soft_limit_tokens

    async def usage(self, caller: Caller, name: str) -> ContextUsage:
        """What was said since the cutoff, in tokens."""
        async with self._db.reading() as conn:
            row = await agents.find(conn, caller, name, "get")
            return self._usage(row.name, await store.measure(conn, row.session_id))

    async def clear(self, caller: Caller, name: str, keep: Keep[ContextUsage] = unkept) -> ContextUsage:
        """Forget what was said until now, also by the turn in work, which itself goes on with it."""

        async def work(conn: AsyncConnection) -> ContextUsage:
            row = await agents.find_locked(conn, caller, name, "update")
            made = await store.cut(conn, row.session_id, marker := new_id(), Cut())
            if made is None:
                raise LookupError("A cutoff that builds on any other is always made")
            await marked(row.id, cleared(rfc3339(made.at)), caller.name, marker).write(conn, row.session_id)
            await audit.done(conn, caller, Deed("clear-context", "agents", row.name, row.space))
            usage = self._usage(row.name, await store.measure(conn, row.session_id))
            await keep(conn, usage)
            return usage

        return await self._db.run(work)

    async def restore(self, caller: Caller, name: str, keep: Keep[ContextUsage] = unkept) -> ContextUsage:
        """Take the newest cutoff back: what it cut off is history again, its summary is not.

        Raises:
            Conflict: there is no cutoff.
        """

        async def work(conn: AsyncConnection) -> ContextUsage:
            row = await agents.find_locked(conn, caller, name, "update")
            there_was, at = await store.restore(conn, row.session_id)
            if not there_was:
                raise Conflict(f"Agent '{row.name}' has its whole context: there is no cutoff to take back")
            told = restored(None if at is None else rfc3339(at))
            await marked(row.id, told, caller.name).write(conn, row.session_id)
            await audit.done(conn, caller, Deed("restore-context", "agents", row.name, row.space))
            usage = self._usage(row.name, await store.measure(conn, row.session_id))
            await keep(conn, usage)
            return usage

        return await self._db.run(work)

    async def compact(self, caller: Caller, name: str, timeout_s: float) -> ContextUsage:
        """Let a summary by the agent's model stand for what was said until now; a sleeping agent wakes for it.

        Raises:
            Conflict: a turn is processing or waits, the compaction was cancelled, or the model cannot make one.
            RateLimited: the space's queue is full.
            Unavailable: the model does not answer now.
            GatewayTimeout: not done in time; the work goes on.
        """
        return await self.compacted(caller, name, await self.begin_compaction(caller, name), timeout_s)

    async def begin_compaction(self, caller: Caller, name: str, keep: Keep[uuid.UUID] = unkept) -> uuid.UUID:
        """The first half of :meth:`compact`: the turn that does it."""

        async def work(conn: AsyncConnection) -> uuid.UUID:
            turn_id = await self._queue(conn, caller, name)
            await keep(conn, turn_id)
            return turn_id

        return await self._db.run(work)

    async def compacted(self, caller: Caller, name: str, turn_id: uuid.UUID, timeout_s: float) -> ContextUsage:
        """The second half of :meth:`compact`: what that turn came to."""
        turn = await self._responses.wait(caller, name, turn_id, timeout_s)
        if turn.status != "completed":
            async with self._db.reading() as conn:
                error = await turns.error(conn, turn_id)
            raise _failed(name, error)
        return await self.usage(caller, name)

    async def _queue(self, conn: AsyncConnection, caller: Caller, name: str) -> uuid.UUID:
        row = await agents.find_locked(conn, caller, name, "update")
        open_turns = await turns.open_turns(conn, row.session_id)
        if open_turns:
            raise Conflict(f"Agent '{row.name}' is busy: wait until it is idle, or cancel what it does, then compact")
        await check_room(conn, self._limits, row.space, open_turns)
        change = compaction_queued(turn_id := new_id(), row.id, caller.name)
        if row.state in ASLEEP:
            change = woken(row.id, caller.name, "implicit_wake") + change
            await sessions.want(conn, row.session_id, "idle")
        await change.write(conn, row.session_id)
        await audit.done(conn, caller, Deed("compact-context", "agents", row.name, row.space))
        return turn_id

    def _usage(self, name: str, measured: Measured) -> ContextUsage:
        return ContextUsage(
            agent=name,
            soft_limit_tokens=self._soft_limit,
            used_tokens_estimated=measured.tokens,
            used_percent=round(100 * measured.tokens / self._soft_limit, 1),
            basis="estimated_from_history_chars",
            cutoff_at=measured.cutoff_at,
            measured_at=measured.at,
            total_messages_considered=measured.messages,
        )


def _failed(name: str, error: turns.Json | None) -> Conflict | Unavailable:
    if error is None:
        return Conflict(f"The context of agent '{name}' was not compacted: that was cancelled")
    text = f"The context of agent '{name}' was not compacted: {error.get('message', '')}"
    if error.get("code") in _MAY_PASS:
        return Unavailable(text, headers={"Retry-After": "5"})
    return Conflict(text)

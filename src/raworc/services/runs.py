"""Where a session's awake span begins and ends, and every other change of state that its operator makes.

Servers change sessions at any time. So each method takes the session's lock, looks once more, and does nothing
when another duty has become the first one: it answers False, and the operator looks again.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from raworc.clock import now, rfc3339
from raworc.domain.duties import (
    BecomeIdle,
    Duty,
    EndBusyHold,
    Fill,
    Forget,
    Pause,
    Situation,
    Sleep,
    Terminate,
    Wake,
    duty,
)
from raworc.domain.lifecycle import State
from raworc.domain.turns import Failure, Segment
from raworc.ids import new_id
from raworc.services import progress
from raworc.services.changes import Change, cancelled
from raworc.services.holds import Hold
from raworc.services.progress import Entry, NewTurn, ResponseChanged, SegmentAdded, StateChanged, StateShown
from raworc.services.steps import Outcome
from raworc.store import briefs, holds, sessions, turns
from raworc.store import runs as store
from raworc.store.briefs import Brief
from raworc.store.database import Database
from raworc.store.runs import Source
from raworc.store.turns import OpenTurn

__all__ = ["Runs", "Source"]

_BUSY_TIMEOUT: Final = Failure("busy_timeout", "The turn ran longer than the agent's busy timeout allows")


class Runs:
    """Wake, sleep and end of held sessions. All raise ``LostHold``."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def brief(self, hold: Hold) -> Brief | None:
        """Whom the sandbox is opened for: the session's agent, or its space; None when that was deleted."""
        async with self._db.reading() as conn:
            return await _brief(conn, hold)

    async def source(self, hold: Hold) -> Source | None:
        """Whose files the session is to start with; None when it has its own."""
        async with self._db.reading() as conn:
            return await store.source(conn, hold.session_id)

    async def filled(self, hold: Hold) -> bool:
        """The files are there."""

        async def change(conn: AsyncConnection, _: Situation) -> None:
            await store.filled(conn, hold.session_id)

        return await self._change(hold, lambda found: found == Fill(), change)

    async def begin(self, hold: Hold, sandbox_id: str, remarks: Sequence[Segment]) -> bool:
        """The sandbox is open: the session is idle, or goes on with its turn. ``remarks`` become a marker."""

        async def change(conn: AsyncConnection, found: Situation) -> None:
            state = "idle" if found.processing is None else "busy"
            told = await _marked(conn, hold, remarks) + Change((StateChanged(state),))
            await progress.write(conn, hold.session_id, told.entries, new_turns=told.new_turns, fence=hold.fence)
            await store.begin(conn, new_id(), hold.session_id)
            await store.opened(conn, hold.session_id, sandbox_id)
            await store.fulfil(conn, hold.session_id)

        return await self._change(hold, lambda found: found == Wake(), change)

    async def reopened(self, hold: Hold, sandbox_id: str) -> None:
        """A turn needed another sandbox."""

        async def work(conn: AsyncConnection) -> None:
            await progress.write(conn, hold.session_id, [], fence=hold.fence)
            await store.opened(conn, hold.session_id, sandbox_id)

        await self._db.run(work)

    async def end(self, hold: Hold, sleep: Sleep) -> bool:
        """The sandbox is closed: settle what is open, mark the sleep, let the session go."""
        told = {"type": "slept", "reason": sleep.reason, "note": sleep.note, "by": sleep.by, "at": rfc3339(now())}

        async def change(conn: AsyncConnection, _: Situation) -> None:
            await _close(conn, hold, "slept", _asleep(sleep), [told])

        return await self._change(hold, lambda found: found == sleep, change)

    async def fail(self, hold: Hold, reason: str) -> bool:
        """No sandbox can be had: open turns fail, the session is in error until it is woken, and is let go."""
        failed = Outcome.failed(Failure("sandbox_failed", reason))

        async def change(conn: AsyncConnection, _: Situation) -> None:
            await _close(conn, hold, "error", lambda turn: Change(tuple(failed.entries(turn.id))), failed.segments)

        return await self._change(hold, lambda found: not isinstance(found, Terminate | Sleep), change)

    async def pause(self, hold: Hold) -> bool:
        """The sandbox is frozen, or there is none."""

        async def change(conn: AsyncConnection, _: Situation) -> None:
            await store.frozen(conn, hold.session_id, hold.epoch)

        return await self._change(hold, lambda found: found == Pause(), change)

    async def go_on(self, hold: Hold) -> bool:
        """The sandbox is not frozen any more."""

        async def change(conn: AsyncConnection, _: Situation) -> None:
            await store.frozen(conn, hold.session_id, None)

        return await self._change(hold, lambda found: found != Pause(), change)

    async def forget(self, hold: Hold, reason: str) -> bool:
        """A paused session's memory is lost: it sleeps, and goes on with the turns that it has once it is resumed."""
        told = {"type": "slept", "reason": "pause_lost", "note": reason, "by": None, "at": rfc3339(now())}

        async def change(conn: AsyncConnection, _: Situation) -> None:
            await _close(conn, hold, "slept", lambda _: Change(), [told])

        return await self._change(hold, lambda found: isinstance(found, Pause | Forget), change)

    async def become_idle(self, hold: Hold) -> bool:
        """Nothing runs any more."""

        async def change(conn: AsyncConnection, _: Situation) -> None:
            await progress.state_event(conn, hold.session_id, "idle", fence=hold.fence)
            await store.fulfil(conn, hold.session_id)

        return await self._change(hold, lambda found: found == BecomeIdle(), change)

    async def end_busy_hold(self, hold: Hold) -> bool:
        """``POST /busy`` has lasted for the busy timeout."""

        async def change(conn: AsyncConnection, found: Situation) -> None:
            await sessions.end_hold(conn, hold.session_id)
            await progress.write(conn, hold.session_id, [StateShown(found.timers.state)], fence=hold.fence)

        return await self._change(hold, lambda found: found == EndBusyHold(), change)

    async def remove(self, hold: Hold) -> bool:
        """Sandbox and workspace are gone: so is the session, or what had to end of it."""

        async def change(conn: AsyncConnection, _: Situation) -> None:
            await store.remove(conn, hold.session_id)

        return await self._change(hold, lambda found: found == Terminate(), change)

    async def _change(
        self,
        hold: Hold,
        still: Callable[[Duty], bool],
        change: Callable[[AsyncConnection, Situation], Awaitable[None]],
    ) -> bool:
        async def work(conn: AsyncConnection) -> bool:
            await progress.write(conn, hold.session_id, [], fence=hold.fence)  # from here on nobody else writes
            situation = await holds.look(conn, hold.session_id, hold.fence)
            if situation is None or not still(duty(situation)):
                return False
            await change(conn, situation)
            return True

        return await self._db.run(work)


async def _close(
    conn: AsyncConnection, hold: Hold, state: State, outcome: Callable[[OpenTurn], Change], remarks: Sequence[Segment]
) -> None:
    told = Change()
    for turn in await turns.open_turns(conn, hold.session_id):
        told += outcome(turn)
    told = told + await _marked(conn, hold, remarks) + Change((StateChanged(state),))
    await progress.write(conn, hold.session_id, told.entries, new_turns=told.new_turns, fence=hold.fence)
    await store.end(conn, hold.session_id)


def _asleep(sleep: Sleep) -> Callable[[OpenTurn], Change]:
    def outcome(turn: OpenTurn) -> Change:
        if turn.status == "processing" and sleep.reason == "busy_timeout":
            return Change(tuple(Outcome.failed(_BUSY_TIMEOUT).entries(turn.id)))
        return cancelled([turn], "sleep")

    return outcome


async def _brief(conn: AsyncConnection, hold: Hold) -> Brief | None:
    find = briefs.of_space if hold.is_shared else briefs.of_session
    return await find(conn, hold.session_id)


async def _marked(conn: AsyncConnection, hold: Hold, remarks: Sequence[Segment]) -> Change:
    """A completed turn with an empty input that holds the remarks; nothing where there are none."""
    if not remarks:
        return Change()
    agent = await _brief(conn, hold)
    marker = NewTurn(new_id(), agent.agent_id if agent else None, "marker", "completed", {"content": []}, None)
    shown: list[Entry] = [SegmentAdded(marker.turn_id, remark) for remark in remarks]
    return Change((*shown, ResponseChanged(marker.turn_id, "completed")), (marker,))

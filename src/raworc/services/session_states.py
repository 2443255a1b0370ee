"""Sessions of spaces by hand: paused, suspended, resumed, held, put out of order, as both contracts' tables allow.

What is asked for stands in the session's row at once; its operator brings sandbox and turn there.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from raworc.domain.sessions import (
    Move,
    OrganizationsState,
    SpacesState,
    Standing,
    check_reason,
    organizations_move,
    organizations_state,
    spaces_move,
    spaces_state,
)
from raworc.errors import Conflict
from raworc.services import audit, sessions
from raworc.services.accounts import Caller
from raworc.services.answers import Keep, unkept
from raworc.services.changes import Change, cancelled, slept, woken
from raworc.services.progress import StateChanged, StateShown
from raworc.services.sessions import SessionRow
from raworc.store import sessions as rows
from raworc.store import shared_sessions as store
from raworc.store import turns
from raworc.store.database import Database

_FAILED: Final = "put out of order by {name}"


class SessionStates:
    """What a person may ask of a session.

    Every method raises as ``sessions.find`` for the verb ``update``, and ``Conflict`` where the session may not go
    there from where it is.
    """

    def __init__(self, db: Database) -> None:
        self._db = db

    async def pause(self, caller: Caller, which: str, keep: Keep[SessionRow] = unkept) -> SessionRow:
        """Freeze its sandbox: memory is kept, no processor used. Messages wait; what is in work goes on later."""
        return await self.set_state(caller, which, "PAUSED", keep=keep)

    async def suspend(self, caller: Caller, which: str, keep: Keep[SessionRow] = unkept) -> SessionRow:
        """Remove its sandbox and keep its files; what is in work, or waits, is cancelled."""
        return await self.set_state(caller, which, "SUSPENDED", keep=keep)

    async def resume(self, caller: Caller, which: str, keep: Keep[SessionRow] = unkept) -> SessionRow:
        """Undo either."""
        return await self.set_state(caller, which, "IDLE", keep=keep)

    async def set_state(
        self,
        caller: Caller,
        which: str,
        wanted: SpacesState,
        reason: str | None = None,
        keep: Keep[SessionRow] = unkept,
    ) -> SessionRow:
        """Any of these by the word of the contract spaces; ``TERMINATED`` takes the verb ``delete``."""
        wish = _Wish(wanted, reason, lambda now: spaces_move(now, wanted), spaces_state)
        return await self._moved(caller, which, wish, keep)

    async def set_organizations_state(
        self,
        caller: Caller,
        which: str,
        wanted: OrganizationsState,
        reason: str | None = None,
        keep: Keep[SessionRow] = unkept,
    ) -> SessionRow:
        """Any by the word of the contract organizations. ``reason``: why it is put out of order."""
        wish = _Wish(wanted, reason, lambda now: organizations_move(now, wanted), organizations_state)
        return await self._moved(caller, which, wish, keep)

    async def _moved(self, caller: Caller, which: str, wish: "_Wish", keep: Keep[SessionRow]) -> SessionRow:
        reason = check_reason(wish.reason)

        async def work(conn: AsyncConnection, by: Caller) -> SessionRow:
            row = await sessions.find_locked(conn, by, which, "update")
            open_turns = await turns.open_turns(conn, row.id)
            now = Standing(row.state, row.is_held or bool(open_turns))
            move = wish.decide(now)
            if move is None:
                told = "terminated" if row.state == "terminated" else wish.shown(now)
                raise Conflict(f"Session '{row.id}' is {told}: it cannot become {wish.wanted} from there")
            if move == "terminate":
                await sessions.find(conn, by, which, "delete")
            await _fulfil(conn, by, row, move, reason)
            shown = await sessions.stands(conn, row.id)
            await keep(conn, shown)
            return shown

        deed = sessions.deed("update-state", which, state=wish.wanted)
        return await audit.carried_out(self._db, caller, deed, work)


@dataclass(frozen=True)
class _Wish:
    """A state in some contract's word, what that contract makes of it, and its words for what is."""

    wanted: str
    reason: str | None
    decide: Callable[[Standing], Move | None]
    shown: Callable[[Standing], str]


async def _fulfil(conn: AsyncConnection, by: Caller, row: SessionRow, move: Move, reason: str | None) -> None:
    match move:
        case "nothing":
            return
        case "hold":
            await rows.begin_hold(conn, row.id)
            await Change((StateShown("busy"),)).write(conn, row.id)
        case "release":
            await _release(conn, row)
        case "pause":
            await rows.want_frozen(conn, row.id)
            await Change((StateChanged("paused"),)).write(conn, row.id)
        case "suspend":
            ending = slept(None, await turns.open_turns(conn, row.id), by.name, None, "suspend")
            await ending.write(conn, row.id)
            await rows.want(conn, row.id, "slept")
            await store.update(conn, row.id, _IN_ORDER if row.state == "error" else {})
        case "resume":
            await _resume(conn, by, row)
        case "fail":
            ending = cancelled(await turns.open_turns(conn, row.id), "fail")
            await (ending + Change((StateChanged("error"),))).write(conn, row.id)
            await rows.want(conn, row.id, None)
            await store.failed(conn, row.id, reason or _FAILED.format(name=by.name))
        case "terminate":
            await sessions.end(conn, by, row, reason)


async def _release(conn: AsyncConnection, row: SessionRow) -> None:
    """What is in work, or waits, is cancelled: only so it is idle."""
    ending = cancelled(await turns.open_turns(conn, row.id), "user_cancel")
    await rows.end_hold(conn, row.id)
    await (ending + Change((StateChanged("idle"),))).write(conn, row.id)


async def _resume(conn: AsyncConnection, by: Caller, row: SessionRow) -> None:
    if row.state == "paused":
        works = any(turn.status == "processing" for turn in await turns.open_turns(conn, row.id))
        await rows.end_freeze(conn, row.id)
        await Change((StateChanged("busy" if works else "idle"),)).write(conn, row.id)
        return
    await woken(None, by.name, "user_wake").write(conn, row.id)
    await rows.want(conn, row.id, "idle")
    await store.update(conn, row.id, _IN_ORDER)


_IN_ORDER: Final = {"terminated_at": None, "termination_reason": None}

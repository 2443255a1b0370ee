"""Sessions of the contracts spaces and organizations: made, found, listed, changed, ended; and who may do that.

They belong to their space, not to who made them: it takes a role for ``sessions`` there, owning nothing counts.
"""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from raworc.domain import sessions as domain
from raworc.domain.access import may, spaces_for
from raworc.domain.agents import BUSY_TIMEOUT_S, DEFAULT_SPACE
from raworc.domain.names import uuid_of
from raworc.domain.sessions import Fields, Json, SpacesState
from raworc.domain.text import storable_text
from raworc.errors import BadRequest, Conflict, FieldError, Forbidden, Hidden, NotFound
from raworc.ids import new_id
from raworc.services import audit
from raworc.services.accounts import Caller
from raworc.services.answers import Keep, unkept
from raworc.services.audit import Deed
from raworc.services.changes import Change, asked, cancelled
from raworc.services.progress import StateChanged
from raworc.services.queue import QueueLimits, check_room
from raworc.services.spaces import check_reach
from raworc.store import sessions as rows
from raworc.store import shared_sessions as store
from raworc.store import turns
from raworc.store.database import Database
from raworc.store.shared_sessions import KIND, SessionRow, Wanted

__all__ = [
    "NewSession",
    "SessionChange",
    "SessionFilter",
    "SessionRow",
    "Sessions",
    "absent",
    "check_agents",
    "deed",
    "end",
    "find",
    "find_locked",
    "ids",
]

RESOURCE: Final = "sessions"
_DEFAULT_LIMITS: Final = QueueLimits()
_ENDED: Final = "terminated by {name}"
_LOOKS: Final = (("get", RESOURCE), ("list", RESOURCE))


@dataclass(frozen=True)
class NewSession:
    """A session to be made. ``starting_prompt`` becomes its first turn; without agents those of its space answer."""

    space: str = DEFAULT_SPACE
    name: str | None = None
    starting_prompt: str | None = None
    agent_ids: Sequence[str] = ()
    waiting_timeout_s: int | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True)
class SessionChange:
    """What to change; None keeps."""

    space: str | None = None
    name: str | None = None
    waiting_timeout_s: int | None = None
    metadata: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class SessionFilter:
    """Which sessions to list; ``states``: those that the contract spaces shows so; none: all."""

    space: str | None = None
    states: frozenset[SpacesState] = frozenset()
    created_by: str | None = None


class Sessions:
    """Sessions, by those who may see or change them."""

    def __init__(self, db: Database, limits: QueueLimits = _DEFAULT_LIMITS) -> None:
        self._db = db
        self._limits = limits

    async def page(self, caller: Caller, wanted: SessionFilter, *, limit: int, offset: int) -> list[SessionRow]:
        """Those that the caller may see, newest first.

        Raises:
            NotFound: there is no such space, or none that the caller may see.
            Forbidden: he may list sessions nowhere, or not there.
        """
        async with audit.refusals_kept(self._db, caller, _listing(wanted)), self._db.reading() as conn:
            return await store.page(conn, await _wanted(conn, caller, wanted), limit=limit, offset=offset)

    async def count(self, caller: Caller, wanted: SessionFilter) -> int:
        """How many there are on all pages. Raises as `page`."""
        async with audit.refusals_kept(self._db, caller, _listing(wanted)), self._db.reading() as conn:
            return await store.count(conn, await _wanted(conn, caller, wanted))

    async def get(self, caller: Caller, which: str) -> SessionRow:
        """One of them.

        Raises:
            NotFound: there is none that the caller may see.
        """
        async with audit.refusals_kept(self._db, caller, deed("get", which)), self._db.reading() as conn:
            return await find(conn, caller, which, "get")

    async def create(self, caller: Caller, new: NewSession, keep: Keep[SessionRow] = unkept) -> SessionRow:
        """Make one: it starts in ``init``.

        Raises:
            BadRequest: a field outside its rules, or an agent that is not active in this space.
            NotFound: there is no such space, or none that the caller may see.
            Forbidden: he may not make sessions there.
            RateLimited: there is a prompt, and the space's queue is full.
            StorageFull: the server's disk is.
        """
        session_id, message_id = new_id(), new_id()
        given = Fields(new.name, new.starting_prompt, new.waiting_timeout_s, new.metadata)
        values, waiting_s = domain.checked(given), new.waiting_timeout_s
        agent_ids = ids(new.agent_ids)

        async def work(conn: AsyncConnection, by: Caller) -> SessionRow:
            await check_reach(conn, by, "create", RESOURCE, new.space)
            await check_agents(conn, new.space, agent_ids)
            home = rows.NewSession(
                session_id=session_id,
                space=new.space,
                kind=KIND,
                idle_timeout_s=domain.WAITING_S if waiting_s is None else waiting_s,
                busy_timeout_s=BUSY_TIMEOUT_S,
            )
            beginning = Beginning(home, values, agent_ids, new.starting_prompt, message_id)
            return await begin(conn, by, beginning, self._limits, keep)

        deed = Deed("create", RESOURCE, space=storable_text(new.space[:80]))
        made = begun(deed, session_id, new.starting_prompt, message_id)
        return await audit.carried_out(self._db, caller, deed, work, made=made)

    async def update(
        self, caller: Caller, which: str, change: SessionChange, keep: Keep[SessionRow] = unkept
    ) -> SessionRow:
        """Change what is given. In another space it gets a fresh sandbox, around the same files.

        Raises:
            NotFound, Forbidden: there is none that the caller may see, or he may not change it; or may not make
                sessions in the other space, or look at its agents in this one.
            BadRequest: nothing is given, or a field is outside its rules.
            Conflict: it is to be moved, and is terminated, paused or at work.
        """
        values = domain.checked(Fields(change.name, None, change.waiting_timeout_s, change.metadata))
        if change == SessionChange():
            raise BadRequest("Nothing to change: give 'space', 'name', 'waiting_timeout_seconds' or 'metadata'")

        async def work(conn: AsyncConnection, by: Caller) -> SessionRow:
            row = await find_locked(conn, by, which, "update")
            if change.space is not None and change.space != row.space:
                await _move(conn, by, row, change.space)
            await store.update(conn, row.id, values)
            await rows.set_timeouts(conn, row.id, idle_timeout_s=change.waiting_timeout_s, busy_timeout_s=None)
            shown = await stands(conn, row.id)
            await keep(conn, shown)
            return shown

        return await audit.carried_out(self._db, caller, deed("update", which), work)

    async def terminate(self, caller: Caller, which: str, reason: str | None = None) -> SessionRow:
        """End one for good, whatever it is doing: it stays readable, an operator removes sandbox and workspace.

        One that was terminated before stays as it is. Raises as `find` for ``delete``.
        """
        told = domain.check_reason(reason)

        async def work(conn: AsyncConnection, by: Caller) -> SessionRow:
            row = await find_locked(conn, by, which, "delete")
            if row.state != "terminated":
                await end(conn, by, row, told)
            return await stands(conn, row.id)

        return await audit.carried_out(self._db, caller, deed("delete", which), work)

    async def delete(self, caller: Caller, which: str) -> None:
        """The same, and nobody sees it any more: an operator removes all of it. Raises as `find` for ``delete``."""

        async def work(conn: AsyncConnection, by: Caller) -> None:
            row = await find_locked(conn, by, which, "delete")
            await end(conn, by, row, None, is_deleted=True)

        await audit.carried_out(self._db, caller, deed("delete", which), work)


@dataclass(frozen=True)
class Beginning:
    """A session to be written: its row of ``sessions``, the columns of its own, its agents, what it is asked first."""

    home: rows.NewSession
    values: Json
    agent_ids: Sequence[uuid.UUID] = ()
    prompt: str | None = None
    message_id: uuid.UUID = field(default_factory=new_id)


def begun(deed: Deed, session_id: uuid.UUID, prompt: str | None, message_id: uuid.UUID) -> Deed:
    """What the audit log says of a session that was made, and of what it is asked first."""
    first = {} if prompt is None else {"message": str(message_id)}
    return replace(deed, name=str(session_id), details={**deed.details, **first})


async def begin(
    conn: AsyncConnection, by: Caller, beginning: Beginning, limits: QueueLimits, keep: Keep[SessionRow]
) -> SessionRow:
    """Write it; what it is asked first is its first turn.

    Raises:
        RateLimited: there is a prompt, and the space's queue is full.
        StorageFull: the server's disk is.
    """
    limits.storage.check()
    home, change = beginning.home, Change((StateChanged("init"),))
    if beginning.prompt is not None:
        await check_room(conn, limits, home.space, ())
        change += asked(beginning.message_id, storable_text(beginning.prompt), by.name)
    await rows.insert(conn, home)
    await store.insert(conn, home.session_id, {"created_by": by.name, **beginning.values}, beginning.agent_ids)
    await change.write(conn, home.session_id)
    made = await stands(conn, home.session_id)
    await keep(conn, made)
    return made


async def stands(conn: AsyncConnection, session_id: uuid.UUID) -> SessionRow:
    """A session that is there, as it is now."""
    row = await store.find(conn, session_id)
    if row is None:
        raise absent(str(session_id))
    return row


async def find(conn: AsyncConnection, caller: Caller, which: str, verb: str, also: str | None = None) -> SessionRow:
    """The session, if the caller may ``verb`` it; ``also``: or may do that verb with its messages.

    Raises:
        NotFound: there is none that the caller may see.
        Forbidden: he may see it, and not do this.
    """
    session_id = uuid_of(which)
    return _permitted(None if session_id is None else await store.find(conn, session_id), caller, which, verb, also)


async def find_locked(
    conn: AsyncConnection, caller: Caller, which: str, verb: str, also: str | None = None
) -> SessionRow:
    """The same, locked until the transaction ends. Raises as :func:`find`."""
    session_id = uuid_of(which)
    row = None if session_id is None else await store.find_locked(conn, session_id)
    return _permitted(row, caller, which, verb, also)


async def end(
    conn: AsyncConnection, by: Caller, row: SessionRow, reason: str | None, *, is_deleted: bool = False
) -> None:
    """Terminate a locked session: its open turns are cancelled, the rest is its operator's."""
    ending = cancelled(await turns.open_turns(conn, row.id), "terminate")
    await (ending + Change((StateChanged("terminated"),))).write(conn, row.id)
    await rows.want(conn, row.id, "terminated")
    await store.terminated(conn, row.id, reason or _ENDED.format(name=by.name), is_deleted=is_deleted)


def absent(which: str) -> NotFound:
    """There is no such session, or none that the caller may know of."""
    return NotFound(f"Session '{storable_text(which[:80])}' not found")


def deed(verb: str, which: str, **details: str) -> Deed:
    """Something done to a session."""
    return Deed(verb, RESOURCE, storable_text(which[:80]), details=details)


def _permitted(row: SessionRow | None, caller: Caller, which: str, verb: str, also: str | None) -> SessionRow:
    if row is None:
        raise absent(which)
    wishes = [(verb, RESOURCE)] if also is None else [(verb, RESOURCE), (also, "messages")]
    if any(may(caller.grants, wish, resource, space=row.space) for wish, resource in wishes):
        return row
    if not any(may(caller.grants, look, resource, space=row.space) for look, resource in _LOOKS):
        raise Hidden(absent(which).message)
    what = RESOURCE if also is None else "messages of sessions"
    raise Forbidden(
        f"Account '{caller.name}' may not {also or verb} {what} in space '{row.space}': ask an administrator"
    )


async def _wanted(conn: AsyncConnection, caller: Caller, wanted: SessionFilter) -> Wanted:
    spaces = spaces_for(caller.grants, "list", RESOURCE)
    if wanted.space is not None:
        await check_reach(conn, caller, "list", RESOURCE, wanted.space)
        spaces = frozenset({wanted.space})
    elif spaces == frozenset():
        raise Forbidden(f"Account '{caller.name}' may not list sessions: ask an administrator for a role")
    created_by = None if wanted.created_by is None else storable_text(wanted.created_by)
    return Wanted(spaces, wanted.states, created_by)


async def check_agents(conn: AsyncConnection, space: str, agent_ids: Sequence[uuid.UUID]) -> None:
    """Nothing, where all are active agents of a space: whoever may make sessions in it may make them with these.

    Raises:
        BadRequest: one is not.
    """
    known = await store.usable(conn, space, agent_ids)
    for agent_id in agent_ids:
        if agent_id not in known:
            raise _no_agent(str(agent_id), f"is not an active agent of namespace '{space}'")


async def _move(conn: AsyncConnection, by: Caller, row: SessionRow, space: str) -> None:
    await check_reach(conn, by, "create", RESOURCE, space)
    if row.agents and not may(by.grants, "get", "agents", space=row.space):
        raise Forbidden(f"Account '{by.name}' may not take agents of space '{row.space}' along: ask an administrator")
    if row.state in {"terminated", "paused"}:
        raise Conflict(f"Session '{row.id}' is {row.state}: it cannot be moved")
    if row.state == "busy" or await turns.open_turns(conn, row.id):
        raise Conflict(f"Session '{row.id}' is at work: wait until it is done, or suspend it, then move it")
    await store.move(conn, row.id, space)
    if row.state in {"idle", "init"}:
        await Change((StateChanged("init"),)).write(conn, row.id)
        await rows.want(conn, row.id, "idle")


def ids(given: Sequence[str]) -> list[uuid.UUID]:
    """Agents' ids, each once, in the order given.

    Raises:
        BadRequest: one is no UUID, or there are too many.
    """
    if len(given) > domain.MAX_AGENTS:
        reason = f"may name {domain.MAX_AGENTS} agents at most"
        raise BadRequest(f"'agent_ids' {reason}", details=(FieldError("agent_ids", reason),))
    found: dict[uuid.UUID, None] = {}
    for text in given:
        agent_id = uuid_of(text)
        if agent_id is None:
            raise _no_agent(storable_text(text[:80]), "is no agent's id: give UUIDs")
        found[agent_id] = None
    return list(found)


def _no_agent(agent_id: str, reason: str) -> BadRequest:
    message = f"'{agent_id}' {reason}"
    return BadRequest(f"'agent_ids': {message}", details=(FieldError("agent_ids", message),))


def _listing(wanted: SessionFilter) -> Deed:
    return Deed("list", RESOURCE, space=None if wanted.space is None else storable_text(wanted.space[:80]))

"""Remixes of sessions: new ones that start with the files of another one, which is left as it is.

Its operator copies the files before the first sandbox (``sessions.copy_of``), as with agents. What was said is not
copied, and a starting prompt that the parent had is shown, not asked again.
"""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from raworc.domain import sessions as domain
from raworc.domain.access import may
from raworc.domain.agents import BUSY_TIMEOUT_S
from raworc.domain.sessions import Fields, Json
from raworc.domain.text import storable_text
from raworc.errors import Conflict, Forbidden
from raworc.ids import new_id
from raworc.services import audit, sessions
from raworc.services.accounts import Caller
from raworc.services.answers import Keep, unkept
from raworc.services.audit import Deed
from raworc.services.queue import QueueLimits
from raworc.services.sessions import Beginning, SessionRow
from raworc.services.spaces import check_reach
from raworc.store import sessions as rows
from raworc.store.database import Database
from raworc.store.shared_sessions import KIND


@dataclass(frozen=True)
class SessionRemix:
    """A remix to be made; None inherits. ``agent_ids`` empty: it has none, so those of its space answer."""

    space: str | None = None
    name: str | None = None
    starting_prompt: str | None = None
    agent_ids: Sequence[str] | None = None
    waiting_timeout_s: int | None = None
    metadata: Mapping[str, Any] | None = None


class SessionRemixes:
    """Makes sessions from sessions."""

    def __init__(self, db: Database, limits: QueueLimits) -> None:
        self._db = db
        self._limits = limits

    async def make(self, caller: Caller, which: str, wish: SessionRemix, keep: Keep[SessionRow] = unkept) -> SessionRow:
        """The new session, whatever its parent is doing.

        Raises:
            BadRequest: a field outside its rules, or an agent that is not active in its space.
            NotFound: there is no such parent or space, or none that the caller may see.
            Forbidden: he may not make sessions there, or the parent's agents come along and he may not look at them.
            Conflict: the parent is terminated: its files are gone.
            RateLimited, StorageFull: as for a new session.
        """
        given = domain.checked(Fields(wish.name, wish.starting_prompt, wish.waiting_timeout_s, wish.metadata))
        agent_ids = None if wish.agent_ids is None else sessions.ids(wish.agent_ids)
        session_id, message_id = new_id(), new_id()

        async def work(conn: AsyncConnection, by: Caller) -> SessionRow:
            parent = await sessions.find_locked(conn, by, which, "get")
            space = parent.space if wish.space is None else wish.space
            await check_reach(conn, by, "create", sessions.RESOURCE, space)
            if parent.state == "terminated":
                raise Conflict(f"Session '{parent.id}' is terminated, and its files are gone: start a new one")
            if agent_ids is None:
                chosen = _inherited(by, parent, space)
            else:
                await sessions.check_agents(conn, space, chosen := agent_ids)
            waiting_s = parent.waiting_timeout_s if wish.waiting_timeout_s is None else wish.waiting_timeout_s
            home = rows.NewSession(
                session_id=session_id,
                space=space,
                kind=KIND,
                idle_timeout_s=waiting_s,
                busy_timeout_s=BUSY_TIMEOUT_S,
                source=await rows.source_of(conn, parent.id),
            )
            beginning = Beginning(home, _columns(parent, given), chosen, wish.starting_prompt, message_id)
            return await sessions.begin(conn, by, beginning, self._limits, keep)

        where = None if wish.space is None else storable_text(wish.space[:80])
        deed = Deed("create", sessions.RESOURCE, None, where, {"parent": storable_text(which[:80])})
        made = sessions.begun(deed, session_id, wish.starting_prompt, message_id)
        return await audit.carried_out(self._db, caller, deed, work, made=made)


def _columns(parent: SessionRow, given: Json) -> Json:
    inherited = {"name": parent.name, "starting_prompt": parent.starting_prompt, "metadata": parent.metadata}
    return {**inherited, **given, "parent_id": parent.id}


def _inherited(by: Caller, parent: SessionRow, space: str) -> list[uuid.UUID]:
    if parent.agents and space != parent.space and not may(by.grants, "get", "agents", space=parent.space):
        raise Forbidden(
            f"Account '{by.name}' may not take agents of space '{parent.space}' along: ask an administrator"
        )
    return [uuid.UUID(agent["id"]) for agent in parent.agents]

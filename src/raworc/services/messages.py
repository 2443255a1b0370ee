"""Messages of sessions of spaces: what was said, by whom, in the order in which it was said.

A message of a person is a turn; its answer is that turn's final text. A turn that failed or was cancelled is answered
by the system, which says so: whoever waits for an answer gets one.
"""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from raworc.domain.lifecycle import ASLEEP
from raworc.domain.names import uuid_of
from raworc.domain.sessions import Json, Role, answer_of, check_content, check_metadata
from raworc.errors import BadRequest, Conflict, FieldError
from raworc.ids import new_id
from raworc.services import audit, sessions
from raworc.services.accounts import Caller
from raworc.services.answers import Keep, unkept
from raworc.services.changes import Change, asked, said, woken
from raworc.services.queue import QueueLimits, check_room
from raworc.services.sessions import SessionRow
from raworc.store import agents, context, turns
from raworc.store import messages as store
from raworc.store import sessions as rows
from raworc.store.context import Cut
from raworc.store.database import Database
from raworc.store.messages import MessageRow

MOST: Final = 1000
_AT_ONCE: Final = 500
_DEFAULT_LIMITS: Final = QueueLimits()


@dataclass(frozen=True)
class NewMessage:
    """Something to be said. Only a person's message is answered; ``agent_id``: whose words an agent's are."""

    content: str
    role: Role = "USER"
    agent_id: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True)
class Message:
    """A message as contracts show it."""

    id: uuid.UUID
    session_id: uuid.UUID
    role: Role
    content: str
    agent_id: uuid.UUID | None
    agent_name: str | None
    metadata: Json
    created_at: datetime


class Messages:
    """Messages, by those who may read or send them. Every method raises as ``sessions.find``."""

    def __init__(self, db: Database, limits: QueueLimits = _DEFAULT_LIMITS) -> None:
        self._db = db
        self._limits = limits

    async def post(self, caller: Caller, which: str, new: NewMessage, keep: Keep[Message] = unkept) -> Message:
        """Say something. For a person's message a suspended session wakes; to a paused one it waits until that goes on.

        Raises:
            BadRequest: no content or too much, or an agent's message without an agent of the session's space.
            Conflict: the session is terminated.
            RateLimited: the session's or the space's queue is full.
            StorageFull: the server's disk is.
        """
        content, metadata = check_content(new.content), check_metadata(new.metadata)
        message_id = new_id()

        async def work(conn: AsyncConnection, by: Caller) -> Message:
            row = await sessions.find_locked(conn, by, which, "update", also="create")
            if row.state == "terminated":
                raise Conflict(f"Session '{row.id}' is terminated: start a new one, or remix another")
            if new.role == "USER":
                change = await self._asking(conn, by, row) + asked(message_id, content, by.name, metadata)
                agent_id, agent_name = None, None
            else:
                self._limits.storage.check()
                agent_id, agent_name = await _speaker(conn, row, new)
                change = said(message_id, new.role, content, by.name, agent_id=agent_id, metadata=metadata)
            at = (await change.write(conn, row.id)).at
            made = Message(message_id, row.id, new.role, content, agent_id, agent_name, metadata, at)
            await keep(conn, made)
            return made

        deed = sessions.deed("create-message", which)
        made = replace(deed, details={"message": str(message_id)})
        return await audit.carried_out(self._db, caller, deed, work, made=made)

    async def page(self, caller: Caller, which: str, *, limit: int, offset: int | None) -> list[Message]:
        """Messages, the oldest first: the newest ``limit`` of them, or those after the first ``offset``."""
        async with (
            audit.refusals_kept(self._db, caller, sessions.deed("list-messages", which)),
            self._db.reading() as conn,
        ):
            row = await sessions.find(conn, caller, which, "get", also="list")
            most, since = min(limit, MOST), row.messages_cleared_at
            if offset is None:
                found = await store.newest(conn, row.id, since, limit=most)
            else:
                found = await store.page(conn, row.id, since, limit=most, offset=offset)
        return [_shown(row.id, one) for one in found]

    async def count(self, caller: Caller, which: str) -> int:
        """How many there are."""
        async with (
            audit.refusals_kept(self._db, caller, sessions.deed("list-messages", which)),
            self._db.reading() as conn,
        ):
            row = await sessions.find(conn, caller, which, "get", also="list")
            return await store.count(conn, row.id, row.messages_cleared_at)

    async def clear(self, caller: Caller, which: str) -> int:
        """Remove what was said, also from what models are told; how many messages that were.

        What is being worked on, or waits, goes on: its answer is shown when it comes.
        """

        async def work(conn: AsyncConnection, by: Caller) -> tuple[SessionRow, datetime, int]:
            row = await sessions.find_locked(conn, by, which, "delete", also="delete")
            there = await store.count(conn, row.id, row.messages_cleared_at)
            await context.cut(conn, row.id, new_id(), Cut())
            return row, await store.hide(conn, row.id), there

        deed = sessions.deed("delete-messages", which)
        row, until, there = await audit.carried_out(self._db, caller, deed, work)
        while await self._removed(row.id, until) == _AT_ONCE:  # what is left when this is cut short stays hidden
            pass
        return there

    async def _removed(self, session_id: uuid.UUID, until: datetime) -> int:
        async with self._db.transaction() as conn:
            return await store.remove(conn, session_id, until, limit=_AT_ONCE)

    async def _asking(self, conn: AsyncConnection, by: Caller, row: SessionRow) -> Change:
        """Room for one more turn, and a session that is awake for it."""
        await check_room(conn, self._limits, row.space, await turns.open_turns(conn, row.id))
        if row.state not in ASLEEP or row.state == "paused":
            return Change()
        await rows.want(conn, row.id, "idle")
        return woken(None, by.name, "implicit_wake")


async def _speaker(conn: AsyncConnection, row: SessionRow, new: NewMessage) -> tuple[uuid.UUID | None, str | None]:
    if new.role == "SYSTEM":
        return None, None
    agent_id = None if new.agent_id is None else uuid_of(new.agent_id)
    name = None if agent_id is None else await agents.name_in_space(conn, agent_id, row.space)
    if name is None:
        reason = f"must name an agent of namespace '{row.space}' where 'role' is AGENT"
        raise BadRequest(f"'agent_id' {reason}", details=(FieldError("agent_id", reason),))
    return agent_id, name


def _shown(session_id: uuid.UUID, row: MessageRow) -> Message:
    role, content = answer_of(row.role, row.content, row.status, row.failure or row.cancel_reason)
    return Message(row.id, session_id, role, content, row.agent_id, row.agent_name, row.metadata, row.created_at)

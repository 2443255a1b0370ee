"""How an agent comes to be, made anew or from another one: its session, its row, its first turn."""

import uuid
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from raworc.domain.access import may
from raworc.domain.agents import DEFAULT_SPACE
from raworc.domain.content import text_input
from raworc.domain.text import storable_text
from raworc.errors import Forbidden, Hidden, NotFound
from raworc.ids import new_id
from raworc.services.accounts import Caller
from raworc.services.changes import Change, queued
from raworc.services.progress import StateChanged
from raworc.services.queue import QueueLimits, check_room
from raworc.store import agents as store
from raworc.store import sessions, spaces
from raworc.store.sessions import NewSession

Json = dict[str, Any]


@dataclass(frozen=True)
class Birth:
    """An agent to be written: ``columns`` of its row but who and where it is, its session, its first input."""

    columns: Json
    home: NewSession
    prompt: str | None
    turn_id: uuid.UUID = field(default_factory=new_id)

    @property
    def told(self) -> dict[str, str]:
        """What the audit log says of its first response, if it has one."""
        return {} if self.prompt is None else {"response": str(self.turn_id)}


async def born(conn: AsyncConnection, caller: Caller, birth: Birth, limits: QueueLimits) -> uuid.UUID:
    """Write it, owned by the caller; its id. Its secrets are the caller's to put.

    Raises:
        NotFound: no such space.
        Forbidden: the caller may not create agents there.
        BadRequest: a prompt without text.
        RateLimited: there is a prompt, and the space's queue is full.
        StorageFull: the server's disk is.
        Duplicate: the name is taken.
    """
    home, agent_id = birth.home, new_id()
    await _check_space(conn, caller, home.space)
    limits.storage.check()
    beginning = Change((StateChanged("init"),))
    if birth.prompt is not None:
        beginning += queued(birth.turn_id, agent_id, text_input(storable_text(birth.prompt)), caller.name)
        await check_room(conn, limits, home.space, ())
    await sessions.insert(conn, home)
    await store.insert(conn, {**birth.columns, **_identity(agent_id, home, caller)})
    await beginning.write(conn, home.session_id)
    return agent_id


def may_create(caller: Caller, space: str) -> bool:
    """Whether the caller may make agents in a space.

    What is granted on one's own things reaches no further than the common space: a space may hold secrets.
    """
    return may(caller.grants, "create", "agents", space=space, owner=space == DEFAULT_SPACE)


async def _check_space(conn: AsyncConnection, caller: Caller, space: str) -> None:
    allowed = may_create(caller, space)
    if space == DEFAULT_SPACE and allowed:
        return
    seen = allowed or may(caller.grants, "read", "spaces", space=space)
    if not await spaces.keeps(conn, space):
        raise NotFound(f"Space '{space}' not found")
    if not seen:
        raise Hidden(f"Space '{space}' not found")
    if not allowed:
        raise Forbidden(f"Account '{caller.name}' may not create agents in space '{space}'")


def _identity(agent_id: uuid.UUID, home: NewSession, caller: Caller) -> Json:
    return {
        "id": agent_id,
        "kind": "named",
        "space": home.space,
        "session_id": home.session_id,
        "owner_id": caller.account_id,
        "created_by": caller.name,
    }

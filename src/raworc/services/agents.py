"""Agents: made, found, listed, changed, removed; and who may see which."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, Final, Generic, TypeVar, cast, get_args

from msgspec import Struct
from sqlalchemy.ext.asyncio import AsyncConnection

from raworc.domain import agents as domain
from raworc.domain.access import Verb, may, spaces_for
from raworc.domain.agents import DEFAULT_SPACE, AgentChange, NewAgent
from raworc.domain.lifecycle import ShownState
from raworc.domain.names import is_agent_name
from raworc.domain.text import storable_text
from raworc.errors import BadRequest, Conflict, FieldError, Forbidden, NotFound
from raworc.ids import new_id
from raworc.services import audit
from raworc.services.accounts import Caller
from raworc.services.answers import Keep, unkept
from raworc.services.audit import Deed
from raworc.services.births import Birth, born
from raworc.services.changes import Change, cancelled
from raworc.services.progress import StateChanged
from raworc.services.queue import QueueLimits
from raworc.services.secrets import Secrets, check_secrets
from raworc.services.together import Together
from raworc.settings import Settings
from raworc.store import agents as store
from raworc.store import sessions, turns
from raworc.store.agents import AgentRow, Wanted
from raworc.store.database import Database, Duplicate
from raworc.store.sessions import NewSession

__all__ = [
    "AgentChange",
    "AgentFilter",
    "AgentRow",
    "AgentView",
    "Agents",
    "NewAgent",
    "Page",
    "absent",
    "find",
    "find_locked",
    "find_shown_locked",
    "may_touch",
    "taken",
    "view",
]

Json = dict[str, Any]
T = TypeVar("T")

MAX_PAGE: Final = 100
_MAX_OFFSET: Final = 2**53


class AgentView(Struct, frozen=True, kw_only=True):
    """An agent as the agents contract shows it. ``instructions`` and all below are for who may change it."""

    name: str
    created_by: str
    state: ShownState
    description: str | None
    parent_agent_name: str | None
    created_at: datetime
    last_activity_at: datetime | None
    metadata: Json
    tags: list[str]
    is_published: bool
    published_at: datetime | None
    published_by: str | None
    publish_permissions: dict[str, bool]
    idle_timeout_seconds: int
    busy_timeout_seconds: int
    idle_from: datetime | None
    busy_from: datetime | None
    context_cutoff_at: datetime | None
    space: str
    model: str | None
    max_tokens: int | None
    network: str
    limits: Json
    instructions: str | None
    setup: str | None
    tools: list[Any] | None
    guardrails: list[Any] | None
    knowledge_bases: list[Any] | None


@dataclass(frozen=True)
class AgentFilter:
    """Which agents to list. ``q`` is searched in names and descriptions; ``limit`` is clamped to 1..100."""

    q: str | None = None
    tags: Sequence[str] = ()
    state: str | None = None
    limit: int = 30
    offset: int = 0


@dataclass(frozen=True)
class Page(Generic[T]):
    """One page of a list, and how many items there are in all."""

    items: list[T]
    total: int
    limit: int
    offset: int


async def find(conn: AsyncConnection, caller: Caller, name: str, verb: Verb) -> AgentRow:
    """The agent, if the caller may ``verb`` it.

    Raises:
        NotFound: there is none.
        Forbidden: it is another's.
    """
    return _permitted(await store.find(conn, name) if is_agent_name(name) else None, caller, name, verb)


async def find_shown_locked(conn: AsyncConnection, caller: Caller, name: str) -> AgentRow:
    """The agent that the caller may change, or any published one, locked as by :func:`find_locked`."""
    row = await store.find_locked(conn, name) if is_agent_name(name) else None
    return row if row is not None and row.is_published else _permitted(row, caller, name, "update")


async def find_locked(conn: AsyncConnection, caller: Caller, name: str, verb: Verb) -> AgentRow:
    """The same, locked with its session until the transaction ends. Raises as :func:`find`."""
    return _permitted(await store.find_locked(conn, name) if is_agent_name(name) else None, caller, name, verb)


async def shown(conn: AsyncConnection, caller: Caller, name: str, keep: Keep[AgentView]) -> AgentView:
    """What a change answers: the agent as it is after it, kept. Raises as :func:`find`."""
    found = view(await find(conn, caller, name, "get"), caller)
    await keep(conn, found)
    return found


def view(row: AgentRow, caller: Caller | None) -> AgentView:
    """What the caller is shown of an agent; None is anybody, whom only published ones are shown."""
    return _view(row, private=caller is not None and may_touch(caller, "update", row))


def _views(rows: Sequence[AgentRow], caller: Caller) -> list[AgentView]:
    @cache
    def private(space: str, *, owner: bool) -> bool:  # asked once for a page's many rows of few spaces
        return may(caller.grants, "update", "agents", space=space, owner=owner)

    return [_view(row, private=private(row.space, owner=row.owner_id == caller.account_id)) for row in rows]


def _view(row: AgentRow, *, private: bool) -> AgentView:
    busy_from = row.busy_from or row.busy_hold_from or row.queued_from
    return AgentView(
        name=row.name,
        created_by=row.created_by,
        state=row.shown_state,
        description=row.description,
        parent_agent_name=row.parent_agent_name,
        created_at=row.created_at,
        last_activity_at=row.last_activity_at,
        metadata=row.metadata,
        tags=row.tags,
        is_published=row.is_published,
        published_at=row.published_at,
        published_by=row.published_by,
        publish_permissions=row.publish_permissions,
        idle_timeout_seconds=row.idle_timeout_s,
        busy_timeout_seconds=row.busy_timeout_s,
        idle_from=row.idle_from if row.shown_state == "idle" else None,
        busy_from=busy_from if row.shown_state == "busy" else None,
        context_cutoff_at=row.context_cutoff_at,
        space=row.space,
        model=row.model,
        max_tokens=row.max_tokens,
        network=row.network,
        limits=row.limits,
        instructions=row.instructions if private else None,
        setup=row.setup if private else None,
        tools=row.tools if private else None,
        guardrails=row.guardrails if private else None,
        knowledge_bases=row.knowledge_bases if private else None,
    )


def may_touch(caller: Caller, verb: Verb, row: AgentRow) -> bool:
    """Whether the caller may ``verb`` this agent. An agent's own token may nothing with any other."""
    if caller.agent_id not in {None, row.id}:
        return False
    return may(caller.grants, verb, "agents", space=row.space, owner=row.owner_id == caller.account_id)


class Agents:
    """Named agents, each with one home session."""

    def __init__(self, db: Database, secrets: Secrets, settings: Settings) -> None:
        self._db = db
        self._secrets = secrets
        self._limits = QueueLimits.of(settings)
        self._shown = Together(self._read)

    async def create(self, caller: Caller, new: NewAgent, keep: Keep[AgentView] = unkept) -> AgentView:
        """Make an agent: its session starts in ``init``, a ``prompt`` becomes its first turn.

        Raises:
            BadRequest: a field outside its rules.
            NotFound: no such space.
            Forbidden: the caller may not create agents there.
            Conflict: the name is taken, in any case of its letters.
            RateLimited: there is a prompt, and the space's queue is full.
        """
        birth = Birth(domain.checked(new), _home(new), new.prompt)
        check_secrets(new.secrets)

        async def work(conn: AsyncConnection) -> AgentView:
            agent_id = await born(conn, caller, birth, self._limits)
            await self._secrets.put(conn, agent_id, birth.home.space, new.secrets)
            await audit.done(conn, caller, Deed("create", "agents", new.name, birth.home.space, birth.told))
            return await shown(conn, caller, new.name, keep)

        try:
            return await self._db.run(work)
        except Duplicate:
            raise taken(new.name) from None

    async def get(self, caller: Caller, name: str) -> AgentView:
        """One agent, the caller's or a published one. Raises as :func:`find`."""
        row = await self._shown.get(name.lower()) if is_agent_name(name) else None
        return view(row if row is not None and row.is_published else _permitted(row, caller, name, "get"), caller)

    async def page(self, caller: Caller, wanted: AgentFilter) -> Page[AgentView]:
        """Agents that the caller may see, newest first.

        Raises:
            BadRequest: an unknown state.
        """
        limit = min(max(wanted.limit, 1), MAX_PAGE)
        offset = min(max(wanted.offset, 0), _MAX_OFFSET)
        conditions = _wanted(caller, wanted)
        async with self._db.reading() as conn:
            rows, total = await store.page(conn, conditions, limit=limit, offset=offset)
        return Page(_views(rows, caller), total, limit, offset)

    async def update(self, caller: Caller, name: str, change: AgentChange) -> AgentView:
        """Change what is given.

        Raises:
            NotFound, Forbidden: see :func:`find`.
            BadRequest: nothing is given, or a field is outside its rules.
        """
        idle_s = domain.check_timeout(change.idle_timeout_s, "idle_timeout_seconds")
        busy_s = domain.check_timeout(change.busy_timeout_s, "busy_timeout_seconds")

        async def work(conn: AsyncConnection) -> AgentView:
            row = await find_locked(conn, caller, name, "update")
            await store.update(conn, row.id, domain.changed(change, row.limits))
            await sessions.set_timeouts(conn, row.session_id, idle_timeout_s=idle_s, busy_timeout_s=busy_s)
            await audit.done(conn, caller, Deed("update", "agents", row.name, row.space))
            return view(await find(conn, caller, name, "get"), caller)

        return await self._db.run(work)

    async def delete(self, caller: Caller, name: str) -> None:
        """Remove an agent for good, whatever it is doing; its name is free at once.

        Open turns are cancelled; an operator removes sandbox, workspace and session. Raises as :func:`find`.
        """

        async def work(conn: AsyncConnection) -> None:
            row = await find_locked(conn, caller, name, "delete")
            ending = cancelled(await turns.open_turns(conn, row.session_id), "delete")
            await (ending + Change((StateChanged("terminated"),))).write(conn, row.session_id)
            await sessions.want(conn, row.session_id, "terminated")
            await store.delete(conn, row.id)
            await audit.done(conn, caller, Deed("delete", "agents", row.name, row.space))

        await self._db.run(work)

    async def _read(self, names: frozenset[str]) -> dict[str, AgentRow]:
        async with self._db.reading() as conn:
            return await store.find_all(conn, names)


def absent(name: str) -> NotFound:
    """There is no such agent, or none that anybody may know of."""
    return NotFound(f"Agent '{storable_text(name[:80])}' not found")


def taken(name: str) -> Conflict:
    """There is an agent of this name, in whatever case."""
    return Conflict(f"Agent '{name}' already exists")


def _permitted(row: AgentRow | None, caller: Caller, name: str, verb: Verb) -> AgentRow:
    if row is None:
        raise absent(name)
    if not may_touch(caller, verb, row):
        raise Forbidden(f"Agent '{row.name}' belongs to another account: ask its owner or an administrator")
    return row


def _home(new: NewAgent) -> NewSession:
    idle_s = domain.check_timeout(new.idle_timeout_s, "idle_timeout_seconds")
    busy_s = domain.check_timeout(new.busy_timeout_s, "busy_timeout_seconds")
    return NewSession(
        session_id=new_id(),
        space=DEFAULT_SPACE if new.space is None else storable_text(new.space),
        kind="home",
        idle_timeout_s=idle_s or domain.IDLE_TIMEOUT_S,
        busy_timeout_s=busy_s or domain.BUSY_TIMEOUT_S,
    )


def _wanted(caller: Caller, wanted: AgentFilter) -> Wanted:
    if wanted.state is not None and wanted.state not in get_args(ShownState):
        reason = f"must be one of {', '.join(get_args(ShownState))}"
        raise BadRequest(f"'state' {reason}", details=(FieldError("state", reason),))
    tags = [storable_text(tag.strip().lower()) for tag in wanted.tags]
    return Wanted(
        owner_id=caller.account_id,
        spaces=spaces_for(caller.grants, "list", "agents"),
        text=storable_text((wanted.q or "").strip()) or None,
        tags=[tag for tag in tags if tag],
        state=cast("ShownState | None", wanted.state),
    )

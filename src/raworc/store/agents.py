"""Rows of ``agents``, read together with their home sessions."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, and_, bindparam, case, exists, func, literal, or_, select, true
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import Text

from raworc.domain.lifecycle import ASLEEP, ShownState, State
from raworc.store.schema import agents, sessions, turns

Json = dict[str, Any]


@dataclass(frozen=True)
class AgentRow:
    """A named agent with its home session, in the order of ``_SELECT``.

    ``queued_from``: since when its oldest pending turn waits.
    """

    id: uuid.UUID
    name: str
    space: str
    owner_id: uuid.UUID
    created_by: str
    description: str | None
    metadata: Json
    tags: list[str]
    instructions: str | None
    setup: str | None
    model: str | None
    max_tokens: int | None
    network: str
    limits: Json
    parent_agent_name: str | None
    is_published: bool
    published_at: datetime | None
    published_by: str | None
    publish_permissions: dict[str, bool]
    created_at: datetime
    session_id: uuid.UUID
    session_number: int
    state: State
    shown_state: ShownState
    idle_timeout_s: int
    busy_timeout_s: int
    idle_from: datetime | None
    busy_from: datetime | None
    busy_hold_from: datetime | None
    queued_from: datetime | None
    context_cutoff_at: datetime | None
    last_activity_at: datetime | None


@dataclass(frozen=True)
class Wanted:
    """Which agents a list shows. ``spaces``: where all are visible (None: everywhere), besides ``owner_id``'s own."""

    owner_id: uuid.UUID
    spaces: frozenset[str] | None
    text: str | None = None
    tags: Sequence[str] = ()
    state: ShownState | None = None


async def find(conn: AsyncConnection, name: str) -> AgentRow | None:
    """The named agent, whatever the case of its name."""
    return _row((await conn.execute(_FIND, {"name": name})).one_or_none())


async def find_locked(conn: AsyncConnection, name: str) -> AgentRow | None:
    """The same, with agent and session locked until the transaction ends.

    What stands in the session is then certain; ``shown_state`` and ``queued_from`` may be those of the moment
    before the lock was given, so decide on ``store.turns.open_turns`` instead.
    """
    return _row((await conn.execute(_FIND_LOCKED, {"name": name})).one_or_none())


async def page(conn: AsyncConnection, wanted: Wanted, *, limit: int, offset: int) -> tuple[list[AgentRow], int]:
    """The rows of one page, newest first, and how many there are in all."""
    condition = _condition(wanted)
    counting = select(func.count()).select_from(_HOME).where(condition)
    newest = _SELECT.add_columns(counting.scalar_subquery().label("total")).where(condition)
    newest = newest.order_by(agents.c.created_at.desc(), agents.c.id.desc()).limit(limit).offset(offset)
    found = (await conn.execute(newest)).all()
    total: int = found[0].total if found else await conn.scalar(counting) or 0
    return [AgentRow(*row[:-1]) for row in found], total


async def insert(conn: AsyncConnection, values: Mapping[str, Any]) -> None:
    """Add one. Raises ``Duplicate`` when the name is taken."""
    await conn.execute(agents.insert(), dict(values))


async def update(conn: AsyncConnection, agent_id: uuid.UUID, values: Mapping[str, Any]) -> None:
    """Set columns of one."""
    await conn.execute(agents.update().where(agents.c.id == agent_id).values(**values, updated_at=func.now()))


async def delete(conn: AsyncConnection, agent_id: uuid.UUID) -> None:
    """Remove one; its name is free again, its session stays."""
    await conn.execute(agents.delete().where(agents.c.id == agent_id))


async def of_session(conn: AsyncConnection, session_id: uuid.UUID) -> uuid.UUID | None:
    """The agent whose home session this is."""
    return await conn.scalar(select(agents.c.id).where(agents.c.session_id == session_id))


def _row(found: Sequence[Any] | None) -> AgentRow | None:
    return None if found is None else AgentRow(*found)


def _condition(wanted: Wanted) -> ColumnElement[bool]:
    conditions = [agents.c.kind == "named"]
    if wanted.spaces is not None:
        own = agents.c.owner_id == wanted.owner_id
        conditions.append(or_(own, agents.c.space.in_(sorted(wanted.spaces))) if wanted.spaces else own)
    if wanted.text:
        needle = func.lower(literal(wanted.text, Text))
        hits = [func.strpos(func.lower(column), needle) > 0 for column in (agents.c.name, agents.c.description)]
        conditions.append(or_(*hits))
    if wanted.tags:
        conditions.append(agents.c.tags.contains(literal(list(wanted.tags), ARRAY(Text))))
    if wanted.state is not None:
        conditions.append(_shown == wanted.state)
    return and_(true(), *conditions)


_PENDING: Final = and_(turns.c.session_id == sessions.c.id, turns.c.status == "pending")
_HOME: Final = agents.join(sessions, agents.c.session_id == sessions.c.id)

_shown: Final = case(  # as domain/lifecycle.py's shown_state
    (sessions.c.state.in_(sorted(ASLEEP)), "slept"),
    (sessions.c.busy_hold_from.is_not(None), "busy"),
    (sessions.c.state == "init", "init"),
    (sessions.c.state == "busy", "busy"),
    (exists().where(_PENDING), "busy"),
    else_="idle",
)

_SELECT: Final = select(
    agents.c.id,
    agents.c.name,
    agents.c.space,
    agents.c.owner_id,
    agents.c.created_by,
    agents.c.description,
    agents.c.metadata,
    agents.c.tags,
    agents.c.instructions,
    agents.c.setup,
    agents.c.model,
    agents.c.max_tokens,
    agents.c.network,
    agents.c.limits,
    agents.c.parent_agent_name,
    agents.c.is_published,
    agents.c.published_at,
    agents.c.published_by,
    agents.c.publish_permissions,
    agents.c.created_at,
    agents.c.session_id,
    sessions.c.number.label("session_number"),
    sessions.c.state,
    _shown.label("shown_state"),
    sessions.c.idle_timeout_s,
    sessions.c.busy_timeout_s,
    sessions.c.idle_from,
    sessions.c.busy_from,
    sessions.c.busy_hold_from,
    select(func.min(turns.c.created_at)).where(_PENDING).correlate(sessions).scalar_subquery().label("queued_from"),
    sessions.c.context_cutoff_at,
    sessions.c.last_activity_at,
).select_from(_HOME)

_FIND: Final = _SELECT.where(
    agents.c.kind == "named", func.lower(agents.c.name) == func.lower(bindparam("name", type_=Text))
)
_FIND_LOCKED: Final = _FIND.with_for_update(key_share=True, of=[agents, sessions])

"""Rows of ``agents``, read together with their home sessions."""

import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, Final, NamedTuple

from sqlalchemy import BigInteger, DateTime, Text, bindparam, func, select, text
from sqlalchemy.dialects.postgresql import ARRAY, UUID
from sqlalchemy.ext.asyncio import AsyncConnection

from raworc.domain.lifecycle import ShownState, State
from raworc.store.schema import agents
from raworc.store.statement import Statement

Json = dict[str, Any]


class AgentRow(NamedTuple):
    """A named agent with its home session, in the order of ``_COLUMNS``.

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
    tools: list[Any]
    guardrails: list[Any]
    knowledge_bases: list[Any]
    parent_agent_name: str | None
    is_published: bool
    published_at: datetime | None
    published_by: str | None
    publish_permissions: dict[str, bool]
    offers_secrets: bool
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
    row = await _FIND.first(conn, {"name": name})
    return None if row is None else AgentRow(*row)


async def find_all(conn: AsyncConnection, names: Collection[str]) -> dict[str, AgentRow]:
    """The same for several, whose names are in small letters here: those that there are, by these names."""
    found = [AgentRow(*row) for row in await _FIND_ALL.all(conn, {"names": list(names)})]
    return {row.name.lower(): row for row in found}


async def find_locked(conn: AsyncConnection, name: str) -> AgentRow | None:
    """The same, with agent and session locked until the transaction ends.

    What stands in the session is then certain; ``shown_state`` and ``queued_from`` may be those of the moment
    before the lock was given, so decide on ``store.turns.open_turns`` instead.
    """
    row = await _FIND_LOCKED.first(conn, {"name": name})
    return None if row is None else AgentRow(*row)


async def page(conn: AsyncConnection, wanted: Wanted, *, limit: int, offset: int) -> tuple[list[AgentRow], int]:
    """The rows of one page, newest first, and how many there are in all."""
    listing, counting = _page(tuple(_conditions(wanted)))
    parameters = {
        "owner_id": wanted.owner_id,
        "spaces": sorted(wanted.spaces or ()),
        "text": wanted.text,
        "tags": list(wanted.tags),
        "limit": limit,
        "offset": offset,
    }
    rows = await listing.all(conn, parameters)
    total: int = rows[0][-1] if rows else await counting.scalar(conn, parameters)
    return [AgentRow(*row[:-1]) for row in rows], total


async def published(conn: AsyncConnection, *, limit: int, offset: int) -> list[AgentRow]:
    """Published agents, the newest publication first."""
    return [AgentRow(*row) for row in await _PUBLISHED.all(conn, {"limit": limit, "offset": offset})]


async def published_before(conn: AsyncConnection, row: AgentRow, *, limit: int) -> list[AgentRow]:
    """Those that follow ``row`` in that order, wherever it stands by now."""
    given = {"published_at": row.published_at, "id": row.id, "limit": limit}
    return [AgentRow(*found) for found in await _PUBLISHED_BEFORE.all(conn, given)]


async def insert(conn: AsyncConnection, values: Mapping[str, Any]) -> None:
    """Add one. Raises ``Duplicate`` when the name is taken."""
    await conn.execute(agents.insert(), dict(values))


async def name_in_space(conn: AsyncConnection, agent_id: uuid.UUID, space: str) -> str | None:
    """What an agent that belongs to a space is called; None: there is none of this id."""
    found = select(agents.c.name).where(agents.c.id == agent_id, agents.c.space == space, agents.c.kind != "named")
    return await conn.scalar(found.where(agents.c.deleted_at.is_(None)))


async def update(conn: AsyncConnection, agent_id: uuid.UUID, values: Mapping[str, Any]) -> None:
    """Set columns of one."""
    await conn.execute(agents.update().where(agents.c.id == agent_id).values(**values, updated_at=func.now()))


async def delete(conn: AsyncConnection, agent_id: uuid.UUID) -> None:
    """Remove one; its name is free again, its session stays."""
    await conn.execute(agents.delete().where(agents.c.id == agent_id))


def _conditions(wanted: Wanted) -> list[str]:
    found = [_NAMED]
    if wanted.spaces is not None:
        found.append(_OWN_OR_IN_SPACES if wanted.spaces else _OWN)
    if wanted.text:
        found.append("(strpos(lower(a.name), lower(:text)) > 0 OR strpos(lower(a.description), lower(:text)) > 0)")
    if wanted.tags:
        found.append("a.tags @> :tags")
    if wanted.state is not None:
        found.append(_SHOWN_AS[wanted.state])
    return found


_NAMED: Final = "a.kind = 'named'"
_OWN: Final = "a.owner_id = :owner_id"
_OWN_OR_IN_SPACES: Final = "(a.owner_id = :owner_id OR a.space = ANY(:spaces))"
_COUNTED: Final = frozenset({_NAMED, _OWN, _OWN_OR_IN_SPACES})
"""Conditions that ``agent_counts`` can answer."""


@cache
def _page(conditions: tuple[str, ...]) -> tuple[Statement, Statement]:
    """The page and its count, for one of the few combinations of conditions."""
    where = " AND ".join(conditions)
    home = _HOME if any("s." in condition for condition in conditions) else "FROM agents a"
    count = f"SELECT count(*) {home} WHERE {where}"
    if _COUNTED.issuperset(conditions):
        total = "coalesce(sum(a.count), 0)::bigint"
        count = f"SELECT {total} FROM agent_counts a WHERE {where}"  # noqa: S608  constants; the same columns' names
    order = "ORDER BY a.created_at DESC, a.id DESC"
    chosen = f"SELECT a.id {home} WHERE {where} {order} LIMIT :limit OFFSET :offset"
    listing = f"SELECT {_COLUMNS}, ({count}) AS total {_HOME} JOIN ({chosen}) AS chosen ON chosen.id = a.id {order}"
    return _statement(listing), _statement(count)


def _statement(sql: str) -> Statement:
    clause = text(sql)
    given = clause.compile().params
    return Statement(clause.bindparams(*(bind for bind in _PARAMETERS if bind.key in given)))


_PARAMETERS: Final = (
    bindparam("name", type_=Text),
    bindparam("names", type_=ARRAY(Text)),
    bindparam("owner_id", type_=UUID),
    bindparam("spaces", type_=ARRAY(Text)),
    bindparam("text", type_=Text),
    bindparam("tags", type_=ARRAY(Text)),
    bindparam("published_at", type_=DateTime(timezone=True)),
    bindparam("id", type_=UUID),
    bindparam("limit", type_=BigInteger),
    bindparam("offset", type_=BigInteger),
)

_QUEUED: Final = "EXISTS (SELECT FROM turns t WHERE t.session_id = s.id AND t.status = 'pending')"

_SHOWN: Final = f"""CASE
    WHEN s.state IN ('paused', 'slept', 'error', 'terminated') THEN 'slept'
    WHEN s.busy_hold_from IS NOT NULL THEN 'busy'
    WHEN s.state = 'init' THEN 'init'
    WHEN s.state = 'busy' OR {_QUEUED} THEN 'busy'
    ELSE 'idle' END"""
"""As ``shown_state`` of domain/lifecycle.py."""

_SHOWN_AS: Final[dict[ShownState, str]] = {
    "slept": "s.state IN ('paused', 'slept', 'error', 'terminated')",
    "init": "s.state = 'init' AND s.busy_hold_from IS NULL",
    "idle": f"s.state = 'idle' AND s.busy_hold_from IS NULL AND NOT {_QUEUED}",
    "busy": "s.state IN ('init', 'idle', 'busy') AND (s.busy_hold_from IS NOT NULL OR s.state = 'busy'"
    f" OR (s.state = 'idle' AND {_QUEUED}))",
}
"""The same as conditions, which Postgres answers from its indexes."""

_COLUMNS: Final = f"""
    a.id, a.name, a.space, a.owner_id, a.created_by, a.description, a.metadata, a.tags, a.instructions, a.setup,
    a.model, a.max_tokens, a.network, a.limits, a.tools, a.guardrails, a.knowledge_bases, a.parent_agent_name,
    a.is_published, a.published_at, a.published_by, a.publish_permissions, a.offers_secrets,
    a.created_at, a.session_id, s.number, s.state, {_SHOWN} AS shown_state,
    s.idle_timeout_s, s.busy_timeout_s, s.idle_from, s.busy_from, s.busy_hold_from,
    (SELECT min(t.created_at) FROM turns t WHERE t.session_id = s.id AND t.status = 'pending') AS queued_from,
    s.context_cutoff_at, s.last_activity_at
"""  # noqa: S608  put together from constants

_HOME: Final = "FROM agents a JOIN sessions s ON s.id = a.session_id"

_FIND_SQL: Final = f"SELECT {_COLUMNS} {_HOME} WHERE a.kind = 'named' AND lower(a.name) = lower(:name)"
_FIND: Final = _statement(_FIND_SQL)
_FIND_ALL: Final = _statement(f"SELECT {_COLUMNS} {_HOME} WHERE a.kind = 'named' AND lower(a.name) = ANY(:names)")
_FIND_LOCKED: Final = _statement(f"{_FIND_SQL} FOR NO KEY UPDATE OF a, s")

_PUBLISHED_ORDER: Final = "ORDER BY a.published_at DESC, a.id DESC"


def _published(chosen: str) -> Statement:
    ids = f"SELECT a.id FROM agents a WHERE a.is_published AND a.kind = 'named' {chosen}"  # noqa: S608  constants
    return _statement(f"SELECT {_COLUMNS} {_HOME} JOIN ({ids}) AS chosen ON chosen.id = a.id {_PUBLISHED_ORDER}")


_PUBLISHED: Final = _published(f"{_PUBLISHED_ORDER} LIMIT :limit OFFSET :offset")
_PUBLISHED_BEFORE: Final = _published(
    f"AND (a.published_at, a.id) < (:published_at, :id) {_PUBLISHED_ORDER} LIMIT :limit"
)

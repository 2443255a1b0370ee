"""Rows of ``sessions`` that belong to spaces, with ``shared_sessions`` and the agents that they were made with."""

import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, Final, NamedTuple

from sqlalchemy import BigInteger, Text, bindparam, func, select, text
from sqlalchemy.dialects.postgresql import ARRAY, UUID
from sqlalchemy.ext.asyncio import AsyncConnection

from raworc.domain.lifecycle import State
from raworc.domain.sessions import SpacesState
from raworc.store.schema import agents, session_agents, sessions, shared_sessions
from raworc.store.statement import Statement

Json = dict[str, Any]

KIND: Final = "shared"


class SessionRow(NamedTuple):
    """A session that is not deleted, in the order of ``_COLUMNS``.

    ``is_busy``: ``is_held``, or a turn waits or is in work. ``sandbox_id``: of its sandbox, while there is one.
    ``agents``: those that it was made with, as ``{"id", "name", "model"}``.
    """

    id: uuid.UUID
    space: str
    state: State
    is_busy: bool
    is_held: bool
    name: str | None
    starting_prompt: str | None
    waiting_timeout_s: int
    sandbox_id: str | None
    created_by: str
    parent_id: uuid.UUID | None
    metadata: Json
    created_at: datetime
    started_at: datetime | None
    last_activity_at: datetime | None
    terminated_at: datetime | None
    termination_reason: str | None
    messages_cleared_at: datetime | None
    agents: list[Json]


@dataclass(frozen=True)
class Wanted:
    """Which sessions a list shows. ``spaces``: those in them; None: all. ``states``: those shown so; none: all."""

    spaces: frozenset[str] | None
    states: frozenset[SpacesState] = frozenset()
    created_by: str | None = None


async def find(conn: AsyncConnection, session_id: uuid.UUID) -> SessionRow | None:
    """One by its id."""
    row = await _FIND.first(conn, {"session_id": session_id})
    return None if row is None else SessionRow(*row)


async def find_locked(conn: AsyncConnection, session_id: uuid.UUID) -> SessionRow | None:
    """The same, locked until the transaction ends.

    ``is_busy`` may be that of the moment before the lock was given: decide on ``store.turns.open_turns`` instead.
    """
    row = await _FIND_LOCKED.first(conn, {"session_id": session_id})
    return None if row is None else SessionRow(*row)


async def page(conn: AsyncConnection, wanted: Wanted, *, limit: int, offset: int) -> list[SessionRow]:
    """The rows of one page, newest first."""
    listing, _ = _page(tuple(_conditions(wanted)))
    rows = await listing.all(conn, {**_parameters(wanted), "limit": limit, "offset": offset})
    return [SessionRow(*row) for row in rows]


async def count(conn: AsyncConnection, wanted: Wanted) -> int:
    """How many there are on all pages."""
    _, counting = _page(tuple(_conditions(wanted)))
    return await counting.scalar(conn, _parameters(wanted)) or 0


async def insert(
    conn: AsyncConnection, session_id: uuid.UUID, values: Mapping[str, Any], agent_ids: Sequence[uuid.UUID]
) -> None:
    """Add what a session has besides its row of ``sessions``, which is there."""
    await conn.execute(shared_sessions.insert().values(session_id=session_id, **values))
    if agent_ids:
        rows = [
            {"session_id": session_id, "position": number, "agent_id": agent_id}
            for number, agent_id in enumerate(agent_ids)
        ]
        await conn.execute(session_agents.insert(), rows)


async def update(conn: AsyncConnection, session_id: uuid.UUID, values: Mapping[str, Any]) -> None:
    """Set columns of one."""
    if values:
        await conn.execute(shared_sessions.update().where(shared_sessions.c.session_id == session_id).values(**values))


async def usable(conn: AsyncConnection, space: str, agent_ids: Collection[uuid.UUID]) -> set[uuid.UUID]:
    """Those of the definitions that are in a space and active."""
    found = select(agents.c.id).where(
        agents.c.id.in_(list(agent_ids)),
        agents.c.kind == "definition",
        agents.c.space == space,
        agents.c.active,
        agents.c.deleted_at.is_(None),
    )
    return set((await conn.execute(found)).scalars())


async def terminated(conn: AsyncConnection, session_id: uuid.UUID, reason: str, *, is_deleted: bool) -> None:
    """It ended, unless it had ended before. ``is_deleted``: nobody sees it any more."""
    values: dict[str, Any] = {
        "terminated_at": func.coalesce(shared_sessions.c.terminated_at, func.clock_timestamp()),
        "termination_reason": func.coalesce(shared_sessions.c.termination_reason, reason),
    }
    if is_deleted:
        values["deleted_at"] = func.clock_timestamp()
    await update(conn, session_id, values)


async def failed(conn: AsyncConnection, session_id: uuid.UUID, reason: str) -> None:
    """It is out of order from now on."""
    await update(conn, session_id, {"terminated_at": func.clock_timestamp(), "termination_reason": reason})


async def move(conn: AsyncConnection, session_id: uuid.UUID, space: str) -> None:
    """Put one into another space; whoever holds it loses it, because its sandbox is the old space's."""
    await conn.execute(
        sessions.update()
        .where(sessions.c.id == session_id)
        .values(space=space, held_by=None, hold_epoch=sessions.c.hold_epoch + 1)
    )


def _conditions(wanted: Wanted) -> list[str]:
    found = ["s.kind = 'shared'", "h.deleted_at IS NULL"]
    if wanted.spaces is not None:
        found.append("s.space = ANY(:spaces)")
    if wanted.states:
        shown = " OR ".join(f"({_SHOWN_AS[state]})" for state in sorted(wanted.states))
        found.append(f"({shown})")
    if wanted.created_by is not None:
        found.append("h.created_by = :created_by")
    return found


def _parameters(wanted: Wanted) -> Json:
    parameters: Json = {}
    if wanted.spaces is not None:
        parameters["spaces"] = sorted(wanted.spaces)
    if wanted.created_by is not None:
        parameters["created_by"] = wanted.created_by
    return parameters


@cache
def _page(conditions: tuple[str, ...]) -> tuple[Statement, Statement]:
    """The page and its count, for one of the few combinations of conditions."""
    where = f"{_JOINED} WHERE {' AND '.join(conditions)}"
    order = "ORDER BY s.created_at DESC, s.id DESC"
    chosen = f"SELECT s.id {where} {order} LIMIT :limit OFFSET :offset"
    listing = f"SELECT {_COLUMNS} {_JOINED} JOIN ({chosen}) AS chosen ON chosen.id = s.id {order}"
    return _statement(listing), _statement(f"SELECT count(*) {where}")


def _statement(sql: str) -> Statement:
    clause = text(sql)
    given = clause.compile().params
    return Statement(clause.bindparams(*(bind for bind in _PARAMETERS if bind.key in given)))


_PARAMETERS: Final = (
    bindparam("session_id", type_=UUID),
    bindparam("spaces", type_=ARRAY(Text)),
    bindparam("created_by", type_=Text),
    bindparam("limit", type_=BigInteger),
    bindparam("offset", type_=BigInteger),
)

_BUSY: Final = """(s.busy_hold_from IS NOT NULL OR s.state = 'busy'
    OR EXISTS (SELECT FROM turns t WHERE t.session_id = s.id AND t.status = 'pending'))"""

_SHOWN_AS: Final[Mapping[SpacesState, str]] = {
    "INIT": "s.state = 'init'",
    "IDLE": f"s.state = 'idle' AND NOT {_BUSY}",
    "BUSY": f"s.state IN ('idle', 'busy') AND {_BUSY}",
    "PAUSED": "s.state = 'paused'",
    "SUSPENDED": "s.state = 'slept'",
    "ERROR": "s.state = 'error'",
    "TERMINATED": "s.state = 'terminated'",
}
"""As ``spaces_state`` of domain/sessions.py."""

_COLUMNS: Final = f"""
    s.id, s.space, s.state, {_BUSY} AS is_busy, s.busy_hold_from IS NOT NULL,
    h.name, h.starting_prompt, s.idle_timeout_s,
    CASE WHEN s.state IN ('idle', 'busy', 'paused') THEN s.sandbox_id END,
    h.created_by, h.parent_id, h.metadata, s.created_at, h.started_at, s.last_activity_at, h.terminated_at,
    h.termination_reason, h.messages_cleared_at,
    coalesce((SELECT jsonb_agg(jsonb_build_object('id', a.id, 'name', a.name, 'model', a.model) ORDER BY m.position)
              FROM session_agents m JOIN agents a ON a.id = m.agent_id
              WHERE m.session_id = s.id AND a.deleted_at IS NULL), '[]')
"""  # noqa: S608  put together from constants

_JOINED: Final = "FROM sessions s JOIN shared_sessions h ON h.session_id = s.id"

_FIND_SQL: Final = f"SELECT {_COLUMNS} {_JOINED} WHERE s.id = :session_id AND h.deleted_at IS NULL"
_FIND: Final = _statement(_FIND_SQL)
_FIND_LOCKED: Final = _statement(f"{_FIND_SQL} FOR NO KEY UPDATE OF s, h")

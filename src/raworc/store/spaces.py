"""Rows of ``spaces``, and what stands in the way of their removal."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from raworc.store.schema import agents, sessions, spaces


@dataclass(frozen=True)
class SpaceRow:
    """A space, in the order of ``_COLUMNS``."""

    name: str
    description: str | None
    settings: dict[str, Any]
    created_at: datetime
    updated_at: datetime


async def keeps(conn: AsyncConnection, name: str) -> bool:
    """Whether there is a space of this name; it stays until the transaction ends."""
    found = select(spaces.c.name).where(spaces.c.name == name).with_for_update(key_share=True, read=True)
    return await conn.scalar(found) is not None


async def exists(conn: AsyncConnection, name: str) -> bool:
    """Whether there is a space of this name now."""
    return await find(conn, name) is not None


async def find(conn: AsyncConnection, name: str) -> SpaceRow | None:
    """One by its name."""
    row = (await conn.execute(select(*_COLUMNS).where(spaces.c.name == name))).one_or_none()
    return None if row is None else SpaceRow(*row)


async def page(conn: AsyncConnection, names: frozenset[str] | None, *, limit: int, offset: int) -> list[SpaceRow]:
    """Spaces by name; those of ``names``, or (None) all."""
    chosen = select(*_COLUMNS).order_by(func.lower(spaces.c.name)).limit(limit).offset(offset)
    if names is not None:
        chosen = chosen.where(spaces.c.name.in_(sorted(names)))
    return [SpaceRow(*row) for row in await conn.execute(chosen)]


async def insert(conn: AsyncConnection, values: Mapping[str, Any]) -> SpaceRow:
    """Add one. Raises ``Duplicate`` when the name is taken, in any case of its letters."""
    return SpaceRow(*(await conn.execute(spaces.insert().values(**values).returning(*_COLUMNS))).one())


async def update(conn: AsyncConnection, name: str, values: Mapping[str, Any]) -> None:
    """Set columns of one."""
    await conn.execute(spaces.update().where(spaces.c.name == name).values(**values, updated_at=func.now()))


async def lock(conn: AsyncConnection, name: str) -> None:
    """Nothing can be added to it until the transaction ends."""
    await conn.execute(select(spaces.c.name).where(spaces.c.name == name).with_for_update())


async def contents(conn: AsyncConnection, name: str) -> dict[str, int]:
    """How many there are of what outlives no space and is not removed with one, by its plural; those that are."""
    counted = (await conn.execute(_CONTENTS, {"space": name})).mappings().one()
    return {kind: count for kind, count in counted.items() if count}


async def remove(conn: AsyncConnection, name: str) -> None:
    """Remove one with its secrets, bindings and client keys, and what had ended in it: sessions, deleted agents."""
    await conn.execute(sessions.delete().where(sessions.c.space == name, sessions.c.kind == "shared"))
    await conn.execute(agents.delete().where(agents.c.space == name, agents.c.deleted_at.is_not(None)))
    await conn.execute(spaces.delete().where(spaces.c.name == name))


_COLUMNS: Final = (
    spaces.c.name,
    spaces.c.description,
    spaces.c.settings,
    spaces.c.created_at,
    spaces.c.updated_at,
)
_CONTENTS: Final = text(
    """
SELECT
    (SELECT count(*) FROM agents WHERE space = :space AND deleted_at IS NULL) AS agents,
    (SELECT count(*) FROM sessions s WHERE space = :space
        AND NOT EXISTS (SELECT FROM agents a WHERE a.session_id = s.id)
        AND NOT (kind = 'shared' AND state = 'terminated' AND desired IS NULL)) AS sessions,
    (SELECT count(*) FROM accounts WHERE space = :space) AS accounts
"""
)

"""Rows of ``roles``."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from raworc.store.schema import bindings, roles


@dataclass(frozen=True)
class RoleRow:
    """A role, in the order of ``_COLUMNS``. ``rules``: as ``domain/roles.py`` makes them."""

    id: uuid.UUID
    name: str
    description: str | None
    rules: list[dict[str, Any]]
    builtin: bool
    created_at: datetime
    updated_at: datetime


async def page(conn: AsyncConnection, *, limit: int, offset: int) -> list[RoleRow]:
    """Roles, the built-in ones first, then by name."""
    chosen = select(*_COLUMNS).order_by(roles.c.builtin.desc(), func.lower(roles.c.name)).limit(limit).offset(offset)
    return [RoleRow(*row) for row in await conn.execute(chosen)]


async def find(conn: AsyncConnection, which: uuid.UUID | str) -> RoleRow | None:
    """One by its id, or by its name in any case."""
    by = roles.c.id == which if isinstance(which, uuid.UUID) else func.lower(roles.c.name) == func.lower(which)
    row = (await conn.execute(select(*_COLUMNS).where(by))).one_or_none()
    return None if row is None else RoleRow(*row)


async def insert(conn: AsyncConnection, values: Mapping[str, Any]) -> RoleRow:
    """Add one. Raises ``Duplicate`` when the name is taken, in any case of its letters."""
    return RoleRow(*(await conn.execute(roles.insert().values(**values).returning(*_COLUMNS))).one())


async def remove(conn: AsyncConnection, role_id: uuid.UUID) -> None:
    """Remove one that is not bound."""
    await conn.execute(roles.delete().where(roles.c.id == role_id))


async def bound(conn: AsyncConnection, role_id: uuid.UUID) -> int:
    """How many subjects it is bound to."""
    counted = select(func.count()).select_from(bindings).where(bindings.c.role_id == role_id)
    return await conn.scalar(counted) or 0


_COLUMNS: Final = (
    roles.c.id,
    roles.c.name,
    roles.c.description,
    roles.c.rules,
    roles.c.builtin,
    roles.c.created_at,
    roles.c.updated_at,
)

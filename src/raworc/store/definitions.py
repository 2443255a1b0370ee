"""Rows of ``agents`` that are definitions: they belong to a space and have no session of their own."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from raworc.store.schema import agents

KIND: Final = "definition"


@dataclass(frozen=True)
class DefinitionRow:
    """A definition, in the order of ``_COLUMNS``."""

    id: uuid.UUID
    name: str
    space: str
    description: str | None
    instructions: str
    model: str
    tools: list[Any]
    routes: list[Any]
    guardrails: list[Any]
    knowledge_bases: list[Any]
    active: bool
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True)
class Wanted:
    """Which definitions a list shows. ``spaces``: those in them; None: all."""

    spaces: frozenset[str] | None
    active: bool | None = None
    model: str | None = None


async def page(conn: AsyncConnection, wanted: Wanted, *, limit: int, offset: int) -> tuple[list[DefinitionRow], int]:
    """Definitions by name, and how many there are in all."""
    where = _conditions(wanted)
    chosen = select(*_COLUMNS).where(*where).order_by(func.lower(agents.c.name), agents.c.space)
    rows = [DefinitionRow(*row) for row in await conn.execute(chosen.limit(limit).offset(offset))]
    return rows, await conn.scalar(select(func.count()).select_from(agents).where(*where)) or 0


async def find(conn: AsyncConnection, which: uuid.UUID) -> DefinitionRow | None:
    """One by its id."""
    return await _one(conn, agents.c.id == which)


async def find_named(conn: AsyncConnection, space: str, name: str) -> DefinitionRow | None:
    """One by its name in a space, whatever the case."""
    return await _one(conn, agents.c.space == space, func.lower(agents.c.name) == func.lower(name))


async def find_all_named(
    conn: AsyncConnection, spaces: frozenset[str] | None, name: str, *, limit: int
) -> list[DefinitionRow]:
    """Those of a name, whatever the case, in these spaces (None: all), by space."""
    named = func.lower(agents.c.name) == func.lower(name)
    chosen = select(*_COLUMNS).where(*_conditions(Wanted(spaces)), named).order_by(agents.c.space).limit(limit)
    return [DefinitionRow(*row) for row in await conn.execute(chosen)]


async def insert(conn: AsyncConnection, values: Mapping[str, Any]) -> DefinitionRow:
    """Add one. Raises ``Duplicate`` when the name is taken in its space."""
    made = agents.insert().values(kind=KIND, **values).returning(*_COLUMNS)
    return DefinitionRow(*(await conn.execute(made)).one())


async def change(conn: AsyncConnection, which: uuid.UUID, values: Mapping[str, Any]) -> DefinitionRow:
    """Set columns of one that is there. Raises ``Duplicate`` when the name is taken in its space."""
    changed = agents.update().where(agents.c.id == which).values(**values, updated_at=func.now())
    return DefinitionRow(*(await conn.execute(changed.returning(*_COLUMNS))).one())


async def remove(conn: AsyncConnection, which: uuid.UUID) -> None:
    """Take one away for everybody; its row stays, its name is free."""
    gone = {"deleted_at": func.now(), "updated_at": func.now(), "active": False}
    await conn.execute(agents.update().where(agents.c.id == which).values(**gone))


async def lock(conn: AsyncConnection, which: uuid.UUID) -> bool:
    """Whether it is there; nobody changes it until the transaction ends."""
    found = select(agents.c.id).where(agents.c.id == which, *_THERE).with_for_update()
    return await conn.scalar(found) is not None


async def _one(conn: AsyncConnection, *where: ColumnElement[bool]) -> DefinitionRow | None:
    row = (await conn.execute(select(*_COLUMNS).where(*_THERE, *where))).one_or_none()
    return None if row is None else DefinitionRow(*row)


def _conditions(wanted: Wanted) -> list[ColumnElement[bool]]:
    found = list(_THERE)
    if wanted.spaces is not None:
        found.append(agents.c.space.in_(sorted(wanted.spaces)))
    if wanted.active is not None:
        found.append(agents.c.active == wanted.active)
    if wanted.model is not None:
        found.append(agents.c.model == wanted.model)
    return found


_THERE: Final = (agents.c.kind == KIND, agents.c.deleted_at.is_(None))
_COLUMNS: Final = tuple(agents.c[name] for name in DefinitionRow.__dataclass_fields__)

"""Rows of ``agents`` that are code of a repository: they belong to a space and have no session of their own."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from raworc.store.schema import agent_logs, agents

KIND: Final = "code"


@dataclass(frozen=True)
class CodeAgentRow:
    """A code agent, in the order of ``_COLUMNS``."""

    id: uuid.UUID
    name: str
    space: str
    description: str | None
    purpose: str | None
    source_repo: str
    source_branch: str | None
    active: bool


async def page(conn: AsyncConnection, space: str, *, limit: int, offset: int) -> list[CodeAgentRow]:
    """Those of a space, by name."""
    chosen = select(*_COLUMNS).where(*_in(space)).order_by(func.lower(agents.c.name))
    return [CodeAgentRow(*row) for row in await conn.execute(chosen.limit(limit).offset(offset))]


async def active(conn: AsyncConnection, space: str) -> list[CodeAgentRow]:
    """Those of a space that take part, by name."""
    chosen = select(*_COLUMNS).where(*_in(space), agents.c.active).order_by(func.lower(agents.c.name))
    return [CodeAgentRow(*row) for row in await conn.execute(chosen)]


async def find(conn: AsyncConnection, space: str, name: str, *, lock: bool = False) -> CodeAgentRow | None:
    """One by its name, whatever the case. ``lock``: nobody changes it until the transaction ends."""
    chosen = select(*_COLUMNS).where(*_in(space), func.lower(agents.c.name) == func.lower(name))
    row = (await conn.execute(chosen.with_for_update() if lock else chosen)).one_or_none()
    return None if row is None else CodeAgentRow(*row)


async def insert(conn: AsyncConnection, values: Mapping[str, Any]) -> CodeAgentRow:
    """Add one. Raises ``Duplicate`` when the name is taken in its space."""
    made = agents.insert().values(kind=KIND, **values).returning(*_COLUMNS)
    return CodeAgentRow(*(await conn.execute(made)).one())


async def change(conn: AsyncConnection, which: uuid.UUID, values: Mapping[str, Any]) -> CodeAgentRow:
    """Set columns of one that is there."""
    changed = agents.update().where(agents.c.id == which).values(**values, updated_at=func.now())
    return CodeAgentRow(*(await conn.execute(changed.returning(*_COLUMNS))).one())


async def remove(conn: AsyncConnection, which: uuid.UUID) -> None:
    """Take one away for everybody; its row stays, its name is free."""
    gone = {"deleted_at": func.now(), "updated_at": func.now(), "active": False, "deployed_at": None}
    await conn.execute(agents.update().where(agents.c.id == which).values(**gone))
    await conn.execute(agent_logs.delete().where(agent_logs.c.agent_id == which))


def _in(space: str) -> tuple[Any, ...]:
    return agents.c.kind == KIND, agents.c.deleted_at.is_(None), agents.c.space == space


_COLUMNS: Final = tuple(agents.c[name] for name in CodeAgentRow.__dataclass_fields__)

"""Rows of ``audit``: who did what, or was refused."""

import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from raworc.store.schema import audit


@dataclass(frozen=True)
class AuditRow:
    """One row before it is stored; Postgres adds number and time. Nothing in it may be secret."""

    actor_id: uuid.UUID | None
    actor: str | None
    verb: str
    resource: str
    allowed: bool
    name: str | None = None
    space: str | None = None
    address: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict[str, Any])


async def write(conn: AsyncConnection, row: AuditRow) -> None:
    """Add one."""
    await conn.execute(audit.insert(), asdict(row))

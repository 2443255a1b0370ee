"""Rows of ``audit``: who did what, or was refused; and of the chain that shows whether they are what was written."""

import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Final

from sqlalchemy import BigInteger, Text, bindparam, select, text
from sqlalchemy.dialects.postgresql import JSONB, UUID
from sqlalchemy.ext.asyncio import AsyncConnection

from raworc.store.schema import audit
from raworc.store.statement import Statement
from raworc.store.tenants import audit_chain
from raworc.store.triggers import AUDIT_HASH


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


@dataclass(frozen=True)
class AuditEntry:
    """One row as it is stored, with its link of the chain."""

    number: int
    at: datetime
    actor: str | None
    verb: str
    resource: str
    name: str | None
    space: str | None
    address: str | None
    allowed: bool
    details: dict[str, Any]
    hash: bytes


@dataclass(frozen=True)
class Wanted:
    """Which entries a list shows; None: all. ``before``: those with a smaller number."""

    actor: str | None = None
    verb: str | None = None
    resource: str | None = None
    name: str | None = None
    space: str | None = None
    allowed: bool | None = None
    start: datetime | None = None
    end: datetime | None = None
    before: int | None = None


@dataclass(frozen=True)
class Stretch:
    """A stretch of the chain: where it ends, and what is the first thing wrong in it, if anything is."""

    position: int
    head: bytes
    wrong_at: int | None
    number: int | None


async def write(conn: AsyncConnection, row: AuditRow) -> None:
    """Add one; at commit it becomes the newest of the chain."""
    await _WRITE.run(conn, asdict(row))


async def page(conn: AsyncConnection, wanted: Wanted, *, limit: int) -> list[AuditEntry]:
    """Entries, the newest first."""
    same = {"actor", "verb", "resource", "name", "space", "allowed"}
    chosen = select(*_COLUMNS).join(audit_chain, audit_chain.c.number == audit.c.number)
    for column in same:
        if (value := getattr(wanted, column)) is not None:
            chosen = chosen.where(audit.c[column] == value)
    if wanted.start is not None:
        chosen = chosen.where(audit.c.at >= wanted.start)
    if wanted.end is not None:
        chosen = chosen.where(audit.c.at < wanted.end)
    if wanted.before is not None:
        chosen = chosen.where(audit.c.number < wanted.before)
    return [AuditEntry(*row) for row in await conn.execute(chosen.order_by(audit.c.number.desc()).limit(limit))]


async def check(conn: AsyncConnection, *, after: int, count: int) -> Stretch | None:
    """The next ``count`` links behind position ``after``, computed anew; None where there are none."""
    row = (await conn.execute(_CHECK, {"after": after, "count": count})).one()
    return None if row.position is None else Stretch(row.position, row.head, row.wrong_at, row.number)


async def unchained(conn: AsyncConnection) -> int | None:
    """The first entry that has no link."""
    return await conn.scalar(_UNCHAINED)


async def holds(conn: AsyncConnection, head: bytes) -> bool:
    """Whether some link has this hash."""
    return await conn.scalar(select(audit_chain.c.position).where(audit_chain.c.hash == head)) is not None


_COLUMNS: Final = (
    audit.c.number,
    audit.c.at,
    audit.c.actor,
    audit.c.verb,
    audit.c.resource,
    audit.c.name,
    audit.c.space,
    audit.c.address,
    audit.c.allowed,
    audit.c.details,
    audit_chain.c.hash,
)
_WRITE: Final = Statement(
    text(
        """
INSERT INTO audit (actor_id, actor, verb, resource, allowed, name, space, address, details)
VALUES (:actor_id, :actor, :verb, :resource, :allowed, :name, :space, :address, :details)
"""
    ).bindparams(
        bindparam("actor_id", type_=UUID),
        *(bindparam(name, type_=Text) for name in ("actor", "verb", "resource", "name", "space", "address")),
        bindparam("details", type_=JSONB),
    )
)
_CHECK: Final = text(
    f"""
WITH links AS (
    SELECT position, number, hash FROM audit_chain WHERE position > :after ORDER BY position LIMIT :count
), chained AS (
    SELECT position, number, hash,
        coalesce(lag(hash) OVER (ORDER BY position), (SELECT hash FROM audit_chain WHERE position = :after), ''::bytea)
            AS before,
        coalesce(lag(position) OVER (ORDER BY position), :after) AS previous
    FROM links
), wrong AS (
    SELECT c.position, c.number FROM chained c LEFT JOIN audit a ON a.number = c.number
    WHERE a.number IS NULL OR c.position <> c.previous + 1
        OR c.hash <> {AUDIT_HASH.format(before="c.before", entry="a")}
    ORDER BY c.position LIMIT 1
)
SELECT (SELECT max(position) FROM links) AS position,
    (SELECT hash FROM links ORDER BY position DESC LIMIT 1) AS head,
    (SELECT position FROM wrong) AS wrong_at, (SELECT number FROM wrong) AS number
"""  # noqa: S608  put together from constants
).bindparams(bindparam("after", type_=BigInteger), bindparam("count", type_=BigInteger))
_UNCHAINED: Final = text(
    "SELECT min(a.number) FROM audit a WHERE NOT EXISTS (SELECT FROM audit_chain c WHERE c.number = a.number)"
)

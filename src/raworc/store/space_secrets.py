"""Rows of ``space_secrets``: sealed secrets that belong to a space."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import delete, func, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from raworc.store.secrets import Sealed
from raworc.store.statement import Statement
from raworc.store.tenants import space_secrets


@dataclass(frozen=True)
class SpaceSecretRow:
    """What is known of a secret, its value sealed."""

    space: str
    key: str
    description: str | None
    created_by: str
    created_at: datetime
    updated_at: datetime
    sealed: Sealed


@dataclass(frozen=True)
class CredentialRow:
    """A secret that a space's model calls are made with. ``version`` differs whenever its value does."""

    space: str
    version: int
    sealed: Sealed


async def page(conn: AsyncConnection, space: str, *, limit: int, offset: int) -> list[SpaceSecretRow]:
    """A space's secrets by name."""
    chosen = select(*_COLUMNS).where(space_secrets.c.space == space).order_by(space_secrets.c.key)
    return [_row(row) for row in (await conn.execute(chosen.limit(limit).offset(offset))).mappings()]


async def of_space(conn: AsyncConnection, space: str) -> list[Sealed]:
    """All values of a space, sealed, by name."""
    columns = (space_secrets.c.key, space_secrets.c.key_version, space_secrets.c.nonce, space_secrets.c.ciphertext)
    rows = await conn.execute(select(*columns).where(space_secrets.c.space == space).order_by(space_secrets.c.key))
    return [Sealed(*row) for row in rows]


async def credentials(conn: AsyncConnection) -> list[CredentialRow]:
    """The credentials for providers of every space whose calls go through the gateway, by space and name."""
    return [
        CredentialRow(space, version, Sealed(*sealed)) for space, version, *sealed in await _CREDENTIALS.all(conn, {})
    ]


async def find(conn: AsyncConnection, space: str, key: str) -> SpaceSecretRow | None:
    """One by its name."""
    chosen = select(*_COLUMNS).where(space_secrets.c.space == space, space_secrets.c.key == key)
    row = (await conn.execute(chosen)).mappings().one_or_none()
    return None if row is None else _row(row)


async def insert(conn: AsyncConnection, row: Mapping[str, Any]) -> None:
    """Add one. Raises ``Duplicate`` when there is one of this name."""
    await conn.execute(space_secrets.insert(), dict(row))


async def change(conn: AsyncConnection, space: str, key: str, values: Mapping[str, Any]) -> None:
    """Set columns of one."""
    which = (space_secrets.c.space == space, space_secrets.c.key == key)
    await conn.execute(update(space_secrets).where(*which).values(**values, updated_at=func.now()))


async def remove(conn: AsyncConnection, space: str, key: str) -> None:
    """Remove one."""
    await conn.execute(delete(space_secrets).where(space_secrets.c.space == space, space_secrets.c.key == key))


async def weight(conn: AsyncConnection, space: str) -> tuple[int, int]:
    """How many secrets a space has, and the bytes of all their names and sealed values."""
    size = func.octet_length(space_secrets.c.ciphertext) + func.octet_length(space_secrets.c.key)
    counted = select(func.count(), func.coalesce(func.sum(size), 0)).where(space_secrets.c.space == space)
    count, size_bytes = (await conn.execute(counted)).one()
    return int(count), int(size_bytes)


def sealed_columns(sealed: Sealed) -> dict[str, Any]:
    """A sealed value as columns."""
    return {"key_version": sealed.key_version, "nonce": sealed.nonce, "ciphertext": sealed.ciphertext}


def _row(row: Mapping[Any, Any]) -> SpaceSecretRow:
    return SpaceSecretRow(
        space=row["space"],
        key=row["key"],
        description=row["description"],
        created_by=row["created_by"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        sealed=Sealed(row["key"], row["key_version"], row["nonce"], row["ciphertext"]),
    )


_COLUMNS: Final = tuple(space_secrets.c)
_CREDENTIALS: Final = Statement(
    text(
        """
SELECT s.space, CAST(extract(epoch FROM s.updated_at) * 1000000 AS bigint), s.key, s.key_version, s.nonce, s.ciphertext
FROM space_secrets s JOIN spaces p ON p.name = s.space
WHERE s.key IN ('ANTHROPIC_API_KEY', 'OPENAI_API_KEY') AND p.settings ->> 'gateway' IS DISTINCT FROM 'off'
ORDER BY s.space, s.key
"""
    )
)

"""Rows of ``client_keys``: what outside programs call models with. Only a digest of each is stored."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ARRAY, BigInteger, Boolean, LargeBinary, Text, bindparam, delete, text
from sqlalchemy.dialects.postgresql import UUID
from sqlalchemy.ext.asyncio import AsyncConnection

from raworc.store.records import client_keys
from raworc.store.statement import Statement


@dataclass(frozen=True)
class KeyRow:
    """A key, in the order of ``_SELECT``; ``owner`` is the account's name."""

    id: uuid.UUID
    name: str
    space: str
    owner_id: uuid.UUID
    owner: str
    prefix: str
    train_id: str | None
    models: list[str]
    budget: dict[str, Any] | None
    expires_at: datetime | None
    is_expired: bool
    created_at: datetime


@dataclass(frozen=True)
class Wanted:
    """Which keys a list shows. ``spaces``: where all are visible (None: everywhere), besides one's own."""

    account_id: uuid.UUID
    spaces: frozenset[str] | None


async def insert(conn: AsyncConnection, values: Mapping[str, Any]) -> None:
    """Add one."""
    await conn.execute(client_keys.insert(), dict(values))


async def find(conn: AsyncConnection, key_id: uuid.UUID) -> KeyRow | None:
    """One by its id."""
    row = await _BY_ID.first(conn, {"id": key_id})
    return None if row is None else KeyRow(*row)


async def by_digest(conn: AsyncConnection, digest: bytes) -> KeyRow | None:
    """The one that a caller holds."""
    row = await _BY_DIGEST.first(conn, {"digest": digest})
    return None if row is None else KeyRow(*row)


async def page(conn: AsyncConnection, wanted: Wanted, *, limit: int, offset: int) -> list[KeyRow]:
    """Keys, the newest first."""
    parameters = {
        "account_id": wanted.account_id,
        "everywhere": wanted.spaces is None,
        "spaces": sorted(wanted.spaces or ()),
        "limit": limit,
        "offset": offset,
    }
    return [KeyRow(*row) for row in await _PAGE.all(conn, parameters)]


async def remove(conn: AsyncConnection, key_id: uuid.UUID) -> bool:
    """Delete one; False when it was gone already."""
    return (await conn.execute(delete(client_keys).where(client_keys.c.id == key_id))).rowcount > 0


_SELECT: Final = """
SELECT k.id, k.name, k.space, k.owner_id, a.name, k.prefix, k.train_id, k.models, k.budget, k.expires_at,
    coalesce(k.expires_at <= now(), false), k.created_at
FROM client_keys k JOIN accounts a ON a.id = k.owner_id
"""
_BY_ID: Final = Statement(text(f"{_SELECT} WHERE k.id = :id").bindparams(bindparam("id", type_=UUID)))
_BY_DIGEST: Final = Statement(
    text(f"{_SELECT} WHERE k.digest = :digest").bindparams(bindparam("digest", type_=LargeBinary))
)
_PAGE: Final = Statement(
    text(
        f"""{_SELECT} WHERE :everywhere OR k.space = ANY(:spaces) OR k.owner_id = :account_id
ORDER BY k.created_at DESC, k.id LIMIT :limit OFFSET :offset"""
    ).bindparams(
        bindparam("account_id", type_=UUID),
        bindparam("everywhere", type_=Boolean),
        bindparam("spaces", type_=ARRAY(Text)),
        bindparam("limit", type_=BigInteger),
        bindparam("offset", type_=BigInteger),
    )
)

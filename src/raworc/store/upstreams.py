"""Rows of ``upstreams`` and ``upstream_spaces``: providers' accounts, their credentials sealed."""

import uuid
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import bindparam, delete, func, select, text, update
from sqlalchemy.dialects.postgresql import UUID
from sqlalchemy.ext.asyncio import AsyncConnection

from raworc.store.records import upstream_spaces, upstreams
from raworc.store.schema import spaces
from raworc.store.secrets import Sealed
from raworc.store.statement import Row, Statement

_LOCKS: Final = 7_236_905  # any number that is ours alone


@dataclass(frozen=True)
class UpstreamRow:
    """An upstream, in the order of ``_SELECT``. ``spaces``: those that it serves, None for every one."""

    id: uuid.UUID
    name: str
    provider: str
    base_url: str
    models: list[str]
    spaces: list[str] | None
    is_default: bool
    credential_kind: str | None
    sealed: Sealed | None
    expires_at: datetime | None
    version: int
    created_at: datetime
    updated_at: datetime


def binding(upstream_id: uuid.UUID) -> str:
    """Where a credential is kept, as its seal says."""
    return f"upstreams|{upstream_id}"


async def every(conn: AsyncConnection) -> list[UpstreamRow]:
    """All of them, by name."""
    return [_row(row) for row in await _ALL.all(conn, {})]


async def find(conn: AsyncConnection, upstream_id: uuid.UUID) -> UpstreamRow | None:
    """One by its id."""
    row = await _BY_ID.first(conn, {"id": upstream_id})
    return None if row is None else _row(row)


async def by_name(conn: AsyncConnection, name: str) -> UpstreamRow | None:
    """One by its name."""
    row = await _BY_NAME.first(conn, {"name": name})
    return None if row is None else _row(row)


async def lock(conn: AsyncConnection, upstream_id: uuid.UUID) -> None:
    """Wait for whoever renews this upstream's credential; others wait until this transaction ends."""
    await conn.execute(_LOCK, {"lock": _LOCKS, "id": str(upstream_id)})


async def missing_spaces(conn: AsyncConnection, names: Collection[str]) -> set[str]:
    """Those of ``names`` that are no spaces; the others stay until the transaction ends."""
    found = select(spaces.c.name).where(spaces.c.name.in_(names)).with_for_update(key_share=True, read=True)
    return set(names) - {name for (name,) in await conn.execute(found)}


async def insert(conn: AsyncConnection, values: Mapping[str, Any]) -> None:
    """Add one. Raises Duplicate for a name that is taken."""
    await conn.execute(upstreams.insert(), dict(values))


async def change(conn: AsyncConnection, upstream_id: uuid.UUID, values: Mapping[str, Any]) -> None:
    """Change columns of one. Raises Duplicate for a name that is taken."""
    await conn.execute(
        update(upstreams)
        .where(upstreams.c.id == upstream_id)
        .values(**values, version=upstreams.c.version + 1, updated_at=func.now())
    )


async def put_spaces(conn: AsyncConnection, upstream_id: uuid.UUID, names: Collection[str]) -> None:
    """Whom it serves, in place of whom it served."""
    await conn.execute(delete(upstream_spaces).where(upstream_spaces.c.upstream_id == upstream_id))
    if names:
        rows = [{"upstream_id": upstream_id, "space": name} for name in names]
        await conn.execute(upstream_spaces.insert(), rows)


async def remove(conn: AsyncConnection, upstream_id: uuid.UUID) -> bool:
    """Delete one; False when it was gone already."""
    return (await conn.execute(delete(upstreams).where(upstreams.c.id == upstream_id))).rowcount > 0


async def cool(conn: AsyncConnection, seconds: Mapping[str, float]) -> None:
    """These have had enough for so long; a longer time that is known stays."""
    await conn.execute(_WARM)
    for name in sorted(seconds):
        await conn.execute(_COOL, {"name": name, "seconds": seconds[name]})


async def cooling(conn: AsyncConnection) -> dict[str, float]:
    """Those that have had enough, and for how many seconds yet."""
    return {name: float(left) for name, left in await _COOLING.all(conn, {})}


def sealed_columns(sealed: Sealed | None) -> dict[str, Any]:
    """A credential as columns."""
    if sealed is None:
        return {"key_version": None, "nonce": None, "ciphertext": None}
    return {"key_version": sealed.key_version, "nonce": sealed.nonce, "ciphertext": sealed.ciphertext}


def _row(row: Row) -> UpstreamRow:
    (upstream_id, name, provider, url, models, served, is_default, kind, version, nonce, text_, *rest) = row
    sealed = None if version is None else Sealed(binding(upstream_id), version, nonce, text_)
    return UpstreamRow(upstream_id, name, provider, url, models, served, is_default, kind, sealed, *rest)


_LOCK: Final = text("SELECT pg_advisory_xact_lock(CAST(:lock AS integer), hashtext(:id))")
_WARM: Final = text("DELETE FROM upstream_cool_downs WHERE ends_at <= clock_timestamp()")
_COOL: Final = text("""
INSERT INTO upstream_cool_downs AS c (name, ends_at)
VALUES (:name, clock_timestamp() + make_interval(secs => CAST(:seconds AS double precision)))
ON CONFLICT (name) DO UPDATE SET ends_at = greatest(c.ends_at, excluded.ends_at)
""")
_COOLING: Final = Statement(
    text("""
SELECT name, extract(epoch FROM ends_at - clock_timestamp()) FROM upstream_cool_downs WHERE ends_at > clock_timestamp()
""")
)
_SELECT: Final = """
SELECT u.id, u.name, u.provider, u.base_url, u.models,
    CASE WHEN u.every_space THEN NULL ELSE
        ARRAY(SELECT s.space FROM upstream_spaces s WHERE s.upstream_id = u.id ORDER BY s.space) END,
    u.is_default, u.credential_kind, u.key_version, u.nonce, u.ciphertext, u.expires_at, u.version, u.created_at,
    u.updated_at
FROM upstreams u
"""
_ALL: Final = Statement(text(f"{_SELECT} ORDER BY u.name"))
_BY_ID: Final = Statement(text(f"{_SELECT} WHERE u.id = :id").bindparams(bindparam("id", type_=UUID)))
_BY_NAME: Final = Statement(text(f"{_SELECT} WHERE u.name = :name"))

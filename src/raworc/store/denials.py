"""Rows of ``denials``: refusals of the last minute, so that the same one again is counted and no further entry.

How many there were is exact, whoever dies: counts are rows. A caller has ``MOST`` rows at most, whatever he asks for.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import datetime
from typing import Any, Final

from sqlalchemy import bindparam, text
from sqlalchemy.dialects.postgresql import BYTEA, JSONB, UUID
from sqlalchemy.ext.asyncio import AsyncConnection

from raworc.store.audit import AuditRow

MOST: Final = 100
"""Different refusals of one caller that are told from each other within a minute."""
EVERYTHING: Final = "*"
_SWEPT_AT_ONCE: Final = 20


async def count(conn: AsyncConnection, row: AuditRow) -> list[AuditRow]:
    """Count a refusal; the entries that are due now: itself, where it is new, and what its former window came to."""
    digest = _digest(row)
    known = (await conn.execute(_KNOWN, {"digest": digest})).one_or_none()
    if known is None and (await conn.scalar(_OTHERS, {"actor_id": row.actor_id}) or 0) >= MOST:
        row = replace(row, verb=EVERYTHING, resource=EVERYTHING, name=None, space=None, details={"different": True})
        digest = _digest(row)
        known = (await conn.execute(_KNOWN, {"digest": digest})).one_or_none()
    if known is None:
        values = {name: value for name, value in asdict(row).items() if name != "allowed"}
        return [row] if await conn.scalar(_BEGIN, {"digest": digest, **values}) else []
    again, since, is_over = known
    if not is_over:
        await conn.execute(_AGAIN, {"digest": digest})
        return []
    await conn.execute(_ANEW, {"digest": digest})
    return [*_summary(row, again, since), row]


async def ended(conn: AsyncConnection) -> list[AuditRow]:
    """Forget some of the windows that are over; the entries that say what they came to."""
    rows = (await conn.execute(_SWEEP, {"limit": _SWEPT_AT_ONCE})).mappings()
    return [entry for row in rows for entry in _summary(_row(row), row["count"], row["since"])]


def _summary(row: AuditRow, again: int, since: datetime) -> list[AuditRow]:
    if not again:
        return []
    return [replace(row, details={**row.details, "repeated": again, "since": since.isoformat(timespec="seconds")})]


def _row(row: Mapping[Any, Any]) -> AuditRow:
    names = ("actor_id", "actor", "verb", "resource", "name", "space", "address", "details")
    return AuditRow(**{name: row[name] for name in names}, allowed=False)


def _digest(row: AuditRow) -> bytes:
    said = [row.verb, row.resource, row.name, row.space, row.address, dict(row.details)]
    return hashlib.sha256(json.dumps([str(row.actor_id), *said], sort_keys=True, default=str).encode()).digest()


_WINDOW: Final = "interval '1 minute'"
_KNOWN: Final = text(
    f"SELECT count, since, since <= now() - {_WINDOW} AS is_over FROM denials WHERE digest = :digest FOR UPDATE"  # noqa: S608  a constant
).bindparams(bindparam("digest", type_=BYTEA))
_OTHERS: Final = text(
    f"SELECT count(*) FROM denials WHERE actor_id = :actor_id AND since > now() - {_WINDOW}"  # noqa: S608  a constant
).bindparams(bindparam("actor_id", type_=UUID))
_BEGIN: Final = text(
    """
INSERT INTO denials (digest, actor_id, actor, verb, resource, name, space, address, details)
VALUES (:digest, :actor_id, :actor, :verb, :resource, :name, :space, :address, :details)
ON CONFLICT (digest) DO UPDATE SET count = denials.count + 1 RETURNING count = 0
"""
).bindparams(bindparam("digest", type_=BYTEA), bindparam("actor_id", type_=UUID), bindparam("details", type_=JSONB))
_AGAIN: Final = text("UPDATE denials SET count = count + 1 WHERE digest = :digest").bindparams(
    bindparam("digest", type_=BYTEA)
)
_ANEW: Final = text("UPDATE denials SET count = 0, since = now() WHERE digest = :digest").bindparams(
    bindparam("digest", type_=BYTEA)
)
_SWEEP: Final = text(
    f"""
DELETE FROM denials WHERE digest IN (
    SELECT digest FROM denials WHERE since <= now() - {_WINDOW} ORDER BY since LIMIT :limit FOR UPDATE SKIP LOCKED)
RETURNING actor_id, actor, verb, resource, name, space, address, details, count, since
"""  # noqa: S608  a constant
)  # what others are at is left alone: nobody waits for it while he holds one himself

"""Rows of ``bindings``: a role for one account, or for everybody, in one space or everywhere.

What was bound together shares ``group_id`` and a name.
"""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import BigInteger, Boolean, Text, bindparam, delete, text
from sqlalchemy.dialects.postgresql import ARRAY, UUID
from sqlalchemy.ext.asyncio import AsyncConnection

from raworc.store.notify import notify_account
from raworc.store.schema import bindings
from raworc.store.statement import Statement


@dataclass(frozen=True)
class BindingRow:
    """One subject of a binding, in the order of ``_SELECT``. No ``account``: everybody; no ``space``: everywhere."""

    id: uuid.UUID
    group_id: uuid.UUID
    name: str | None
    builtin: bool
    subject_kind: str
    account_id: uuid.UUID | None
    account: str | None
    role: str
    rules: list[dict[str, Any]]
    space: str | None
    created_at: datetime


@dataclass(frozen=True)
class Wanted:
    """Which bindings a list shows. ``spaces``: those of them; None: all, also those for everywhere."""

    spaces: frozenset[str] | None
    limit: int
    offset: int


async def page(conn: AsyncConnection, wanted: Wanted) -> list[BindingRow]:
    """One row for each subject, in the order in which they were made."""
    return await _rows(conn, _PAGE, wanted)


async def groups(conn: AsyncConnection, wanted: Wanted) -> list[BindingRow]:
    """The same, paged by what was bound together: of each, all subjects that may be seen."""
    return await _rows(conn, _GROUPS, wanted)


async def find(conn: AsyncConnection, which: uuid.UUID | str) -> list[BindingRow]:
    """The subject of this id, else all that were bound together under this id or name."""
    parameters = {
        "id": which if isinstance(which, uuid.UUID) else None,
        "name": None if isinstance(which, uuid.UUID) else which,
    }
    rows = [BindingRow(*row) for row in await _FIND.all(conn, parameters)]
    return [row for row in rows if row.id == which != row.group_id] or rows


async def insert(conn: AsyncConnection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Add subjects, and tell servers. Raises ``Duplicate`` when one of them has this role there already."""
    await conn.execute(bindings.insert(), [dict(row) for row in rows])
    await _tell(conn, [row["account_id"] for row in rows])


async def is_named(conn: AsyncConnection, name: str) -> bool:
    """Whether there is a binding of this name, in any case of its letters."""
    return bool(await conn.scalar(_IS_NAMED, {"name": name}))


async def remove(conn: AsyncConnection, rows: Sequence[BindingRow]) -> None:
    """Remove them, and tell servers."""
    await conn.execute(delete(bindings).where(bindings.c.id.in_([row.id for row in rows])))
    await _tell(conn, [row.account_id for row in rows])


async def _tell(conn: AsyncConnection, account_ids: Sequence[uuid.UUID | None]) -> None:
    for account_id in account_ids:
        if account_id is not None:
            await notify_account(conn, account_id)


async def _rows(conn: AsyncConnection, statement: Statement, wanted: Wanted) -> list[BindingRow]:
    parameters = {
        "everywhere": wanted.spaces is None,
        "spaces": sorted(wanted.spaces or ()),
        "limit": wanted.limit,
        "offset": wanted.offset,
    }
    return [BindingRow(*row) for row in await statement.all(conn, parameters)]


_SELECT: Final = """
SELECT b.id, coalesce(b.group_id, b.id) AS group_id, b.name, b.builtin, b.subject_kind, b.account_id,
       a.name AS account, r.name AS role, r.rules, b.space, b.created_at
FROM bindings b JOIN roles r ON r.id = b.role_id LEFT JOIN accounts a ON a.id = b.account_id
"""
_SEEN: Final = "(:everywhere OR b.space = ANY(:spaces))"
_PAGING: Final = (
    bindparam("everywhere", type_=Boolean),
    bindparam("spaces", type_=ARRAY(Text)),
    bindparam("limit", type_=BigInteger),
    bindparam("offset", type_=BigInteger),
)
_PAGE: Final = Statement(
    text(f"{_SELECT} WHERE {_SEEN} ORDER BY b.created_at, b.id LIMIT :limit OFFSET :offset").bindparams(*_PAGING)
)
_GROUPS: Final = Statement(
    text(
        f"""
WITH chosen AS (
    SELECT coalesce(b.group_id, b.id) AS id, min(b.created_at) AS since FROM bindings b WHERE {_SEEN}
    GROUP BY 1 ORDER BY 2, 1 LIMIT :limit OFFSET :offset
)
{_SELECT} JOIN chosen ON chosen.id = coalesce(b.group_id, b.id) WHERE {_SEEN} ORDER BY chosen.since, chosen.id, b.id
"""  # noqa: S608  put together from constants
    ).bindparams(*_PAGING)
)
_FIND: Final = Statement(
    text(f"{_SELECT} WHERE b.id = :id OR b.group_id = :id OR lower(b.name) = lower(:name) ORDER BY b.id").bindparams(
        bindparam("id", type_=UUID), bindparam("name", type_=Text)
    )
)
_IS_NAMED: Final = text("SELECT EXISTS (SELECT FROM bindings WHERE lower(name) = lower(:name))")

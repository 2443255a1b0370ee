"""Rows of ``accounts`` as those see them who administer them."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import BigInteger, Boolean, Text, bindparam, delete, func, select, text
from sqlalchemy.dialects.postgresql import ARRAY, UUID
from sqlalchemy.ext.asyncio import AsyncConnection

from raworc.store.notify import notify_account
from raworc.store.schema import accounts, agents, bindings, roles
from raworc.store.statement import Statement

_LOCK: Final = 7_236_903  # any number that is ours alone
ADMIN_ROLE: Final = "admin"


@dataclass(frozen=True)
class OperatorRow:
    """An account, in the order of ``_SELECT``. ``grants``: as ``AccountRow``'s."""

    id: uuid.UUID
    name: str
    space: str | None
    description: str | None
    active: bool
    blocked_at: datetime | None
    created_at: datetime
    updated_at: datetime
    last_login_at: datetime | None
    grants: str


@dataclass(frozen=True)
class Wanted:
    """Which accounts a list shows. ``spaces``: where all are visible (None: everywhere), besides one's own."""

    account_id: uuid.UUID
    spaces: frozenset[str] | None
    blocked: bool = False


async def one_at_a_time(conn: AsyncConnection) -> None:
    """Until this transaction ends, no other one that asks for the same changes who may do what."""
    await conn.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})


async def find(conn: AsyncConnection, name: str) -> OperatorRow | None:
    """The account, whatever the case of its name."""
    row = await _FIND.first(conn, {"name": name})
    return None if row is None else OperatorRow(*row)


async def find_by_id(conn: AsyncConnection, account_id: uuid.UUID) -> OperatorRow | None:
    """The account of this id."""
    row = await _FIND_BY_ID.first(conn, {"account_id": account_id})
    return None if row is None else OperatorRow(*row)


async def page(conn: AsyncConnection, wanted: Wanted, *, limit: int, offset: int) -> list[OperatorRow]:
    """Accounts by name; ``blocked`` ones only: the last blocked first."""
    statement = _BLOCKED if wanted.blocked else _PAGE
    parameters = {
        "account_id": wanted.account_id,
        "everywhere": wanted.spaces is None,
        "spaces": sorted(wanted.spaces or ()),
        "limit": limit,
        "offset": offset,
    }
    return [OperatorRow(*row) for row in await statement.all(conn, parameters)]


async def insert(conn: AsyncConnection, values: Mapping[str, Any]) -> None:
    """Add one. Raises ``Duplicate`` when the name is taken."""
    await conn.execute(accounts.insert(), dict(values))


async def update(conn: AsyncConnection, account_id: uuid.UUID, values: Mapping[str, Any], *, revoke: bool) -> None:
    """Set columns of one, and tell servers; ``revoke`` ends every token that was issued so far."""
    version = accounts.c.version + 1 if revoke else accounts.c.version
    changed = accounts.update().where(accounts.c.id == account_id)
    await conn.execute(changed.values(**values, version=version, updated_at=func.now()))
    await notify_account(conn, account_id)


async def remove(conn: AsyncConnection, account_id: uuid.UUID) -> None:
    """Remove one with all that is bound to it."""
    await conn.execute(delete(accounts).where(accounts.c.id == account_id))
    await notify_account(conn, account_id)


async def lock(conn: AsyncConnection, account_id: uuid.UUID) -> None:
    """Nothing that belongs to this account can be added until the transaction ends."""
    await conn.execute(select(accounts.c.id).where(accounts.c.id == account_id).with_for_update())


async def agents_of(conn: AsyncConnection, account_id: uuid.UUID) -> int:
    """How many agents it owns."""
    return await conn.scalar(select(func.count()).select_from(agents).where(agents.c.owner_id == account_id)) or 0


async def make_admin(conn: AsyncConnection, binding_id: uuid.UUID, account_id: uuid.UUID) -> None:
    """Bind it to the built-in role, everywhere."""
    role = select(roles.c.id).where(roles.c.name == ADMIN_ROLE).scalar_subquery()
    await conn.execute(bindings.insert().values(id=binding_id, role_id=role, account_id=account_id))


async def unmake_admin(conn: AsyncConnection, account_id: uuid.UUID) -> None:
    """Take away every binding of its own that gives everything everywhere."""
    await conn.execute(_UNMAKE, {"account_id": account_id})


async def has_admin(conn: AsyncConnection) -> bool:
    """Whether anybody who may log in holds everything everywhere."""
    return bool(await conn.scalar(_HAS_ADMIN))


_SELECT: Final = """
SELECT
    a.id, a.name, a.space, a.description, a.active, a.blocked_at, a.created_at, a.updated_at, a.last_login_at,
    coalesce((
        SELECT jsonb_agg(jsonb_build_object('space', b.space, 'rules', r.rules) ORDER BY b.id)
        FROM bindings b JOIN roles r ON r.id = b.role_id
        WHERE b.account_id = a.id OR b.account_id IS NULL
    ), '[]')::text AS grants
FROM accounts a
"""
_ALL_RULES: Final = """'[{"resources": ["*"], "verbs": ["*"]}]'::jsonb"""
_SEEN: Final = "(:everywhere OR a.space = ANY(:spaces) OR a.id = :account_id)"
_PAGING: Final = (
    bindparam("account_id", type_=UUID),
    bindparam("everywhere", type_=Boolean),
    bindparam("spaces", type_=ARRAY(Text)),
    bindparam("limit", type_=BigInteger),
    bindparam("offset", type_=BigInteger),
)


def _page(condition: str, order: str) -> Statement:
    chosen = f"{_SELECT} WHERE {condition} ORDER BY {order} LIMIT :limit OFFSET :offset"
    return Statement(text(chosen).bindparams(*_PAGING))


_FIND: Final = Statement(
    text(f"{_SELECT} WHERE lower(a.name) = lower(:name)").bindparams(bindparam("name", type_=Text))
)
_FIND_BY_ID: Final = Statement(
    text(f"{_SELECT} WHERE a.id = :account_id").bindparams(bindparam("account_id", type_=UUID))
)
_PAGE: Final = _page(_SEEN, "lower(a.name)")
_BLOCKED: Final = _page(f"a.blocked_at IS NOT NULL AND {_SEEN}", "a.blocked_at DESC, a.id")
_UNMAKE: Final = text(
    f"""
DELETE FROM bindings b USING roles r
WHERE r.id = b.role_id AND b.account_id = :account_id AND b.space IS NULL AND r.rules @> {_ALL_RULES}
"""  # noqa: S608  put together from constants
).bindparams(bindparam("account_id", type_=UUID))
_HAS_ADMIN: Final = text(
    f"""
SELECT EXISTS (
    SELECT FROM accounts a JOIN bindings b ON b.account_id = a.id OR b.account_id IS NULL
    JOIN roles r ON r.id = b.role_id
    WHERE a.active AND a.blocked_at IS NULL AND b.space IS NULL AND r.rules @> {_ALL_RULES}
)
"""  # noqa: S608  put together from constants
)

"""What every installation has from its first start: space ``default``, the built-in roles and ``admin``."""

import asyncio
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import VerificationError
from sqlalchemy import func, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from raworc.errors import BadRequest
from raworc.ids import new_id
from raworc.settings import DEFAULT_PASSWORD
from raworc.store.database import Database
from raworc.store.schema import accounts, bindings, roles, spaces

ADMIN: Final = "admin"
DEFAULT_SPACE: Final = "default"
MIN_PASSWORD_CHARACTERS: Final = 8
_LOCK: Final = 7_236_902  # any number that is ours alone
_ROLES: Final = {
    "admin": [{"resources": ["*"], "verbs": ["*"], "scope": "global"}],
    "self-service": [{"resources": ["own-agents"], "verbs": ["*"], "scope": "space"}],
}


async def bootstrap(db: Database, admin_password: str) -> None:
    """Create what is missing. The first account is ``admin``; later starts never touch an account.

    Raises:
        BadRequest: the first password is too short.
    """
    async with db.transaction() as conn:
        await conn.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        await conn.execute(insert(spaces).values(name=DEFAULT_SPACE).on_conflict_do_nothing())
        for name, rules in _ROLES.items():
            await conn.execute(
                insert(roles).values(id=new_id(), name=name, rules=rules, builtin=True).on_conflict_do_nothing()
            )
        if await conn.scalar(select(func.count()).select_from(accounts)) == 0:
            await _first_account(conn, admin_password)


async def has_default_password(db: Database) -> bool:
    """Whether anyone who read our documentation can log in as ``admin``."""
    async with db.reading() as conn:
        stored = await conn.scalar(select(accounts.c.password_hash).where(accounts.c.name == ADMIN))
    if stored is None:
        return False
    try:
        return await asyncio.to_thread(PasswordHasher().verify, stored, DEFAULT_PASSWORD)
    except VerificationError:
        return False


async def _first_account(conn: AsyncConnection, password: str) -> None:
    if len(password) < MIN_PASSWORD_CHARACTERS and password != DEFAULT_PASSWORD:
        raise BadRequest(f"'RAWORC_ADMIN_PASSWORD' must have at least {MIN_PASSWORD_CHARACTERS} characters")
    account_id = new_id()
    hashed = await asyncio.to_thread(PasswordHasher().hash, password)
    await conn.execute(insert(accounts).values(id=account_id, name=ADMIN, space=DEFAULT_SPACE, password_hash=hashed))
    await _bind(conn, "admin", account_id)
    await _bind(conn, "self-service", None)


async def _bind(conn: AsyncConnection, role: str, account_id: object) -> None:
    role_id = select(roles.c.id).where(roles.c.name == role).scalar_subquery()
    await conn.execute(insert(bindings).values(id=new_id(), role_id=role_id, account_id=account_id))

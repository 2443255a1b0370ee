"""What every installation has from its first start: space ``default``, the built-in roles and ``admin``."""

from typing import Final

from sqlalchemy import func, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from raworc.errors import BadRequest
from raworc.ids import new_id
from raworc.services.passwords import MIN_CHARACTERS, Passwords
from raworc.settings import DEFAULT_PASSWORD
from raworc.store.database import Database
from raworc.store.schema import accounts, bindings, roles, spaces

ADMIN: Final = "admin"
DEFAULT_SPACE: Final = "default"
_LOCK: Final = 7_236_902  # any number that is ours alone
_ROLES: Final = {
    "admin": [{"resources": ["*"], "verbs": ["*"], "scope": "global"}],
    "operator": [
        {
            "resources": ["sessions", "agents", "secrets"],
            "verbs": ["create", "read", "update", "delete", "list"],
            "scope": "space",
        },
        {"resources": ["secrets"], "verbs": ["read-values"], "scope": "space"},
        {"resources": ["spaces"], "verbs": ["read", "list"], "scope": "global"},
    ],
    "developer": [
        {"resources": ["sessions", "agents"], "verbs": ["create", "read", "update", "list"], "scope": "space"},
        {"resources": ["secrets"], "verbs": ["read", "list"], "scope": "space"},
    ],
    "self-service": [{"resources": ["own-agents", "own-keys"], "verbs": ["*"], "scope": "space"}],
}


async def bootstrap(db: Database, passwords: Passwords, admin_password: str) -> None:
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
            await _first_account(conn, passwords, admin_password)


async def _first_account(conn: AsyncConnection, passwords: Passwords, password: str) -> None:
    if len(password) < MIN_CHARACTERS and password != DEFAULT_PASSWORD:
        raise BadRequest(f"'RAWORC_ADMIN_PASSWORD' must have at least {MIN_CHARACTERS} characters")
    account_id = new_id()
    hashed = await passwords.hash(password)
    await conn.execute(insert(accounts).values(id=account_id, name=ADMIN, space=DEFAULT_SPACE, password_hash=hashed))
    await _bind(conn, "admin-binding", "admin", {"account_id": account_id})
    await _bind(conn, "everyone", "self-service", {"account_id": None, "subject_kind": "Group"})


async def _bind(conn: AsyncConnection, name: str, role: str, subject: dict[str, object]) -> None:
    role_id = select(roles.c.id).where(roles.c.name == role).scalar_subquery()
    await conn.execute(insert(bindings).values(id=new_id(), name=name, builtin=True, role_id=role_id, **subject))

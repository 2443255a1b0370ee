"""Rows of ``identities`` and what hangs on them: who logs in by a provider's word, and the roles that it gave."""

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import Text, bindparam, delete, text
from sqlalchemy.dialects.postgresql import UUID, insert
from sqlalchemy.ext.asyncio import AsyncConnection

from raworc.ids import new_id
from raworc.store.notify import notify_account
from raworc.store.schema import bindings
from raworc.store.signing_in import identities, identity_bindings, used_proofs


@dataclass(frozen=True)
class GivenRow:
    """A binding that an issuer's word made, names in lower case. No ``space``: everywhere."""

    binding_id: uuid.UUID
    role: str
    space: str | None


async def linked(conn: AsyncConnection, issuer: str, subject: str) -> uuid.UUID | None:
    """The account that this subject of this issuer is."""
    return await conn.scalar(_LINKED, {"issuer": issuer, "subject": subject})


async def is_linked(conn: AsyncConnection, issuer: str, account_id: uuid.UUID) -> bool:
    """Whether some subject of this issuer is the account."""
    return bool(await conn.scalar(_IS_LINKED, {"issuer": issuer, "account_id": account_id}))


async def link(conn: AsyncConnection, issuer: str, subject: str, account_id: uuid.UUID) -> None:
    """From here on this subject is this account. Raises ``Duplicate`` when it is one already."""
    await conn.execute(identities.insert().values(issuer=issuer, subject=subject, account_id=account_id))


async def given(conn: AsyncConnection, issuer: str, account_id: uuid.UUID) -> list[GivenRow]:
    """What the issuer's word gave to an account until now."""
    rows = await conn.execute(_GIVEN, {"issuer": issuer, "account_id": account_id})
    return [GivenRow(*row) for row in rows]


async def give(conn: AsyncConnection, issuer: str, account_id: uuid.UUID, role: str, space: str | None) -> bool:
    """Bind a role in one space or (None) everywhere; False where there is no such role or space, or it is bound."""
    parameters = {"id": new_id(), "role": role, "space": space, "account_id": account_id}
    binding_id = await conn.scalar(_GIVE, parameters)
    if binding_id is None:
        return False
    await conn.execute(identity_bindings.insert().values(binding_id=binding_id, issuer=issuer))
    await notify_account(conn, account_id)
    return True


async def take(conn: AsyncConnection, account_id: uuid.UUID, binding_id: uuid.UUID) -> None:
    """Remove a binding that an issuer's word made."""
    await conn.execute(delete(bindings).where(bindings.c.id == binding_id))
    await notify_account(conn, account_id)


async def use_once(conn: AsyncConnection, digest: bytes, until: datetime) -> bool:
    """Whether this proof is used for the first time. Those that have ended long since are forgotten."""
    await conn.execute(_FORGET)
    row = insert(used_proofs).values(digest=digest, until=until).on_conflict_do_nothing().returning(used_proofs.c.until)
    return await conn.scalar(row) is not None


_ISSUER: Final = bindparam("issuer", type_=Text)
_ACCOUNT: Final = bindparam("account_id", type_=UUID)
_LINKED: Final = text("SELECT account_id FROM identities WHERE issuer = :issuer AND subject = :subject").bindparams(
    _ISSUER, bindparam("subject", type_=Text)
)
_IS_LINKED: Final = text(
    "SELECT EXISTS (SELECT FROM identities WHERE issuer = :issuer AND account_id = :account_id)"
).bindparams(_ISSUER, _ACCOUNT)
_GIVEN: Final = text(
    """
SELECT b.id, lower(r.name), lower(b.space)
FROM identity_bindings i JOIN bindings b ON b.id = i.binding_id JOIN roles r ON r.id = b.role_id
WHERE i.issuer = :issuer AND b.account_id = :account_id
"""
).bindparams(_ISSUER, _ACCOUNT)
_GIVE: Final = text(
    """
INSERT INTO bindings (id, role_id, account_id, space)
SELECT :id, r.id, :account_id, s.name
FROM roles r LEFT JOIN spaces s ON lower(s.name) = :space
WHERE lower(r.name) = :role AND (:space IS NULL OR s.name IS NOT NULL) AND NOT EXISTS (
    SELECT FROM bindings b WHERE b.role_id = r.id AND b.account_id = :account_id AND b.space IS NOT DISTINCT FROM s.name
)
RETURNING id
"""
).bindparams(bindparam("id", type_=UUID), _ACCOUNT, bindparam("role", type_=Text), bindparam("space", type_=Text))
_FORGET: Final = text("DELETE FROM used_proofs WHERE until < now() - interval '1 hour'")

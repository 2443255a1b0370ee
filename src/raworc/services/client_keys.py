"""Client keys: what programs outside call models with, each bound to a space, and seen once by whoever makes it.

A key speaks for its maker's account: it counts while that account is in use and may still make keys in its space.
"""

import uuid
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from raworc.domain.access import Grant, may, spaces_for
from raworc.domain.agents import DEFAULT_SPACE
from raworc.domain.client_keys import digest_of, is_key, new_key, shown_of
from raworc.domain.text import storable_text
from raworc.errors import BadRequest, FieldError, Forbidden, Hidden, NotFound, Unauthorized
from raworc.ids import new_id
from raworc.services import audit
from raworc.services.accounts import Caller, grants_of, renewed
from raworc.services.audit import Deed
from raworc.store import accounts, spaces
from raworc.store import client_keys as store
from raworc.store.client_keys import KeyRow, Wanted
from raworc.store.database import Database

__all__ = ["ClientKeys", "KeyRow", "KeyUse", "NewKey"]

RESOURCE: Final = "keys"
_INVALID: Final = "Invalid, expired or revoked key"


@dataclass(frozen=True)
class NewKey:
    """What a key is to be good for. ``models``: patterns, none for all; ``train_id`` None: the caller names it."""

    name: str
    space: str = DEFAULT_SPACE
    train_id: str | None = None
    models: tuple[str, ...] = ()
    budget: dict[str, Any] | None = None
    expires_at: datetime | None = None


@dataclass(frozen=True)
class KeyUse:
    """Whom a key speaks for, and what it is bound to."""

    account_id: uuid.UUID
    space: str
    train_id: str | None
    models: tuple[str, ...]
    expires_at: datetime | None


class ClientKeys:
    """Makes, lists, takes away and recognises client keys."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def create(self, caller: Caller, new: NewKey) -> tuple[KeyRow, str]:
        """A key as it is listed, and the key itself, which is told nowhere else.

        Raises:
            BadRequest: it is to end in the past, or there is no such space.
            Forbidden: the caller may not make keys in this space.
        """
        if new.expires_at is not None and new.expires_at <= datetime.now(UTC):
            raise _refused("expires_at", "must be in the future")
        key, key_id, space = new_key(), new_id(), storable_text(new.space)
        deed = Deed("create", RESOURCE, None, space, {"name": new.name, "train_id": new.train_id})
        made = replace(deed, name=str(key_id))

        async def work(conn: AsyncConnection, by: Caller) -> KeyRow:
            if not _may_make(by.grants, space):
                raise Forbidden(f"Account '{by.name}' may not create keys in space '{space[:80]}'")
            if not await spaces.keeps(conn, space):
                raise _refused("space", "names no space")
            values = {**vars(new), "id": key_id, "space": space, "models": list(new.models), "owner_id": by.account_id}
            await store.insert(conn, {**values, "digest": digest_of(key), "prefix": shown_of(key)})
            return await _found(conn, key_id)

        return await audit.carried_out(self._db, caller, deed, work, made=made), key

    async def page(self, caller: Caller, *, limit: int, offset: int) -> list[KeyRow]:
        """Keys that the caller may see, his own ones at least, the newest first."""
        wanted = Wanted(caller.account_id, spaces_for(caller.grants, "list", RESOURCE))
        async with self._db.reading() as conn:
            return await store.page(conn, wanted, limit=limit, offset=offset)

    async def delete(self, caller: Caller, key_id: uuid.UUID) -> None:
        """Revoke a key: the gateway refuses it from the next second on.

        Raises:
            NotFound: there is none.
            Hidden: there is one that the caller may not see.
            Forbidden: he may see it and not take it away.
        """

        async def work(conn: AsyncConnection) -> None:
            by = await renewed(conn, caller)
            row = await _found(conn, key_id)
            owner = row.owner_id == by.account_id
            if not may(by.grants, "delete", RESOURCE, space=row.space, owner=owner):
                if may(by.grants, "list", RESOURCE, space=row.space, owner=owner):
                    raise Forbidden(f"Account '{by.name}' may not delete keys in space '{row.space}'")
                raise Hidden(_not_found(key_id).message)
            if not await store.remove(conn, key_id):
                raise _not_found(key_id)
            await audit.done(conn, by, Deed("delete", RESOURCE, str(key_id), row.space, {"name": row.name}))

        async with audit.refusals_kept(self._db, caller, Deed("delete", RESOURCE, str(key_id))):
            await self._db.run(work)

    async def authenticate(self, key: str) -> KeyUse:
        """What a key is good for at this moment.

        Raises:
            Unauthorized: there is none like it (any more), it ended, or its maker's right to it did.
            DatabaseUnavailable: it cannot be asked now.
        """
        if not is_key(key):
            raise Unauthorized(_INVALID)
        async with self._db.reading() as conn:
            row = await store.by_digest(conn, digest_of(key))
            owner = await accounts.by_id(conn, row.owner_id) if row is not None else None
        if row is None or row.is_expired or owner is None or not owner.is_in_use:
            raise Unauthorized(_INVALID)
        if not _may_make(grants_of(owner.grants), row.space):
            raise Unauthorized(_INVALID)
        return KeyUse(row.owner_id, row.space, row.train_id, tuple(row.models), row.expires_at)


async def _found(conn: AsyncConnection, key_id: uuid.UUID) -> KeyRow:
    row = await store.find(conn, key_id)
    if row is None:
        raise _not_found(key_id)
    return row


def _may_make(grants: tuple[Grant, ...], space: str) -> bool:
    """With the right to one's own keys alone in space ``default`` only, where logins are booked, too."""
    return may(grants, "create", RESOURCE, space=space, owner=space == DEFAULT_SPACE)


def _refused(field: str, reason: str) -> BadRequest:
    return BadRequest(f"'{field}' {reason}", details=(FieldError(field, reason),))


def _not_found(key_id: uuid.UUID) -> NotFound:
    return NotFound(f"Key '{key_id}' not found")

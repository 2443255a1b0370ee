"""Secrets of a space: put, changed, listed, and revealed to those who may. Every reveal is kept in the audit log.

What belongs to the metadata takes ``read`` or ``list``; a value takes ``read-values`` besides.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from raworc.domain.access import may
from raworc.domain.names import check_secret_key
from raworc.domain.text import storable_text
from raworc.errors import BadRequest, Conflict, Forbidden, Hidden, NotFound
from raworc.services import audit, spaces
from raworc.services.accounts import Caller
from raworc.services.answers import Keep, unkept
from raworc.services.audit import Deed
from raworc.services.secrets import MAX_ALL_BYTES, MAX_COUNT, Secrets, check_secrets, of_space
from raworc.services.spaces import check_reach
from raworc.store import space_secrets as store
from raworc.store.database import Database, Duplicate
from raworc.store.space_secrets import SpaceSecretRow

__all__ = ["NewSpaceSecret", "SpaceSecretRow", "SpaceSecrets"]

RESOURCE: Final = "secrets"


@dataclass(frozen=True)
class NewSpaceSecret:
    """A secret to be put into a space."""

    key: str
    value: str
    description: str | None = None


class SpaceSecrets:
    """The secrets of spaces. Every method raises NotFound where the caller may not even see the space.

    It raises Forbidden where he may see it, or its secrets, and not do this; Unavailable where the space's data key was
    sealed by another master key.
    """

    def __init__(self, db: Database, secrets: Secrets) -> None:
        self._db = db
        self._secrets = secrets

    async def page(self, caller: Caller, space: str, *, limit: int, offset: int) -> list[SpaceSecretRow]:
        """Names and descriptions, by name."""
        deed = _deed("list", space, None)
        async with audit.refusals_kept(self._db, caller, deed), self._db.reading() as conn:
            await check_reach(conn, caller, "list", RESOURCE, space)
            return await store.page(conn, space, limit=limit, offset=offset)

    async def get(self, caller: Caller, space: str, key: str) -> SpaceSecretRow:
        """Name and description of one."""
        deed = _deed("get", space, key)
        async with audit.refusals_kept(self._db, caller, deed), self._db.reading() as conn:
            return await _find(conn, caller, space, key, "get")

    async def reveal(self, caller: Caller, rows: Sequence[SpaceSecretRow], space: str) -> dict[str, str]:
        """The values of secrets that the caller was told of, by name.

        Raises:
            Forbidden: he may not read values there.
        """
        keys = [row.key for row in rows]
        deed = Deed("read-values", RESOURCE, keys[0] if len(keys) == 1 else None, storable_text(space), {"keys": keys})

        async def work(conn: AsyncConnection, by: Caller) -> dict[str, str]:
            if not may(by.grants, "read-values", RESOURCE, space=space):
                raise Forbidden(f"Account '{by.name}' may not read values of secrets in space '{space}'")
            return await self._secrets.opened(conn, space, of_space(space), [row.sealed for row in rows])

        return await audit.carried_out(self._db, caller, deed, work)

    async def create(
        self, caller: Caller, space: str, new: NewSpaceSecret, keep: Keep[SpaceSecretRow] = unkept
    ) -> SpaceSecretRow:
        """Put a new one.

        Raises:
            BadRequest: a name or value outside its rules, or too much in all. Values are not repeated.
            Conflict: there is one of this name.
        """
        check_secret_key(new.key, "key_name")
        check_secrets({new.key: new.value})

        async def work(conn: AsyncConnection, by: Caller) -> SpaceSecretRow:
            await check_reach(conn, by, "create", RESOURCE, space)
            row = {"space": space, "key": new.key, "created_by": by.name, **await self._columns(conn, space, new)}
            await store.insert(conn, row | {"description": _text(new.description)})
            await _check_weight(conn, space)
            made = await _known(conn, space, new.key)
            await keep(conn, made)
            return made

        try:
            return await audit.carried_out(self._db, caller, _deed("create", space, new.key), work)
        except Duplicate:
            raise Conflict(f"Secret '{new.key}' already exists in space '{space}': change it instead") from None

    async def update(
        self, caller: Caller, space: str, key: str, value: str | None, description: str | None
    ) -> SpaceSecretRow:
        """Another value, description, or both; None keeps.

        Raises:
            BadRequest: nothing is given, or a value outside its rules.
        """
        if value is None and description is None:
            raise BadRequest("Nothing to change: give 'value' or 'description'")
        if value is not None:
            check_secrets({key: value})

        async def work(conn: AsyncConnection, by: Caller) -> SpaceSecretRow:
            await _find(conn, by, space, key, "update")
            values = {} if description is None else {"description": _text(description)}
            if value is not None:
                values |= await self._columns(conn, space, NewSpaceSecret(key, value))
            await store.change(conn, space, key, values)
            await _check_weight(conn, space)
            return await _known(conn, space, key)

        return await audit.carried_out(self._db, caller, _deed("update", space, key), work)

    async def delete(self, caller: Caller, space: str, key: str) -> None:
        """Take one away."""

        async def work(conn: AsyncConnection, by: Caller) -> None:
            await _find(conn, by, space, key, "delete")
            await store.remove(conn, space, key)

        await audit.carried_out(self._db, caller, _deed("delete", space, key), work)

    async def _columns(self, conn: AsyncConnection, space: str, new: NewSpaceSecret) -> dict[str, Any]:
        (sealed,) = await self._secrets.sealed(conn, space, of_space(space), {new.key: new.value})
        return store.sealed_columns(sealed)


async def _find(conn: AsyncConnection, caller: Caller, space: str, key: str, verb: str) -> SpaceSecretRow:
    """One that the caller may ``verb``; what he may see of it decides how he is refused."""
    if not may(caller.grants, "get", RESOURCE, space=space) and not may(caller.grants, verb, RESOURCE, space=space):
        seen = may(caller.grants, "get", spaces.RESOURCE, space=space)
        absent = _absent(space, key) if seen else spaces.absent(space)
        is_there = await store.find(conn, storable_text(space), storable_text(key)) is not None
        raise Hidden(absent.message) if is_there else absent
    allowed = may(caller.grants, verb, RESOURCE, space=space)
    await check_reach(conn, caller, verb if allowed else "get", RESOURCE, space)
    row = await _known(conn, space, key)
    if not allowed:
        raise Forbidden(f"Account '{caller.name}' may not {verb} secrets in space '{space}': ask an administrator")
    return row


async def _known(conn: AsyncConnection, space: str, key: str) -> SpaceSecretRow:
    row = await store.find(conn, space, storable_text(key))
    if row is None:
        raise _absent(space, key)
    return row


async def _check_weight(conn: AsyncConnection, space: str) -> None:
    count, size_bytes = await store.weight(conn, space)
    if count > MAX_COUNT:
        raise BadRequest(f"A space may have at most {MAX_COUNT} secrets: remove some")
    if size_bytes > MAX_ALL_BYTES:
        raise BadRequest(f"The secrets of a space may have at most {MAX_ALL_BYTES} bytes together: remove some")


def _absent(space: str, key: str) -> NotFound:
    return NotFound(f"Secret '{storable_text(key[:80])}' not found in space '{storable_text(space[:80])}'")


def _text(description: str | None) -> str | None:
    return None if description is None else storable_text(description)


def _deed(verb: str, space: str, key: str | None) -> Deed:
    return Deed(verb, RESOURCE, None if key is None else storable_text(key[:255]), storable_text(space[:80]))

"""Another data key for a space: what is sealed under it is sealed anew, while everything runs.

The new key is there before anything is sealed under it, and the old one stays until the next rotation. Whatever is
sealed from then on is sealed under the new one, so one walk over all that is older, batch by batch, is enough; cut
short anywhere, everything opens, and the next rotation goes on with the same key.
"""

import uuid
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from raworc.domain.agents import DEFAULT_SPACE
from raworc.errors import NotFound
from raworc.services.secrets import Secrets, of_agent, of_space
from raworc.store import audit, sealed_rows, spaces
from raworc.store import secrets as store
from raworc.store.audit import AuditRow
from raworc.store.database import Database
from raworc.store.sealed_rows import AGENTS, SHELVES, UPSTREAMS, Row, Shelf
from raworc.store.secrets import Sealed
from raworc.store.upstreams import binding

_AT_ONCE: Final = 200
_KEPT: Final = 2


class DataKeys:
    """Rotates spaces' data keys. The master key stays as it is: see ``Secrets.rewrap``."""

    def __init__(self, db: Database, secrets: Secrets) -> None:
        self._db = db
        self._secrets = secrets

    async def spaces(self) -> list[str]:
        """The spaces that have a data key."""
        async with self._db.reading() as conn:
            return await store.spaces_with_keys(conn)

    async def rotate(self, space: str) -> int:
        """Give the space another data key; how many values were sealed anew.

        Raises:
            NotFound: there is no such space.
            Unavailable: the master key is another one, or a row was tampered with; what was done until then stands.
        """
        version = await self._db.run(lambda conn: self._begun(conn, space))
        if version is None:
            return 0
        done = 0
        for shelf in SHELVES:
            after: tuple[str, str] | None = shelf.start
            while after is not None:
                after, count = await self._batch(shelf, space, version, after)
                done += count
        await self._db.run(lambda conn: store.forget_data_keys(conn, space, before=version - _KEPT + 1))
        return done

    async def _begun(self, conn: AsyncConnection, space: str) -> int | None:
        """The version to go to: a new one, or that of a rotation that was cut short; None: nothing is sealed here."""
        await store.lock_renewing(conn, space)
        if not await spaces.exists(conn, space):
            raise NotFound(f"Space '{space}' not found")
        keys = await store.data_keys_of(conn, space)
        if not keys:
            return None
        version = keys[0].version
        if not await self._has_stale(conn, space, version):
            version = await self._secrets.add_key(conn, space, version + 1)
        deed = {"data_key": version}
        row = AuditRow(None, None, "rotate", "secrets", allowed=True, space=space, details=deed)
        await audit.write(conn, row)
        return version

    async def _has_stale(self, conn: AsyncConnection, space: str, version: int) -> bool:
        for shelf in SHELVES:
            if await sealed_rows.stale(conn, shelf, space, version=version, after=shelf.start, limit=1):
                return True
        return False

    async def _batch(
        self, shelf: Shelf, space: str, version: int, after: tuple[str, str]
    ) -> tuple[tuple[str, str] | None, int]:
        """Where the next batch begins, None at the end, and how many were in this one."""

        async def work(conn: AsyncConnection) -> tuple[tuple[str, str] | None, int]:
            rows = await sealed_rows.stale(conn, shelf, space, version=version, after=after, limit=_AT_ONCE)
            for row in rows:
                await sealed_rows.replace(conn, shelf, row.owner, await self._anew(conn, shelf, space, row))
            last = rows[-1] if len(rows) == _AT_ONCE else None
            return None if last is None else (last.owner, last.sealed.key), len(rows)

        return await self._db.run(work)

    async def _anew(self, conn: AsyncConnection, shelf: Shelf, space: str, row: Row) -> Sealed:
        if shelf is UPSTREAMS:
            name = binding(uuid.UUID(row.owner))
            value = await self._secrets.unseal(conn, DEFAULT_SPACE, _named(row.sealed, name))
            return _named(await self._secrets.seal(conn, DEFAULT_SPACE, name, value), row.sealed.key)
        place = of_agent(uuid.UUID(row.owner)) if shelf is AGENTS else of_space(space)
        values = await self._secrets.opened(conn, space, place, [row.sealed])
        (sealed,) = await self._secrets.sealed(conn, space, place, values)
        return sealed


def _named(sealed: Sealed, name: str) -> Sealed:
    return Sealed(name, sealed.key_version, sealed.nonce, sealed.ciphertext)

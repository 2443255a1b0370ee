"""OAuth tokens of upstreams are renewed a minute before they end: once, whoever asks, in all processes together.

Many token endpoints take a refresh token only once. So the answer is stored before the lock is let go, and kept in
this process while it cannot be stored; and nobody who stops waiting stops what was begun.
"""

import asyncio
import time
import uuid
from dataclasses import dataclass
from ssl import SSLContext
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from raworc.clock import now
from raworc.domain.credentials import OAuth, RenewalFailed, renewed
from raworc.errors import DatabaseUnavailable
from raworc.services.secrets import Secrets
from raworc.services.upstream_uses import opened, sealed_columns
from raworc.store import upstreams as store
from raworc.store.database import Database
from raworc.wire.oauth import ask

_AT_ONCE: Final = 2
_REFUSED_FOR_S: Final = 60.0
_FAILED_FOR_S: Final = 5.0


@dataclass(frozen=True)
class _Failure:
    refresh_token: str
    error: RenewalFailed
    until_s: float


class Renewals:
    """Renews tokens. One for each process; ``close()`` waits for what was begun."""

    def __init__(self, db: Database, secrets: Secrets, trust: SSLContext | None = None) -> None:
        self._db = db
        self._trust = trust
        self._secrets = secrets
        self._turns = asyncio.Semaphore(_AT_ONCE)  # each holds a database connection while it asks
        self._running: dict[uuid.UUID, asyncio.Task[OAuth]] = {}
        self._failed: dict[uuid.UUID, _Failure] = {}
        self._unsaved: dict[uuid.UUID, tuple[str, OAuth]] = {}

    async def renewed(self, upstream_id: str, held: OAuth) -> OAuth:
        """Tokens that are not about to end, in the place of those that are ``held``.

        Raises:
            RenewalFailed: the token endpoint gave none. For a while it is not asked with the same refresh token.
            Unavailable: the database is away.
        """
        wanted = uuid.UUID(upstream_id)
        failure = self._failed.get(wanted)
        if failure and failure.refresh_token == held.refresh_token and time.monotonic() < failure.until_s:
            raise failure.error
        return await self._once(wanted, is_wish=False)

    async def forced(self, upstream_id: uuid.UUID) -> OAuth:
        """New tokens, however long the old ones would last. Raises as :meth:`renewed`."""
        return await self._once(upstream_id, is_wish=True)

    async def close(self) -> None:
        """Wait for renewals that were begun."""
        await asyncio.gather(*self._running.values(), return_exceptions=True)

    async def _once(self, upstream_id: uuid.UUID, *, is_wish: bool) -> OAuth:
        task = self._running.get(upstream_id)
        if task is None:
            task = asyncio.create_task(self._renew(upstream_id, is_wish=is_wish), name=f"renewal {upstream_id}")
            self._running[upstream_id] = task
            task.add_done_callback(lambda done: self._over(upstream_id, done))
        return await asyncio.shield(task)

    def _over(self, upstream_id: uuid.UUID, done: asyncio.Task[OAuth]) -> None:
        self._running.pop(upstream_id, None)
        if not done.cancelled():
            done.exception()  # whoever waited has it; there may be nobody

    async def _renew(self, upstream_id: uuid.UUID, *, is_wish: bool) -> OAuth:
        async with self._turns:
            try:
                async with self._db.transaction() as conn:
                    fresh = await self._under_lock(conn, upstream_id, is_wish=is_wish)
            except DatabaseUnavailable:
                if upstream_id not in self._unsaved:
                    raise
                return self._unsaved[upstream_id][1]
        self._unsaved.pop(upstream_id, None)
        self._failed.pop(upstream_id, None)
        return fresh

    async def _under_lock(self, conn: AsyncConnection, upstream_id: uuid.UUID, *, is_wish: bool) -> OAuth:
        """The lock lasts as long as the transaction, so the transaction lasts as long as the asking: 15 s at most."""
        await store.lock(conn, upstream_id)
        row = await store.find(conn, upstream_id)
        tokens = await opened(self._secrets, conn, row) if row is not None else None
        if row is None or not isinstance(tokens, OAuth):
            raise RenewalFailed("invalid_request", "The upstream has no OAuth tokens", is_final=True)
        held, unsaved = tokens.refresh_token, self._unsaved.get(upstream_id)
        if unsaved is not None and unsaved[0] == held:
            fresh = unsaved[1]
        elif is_wish or tokens.is_due(now()):
            fresh = await self._asked(upstream_id, tokens, as_json=row.provider == "anthropic")
        else:
            return tokens  # somebody else was first
        self._unsaved[upstream_id] = held, fresh
        await store.change(conn, upstream_id, await sealed_columns(self._secrets, conn, upstream_id, fresh))
        return fresh

    async def _asked(self, upstream_id: uuid.UUID, tokens: OAuth, *, as_json: bool) -> OAuth:
        try:
            return renewed(tokens, *await ask(tokens, as_json=as_json, trust=self._trust), now())
        except RenewalFailed as error:
            for_s = _REFUSED_FOR_S if error.is_final else _FAILED_FOR_S
            self._failed[upstream_id] = _Failure(tokens.refresh_token, error, time.monotonic() + for_s)
            raise

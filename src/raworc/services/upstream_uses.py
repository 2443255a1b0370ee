"""Upstreams as the gateway calls them: what each serves, where it is, and its credential, opened.

Credentials are sealed under the data key of space ``default``, those that are secrets of a space under that space's
own, and leave this module towards the gateway only.
"""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, cast

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from raworc.domain.agents import DEFAULT_SPACE
from raworc.domain.credentials import PLAIN, ApiKey, Credential, OAuth, packed, unpacked
from raworc.domain.environment import CREDENTIALS
from raworc.domain.upstreams import DEFAULT_URLS, Offer, ProviderName
from raworc.errors import DatabaseUnavailable, Unavailable
from raworc.services.secrets import Secrets, of_space
from raworc.store import space_secrets
from raworc.store import upstreams as store
from raworc.store.database import Database
from raworc.store.space_secrets import CredentialRow
from raworc.store.upstreams import UpstreamRow

_log = structlog.get_logger(__name__)

KINDS: Final[Mapping[type[Credential], str]] = {ApiKey: "key", OAuth: "oauth"}


@dataclass(frozen=True)
class Use:
    """One upstream. ``version`` differs whenever it does. ``is_lost``: nobody can open its credential any more.

    ``id`` of those from the environment, and of a space's own, is their name.
    """

    id: str
    version: int
    offer: Offer
    base_url: str
    credential: Credential | None = field(default=None, repr=False)
    is_lost: bool = False


class UpstreamUses:
    """All upstreams: the stored ones, those ``provided`` by the environment whose names are free, and spaces' own.

    ``urls``: where the credentials that spaces keep as secrets are good for, by provider.
    """

    def __init__(
        self,
        db: Database,
        secrets: Secrets,
        provided: Sequence[Use] = (),
        urls: Mapping[str, str] = DEFAULT_URLS,
    ) -> None:
        self._db = db
        self._secrets = secrets
        self._provided = tuple(provided)
        self._urls = urls

    async def now(self, known: Mapping[str, Use]) -> tuple[Use, ...]:
        """What may be called now; those of ``known`` (by id) that did not change as they are.

        Raises:
            DatabaseUnavailable: it cannot be asked.
        """
        async with self._db.reading() as conn:
            rows = await store.every(conn)
            stored = [await self._use(conn, row, known.get(str(row.id))) for row in rows]
            own = [await self._own(conn, row, known) for row in await space_secrets.credentials(conn)]
        taken = {row.name for row in rows}
        return (*stored, *(use for use in self._provided if use.id not in taken), *own)

    async def cooling(self, met: Mapping[str, float]) -> Mapping[str, float]:
        """Tell of upstreams (by name) that have had enough for so many seconds; all that have, and for how long yet.

        Raises:
            DatabaseUnavailable: it cannot be asked, or told.
        """
        if not met:
            async with self._db.reading() as conn:
                return await store.cooling(conn)

        async def work(conn: AsyncConnection) -> Mapping[str, float]:
            await store.cool(conn, met)
            return await store.cooling(conn)

        return await self._db.run(work)

    async def _own(self, conn: AsyncConnection, row: CredentialRow, known: Mapping[str, Use]) -> Use:
        provider = CREDENTIALS[row.sealed.key]
        name = f"{provider}@{row.space}"  # no stored upstream is called so: their names have no '@'
        former = known.get(name)
        if former is not None and former.version == row.version:
            return former
        offer = Offer(name, provider, spaces=frozenset({row.space}), is_own=True)
        use = Use(name, row.version, offer, self._urls[provider])
        try:
            values = await self._secrets.opened(conn, row.space, of_space(row.space), [row.sealed])
        except DatabaseUnavailable:
            raise
        except Unavailable as error:
            _log.warning("upstream_credential_lost", upstream=name, reason=error.message)
            return replace(use, is_lost=True)
        key = values[row.sealed.key].strip()
        return replace(use, credential=ApiKey(key)) if PLAIN.fullmatch(key) else replace(use, is_lost=True)

    async def _use(self, conn: AsyncConnection, row: UpstreamRow, known: Use | None) -> Use:
        spaces = None if row.spaces is None else frozenset(row.spaces)
        if known is not None and known.version == row.version and known.offer.spaces == spaces:
            return known
        offer = Offer(row.name, cast("ProviderName", row.provider), tuple(row.models), spaces, row.is_default)
        use = Use(str(row.id), row.version, offer, row.base_url)
        try:
            return replace(use, credential=await opened(self._secrets, conn, row))
        except DatabaseUnavailable:
            raise
        except Unavailable as error:
            _log.warning("upstream_credential_lost", upstream=row.name, reason=error.message)
            return replace(use, is_lost=True)


async def opened(secrets: Secrets, conn: AsyncConnection, row: UpstreamRow) -> Credential | None:
    """An upstream's credential. Raises Unavailable: the master key is another one."""
    return None if row.sealed is None else unpacked(await secrets.unseal(conn, DEFAULT_SPACE, row.sealed))


async def sealed_columns(
    secrets: Secrets, conn: AsyncConnection, upstream_id: uuid.UUID, credential: Credential | None
) -> dict[str, Any]:
    """A credential as columns of its row. Raises Unavailable: the master key is another one."""
    if credential is None:
        return {"credential_kind": None, "expires_at": None, **store.sealed_columns(None)}
    sealed = await secrets.seal(conn, DEFAULT_SPACE, store.binding(upstream_id), packed(credential))
    expires_at = credential.expires_at if isinstance(credential, OAuth) else None
    return {"credential_kind": KINDS[type(credential)], "expires_at": expires_at, **store.sealed_columns(sealed)}

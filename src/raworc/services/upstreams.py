"""Upstreams: the providers' accounts that model calls go to, as administrators set them up.

They belong to no space: who changes them needs the permission everywhere. A credential is taken and never given.
"""

import re
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from raworc.domain.access import may, spaces_for
from raworc.domain.credentials import Credential
from raworc.domain.upstreams import DEFAULT_URLS, RESERVED, ProviderName
from raworc.errors import BadRequest, Conflict, FieldError, Forbidden, Hidden, NotFound
from raworc.ids import new_id
from raworc.services import audit
from raworc.services.accounts import Caller
from raworc.services.audit import Deed
from raworc.services.renewals import Renewals
from raworc.services.secrets import Secrets
from raworc.services.upstream_uses import KINDS, Use, sealed_columns
from raworc.store import upstreams as store
from raworc.store.database import Database, Duplicate
from raworc.store.upstreams import UpstreamRow
from raworc.wire.client import Target

RESOURCE: Final = "upstreams"
_URL: Final = re.compile(r"https?://[!-~]{1,2000}", re.IGNORECASE)
_PLAIN_COLUMNS: Final = ("name", "provider", "is_default")

Found = UpstreamRow | Use
_Work = Callable[[AsyncConnection], Awaitable[None]]


@dataclass(frozen=True)
class Fields:
    """What is said of an upstream. Of a new one, what is not said is the default; of another, it stays (``given``)."""

    name: str = ""
    provider: ProviderName = "anthropic"
    base_url: str | None = None
    credential: Credential | None = field(default=None, repr=False)
    models: tuple[str, ...] = ()
    spaces: tuple[str, ...] | None = None
    is_default: bool = False
    given: frozenset[str] = frozenset()


class Upstreams:
    """Makes, shows, changes and takes away upstreams. ``provided``: those from this server's environment."""

    def __init__(self, db: Database, secrets: Secrets, renewals: Renewals, provided: Sequence[Use] = ()) -> None:
        self._db = db
        self._secrets = secrets
        self._renewals = renewals
        self._provided = {use.id: use for use in provided}

    async def every(self, caller: Caller) -> list[Found]:
        """Upstreams that serve a space in which the caller may list them, by name."""
        async with self._db.reading() as conn:
            rows = await store.every(conn)
        taken = {row.name for row in rows}
        found: list[Found] = [*rows, *(use for name, use in self._provided.items() if name not in taken)]
        return sorted((item for item in found if _sees(caller, item, "list")), key=name_of)

    async def get(self, caller: Caller, wanted: str) -> Found:
        """One by its id or name.

        Raises:
            NotFound: there is none.
            Hidden: there is one that the caller may not see.
        """
        async with self._db.reading() as conn:
            found = await _find(conn, wanted) or self._provided.get(wanted)
        if found is None:
            raise _not_found(wanted)
        if not _sees(caller, found, "get"):
            raise Hidden(_not_found(wanted).message)
        return found

    async def create(self, caller: Caller, new: Fields) -> UpstreamRow:
        """Add one.

        Raises:
            BadRequest: a field that cannot be so.
            Forbidden: the caller may not, for every space.
            Conflict: the name is taken.
        """
        upstream_id = new_id()
        _check_name(new.name)
        url = new.base_url or DEFAULT_URLS.get(new.provider)
        if url is None:
            raise _refused("base_url", "is needed: a custom provider has no address of its own")
        check_url(url)

        async def work(conn: AsyncConnection) -> None:
            values = {column: getattr(new, column) for column in _PLAIN_COLUMNS}
            values |= {"base_url": url, "models": list(new.models), "every_space": new.spaces is None}
            credential = await sealed_columns(self._secrets, conn, upstream_id, new.credential)
            await store.insert(conn, {"id": upstream_id, **values, **credential})
            await _put_spaces(conn, upstream_id, new.spaces)

        await self._changed(caller, Deed("create", RESOURCE, new.name, details=_told(new)), work)
        return await self._now(upstream_id)

    async def update(self, caller: Caller, wanted: str, change: Fields) -> UpstreamRow:
        """Change what is given. A credential never goes to another host than it was given for.

        Raises:
            BadRequest: a field that cannot be so, or another host and no credential for it.
            Forbidden, Conflict: see :meth:`create`; or it comes from the environment.
            NotFound: there is none that the caller may see.
        """
        row = await self._stored(caller, wanted)
        if "name" in change.given:
            _check_name(change.name)

        async def work(conn: AsyncConnection) -> None:
            await store.lock(conn, row.id)
            values = {column: getattr(change, column) for column in _PLAIN_COLUMNS if column in change.given}
            values |= _address(await _existing(conn, row.id), change)
            if "models" in change.given:
                values["models"] = list(change.models)
            if "spaces" in change.given:
                values["every_space"] = change.spaces is None
                await _put_spaces(conn, row.id, change.spaces)
            if "credential" in change.given:
                values |= await sealed_columns(self._secrets, conn, row.id, change.credential)
            await store.change(conn, row.id, values)

        await self._changed(caller, Deed("update", RESOURCE, row.name, details=_told(change)), work)
        return await self._now(row.id)

    async def delete(self, caller: Caller, wanted: str) -> None:
        """Take one away: calls that run end as they would have, new ones do without it.

        Raises:
            NotFound, Forbidden, Conflict: see :meth:`update`.
        """
        row = await self._stored(caller, wanted)

        async def work(conn: AsyncConnection) -> None:
            await store.lock(conn, row.id)
            if not await store.remove(conn, row.id):
                raise _not_found(wanted)

        await self._changed(caller, Deed("delete", RESOURCE, row.name), work)

    async def refresh(self, caller: Caller, wanted: str) -> UpstreamRow:
        """Renew its OAuth tokens now.

        Raises:
            RenewalFailed: the token endpoint gave none, or there are no OAuth tokens to renew.
            NotFound, Forbidden, Conflict: see :meth:`update`.
        """
        row = await self._stored(caller, wanted)

        async def nothing_else(conn: AsyncConnection) -> None:
            pass

        await self._changed(caller, Deed("update", RESOURCE, row.name, details={"refresh": True}), nothing_else)
        await self._renewals.forced(row.id)
        return await self._now(row.id)

    async def _stored(self, caller: Caller, wanted: str) -> UpstreamRow:
        found = await self.get(caller, wanted)
        if isinstance(found, Use):
            raise Conflict(f"Upstream '{found.id}' comes from the server's environment: change its variables there")
        return found

    async def _changed(self, caller: Caller, deed: Deed, work: _Work) -> None:
        async def allowed(conn: AsyncConnection, by: Caller) -> None:
            if not may(by.grants, deed.verb, RESOURCE, space=None):
                raise Forbidden(f"Account '{by.name}' may not {deed.verb} {RESOURCE}: they belong to administrators")
            await work(conn)

        try:
            await audit.carried_out(self._db, caller, deed, allowed)
        except Duplicate:
            raise Conflict("There is an upstream of this name already: take another, or change that one") from None

    async def _now(self, upstream_id: uuid.UUID) -> UpstreamRow:
        async with self._db.reading() as conn:
            return await _existing(conn, upstream_id)


def name_of(found: Found) -> str:
    """The ``account_id`` of its calls."""
    return found.offer.name if isinstance(found, Use) else found.name


def check_url(url: str) -> None:
    """Nothing, where calls can go there.

    Raises:
        BadRequest: it is no address of a provider; the message says why.
    """
    try:
        if not _URL.fullmatch(url):
            raise ValueError(f"'{url[:80]}' must start with 'http://' or 'https://'")  # noqa: TRY301  one place to say so
        _ = Target.parse(url).authority.encode("idna")
    except ValueError as error:
        raise _refused("base_url", str(error)) from None


def _address(row: UpstreamRow, change: Fields) -> dict[str, str]:
    if "base_url" not in change.given:
        return {}
    provider = change.provider if "provider" in change.given else row.provider
    url = change.base_url or DEFAULT_URLS.get(provider)
    if url is None:
        raise _refused("base_url", "is needed: a custom provider has no address of its own")
    check_url(url)
    if row.credential_kind is not None and "credential" not in change.given and _origin(url) != _origin(row.base_url):
        raise _refused("credential", "must be given again: the stored one is for another host")
    return {"base_url": url}


def _origin(url: str) -> tuple[str, int, bool]:
    target = Target.parse(url)
    return target.host.lower(), target.port, target.tls


async def _put_spaces(conn: AsyncConnection, upstream_id: uuid.UUID, names: Sequence[str] | None) -> None:
    wanted = set(names or ())
    missing = await store.missing_spaces(conn, wanted) if wanted else set[str]()
    if missing:
        raise _refused("spaces", f"names no space: '{min(missing)[:80]}'")
    await store.put_spaces(conn, upstream_id, sorted(wanted))


async def _find(conn: AsyncConnection, wanted: str) -> UpstreamRow | None:
    try:
        upstream_id = uuid.UUID(wanted)
    except ValueError:
        return await store.by_name(conn, wanted)
    return await store.find(conn, upstream_id)


async def _existing(conn: AsyncConnection, upstream_id: uuid.UUID) -> UpstreamRow:
    row = await store.find(conn, upstream_id)
    if row is None:
        raise _not_found(str(upstream_id))
    return row


def _sees(caller: Caller, found: Found, verb: str) -> bool:
    spaces = found.offer.spaces if isinstance(found, Use) else found.spaces
    visible = spaces_for(caller.grants, verb, RESOURCE)
    return visible is None or (bool(visible) if spaces is None else not visible.isdisjoint(spaces))


def _told(said: Fields) -> dict[str, Any]:
    """What the audit keeps: names and choices, and whether there was a credential."""
    told: dict[str, Any] = {name: getattr(said, name) for name in sorted(said.given - {"credential"})}
    if "credential" in said.given:
        told["credential"] = KINDS[type(said.credential)] if said.credential is not None else None
    return told


def _check_name(name: str) -> None:
    if name in RESERVED:
        raise _refused("name", f"must not be '{name}', which is a name of Raworc's own")


def _refused(name: str, reason: str) -> BadRequest:
    return BadRequest(f"'{name}' {reason}", details=(FieldError(name, reason),))


def _not_found(wanted: str) -> NotFound:
    return NotFound(f"Upstream '{wanted[:80]}' not found")

"""Logging in by the word of an identity provider: whose account it is, which roles its groups give, and the audit.

Nothing is written down before the provider's token is proven, and no token of ours is made in a transaction that is
not kept. Names decide nothing about accounts that are there, unless the configuration says so.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from raworc.domain.access import is_admin
from raworc.domain.identities import (
    Granted,
    Identity,
    OAuth2,
    Provider,
    check_required,
    granted,
    mapped_account,
    name_for,
)
from raworc.domain.text import storable_text
from raworc.errors import BadRequest, Conflict, FieldError, Forbidden, Unauthorized, Unavailable
from raworc.ids import new_id
from raworc.services.accounts import Accounts, LoginAnswer, grants_of, ttl_s_of
from raworc.services.operators import check_admin_left
from raworc.services.proofs import check_tries
from raworc.store import accounts as account_rows
from raworc.store import audit, operators
from raworc.store import identities as store
from raworc.store import spaces as space_rows
from raworc.store.accounts import AccountRow
from raworc.store.audit import AuditRow
from raworc.store.database import Database
from raworc.store.identities import GivenRow
from raworc.wire.identities.verifier import ProviderAway, Rejected, Verifier

log = structlog.get_logger()

_NO_PASSWORD: Final = "none"  # noqa: S105  no hash, so no password matches it
_ACCOUNTS: Final = "service-accounts"
_BINDINGS: Final = "role-bindings"


@dataclass(frozen=True)
class Trusted:
    """A provider whose word counts: its configuration, and what proves its tokens."""

    provider: Provider
    verifier: Verifier


@dataclass(frozen=True)
class ExternalProof:
    """What somebody logs in with. ``address``: where he does, where that is known."""

    provider: str
    token: str
    address: str | None


@dataclass(frozen=True)
class _Login:
    """One login that is proven."""

    provider: Provider
    identity: Identity
    name: str
    address: str | None

    @property
    def told(self) -> dict[str, Any]:
        """For the audit: whose word, about whom."""
        return {"provider": self.name, "subject": storable_text(self.identity.subject[:128])}

    def row(self, account: AccountRow, verb: str, resource: str, **details: object) -> AuditRow:
        """Something that the provider's word did to an account."""
        return AuditRow(
            actor_id=account.id,
            actor=account.name,
            verb=verb,
            resource=resource,
            allowed=True,
            name=account.name,
            address=self.address,
            details=self.told | details,
        )


class Identities:
    """Logs people and programs in who prove themselves to one of ``providers``."""

    def __init__(self, db: Database, accounts: Accounts, providers: Mapping[str, Trusted]) -> None:
        self._db = db
        self._accounts = accounts
        self._providers = providers

    async def login(self, proof: ExternalProof, *, contract: str, ttl_hours: float | None = None) -> LoginAnswer:
        """A token for whoever the provider says it is.

        Raises:
            BadRequest: no such provider is configured, or ``ttl_hours`` is outside what it allows.
            Unauthorized: the provider's token proves nothing; the audit says why.
            Forbidden: who it proves has no account here, or may not use it.
            Conflict: the last administrator would lose the role.
            RateLimited: it proves nothing, after ten such failures from this address within five minutes.
            Unavailable: the provider does not answer.
        """
        trusted = self._trusted(proof.provider)
        ttl_s = _ttl_s(trusted.provider, ttl_hours)
        try:
            identity = await self._proven(trusted, proof)
            account = await self._account(_Login(trusted.provider, identity, proof.provider, proof.address))
        except Rejected as error:
            await self._check_tries(proof)
            await self._refused(proof.provider, str(error), proof.address, counted=_subjects(proof))
            message = f"Identity provider '{proof.provider}' does not vouch for this token; get a new one"
            raise Unauthorized(message) from None
        return self._accounts.issue(account, contract, ttl_s)

    async def _account(self, login: _Login) -> AccountRow:
        try:
            return await self._db.run(lambda conn: _logged_in(conn, login))
        except (Forbidden, Conflict) as error:
            await self._refused(login.name, error.message, login.address, subject=login.told["subject"])
            raise

    def _trusted(self, name: str) -> Trusted:
        trusted = self._providers.get(name)
        if trusted is None:
            reason = "names no identity provider of this server: ask an administrator which there are"
            raise BadRequest(f"'provider' {reason}", details=(FieldError("provider", reason),))
        return trusted

    async def _proven(self, trusted: Trusted, proof: ExternalProof) -> Identity:
        if isinstance(trusted.provider, OAuth2):  # whose server is asked about every token, made-up ones too
            await self._check_tries(proof)
        try:
            return await trusted.verifier.verify(proof.token)
        except ProviderAway as error:
            log.warning("identity provider away", provider=proof.provider, reason=str(error))
            message = f"Identity provider '{proof.provider}' cannot be asked now: try again in a few seconds"
            raise Unavailable(message, headers={"Retry-After": "10"}) from None

    async def _check_tries(self, proof: ExternalProof) -> None:
        async with self._db.reading() as conn:
            check_tries(*await account_rows.failures(conn, _subjects(proof)))

    async def _refused(
        self,
        provider: str,
        reason: str,
        address: str | None,
        *,
        subject: str | None = None,
        counted: tuple[str, ...] = (),
    ) -> None:
        """Keep that somebody was not let in. ``counted``: whose failure it is, of those that slow down."""
        log.info("external login refused", provider=provider, reason=reason)
        told = {"provider": provider, "reason": reason} | ({} if subject is None else {"subject": subject})
        async with self._db.transaction() as conn:
            if counted:
                await account_rows.count_failure(conn, counted)
            row = AuditRow(None, None, "login", _ACCOUNTS, allowed=False, address=address, details=told)
            await audit.write(conn, row)


async def _logged_in(conn: AsyncConnection, login: _Login) -> AccountRow:
    """The account, once everything about this login is written.

    What only reads waits for nobody; what changes accounts or bindings is looked at again where nobody else does.
    """
    check_required(login.provider, login.identity)
    one_use = login.identity.one_use
    if one_use is not None and not await store.use_once(conn, one_use.digest, one_use.until):
        raise Rejected("it was used before")
    account = await _linked(conn, login)
    if account is None or await _difference(conn, login, account) != (set(), []):
        await operators.one_at_a_time(conn)
        account = await _linked(conn, login) or await _joined(conn, login)
        await _bring_roles(conn, login, account)
    if not account.is_in_use:
        raise Forbidden(f"Account '{account.name}' is blocked or not active: ask an administrator")
    await account_rows.logged_in(conn, account.id)
    await audit.write(conn, login.row(account, "login", _ACCOUNTS))
    return await account_rows.by_id(conn, account.id) or account


async def _linked(conn: AsyncConnection, login: _Login) -> AccountRow | None:
    """The account that this subject is known to be: by the configuration before all else."""
    mapped = mapped_account(login.provider, login.identity)
    if mapped is not None:
        account = await account_rows.by_name(conn, mapped)
        if account is None:
            raise Forbidden(f"There is no account '{mapped}', which the configuration says this is: create it first")
        return account
    account_id = await store.linked(conn, login.identity.issuer, login.identity.subject)
    return None if account_id is None else await account_rows.by_id(conn, account_id)


async def _joined(conn: AsyncConnection, login: _Login) -> AccountRow:
    """An account for somebody who has none yet, where the provider's rules allow that."""
    name = name_for(login.provider, login.identity)
    account = await account_rows.by_name(conn, name)
    if account is None:
        if not login.provider.create:
            raise Forbidden("You have no account here: ask an administrator for one")
        account = await _created(conn, login, name)
    elif not await _may_link(conn, login, account):
        raise Forbidden(f"Account '{account.name}' is there already and not yours: ask an administrator to map it")
    await store.link(conn, login.identity.issuer, login.identity.subject, account.id)
    return account


async def _may_link(conn: AsyncConnection, login: _Login, account: AccountRow) -> bool:
    """Names are handed on when people leave: an account that is somebody's already is nobody else's."""
    is_mapped = account.name.lower() in map(str.lower, login.provider.accounts.values())
    if not login.provider.link_by_name or is_mapped or is_admin(grants_of(account.grants)):
        return False
    return not await store.is_linked(conn, login.identity.issuer, account.id)


async def _created(conn: AsyncConnection, login: _Login, name: str) -> AccountRow:
    space = login.provider.space
    if not await space_rows.keeps(conn, space):
        raise Conflict(f"Space '{space}', where provider '{login.name}' makes accounts, is not there: create it first")
    values = {"id": new_id(), "name": name, "space": space, "password_hash": _NO_PASSWORD}
    await operators.insert(conn, values)
    account = await account_rows.by_name(conn, name)
    if account is None:
        raise Conflict(f"Account '{name}' is gone again: log in once more")
    await audit.write(conn, replace(login.row(account, "create", _ACCOUNTS), space=space))
    return account


async def _difference(conn: AsyncConnection, login: _Login, account: AccountRow) -> tuple[set[Granted], list[GivenRow]]:
    """The roles that the groups give and that are missing, and those that were given and are not any more."""
    wanted = granted(login.provider, login.identity)
    rows = await store.given(conn, login.identity.issuer, account.id)
    missing = wanted - {Granted(row.role, row.space) for row in rows}
    return set(missing), [row for row in rows if Granted(row.role, row.space) not in wanted]


async def _bring_roles(conn: AsyncConnection, login: _Login, account: AccountRow) -> None:
    missing, gone = await _difference(conn, login, account)
    for row in gone:
        await store.take(conn, account.id, row.binding_id)
        await audit.write(conn, replace(login.row(account, "delete", _BINDINGS, role=row.role), space=row.space))
    if gone:
        await check_admin_left(conn, account.name)
    for item in sorted(missing, key=lambda one: (one.role, one.space or "")):
        if not await store.give(conn, login.identity.issuer, account.id, item.role, item.space):
            log.info("role not given: bound already, or no such role or space", role=item.role, space=item.space)
        else:
            await audit.write(conn, replace(login.row(account, "create", _BINDINGS, role=item.role), space=item.space))


def _subjects(proof: ExternalProof) -> tuple[str, ...]:
    """Apart from those of passwords: who sends a bad token locks nobody out of his own."""
    return (f"external:{proof.address}",) if proof.address else ()


def _ttl_s(provider: Provider, hours: float | None) -> int:
    if hours is None:
        return ttl_s_of(provider.ttl_hours)
    if hours > provider.ttl_hours:
        reason = f"may be at most {provider.ttl_hours:g} for this provider"
        raise BadRequest(f"'ttl_hours' {reason}", details=(FieldError("ttl_hours", reason),))
    return ttl_s_of(hours)

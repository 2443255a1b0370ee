"""Who is asking: logins, and the caller behind a token with all that he is granted."""

import math
import uuid
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property, lru_cache
from typing import Final, Literal

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from raworc.clock import now
from raworc.domain.access import Grant, Scope, is_admin, rule
from raworc.errors import BadRequest, FieldError, Forbidden, Unauthorized
from raworc.services.passwords import Passwords
from raworc.services.proofs import Proofs
from raworc.services.together import Together
from raworc.services.tokens import LoginClaims, Tokens
from raworc.settings import DEFAULT_PASSWORD
from raworc.store import accounts as store
from raworc.store import audit
from raworc.store.accounts import AccountRow
from raworc.store.audit import AuditRow
from raworc.store.database import Database

DEFAULT_TTL_HOURS: Final = 24.0
MAX_TTL_HOURS: Final = 8760.0
_WRONG: Final = "Wrong name or password"
_CHANGE_IT: Final = "This is the documented first password: change it (raworc operators password NAME)"
_INVALID: Final = "Invalid or expired token"
_AGENTS_OWN: Final = "An agent's own token reads that agent, writes to its responses and moves its state: log in"


@dataclass(frozen=True)
class Caller:
    """Who asks, under which contract, with what is granted at this moment; ``address``: where the request is from."""

    account_id: uuid.UUID
    name: str
    grants: tuple[Grant, ...]
    claims: LoginClaims
    address: str | None = None

    @property
    def contract(self) -> str:
        """The contract that the token was issued under."""
        return self.claims.contract

    @property
    def token_id(self) -> str:
        """Names the token."""
        return self.claims.token_id

    @property
    def agent_id(self) -> uuid.UUID | None:
        """The agent whose own token this is: all that its maker may do with that agent, and nothing else."""
        return self.claims.agent_id

    @cached_property
    def is_admin(self) -> bool:
        """Whether everything is granted everywhere."""
        return self.agent_id is None and is_admin(self.grants)


@dataclass(frozen=True)
class LoginAnswer:
    """What a login answers in every contract. ``notice``: what its user should know, besides."""

    token: str
    expires_at: datetime
    user: str
    role: Literal["admin", "user"]
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105  a word of the contract
    notice: str | None = None


class _Rule(msgspec.Struct):
    resources: list[str]
    verbs: list[str]
    scope: Scope = "space"


class _Binding(msgspec.Struct):
    rules: list[_Rule]
    space: str | None = None


class Accounts:
    """Logins and callers."""

    def __init__(self, db: Database, tokens: Tokens, passwords: Passwords | None = None) -> None:
        self._db = db
        self._tokens = tokens
        self._passwords = passwords or Passwords()
        self._proofs = Proofs(db, self._passwords)
        self._standing = Together(self._read)

    async def login(
        self, name: str, password: str, *, contract: str, ttl_hours: float | None = None, address: str | None = None
    ) -> LoginAnswer:
        """A token for whoever knows the password. ``address``: where the login comes from, where it is known.

        Raises:
            BadRequest: ``ttl_hours`` outside its range.
            Unauthorized: no such account, not active, or another password: one text, one duration.
            RateLimited: ten failures of this account or address within five minutes, or too many at once.
        """
        ttl_s = ttl_s_of(ttl_hours)
        proven = await self._proofs.prove(name, password, address=address, wrong=_WRONG)
        account = proven.account
        async with self._db.transaction() as conn:
            await proven.settle(conn)
            await store.logged_in(conn, account.id)
            await audit.write(conn, _login_of(account, address))
        answer = self.issue(account, contract, ttl_s)
        return replace(answer, notice=_CHANGE_IT if password == DEFAULT_PASSWORD else None)

    async def authenticate(self, token: str, address: str | None = None, *, of_agent: bool = False) -> Caller:
        """The caller behind a login token, as the account stands now. ``address``: where the request comes from.

        ``of_agent``: an agent's own token will do, too.

        Raises:
            Unauthorized: not a login token of ours, at its end, or of an account that changed since.
            Forbidden: an agent's own token, where that will not do.
        """
        claims = self._tokens.read(token)
        if not isinstance(claims, LoginClaims):
            raise Unauthorized(_INVALID)
        caller = _standing(await self._standing.get(claims.account_id), claims, address)
        if not of_agent:
            check_person(caller)
        return caller

    def contract_of(self, token: str) -> str | None:
        """The contract that a token of ours was issued under, whether or not its account still counts."""
        claims = self._login_claims(token)
        return None if claims is None else claims.contract

    def holder_of(self, token: str) -> uuid.UUID | None:
        """The account that a token of ours was issued to, whether or not it still counts."""
        claims = self._login_claims(token)
        return None if claims is None else claims.account_id

    def issue(self, account: AccountRow, contract: str, ttl_s: int) -> LoginAnswer:
        """A token for an account, whoever asked for it."""
        token, expires_at = self._tokens.login(account.id, account.version, contract, ttl_s=ttl_s)
        role = "admin" if is_admin(grants_of(account.grants)) else "user"
        return LoginAnswer(token, expires_at, account.name, role)

    def issue_for_agent(self, maker: Caller, agent_id: uuid.UUID, ttl_s: int) -> tuple[str, datetime]:
        """An agent's own token, which ends with those of its maker; and when it ends at the latest."""
        claims = maker.claims
        return self._tokens.login(claims.account_id, claims.version, claims.contract, ttl_s=ttl_s, agent_id=agent_id)

    def close(self) -> None:
        """Let the threads go that check passwords."""
        self._passwords.close()

    def _login_claims(self, token: str) -> LoginClaims | None:
        try:
            claims = self._tokens.read(token)
        except Unauthorized:
            return None
        return claims if isinstance(claims, LoginClaims) else None

    async def _read(self, account_ids: frozenset[uuid.UUID]) -> dict[uuid.UUID, AccountRow]:
        async with self._db.reading() as conn:
            return await store.by_ids(conn, account_ids)


def check_person(caller: Caller) -> None:
    """Nothing, for a login.

    Raises:
        Forbidden: it is an agent's own token.
    """
    if caller.agent_id is not None:
        raise Forbidden(_AGENTS_OWN)


async def renewed(conn: AsyncConnection, caller: Caller) -> Caller:
    """The caller as his account stands now, for what takes longer than a request and for what must be certain.

    Raises:
        Unauthorized: his token does not count any more.
    """
    if caller.claims.expires_at < now():
        raise Unauthorized(_INVALID)
    return _standing(await store.by_id(conn, caller.claims.account_id), caller.claims, caller.address)


def _standing(account: AccountRow | None, claims: LoginClaims, address: str | None) -> Caller:
    if account is None or not account.is_in_use or account.version != claims.version:
        raise Unauthorized(_INVALID)
    return Caller(account.id, account.name, grants_of(account.grants), claims, address)


def _login_of(account: AccountRow, address: str | None) -> AuditRow:
    return AuditRow(
        account.id, account.name, "login", "service-accounts", allowed=True, name=account.name, address=address
    )


def ttl_s_of(ttl_hours: float | None) -> int:
    """How long a token lasts.

    Raises:
        BadRequest: outside its range.
    """
    hours = DEFAULT_TTL_HOURS if ttl_hours is None else ttl_hours
    if not math.isfinite(hours) or not 0 < hours <= MAX_TTL_HOURS:
        reason = f"must be more than 0 and at most {MAX_TTL_HOURS:.0f}"
        raise BadRequest(f"'ttl_hours' {reason}", details=(FieldError("ttl_hours", reason),))
    return max(1, round(hours * 3600))


@lru_cache(maxsize=1024)
def grants_of(stored: str) -> tuple[Grant, ...]:
    """Grants from their stored JSON. Cached by that text itself, so a change is seen at once."""
    bindings = msgspec.json.decode(stored, type=list[_Binding])
    return tuple(
        Grant(tuple(rule(item.resources, item.verbs, item.scope) for item in binding.rules), binding.space)
        for binding in bindings
    )

"""Who is asking: logins, and the caller behind a token with all that he is granted."""

import math
import uuid
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property, lru_cache
from typing import Final, Literal

import msgspec

from raworc.domain.access import Grant, Scope, is_admin, rule
from raworc.domain.text import storable_text
from raworc.errors import BadRequest, FieldError, RateLimited, Unauthorized
from raworc.services.passwords import Passwords
from raworc.services.tokens import LoginClaims, Tokens
from raworc.store import accounts as store
from raworc.store import audit
from raworc.store.accounts import AccountRow
from raworc.store.audit import AuditRow
from raworc.store.database import Database

DEFAULT_TTL_HOURS: Final = 24.0
MAX_TTL_HOURS: Final = 8760.0
_MAX_FAILURES: Final = 10
_MAX_NAME_CHARACTERS: Final = 200
_WRONG: Final = "Wrong name or password"
_INVALID: Final = "Invalid or expired token"


@dataclass(frozen=True)
class Caller:
    """Who asks, under which contract, with what is granted at this moment; ``address``: where the request is from."""

    account_id: uuid.UUID
    name: str
    grants: tuple[Grant, ...]
    contract: str
    token_id: str
    address: str | None = None

    @cached_property
    def is_admin(self) -> bool:
        """Whether everything is granted everywhere."""
        return is_admin(self.grants)


@dataclass(frozen=True)
class LoginAnswer:
    """What a login answers in every contract."""

    token: str
    expires_at: datetime
    user: str
    role: Literal["admin", "user"]
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105  a word of the contract


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

    async def login(
        self, name: str, password: str, *, contract: str, ttl_hours: float | None = None, address: str | None = None
    ) -> LoginAnswer:
        """A token for whoever knows the password. ``address``: where the login comes from, where it is known.

        Raises:
            BadRequest: ``ttl_hours`` outside its range.
            Unauthorized: no such account, not active, or another password: one text, one duration.
            RateLimited: ten failures of this account or address within five minutes, or too many at once.
        """
        ttl_s = _ttl_s(ttl_hours)
        known = storable_text(name)[:_MAX_NAME_CHARACTERS]
        subjects = [f"account:{known.lower()}", *([f"address:{address}"] if address else [])]
        async with self._db.reading() as conn:
            _check_failures(*await store.failures(conn, subjects))
            account = await store.by_name(conn, known)
        right = await self._passwords.verify(account.password_hash if account else None, password)
        if not right or account is None or not account.active:
            async with self._db.transaction() as conn:
                await store.count_failure(conn, subjects)
                await audit.write(conn, _login_of(account, address, allowed=False))
                failures, seconds = await store.failures(conn, subjects)
            _check_failures(failures - 1, seconds)
            raise Unauthorized(_WRONG)
        async with self._db.transaction() as conn:
            _check_failures(*await store.failures(conn, subjects))  # of guesses that were made at the same time
            await store.forget_failures(conn, subjects)
            await store.logged_in(conn, account.id)
            await audit.write(conn, _login_of(account, address, allowed=True))
        return self._answer(account, contract, ttl_s)

    async def authenticate(self, token: str, address: str | None = None) -> Caller:
        """The caller behind a login token, as the account stands now. ``address``: where the request comes from.

        Raises:
            Unauthorized: not a login token of ours, at its end, or of an account that changed since.
        """
        claims = self._tokens.read(token)
        if not isinstance(claims, LoginClaims):
            raise Unauthorized(_INVALID)
        async with self._db.reading() as conn:
            account = await store.by_id(conn, claims.account_id)
        if account is None or not account.active or account.version != claims.version:
            raise Unauthorized(_INVALID)
        return Caller(account.id, account.name, _grants(account.grants), claims.contract, claims.token_id, address)

    def close(self) -> None:
        """Let the threads go that check passwords."""
        self._passwords.close()

    def _answer(self, account: AccountRow, contract: str, ttl_s: int) -> LoginAnswer:
        token, expires_at = self._tokens.login(account.id, account.version, contract, ttl_s=ttl_s)
        role = "admin" if is_admin(_grants(account.grants)) else "user"
        return LoginAnswer(token, expires_at, account.name, role)


def _login_of(account: AccountRow | None, address: str | None, *, allowed: bool) -> AuditRow:
    """A login for the audit. A name that no account has is not kept: people type passwords there."""
    name = account.name if account else None
    who = (account.id, name) if account and allowed else (None, None)
    return AuditRow(*who, verb="login", resource="service-accounts", name=name, address=address, allowed=allowed)


def _ttl_s(ttl_hours: float | None) -> int:
    hours = DEFAULT_TTL_HOURS if ttl_hours is None else ttl_hours
    if not math.isfinite(hours) or not 0 < hours <= MAX_TTL_HOURS:
        reason = f"must be more than 0 and at most {MAX_TTL_HOURS:.0f}"
        raise BadRequest(f"'ttl_hours' {reason}", details=(FieldError("ttl_hours", reason),))
    return max(1, round(hours * 3600))


def _check_failures(failures: int, seconds: int) -> None:
    if failures >= _MAX_FAILURES:
        wait_s = max(1, seconds)
        raise RateLimited(
            f"Too many failed logins: try again in {wait_s} seconds", headers={"Retry-After": str(wait_s)}
        )


@lru_cache(maxsize=1024)
def _grants(stored: str) -> tuple[Grant, ...]:
    """Grants from their stored JSON. Cached by that text itself, so a change is seen at once."""
    bindings = msgspec.json.decode(stored, type=list[_Binding])
    return tuple(
        Grant(tuple(rule(item.resources, item.verbs, item.scope) for item in binding.rules), binding.space)
        for binding in bindings
    )

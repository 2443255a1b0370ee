"""Proving to be somebody by a password, and what slows down whoever guesses.

Ten failures within five minutes of an account, or from an address, close it to further tries until those five
minutes are over. Tries that are refused for that are not counted, so nobody is shut out for longer. An address from
which the account logged in within the last 30 days has a count of its own for that account: whoever guesses from
elsewhere cannot shut its user out there.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from raworc.domain.text import storable_text
from raworc.errors import RateLimited, Unauthorized
from raworc.services.passwords import Passwords
from raworc.store import accounts as store
from raworc.store import audit
from raworc.store.accounts import AccountRow
from raworc.store.audit import AuditRow
from raworc.store.database import Database

MAX_FAILURES: Final = 10
_MAX_NAME_CHARACTERS: Final = 200


@dataclass(frozen=True)
class Proven:
    """An account whose password was given."""

    account: AccountRow
    subjects: Sequence[str]
    place: str | None

    async def settle(self, conn: AsyncConnection) -> None:
        """Forget earlier failures. Call it in the transaction that makes use of the proof.

        Raises:
            RateLimited: guesses that were made at the same time used up the tries.
        """
        check_tries(*await store.failures(conn, self.subjects))
        await store.forget_failures(conn, self.subjects)
        if self.place is not None:
            await store.logged_in_from(conn, self.place)


class Proofs:
    """Checks passwords of accounts."""

    def __init__(self, db: Database, passwords: Passwords) -> None:
        self._db = db
        self._passwords = passwords

    async def prove(self, name: str, password: str, *, address: str | None, wrong: str) -> Proven:
        """The account, in use and with this password; nobody's name takes as long as somebody's.

        Raises:
            Unauthorized: no such account, not in use, or another password; ``wrong`` is the text for each.
            RateLimited: too many failures of this account or ``address``, or too many tries at once.
        """
        known = storable_text(name)[:_MAX_NAME_CHARACTERS]
        owner = _subject_of(known)
        place = f"{owner} from {address}" if address else None
        async with self._db.reading() as conn:
            is_usual = place is not None and await store.is_usual(conn, place)
            subjects = (place if place and is_usual else owner, *((f"address:{address}",) if address else ()))
            check_tries(*await store.failures(conn, subjects))
            account = await store.by_name(conn, known)
        right = await self._passwords.verify(account.password_hash if account else None, password)
        if right and account is not None and account.is_in_use:
            return Proven(account, subjects, place)
        async with self._db.transaction() as conn:
            await store.count_failure(conn, subjects)
            await audit.write(conn, _failure(account, address))
            failures, seconds = await store.failures(conn, subjects)
        check_tries(failures - 1, seconds)
        raise Unauthorized(wrong)


def _subject_of(name: str) -> str:
    """Digested, because people type passwords where names belong."""
    return "account:" + hashlib.sha256(name.lower().encode()).hexdigest()


def check_tries(failures: int, seconds: int) -> None:
    """Nothing, while fewer than ten failures count.

    Raises:
        RateLimited: for the ``seconds`` until they are forgotten.
    """
    if failures >= MAX_FAILURES:
        wait_s = max(1, seconds)
        raise RateLimited(
            f"Too many failed logins: try again in {wait_s} seconds", headers={"Retry-After": str(wait_s)}
        )


def _failure(account: AccountRow | None, address: str | None) -> AuditRow:
    """A name that no account has is not kept: people type passwords there."""
    name = account.name if account else None
    return AuditRow(None, None, "login", "service-accounts", allowed=False, name=name, address=address)

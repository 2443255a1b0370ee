"""Password hashes: argon2id, two at a time in threads of their own, so that logins cannot take the processor."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from raworc.domain.text import storable_text
from raworc.errors import BadRequest, FieldError, RateLimited

T = TypeVar("T")

MIN_CHARACTERS: Final = 8
"""The shortest password that an account may get."""
MAX_CHARACTERS: Final = 1024
"""The longest one."""

_SLOTS: Final = 2
_MAX_WAITING: Final = 64
_NOBODY: Final = "$argon2id$v=19$m=19456,t=2,p=1$Ra6qUFq2JPxm2J8NpuCVwQ$5UGmJpxYuAc5L8SXHn37F2F21DC8Rh1CItjXD/H8vYw"


class Passwords:
    """Hashes and checks passwords. About 25 ms and 19 MiB each (OWASP's least for argon2id)."""

    def __init__(self) -> None:
        self._hasher = PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1)
        self._threads = ThreadPoolExecutor(_SLOTS, thread_name_prefix="password")
        self._waiting = 0

    async def hash(self, password: str) -> str:
        """A hash to be stored. Raises as :meth:`verify`."""
        return await self._run(lambda: self._hasher.hash(storable_text(password)))

    async def verify(self, stored: str | None, password: str) -> bool:
        """Whether ``password`` is the stored one; takes as long for nobody's (None) as for somebody's.

        Raises:
            RateLimited: too many are waiting.
        """
        matches = await self._run(lambda: self._matches(stored or _NOBODY, storable_text(password)))
        return matches and stored is not None

    def close(self) -> None:
        """Let the threads go."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _matches(self, stored: str, password: str) -> bool:
        try:
            return self._hasher.verify(stored, password)
        except (VerificationError, InvalidHashError):
            return False

    async def _run(self, work: Callable[[], T]) -> T:
        if self._waiting >= _MAX_WAITING:
            raise RateLimited("Too many logins at once: try again in a second", headers={"Retry-After": "1"})
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            self._waiting -= 1


def check_password(password: str, field: str) -> None:
    """Nothing, when an account may get it.

    Raises:
        BadRequest: too short or too long; ``field`` says where it was given.
    """
    if not MIN_CHARACTERS <= len(password) <= MAX_CHARACTERS:
        reason = f"must have {MIN_CHARACTERS} to {MAX_CHARACTERS} characters"
        raise BadRequest(f"'{field}' {reason}", details=(FieldError(field, reason),))

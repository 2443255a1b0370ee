"""Doing once what is asked twice: the answer is kept in the very transaction that does the work.

So there is nothing to repair when a process dies: work and answer are both there, or neither is, and asking again
under the same key is right in both cases. Two at once meet at the key's unique row: the later one's work is undone
and it gets the answer of the earlier one.
"""

import hashlib
import hmac
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from raworc.errors import Conflict, RaworcError
from raworc.store import answers as store
from raworc.store.answers import KeptAnswer
from raworc.store.database import Database

T = TypeVar("T")
Keep = Callable[[AsyncConnection, T], Awaitable[None]]
"""What a service calls at the end of its transaction, with what it is going to answer."""


async def unkept(_conn: AsyncConnection, _result: object) -> None:
    """Keeps nothing: the caller gave no key."""


class _Taken(Exception):
    """Another request with this key was faster: this one's work must be undone."""


class _Identified(msgspec.Struct):
    id: str


@dataclass(frozen=True)
class Asked:
    """One request: whose, under which key, and what it is (method, path and body in one)."""

    account_id: uuid.UUID
    key: str
    request: bytes


@dataclass(frozen=True)
class Answered:
    """The body of an answer. ``is_replay``: it was kept by an earlier request."""

    body: bytes
    is_replay: bool

    @property
    def id(self) -> str:
        """The field ``id`` of an answer that has one."""
        return msgspec.json.decode(self.body, type=_Identified).id


class Answers:
    """Kept answers. Only what was done is kept: a refused request did nothing, so its key may be used again."""

    def __init__(self, db: Database, key: bytes) -> None:
        """``key`` makes fingerprints worthless to whoever reads the database: bodies may hold secrets."""
        self._db = db
        self._key = hmac.digest(key, b"raworc kept answers", hashlib.sha256)

    async def once(
        self, asked: Asked, work: Callable[[Keep[T]], Awaitable[T]], shown: Callable[[T], bytes]
    ) -> Answered:
        """The kept answer, else that of ``work``, which gets what keeps it. Raises as ``work``.

        Raises:
            Conflict: the key was used for another request.
        """
        fingerprint = hmac.digest(self._key, asked.request, hashlib.sha256)
        made = b""

        async def keep(conn: AsyncConnection, result: T) -> None:
            nonlocal made
            made = shown(result)
            if not await store.keep(conn, asked.account_id, asked.key, KeptAnswer(fingerprint, made)):
                raise _Taken
            await store.forget_old(conn)

        kept = await self._kept(asked, fingerprint)
        if kept is None:
            try:
                await work(keep)
            except (_Taken, RaworcError):  # perhaps because a twin did the work meanwhile: the name is taken, ...
                kept = await self._kept(asked, fingerprint)
                if kept is None:
                    raise
        return Answered(made, is_replay=False) if kept is None else Answered(kept, is_replay=True)

    async def _kept(self, asked: Asked, fingerprint: bytes) -> bytes | None:
        async with self._db.reading() as conn:
            found = await store.find(conn, asked.account_id, asked.key)
        if found is None:
            return None
        if found.fingerprint != fingerprint:
            raise Conflict("This 'Idempotency-Key' was used for another request: take a new one for each request")
        return found.body

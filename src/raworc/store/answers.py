"""Answers kept for those who ask twice, by account and ``Idempotency-Key``. They count for 24 hours."""

import uuid
from dataclasses import dataclass
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from raworc.store.statement import Statement

_REMOVED_AT_ONCE: Final = 20


@dataclass(frozen=True)
class KeptAnswer:
    """What was asked (its fingerprint) and what was answered."""

    fingerprint: bytes
    body: bytes


_FIND: Final = Statement(
    text("""
    SELECT fingerprint, body FROM kept_answers
    WHERE account_id = :account_id AND key = :key AND created_at > now() - interval '24 hours'
    """)
)
_KEEP: Final = Statement(
    text("""
    INSERT INTO kept_answers AS kept (account_id, key, fingerprint, body)
    VALUES (:account_id, :key, :fingerprint, :body)
    ON CONFLICT (account_id, key) DO UPDATE
    SET fingerprint = excluded.fingerprint, body = excluded.body, created_at = excluded.created_at
    WHERE kept.created_at <= now() - interval '24 hours'
    RETURNING true
    """)
)
_FORGET: Final = Statement(
    text("""
    DELETE FROM kept_answers WHERE (account_id, key) IN (
        SELECT account_id, key FROM kept_answers
        WHERE created_at <= now() - interval '24 hours' ORDER BY created_at LIMIT :count FOR UPDATE SKIP LOCKED
    ) RETURNING true
    """)
)


async def find(conn: AsyncConnection, account_id: uuid.UUID, key: str) -> KeptAnswer | None:
    """The answer that is kept under a key."""
    row = await _FIND.first(conn, {"account_id": account_id, "key": key})
    return None if row is None else KeptAnswer(*row)


async def keep(conn: AsyncConnection, account_id: uuid.UUID, key: str, answer: KeptAnswer) -> bool:
    """Keep an answer; False when one is kept already. Waits for a transaction that is keeping one."""
    values = {"account_id": account_id, "key": key, "fingerprint": answer.fingerprint, "body": answer.body}
    return bool(await _KEEP.scalar(conn, values))


async def forget_old(conn: AsyncConnection) -> None:
    """Remove some that count no more: each one that is kept pays for more than itself."""
    await _FORGET.all(conn, {"count": _REMOVED_AT_ONCE})

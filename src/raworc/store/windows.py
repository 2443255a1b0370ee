"""Rows of ``usage_windows``: kept by whoever stores calls, while no one else does (see ``recordings.insert``)."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import psycopg
from sqlalchemy.ext.asyncio import AsyncConnection

from raworc.domain.windows import LENGTH, holding
from raworc.store.statement import composed

Used = tuple[str, datetime, int]
"""A call: its account, its start, its tokens."""


async def add(cursor: psycopg.AsyncCursor[Any], calls: Sequence[Used]) -> None:
    """Count calls that were just stored into the windows of their accounts, and open those that they begin.

    A call that is stored late may lie before all windows, or between two: the ones after it are found again.
    """
    by_account: dict[str, list[Used]] = defaultdict(list)
    for call in calls:
        by_account[call[0]].append(call)
    for account_id, used in sorted(by_account.items()):
        await _add(cursor, account_id, sorted(used))


async def _add(cursor: psycopg.AsyncCursor[Any], account_id: str, calls: Sequence[Used]) -> None:
    await cursor.execute(_STARTS, [account_id, calls[0][1] - LENGTH, calls[-1][1]])
    starts = [start for (start,) in await cursor.fetchall()]
    counted = calls[0][1]
    tokens: dict[datetime, int] = defaultdict(int)
    for _, at, count in calls:
        if at < counted:  # within windows that were just found again, with all their calls
            continue
        start = holding(starts, at)
        if start is not None:
            tokens[start] += count
            continue
        known = await _remake(cursor, account_id, at)
        if known is None:
            break
        counted, starts = known, [start for start in starts if start >= known]
    await cursor.executemany(_COUNT, [(count, account_id, start) for start, count in sorted(tokens.items())])


async def last(conn: AsyncConnection, account_id: str) -> datetime | None:
    """When an account's newest window began."""
    rows = await composed(conn, _LAST, {"account_id": account_id})
    return rows[0]["starts_at"] if rows else None


async def largest(conn: AsyncConnection, account_id: str, since: datetime) -> int:
    """The most tokens of a window of an account that began after ``since``; 0 without one."""
    rows = await composed(conn, _LARGEST, {"account_id": account_id, "since": since})
    return int(rows[0]["tokens"])


async def answers(conn: AsyncConnection, account_id: str, since: datetime) -> list[dict[str, str]]:
    """The headers of the account's last answers since then, the newest first."""
    rows = await composed(conn, _ANSWERS, {"account_id": account_id, "since": since})
    return [row["response_headers"] for row in rows]


async def _remake(cursor: psycopg.AsyncCursor[Any], account_id: str, at: datetime) -> datetime | None:
    """Find the windows from the one that begins ``at`` on, until one is there already: that one; None at the end."""
    start = at
    while True:
        window = {"account_id": account_id, "start": start, "end": start + LENGTH}
        await cursor.execute(_REPLACED, window)
        await cursor.execute(_OPEN, window)
        await cursor.execute(_NEXT, window)
        row = await cursor.fetchone()
        if row is None or row[1]:
            return row[0] if row else None
        start = row[0]


_COUNT: Final = "UPDATE usage_windows SET tokens = tokens + %s WHERE account_id = %s AND starts_at = %s"
_STARTS: Final = """
SELECT starts_at FROM usage_windows WHERE account_id = %s AND starts_at > %s AND starts_at <= %s ORDER BY starts_at
"""
_REPLACED: Final = """
DELETE FROM usage_windows WHERE account_id = %(account_id)s AND starts_at >= %(start)s AND starts_at < %(end)s
"""
_OPEN: Final = """
INSERT INTO usage_windows (account_id, starts_at, tokens)
SELECT %(account_id)s, %(start)s, coalesce(sum(input_tokens + output_tokens), 0) FROM requests
WHERE account_id = %(account_id)s AND created_at >= %(start)s AND created_at < %(end)s
"""
_NEXT: Final = """
SELECT r.created_at, EXISTS (SELECT FROM usage_windows w
    WHERE w.account_id = %(account_id)s AND w.starts_at = r.created_at)
FROM requests r WHERE r.account_id = %(account_id)s AND r.created_at >= %(end)s ORDER BY r.created_at LIMIT 1
"""
_LAST: Final = """
SELECT starts_at FROM usage_windows WHERE account_id = %(account_id)s ORDER BY starts_at DESC LIMIT 1
"""
_LARGEST: Final = """
SELECT coalesce(max(tokens), 0) AS tokens FROM usage_windows WHERE account_id = %(account_id)s AND starts_at > %(since)s
"""
_ANSWERS: Final = """
SELECT b.response_headers FROM
    (SELECT id, created_at FROM requests WHERE account_id = %(account_id)s AND created_at >= %(since)s
    ORDER BY created_at DESC LIMIT 20) r
CROSS JOIN LATERAL (SELECT response_headers FROM request_bodies WHERE id = r.id AND created_at = r.created_at
    AND response_headers IS NOT NULL LIMIT 1) b
ORDER BY r.created_at DESC
"""

"""Days of recorded calls that go: what they leave in other tables goes first, their partitions at last, whole."""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Final

from psycopg.errors import DeadlockDetected, LockNotAvailable
from sqlalchemy.ext.asyncio import AsyncConnection

from raworc.store.recordings import DAY_LOCK
from raworc.store.records import DAYS
from raworc.store.statement import composed

_LOCK_WAIT: Final = "2s"


@dataclass(frozen=True)
class OldDay:
    """A day that would go, with the number of calls that its sums tell of."""

    day: date
    calls: int


async def bound(conn: AsyncConnection, days: int) -> datetime:
    """The beginning of the oldest day that is kept, when ``days`` days before today are."""
    return (await composed(conn, _BOUND, {"days": days}))[0]["at"]


async def old_days(conn: AsyncConnection, before: datetime) -> list[OldDay]:
    """Days that have partitions and lie before, the oldest first."""
    return [OldDay(**row) for row in await composed(conn, _OLD_DAYS, {"before": f"{before:%Y%m%d}"})]


async def keep_since(conn: AsyncConnection, before: datetime) -> None:
    """From when this is committed on, no earlier day is made or shown."""
    await composed(conn, "SELECT pg_advisory_xact_lock(%(key)s)", {"key": DAY_LOCK})
    await composed(conn, _KEEP_SINCE, {"before": before})


async def clean(conn: AsyncConnection, before: datetime, limit: int) -> int:
    """Remove the places of up to ``limit`` calls that began before, the oldest first; how many were.

    Their conversations count what is left of them, and go with their last call. Needs the lock of ``links.lock``.
    """
    gone = await composed(conn, _REMOVE_LINKS, {"before": before, "limit": limit})
    ids = sorted({row["conversation_id"] for row in gone if row["conversation_id"] is not None})
    if ids:
        for statement in _SETTLE:
            await composed(conn, statement, {"ids": ids, "before": before})
    return len(gone)


async def drop(conn: AsyncConnection, day: date) -> bool:
    """Drop a day's partitions; False when readers were in the way for too long: nothing is decided, try again.

    A transaction of its own: behind us, everybody who wants to read or to store calls waits.
    """
    try:
        await composed(conn, f"SET LOCAL lock_timeout = '{_LOCK_WAIT}'", {})
        for table in ("requests", "request_bodies"):
            await composed(conn, f"DROP TABLE IF EXISTS {DAYS}.{table}_{day:%Y%m%d}", {})
    except (LockNotAvailable, DeadlockDetected):
        return False
    return True


_BOUND: Final = "SELECT date_trunc('day', now() - %(days)s * interval '1 day', 'UTC') AS at"
_OLD_DAYS: Final = f"""
SELECT d.day, coalesce((SELECT sum(requests) FROM request_dates s
    WHERE s.day = (d.day::timestamp AT TIME ZONE 'UTC')), 0)::bigint AS calls
FROM (SELECT DISTINCT to_date(right(c.relname, 8), 'YYYYMMDD') AS day FROM pg_class c
    WHERE c.relnamespace = '{DAYS}'::regnamespace AND c.relkind = 'r' AND right(c.relname, 8) < %(before)s) d
ORDER BY d.day
"""  # noqa: S608  our own names
_KEEP_SINCE: Final = """
INSERT INTO ledger (id, last_number, kept_since) VALUES (1, 0, %(before)s)
ON CONFLICT (id) DO UPDATE SET kept_since = greatest(ledger.kept_since, excluded.kept_since)
"""
_REMOVE_LINKS: Final = """
WITH oldest AS (
    SELECT id, created_at FROM links WHERE created_at < %(before)s ORDER BY created_at, id LIMIT %(limit)s
)
DELETE FROM links l USING oldest o WHERE l.id = o.id AND l.created_at = o.created_at RETURNING l.conversation_id
"""
_SETTLE: Final = (
    """
    UPDATE conversations c SET requests = s.requests, failed = s.failed, tokens = s.tokens, cost_usd = s.cost_usd,
        unpriced = s.unpriced, first_at = s.first_at, models = s.models[:100], request_types = s.request_types,
        status_codes = s.status_codes[:100]
    FROM (SELECT l.conversation_id, count(*) AS requests, count(r.error_type) AS failed, min(l.created_at) AS first_at,
            array_agg(DISTINCT coalesce(r.model, '')) AS models,
            array_agg(DISTINCT coalesce(r.request_type, '')) AS request_types,
            array_agg(DISTINCT coalesce(r.status_code, 0)) AS status_codes,
            coalesce(sum(r.input_tokens + r.output_tokens), 0) AS tokens, coalesce(sum(r.cost_usd), 0) AS cost_usd,
            count(*) FILTER (WHERE r.cost_usd IS NULL AND r.input_tokens + r.output_tokens
                + r.cache_creation_input_tokens + r.cache_read_input_tokens > 0) AS unpriced
        FROM links l LEFT JOIN requests r ON r.id = l.id AND r.created_at = l.created_at
        WHERE l.conversation_id = ANY(%(ids)s) GROUP BY 1) s
    WHERE c.id = s.conversation_id
    """,
    """
    DELETE FROM conversations c
    WHERE c.id = ANY(%(ids)s) AND NOT EXISTS (SELECT FROM links l WHERE l.conversation_id = c.id)
    """,
    """
    DELETE FROM conversation_branches b WHERE b.conversation_id = ANY(%(ids)s)
        AND NOT EXISTS (SELECT FROM conversations c WHERE c.id = b.conversation_id)
    """,
    """
    DELETE FROM link_tasks t WHERE t.conversation_id = ANY(%(ids)s)
        AND NOT EXISTS (SELECT FROM links l WHERE l.id = t.request_id AND l.created_at = t.created_at)
    """,
)

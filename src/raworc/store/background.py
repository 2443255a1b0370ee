"""Responses that work in the background: how they ended goes to the calls that made them, once, and into all sums."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from raworc.domain.usage import Usage
from raworc.store.recordings import KEYS
from raworc.store.statement import composed


@dataclass(frozen=True, kw_only=True)
class EndedRow:
    """A response that has ended, and the call that made it; ``account_id`` and ``model`` are that call's."""

    space: str
    response_id: str
    id: uuid.UUID
    created_at: datetime
    account_id: str | None
    model: str | None
    usage: dict[str, Any] | None
    stop_reason: str | None
    error_type: str | None
    error_message: str | None


@dataclass(frozen=True)
class Settled:
    """An ended response with what it used and what that costs. ``usage`` None: nobody said."""

    row: EndedRow
    usage: Usage | None
    cost_usd: Decimal | None
    price_version: str | None


async def any_ended(conn: AsyncConnection) -> bool:
    """Whether some have ended, or are too old to be heard of again."""
    rows = await composed(conn, _ANY, {})
    return bool(rows[0]["found"])


async def ended(conn: AsyncConnection, limit: int) -> list[EndedRow]:
    """Those that have ended and whose calls are stored, the oldest first."""
    return [EndedRow(**row) for row in await composed(conn, _ENDED, {"limit": limit})]


async def settle(conn: AsyncConnection, settled: Sequence[Settled]) -> set[uuid.UUID]:
    """Give the calls how their responses ended and what they used, and forget these.

    Whoever does holds the locks of all sums. The conversations with calls of which it is known only now that they
    failed: these stand elsewhere, perhaps.
    """
    usages = [one.usage or Usage() for one in settled]
    parameters = {
        "ids": [one.row.id for one in settled],
        "ats": [one.row.created_at for one in settled],
        "told": [None if one.usage is None else msgspec.json.encode(one.row.usage).decode() for one in settled],
        "stops": [one.row.stop_reason for one in settled],
        "failures": [one.row.error_type for one in settled],
        "messages": [one.row.error_message for one in settled],
        "costs": [one.cost_usd for one in settled],
        "versions": [one.price_version for one in settled],
        **{name: [getattr(usage, name) for usage in usages] for name in _TOKENS},
    }
    await composed(conn, _SETTLE, parameters)
    spaces, ids = [one.row.space for one in settled], [one.row.response_id for one in settled]
    await composed(conn, _FORGET, {"spaces": spaces, "ids": ids})
    failed = [one.row for one in settled if one.row.error_type is not None]
    calls = {"ids": [row.id for row in failed], "ats": [row.created_at for row in failed]}
    found = await composed(conn, _NOT_OK, calls) if failed else []
    return {row["conversation_id"] for row in found if row["conversation_id"] is not None}


async def forget_old(conn: AsyncConnection) -> None:
    """Leave those alone of which nothing more is to be expected."""
    await composed(conn, f"DELETE FROM background_responses WHERE {_OLD}", {})  # noqa: S608  our own words


_TOKENS: Final = tuple(Usage.__dataclass_fields__)
_OLD: Final = (  # an answer that came before its call waits for that one; a call for somebody who asks for its answer
    "(ended AND noted_at < now() - interval '1 hour') OR noted_at < now() - interval '31 days'"
)
_ANY: Final = f"SELECT EXISTS (SELECT FROM background_responses WHERE ended OR {_OLD}) AS found"  # noqa: S608  ours
_ENDED: Final = """
SELECT b.space, b.response_id, r.id, r.created_at, r.account_id, r.model, b.usage, b.stop_reason,
    b.error_type, b.error_message
FROM background_responses b JOIN requests r ON r.id = b.request_id AND r.created_at = b.request_at
WHERE b.ended ORDER BY b.noted_at, b.response_id LIMIT %(limit)s
"""
_FORGET: Final = """
DELETE FROM background_responses b USING unnest(%(spaces)s::text[], %(ids)s::text[]) AS v (space, response_id)
WHERE b.space = v.space AND b.response_id = v.response_id
"""
_NOT_OK: Final = """
UPDATE links l SET ok = false FROM unnest(%(ids)s::uuid[], %(ats)s::timestamptz[]) AS v (id, at)
WHERE l.id = v.id AND l.created_at = v.at AND l.ok RETURNING l.conversation_id
"""
_ADDED: Final = {
    **{
        name: f"sum(c.new_{name})"
        for name in ("input_tokens", "output_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
    },
    "cost_usd": "sum(coalesce(c.new_cost, 0))",
    "unpriced": "sum(c.unpriced)",
    "failed": "sum(c.has_failed)",
}


def _summed(table: str, unit: str) -> str:
    keys = ", ".join([f"date_trunc('{unit}', created_at, 'UTC') AS {unit}", *(f"{KEYS[key]} AS {key}" for key in KEYS)])
    added = ", ".join(f"{expression} AS {name}" for name, expression in _ADDED.items())
    return f"""
    UPDATE {table} s SET {", ".join(f"{name} = s.{name} + c.{name}" for name in _ADDED)}
    FROM (SELECT {keys}, {added} FROM changed c GROUP BY 1, 2, 3, 4, 5, 6, 7) c
    WHERE {" AND ".join(f"s.{name} = c.{name}" for name in (unit, *KEYS))}
"""  # noqa: S608  our own names


_SETTLE: Final = f"""
WITH given AS (
    SELECT * FROM unnest(%(ids)s::uuid[], %(ats)s::timestamptz[], %(told)s::text[], %(stops)s::text[],
        %(failures)s::text[], %(messages)s::text[], %(costs)s::numeric[], %(versions)s::text[],
        {", ".join(f"%({name})s::integer[]" for name in _TOKENS)})
        AS v (call_id, at, told, stop, failure, message, new_cost, version,
            {", ".join(f"new_{name}" for name in _TOKENS)})
), changed AS (
    SELECT r.*, v.*, (v.new_cost IS NULL AND v.new_input_tokens + v.new_output_tokens
        + v.new_cache_creation_input_tokens + v.new_cache_read_input_tokens > 0)::int AS unpriced,
        (r.error_type IS NULL AND v.failure IS NOT NULL)::int AS has_failed
    FROM given v JOIN requests r ON r.id = v.call_id AND r.created_at = v.at WHERE r.usage IS NULL
), calls AS (
    UPDATE requests r SET {", ".join(f"{name} = c.new_{name}" for name in _TOKENS)}, usage = c.told::jsonb,
        cost_usd = c.new_cost, price_version = c.version, stop_reason = coalesce(c.stop, r.stop_reason),
        error_type = coalesce(r.error_type, c.failure), error_message = coalesce(r.error_message, c.message),
        note = CASE WHEN c.told IS NULL AND c.failure IS NULL THEN r.note END, updated_at = now()
    FROM changed c WHERE r.id = c.call_id AND r.created_at = c.at
), hours AS ({_summed("request_hours", "hour")}), days AS ({_summed("request_dates", "day")}), windows AS (
    UPDATE usage_windows w SET tokens = w.tokens + c.tokens
    FROM (SELECT c.account_id, held.starts_at, sum(c.new_input_tokens + c.new_output_tokens) AS tokens
        FROM changed c CROSS JOIN LATERAL (SELECT starts_at FROM usage_windows o WHERE o.account_id = c.account_id
            AND o.starts_at <= c.created_at ORDER BY o.starts_at DESC LIMIT 1) held
        GROUP BY 1, 2) c
    WHERE w.account_id = c.account_id AND w.starts_at = c.starts_at
)
UPDATE conversations s SET tokens = s.tokens + c.tokens, cost_usd = s.cost_usd + c.cost,
    unpriced = s.unpriced + c.unpriced
FROM (SELECT l.conversation_id, sum(c.new_input_tokens + c.new_output_tokens) AS tokens,
        sum(coalesce(c.new_cost, 0)) AS cost, sum(c.unpriced) AS unpriced
    FROM changed c JOIN links l ON l.id = c.call_id AND l.created_at = c.at GROUP BY 1) c
WHERE s.id = c.conversation_id
"""  # noqa: S608  our own names

"""What recorded calls cost, found anew: the calls and all sums that hold their cost, in one statement."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from raworc.domain.usage import COUNTS
from raworc.store.recordings import KEYS
from raworc.store.statement import composed


@dataclass(frozen=True, kw_only=True)
class PricedCall:
    """What a call's price depends on, and the price that is stored. ``is_told``: its answer said what it used."""

    id: uuid.UUID
    created_at: datetime
    method: str
    path: str
    account_id: str | None
    is_told: bool
    model: str | None
    input_tokens: int
    output_tokens: int
    cache_creation_input_tokens: int
    cache_creation_5m_input_tokens: int
    cache_creation_1h_input_tokens: int
    cache_read_input_tokens: int
    cost_usd: Decimal | None
    price_version: str | None


@dataclass(frozen=True)
class NewPrice:
    """A call and what it costs."""

    id: uuid.UUID
    created_at: datetime
    cost_usd: Decimal | None
    version: str | None


async def page(conn: AsyncConnection, after: tuple[datetime, uuid.UUID] | None, limit: int) -> list[PricedCall]:
    """Calls behind ``after`` (start and id), the oldest first."""
    at, call_id = after or (datetime.min.replace(tzinfo=UTC), uuid.UUID(int=0))
    return [PricedCall(**row) for row in await composed(conn, _PAGE, {"at": at, "id": call_id, "limit": limit})]


async def hold(conn: AsyncConnection) -> None:
    """Nobody stores calls until this transaction ends."""
    await composed(conn, "SELECT FROM ledger FOR UPDATE", {})


async def change(conn: AsyncConnection, prices: Sequence[NewPrice]) -> None:
    """Set prices, and what they change in the sums of hours, days and conversations."""
    parameters = {
        "ids": [one.id for one in prices],
        "ats": [one.created_at for one in prices],
        "costs": [one.cost_usd for one in prices],
        "versions": [one.version for one in prices],
    }
    await composed(conn, _CHANGE, parameters)


_COUNTED: Final = ", ".join(f"'{name}'" for name in COUNTS)
_TOLD: Final = {"is_told": f"coalesce(usage ?| array[{_COUNTED}], cost_usd IS NOT NULL)"}
_COLUMNS: Final = ", ".join(f"{_TOLD.get(name, name)} AS {name}" for name in PricedCall.__dataclass_fields__)
_PAGE: Final = f"""
SELECT {_COLUMNS} FROM requests WHERE created_at >= %(at)s AND (created_at, id) > (%(at)s, %(id)s)
ORDER BY created_at, id LIMIT %(limit)s
"""  # noqa: S608  our own names


def _summed(table: str, unit: str) -> str:
    keys = " AND ".join(f"s.{name} = c.{name}" for name in (unit, *KEYS))
    grouped = ", ".join(
        [f"date_trunc('{unit}', created_at, 'UTC') AS {unit}", *(f"{KEYS[name]} AS {name}" for name in KEYS)]
    )
    return f"""
    UPDATE {table} s SET cost_usd = s.cost_usd + c.cost, unpriced = s.unpriced + c.unpriced
    FROM (SELECT {grouped}, sum(cost) AS cost, sum(unpriced) AS unpriced FROM changed GROUP BY 1, 2, 3, 4, 5, 6, 7) c
    WHERE {keys}
"""  # noqa: S608  our own names


_CHANGE: Final = f"""
WITH given AS (
    SELECT * FROM unnest(%(ids)s::uuid[], %(ats)s::timestamptz[], %(costs)s::numeric[], %(versions)s::text[])
        AS v (id, at, new_cost, version)
), changed AS (
    SELECT r.*, coalesce(v.new_cost, 0) - coalesce(r.cost_usd, 0) AS cost,
        CASE WHEN r.input_tokens + r.output_tokens + r.cache_creation_input_tokens + r.cache_read_input_tokens > 0
            THEN (v.new_cost IS NULL)::int - (r.cost_usd IS NULL)::int ELSE 0 END AS unpriced
    FROM given v JOIN requests r ON r.id = v.id AND r.created_at = v.at
), calls AS (
    UPDATE requests r SET cost_usd = v.new_cost, price_version = v.version, updated_at = now()
    FROM given v WHERE r.id = v.id AND r.created_at = v.at
), hours AS ({_summed("request_hours", "hour")}), days AS ({_summed("request_dates", "day")})
UPDATE conversations s SET cost_usd = s.cost_usd + c.cost, unpriced = s.unpriced + c.unpriced
FROM (SELECT l.conversation_id, sum(cost) AS cost, sum(unpriced) AS unpriced
    FROM changed JOIN links l ON l.id = changed.id AND l.created_at = changed.created_at GROUP BY 1) c
WHERE s.id = c.conversation_id
"""  # noqa: S608  our own names

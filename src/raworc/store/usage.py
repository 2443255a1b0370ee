"""Sums of recorded calls, from the tables that keep them by day and by hour, and from the calls at a period's ends."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, Literal

from sqlalchemy.ext.asyncio import AsyncConnection

from raworc.domain.ledger import Chosen
from raworc.domain.periods import LENGTHS, Cell, Grain, Span, spans
from raworc.store.choosing import values, where
from raworc.store.recordings import KEYS
from raworc.store.statement import composed

Group = Literal["day", "space", "train_id", "account_id", "model", "request_type"]


@dataclass(frozen=True, kw_only=True)
class Sums:
    """What calls used together. ``unpriced``: how many of them have tokens and no known price."""

    requests: int = 0
    failed: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cache_creation_input_tokens: int = 0
    cache_read_input_tokens: int = 0
    duration_ms: int = 0
    cost_usd: Decimal = Decimal(0)
    unpriced: int = 0

    @property
    def total_tokens(self) -> int:
        """Input and output together, as the documents count."""
        return self.input_tokens + self.output_tokens

    def __add__(self, other: "Sums") -> "Sums":
        return Sums(**{name: getattr(self, name) + getattr(other, name) for name in _COLUMNS})

    def __sub__(self, other: "Sums") -> "Sums":
        return Sums(**{name: getattr(self, name) - getattr(other, name) for name in _COLUMNS})


async def sums(conn: AsyncConnection, chosen: Chosen, by: Sequence[Group] = ()) -> dict[tuple[Any, ...], Sums]:
    """Sums of the calls that are meant, for each combination of ``by``: '' for null, a day by its beginning.

    A kept sum is of one status, so most are of failed calls alone or of none. Of the few others (a stream that broke
    has status 200) the failed calls are added up one by one. All but failed ones are the difference.
    """
    if chosen.outcome.failed is False:
        every = replace(chosen, outcome=replace(chosen.outcome, failed=None))
        failed = replace(chosen, outcome=replace(chosen.outcome, failed=True))
        less = await sums(conn, failed, by)
        whole = await sums(conn, every, by)
        left = {key: found - less.get(key, Sums()) for key, found in whole.items()}
        return {key: found for key, found in left.items() if found.requests}
    parts = spans(chosen.start, chosen.end)
    if not parts:
        return {}
    meant = _failed(chosen, parts) if chosen.outcome.failed else _union(chosen, parts)
    keys = [f"{_DAY if name == 'day' else name} AS {name}" for name in by]
    added = [f"sum({name})::bigint AS {name}" for name in _COUNTS]
    listed = ", ".join([*keys, *added, "sum(cost_usd) AS cost_usd"])
    grouped = f"GROUP BY {', '.join(str(number + 1) for number in range(len(by)))}" if by else ""
    statement = f"SELECT {listed} FROM ({meant}) s {grouped}"  # noqa: S608  our own names
    rows = await composed(conn, statement, _values(chosen, parts))
    return {
        tuple(row[name] for name in by): Sums(**{name: row[name] for name in _COLUMNS})
        for row in rows
        if row["requests"] is not None
    }


async def cells(conn: AsyncConnection, chosen: Chosen, coarsest: Grain = "day") -> list[Cell]:
    """How many of the calls that are meant began in each day, hour or rest of their period, the newest first."""
    parts = spans(chosen.start, chosen.end, coarsest)
    if not parts:
        return []
    count = {None: "sum(requests)", True: "sum(failed)", False: "sum(requests - failed)"}[chosen.outcome.failed]
    listed = f"at, part, {count}::bigint AS count"
    statement = f"SELECT {listed} FROM ({_union(chosen, parts)}) s GROUP BY at, part"  # noqa: S608  our own names
    rows = await composed(conn, f"{statement} ORDER BY at DESC", _values(chosen, parts))
    return [_cell(parts[int(row["part"])], row["at"], row["count"]) for row in rows if row["count"]]


async def newest_account(conn: AsyncConnection, chosen: Chosen) -> str | None:
    """The account with the newest of the calls that are meant, to the hour."""
    named = f"account_id <> '' {where(chosen, 'hour')}"
    statement = f"SELECT account_id FROM request_hours WHERE {named} ORDER BY hour DESC LIMIT 1"  # noqa: S608  our own names
    rows = await composed(conn, statement, values(chosen))
    return rows[0]["account_id"] if rows else None


def _cell(part: Span, at: datetime, count: int) -> Cell:
    return Cell(part.start, part.end, count) if part.grain == "call" else Cell(at, at + LENGTHS[part.grain], count)


def _union(chosen: Chosen, parts: Sequence[Span]) -> str:
    return " UNION ALL ".join(
        f"SELECT {number} AS part, {_FROM[part.grain].format(number=number)}{where(chosen, part.grain)}"
        for number, part in enumerate(parts)
    )


def _failed(chosen: Chosen, parts: Sequence[Span]) -> str:
    """The failed calls of all parts: sums of nothing else, and single ones that share their sum with others."""
    found: list[str] = []
    for number, part in enumerate(parts):
        calls = f"SELECT {number} AS part, {_FROM['call'].format(number=number)}{where(chosen, 'call')}"
        if part.grain != "call":
            kept = f"SELECT {number} AS part, {_FROM[part.grain].format(number=number)}{where(chosen, part.grain)}"
            found.append(f"{kept} AND failed = requests")
            calls += f" AND {_MIXED[part.grain].format(number=number)}"
        found.append(calls)
    return " UNION ALL ".join(found)


def _mixed(table: str, unit: str) -> str:
    """Of a call, that a sum of its kind is of failed calls and of others."""
    own = ", ".join([f"date_trunc('{unit}', created_at, 'UTC')", *KEYS.values()])
    return f"""({own}) IN (SELECT {", ".join([unit, *KEYS])} FROM {table}
        WHERE {unit} >= %(start_{{number}})s AND {unit} < %(end_{{number}})s AND failed > 0 AND failed < requests)"""  # noqa: S608  our own names


def _values(chosen: Chosen, parts: Sequence[Span]) -> dict[str, Any]:
    bounds = {f"{name}_{number}": getattr(part, name) for number, part in enumerate(parts) for name in ("start", "end")}
    return values(chosen) | bounds


_COLUMNS: Final = tuple(field.name for field in fields(Sums))
_COUNTS: Final = tuple(name for name in _COLUMNS if name != "cost_usd")
_DAY: Final = "date_trunc('day', at, 'UTC')"
_KEPT: Final = f"space, train_id, account_id, model, request_type, {', '.join(_COLUMNS)}"
_MIXED: Final = {"day": _mixed("request_dates", "day"), "hour": _mixed("request_hours", "hour")}
_FROM: Final = {
    "day": f"day AS at, {_KEPT} FROM request_dates WHERE day >= %(start_{{number}})s AND day < %(end_{{number}})s",
    "hour": f"hour AS at, {_KEPT} FROM request_hours WHERE hour >= %(start_{{number}})s AND hour < %(end_{{number}})s",
    "call": """date_trunc('day', created_at, 'UTC') AS at, coalesce(space, '') AS space, train_id,
        coalesce(account_id, '') AS account_id, coalesce(model, '') AS model, request_type, 1 AS requests,
        (error_type IS NOT NULL)::int AS failed, input_tokens, output_tokens,
        cache_creation_input_tokens, cache_read_input_tokens, coalesce(duration_ms, 0) AS duration_ms,
        coalesce(cost_usd, 0) AS cost_usd, (cost_usd IS NULL AND input_tokens + output_tokens
            + cache_creation_input_tokens + cache_read_input_tokens > 0)::int AS unpriced
        FROM requests WHERE created_at >= %(start_{number})s AND created_at < %(end_{number})s""",
}

"""How responses in the background ended and what they used, given to the calls that made them.

That is known as soon as somebody was told.
"""

from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from raworc.domain.prices import price_of_call
from raworc.domain.usage import is_counted, read_usage
from raworc.store import background as store
from raworc.store import links, prices
from raworc.store.background import EndedRow, Settled
from raworc.store.database import Database

_BATCH: Final = 200


class Background:
    """Settles responses that have ended. Several may try at once: each is settled once."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def settle(self) -> int:
        """Settle the next ones; how many were.

        Raises:
            Unavailable: the database is away. Nothing was decided.
        """
        async with self._db.reading() as conn:
            if not await store.any_ended(conn):
                return 0
        return await self._db.run(self._next)

    async def _next(self, conn: AsyncConnection) -> int:
        await links.lock(conn, wait=True)  # conversations are summed by nobody else meanwhile
        await prices.hold(conn)
        rows = await store.ended(conn, _BATCH)
        if rows:
            disturbed = await store.settle(conn, [_settled(row) for row in rows])
            await links.forget(conn, disturbed)  # whoever places calls finds these a place again
        await store.forget_old(conn)
        return len(rows)


def _settled(row: EndedRow) -> Settled:
    usage = read_usage(row.usage, "openai") if is_counted(row.usage) else None
    price = price_of_call(row.account_id, row.model, usage, row.created_at, "openai")
    return Settled(row, usage, price.cost_usd, price.version)

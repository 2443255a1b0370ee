"""Prices found anew, by the table of prices that is installed now, for every recorded call."""

import uuid
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from sqlalchemy.ext.asyncio import AsyncConnection

from raworc.domain.prices import price_of_call
from raworc.domain.usage import Usage
from raworc.store import links
from raworc.store import prices as store
from raworc.store.database import Database
from raworc.store.prices import NewPrice, PricedCall
from raworc.wire.endpoints import spoken_at

Pricing = Callable[[PricedCall], NewPrice]


@dataclass
class ModelChange:
    """What changed for a model: how many calls, what they cost before and now, how many have no price (any more)."""

    calls: int = 0
    before: Decimal = Decimal(0)
    after: Decimal = Decimal(0)
    unpriced_before: int = 0
    unpriced_after: int = 0


@dataclass
class Recosted:
    """How many calls were looked at, and what changed, by model ('' where none was named)."""

    seen: int = 0
    models: dict[str, ModelChange] = field(default_factory=lambda: defaultdict(ModelChange))

    @property
    def changed(self) -> int:
        """How many calls have another price."""
        return sum(model.calls for model in self.models.values())


def priced(call: PricedCall) -> NewPrice:
    """What a call costs by today's table, at the prices of its own time."""
    usage = Usage(**{name: getattr(call, name) for name in Usage.__dataclass_fields__})
    wire = spoken_at(call.method, call.path).wire
    found = price_of_call(call.account_id, call.model, usage if call.is_told else None, call.created_at, wire)
    return NewPrice(call.id, call.created_at, found.cost_usd, found.version)


class Prices:
    """Finds prices anew, batch by batch; each batch with all its sums in one transaction.

    May be cut short and begun again, and be done by several at once: what has its price already is passed over.
    """

    def __init__(self, db: Database, *, batch: int = 500, pricing: Pricing = priced) -> None:
        self._db = db
        self._batch = batch
        self._pricing = pricing

    async def recost(self, tell: Callable[[int], None], *, dry_run: bool) -> Recosted:
        """Find all prices anew, or (``dry_run``) only what would change. ``tell`` hears how many calls are done.

        Raises:
            Unavailable: the database is away; what was done stays done.
        """
        done = Recosted()
        after: tuple[datetime, uuid.UUID] | None = None
        while True:
            calls, changes = await (self._look(after) if dry_run else self._change(after))
            if not calls:
                return done
            for call, new in changes:
                _note(done.models[call.model or ""], call, new)
            done.seen += len(calls)
            after = (calls[-1].created_at, calls[-1].id)
            tell(done.seen)

    async def _look(self, after: tuple[datetime, uuid.UUID] | None) -> "_Batch":
        async with self._db.reading() as conn:
            return self._compared(await store.page(conn, after, self._batch))

    async def _change(self, after: tuple[datetime, uuid.UUID] | None) -> "_Batch":
        async def work(conn: AsyncConnection) -> "_Batch":
            await links.lock(conn, wait=True)  # conversations are summed by nobody else meanwhile
            await store.hold(conn)
            calls, changes = self._compared(await store.page(conn, after, self._batch))
            if changes:
                await store.change(conn, [new for _, new in changes])
            return calls, changes

        return await self._db.run(work)

    def _compared(self, calls: Sequence[PricedCall]) -> "_Batch":
        pairs = [(call, self._pricing(call)) for call in calls]
        return calls, [(call, new) for call, new in pairs if new.cost_usd != call.cost_usd]


_Batch = tuple[Sequence[PricedCall], list[tuple[PricedCall, NewPrice]]]


def _note(model: ModelChange, call: PricedCall, new: NewPrice) -> None:
    model.calls += 1
    model.before += call.cost_usd or 0
    model.after += new.cost_usd or 0
    model.unpriced_before += call.cost_usd is None
    model.unpriced_after += new.cost_usd is None

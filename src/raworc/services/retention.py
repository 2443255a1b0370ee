"""Recorded calls are kept for a number of days, or for ever. Days go whole; what they add up to stays.

In an order in which an end at any point leaves only work to be done: first no older day is made or shown any more,
then what the days left among the places of calls goes, then the days' partitions.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from raworc.errors import Unavailable
from raworc.store import links
from raworc.store import retention as store
from raworc.store.database import Database
from raworc.store.retention import OldDay

__all__ = ["Dropped", "OldDay", "Retention"]

Tell = Callable[[str], None]
_BATCH: Final = 1000
_TRIES: Final = 10
_PAUSE_S: Final = 1.0


@dataclass(frozen=True)
class Dropped:
    """The days that went, or would, and since when calls are kept."""

    days: list[OldDay]
    since: datetime

    @property
    def calls(self) -> int:
        """How many calls they had."""
        return sum(day.calls for day in self.days)


class Retention:
    """Drops days. Several may be at it at once, beside recorders and readers."""

    def __init__(self, db: Database, *, batch: int = _BATCH, tries: int = _TRIES) -> None:
        self._db = db
        self._batch = batch
        self._tries = tries

    async def look(self, days: int) -> Dropped:
        """What ``drop`` would do."""
        async with self._db.reading() as conn:
            since = await store.bound(conn, days)
            return Dropped(await store.old_days(conn, since), since)

    async def drop(self, days: int, tell: Tell) -> Dropped:
        """Drop what is older than ``days`` days before today; ``tell`` hears of each day that went.

        Raises:
            Unavailable: the database is away, or somebody reads for too long. What was done stays done; what is left
                is done by the next one.
        """
        found = await self.look(days)
        async with self._db.transaction() as conn:
            await store.keep_since(conn, found.since)
        await self._clean(found.since)
        for old in found.days:
            await self._drop(old)
            tell(f"{old.day} with {old.calls} calls")
        await self._clean(found.since)  # of calls that were being stored when it began
        return found

    async def _clean(self, since: datetime) -> None:
        async def work(conn: AsyncConnection) -> int:
            await links.lock(conn, wait=True)
            return await store.clean(conn, since, self._batch)

        while await self._db.run(work):
            pass

    async def _drop(self, old: OldDay) -> None:
        for attempt in range(self._tries):
            if attempt:
                await asyncio.sleep(_PAUSE_S)
            async with self._db.transaction() as conn:
                if await store.drop(conn, old.day):
                    return
        raise Unavailable(f"Recorded calls of {old.day} cannot be dropped while they are read: try again later")

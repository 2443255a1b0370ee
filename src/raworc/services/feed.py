"""Recorded model calls as they are stored, from any point on, and the conversations that begin with them.

Calls have one numbering in the order of storing, and whoever stores some is the only one: so a reader who has seen a
number has seen all before it. Notices are hints. A call is held back, for a moment, until its conversation is known.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from time import monotonic
from typing import Final

from raworc.domain.ledger import Chosen
from raworc.errors import DatabaseUnavailable, Unauthorized
from raworc.services.accounts import Caller, renewed
from raworc.services.conversations import ConversationView, views
from raworc.services.ledger import visible
from raworc.services.requests import RequestView
from raworc.store import conversations
from raworc.store import ledger as store
from raworc.store.database import Database
from raworc.store.ledger import LedgerRow
from raworc.store.notify import CALLS, AccountNotice, CallNotice, Listener, Subscription

PING_S: Final = 15.0
_BATCH: Final = 100
_AWAY_S: Final = 1.0
_PLACED_WITHIN_S: Final = 2.0
_POLL_S: Final = 0.05


@dataclass(frozen=True)
class Stored:
    """A call that was stored, by its number; ``begins``: the conversation whose first call it is."""

    number: int
    call: RequestView
    begins: ConversationView | None


class Feed:
    """Streams of recorded calls."""

    def __init__(self, db: Database, listener: Listener, *, ping_s: float = PING_S) -> None:
        self._db = db
        self._listener = listener
        self._ping_s = ping_s

    async def stream(self, caller: Caller, chosen: Chosen, after: int | None) -> AsyncIterator[Stored | None]:
        """Calls that are meant, numbered above ``after``, then those to come; None says that the stream lives.

        Without ``after`` it begins with the next call. It ends when the caller's token does not count any more.
        The first thing given is always None.
        """
        async with self._listener.subscribe(CALLS) as notices:
            async with self._db.reading() as conn:
                last = await store.last_number(conn)
            reader = _Reader(self._db, caller, chosen, last if after is None else min(after, last))
            yield None
            watch = _Watch(notices, self._ping_s)
            while not reader.ended:
                for stored in await reader.read():
                    yield stored
                if not reader.behind and await watch.until_news(reader):
                    yield None


@dataclass
class _Reader:
    """Reads calls batch by batch. ``behind``: there may be more already; ``away``: the database did not answer."""

    db: Database
    caller: Caller
    chosen: Chosen
    after: int
    ended: bool = False
    behind: bool = True
    away: bool = False

    async def read(self) -> list[Stored]:
        """The next calls."""
        try:
            last, found = await self._placed()
            shown = await self._shown(found)
        except DatabaseUnavailable:
            self.away, self.behind = True, False
            return []
        self.away, self.behind = False, len(found) == _BATCH
        self.after = max([self.after, *(number for number, _ in found), *([] if self.behind else [last])])
        return shown

    async def renew(self) -> None:
        """See whether the caller may still ask, and for what."""
        try:
            async with self.db.reading() as conn:
                self.caller = await renewed(conn, self.caller)
        except Unauthorized:
            self.ended = True
        except DatabaseUnavailable:
            self.away = True

    async def _placed(self) -> tuple[int, list[tuple[int, LedgerRow]]]:
        """The number of the newest call, and the next calls, once their conversations are known, or late."""
        ends = monotonic() + _PLACED_WITHIN_S
        while True:
            async with self.db.reading() as conn:
                last = await store.last_number(conn)
                found = await store.numbered(conn, visible(self.caller, self.chosen), after=self.after, limit=_BATCH)
                waits = await store.unplaced(conn, [row for _, row in found], _PLACED_WITHIN_S) if found else False
            if not waits or monotonic() > ends:
                return last, found
            await asyncio.sleep(_POLL_S)

    async def _shown(self, found: list[tuple[int, LedgerRow]]) -> list[Stored]:
        wanted = {row.conversation_id for _, row in found if row.conversation_id is not None}
        if not wanted:
            return [Stored(number, RequestView(**vars(row)), None) for number, row in found]
        async with self.db.reading() as conn:
            begun = await views(conn, await conversations.several(conn, sorted(wanted)))
        by_first = {(view.row.id, view.row.first_at): view for view in begun}
        return [
            Stored(
                number,
                RequestView(**vars(row)),
                by_first.get((row.conversation_id, row.created_at)) if row.conversation_id else None,
            )
            for number, row in found
        ]


@dataclass
class _Watch:
    """Waits for calls, and says that the stream lives when none come."""

    notices: Subscription
    ping_s: float
    pinged: float = field(default_factory=monotonic)

    async def until_news(self, reader: _Reader) -> bool:
        """Return when there may be more to read; True when it is time to say that the stream lives."""
        while not reader.ended:
            left_s = self.pinged + self.ping_s - monotonic()
            if left_s <= 0:
                self.pinged = monotonic()
                await reader.renew()
                return True
            notice = await self.notices.get(min(left_s, _AWAY_S) if reader.away else left_s)
            lost, self.notices.overflowed = self.notices.overflowed, False
            if isinstance(notice, AccountNotice) and notice.account_id == reader.caller.account_id:
                await reader.renew()
            if lost or (notice is None and reader.away):
                return False
            if isinstance(notice, CallNotice) and notice.number > reader.after:
                return False
        return False

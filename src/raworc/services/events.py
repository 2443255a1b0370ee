"""What happens to an agent, as it happens and from any point on: stored events in their one numbering.

The tables are the truth and notices are hints, so a stream has neither gap nor repeat whatever notices get lost.
Running text (``delta``) is passed on as it comes and stored nowhere.
"""

import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Final, Literal

from sqlalchemy.ext.asyncio import AsyncConnection

from raworc.clock import rfc3339
from raworc.domain.content import input_content, output_content
from raworc.domain.lifecycle import ASLEEP, SETTLED
from raworc.errors import DatabaseUnavailable, Forbidden, NotFound, Unauthorized
from raworc.services import agents
from raworc.services.accounts import Caller, renewed
from raworc.services.agents import AgentRow
from raworc.store import events as store
from raworc.store import turns
from raworc.store.database import Database
from raworc.store.events import EventRow
from raworc.store.notify import AccountNotice, DeltaNotice, EventNotice, Listener, Subscription
from raworc.store.turns import TurnRow

Json = dict[str, Any]

PING_S: Final = 15.0
_BATCH: Final = 32  # a segment may have a MiB: this bounds what a stream holds
_AWAY_S: Final = 1.0


@dataclass(frozen=True)
class Event:
    """One event. ``id`` is its stored number; running text, conversations and pings have none."""

    id: int | None
    name: Literal["segment", "response", "state", "delta", "ping", "request", "conversation", "log"]
    data: Json


_PING_EVENT: Final = Event(None, "ping", {})


class Events:
    """Streams of agents and of single responses."""

    def __init__(self, db: Database, listener: Listener, *, ping_s: float = PING_S) -> None:
        self._db = db
        self._listener = listener
        self._ping_s = ping_s

    async def stream(
        self, caller: Caller, name: str, *, turn_id: uuid.UUID | None, after: int | None
    ) -> AsyncIterator[Event]:
        """Events numbered above ``after``, then those to come; the first thing given is always a ping.

        Without ``after`` a response's stream begins with its first event, an agent's with the next one. It ends
        when the agent is gone, and a response's also after the event that settles it.

        Raises:
            NotFound, Forbidden: as ``agents.find``, or the agent has no such turn; before anything is given.
        """
        async with self._db.reading() as conn:
            row = await agents.find(conn, caller, name, "get")
            if turn_id is not None and await turns.status(conn, row.session_id, turn_id) is None:
                raise NotFound(f"Response '{turn_id}' not found")
            live = 0 if turn_id is not None else await store.last(conn, row.session_id) or 0
        reader = _Reader(self._db, caller, row, turn_id, live if after is None else after)
        async with self._listener.subscribe(row.session_id) as notices:
            yield _PING_EVENT
            watch = _Watch(notices, self._ping_s)
            while not reader.ended:
                for event in await reader.read():
                    yield event
                async for event in watch.until_news(reader):
                    yield event


@dataclass
class _Reader:
    """Reads a stream's stored events, batch by batch."""

    db: Database
    caller: Caller
    agent: AgentRow
    turn_id: uuid.UUID | None
    after: int
    ended: bool = False
    behind: bool = True
    away: bool = False

    async def read(self) -> list[Event]:
        """The next events. ``behind``: there may be more already; ``away``: the database did not answer."""
        try:
            async with self.db.reading() as conn:
                rows = await self._rows(conn)
                shown = await self._shown(conn, rows)
                if self.turn_id is not None and not rows:
                    self.ended = await turns.status(conn, self.agent.session_id, self.turn_id) in {None, *SETTLED}
        except DatabaseUnavailable:
            self.away, self.behind = True, False
            return []
        self.away, self.behind = False, len(rows) == _BATCH
        return shown

    async def exists(self) -> bool:
        """Whether the agent is there still and the caller may still see it."""
        try:
            async with self.db.reading() as conn:
                self.caller = await renewed(conn, self.caller)
                found = await agents.find(conn, self.caller, self.agent.name, "get")
        except (NotFound, Forbidden, Unauthorized):
            return False
        except DatabaseUnavailable:
            return True
        return found.session_id == self.agent.session_id

    def shows(self, notice: DeltaNotice) -> bool:
        """Whether running text belongs to this stream."""
        return self.turn_id is None or notice.turn_id == self.turn_id

    async def _rows(self, conn: AsyncConnection) -> list[EventRow]:
        session_id = self.agent.session_id
        if self.turn_id is None:
            return await store.of_session(conn, session_id, after=self.after, limit=_BATCH)
        return await store.of_turn(conn, session_id, self.turn_id, after=self.after, limit=_BATCH)

    async def _shown(self, conn: AsyncConnection, rows: Sequence[EventRow]) -> list[Event]:
        wanted = [row.turn_id for row in rows if row.kind == "response" and row.turn_id is not None]
        found = await turns.several(conn, self.agent.session_id, wanted) if wanted else []
        by_id = {turn.id: turn for turn in found}
        events: list[Event] = []
        for row in rows:
            self.after = row.event_seq
            event = _event(row, self.agent.name, by_id.get(row.turn_id) if row.turn_id else None)
            if event is not None:
                events.append(event)
            if self._is_last(row):
                self.ended = True
                break
        return events

    def _is_last(self, row: EventRow) -> bool:
        if self.turn_id is not None:
            return row.kind == "response" and row.body["status"] in SETTLED
        return row.kind == "state" and row.body["state"] == "terminated"


@dataclass
class _Watch:
    """Waits for news of a session, and says that the stream lives when there are none."""

    notices: Subscription
    ping_s: float
    pinged: float = field(default_factory=monotonic)

    async def until_news(self, reader: _Reader) -> AsyncIterator[Event]:
        """Running text and pings, until there may be stored events to read."""
        while not (reader.ended or reader.behind):
            left_s = self.pinged + self.ping_s - monotonic()
            if left_s <= 0:
                self.pinged = monotonic()
                reader.ended = not await reader.exists()
                yield _PING_EVENT
                return
            notice = await self.notices.get(min(left_s, _AWAY_S) if reader.away else left_s)
            lost, self.notices.overflowed = self.notices.overflowed, False
            if isinstance(notice, AccountNotice) and notice.account_id == reader.caller.account_id:
                reader.ended = not await reader.exists()
            if lost or (notice is None and reader.away):
                return
            if isinstance(notice, EventNotice) and notice.event_seq > reader.after:
                return
            if isinstance(notice, DeltaNotice) and reader.shows(notice):
                data = {"response_id": str(notice.turn_id), "channel": notice.channel, "text": notice.text}
                yield Event(None, "delta", data)


def _event(row: EventRow, agent_name: str, turn: TurnRow | None) -> Event | None:
    match row.kind:
        case "segment":
            data = {"response_id": str(row.turn_id), "seq": row.seq, "segment": row.body}
            return Event(row.event_seq, "segment", data)
        case "state":
            state = row.body["state"]
            return Event(row.event_seq, "state", {"state": "slept" if state in ASLEEP else state})
        case "response":
            return None if turn is None else Event(row.event_seq, "response", _response(row.body, turn, agent_name))


def _response(told: Json, turn: TurnRow, agent_name: str) -> Json:
    """The turn as it was then: its status and time of that moment, its answer only once it was settled."""
    segments = turn.segments if told["status"] in SETTLED else []
    return {
        "id": str(turn.id),
        "agent_name": agent_name,
        "status": told["status"],
        "input_content": input_content(turn.input),
        "output_content": output_content(turn.output, segments),
        "created_at": rfc3339(turn.created_at),
        "updated_at": told["updated_at"],
    }

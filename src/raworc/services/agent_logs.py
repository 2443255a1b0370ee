"""What the handlers of code agents said: kept by operators, shown to those who may read the agent."""

import uuid
from collections.abc import AsyncIterator, Sequence
from time import monotonic
from typing import Final

from raworc.domain.handlers import LogLine
from raworc.errors import DatabaseUnavailable, NotFound, Unauthorized
from raworc.services import audit
from raworc.services.accounts import Caller, renewed
from raworc.services.code_agents import found, named
from raworc.store import agent_logs as store
from raworc.store.agent_logs import AgentLogRow
from raworc.store.database import Database
from raworc.store.notify import AccountNotice, Listener, Subscription, notify_log

__all__ = ["AgentLogRow", "AgentLogs", "KeptLogs"]

MAX_LOG_BYTES: Final = 1_048_576
PING_S: Final = 15.0
_SHORTEN_EVERY_BYTES: Final = 65_536
_BATCH: Final = 200
_AWAY_S: Final = 1.0


class KeptLogs:
    """Where operators keep them. An agent's log has ``most_bytes``, and a little more between two looks."""

    def __init__(self, db: Database, *, most_bytes: int = MAX_LOG_BYTES) -> None:
        self._db = db
        self._most_bytes = most_bytes
        self._since: dict[uuid.UUID, int] = {}

    async def append(self, agent_id: uuid.UUID, lines: Sequence[LogLine]) -> None:
        """Add lines, and drop the oldest ones that there is no room for."""
        size = self._since.get(agent_id, _SHORTEN_EVERY_BYTES) + sum(len(line.text.encode()) + 64 for line in lines)
        is_due = size >= _SHORTEN_EVERY_BYTES
        async with self._db.transaction() as conn:
            await store.append(conn, agent_id, lines)
            if is_due:
                await store.shorten(conn, agent_id, self._most_bytes)
            await notify_log(conn, agent_id)
        self._since[agent_id] = 0 if is_due else size


class AgentLogs:
    """The logs of code agents, by those who may read the agents.

    Every method raises NotFound where there is none that the caller may see.
    """

    def __init__(self, db: Database, listener: Listener, *, ping_s: float = PING_S) -> None:
        self._db = db
        self._listener = listener
        self._ping_s = ping_s

    async def newest(self, caller: Caller, space: str, name: str, *, limit: int) -> list[AgentLogRow]:
        """The last lines, oldest first."""
        async with audit.refusals_kept(self._db, caller, named("get", space, name)), self._db.reading() as conn:
            agent = await found(conn, caller, "get", space, name)
            return await store.newest(conn, agent.id, limit)

    async def follow(
        self, caller: Caller, space: str, name: str, *, limit: int, after: int | None
    ) -> AsyncIterator[AgentLogRow | None]:
        """Lines numbered above ``after``, else the last ``limit`` ones, then those to come.

        None says that the stream lives, and is the first thing given. It ends when the agent is gone, or the caller may
        not read it any more.
        """
        async with audit.refusals_kept(self._db, caller, named("get", space, name)), self._db.reading() as conn:
            agent = await found(conn, caller, "get", space, name)
        async with self._listener.subscribe(agent.id) as notices:
            yield None
            reader = _Reader(self._db, caller, space, agent.name, after)
            rows = await reader.read(agent.id, limit)
            while rows is not None:
                for row in rows:
                    yield row
                if len(rows) < _BATCH:
                    async for _ in _quiet(notices, reader, self._ping_s):
                        yield None
                rows = await reader.read(agent.id, _BATCH)


class _Reader:
    """Reads lines batch by batch. ``away``: the database did not answer."""

    def __init__(self, db: Database, caller: Caller, space: str, name: str, after: int | None) -> None:
        self._db = db
        self._caller = caller
        self._where = space, name
        self._after = after
        self.away = False

    def is_of(self, notice: AccountNotice) -> bool:
        """Whether the caller may do more or less than before."""
        return notice.account_id == self._caller.account_id

    async def read(self, agent_id: uuid.UUID, limit: int) -> list[AgentLogRow] | None:
        """The next lines; None when there is nothing more to see for the caller."""
        try:
            async with self._db.reading() as conn:
                self._caller = await renewed(conn, self._caller)
                agent = await found(conn, self._caller, "get", *self._where)
                if agent.id != agent_id:
                    return None
                if self._after is None:
                    rows = await store.newest(conn, agent_id, limit)
                    self._after = 0
                else:
                    rows = await store.following(conn, agent_id, self._after, _BATCH)
        except (Unauthorized, NotFound):
            return None
        except DatabaseUnavailable:
            self.away = True
            return []
        self.away = False
        self._after = rows[-1].number if rows else self._after
        return rows


async def _quiet(notices: Subscription, reader: _Reader, ping_s: float) -> AsyncIterator[None]:
    """Until there may be more to read; gives something whenever it is time to say that the stream lives."""
    pings_at = monotonic() + ping_s
    while True:
        left_s = pings_at - monotonic()
        if left_s <= 0:
            yield None
            return
        notice = await notices.get(min(left_s, _AWAY_S) if reader.away else left_s)
        lost, notices.overflowed = notices.overflowed, False
        other = isinstance(notice, AccountNotice) and not reader.is_of(notice)
        if lost or reader.away or (notice is not None and not other):
            return

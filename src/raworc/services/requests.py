"""Recorded model calls: whose turn one belongs to, and the list of an agent's or a turn's."""

import asyncio
import time
import uuid
from dataclasses import dataclass
from typing import Final, Literal

from raworc.errors import NotFound
from raworc.services import agents
from raworc.services.accounts import Caller
from raworc.store import deployments, turns
from raworc.store import requests as store
from raworc.store.agents import AgentRow
from raworc.store.database import Database
from raworc.store.requests import Awaited, Booked, LedgerRow, TurnCost
from raworc.store.usage import Sums

WAIT_S: Final = 2.0
MAX_PER_PAGE: Final = 100
_POLL_S: Final = 0.02
_MAX_OFFSET: Final = 2**53


@dataclass(frozen=True, kw_only=True)
class RequestView(LedgerRow):
    """A recorded call without its bodies. ``status`` is ``recording`` while its record has not arrived."""

    status: Literal["recorded", "recording"] = "recorded"

    @property
    def total_tokens(self) -> int:
        """Input and output together."""
        return self.input_tokens + self.output_tokens


@dataclass(frozen=True)
class RequestPage:
    """One page of calls, newest first; ``page`` counts from 1. ``sums``: of all pages, of what is recorded already."""

    requests: list[RequestView]
    total: int
    page: int
    per_page: int
    sums: Sums

    @property
    def total_pages(self) -> int:
        """At least 1."""
        return max(1, -(-self.total // self.per_page))


class Requests:
    """The ledger as agents' owners see it, and what the gateway asks of the database."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def processing(self, session_id: uuid.UUID, epoch: int) -> uuid.UUID | None:
        """The turn that a session processes under this epoch; None when there is none, or the hold has changed.

        Raises:
            DatabaseUnavailable: it cannot be asked now.
        """
        async with self._db.reading() as conn:
            return await store.processing_turn(conn, session_id, epoch)

    async def keeps_warm(self, session_id: uuid.UUID, epoch: int, agent_id: uuid.UUID) -> bool:
        """Whether a session held under this epoch keeps the handler of a code agent, which may work between turns.

        Raises:
            DatabaseUnavailable: it cannot be asked now.
        """
        async with self._db.reading() as conn:
            return await deployments.is_kept(conn, session_id, epoch, agent_id)

    async def cost_of_turn(self, turn_id: uuid.UUID, last_call: uuid.UUID | None) -> TurnCost:
        """What a turn's calls cost, those made inside its sandbox included; waits a little for ``last_call``'s record.

        Raises:
            DatabaseUnavailable: it cannot be asked now.
        """
        ends = time.monotonic() + WAIT_S
        while True:
            async with self._db.reading() as conn:
                cost = await store.cost_of_turn(conn, turn_id, last_call)
            if cost.complete or time.monotonic() >= ends:
                return cost
            await asyncio.sleep(_POLL_S)

    async def for_agent(self, caller: Caller, name: str, *, page: int = 1, per_page: int = 50) -> RequestPage:
        """The model calls of an agent, those made inside its sandbox included.

        Raises:
            NotFound, Forbidden: see ``agents.find``.
        """
        async with self._db.reading() as conn:
            agent = await agents.find(conn, caller, name, "get")
        booked = Booked(agent.session_id, None, agent.created_at)
        return await self._page(agent, booked, page=page, per_page=per_page)

    async def for_turn(
        self, caller: Caller, name: str, turn_id: uuid.UUID, *, page: int = 1, per_page: int = 50
    ) -> RequestPage:
        """The model calls of one turn.

        Raises:
            NotFound: no such agent, or no such response of it.
            Forbidden: see ``agents.find``.
        """
        async with self._db.reading() as conn:
            agent = await agents.find(conn, caller, name, "get")
            turn = await turns.find(conn, agent.session_id, turn_id)
        if turn is None:
            raise NotFound(f"Response '{turn_id}' not found")
        booked = Booked(agent.session_id, turn_id, turn.created_at)
        return await self._page(agent, booked, page=page, per_page=per_page)

    async def _page(self, agent: AgentRow, booked: Booked, *, page: int, per_page: int) -> RequestPage:
        per_page = min(max(per_page, 1), MAX_PER_PAGE)
        page = max(page, 1)
        first = min((page - 1) * per_page, _MAX_OFFSET)
        await self._settled(booked)
        async with self._db.reading() as conn:
            coming = await store.awaited(conn, booked)
            sums = await store.sums(conn, booked)
            shown = [_recording(call, agent) for call in coming[first : first + per_page]]
            offset = max(first - len(coming), 0)
            rows = await store.page(conn, booked, limit=per_page - len(shown), offset=offset)
        calls = [*shown, *(RequestView(**vars(row)) for row in rows)]
        return RequestPage(calls, sums.requests + len(coming), page, per_page, sums)

    async def _settled(self, booked: Booked) -> None:
        """Wait, a little, until calls that were just answered are in the ledger."""
        ends = time.monotonic() + WAIT_S
        while time.monotonic() < ends:
            async with self._db.reading() as conn:
                if not any(call.fresh for call in await store.awaited(conn, booked)):
                    return
            await asyncio.sleep(_POLL_S)


def _recording(call: Awaited, agent: AgentRow) -> RequestView:
    return RequestView(
        id=call.id,
        status="recording",
        train_id=f"{agent.space}.{agent.name}",
        method="POST",
        path="",  # its wire is known once it is recorded
        request_type="inference",
        created_at=call.started_at,
        updated_at=call.started_at,
        space=agent.space,
        turn_id=call.turn_id,
    )

"""Storing recorded model calls: whole batches, or what of them Postgres will take."""

import uuid
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from raworc.metrics import Metrics
from raworc.store import recordings
from raworc.store.database import Database
from raworc.store.recordings import BadRow, RequestRow, SpoolPosition

_log = structlog.get_logger(__name__)


class Recording:
    """Loads rows and remembers how far the spools are loaded, in one transaction."""

    def __init__(self, db: Database, node: str, metrics: Metrics | None = None) -> None:
        self._db = db
        self._metrics = metrics or Metrics()
        self._node = node
        self._days: set[date] = set()

    async def positions(self, worker_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, SpoolPosition]:
        """How far these servers' spools are loaded; nothing for those never seen."""
        async with self._db.transaction() as conn:
            return await recordings.positions(conn, worker_ids)

    async def load(self, rows: Sequence[RequestRow], reached: SpoolPosition) -> int:
        """Store the rows that are new; how many were. Safe to repeat.

        A row that cannot be stored is stored without its bodies, and if that fails too it is logged and left out:
        a batch never blocks those after it.

        Raises:
            Unavailable: the database is away or full. Nothing is decided: try again.
        """
        try:
            return await self._store(rows, reached)
        except BadRow:
            self._days.clear()  # a day may have been dropped since
        try:
            return await self._store(rows, reached)
        except BadRow as error:
            return await self._halves(rows, reached, error)

    async def forget(self, worker_ids: Sequence[uuid.UUID]) -> None:
        """These spools are loaded to their end, and their files are gone."""
        async with self._db.transaction() as conn:
            await recordings.forget_positions(conn, worker_ids)

    async def _store(self, rows: Sequence[RequestRow], reached: SpoolPosition | None) -> int:
        await self._ensure_days({row.created_at.astimezone(UTC).date() for row in rows})

        async def work(conn: AsyncConnection) -> int:
            added = await recordings.insert(conn, rows) if rows else 0
            if reached is not None:
                await recordings.save_position(conn, self._node, reached)
            return added

        added = await self._db.run(work)
        if added:
            self._count(rows)
        return added

    def _count(self, rows: Sequence[RequestRow]) -> None:
        for row in rows:
            tokens = {
                "input": row.input_tokens,
                "output": row.output_tokens,
                "cache_write": row.cache_creation_input_tokens,
                "cache_read": row.cache_read_input_tokens,
            }
            self._metrics.recorded(row.request_type, tokens)

    async def _ensure_days(self, days: set[date]) -> None:
        missing = days - self._days
        if missing:
            async with self._db.transaction() as conn:
                await recordings.ensure_days(conn, missing)
            self._days |= missing

    async def _halves(self, rows: Sequence[RequestRow], reached: SpoolPosition | None, error: BadRow) -> int:
        if len(rows) == 1:
            return await self._bare(rows[0], reached, error)
        middle = len(rows) // 2
        return await self._part(rows[:middle], None) + await self._part(rows[middle:], reached)

    async def _part(self, rows: Sequence[RequestRow], reached: SpoolPosition | None) -> int:
        try:
            return await self._store(rows, reached)
        except BadRow as error:
            return await self._halves(rows, reached, error)

    async def _bare(self, row: RequestRow, reached: SpoolPosition | None, error: BadRow) -> int:
        _log.error("recorded_call_unstorable", request=str(row.id), reason=str(error))
        try:
            return await self._store([without_bodies(row)], reached)
        except BadRow as again:
            _log.error("recorded_call_lost", request=str(row.id), reason=str(again))
            return await self._store([], reached)


def without_bodies(row: RequestRow) -> RequestRow:
    """The row with nothing in it that a client or a provider wrote."""
    return replace(
        row,
        bodies="unstorable",
        query=None,
        model=None,
        error_message=None,
        stop_reason=None,
        usage=None,
        request_headers=None,
        request_body=None,
        response_headers=None,
        response_body=None,
        stream=None,
        offsets=None,
        at_ms=None,
    )

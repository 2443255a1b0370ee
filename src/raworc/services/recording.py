"""Storing recorded model calls: whole batches, or what of them Postgres will take."""

import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from raworc.domain.redaction import Known
from raworc.metrics import Metrics
from raworc.services.known_secrets import KnownSecrets
from raworc.store import recordings
from raworc.store.database import Database
from raworc.store.recordings import BadRow, LinkRow, RequestRow, SpoolPosition, StoredCall

_log = structlog.get_logger(__name__)


class Recording:
    """Loads rows and remembers how far the spools are loaded, in one transaction."""

    def __init__(
        self, db: Database, node: str, secrets: KnownSecrets | None = None, metrics: Metrics | None = None
    ) -> None:
        self._db = db
        self._metrics = metrics or Metrics()
        self._node = node
        self._secrets = secrets
        self._days: set[date] = set()  # that have partitions

    async def known(self, session_ids: Collection[uuid.UUID]) -> Mapping[uuid.UUID, Known]:
        """The secrets that must not be kept of these sessions' calls. Raises as ``KnownSecrets.of``."""
        return {} if self._secrets is None else await self._secrets.of(session_ids)

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

    async def stored(self, after: tuple[datetime, uuid.UUID] | None, limit: int) -> list[StoredCall]:
        """Calls with a body, from the oldest on, those after ``after`` (start and id)."""
        async with self._db.reading() as conn:
            return await recordings.stored_calls(conn, after, limit)

    async def replace_links(self, said: Sequence[tuple[StoredCall, LinkRow | None]]) -> None:
        """Store what calls say in place of what was stored of it."""
        async with self._db.transaction() as conn:
            await recordings.replace_links(conn, said)

    async def _store(self, rows: Sequence[RequestRow], reached: SpoolPosition | None) -> int:
        rows = await self._still_kept(rows)

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

    async def _still_kept(self, rows: Sequence[RequestRow]) -> Sequence[RequestRow]:
        """The rows whose days there are, or can be made. Of days that were dropped nothing comes back."""
        missing = {_day_of(row) for row in rows} - self._days
        if not missing:
            return rows
        async with self._db.transaction() as conn:
            gone = await recordings.ensure_days(conn, missing)
        self._days |= missing - gone
        late = [row for row in rows if _day_of(row) in gone]
        if late:
            _log.warning("recorded_calls_too_late", calls=len(late), day=str(min(gone)))
            self._metrics.late(len(late))
        return [row for row in rows if _day_of(row) not in gone]

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


def _day_of(row: RequestRow) -> date:
    return row.created_at.astimezone(UTC).date()


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
        task_tool_invocation=None,
        link=None,
        note=None,
        background=None,
    )

"""What agents look things up in: kept searchable by content, and searched."""

import uuid
from collections.abc import Sequence
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from raworc.domain.knowledge import Source
from raworc.domain.text import storable_text
from raworc.store import knowledge as store
from raworc.store.database import Database

BEST: Final = 8


class Knowledge:
    """The knowledge of agents, for operators."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def search(self, agent_id: uuid.UUID, sources: Sequence[Source], query: str) -> list[tuple[str, str]]:
        """Names of sources and texts of the pieces that fit best. Only what changed is indexed again."""
        now = {storable_text(source.name): source for source in sources}
        async with self._db.reading() as conn:
            known = await store.digests(conn, agent_id)
        changed = [name for name, source in now.items() if known.get(name) != source.digest]
        gone = known.keys() - now.keys()
        if changed or gone:
            await self._index(agent_id, now, changed, gone)
        async with self._db.reading() as conn:
            return await store.search(conn, agent_id, now.keys(), storable_text(query), BEST)

    async def _index(self, agent_id: uuid.UUID, now: dict[str, Source], changed: Sequence[str], gone: set[str]) -> None:
        """Each source in a transaction of its own, so that none takes long."""
        for name in [*sorted(gone), *changed]:
            source = now.get(name)

            async def work(conn: AsyncConnection, name: str = name, source: Source | None = source) -> None:
                await store.lock(conn, agent_id)
                await store.forget(conn, agent_id, [name])
                if source is not None:
                    await store.add(conn, agent_id, name, source.digest, source.pieces)

            await self._db.run(work)

"""Pieces of agents' knowledge as Postgres searches them: derived from what agents say, and made again at any time."""

import uuid
from collections.abc import Collection, Sequence
from typing import Final

from sqlalchemy import delete, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from raworc.store.schema import knowledge


async def digests(conn: AsyncConnection, agent_id: uuid.UUID) -> dict[str, str]:
    """Of each source that is there: the digest of its text."""
    rows = await conn.execute(
        select(knowledge.c.source, knowledge.c.digest).where(knowledge.c.agent_id == agent_id, knowledge.c.number == 0)
    )
    return {row.source: row.digest for row in rows}


async def lock(conn: AsyncConnection, agent_id: uuid.UUID) -> None:
    """Until the transaction ends, nobody else replaces pieces of this agent."""
    await conn.execute(_LOCK, {"agent_id": str(agent_id)})


async def forget(conn: AsyncConnection, agent_id: uuid.UUID, sources: Collection[str]) -> None:
    """Remove sources."""
    await conn.execute(delete(knowledge).where(knowledge.c.agent_id == agent_id, knowledge.c.source.in_(sources)))


async def add(conn: AsyncConnection, agent_id: uuid.UUID, source: str, digest: str, pieces: Sequence[str]) -> None:
    """Add a source, which is not there. An agent that is gone gets none."""
    await conn.execute(_ADD, {"agent_id": agent_id, "source": source, "digest": digest, "pieces": list(pieces) or [""]})


async def search(
    conn: AsyncConnection, agent_id: uuid.UUID, sources: Collection[str], query: str, limit: int
) -> list[tuple[str, str]]:
    """Source and text of the pieces that hold any of the words, the best first."""
    given = {"agent_id": agent_id, "sources": sorted(sources), "query": query, "limit": limit}
    return [(row.source, row.body) for row in await conn.execute(_SEARCH, given)]


_LOCK: Final = text("SELECT pg_advisory_xact_lock(hashtextextended('knowledge ' || CAST(:agent_id AS text), 0))")

_ADD: Final = text(
    """
INSERT INTO knowledge (agent_id, source, number, digest, body)
SELECT CAST(:agent_id AS uuid), :source, number - 1, :digest, body
FROM unnest(CAST(:pieces AS text[])) WITH ORDINALITY AS given (body, number)
WHERE EXISTS (SELECT FROM agents WHERE id = CAST(:agent_id AS uuid))
"""
)

_SEARCH: Final = text(
    """
WITH asked AS (
    SELECT CAST(replace(CAST(plainto_tsquery('english', :query) AS text), ' & ', ' | ') AS tsquery) AS words
)
SELECT source, body FROM knowledge, asked
WHERE agent_id = CAST(:agent_id AS uuid) AND source = ANY(CAST(:sources AS text[])) AND terms @@ words
ORDER BY ts_rank(terms, words, 1) DESC, source, number
LIMIT :limit
"""
)

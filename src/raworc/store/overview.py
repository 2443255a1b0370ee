"""How much there is to do in the whole installation, in one statement over small partial indexes."""

from dataclasses import dataclass
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from raworc.store.statement import Statement

_READ: Final = Statement(
    text(
        """
        SELECT 'turns', status, count(*)::float8 FROM turns
        WHERE status = 'pending' GROUP BY status
        UNION ALL SELECT 'turns', status, count(*) FROM turns
        WHERE status = 'processing' GROUP BY status
        UNION ALL SELECT 'waiting_s', '', extract(epoch FROM clock_timestamp() - min(created_at)) FROM turns
        WHERE status = 'pending' HAVING count(*) > 0
        UNION ALL SELECT 'sessions', state, count(*) FROM sessions
        WHERE state IN ('init', 'idle', 'busy') GROUP BY state
        UNION ALL SELECT 'sandboxes', '', count(*) FROM runs WHERE ended_at IS NULL
        UNION ALL SELECT 'workers', kind, count(*) FROM workers
        WHERE seen_at > clock_timestamp() - make_interval(secs => :alive_s) GROUP BY kind
        """
    )
)


@dataclass(frozen=True)
class Count:
    """``kind`` of what ``topic`` counts."""

    topic: str
    kind: str
    value: float


async def read(conn: AsyncConnection, *, alive_s: float) -> list[Count]:
    """What waits, runs and is awake. A worker that was seen within ``alive_s`` is alive."""
    return [Count(*row) for row in await _READ.all(conn, {"alive_s": alive_s})]

"""What handlers of code agents said: the newest lines of each agent, so many bytes of them."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import BigInteger, Integer, Text, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY, TIMESTAMP, UUID
from sqlalchemy.ext.asyncio import AsyncConnection

from raworc.domain.handlers import LogLine
from raworc.store.statement import Statement

_ROW_BYTES: Final = 64
"""What a row takes besides its line, about."""


@dataclass(frozen=True)
class AgentLogRow:
    """One line, by its number in the one numbering of all."""

    number: int
    at: datetime
    level: str
    line: str


async def append(conn: AsyncConnection, agent_id: uuid.UUID, lines: Sequence[LogLine]) -> None:
    """Add lines in their order; nothing where the agent was taken away."""
    parameters = {
        "agent_id": agent_id,
        "at": [line.at for line in lines],
        "levels": [line.level for line in lines],
        "lines": [line.text for line in lines],
    }
    await _APPEND.run(conn, parameters)


async def shorten(conn: AsyncConnection, agent_id: uuid.UUID, most_bytes: int) -> None:
    """Drop the oldest lines above so many bytes."""
    await _SHORTEN.run(conn, {"agent_id": agent_id, "most": most_bytes})


async def newest(conn: AsyncConnection, agent_id: uuid.UUID, limit: int) -> list[AgentLogRow]:
    """The last lines, oldest first."""
    rows = await _NEWEST.all(conn, {"agent_id": agent_id, "most": limit})
    return [AgentLogRow(*row) for row in reversed(rows)]


async def following(conn: AsyncConnection, agent_id: uuid.UUID, after: int, limit: int) -> list[AgentLogRow]:
    """The first lines numbered above ``after``."""
    return [AgentLogRow(*row) for row in await _FOLLOWING.all(conn, _page(agent_id, after, limit))]


def _page(agent_id: uuid.UUID, after: int, limit: int) -> dict[str, object]:
    return {"agent_id": agent_id, "after": after, "most": limit}


_AGENT: Final = bindparam("agent_id", type_=UUID)
_MOST: Final = bindparam("most", type_=Integer)

_APPEND: Final = Statement(
    text(
        """
INSERT INTO agent_logs (agent_id, at, level, line)
SELECT a.id, said.at, said.level, said.line
FROM agents a, unnest(:at, :levels, :lines) WITH ORDINALITY AS said (at, level, line, position)
WHERE a.id = :agent_id AND a.deleted_at IS NULL
ORDER BY said.position
"""
    ).bindparams(
        _AGENT,
        bindparam("at", type_=ARRAY(TIMESTAMP(timezone=True))),
        bindparam("levels", type_=ARRAY(Text)),
        bindparam("lines", type_=ARRAY(Text)),
    )
)

_SHORTEN: Final = Statement(
    text(
        f"""
DELETE FROM agent_logs WHERE agent_id = :agent_id AND number <= (
    SELECT max(number) FROM (
        SELECT number, sum(octet_length(line) + {_ROW_BYTES}) OVER (ORDER BY number DESC) AS bytes
        FROM agent_logs WHERE agent_id = :agent_id
    ) AS counted WHERE bytes > :most)
"""  # noqa: S608  put together from constants
    ).bindparams(_AGENT, _MOST)
)

_NEWEST: Final = Statement(
    text(
        "SELECT number, at, level, line FROM agent_logs WHERE agent_id = :agent_id ORDER BY number DESC LIMIT :most"
    ).bindparams(_AGENT, _MOST)
)

_FOLLOWING: Final = Statement(
    text(
        "SELECT number, at, level, line FROM agent_logs WHERE agent_id = :agent_id AND number > :after"
        " ORDER BY number LIMIT :most"
    ).bindparams(_AGENT, bindparam("after", type_=BigInteger), _MOST)
)

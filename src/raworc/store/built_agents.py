"""What newest completed builds made: the code that a space's agents run."""

import uuid
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Text, bindparam, text
from sqlalchemy.dialects.postgresql import UUID
from sqlalchemy.ext.asyncio import AsyncConnection

from raworc.store.statement import Statement


@dataclass(frozen=True)
class BuiltAgentRow:
    """An active code agent with what its space's newest completed build made of it.

    Its files lie in ``<home>/builds/<digest>`` on ``node``; ``handler`` is ``module.function``. ``description`` and
    ``purpose`` are the agent's own, else its manifest's.
    """

    agent_id: uuid.UUID
    name: str
    digest: str
    runtime: str
    handler: str
    description: str | None
    purpose: str | None
    is_deployed: bool
    node: str
    build_id: uuid.UUID


async def of_space(conn: AsyncConnection, space: str) -> list[BuiltAgentRow]:
    """Those of one space, by name."""
    return [BuiltAgentRow(*row) for row in await _OF_SPACE.all(conn, {"space": space})]


async def of_session(conn: AsyncConnection, session_id: uuid.UUID) -> tuple[str, bool, list[BuiltAgentRow]] | None:
    """Who made one, whether a build of its space runs or waits, and that space's agents; None: no such session."""
    rows = await _OF_SESSION.all(conn, {"session_id": session_id})
    if not rows:
        return None
    created_by, is_building, *_ = rows[0]
    return created_by, is_building, [BuiltAgentRow(*row[2:]) for row in rows if row[2] is not None]


_BUILT: Final = """
SELECT a.id, a.name, m.digest, m.runtime, m.handler, coalesce(a.description, m.description),
    coalesce(a.purpose, m.purpose), a.deployed_at IS NOT NULL, b.node, b.id
FROM (SELECT id, node FROM builds WHERE space = {space} AND status = 'completed' ORDER BY number DESC LIMIT 1) b
JOIN built_agents m ON m.build_id = b.id
JOIN agents a ON a.id = m.agent_id AND a.active AND a.deleted_at IS NULL
ORDER BY lower(a.name)
"""

_OF_SPACE: Final = Statement(text(_BUILT.format(space=":space")).bindparams(bindparam("space", type_=Text)))

_OF_SESSION: Final = Statement(
    text(
        "SELECT h.created_by, EXISTS (SELECT FROM builds WHERE space = s.space AND status IN ('pending', 'building')),"  # noqa: S608  of constants
        " built.* FROM sessions s JOIN shared_sessions h ON h.session_id = s.id"
        f" LEFT JOIN LATERAL ({_BUILT.format(space='s.space')}) AS built ON true WHERE s.id = :session_id"
    ).bindparams(bindparam("session_id", type_=UUID))
)

"""What an operator must know of the agents of a session to open its sandbox and to ask their models."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import bindparam, text
from sqlalchemy.dialects.postgresql import UUID
from sqlalchemy.ext.asyncio import AsyncConnection

from raworc.store.statement import Statement

DEFAULT_NAME: Final = "default"
"""What answers in a session of a space that has no agents is called so."""


@dataclass(frozen=True)
class Brief:
    """An agent's definition, in the order of ``COLUMNS``.

    ``agent_id`` None: it stands for the space itself, whose default model answers. ``model``: its own, else the
    space's. ``limits`` may hold memory_mb, cpus, pids and disk_mb; None: the default. The lists are the user's own
    JSON, see ``domain/toolset.py``, ``guardrails.py`` and ``knowledge.py``. ``kind`` as in ``store/schema.py``.
    """

    agent_id: uuid.UUID | None
    name: str
    space: str
    instructions: str | None
    setup: str | None
    model: str | None
    max_tokens: int | None
    network: str
    limits: Mapping[str, Any]
    tools: Sequence[Any] = ()
    guardrails: Sequence[Any] = ()
    knowledge_bases: Sequence[Any] = ()
    kind: str = "named"
    description: str | None = None
    purpose: str | None = None
    routes: Sequence[Any] = ()

    @property
    def train_id(self) -> str:
        """What the agent's model calls are booked under."""
        return f"{self.space}.{self.name}"


async def of_session(conn: AsyncConnection, session_id: uuid.UUID) -> Brief | None:
    """The agent whose home the session is; None when it was deleted."""
    row = await _HOME.first(conn, {"session_id": session_id})
    return None if row is None else Brief(*row)


async def of_space(conn: AsyncConnection, session_id: uuid.UUID) -> Brief | None:
    """What stands for a session's space: its sandbox is opened for it, and it answers where there are no agents."""
    row = await _SPACE.first(conn, {"session_id": session_id})
    if row is None:
        return None
    space, model = row
    return Brief(None, DEFAULT_NAME, space, None, None, model, None, "none", {}, kind="space")


async def candidates(conn: AsyncConnection, session_id: uuid.UUID) -> list[Brief]:
    """Who may answer in a session of a space: the active ones of its own agents, else the space's code agents."""
    return [Brief(*row) for row in await _CANDIDATES.all(conn, {"session_id": session_id})]


async def of_agent(conn: AsyncConnection, session_id: uuid.UUID, agent_id: uuid.UUID) -> Brief | None:
    """An agent that answers in a session of a space, also when it was put out of use since; None: it is gone."""
    row = await _ONE.first(conn, {"session_id": session_id, "agent_id": agent_id})
    return None if row is None else Brief(*row)


_MODEL: Final = """CASE WHEN jsonb_typeof(p.settings -> 'default_model') = 'string'
    THEN nullif(p.settings ->> 'default_model', '') END"""

COLUMNS: Final = f"""
    a.id, a.name, p.name, a.instructions, a.setup, coalesce(a.model, {_MODEL}), a.max_tokens, a.network, a.limits,
    a.tools, a.guardrails, a.knowledge_bases, a.kind, a.description, a.purpose, a.routes
"""
"""Of an agent ``a`` in the space ``p``; in a session of spaces, ``p`` is the session's."""

_SESSION: Final = bindparam("session_id", type_=UUID)

_HOME: Final = Statement(
    text(
        f"SELECT {COLUMNS} FROM agents a JOIN spaces p ON p.name = a.space"  # noqa: S608  put together from constants
        " WHERE a.session_id = :session_id"
    ).bindparams(_SESSION)
)

_SPACE: Final = Statement(
    text(
        f"SELECT p.name, {_MODEL} FROM sessions s JOIN spaces p ON p.name = s.space"  # noqa: S608  of constants
        " WHERE s.id = :session_id"
    ).bindparams(_SESSION)
)

_CANDIDATES: Final = Statement(
    text(
        f"""
WITH own AS (SELECT agent_id AS id, position FROM session_agents WHERE session_id = :session_id),
chosen AS (
    SELECT * FROM own
    UNION ALL
    SELECT a.id, NULL FROM sessions s JOIN agents a ON a.space = s.space AND a.kind = 'code'
    WHERE s.id = :session_id AND NOT EXISTS (SELECT FROM own)
)
SELECT {COLUMNS} FROM chosen JOIN agents a ON a.id = chosen.id
JOIN sessions s ON s.id = :session_id JOIN spaces p ON p.name = s.space
WHERE a.active AND a.deleted_at IS NULL ORDER BY chosen.position, a.created_at, a.id
"""  # noqa: S608  put together from constants
    ).bindparams(_SESSION)
)

_ONE: Final = Statement(
    text(
        f"SELECT {COLUMNS} FROM sessions s JOIN spaces p ON p.name = s.space"  # noqa: S608  of constants
        " JOIN agents a ON a.id = :agent_id WHERE s.id = :session_id"
    ).bindparams(_SESSION, bindparam("agent_id", type_=UUID))
)

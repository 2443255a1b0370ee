"""What an operator must know of the agent of a session to open its sandbox and to ask its model."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from raworc.store.schema import agents


@dataclass(frozen=True)
class Brief:
    """An agent's definition. ``limits`` may hold memory_mb, cpus, pids and disk_mb; None: the default.

    The lists are the user's own JSON, see ``domain/toolset.py``, ``guardrails.py`` and ``knowledge.py``.
    """

    agent_id: uuid.UUID
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

    @property
    def train_id(self) -> str:
        """What the agent's model calls are booked under."""
        return f"{self.space}.{self.name}"


async def of_session(conn: AsyncConnection, session_id: uuid.UUID) -> Brief | None:
    """The agent whose home the session is; None when it was deleted."""
    row = (await conn.execute(_BRIEF.where(agents.c.session_id == session_id))).one_or_none()
    return None if row is None else Brief(*row)


_BRIEF = select(
    agents.c.id,
    agents.c.name,
    agents.c.space,
    agents.c.instructions,
    agents.c.setup,
    agents.c.model,
    agents.c.max_tokens,
    agents.c.network,
    agents.c.limits,
    agents.c.tools,
    agents.c.guardrails,
    agents.c.knowledge_bases,
)

"""Code agents whose handlers are kept warm: a mark in their rows of ``agents``."""

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import BigInteger, Text, bindparam, text
from sqlalchemy.dialects.postgresql import UUID
from sqlalchemy.ext.asyncio import AsyncConnection

from raworc.store.notify import WORK
from raworc.store.statement import Statement


@dataclass(frozen=True)
class DeploymentRow:
    """An agent, and since when it is deployed; None: it is not."""

    name: str
    deployed_at: datetime | None


async def page(conn: AsyncConnection, space: str, *, limit: int, offset: int) -> list[DeploymentRow]:
    """The deployed and active agents of a space, by name."""
    parameters = {"space": space, "most": limit, "skipped": offset}
    return [DeploymentRow(*row) for row in await _PAGE.all(conn, parameters)]


async def names(conn: AsyncConnection, session_id: uuid.UUID) -> list[str]:
    """The deployed and active agents of the space that a session is in."""
    return [name for (name,) in await _NAMES.all(conn, {"session_id": session_id})]


async def begin(conn: AsyncConnection, agent_id: uuid.UUID) -> DeploymentRow:
    """Mark one; whoever is marked stays so since when he was."""
    return DeploymentRow(*(await _BEGIN.all(conn, {"agent_id": agent_id}))[0])


async def end(conn: AsyncConnection, agent_id: uuid.UUID) -> DeploymentRow:
    """Take the mark away."""
    return DeploymentRow(*(await _END.all(conn, {"agent_id": agent_id}))[0])


async def stir(conn: AsyncConnection, space: str) -> None:
    """Have operators look at the sessions of a space that may have handlers."""
    await _STIR.run(conn, {"space": space, "channel": WORK})


async def is_kept(conn: AsyncConnection, session_id: uuid.UUID, epoch: int, agent_id: uuid.UUID) -> bool:
    """Whether an agent is deployed in the space of a session that is held under ``epoch``."""
    parameters = {"session_id": session_id, "epoch": epoch, "agent_id": agent_id}
    return await _IS_KEPT.first(conn, parameters) is not None


_AGENT: Final = bindparam("agent_id", type_=UUID)
_SPACE: Final = bindparam("space", type_=Text)

_PAGE: Final = Statement(
    text(
        "SELECT name, deployed_at FROM agents WHERE space = :space AND kind = 'code' AND active"
        " AND deleted_at IS NULL AND deployed_at IS NOT NULL ORDER BY lower(name) LIMIT :most OFFSET :skipped"
    ).bindparams(_SPACE)
)
_NAMES: Final = Statement(
    text(
        "SELECT a.name FROM agents a JOIN sessions s ON s.space = a.space WHERE s.id = :session_id"
        " AND a.kind = 'code' AND a.active AND a.deleted_at IS NULL AND a.deployed_at IS NOT NULL"
    ).bindparams(bindparam("session_id", type_=UUID))
)
_BEGIN: Final = Statement(
    text(
        "UPDATE agents SET deployed_at = coalesce(deployed_at, now()) WHERE id = :agent_id RETURNING name, deployed_at"
    ).bindparams(_AGENT)
)
_END: Final = Statement(
    text("UPDATE agents SET deployed_at = NULL WHERE id = :agent_id RETURNING name, deployed_at").bindparams(_AGENT)
)
_IS_KEPT: Final = Statement(
    text(
        "SELECT FROM agents a JOIN sessions s ON s.space = a.space WHERE s.id = :session_id AND s.hold_epoch = :epoch"
        " AND a.id = :agent_id AND a.active AND a.deleted_at IS NULL AND a.deployed_at IS NOT NULL"
    ).bindparams(bindparam("session_id", type_=UUID), bindparam("epoch", type_=BigInteger), _AGENT)
)
_STIR: Final = Statement(
    text(
        "SELECT pg_notify(:channel, id::text) FROM sessions"
        " WHERE space = :space AND state IN ('init', 'idle', 'busy') AND held_by IS NOT NULL"
    ).bindparams(_SPACE, bindparam("channel", type_=Text))
)

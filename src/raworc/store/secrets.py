"""Sealed secrets of agents, and the wrapped data keys of spaces that they are sealed with."""

import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import bindparam, delete, func, select, text, update
from sqlalchemy.dialects.postgresql import ARRAY, UUID, insert
from sqlalchemy.ext.asyncio import AsyncConnection

from raworc.store.schema import agent_secrets, data_keys
from raworc.store.statement import Statement


@dataclass(frozen=True)
class WrappedKey:
    """A data key as it is stored: sealed by the master key that ``master_key_id`` names."""

    space: str
    version: int
    wrapped: bytes
    master_key_id: str


@dataclass(frozen=True)
class Sealed:
    """One secret as it is stored."""

    key: str
    key_version: int
    nonce: bytes
    ciphertext: bytes


async def data_keys_of(conn: AsyncConnection, space: str) -> list[WrappedKey]:
    """A space's data keys, newest first."""
    columns = (data_keys.c.space, data_keys.c.version, data_keys.c.wrapped, data_keys.c.master_key_id)
    rows = await conn.execute(select(*columns).where(data_keys.c.space == space).order_by(data_keys.c.version.desc()))
    return [WrappedKey(*row) for row in rows]


async def spaces_with_keys(conn: AsyncConnection) -> list[str]:
    """The spaces that have a data key, by name."""
    return list(await conn.scalars(select(data_keys.c.space).distinct().order_by(data_keys.c.space)))


async def forget_data_keys(conn: AsyncConnection, space: str, *, before: int) -> None:
    """Delete a space's data keys of older versions."""
    await conn.execute(delete(data_keys).where(data_keys.c.space == space, data_keys.c.version < before))


async def lock_sealing(conn: AsyncConnection, space: str) -> None:
    """The space's newest data key stays the newest until the transaction ends."""
    await conn.execute(_LOCK_SEALING, {"lock": _LOCKS, "space": space})


async def lock_renewing(conn: AsyncConnection, space: str) -> None:
    """Nothing is being sealed in the space, and nothing will be until the transaction ends."""
    await conn.execute(_LOCK_RENEWING, {"lock": _LOCKS, "space": space})


async def add_data_key(conn: AsyncConnection, key: WrappedKey) -> None:
    """Store a data key, unless this version is there already."""
    await conn.execute(
        insert(data_keys)
        .values(space=key.space, version=key.version, wrapped=key.wrapped, master_key_id=key.master_key_id)
        .on_conflict_do_nothing()
    )


async def lock_data_keys(conn: AsyncConnection) -> list[WrappedKey]:
    """Every data key there is. Nobody adds or changes one until the transaction ends."""
    await conn.execute(text("LOCK TABLE data_keys IN SHARE ROW EXCLUSIVE MODE"))
    columns = (data_keys.c.space, data_keys.c.version, data_keys.c.wrapped, data_keys.c.master_key_id)
    return [WrappedKey(*row) for row in await conn.execute(select(*columns))]


async def replace_data_key(conn: AsyncConnection, key: WrappedKey) -> None:
    """Store a data key that is wrapped anew."""
    await conn.execute(
        update(data_keys)
        .where(data_keys.c.space == key.space, data_keys.c.version == key.version)
        .values(wrapped=key.wrapped, master_key_id=key.master_key_id)
    )


async def upsert(conn: AsyncConnection, agent_id: uuid.UUID, secrets: Sequence[Sealed]) -> None:
    """Add or replace secrets of an agent."""
    rows = [
        {
            "agent_id": agent_id,
            "key": sealed.key,
            "key_version": sealed.key_version,
            "nonce": sealed.nonce,
            "ciphertext": sealed.ciphertext,
        }
        for sealed in secrets
    ]
    adding = insert(agent_secrets)
    replacing = {name: adding.excluded[name] for name in ("key_version", "nonce", "ciphertext")}
    await conn.execute(
        adding.on_conflict_do_update(index_elements=["agent_id", "key"], set_={**replacing, "updated_at": func.now()}),
        rows,
    )


@dataclass(frozen=True)
class SecretName:
    """That there is a secret, and since when; never its value."""

    key: str
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True)
class Keeper:
    """A session whose space, or the agent whose home it is, has secrets; ``version`` differs whenever they do.

    Agent and owner are None of sessions that are nobody's home. ``has_space``: the space has some.
    """

    session_id: uuid.UUID
    space: str
    agent_id: uuid.UUID | None
    owner_id: uuid.UUID | None
    version: tuple[int, datetime | None, int, datetime | None]

    @property
    def has_space(self) -> bool:
        """Whether its space has secrets."""
        return self.version[2] > 0


async def keepers(conn: AsyncConnection, session_ids: Collection[uuid.UUID]) -> list[Keeper]:
    """Those of these sessions that may have secrets."""
    rows = await _KEEPERS.all(conn, {"session_ids": list(session_ids)})
    return [Keeper(*row[:4], version=tuple(row[4:])) for row in rows]


async def names(conn: AsyncConnection, agent_id: uuid.UUID) -> list[SecretName]:
    """The names of an agent's secrets, in their order."""
    columns = (agent_secrets.c.key, agent_secrets.c.created_at, agent_secrets.c.updated_at)
    rows = await conn.execute(
        select(*columns).where(agent_secrets.c.agent_id == agent_id).order_by(agent_secrets.c.key)
    )
    return [SecretName(*row) for row in rows]


async def remove(conn: AsyncConnection, agent_id: uuid.UUID, key: str) -> bool:
    """Delete one; False when there is none of this name."""
    gone = await conn.execute(
        delete(agent_secrets).where(agent_secrets.c.agent_id == agent_id, agent_secrets.c.key == key)
    )
    return gone.rowcount > 0


async def weight(conn: AsyncConnection, agent_id: uuid.UUID) -> tuple[int, int]:
    """How many secrets an agent has, and the bytes of all their names and sealed values."""
    size = func.octet_length(agent_secrets.c.ciphertext) + func.octet_length(agent_secrets.c.key)
    counted = select(func.count(), func.coalesce(func.sum(size), 0)).where(agent_secrets.c.agent_id == agent_id)
    count, size_bytes = (await conn.execute(counted)).one()
    return int(count), int(size_bytes)


async def of_agent(conn: AsyncConnection, agent_id: uuid.UUID) -> list[Sealed]:
    """All secrets of an agent, by name."""
    columns = (agent_secrets.c.key, agent_secrets.c.key_version, agent_secrets.c.nonce, agent_secrets.c.ciphertext)
    rows = await conn.execute(
        select(*columns).where(agent_secrets.c.agent_id == agent_id).order_by(agent_secrets.c.key)
    )
    return [Sealed(*row) for row in rows]


_LOCKS: Final = 7_236_906  # any number that is ours alone
_LOCK_SEALING: Final = text("SELECT pg_advisory_xact_lock_shared(CAST(:lock AS integer), hashtext(:space))")
_LOCK_RENEWING: Final = text("SELECT pg_advisory_xact_lock(CAST(:lock AS integer), hashtext(:space))")
_KEEPERS: Final = Statement(
    text(
        """
SELECT s.id, s.space, a.id, a.owner_id, own.count, own.at, common.count, common.at
FROM sessions s LEFT JOIN agents a ON a.session_id = s.id
CROSS JOIN LATERAL (SELECT count(*), max(updated_at) AS at FROM agent_secrets WHERE agent_id = a.id) AS own
CROSS JOIN LATERAL (SELECT count(*), max(updated_at) AS at FROM space_secrets WHERE space = s.space) AS common
WHERE s.id = ANY(:session_ids) AND own.count + common.count > 0
"""
    ).bindparams(bindparam("session_ids", type_=ARRAY(UUID)))
)

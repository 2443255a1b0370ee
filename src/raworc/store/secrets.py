"""Sealed secrets of agents, and the wrapped data keys of spaces that they are sealed with."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from raworc.store.schema import agent_secrets, data_keys


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


async def of_agent(conn: AsyncConnection, agent_id: uuid.UUID) -> list[Sealed]:
    """All secrets of an agent, by name."""
    columns = (agent_secrets.c.key, agent_secrets.c.key_version, agent_secrets.c.nonce, agent_secrets.c.ciphertext)
    rows = await conn.execute(
        select(*columns).where(agent_secrets.c.agent_id == agent_id).order_by(agent_secrets.c.key)
    )
    return [Sealed(*row) for row in rows]

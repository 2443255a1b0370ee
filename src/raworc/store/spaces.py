"""Rows of ``spaces``."""

from sqlalchemy import literal, select
from sqlalchemy.ext.asyncio import AsyncConnection

from raworc.store.schema import spaces


async def exists(conn: AsyncConnection, name: str) -> bool:
    """Whether there is a space of this name."""
    return await conn.scalar(select(literal(True)).where(spaces.c.name == name)) is True  # noqa: FBT003  SQL's true

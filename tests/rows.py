"""Rows that tests of services and stores start from, written as the product itself would."""

import uuid

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from raworc.ids import new_id
from raworc.store.schema import sessions


async def add_session(conn: AsyncConnection, *, state: str = "idle", **columns: object) -> uuid.UUID:
    session_id = new_id()
    values = {"id": session_id, "space": "default", "kind": "home", "state": state}
    await conn.execute(sessions.insert().values(**values, idle_timeout_s=300, busy_timeout_s=3600, **columns))
    return session_id


async def session_row(conn: AsyncConnection, session_id: uuid.UUID):
    return (await conn.execute(select(sessions).where(sessions.c.id == session_id))).one()

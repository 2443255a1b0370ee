"""Rows of running processes. Times are the database's own."""

import uuid
from collections.abc import Collection

from sqlalchemy import delete, func, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from raworc.ids import WorkerId
from raworc.store.schema import workers

FORGET_AFTER = text("interval '1 day'")


async def seen(conn: AsyncConnection, worker_id: uuid.UUID, kind: str, node: str, pid: int) -> None:
    """Say that a process is alive now; its first time makes the row."""
    row = insert(workers).values(id=worker_id, kind=kind, node=node, pid=pid)
    await conn.execute(row.on_conflict_do_update(index_elements=[workers.c.id], set_={"seen_at": func.now()}))


async def of_node(conn: AsyncConnection, node: str) -> list[WorkerId]:
    """Every process that ever said it is alive on a node and did not say goodbye."""
    rows = await conn.scalars(select(workers.c.id).where(workers.c.node == node))
    return [WorkerId(row) for row in rows]


async def forget(conn: AsyncConnection, gone: Collection[uuid.UUID]) -> None:
    """Remove rows of processes that ended, and of those that nobody saw for a day."""
    unseen = workers.c.seen_at < func.now() - FORGET_AFTER
    await conn.execute(delete(workers).where(workers.c.id.in_(gone) | unseen))

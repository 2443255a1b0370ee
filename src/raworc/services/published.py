"""Agents that are published: anybody may look at them, any account may remix what their publisher lets go.

What is published is the Agent object and the right to a remix. Files, responses, context and recorded calls stay
the owner's.
"""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Final

from sqlalchemy import func
from sqlalchemy.ext.asyncio import AsyncConnection

from raworc.domain.names import is_agent_name
from raworc.services import agents, audit
from raworc.services.accounts import Caller
from raworc.services.agents import AgentView
from raworc.services.answers import Keep, unkept
from raworc.services.audit import Deed
from raworc.store import agents as store
from raworc.store.database import Database

MAX_PAGE: Final = 100
_MAX_OFFSET: Final = 2**53


@dataclass(frozen=True)
class Permissions:
    """What a remix by another account may take. ``secrets`` None: allowed by name only, so none are given."""

    code: bool = True
    secrets: bool | None = None
    content: bool = True


class Published:
    """What may be done to publish agents, and what the world sees of them."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def publish(
        self, caller: Caller, name: str, permissions: Permissions, keep: Keep[AgentView] = unkept
    ) -> AgentView:
        """Show an agent to everybody; a published one gets other permissions and keeps its time.

        Raises as ``agents.find`` for the verb ``update``.
        """
        shown = {"code": permissions.code, "secrets": permissions.secrets is not False, "content": permissions.content}

        async def work(conn: AsyncConnection) -> AgentView:
            row = await agents.find_locked(conn, caller, name, "update")
            values = {
                "is_published": True,
                "published_at": row.published_at or func.now(),
                "published_by": caller.name,
                "publish_permissions": shown,
                "offers_secrets": permissions.secrets is True,
            }
            await store.update(conn, row.id, values)
            offered = shown | {"secrets": permissions.secrets is True}
            await audit.done(conn, caller, Deed("publish", "agents", row.name, row.space, offered))
            return await agents.shown(conn, caller, name, keep)

        return await self._db.run(work)

    async def unpublish(self, caller: Caller, name: str, keep: Keep[AgentView] = unkept) -> AgentView:
        """Show it to nobody else any more; remixes that were made stay. Raises as :meth:`publish`."""

        async def work(conn: AsyncConnection) -> AgentView:
            row = await agents.find_locked(conn, caller, name, "update")
            await store.update(conn, row.id, _UNPUBLISHED)
            await audit.done(conn, caller, Deed("unpublish", "agents", row.name, row.space))
            return await agents.shown(conn, caller, name, keep)

        return await self._db.run(work)

    async def page(self, *, limit: int, offset: int) -> list[AgentView]:
        """Published agents, the newest first. ``limit`` is clamped to 1..100."""
        count, start = min(max(limit, 1), MAX_PAGE), min(max(offset, 0), _MAX_OFFSET)
        async with self._db.reading() as conn:
            return [agents.view(row, None) for row in await store.published(conn, limit=count, offset=start)]

    async def everything(self, *, offset: int) -> AsyncGenerator[list[AgentView]]:
        """All of them from ``offset`` on, in the same order, in pieces of at most 100; each piece is read by itself."""
        start = min(max(offset, 0), _MAX_OFFSET)
        async with self._db.reading() as conn:
            rows = await store.published(conn, limit=MAX_PAGE, offset=start)
        while rows:
            yield [agents.view(row, None) for row in rows]
            if len(rows) < MAX_PAGE:
                return
            async with self._db.reading() as conn:
                rows = await store.published_before(conn, rows[-1], limit=MAX_PAGE)

    async def get(self, name: str) -> AgentView:
        """One published agent.

        Raises:
            NotFound: there is none of this name, or it is not published: nobody can tell which.
        """
        async with self._db.reading() as conn:
            row = await store.find(conn, name) if is_agent_name(name) else None
        if row is None or not row.is_published:
            raise agents.absent(name)
        return agents.view(row, None)


_UNPUBLISHED: Final = {
    "is_published": False,
    "published_at": None,
    "published_by": None,
    "publish_permissions": {"code": True, "secrets": True, "content": True},
    "offers_secrets": False,
}

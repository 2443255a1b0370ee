"""Deployed code agents: those whose handlers stay warm in each session of their space once a message needed them."""

import uuid
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from raworc.domain.text import storable_text
from raworc.errors import Conflict
from raworc.services import audit
from raworc.services.accounts import Caller
from raworc.services.answers import Keep, unkept
from raworc.services.audit import Deed
from raworc.services.code_agents import RESOURCE, found, named
from raworc.services.spaces import check_reach
from raworc.store import built_agents
from raworc.store import deployments as store
from raworc.store.code_agents import CodeAgentRow
from raworc.store.database import Database
from raworc.store.deployments import DeploymentRow

__all__ = ["DeploymentRow", "Deployments"]

_NOT_ACTIVE: Final = "Agent '{name}' is not active: set its status to 'active' first"
_NOT_BUILT: Final = (
    "Agent '{name}' is in no completed build of space '{space}': wait for its build, or look why it failed,"
    " with GET /spaces/{space}/build/latest"
)


class Deployments:
    """Deploying and stopping, by those who may update the agent."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def page(self, caller: Caller, space: str, *, limit: int, offset: int) -> list[DeploymentRow]:
        """The deployed agents of a space, by name.

        Raises:
            NotFound: there is no such space, or none that the caller may see.
            Forbidden: he may not list agents there.
        """
        deed = Deed("list", RESOURCE, space=storable_text(space[:80]))
        async with audit.refusals_kept(self._db, caller, deed), self._db.reading() as conn:
            await check_reach(conn, caller, "list", RESOURCE, space)
            return await store.page(conn, space, limit=limit, offset=offset)

    async def begin(self, caller: Caller, space: str, name: str, keep: Keep[DeploymentRow] = unkept) -> DeploymentRow:
        """Deploy an agent; one that is deployed stays so.

        Raises:
            NotFound, Forbidden: there is none that the caller may see, or he may not change it.
            Conflict: it is not active, or in no completed build.
        """

        async def work(conn: AsyncConnection, agent: CodeAgentRow) -> DeploymentRow:
            if not agent.active:
                raise Conflict(_NOT_ACTIVE.format(name=agent.name))
            if agent.id not in {built.agent_id for built in await built_agents.of_space(conn, space)}:
                raise Conflict(_NOT_BUILT.format(name=agent.name, space=space))
            begun = await store.begin(conn, agent.id)
            await keep(conn, begun)
            return begun

        return await self._changed(caller, space, name, "deploy", work)

    async def end(self, caller: Caller, space: str, name: str, keep: Keep[DeploymentRow] = unkept) -> DeploymentRow:
        """Stop an agent: its handlers end, once they have answered. Raises as :meth:`begin`, but for Conflict."""

        async def work(conn: AsyncConnection, agent: CodeAgentRow) -> DeploymentRow:
            ended = await store.end(conn, agent.id)
            await store.stir(conn, space)
            await keep(conn, ended)
            return ended

        return await self._changed(caller, space, name, "stop", work)

    async def names(self, session_id: uuid.UUID) -> list[str]:
        """The agents whose handlers a session keeps warm; for operators."""
        async with self._db.reading() as conn:
            return await store.names(conn, session_id)

    async def _changed(
        self,
        caller: Caller,
        space: str,
        name: str,
        action: str,
        work: Callable[[AsyncConnection, CodeAgentRow], Awaitable[DeploymentRow]],
    ) -> DeploymentRow:
        deed = replace(named("update", space, name), details={"action": action})

        async def begun(conn: AsyncConnection, by: Caller) -> DeploymentRow:
            return await work(conn, await found(conn, by, "update", space, name, lock=True))

        return await audit.carried_out(self._db, caller, deed, begun)

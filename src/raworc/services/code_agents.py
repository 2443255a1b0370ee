"""Agents of the contract spaces: code of a repository. Making or changing one has its space built.

They belong to their space, not to who made them: it takes a role for ``agents`` there.
"""

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection

from raworc.domain import code_agents as domain
from raworc.domain.access import may
from raworc.domain.code_agents import CodeAgent
from raworc.domain.text import storable_text
from raworc.errors import BadRequest, Conflict, Forbidden, Hidden, NotFound
from raworc.ids import new_id
from raworc.services import audit
from raworc.services.accounts import Caller
from raworc.services.answers import Keep, unkept
from raworc.services.audit import Deed
from raworc.services.builds import want
from raworc.services.spaces import check_reach
from raworc.store import code_agents as store
from raworc.store.code_agents import CodeAgentRow
from raworc.store.database import Database, Duplicate

__all__ = ["CodeAgent", "CodeAgentRow", "CodeAgents", "found", "named"]

RESOURCE: Final = "agents"
T = TypeVar("T")


class CodeAgents:
    """Code agents, by those who may see or change them. ``files``: repositories may be folders of this machine."""

    def __init__(self, db: Database, *, files: bool) -> None:
        self._db = db
        self._files = files

    async def page(self, caller: Caller, space: str, *, limit: int, offset: int) -> list[CodeAgentRow]:
        """Those of a space, by name.

        Raises:
            NotFound: there is no such space, or none that the caller may see.
            Forbidden: he may not list agents there.
        """
        deed = Deed("list", RESOURCE, space=storable_text(space[:80]))
        async with audit.refusals_kept(self._db, caller, deed), self._db.reading() as conn:
            await check_reach(conn, caller, "list", RESOURCE, space)
            return await store.page(conn, space, limit=limit, offset=offset)

    async def get(self, caller: Caller, space: str, name: str) -> CodeAgentRow:
        """One of them.

        Raises:
            NotFound: there is none that the caller may see.
        """
        async with audit.refusals_kept(self._db, caller, named("get", space, name)), self._db.reading() as conn:
            return await found(conn, caller, "get", space, name)

    async def create(
        self, caller: Caller, space: str, new: CodeAgent, keep: Keep[CodeAgentRow] = unkept
    ) -> CodeAgentRow:
        """Make one, and have the space built.

        Raises:
            BadRequest: a field outside its rules.
            NotFound: there is no such space, or none that the caller may see.
            Forbidden: he may not make agents there.
            Conflict: the name is taken there, in any case of its letters.
        """
        values = domain.checked(new, files=self._files)

        async def work(conn: AsyncConnection, by: Caller) -> CodeAgentRow:
            await check_reach(conn, by, "create", RESOURCE, space)
            made = await store.insert(conn, {"id": new_id(), "space": space, "created_by": by.name, **values})
            await want(conn, space, by.name)
            await keep(conn, made)
            return made

        try:
            return await audit.carried_out(self._db, caller, named("create", space, new.name or ""), work)
        except Duplicate:
            raise Conflict(f"Agent '{new.name}' already exists in space '{space}'") from None

    async def update(self, caller: Caller, space: str, name: str, change: CodeAgent) -> CodeAgentRow:
        """Change what is given, and have the space built.

        Raises:
            NotFound, Forbidden: there is none that the caller may see, or he may not change it.
            BadRequest: nothing is given, or a field is outside its rules.
        """
        values = domain.checked(change, files=self._files)
        if not values:
            raise BadRequest("Nothing to change: give at least one field")

        async def work(conn: AsyncConnection, agent: CodeAgentRow, by: Caller) -> CodeAgentRow:
            changed = await store.change(conn, agent.id, values)
            await want(conn, space, by.name)
            return changed

        return await self._changed(caller, named("update", space, name), work)

    async def switch(self, caller: Caller, space: str, name: str, status: str) -> CodeAgentRow:
        """Let it take part or not. Who takes part again is built again. Raises as :meth:`update`."""
        active = domain.is_active(status)

        async def work(conn: AsyncConnection, agent: CodeAgentRow, by: Caller) -> CodeAgentRow:
            if agent.active == active:
                return agent
            if active:
                await want(conn, space, by.name)
            return await store.change(conn, agent.id, {"active": active})

        return await self._changed(caller, named("update", space, name), work)

    async def delete(self, caller: Caller, space: str, name: str) -> None:
        """Take one away: its name is free, it answers no message any more. Raises as :meth:`get`, and Forbidden."""

        async def work(conn: AsyncConnection, agent: CodeAgentRow, _by: Caller) -> None:
            await store.remove(conn, agent.id)

        await self._changed(caller, named("delete", space, name), work)

    async def _changed(
        self, caller: Caller, deed: Deed, work: Callable[[AsyncConnection, CodeAgentRow, Caller], Awaitable[T]]
    ) -> T:
        async def begun(conn: AsyncConnection, by: Caller) -> T:
            agent = await found(conn, by, deed.verb, deed.space or "", deed.name or "", lock=True)
            return await work(conn, agent, by)

        return await audit.carried_out(self._db, caller, deed, begun)


async def found(
    conn: AsyncConnection, caller: Caller, verb: str, space: str, name: str, *, lock: bool = False
) -> CodeAgentRow:
    """The agent, where the caller may ``verb`` agents of its space. ``lock``: nobody changes it meanwhile.

    Raises:
        NotFound: there is none that the caller may see.
        Forbidden: he may see it, and not do this.
    """
    row = await store.find(conn, storable_text(space), storable_text(name), lock=lock)
    if row is None:
        raise _absent(name)
    if may(caller.grants, verb, RESOURCE, space=space):
        return row
    if not may(caller.grants, "get", RESOURCE, space=space):
        raise Hidden(_absent(name).message)
    raise Forbidden(f"Account '{caller.name}' may not {verb} agents of space '{space}': ask an administrator")


def named(verb: str, space: str, name: str) -> Deed:
    """What is kept of a deed on a code agent."""
    return Deed(verb, RESOURCE, storable_text(name[:255]), storable_text(space[:80]))


def _absent(name: str) -> NotFound:
    return NotFound(f"Agent '{storable_text(name[:80])}' not found")

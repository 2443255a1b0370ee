"""Builds of spaces: asked for and looked at by those who may.

Who may read agents of a space may look at its builds, who may change them may ask for one; so may who holds the
resource ``builds`` itself.
"""

from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from raworc.domain.access import may
from raworc.domain.builds import BUILD_PREFIX
from raworc.domain.names import uuid_of
from raworc.domain.text import storable_text
from raworc.errors import NotFound
from raworc.ids import new_id
from raworc.services import audit
from raworc.services.accounts import Caller
from raworc.services.answers import Keep, unkept
from raworc.services.audit import Deed
from raworc.services.spaces import check_reach
from raworc.store import builds as store
from raworc.store.builds import BuildRow
from raworc.store.database import Database
from raworc.store.notify import notify_build

__all__ = ["BuildRow", "Builds", "want"]

RESOURCE: Final = "builds"
_OF_AGENTS: Final = {"create": "update", "get": "get"}


async def want(conn: AsyncConnection, space: str, by: str) -> BuildRow:
    """Have a space built, all that this transaction changes included; the build that will do it."""
    build = await store.want(conn, new_id(), space, by)
    await notify_build(conn, build.id)
    return build


class Builds:
    """Builds, by those who may see or start them."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def start(self, caller: Caller, space: str, keep: Keep[BuildRow] = unkept) -> BuildRow:
        """Have a space built; the build that waits already, where there is one.

        Raises:
            NotFound: there is no such space, or none that the caller may see.
            Forbidden: he may not build there.
        """

        async def work(conn: AsyncConnection, by: Caller) -> BuildRow:
            await _check(conn, by, "create", space)
            build = await want(conn, space, by.name)
            await keep(conn, build)
            return build

        return await audit.carried_out(self._db, caller, _deed("create", space), work)

    async def latest(self, caller: Caller, space: str) -> BuildRow:
        """The one that was asked for last.

        Raises:
            NotFound: there is none, or no such space that the caller may see.
            Forbidden: he may not look at builds there.
        """
        async with audit.refusals_kept(self._db, caller, _deed("get", space)), self._db.reading() as conn:
            await _check(conn, caller, "get", space)
            build = await store.latest(conn, space)
        if build is None:
            raise NotFound(f"Space '{space}' was never built: make an agent, or ask for a build")
        return build

    async def get(self, caller: Caller, space: str, which: str) -> BuildRow:
        """One of them. Raises as :meth:`latest`."""
        async with audit.refusals_kept(self._db, caller, _deed("get", space, which)), self._db.reading() as conn:
            await _check(conn, caller, "get", space)
            build_id = uuid_of(which.removeprefix(BUILD_PREFIX)) if which.startswith(BUILD_PREFIX) else None
            build = None if build_id is None else await store.find(conn, space, build_id)
        if build is None:
            raise NotFound(f"Build '{storable_text(which[:80])}' not found")
        return build


async def _check(conn: AsyncConnection, caller: Caller, verb: str, space: str) -> None:
    if may(caller.grants, verb, RESOURCE, space=space):
        await check_reach(conn, caller, verb, RESOURCE, space)
    else:
        await check_reach(conn, caller, _OF_AGENTS[verb], "agents", space)


def _deed(verb: str, space: str, which: str | None = None) -> Deed:
    return Deed(verb, RESOURCE, None if which is None else storable_text(which[:80]), storable_text(space[:80]))

"""Agents of the contract organizations: definitions in a namespace (space), which sessions are made with.

They belong to their space, not to who made them: it takes a role for ``agents`` there, owning nothing counts.
"""

from dataclasses import dataclass
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from raworc.domain import definitions as domain
from raworc.domain.access import may, spaces_for
from raworc.domain.agents import DEFAULT_SPACE
from raworc.domain.definitions import Definition
from raworc.domain.names import uuid_of
from raworc.domain.text import storable_text
from raworc.errors import BadRequest, Conflict, Forbidden, Hidden, NotFound
from raworc.ids import new_id
from raworc.services import audit
from raworc.services.accounts import Caller
from raworc.services.answers import Keep, unkept
from raworc.services.audit import Deed
from raworc.services.spaces import check_reach
from raworc.store import definitions as store
from raworc.store.database import Database, Duplicate
from raworc.store.definitions import DefinitionRow, Wanted

__all__ = ["Definition", "DefinitionFilter", "DefinitionRow", "Definitions", "Where"]

_MOST_TOLD: Final = 5
RESOURCE: Final = "agents"


@dataclass(frozen=True)
class DefinitionFilter:
    """Which definitions to list; None: all."""

    space: str | None = None
    active: bool | None = None
    model: str | None = None


@dataclass(frozen=True)
class Where:
    """One definition: its UUID, or its name in a space. ``space`` None: in the common one, else in any that is seen."""

    which: str
    space: str | None = None


class Definitions:
    """Definitions, by those who may see or change them."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def page(
        self, caller: Caller, wanted: DefinitionFilter, *, limit: int, offset: int
    ) -> tuple[list[DefinitionRow], int]:
        """Those that the caller may see, by name; and how many there are in all.

        Raises:
            NotFound: there is no such space, or none that the caller may see.
            Forbidden: he may list agents nowhere, or not there.
        """
        spaces = spaces_for(caller.grants, "list", RESOURCE)
        deed = Deed("list", RESOURCE, space=None if wanted.space is None else storable_text(wanted.space[:80]))
        async with audit.refusals_kept(self._db, caller, deed), self._db.reading() as conn:
            if wanted.space is not None:
                await check_reach(conn, caller, "list", RESOURCE, wanted.space)
                spaces = frozenset({wanted.space})
            elif spaces == frozenset():
                raise Forbidden(f"Account '{caller.name}' may not list agents of namespaces: ask for a role")
            chosen = Wanted(spaces, wanted.active, wanted.model)
            return await store.page(conn, chosen, limit=limit, offset=offset)

    async def get(self, caller: Caller, where: Where) -> DefinitionRow:
        """One of them.

        Raises:
            NotFound: there is none that the caller may see.
        """
        async with audit.refusals_kept(self._db, caller, _deed("get", where)), self._db.reading() as conn:
            return await _find(conn, caller, where, "get")

    async def create(
        self, caller: Caller, new: Definition, space: str, keep: Keep[DefinitionRow] = unkept
    ) -> DefinitionRow:
        """Make one.

        Raises:
            BadRequest: a field outside its rules.
            NotFound: there is no such space, or none that the caller may see.
            Forbidden: he may not make agents there.
            Conflict: the name is taken there, in any case of its letters.
        """
        values = domain.checked(new)

        async def work(conn: AsyncConnection, by: Caller) -> DefinitionRow:
            await check_reach(conn, by, "create", RESOURCE, space)
            made = await store.insert(conn, {"id": new_id(), "space": space, "created_by": by.name, **values})
            await keep(conn, made)
            return made

        deed = Deed("create", RESOURCE, values.get("name"), storable_text(space[:80]))
        try:
            return await audit.carried_out(self._db, caller, deed, work)
        except Duplicate:
            raise _taken(new) from None

    async def update(self, caller: Caller, where: Where, change: Definition) -> DefinitionRow:
        """Change what is given.

        Raises:
            NotFound, Forbidden: there is none that the caller may see, or he may not change it.
            BadRequest: nothing is given, or a field is outside its rules.
            Conflict: the name is taken there.
        """
        values = domain.checked(change)
        if not values:
            raise BadRequest("Nothing to change: give at least one field")

        async def work(conn: AsyncConnection, by: Caller) -> DefinitionRow:
            row = await _find(conn, by, where, "update")
            if not await store.lock(conn, row.id):
                raise _absent(where)
            return await store.change(conn, row.id, values)

        try:
            return await audit.carried_out(self._db, caller, _deed("update", where), work)
        except Duplicate:
            raise _taken(change) from None

    async def delete(self, caller: Caller, where: Where) -> None:
        """Take one away: its name is free, what was made with it stays as it is.

        Raises:
            NotFound, Forbidden: there is none that the caller may see, or he may not remove it.
        """

        async def work(conn: AsyncConnection, by: Caller) -> None:
            row = await _find(conn, by, where, "delete")
            if not await store.lock(conn, row.id):
                raise _absent(where)
            await store.remove(conn, row.id)

        await audit.carried_out(self._db, caller, _deed("delete", where), work)


async def _find(conn: AsyncConnection, caller: Caller, where: Where, verb: str) -> DefinitionRow:
    definition_id = uuid_of(where.which)
    row = None if definition_id is None else await store.find(conn, definition_id)
    if row is None:
        row = await store.find_named(conn, storable_text(where.space or DEFAULT_SPACE), storable_text(where.which))
    if where.space is None and (row is None or not may(caller.grants, "get", RESOURCE, space=row.space)):
        row = await _find_anywhere(conn, caller, where) or row
    if row is None:
        raise _absent(where)
    if may(caller.grants, verb, RESOURCE, space=row.space):
        return row
    if not may(caller.grants, "get", RESOURCE, space=row.space):
        raise Hidden(_absent(where).message)
    raise Forbidden(f"Account '{caller.name}' may not {verb} agents of namespace '{row.space}': ask an administrator")


async def _find_anywhere(conn: AsyncConnection, caller: Caller, where: Where) -> DefinitionRow | None:
    """The only one of this name that the caller may see, in whatever space."""
    seen = spaces_for(caller.grants, "get", RESOURCE)
    found = await store.find_all_named(conn, seen, storable_text(where.which), limit=_MOST_TOLD)
    if len(found) > 1:
        told = ", ".join(f"'{row.space}'" for row in found)
        raise BadRequest(f"Several agents are called '{found[0].name}' (in {told}): say which with 'namespace'")
    return found[0] if found else None


def _absent(where: Where) -> NotFound:
    return NotFound(f"Agent '{storable_text(where.which[:80])}' not found")


def _taken(given: Definition) -> Conflict:
    return Conflict(f"Agent '{given.name}' already exists in this namespace")


def _deed(verb: str, where: Where) -> Deed:
    space = None if where.space is None else storable_text(where.space[:80])
    return Deed(verb, RESOURCE, storable_text(where.which[:255]), space)

"""Roles: what accounts may be bound to. They belong to no space, so it takes a role everywhere to see or make them.

Nobody makes a role of which he does not hold every permission everywhere himself.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from raworc.domain.access import covers, may
from raworc.domain.names import check_label, uuid_of
from raworc.domain.roles import RoleRule, checked, grant
from raworc.domain.text import storable_text
from raworc.errors import Conflict, Forbidden, Hidden, NotFound
from raworc.ids import new_id
from raworc.services import audit
from raworc.services.accounts import Caller
from raworc.services.answers import Keep, unkept
from raworc.services.audit import Deed
from raworc.services.operators import changed
from raworc.store import roles as store
from raworc.store.database import Database, Duplicate
from raworc.store.roles import RoleRow

__all__ = ["NewRole", "RoleRow", "RoleRule", "Roles", "absent"]

RESOURCE: Final = "roles"


@dataclass(frozen=True)
class NewRole:
    """A role to be made."""

    name: str
    rules: Sequence[RoleRule]
    description: str | None = None


class Roles:
    """Roles, by those who may see or change them."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def page(self, caller: Caller, *, limit: int, offset: int) -> list[RoleRow]:
        """All of them, the built-in ones first.

        Raises:
            Forbidden: the caller may not list roles everywhere.
        """
        async with audit.refusals_kept(self._db, caller, Deed("list", RESOURCE)), self._db.reading() as conn:
            if not may(caller.grants, "list", RESOURCE, space=None):
                raise _forbidden(caller, "list")
            return await store.page(conn, limit=limit, offset=offset)

    async def get(self, caller: Caller, which: str) -> RoleRow:
        """One by its name or UUID.

        Raises:
            NotFound: there is none, or the caller may see none.
        """
        async with audit.refusals_kept(self._db, caller, _deed("get", which)), self._db.reading() as conn:
            return await _find(conn, caller, which, "get")

    async def create(self, caller: Caller, new: NewRole, keep: Keep[RoleRow] = unkept) -> RoleRow:
        """Make one.

        Raises:
            BadRequest: a name or rule outside its rules.
            Forbidden: the caller may not make roles, or does not hold everywhere all that this one would give.
            Conflict: the name is taken, in any case of its letters.
        """
        name, rules = check_label(new.name, "name"), checked(new.rules)
        text = None if new.description is None else storable_text(new.description)

        async def work(conn: AsyncConnection, by: Caller) -> RoleRow:
            if not may(by.grants, "create", RESOURCE, space=None):
                raise _forbidden(by, "create")
            if not covers(by.grants, [grant(rules, None)]):
                raise Forbidden(f"Role '{name}' would give more than you hold: leave that out, or ask an administrator")
            made = await store.insert(conn, {"id": new_id(), "name": name, "description": text, "rules": rules})
            await keep(conn, made)
            return made

        deed = Deed("create", RESOURCE, name, details={"rules": rules})
        try:
            return await changed(self._db, caller, deed, work)
        except Duplicate:
            raise Conflict(f"Role '{name}' already exists") from None

    async def delete(self, caller: Caller, which: str) -> None:
        """Remove one.

        Raises:
            NotFound, Forbidden: there is none that the caller may see, or he may not remove it.
            Conflict: it is built in, or bound to somebody.
        """

        async def work(conn: AsyncConnection, by: Caller) -> None:
            role = await _find(conn, by, which, "delete")
            if role.builtin:
                raise Conflict(f"Role '{role.name}' is built in: it can be neither changed nor deleted")
            bound = await store.bound(conn, role.id)
            if bound:
                raise Conflict(f"Role '{role.name}' is bound to {bound}: delete the bindings first")
            await store.remove(conn, role.id)

        await changed(self._db, caller, _deed("delete", which), work)


def absent(which: str) -> NotFound:
    """There is no such role, or none that the caller may know of."""
    return NotFound(f"Role '{storable_text(which[:80])}' not found")


async def _find(conn: AsyncConnection, caller: Caller, which: str, verb: str) -> RoleRow:
    row = await store.find(conn, uuid_of(which) or storable_text(which))
    if row is None:
        raise absent(which)
    if may(caller.grants, verb, RESOURCE, space=None):
        return row
    if not may(caller.grants, "get", RESOURCE, space=None):
        raise Hidden(absent(which).message)
    raise _forbidden(caller, verb)


def _deed(verb: str, which: str) -> Deed:
    return Deed(verb, RESOURCE, storable_text(which[:80]))


def _forbidden(caller: Caller, verb: str) -> Forbidden:
    return Forbidden(f"Account '{caller.name}' may not {verb} {RESOURCE}: that takes a role bound everywhere")

"""Spaces: the tenants of a server. Who may see one is told of it; for everybody else it is not there."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from raworc.domain.access import Verb, may, spaces_for
from raworc.domain.agents import DEFAULT_SPACE
from raworc.domain.names import check_space_name, is_space_name
from raworc.domain.spaces import check_settings
from raworc.domain.text import storable_text
from raworc.errors import BadRequest, Conflict, Forbidden, Hidden, NotFound
from raworc.services import audit
from raworc.services.accounts import Caller
from raworc.services.answers import Keep, unkept
from raworc.services.audit import Deed
from raworc.store import spaces as store
from raworc.store.database import Database, Duplicate
from raworc.store.spaces import SpaceRow

__all__ = ["NewSpace", "SpaceChange", "SpaceRow", "Spaces", "absent", "check_reach"]

RESOURCE: Final = "spaces"


@dataclass(frozen=True)
class NewSpace:
    """A space to be made. ``settings``: JSON of the user's own."""

    name: str
    description: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True)
class SpaceChange:
    """What to change; None keeps. ``settings`` take the place of the former ones."""

    description: str | None = None
    settings: Mapping[str, Any] | None = None


class Spaces:
    """Spaces, by those who may see or change them."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def page(self, caller: Caller, *, limit: int, offset: int) -> list[SpaceRow]:
        """Those that the caller may see, by name."""
        async with self._db.reading() as conn:
            return await store.page(conn, spaces_for(caller.grants, "list", RESOURCE), limit=limit, offset=offset)

    async def get(self, caller: Caller, name: str) -> SpaceRow:
        """One of them.

        Raises:
            NotFound: there is none, or none that the caller may see.
        """
        async with audit.refusals_kept(self._db, caller, _deed("get", name)), self._db.reading() as conn:
            return await _find(conn, caller, name, "get")

    async def create(self, caller: Caller, new: NewSpace, keep: Keep[SpaceRow] = unkept) -> SpaceRow:
        """Make one.

        Raises:
            BadRequest: a field outside its rules.
            Forbidden: the caller may not make spaces: that takes a role for all of them.
            Conflict: the name is taken, in any case of its letters.
        """
        values = {"name": check_space_name(new.name), **_columns(new)}

        async def work(conn: AsyncConnection, by: Caller) -> SpaceRow:
            if not may(by.grants, "create", RESOURCE, space=None):
                raise Forbidden(f"Account '{by.name}' may not create spaces: ask an administrator for a role")
            made = await store.insert(conn, values)
            await keep(conn, made)
            return made

        try:
            return await audit.carried_out(self._db, caller, _deed("create", new.name), work)
        except Duplicate:
            raise Conflict(f"Space '{new.name}' already exists") from None

    async def update(self, caller: Caller, name: str, change: SpaceChange) -> SpaceRow:
        """Change what is given.

        Raises:
            NotFound, Forbidden: there is none that the caller may see, or he may not change it.
            BadRequest: nothing is given, or a field is outside its rules.
        """
        values = _columns(change)
        if not values:
            raise BadRequest("Nothing to change: give 'description' or 'settings'")

        async def work(conn: AsyncConnection, by: Caller) -> SpaceRow:
            await _find(conn, by, name, "update")
            await store.update(conn, name, values)
            return await _find(conn, by, name, "update")

        return await audit.carried_out(self._db, caller, _deed("update", name), work)

    async def delete(self, caller: Caller, name: str) -> None:
        """Remove one with its secrets, its client keys and the bindings for it.

        Raises:
            NotFound, Forbidden: there is none that the caller may see, or he may not remove it.
            Conflict: it is ``default``, or something lives in it.
        """

        async def work(conn: AsyncConnection, by: Caller) -> None:
            await _find(conn, by, name, "delete")
            if name == DEFAULT_SPACE:
                raise Conflict(f"Space '{DEFAULT_SPACE}' cannot be deleted: what names no space belongs to it")
            await store.lock(conn, name)
            contents = await store.contents(conn, name)
            if contents:
                told = ", ".join(f"{count} {kind}" for kind, count in contents.items())
                raise Conflict(f"Space '{name}' is in use ({told}): delete or move them first")
            await store.remove(conn, name)

        await audit.carried_out(self._db, caller, _deed("delete", name), work)


async def check_reach(conn: AsyncConnection, caller: Caller, verb: str, resource: str, space: str) -> None:
    """Nothing, where the caller may ``verb`` things of a kind in a space; the space then stays while ``conn`` does.

    Raises:
        NotFound: there is no such space, or none that the caller may see.
        Forbidden: he may see it, or things of this kind there, and not do this.
    """
    is_there = is_space_name(space) and await store.keeps(conn, space)
    if may(caller.grants, verb, resource, space=space):
        if not is_there:
            raise absent(space)
        return
    if not is_there:
        raise absent(space)
    looks = (("get", RESOURCE), ("get", resource), ("list", resource))
    if not any(may(caller.grants, look, kind, space=space) for look, kind in looks):
        raise Hidden(absent(space).message)
    raise Forbidden(f"Account '{caller.name}' may not {verb} {resource} in space '{space}': ask an administrator")


def absent(name: str) -> NotFound:
    """There is no such space, or none that the caller may know of."""
    return NotFound(f"Space '{storable_text(name[:80])}' not found")


async def _find(conn: AsyncConnection, caller: Caller, name: str, verb: Verb) -> SpaceRow:
    row = await store.find(conn, name) if is_space_name(name) else None
    if row is None:
        raise absent(name)
    if may(caller.grants, verb, RESOURCE, space=name):
        return row
    if not may(caller.grants, "get", RESOURCE, space=name):
        raise Hidden(absent(name).message)
    raise Forbidden(f"Account '{caller.name}' may not {verb} space '{name}': ask an administrator for a role")


def _columns(source: NewSpace | SpaceChange) -> dict[str, Any]:
    values: dict[str, Any] = {}
    if source.description is not None:
        values["description"] = storable_text(source.description)
    if source.settings is not None:
        values["settings"] = check_settings(source.settings)
    return values


def _deed(verb: str, name: str) -> Deed:
    shown = storable_text(name[:80])
    return Deed(verb, RESOURCE, shown, shown)

"""Role bindings: who has which role where. Nobody hands out, or takes away, what he does not hold there himself.

Both older contracts see the same rows: one thinks of a subject with a role, the other of several bound together.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final, Literal

from sqlalchemy.ext.asyncio import AsyncConnection

from raworc.domain.access import covers, may, spaces_for
from raworc.domain.names import EVERYBODY, check_label, uuid_of
from raworc.domain.roles import grant
from raworc.domain.text import storable_text
from raworc.errors import BadRequest, Conflict, FieldError, Forbidden, Hidden, NotFound
from raworc.ids import new_id
from raworc.services import audit, roles, spaces
from raworc.services.accounts import Caller
from raworc.services.answers import Keep, unkept
from raworc.services.audit import Deed
from raworc.services.operators import changed
from raworc.store import bindings as store
from raworc.store import operators as operator_rows
from raworc.store import roles as role_rows
from raworc.store import spaces as space_rows
from raworc.store.bindings import BindingRow, Wanted
from raworc.store.database import Database, Duplicate
from raworc.store.roles import RoleRow

__all__ = ["BindingRow", "Bindings", "NewBinding", "Subject", "SubjectKind"]

SubjectKind = Literal["User", "ServiceAccount", "Group"]

RESOURCE: Final = "role-bindings"
MAX_SUBJECTS: Final = 64


@dataclass(frozen=True)
class Subject:
    """Who gets a role, and where: in one space or (None) everywhere. ``name``: of an account or the group."""

    name: str
    space: str | None = None
    kind: SubjectKind = "ServiceAccount"


@dataclass(frozen=True)
class NewBinding:
    """A role for one or more subjects. ``name``: of all of them together, where they have one."""

    role: str
    subjects: Sequence[Subject]
    name: str | None = None


class Bindings:
    """Role bindings, by those who may see or change them. A binding is all the rows that were made together."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def page(self, caller: Caller, *, limit: int, offset: int) -> list[BindingRow]:
        """Each subject of bindings in spaces where the caller may list them, the eldest first."""
        wanted = Wanted(spaces_for(caller.grants, "list", RESOURCE), limit, offset)
        async with self._db.reading() as conn:
            return await store.page(conn, wanted)

    async def groups(self, caller: Caller, *, limit: int, offset: int) -> list[list[BindingRow]]:
        """The same, those together that were bound together."""
        wanted = Wanted(spaces_for(caller.grants, "list", RESOURCE), limit, offset)
        async with self._db.reading() as conn:
            rows = await store.groups(conn, wanted)
        return [list(found) for _, found in groupby(rows, key=lambda row: row.group_id)]

    async def get(self, caller: Caller, which: str) -> list[BindingRow]:
        """One by its UUID or name, as far as the caller may see it.

        Raises:
            NotFound: there is none that he may see.
        """
        async with audit.refusals_kept(self._db, caller, _deed("get", which)), self._db.reading() as conn:
            return await _find(conn, caller, which)

    async def create(self, caller: Caller, new: NewBinding, keep: Keep[list[BindingRow]] = unkept) -> list[BindingRow]:
        """Bind a role.

        Raises:
            BadRequest: no subject, too many, or a name outside its rules.
            NotFound: no such role, account, or space that the caller may see.
            Forbidden: he may not bind there, or does not hold there all that the role gives.
            Conflict: one of them has this role there already, or the name is taken.
        """
        subjects = list(dict.fromkeys(new.subjects))
        if not 1 <= len(subjects) <= MAX_SUBJECTS:
            reason = f"must be 1 to {MAX_SUBJECTS}"
            raise BadRequest(f"'subjects' {reason}", details=(FieldError("subjects", reason),))
        name = None if new.name is None else check_label(new.name, "name")

        async def work(conn: AsyncConnection, by: Caller) -> list[BindingRow]:
            role = await _role(conn, new.role)
            if name is not None and await store.is_named(conn, name):
                raise Conflict(f"Role binding '{name}' already exists")
            ids = [new_id() for _ in subjects]
            group_id = new_id() if len(ids) > 1 else ids[0]
            shared = {"role_id": role.id, "group_id": group_id, "name": name}
            given = [await _subject(conn, by, role, subject) for subject in subjects]
            await store.insert(conn, [shared | {"id": row_id, **row} for row_id, row in zip(ids, given, strict=True)])
            made = await store.find(conn, group_id)
            await keep(conn, made)
            return made

        told = [{"subject": subject.name[:128], "space": subject.space} for subject in subjects]
        deed = Deed("create", RESOURCE, name, details={"role": new.role[:255], "subjects": told})
        try:
            return await changed(self._db, caller, deed, work)
        except Duplicate:
            raise Conflict(f"Role '{new.role}' is bound to this subject there already") from None

    async def delete(self, caller: Caller, which: str) -> None:
        """Take a binding away, with all its subjects.

        Raises:
            NotFound: there is none that the caller may see.
            Forbidden: he may not remove all of it, or does not hold there all that it gives.
            Conflict: nobody would be left who may do everything.
        """

        async def work(conn: AsyncConnection, by: Caller) -> None:
            await _find(conn, by, which)
            rows = await store.find(conn, _sought(which))
            for row in rows:
                if not may(by.grants, "delete", RESOURCE, space=row.space):
                    raise _forbidden(by, "delete", row.space)
                if not covers(by.grants, [grant(row.rules, row.space)]):
                    raise Forbidden(f"Role '{row.role}' gives more there than you hold: ask an administrator")
            await store.remove(conn, rows)
            if not await operator_rows.has_admin(conn):
                raise Conflict("This binding makes the last administrator: make another account one first")

        await changed(self._db, caller, _deed("delete", which), work)


async def _find(conn: AsyncConnection, caller: Caller, which: str) -> list[BindingRow]:
    rows = await store.find(conn, _sought(which))
    seen = [row for row in rows if may(caller.grants, "get", RESOURCE, space=row.space)]
    if not seen:
        message = f"Role binding '{storable_text(which[:80])}' not found"
        raise Hidden(message) if rows else NotFound(message)
    return seen


async def _role(conn: AsyncConnection, which: str) -> RoleRow:
    role = await role_rows.find(conn, uuid_of(which) or storable_text(which))
    if role is None:
        raise roles.absent(which)
    return role


async def _subject(conn: AsyncConnection, by: Caller, role: RoleRow, subject: Subject) -> dict[str, Any]:
    """A subject's own columns, once the caller may give it this role there."""
    if subject.space is not None and not await space_rows.keeps(conn, storable_text(subject.space)):
        raise spaces.absent(subject.space)
    if not may(by.grants, "create", RESOURCE, space=subject.space):
        if subject.space is not None and not may(by.grants, "get", spaces.RESOURCE, space=subject.space):
            raise Hidden(spaces.absent(subject.space).message)
        raise _forbidden(by, "create", subject.space)
    if not covers(by.grants, [grant(role.rules, subject.space)]):
        raise Forbidden(f"Role '{role.name}' gives more there than you hold: ask an administrator to bind it")
    account_id = await _account(conn, subject)
    return {"account_id": account_id, "space": subject.space, "subject_kind": subject.kind}


async def _account(conn: AsyncConnection, subject: Subject) -> uuid.UUID | None:
    """The account's id, or None for everybody."""
    if subject.name.lower() == EVERYBODY:
        return None
    row = None if subject.kind == "Group" else await operator_rows.find(conn, storable_text(subject.name))
    if row is None:
        raise NotFound(f"{subject.kind} '{storable_text(subject.name[:80])}' not found")
    return row.id


def _sought(which: str) -> uuid.UUID | str:
    return uuid_of(which) or storable_text(which)


def _deed(verb: str, which: str) -> Deed:
    return Deed(verb, RESOURCE, storable_text(which[:80]))


def _forbidden(caller: Caller, verb: str, space: str | None) -> Forbidden:
    where = "everywhere" if space is None else f"in space '{space}'"
    return Forbidden(f"Account '{caller.name}' may not {verb} {RESOURCE} {where}: ask an administrator")

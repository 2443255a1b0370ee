"""Accounts as things that are administered: made, changed, blocked, removed. In this contract: operators.

Whoever may change accounts may change only those that hold nothing which he does not hold: else a new password
for an administrator would make him one. Changes are made one after another, each by who may make it still, so
that two administrators who remove each other leave one.
"""

import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal, TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection

from raworc.domain.access import covers, is_admin, may, spaces_for
from raworc.domain.agents import DEFAULT_SPACE
from raworc.domain.names import check_account_name, is_account_name, uuid_of
from raworc.domain.text import storable_text
from raworc.errors import BadRequest, Conflict, FieldError, Forbidden, Hidden, NotFound
from raworc.ids import new_id
from raworc.services import audit, spaces
from raworc.services.accounts import Caller, grants_of
from raworc.services.answers import Keep, unkept
from raworc.services.audit import Deed
from raworc.services.passwords import Passwords, check_password
from raworc.services.proofs import Proofs
from raworc.store import operators as store
from raworc.store.database import Database, Duplicate
from raworc.store.operators import OperatorRow, Wanted

T = TypeVar("T")
Role = Literal["admin", "user"]
Verb = Literal["get", "update", "delete"]
Finding = Callable[[AsyncConnection, Caller, str, Verb], Awaitable[OperatorRow]]

RESOURCE: Final = "service-accounts"


@dataclass(frozen=True)
class OperatorView:
    """An account as it is shown."""

    id: uuid.UUID
    user: str
    space: str | None
    description: str | None
    active: bool
    created_at: datetime
    updated_at: datetime
    last_login_at: datetime | None
    role: Role


@dataclass(frozen=True)
class NewOperator:
    """A new account. ``role``: ``admin`` may do everything everywhere, ``user`` what everybody may.

    ``space``: where it belongs, which gives it no rights there; None: nowhere in particular.
    """

    name: str
    password: str
    description: str | None = None
    active: bool = True
    role: Role = "user"
    space: str | None = DEFAULT_SPACE


@dataclass(frozen=True)
class OperatorChange:
    """What to change; None keeps."""

    description: str | None = None
    active: bool | None = None
    role: Role | None = None
    space: str | None = None


class Operators:
    """Accounts, by those who may see or change them. ``finding``: :func:`find` or :func:`find_hiding`."""

    def __init__(self, db: Database, passwords: Passwords, finding: Finding | None = None) -> None:
        self._db = db
        self._find = finding or find
        self._passwords = passwords
        self._proofs = Proofs(db, passwords)

    async def page(self, caller: Caller, *, limit: int, offset: int) -> list[OperatorView]:
        """Accounts that the caller may see, by name; one's own always."""
        wanted = Wanted(caller.account_id, spaces_for(caller.grants, "list", RESOURCE))
        async with self._db.reading() as conn:
            return [view(row) for row in await store.page(conn, wanted, limit=limit, offset=offset)]

    async def get(self, caller: Caller, name: str) -> OperatorView:
        """One account. Raises as :func:`find`."""
        deed = Deed("get", RESOURCE, _shown(name))
        async with audit.refusals_kept(self._db, caller, deed), self._db.reading() as conn:
            return view(await self._find(conn, caller, name, "get"))

    async def create(self, caller: Caller, new: NewOperator, keep: Keep[OperatorView] = unkept) -> OperatorView:
        """Make an account.

        Raises:
            BadRequest: name or password outside its rules.
            Forbidden: the caller may not, or not with this role.
            NotFound: no such space, or none that the caller may see.
            Conflict: the name is taken, in any case of its letters.
        """
        check_account_name(new.name, "user")
        check_password(new.password, "pass")
        hashed = await self._passwords.hash(new.password)
        deed = Deed("create", RESOURCE, new.name, new.space, {"role": new.role, "active": new.active})

        async def work(conn: AsyncConnection, by: Caller) -> OperatorView:
            await _check_place(conn, by, new.space)
            if new.role == "admin":
                _check_admin(by)
            account_id = new_id()
            values = {"id": account_id, "name": new.name, "space": new.space, "password_hash": hashed}
            text = None if new.description is None else storable_text(new.description)
            await store.insert(conn, {**values, "description": text, "active": new.active})
            if new.role == "admin":
                await store.make_admin(conn, new_id(), account_id)
            made = await _view_now(conn, new.name)
            await keep(conn, made)
            return made

        try:
            return await changed(self._db, caller, deed, work)
        except Duplicate:
            raise Conflict(f"Account '{new.name}' already exists") from None

    async def update(self, caller: Caller, name: str, change: OperatorChange) -> OperatorView:
        """Change what is given; an account that is deactivated loses its tokens for good.

        Raises:
            NotFound, Forbidden: see :func:`find`; only administrators change a role.
            BadRequest: nothing is given.
            Conflict: it is the last administrator.
        """
        values: dict[str, Any] = {}
        if change.description is not None:
            values["description"] = storable_text(change.description)
        if change.active is not None:
            values["active"] = change.active
        if change.space is not None:
            values["space"] = change.space
        if not values and change.role is None:
            raise BadRequest("Nothing to change: give at least one field")
        told = {"active": change.active, "role": change.role, "space": change.space}
        deed = Deed(
            "update", RESOURCE, _shown(name), details={key: value for key, value in told.items() if value is not None}
        )

        async def work(conn: AsyncConnection, by: Caller) -> OperatorView:
            row = await self._find(conn, by, name, "update")
            if change.space not in {None, row.space}:
                await _check_place(conn, by, change.space)
            await store.update(conn, row.id, values, revoke=change.active is False)
            if change.role is not None:
                await _set_role(conn, by, row, change.role)
            await check_admin_left(conn, row.name)
            return await _view_now(conn, row.name)

        return await changed(self._db, caller, deed, work)

    async def delete(self, caller: Caller, name: str) -> None:
        """Remove an account; its name is free again.

        Raises:
            NotFound, Forbidden: see :func:`find`.
            Conflict: it owns agents, or it is the last administrator.
        """

        async def work(conn: AsyncConnection, by: Caller) -> None:
            row = await self._find(conn, by, name, "delete")
            await store.lock(conn, row.id)
            count = await store.agents_of(conn, row.id)
            if count:
                owned = "an agent" if count == 1 else f"{count} agents"
                raise Conflict(f"Account '{row.name}' owns {owned}: delete them first, or deactivate the account")
            await store.remove(conn, row.id)
            await check_admin_left(conn, row.name)

        await changed(self._db, caller, Deed("delete", RESOURCE, _shown(name)), work)

    async def set_password(self, caller: Caller, name: str, new: str, current: str | None) -> None:
        """Give an account another password; all its tokens end.

        Who may change the account needs no ``current`` one; a given one is always checked.

        Raises:
            NotFound, Forbidden: see :func:`find`; one's own may always be changed.
            BadRequest: the new password is outside its rules, or ``current`` is missing.
            Unauthorized: ``current`` is wrong.
            RateLimited: it was wrong too often.
        """
        check_password(new, "new_password")
        deed = Deed("update-password", RESOURCE, _shown(name))
        async with audit.refusals_kept(self._db, caller, deed), self._db.reading() as conn:
            row = await self._for_password(conn, caller, name, knows_current=current is not None)
        proven = None
        if current is not None:
            wrong = "'current_password' is not the password of this account"
            proven = await self._proofs.prove(row.name, current, address=caller.address, wrong=wrong)
        hashed = await self._passwords.hash(new)

        async def work(conn: AsyncConnection, by: Caller) -> None:
            found = await self._for_password(conn, by, name, knows_current=current is not None)
            if proven is not None:
                await proven.settle(conn)
            await store.update(conn, found.id, {"password_hash": hashed}, revoke=True)

        await changed(self._db, caller, deed, work)

    async def _for_password(
        self, conn: AsyncConnection, caller: Caller, name: str, *, knows_current: bool
    ) -> OperatorRow:
        own = await _sought(conn, name)
        may_update = own is not None and may(caller.grants, "update", RESOURCE, space=own.space)
        if own is None or own.id != caller.account_id or may_update:
            return await self._find(conn, caller, name, "update")
        if knows_current:
            return own
        reason = "is missing: it takes the old password to set a new one"
        raise BadRequest(f"'current_password' {reason}", details=(FieldError("current_password", reason),))


async def changed(
    db: Database, caller: Caller, deed: Deed, work: Callable[[AsyncConnection, Caller], Awaitable[T]]
) -> T:
    """The result of ``work``: done by the caller as he stands now, with no other such change beside it, and audited.

    Raises:
        Unauthorized: the caller was removed meanwhile.
    """
    return await audit.carried_out(db, caller, deed, work, lock=store.one_at_a_time)


async def find(conn: AsyncConnection, caller: Caller, name: str, verb: Verb) -> OperatorRow:
    """The account, if the caller may ``verb`` it; everybody may look at himself.

    Raises:
        NotFound: there is none, and the caller may know that.
        Forbidden: he may not, or it holds what he does not hold himself.
    """
    row = await store.find(conn, name) if is_account_name(name) else None
    if row is not None and verb == "get" and row.id == caller.account_id:
        return row
    if not may(caller.grants, verb, RESOURCE, space=row.space if row else None):
        raise _forbidden(caller, verb)  # the same whether or not there is one
    if row is None:
        raise NotFound(f"Account '{_shown(name)}' not found")
    _check_covered(caller, row, verb)
    return row


async def find_hiding(conn: AsyncConnection, caller: Caller, name: str, verb: Verb) -> OperatorRow:
    """The same by name or UUID, where what a caller may not see is to look as if it were not there.

    Raises:
        NotFound: there is none that the caller may see.
        Forbidden: he may see it, and not do this; or it holds what he does not hold himself.
    """
    row, absent = await _sought(conn, name), f"Service account '{_shown(name)}' not found"
    if row is None:
        raise NotFound(absent)
    is_own = row.id == caller.account_id
    if is_own and verb == "get":
        return row
    if not may(caller.grants, verb, RESOURCE, space=row.space):
        if is_own or may(caller.grants, "get", RESOURCE, space=row.space):
            raise _forbidden(caller, verb)
        raise Hidden(absent)
    _check_covered(caller, row, verb)
    return row


async def _sought(conn: AsyncConnection, name: str) -> OperatorRow | None:
    account_id = uuid_of(name)
    row = None if account_id is None else await store.find_by_id(conn, account_id)
    return row or (await store.find(conn, name) if is_account_name(name) else None)


def _check_covered(caller: Caller, row: OperatorRow, verb: Verb) -> None:
    if verb != "get" and not covers(caller.grants, grants_of(row.grants)):
        raise Forbidden(f"Account '{row.name}' may do more than you: ask an administrator")


def view(row: OperatorRow) -> OperatorView:
    """What is shown of an account."""
    return OperatorView(
        id=row.id,
        user=row.name,
        space=row.space,
        description=row.description,
        active=row.active,
        created_at=row.created_at,
        updated_at=row.updated_at,
        last_login_at=row.last_login_at,
        role=role_of(row),
    )


def role_of(row: OperatorRow) -> Role:
    """``admin`` holds everything everywhere."""
    return "admin" if is_admin(grants_of(row.grants)) else "user"


async def check_admin_left(conn: AsyncConnection, name: str) -> None:
    """Nothing, while somebody may log in who may do everything. Call it after the change of account ``name``.

    Raises:
        Conflict: that was the last one; the transaction must not be kept.
    """
    if not await store.has_admin(conn):
        raise Conflict(f"Account '{name}' is the last administrator: make another account one first")


async def _view_now(conn: AsyncConnection, name: str) -> OperatorView:
    row = await store.find(conn, name)
    if row is None:
        raise NotFound(f"Account '{_shown(name)}' not found")
    return view(row)


async def _set_role(conn: AsyncConnection, caller: Caller, row: OperatorRow, role: Role) -> None:
    if role == role_of(row):
        return
    _check_admin(caller)
    if role == "admin":
        await store.make_admin(conn, new_id(), row.id)
    else:
        await store.unmake_admin(conn, row.id)


async def _check_place(conn: AsyncConnection, by: Caller, space: str | None) -> None:
    """That an account may be put there; everybody knows of the common space."""
    if space is not None and space != DEFAULT_SPACE:
        await spaces.check_reach(conn, by, "create", RESOURCE, space)
    elif not may(by.grants, "create", RESOURCE, space=space):
        raise _forbidden(by, "create")


def _check_admin(caller: Caller) -> None:
    if not caller.is_admin:
        raise Forbidden("Only an administrator makes an account one, or ends that")


def _forbidden(caller: Caller, verb: str) -> Forbidden:
    return Forbidden(f"Account '{caller.name}' may not {verb} {RESOURCE}: ask an administrator for a role")


def _shown(name: str) -> str:
    return storable_text(name[:80])

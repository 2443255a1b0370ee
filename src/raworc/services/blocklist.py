"""The blocklist: accounts that are kept out for the time being. What they made and hold stays as it is."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func
from sqlalchemy.ext.asyncio import AsyncConnection

from raworc.domain.access import spaces_for
from raworc.services.accounts import Caller
from raworc.services.answers import Keep, unkept
from raworc.services.audit import Deed
from raworc.services.operators import RESOURCE, Role, changed, check_admin_left, find, role_of
from raworc.store import operators as store
from raworc.store.database import Database
from raworc.store.operators import Wanted


@dataclass(frozen=True)
class Blocked:
    """An account that is blocked, and since when."""

    principal: str
    role: Role
    created_at: datetime


class Blocklist:
    """Keeps accounts out and lets them in again. Their tokens count again then."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def page(self, caller: Caller, *, limit: int, offset: int) -> list[Blocked]:
        """Blocked accounts that the caller may see, the last blocked first."""
        wanted = Wanted(caller.account_id, spaces_for(caller.grants, "list", RESOURCE), blocked=True)
        async with self._db.reading() as conn:
            rows = await store.page(conn, wanted, limit=limit, offset=offset)
        return [Blocked(row.name, role_of(row), row.blocked_at) for row in rows if row.blocked_at]

    async def block(self, caller: Caller, principal: str, keep: Keep[bool] = unkept) -> bool:
        """Whether it was let in until now.

        Raises:
            NotFound, Forbidden: as ``operators.find``.
            Conflict: it is the last administrator.
        """
        return await self._put(caller, principal, keep, blocked=True)

    async def unblock(self, caller: Caller, principal: str, keep: Keep[bool] = unkept) -> bool:
        """Whether it was blocked until now. Raises NotFound, Forbidden as ``operators.find``."""
        return await self._put(caller, principal, keep, blocked=False)

    async def _put(self, caller: Caller, principal: str, keep: Keep[bool], *, blocked: bool) -> bool:
        async def work(conn: AsyncConnection, by: Caller) -> bool:
            row = await find(conn, by, principal, "update")
            is_change = (row.blocked_at is not None) != blocked
            if is_change:
                await store.update(conn, row.id, {"blocked_at": func.now() if blocked else None}, revoke=False)
                await check_admin_left(conn, row.name)
            await keep(conn, is_change)
            return is_change

        deed = Deed("block" if blocked else "unblock", RESOURCE, principal[:80])
        return await changed(self._db, caller, deed, work)

"""What has to be answered for: one row for each deed, in the transaction that does it, or of its refusal.

    async with db.transaction() as conn:
        ...the change itself...
        await audit.done(conn, caller, Deed("delete", "service-accounts", name))

Whoever writes ``details`` sees to it that they hold names and choices only: never a secret, a password or a token.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from raworc.services.accounts import Caller
from raworc.store import audit as store
from raworc.store.audit import AuditRow
from raworc.store.database import Database


@dataclass(frozen=True)
class Deed:
    """A verb on a thing of some kind. ``resource`` as in ``domain/access.py``; ``name``: which one."""

    verb: str
    resource: str
    name: str | None = None
    space: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict[str, Any])


async def done(conn: AsyncConnection, caller: Caller, deed: Deed) -> None:
    """The caller did it: kept exactly if the transaction of ``conn`` is."""
    await store.write(conn, _row(caller, deed, allowed=True))


async def refused(db: Database, caller: Caller, deed: Deed) -> None:
    """The caller was not allowed to do it: kept at once, as what he wanted is undone."""
    async with db.transaction() as conn:
        await store.write(conn, _row(caller, deed, allowed=False))


def _row(caller: Caller, deed: Deed, *, allowed: bool) -> AuditRow:
    return AuditRow(
        actor_id=caller.account_id,
        actor=caller.name,
        verb=deed.verb,
        resource=deed.resource,
        allowed=allowed,
        name=deed.name,
        space=deed.space,
        address=caller.address,
        details=deed.details,
    )

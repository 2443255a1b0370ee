"""What has to be answered for: one row for each deed, in the transaction that does it, or of its refusal.

    async with db.transaction() as conn:
        ...the change itself...
        await audit.done(conn, caller, Deed("delete", "service-accounts", name))

What changes a session hands :func:`entry` to the statement that does it instead, which saves a round trip.

Whoever writes ``details`` sees to it that they hold names and choices only: never a secret, a password or a token.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection

from raworc.errors import Forbidden, Hidden
from raworc.services.accounts import Caller, renewed
from raworc.store import audit as store
from raworc.store import denials
from raworc.store.audit import AuditRow
from raworc.store.database import Database

T = TypeVar("T")
_OF_AGENT: Final = {"by": "an agent's own token"}


@dataclass(frozen=True)
class Deed:
    """A verb on a thing of some kind. ``resource`` as in ``domain/access.py``; ``name``: which one."""

    verb: str
    resource: str
    name: str | None = None
    space: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict[str, Any])


def entry(caller: Caller, deed: Deed) -> AuditRow:
    """The caller did it: for whoever writes it together with the change itself."""
    return _row(caller, deed, allowed=True)


async def done(conn: AsyncConnection, caller: Caller, deed: Deed) -> None:
    """The caller did it: kept exactly if the transaction of ``conn`` is."""
    await store.write(conn, entry(caller, deed))


async def refused(db: Database, caller: Caller, deed: Deed) -> None:
    """The caller was not allowed to do it: kept at once, as what he wanted is undone.

    The same within a minute is counted, and becomes one entry with its number: who knocks a million times fills no log.
    """

    async def work(conn: AsyncConnection) -> None:
        for row in await denials.count(conn, _row(caller, deed, allowed=False)):
            await store.write(conn, row)
        await told(conn)

    await db.run(work)


async def told(conn: AsyncConnection) -> None:
    """Make entries of refusals that were counted until a minute ago."""
    for row in await denials.ended(conn):
        await store.write(conn, row)


@asynccontextmanager
async def refusals_kept(db: Database, caller: Caller, deed: Deed) -> AsyncGenerator[None]:
    """Whatever is refused in it is kept, also what is answered as if it were not there."""
    try:
        yield
    except (Forbidden, Hidden) as error:
        await refused(db, caller, deed)
        error.is_kept = True
        raise


async def carried_out(
    db: Database,
    caller: Caller,
    deed: Deed,
    work: Callable[[AsyncConnection, Caller], Awaitable[T]],
    *,
    lock: Callable[[AsyncConnection], Awaitable[None]] | None = None,
    made: Deed | None = None,
) -> T:
    """The result of ``work``, done in one transaction by the caller as he stands now. Deed or refusal is kept.

    ``lock``: what to wait for before it is asked how he stands. ``made``: the deed with the ids of what it makes, which
    a refusal leaves out: by them each would be another one, and none counted.

    Raises:
        Unauthorized: the caller was removed meanwhile.
    """

    async def begun(conn: AsyncConnection) -> T:
        if lock is not None:
            await lock(conn)
        by = await renewed(conn, caller)
        result = await work(conn, by)
        await done(conn, by, made or deed)
        return result

    async with refusals_kept(db, caller, deed):
        return await db.run(begun)


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
        details={**deed.details, **_OF_AGENT} if caller.agent_id else deed.details,
    )

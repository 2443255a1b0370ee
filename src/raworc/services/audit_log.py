"""The audit log as it is read: by administrators, and by whoever wants to know that nothing of it was changed.

Each entry's hash is made with that of the entry before, so who changes, removes or inserts one has to make every
later one anew. Whoever noted a hash once can tell that, too: it is not in the chain any more.
"""

from dataclasses import dataclass
from typing import Final

from raworc.domain.access import may
from raworc.errors import Forbidden
from raworc.services import audit
from raworc.services.accounts import Caller
from raworc.services.audit import Deed
from raworc.store import audit as store
from raworc.store.audit import AuditEntry, Wanted
from raworc.store.database import Database

__all__ = ["AuditEntry", "AuditLog", "Verdict", "Wanted", "verify"]

RESOURCE: Final = "audit"
_STRETCH: Final = 50_000


@dataclass(frozen=True)
class Verdict:
    """What an examination found. ``head``: the newest hash, in hexadecimal; ``broken``: what is wrong, if anything."""

    entries: int
    head: str
    broken: str | None


class AuditLog:
    """Entries, by those who may read them."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def page(self, caller: Caller, wanted: Wanted, *, limit: int) -> list[AuditEntry]:
        """Entries, the newest first.

        Raises:
            Forbidden: the caller may not list them everywhere.
        """
        async with audit.refusals_kept(self._db, caller, Deed("list", RESOURCE)):
            if not may(caller.grants, "list", RESOURCE, space=None):
                raise Forbidden(
                    f"Account '{caller.name}' may not read the audit log: that takes a role bound everywhere"
                )
        await self._db.run(audit.told)
        async with self._db.reading() as conn:
            return await store.page(conn, wanted, limit=limit)

    async def refused(self, caller: Caller, deed: Deed) -> None:
        """Keep that the caller wanted what he may not."""
        await audit.refused(self._db, caller, deed)


async def verify(db: Database, noted: str | None = None) -> Verdict:
    """Examine all of it. ``noted``: a hash of an earlier examination, which has to be there still."""
    position, head = 0, b""
    async with db.reading() as conn:
        while (stretch := await store.check(conn, after=position, count=_STRETCH)) is not None:
            if stretch.wrong_at is not None:
                broken = f"entry {stretch.number} (link {stretch.wrong_at}) is not what was written, or follows a gap"
                return Verdict(stretch.wrong_at - 1, head.hex(), broken)
            position, head = stretch.position, stretch.head
        loose = await store.unchained(conn)
        if loose is not None:
            return Verdict(position, head.hex(), f"entry {loose} is not part of the chain")
        if noted is not None and not await store.holds(conn, bytes.fromhex(noted)):
            return Verdict(position, head.hex(), f"'{noted}' is not in the chain: what led to it was replaced")
    return Verdict(position, head.hex(), None)

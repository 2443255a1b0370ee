"""``raworc audit verify``: whether the audit log is what was written."""

import asyncio

from raworc.errors import BadRequest
from raworc.services.audit_log import Verdict, verify
from raworc.settings import Settings
from raworc.store.database import Database
from raworc.supervisor.backup import reachable


def run_verify(settings: Settings, noted: str | None) -> Verdict:
    """Examine the whole log, while everything runs. Blocks. ``noted``: a hash, in hexadecimal, that has to be in it.

    Raises:
        BadRequest: there is no such home, or ``noted`` is no hash.
        Unavailable: the database cannot be reached.
    """
    if noted is not None and not _is_hash(noted):
        raise BadRequest("A hash has 64 hexadecimal digits: give what an earlier 'raworc audit verify' printed")
    if not settings.home.is_dir():
        raise BadRequest(f"There is no home '{settings.home}': say which with '--home'")

    async def work(url: str) -> Verdict:
        db = Database(url, pool_size=2)
        try:
            return await verify(db, noted)
        finally:
            await db.close()

    with reachable(settings) as url:
        return asyncio.run(work(url))


def _is_hash(text: str) -> bool:
    return len(text) == 64 and all(digit in "0123456789abcdefABCDEF" for digit in text)  # noqa: PLR2004  SHA-256

"""What commands do to recorded calls: places, prices and days, on the installation's own database."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from raworc.errors import BadRequest
from raworc.recorder.relink import Progress, relink
from raworc.services.prices import Prices, Recosted
from raworc.services.retention import Dropped, Retention, Tell
from raworc.settings import Settings
from raworc.store.database import Database
from raworc.supervisor.backup import reachable

_TELL_EVERY_S: Final = 2.0
T = TypeVar("T")


def run_relink(settings: Settings, tell: Progress) -> int:
    """Relink; how many calls were placed. Blocks. ``tell`` hears every few seconds how far it is.

    Raises:
        BadRequest: there is no such home.
        Unavailable: the database cannot be reached.
    """
    return _on_database(settings, lambda db: relink(db, progress=_sometimes(tell)))


def run_recost(settings: Settings, tell: Progress, *, dry_run: bool) -> Recosted:
    """Find prices anew; what changed. Blocks; ``tell`` and errors as ``run_relink``."""
    told = _sometimes(tell)
    return _on_database(settings, lambda db: Prices(db).recost(lambda count: told("priced", count), dry_run=dry_run))


def run_retention(settings: Settings, days: int, tell: Tell, *, dry_run: bool) -> Dropped:
    """Drop days, or say which would go. Blocks; ``tell`` hears of each; errors as ``run_relink``."""

    def work(db: Database) -> Awaitable[Dropped]:
        return Retention(db).look(days) if dry_run else Retention(db).drop(days, tell)

    return _on_database(settings, work)


def _on_database(settings: Settings, work: Callable[[Database], Awaitable[T]]) -> T:
    if not settings.home.is_dir():
        raise BadRequest(f"There is no home '{settings.home}': say which with '--home'")

    async def run(url: str) -> T:
        db = Database(url, pool_size=2)
        try:
            return await work(db)
        finally:
            await db.close()

    with reachable(settings) as url:
        return asyncio.run(run(url))


def _sometimes(tell: Progress) -> Progress:
    told_at = time.monotonic()

    def sometimes(doing: str, count: int) -> None:
        nonlocal told_at
        if time.monotonic() - told_at >= _TELL_EVERY_S:
            told_at = time.monotonic()
            tell(doing, count)

    return sometimes

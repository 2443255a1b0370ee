"""The process that brings a database up to date: migrations, then what every installation has."""

import asyncio

from raworc.errors import BadRequest
from raworc.services.bootstrap import bootstrap
from raworc.services.passwords import Passwords
from raworc.settings import Settings
from raworc.store.database import Database
from raworc.store.migrate import migrate
from raworc.supervisor.entry import Lifetime, Work, run_child


def child() -> None:
    """The process that ``raworc up`` started."""
    run_child(_prepare)


def _prepare(settings: Settings) -> Work:
    async def work(lifetime: Lifetime) -> None:
        if settings.database_url is None:
            raise BadRequest("'RAWORC_DATABASE_URL' says which database to prepare")
        await asyncio.to_thread(migrate, settings.database_url)
        db = Database(settings.database_url, pool_size=1)
        try:
            await bootstrap(db, Passwords(), settings.admin_password)
        finally:
            await db.close()
        lifetime.serving({})

    return work

"""What a recorder process is made of."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from raworc.recorder.loop import Recorder
from raworc.services.recording import Recording
from raworc.services.workers import working
from raworc.settings import Settings
from raworc.store.database import Database
from raworc.wiring.database import database_url


@asynccontextmanager
async def recorder_parts(settings: Settings) -> AsyncGenerator[Recorder]:
    """A recorder that is ready to run."""
    url = database_url(settings)
    db = Database(url, pool_size=2)
    try:
        async with working(url, "recorder", node=settings.node, run_dir=settings.run_dir):
            recording = Recording(db, settings.node)
            yield Recorder(recording, spool_dir=settings.spool_dir, run_dir=settings.run_dir)
    finally:
        await db.close()

"""What a recorder process is made of."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from raworc.keys import MasterKeys
from raworc.recorder.loop import Keeping, Placing, Recorder
from raworc.services.known_secrets import KnownSecrets
from raworc.services.recording import Recording
from raworc.services.retention import Retention
from raworc.services.secrets import Secrets
from raworc.services.workers import working
from raworc.settings import Settings
from raworc.store.database import Database
from raworc.wiring.database import database_url
from raworc.wiring.metrics import published


@asynccontextmanager
async def recorder_parts(settings: Settings, process: str = "recorder") -> AsyncGenerator[Recorder]:
    """A recorder that is ready to run."""
    url = database_url(settings)
    db = Database(url, pool_size=4)
    try:
        async with (
            working(url, "recorder", node=settings.node, run_dir=settings.run_dir) as worker,
            published(process, worker, settings.run_dir, db) as metrics,
        ):
            secrets = KnownSecrets(db, Secrets(MasterKeys.of(settings)))
            recording = Recording(db, settings.node, secrets, metrics)
            keeping = Keeping(Retention(db), settings.retention_days) if settings.retention_days else None
            recorder = Recorder(
                recording, Placing.over(db), spool_dir=settings.spool_dir, run_dir=settings.run_dir, keeping=keeping
            )
            metrics.gauge(
                "raworc_recorder_caught_up_timestamp_seconds",
                "When everything on this node was last stored",
                lambda: recorder.caught_up_at_s,
            )
            yield recorder
    finally:
        await db.close()

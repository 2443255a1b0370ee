"""Publishing the numbers of one process of this home."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from raworc.metrics import Metrics, snapshot_file
from raworc.services.workers import Worker
from raworc.store.database import Database


@asynccontextmanager
async def published(process: str, worker: Worker, run_dir: Path, db: Database) -> AsyncGenerator[Metrics]:
    """The numbers of ``process``, which every server of this home shows until the block ends."""
    metrics = Metrics(process)
    metrics.gauge("raworc_database_connections_in_use", "Database connections in use", lambda: db.in_use)
    metrics.gauge("raworc_database_connections_max", "Database connections at most", lambda: db.pool_size)
    publishing = asyncio.create_task(metrics.publish(snapshot_file(run_dir, worker.id)), name="metrics")
    try:
        yield metrics
    finally:
        publishing.cancel()
        await asyncio.gather(publishing, return_exceptions=True)

"""From a spool to the database, batch by batch, bounded by bytes."""

from collections.abc import Callable
from typing import Final

from raworc.recorder.rows import build_row
from raworc.recorder.spools import WorkerSpool
from raworc.services.recording import Recording

_BATCH_BYTES: Final = 8 * 1024 * 1024
_BATCH_CALLS: Final = 500


async def drain(spool: WorkerSpool, recording: Recording, is_dead: Callable[[], bool]) -> int:
    """Load every call of this spool that is over, then delete the files that are no longer needed; new rows.

    Raises:
        Unavailable: the database is away. The batch in hand is kept for the next call.
    """
    added = 0
    while True:
        batch = spool.pending or spool.read(max_bytes=_BATCH_BYTES, max_calls=_BATCH_CALLS, is_dead=is_dead)
        if batch is None:
            return added
        spool.pending = batch
        if batch.calls or spool.finished or batch.reached != spool.saved:
            added += await recording.load([build_row(call) for call in batch.calls], batch.reached)
        spool.pending = None
        spool.saved = batch.reached
        spool.remove_files(batch.reached)
        if spool.finished:
            return added

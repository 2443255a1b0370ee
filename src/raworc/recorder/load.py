"""From a spool to the database, batch by batch, bounded by bytes."""

from collections.abc import Callable
from typing import Final

import structlog

from raworc.domain.redaction import NOTHING, Known
from raworc.recorder.rows import RecordedCall, bare_row, build_row
from raworc.recorder.spools import WorkerSpool
from raworc.services.recording import Recording
from raworc.store.recordings import RequestRow

_BATCH_BYTES: Final = 8 * 1024 * 1024
_BATCH_CALLS: Final = 500
_log = structlog.get_logger(__name__)


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
            sessions = {call.start.session_id for call in batch.calls if call.start.session_id is not None}
            known = await recording.known(sessions)
            rows = [_row(call, known[at] if (at := call.start.session_id) else NOTHING) for call in batch.calls]
            added += await recording.load(rows, batch.reached)
        spool.pending = None
        spool.saved = batch.reached
        spool.remove_files(batch.reached)
        if spool.finished:
            return added


def _row(call: RecordedCall, known: Known) -> RequestRow:
    try:
        return build_row(call, known)
    except Exception:  # noqa: BLE001  a defect of ours must not hold up the calls behind this one for ever
        _log.exception("recorded_call_unreadable", request=str(call.start.id))
        return bare_row(call, known)

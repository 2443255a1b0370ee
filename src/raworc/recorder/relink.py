"""Conversations made again from what was said, after the rules of linking have changed."""

from collections.abc import Callable

from raworc.recorder.rows import stored_link
from raworc.services.linking import BATCH, Linking
from raworc.services.recording import Recording
from raworc.store.database import Database

Progress = Callable[[str, int], None]


def _silent(_doing: str, _count: int) -> None:
    """Nobody asked."""


async def relink(db: Database, *, batch: int = BATCH, progress: Progress = _silent) -> int:
    """Make all digests and places again; how many calls were placed. May be cut short, and repeated.

    Recorders go on meanwhile: what they place they place by the same rules. ``progress`` hears what is being done
    and of how many calls it is done.

    Raises:
        Unavailable: the database is away.
    """
    recording, linking = Recording(db, ""), Linking(db, batch=batch)
    count, last = 0, None
    while calls := await recording.stored(last, batch):
        await recording.replace_links([(call, stored_link(call)) for call in calls])
        last = (calls[-1].created_at, calls[-1].id)
        count += len(calls)
        progress("read", count)
    await linking.forget()
    placed = 0
    while added := await linking.link(wait=True):
        placed += added
        progress("placed", placed)
    return placed

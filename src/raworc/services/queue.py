"""How much may wait: turns of one session, and of one space; and whether the disk has room for one more."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from raworc.errors import RateLimited
from raworc.services.storage import Storage
from raworc.settings import Settings
from raworc.store import turns as store
from raworc.store.turns import OpenTurn

_RETRY_AFTER: Final = {"Retry-After": "5"}


@dataclass(frozen=True)
class QueueLimits:
    """The most turns that may be pending, and the disks that their work needs."""

    per_session: int = 64
    per_space: int = 1000
    storage: Storage = field(default_factory=Storage)

    @classmethod
    def of(cls, settings: Settings) -> "QueueLimits":
        """Those of an installation."""
        return cls(settings.max_pending_turns, settings.max_queued_per_space, Storage.of(settings))


async def check_room(conn: AsyncConnection, limits: QueueLimits, space: str, turns: Sequence[OpenTurn]) -> None:
    """Nothing, when one more turn may wait beside the open ``turns`` of its session, which must be locked.

    Raises:
        RateLimited: the session's or the space's queue is full; ``Retry-After`` says when to try again.
        StorageFull: the disk is.
    """
    limits.storage.check()
    pending = sum(turn.status == "pending" for turn in turns)
    if pending >= limits.per_session:
        raise RateLimited(
            f"{pending} responses are waiting for this agent already: wait until some are done", headers=_RETRY_AFTER
        )
    queued = await store.queued_in_space(conn, space, at_most=limits.per_space)
    if queued >= limits.per_space:
        raise RateLimited(
            f"{queued} responses are waiting in space '{space}' already: wait until some are done", headers=_RETRY_AFTER
        )

"""Waiting for a database that is away: work pauses, and goes on where it was."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import structlog

from raworc.errors import DatabaseUnavailable, StorageFull

T = TypeVar("T")

_FIRST_DELAY_S: Final = 0.05
_LONGEST_DELAY_S: Final = 1.0

log = structlog.get_logger()


async def patiently(attempt: Callable[[], Awaitable[T]]) -> T:
    """What ``attempt`` returns, as soon as the database answers.

    It ends by being cancelled: an operator whose heartbeat does not get through stops everything it holds.
    """
    delay_s = _FIRST_DELAY_S
    while True:
        try:
            return await attempt()
        except (DatabaseUnavailable, StorageFull) as error:
            log.info("database away, work pauses", reason=error.message, again_in_s=delay_s)
        await asyncio.sleep(delay_s)
        delay_s = min(delay_s * 2, _LONGEST_DELAY_S)

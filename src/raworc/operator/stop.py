"""A wish that what runs now should end. Only long waits are cut short by it, never a write in the middle."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class Stopped(Exception):
    """The wish came while something was waited for; that has been stopped."""


class Stop:
    """One wish, for one piece of work."""

    def __init__(self) -> None:
        self._wished = asyncio.Event()

    def set(self) -> None:
        """Wish."""
        self._wished.set()

    async def race(self, work: Coroutine[Any, Any, T]) -> T:
        """What ``work`` returns; as soon as the wish is there, ``work`` is cancelled and waited for.

        Raises:
            Stopped: the wish came first.
        """
        task = asyncio.ensure_future(work)
        wish = asyncio.ensure_future(self._wished.wait())
        try:
            await asyncio.wait({task, wish}, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            raise Stopped
        finally:
            wish.cancel()
            if not task.done():
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

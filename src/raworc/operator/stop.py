"""A wish that what runs now should end. Only long waits are cut short by it, never a write in the middle.

Besides, work may be told from outside to look again, because something of its session may have changed, and to wait
with what it begins next until it is told to go on.
"""

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class Stopped(Exception):
    """The wish came while something was waited for; that has been stopped."""


class Stop:
    """One wish, for one piece of work."""

    def __init__(self) -> None:
        self._wished = asyncio.Event()
        self._stirred = asyncio.Event()
        self._going = asyncio.Event()
        self._going.set()

    def set(self) -> None:
        """Wish."""
        self._wished.set()

    def hold(self) -> None:
        """Have nothing begin."""
        self._going.clear()

    def go_on(self) -> None:
        """Have what waits begin."""
        self._going.set()

    def stir(self) -> None:
        """Have whoever waits look again."""
        self._stirred.set()

    async def stirring(self, at_most_s: float) -> None:
        """Return when something may have changed since the last time, or after ``at_most_s``. Raises as ``race``."""
        await self.race(self._stir_or(at_most_s))

    async def _stir_or(self, at_most_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(at_most_s):
                await self._stirred.wait()
        self._stirred.clear()

    async def race(self, work: Coroutine[Any, Any, T]) -> T:
        """What ``work`` returns, begun when it may; as soon as the wish is there, it is cancelled and waited for.

        Raises:
            Stopped: the wish came first.
        """
        task = asyncio.ensure_future(self._begun(work))
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

    async def _begun(self, work: Coroutine[Any, Any, T]) -> T:
        try:
            await self._going.wait()
            return await work
        finally:
            work.close()

"""Watches how much disk a sandbox's workspace takes, because no limit of the kernel covers a whole folder here.

The file system is asked ten times a second while a command runs, and every second otherwise, how much room it has
lost: that costs next to nothing, and whoever could have gone over the limit since is measured at once. Whether or
not it lost any, a workspace is measured about every second while a command runs, and when one ends. One that is
over its limit may still shrink: growth ends what runs, and a new command can read and delete, but not write.
"""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from raworc.sandbox import trees

_BUSY_S: Final = 0.1
_IDLE_S: Final = 1.0
_MEASURED_EVERY_S: Final = 1.0
_MOST_SHARE: Final = 0.05
"""Of one thread's time that measuring may take."""
_MOST_URGENT_SHARE: Final = 0.25
"""The same, when the file system has lost more than the workspace may still take."""
_NOTICED_BYTES: Final = 16_777_216

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Watched:
    """What is watched, and its limit; and what the disk must have left for it to grow at all."""

    workspace: Path
    limit_bytes: int
    reserve_bytes: int = 0


class DiskWatch:
    """One per sandbox. ``on_full`` ends what runs; it is called each time the workspace is found over and grown."""

    def __init__(self, watched: Watched, is_busy: Callable[[], bool], on_full: Callable[[], Awaitable[None]]) -> None:
        self._watched = watched
        self._is_busy = is_busy
        self._on_full = on_full
        self._woken = asyncio.Event()
        self._one_at_a_time = asyncio.Lock()
        self._size = 0
        self._free = 0
        self._measured_at = 0.0
        self._took_s = 0.0
        self._task = asyncio.create_task(self._watch())

    async def largest_file(self) -> int:
        """A command starts: how many bytes any file may have that it writes to. None at all above the limit."""
        self._woken.set()
        if self._is_over:
            await self._measure()  # it may have been made smaller since, through the files API
        return 0 if self._is_over else self._watched.limit_bytes

    async def has_overrun(self) -> bool:
        """A command has ended: whether the workspace grew over its limit meanwhile."""
        if not (self._may_be_over() or self._is_due(_MOST_SHARE)):
            return False
        return await self._measure()

    async def stop(self) -> None:
        """Watch no longer."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    @property
    def _is_over(self) -> bool:
        return self._size > self._watched.limit_bytes or self._free < self._watched.reserve_bytes

    async def _watch(self) -> None:
        await self._measure()
        while True:
            await self._pause()
            if self._is_to_be_measured() and await self._measure():
                log.info("workspace full", workspace=self._watched.workspace.name, size_bytes=self._size)
                await self._on_full()

    def _is_to_be_measured(self) -> bool:
        if self._may_be_over():
            return self._is_due(_MOST_URGENT_SHARE)
        if self._is_busy():
            return self._is_due(_MOST_SHARE) and time.monotonic() - self._measured_at >= _MEASURED_EVERY_S
        return self._is_due(_MOST_SHARE) and self._lost() > _NOTICED_BYTES

    def _is_due(self, share: float) -> bool:
        return time.monotonic() - self._measured_at >= self._took_s / share

    def _may_be_over(self) -> bool:
        """Whether the file system has lost more since we looked than the workspace may still take."""
        free = _free(self._watched.workspace)
        lost = self._free - free
        room = min(self._watched.limit_bytes - self._size, self._free - self._watched.reserve_bytes)
        return lost > 0 and lost > room

    def _lost(self) -> int:
        return self._free - _free(self._watched.workspace)

    async def _pause(self) -> None:
        """Until the next look; a command that starts while nothing ran cuts an idle pause short."""
        self._woken.clear()
        if self._is_busy():
            await asyncio.sleep(_BUSY_S)
            return
        try:
            async with asyncio.timeout(_IDLE_S):
                await self._woken.wait()
        except TimeoutError:
            return

    async def _measure(self) -> bool:
        """Look; whether it is over its limit and larger than before.

        A file system that fails for a moment is looked at again later.
        """
        async with self._one_at_a_time:
            started, former = time.monotonic(), self._size
            free = _free(self._watched.workspace)  # what is lost while we measure counts next time
            enough = 2 * max(self._watched.limit_bytes, self._size)
            try:
                self._size = await asyncio.to_thread(trees.measure, self._watched.workspace, enough)
            except OSError as error:
                log.warning("workspace not measured", workspace=self._watched.workspace.name, error=str(error))
            self._free, self._measured_at = free, time.monotonic()
            self._took_s = self._measured_at - started
            return self._is_over and (self._size > former or self._size == trees.UNMEASURABLE)


def _free(workspace: Path) -> int:
    """Bytes that the file system has left; none when it does not say: the measuring will say what is wrong."""
    try:
        found = os.statvfs(workspace)
    except OSError:
        return 0
    return found.f_bavail * found.f_frsize

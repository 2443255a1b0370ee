"""Watches how much disk a sandbox's workspace takes, because no limit of the kernel covers a whole folder here.

Looked at about every second while a command runs, and every few seconds, when the file system has lost room, for
what runs in the background. A workspace that is over its limit may still shrink: only growth ends a command.
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

_BUSY_S: Final = 1.0
_IDLE_S: Final = 5.0
_MOST_SHARE: Final = 0.05
"""Of one thread's time that measuring may take."""
_NOTICED_BYTES: Final = 16_777_216

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Watched:
    """What is watched, and its limit."""

    workspace: Path
    limit_bytes: int


class DiskWatch:
    """One per sandbox. ``on_full`` ends what runs; it is called once for every time the limit is crossed."""

    def __init__(self, watched: Watched, is_busy: Callable[[], bool], on_full: Callable[[], Awaitable[None]]) -> None:
        self._watched = watched
        self._is_busy = is_busy
        self._on_full = on_full
        self._woken = asyncio.Event()
        self._size = 0
        self._free = 0
        self._task = asyncio.create_task(self._watch())

    def wake(self) -> None:
        """A command starts."""
        self._woken.set()

    async def stop(self) -> None:
        """Watch no longer."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _watch(self) -> None:
        took_s = await self._measure()
        while True:
            await self._pause(max(_BUSY_S if self._is_busy() else _IDLE_S, took_s / _MOST_SHARE))
            if not self._is_busy() and not self._has_lost_room():
                continue
            former = self._size
            took_s = await self._measure()
            if self._size > self._watched.limit_bytes and (self._size > former or self._size == trees.UNMEASURABLE):
                log.info("workspace full", workspace=self._watched.workspace.name, size_bytes=self._size)
                await self._on_full()

    async def _pause(self, seconds: float) -> None:
        """Sleep; a command that starts while nothing ran cuts an idle pause short."""
        self._woken.clear()
        try:
            async with asyncio.timeout(seconds):
                await self._woken.wait()
                await asyncio.sleep(_BUSY_S)
        except TimeoutError:
            return

    async def _measure(self) -> float:
        """Look, and the seconds that took. A file system that fails for a moment is looked at again later."""
        started = time.monotonic()
        enough = 2 * max(self._watched.limit_bytes, self._size)
        try:
            self._size = await asyncio.to_thread(trees.measure, self._watched.workspace, enough)
        except OSError as error:
            log.warning("workspace not measured", workspace=self._watched.workspace.name, error=str(error))
        return time.monotonic() - started

    def _has_lost_room(self) -> bool:
        """Whether the file system is noticeably fuller than when we looked last."""
        try:
            found = os.statvfs(self._watched.workspace)
        except OSError:
            return True  # the measuring will say what is wrong
        free = found.f_bavail * found.f_frsize
        lost = self._free - free
        if lost < 0 or lost > _NOTICED_BYTES or not self._free:
            self._free = free
        return lost > _NOTICED_BYTES

"""Waiting until something is written below a directory: inotify, so that an idle recorder costs nothing.

Where the kernel grants no watch (a limit of the host), looking every ``_LOOK_S`` takes its place.
"""

import asyncio
import contextlib
import ctypes
import os
from pathlib import Path
from typing import Final

import structlog

_IN_MODIFY: Final = 0x2
_IN_CREATE: Final = 0x100
_LOOK_S: Final = 0.03
_EVENTS_BYTES: Final = 65_536
_log = structlog.get_logger(__name__)


class Watch:
    """Tells of writes to the files of one directory. Usable from one event loop; ``close`` ends it."""

    def __init__(self, directory: Path) -> None:
        self._changed = asyncio.Event()
        self._fd = _watch(directory)
        if self._fd is None:
            _log.warning("inotify_unavailable", directory=str(directory), look_every_s=_LOOK_S)

    async def wait(self, limit_s: float) -> None:
        """Return when something was written since the last call, or after ``limit_s``."""
        if self._fd is None:
            await asyncio.sleep(min(_LOOK_S, limit_s))
            return
        loop = asyncio.get_running_loop()
        self._changed.clear()
        loop.add_reader(self._fd, self._drain, self._fd)  # between two waits writes cost nothing
        try:
            async with asyncio.timeout(limit_s):
                await self._changed.wait()
        except TimeoutError:
            return
        finally:
            loop.remove_reader(self._fd)

    def close(self) -> None:
        """Stop watching."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _drain(self, fd: int) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(fd, _EVENTS_BYTES)  # what is left wakes the next wait
        self._changed.set()


def _watch(directory: Path) -> int | None:
    libc = ctypes.CDLL(None, use_errno=True)
    fd = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    if fd < 0:
        return None
    if libc.inotify_add_watch(fd, os.fsencode(directory), _IN_MODIFY | _IN_CREATE) < 0:
        os.close(fd)
        return None
    return fd

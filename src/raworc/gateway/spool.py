"""The write-ahead spool of recorded calls: what this process has seen is on file before a client sees it.

Plain appends go to the page cache, so a killed process loses nothing; ``fdatasync`` follows in the background
within ``SYNC_EVERY_S`` (or, in strict mode, before an answer's last byte), so a lost machine loses little. The
recorder reads the files and removes them. Format: ``wire/frames.py``. One spool per process, one event loop.
"""

import asyncio
import os
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from raworc.ids import new_id
from raworc.wire.frames import AnswerHead, CallEnd, CallStart, Kind, file_name, pack, pack_start, pack_struct

SYNC_EVERY_S: Final = 0.05
_LOOK_EVERY_S: Final = 1.0
_log = structlog.get_logger(__name__)


class SpoolFull(Exception):
    """No room to record another call: the spool is at its limit, or the disk below its watermark."""


@dataclass(frozen=True)
class SpoolLimits:
    """When to begin a new file, how large all files of the node may grow, and what must stay free on the disk."""

    rotate_bytes: int = 64 * 1024 * 1024
    total_bytes: int = 8 * 1024 * 1024 * 1024
    free_bytes: int = 128 * 1024 * 1024
    strict: bool = False


class Spool:
    """Appends the frames of this process' calls. ``open`` before the first call, ``close`` after the last."""

    def __init__(self, directory: Path, worker_id: uuid.UUID, limits: SpoolLimits) -> None:
        self._directory = directory
        self._worker_id = worker_id
        self._limits = limits
        self._number = 0
        self._fd = -1
        self._size = 0
        self._full = False
        self._looked_at = 0.0
        self._syncing: asyncio.Task[None] | None = None
        self._dirty = False
        self._retired: list[int] = []  # files that are complete but not synced yet
        self.lost_frames = 0

    def open(self) -> None:
        """Make the directory and the first file."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._next_file()

    async def close(self) -> None:
        """Everything that was appended is on disk when this returns."""
        if self._syncing is not None:
            await self._syncing
        for fd in (*self._retired, self._fd):
            await asyncio.to_thread(os.fdatasync, fd)
            os.close(fd)
        self._retired, self._fd = [], -1

    def begin(self, at_us: int, start: CallStart, body: bytes) -> "Entry":
        """Write a call's start record.

        Raises:
            SpoolFull: it cannot be recorded; nothing was written.
        """
        if time.monotonic() - self._looked_at >= _LOOK_EVERY_S:
            self._look()
        if self._full:
            raise SpoolFull("The record of model calls has no room left")
        key = new_id().bytes  # not the request's id, which an operator may use again for a second try
        if not self._append(pack(Kind.START, key, at_us, *pack_start(start, body))):
            raise SpoolFull("The record of model calls cannot be written")
        return Entry(self, key)

    def append(self, pieces: Sequence[bytes]) -> None:
        """Add frames of a call that has begun. A full disk must not break it: what cannot be kept is counted."""
        if not self._append(pieces):
            self.lost_frames += 1

    async def synced(self) -> None:
        """In strict mode: return once everything appended so far is on disk. Otherwise at once."""
        if not self._limits.strict:
            return
        while self._dirty or self._syncing is not None:
            await asyncio.shield(self._sync_task())

    def _append(self, pieces: Sequence[bytes]) -> bool:
        try:
            if self._size >= self._limits.rotate_bytes:
                self._next_file()
            length = _write_all(self._fd, pieces)
        except OSError as error:
            _log.error("spool_write_failed", error=str(error))
            os.ftruncate(self._fd, self._size)  # half a frame would end the file for its reader
            self._full = True
            return False
        self._size += length
        self._dirty = True
        self._sync_task()
        return True

    def _next_file(self) -> None:
        if self._fd >= 0:
            self._retired.append(self._fd)
        self._number += 1
        path = self._directory / file_name(self._worker_id, self._number)
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self._size = 0

    def _sync_task(self) -> asyncio.Task[None]:
        if self._syncing is None:
            self._syncing = asyncio.get_running_loop().create_task(self._sync())
        return self._syncing

    async def _sync(self) -> None:
        try:
            if not self._limits.strict:
                await asyncio.sleep(SYNC_EVERY_S)
            self._dirty = False
            retired, self._retired = self._retired, []
            await asyncio.to_thread(_sync_files, [*retired, self._fd])
            for fd in retired:
                os.close(fd)
        finally:
            self._syncing = None
        if self._dirty:
            self._sync_task()

    def _look(self) -> None:
        """Once a second while calls come: is there room?"""
        self._looked_at = time.monotonic()
        disk = os.statvfs(self._directory)
        used = sum(_size_of(path) for path in self._directory.iterdir())
        full = disk.f_bavail * disk.f_frsize < self._limits.free_bytes or used > self._limits.total_bytes
        if full != self._full:
            _log.warning("spool_room_changed", full=full, used_bytes=used)
        self._full = full


class Entry:
    """The record of one call, from its start to its end."""

    def __init__(self, spool: Spool, key: bytes) -> None:
        self._spool = spool
        self._key = key
        self._head: list[bytes] = []
        self.ended = False

    def head(self, head: AnswerHead, at_us: int) -> None:
        """The answer's head. It is written with what follows it; ``flush`` when that may take a while."""
        self._head = pack(Kind.HEAD, self._key, at_us, pack_struct(head))

    def flush(self) -> None:
        """Write the head by itself."""
        if self._head:
            self._spool.append(self._head)
            self._head = []

    def chunk(self, data: bytes, at_us: int) -> None:
        """A piece of the answer, before it is sent on."""
        self._spool.append([*self._head, *pack(Kind.CHUNK, self._key, at_us, data)])
        self._head = []

    def end(self, end: CallEnd, at_us: int) -> None:
        """The call is over. Only the first end counts."""
        if not self.ended:
            self.ended = True
            self._spool.append([*self._head, *pack(Kind.END, self._key, at_us, pack_struct(end))])

    async def synced(self) -> None:
        """See ``Spool.synced``."""
        await self._spool.synced()


def _write_all(fd: int, pieces: Sequence[bytes]) -> int:
    length = sum(map(len, pieces))
    written = os.writev(fd, pieces)
    while written < length:
        written += os.write(fd, b"".join(pieces)[written:])
    return length


def _sync_files(fds: Sequence[int]) -> None:
    for fd in fds:
        os.fdatasync(fd)


def _size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0  # the recorder was quicker

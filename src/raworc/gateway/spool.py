"""The write-ahead spool of recorded calls: what this process has seen is on file before a client sees it.

Plain appends go to the page cache, so a killed process loses nothing; ``fdatasync`` follows in the background
within ``SYNC_EVERY_S`` (or, in strict mode, before an answer's last byte), so a lost machine loses little. The
recorder reads the files and removes those that have a successor. What lies in them is not redacted yet, so a file
gets one soon, also when no further call comes. Format: ``wire/frames.py``. One spool per process, one event loop.
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

from raworc.wire.frames import (
    AnswerHead,
    CallEnd,
    CallStart,
    Framing,
    Kind,
    StartForm,
    file_name,
    pack_start,
    pack_struct,
)

SYNC_EVERY_S: Final = 0.05
_LOOK_EVERY_S: Final = 1.0
_FIRST_FAILURE: Final = 400
_MOST_HELD: Final = 500  # pieces; one write takes 1,024
_log = structlog.get_logger(__name__)


class SpoolFull(Exception):
    """No room to record another call: the spool is at its limit, or the disk below its watermark."""


@dataclass(frozen=True)
class SpoolLimits:
    """When to begin a new file, how large all files of the node may grow, and what must stay free on the disk.

    ``rotate_s`` counts from a file's first frame. Where there is no room, calls are made all the same and not
    recorded when ``may_pass``.
    """

    rotate_bytes: int = 64 * 1024 * 1024
    rotate_s: float = 60.0
    total_bytes: int = 8 * 1024 * 1024 * 1024
    free_bytes: int = 128 * 1024 * 1024
    strict: bool = False
    may_pass: bool = False


class Spool:
    """Appends the frames of this process' calls. ``open`` before the first call, ``close`` after the last."""

    def __init__(self, directory: Path, worker_id: uuid.UUID, limits: SpoolLimits) -> None:
        self._directory = directory
        self._worker_id = worker_id
        self._limits = limits
        self.framing: Final = Framing(worker_id)
        self._key = worker_id.bytes[:8]
        self._loop: asyncio.AbstractEventLoop
        self._begun = 0
        self._number = 0
        self._fd = -1
        self._size = 0
        self._full = False
        self._looked_at = 0.0
        self._syncing: asyncio.Task[None] | None = None
        self._dirty = False
        self._turning: asyncio.TimerHandle | None = None
        self._retired: list[int] = []  # files that are complete but not synced yet
        self._open = 0  # calls
        self._held: list[bytes] = []  # ends of calls that are written together
        self._owed: list[Sequence[bytes]] = []  # ends of calls that found no room
        self._paying: asyncio.TimerHandle | None = None
        self.lost_frames = 0
        self.unrecorded = 0  # calls

    def open(self) -> None:
        """Make the directory and the first file; within the event loop that is to use it."""
        self._loop = asyncio.get_running_loop()
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._next_file()

    async def close(self) -> None:
        """Everything that was appended is on disk when this returns."""
        if self._turning is not None:
            self._turning.cancel()
        self._settle()
        self._pay()
        if self._paying is not None:
            self._paying.cancel()
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
        return self.begin_with(at_us, pack_start(start, b"")[0], body, start)

    def begin_with(self, at_us: int, data: bytes, body: bytes, form: CallStart | StartForm) -> "Entry":
        """As ``begin``, of a record whose data is packed already. ``form`` says what is to be kept."""
        if time.monotonic() - self._looked_at >= _LOOK_EVERY_S:
            self._look()
        self._begun += 1  # the key is not the request's id, which an operator may use again for a second try
        key = self._key + self._begun.to_bytes(8)
        if not self._full and self._append(self.framing.pack(Kind.START, key, at_us, data, body)):
            self._open += 1
            return Entry(self, key, bodies=form.bodies, reads=form.reads)
        if not self._limits.may_pass:
            raise SpoolFull("The record of model calls has no room left")
        self.unrecorded += 1
        return Unrecorded(self, key)

    def append(self, pieces: Sequence[bytes]) -> bool:
        """Add frames of a call that has begun. A full disk must not break it: what cannot be kept is counted."""
        kept = self._append(pieces)
        if not kept:
            self.lost_frames += 1
        return kept

    def finish_soon(self, pieces: Sequence[bytes]) -> bool:
        """Add a call's last frames, with those of other calls that end in this turn of the event loop.

        False: at the end of this turn, as there are other calls. What is sent to its client afterwards must leave later
        still, as what a connection gathers in this turn does.
        """
        self._open -= 1
        if not self._held and self._open:
            self._loop.call_soon(self._settle)
        self._held += pieces
        if self._open and len(self._held) < _MOST_HELD:
            return False
        self._settle()
        return True

    def _settle(self) -> None:
        held, self._held = self._held, []
        if held:
            self._finish(held)

    def finish(self, pieces: Sequence[bytes]) -> None:
        """Add a call's last frame; once there is room, if there is none now: without it a file is kept for ever."""
        self._open -= 1
        self._finish(pieces)

    def _finish(self, pieces: Sequence[bytes]) -> None:
        if self._append(pieces):
            return
        self._owed.append(pieces)
        if self._paying is None:
            self._pay_later()

    def _pay_later(self) -> None:
        self._paying = self._loop.call_later(_LOOK_EVERY_S, self._pay)

    def _pay(self) -> None:
        if self._paying is not None:
            self._paying.cancel()
            self._paying = None
        while self._owed:
            if not self._append(self._owed[0]):
                self._pay_later()
                return
            del self._owed[0]

    @property
    def is_strict(self) -> bool:
        """Whether an answer's end waits until it is on disk."""
        return self._limits.strict

    async def synced(self) -> None:
        """In strict mode: return once everything appended so far is on disk. Otherwise at once."""
        if not self._limits.strict:
            return
        self._settle()
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
        if self._syncing is None:
            self._sync_task()
        if self._turning is None:
            self._turn_later()
        return True

    def _next_file(self) -> None:
        path = self._directory / file_name(self._worker_id, self._number + 1)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_EXCL | os.O_CLOEXEC, 0o600)
        if self._fd >= 0:
            self._retired.append(self._fd)
        self._number, self._fd, self._size = self._number + 1, fd, 0
        if self._turning is not None:
            self._turning.cancel()
            self._turning = None

    def _turn_later(self) -> None:
        delay_s = max(self._limits.rotate_s, SYNC_EVERY_S)
        self._turning = self._loop.call_later(delay_s, self._turn)

    def _turn(self) -> None:
        """The present file has lain long enough: give it a successor, so that the recorder may remove it."""
        try:
            self._next_file()
        except OSError as error:
            _log.error("spool_rotation_failed", error=str(error))
            self._turn_later()
        else:
            self._sync_task()

    def _sync_task(self) -> asyncio.Task[None]:
        if self._syncing is None:
            self._syncing = self._loop.create_task(self._sync())
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
    """The record of one call, from its start to its end. Without ``bodies``, answers are kept of errors only.

    ``reads``: and those in which a recorder finds what was used.
    """

    def __init__(self, spool: Spool, key: bytes, *, bodies: bool = True, reads: bool = False) -> None:
        self._spool = spool
        self._key = key
        self._bodies = bodies
        self._reads = reads
        self._head: list[bytes] = []
        self._bytes = 0
        self.ended = False

    def head(self, head: AnswerHead, at_us: int) -> None:
        """The answer's head. It is written with what follows it; ``flush`` when that may take a while."""
        self._head = self._spool.framing.pack(Kind.HEAD, self._key, at_us, pack_struct(head))
        self._bodies |= head.status >= _FIRST_FAILURE or (self._reads and _is_readable(head))

    def flush(self) -> None:
        """Write the head by itself."""
        if self._head and self._spool.append(self._head):
            self._head = []

    def chunk(self, data: bytes, at_us: int) -> None:
        """A piece of the answer, before it is sent on."""
        if not self._bodies:
            self.flush()
        elif self._spool.append(self._frames(data, at_us)):
            self._head = []

    def last(self, data: bytes, end: CallEnd, at_us: int, *, soon: bool) -> bool:
        """The last piece of a whole answer and the end, in one write. See ``Spool.finish_soon`` for ``soon``."""
        frames = self._frames(data, at_us) if data and self._bodies else self._head
        frames = [*frames, *self._end(end, at_us)]
        if soon:
            return self._spool.finish_soon(frames)
        self._spool.finish(frames)
        return True

    def end(self, end: CallEnd, at_us: int) -> None:
        """The call is over. Only the first end counts."""
        if not self.ended:
            self._spool.finish([*self._head, *self._end(end, at_us)])

    def _frames(self, data: bytes, at_us: int) -> list[bytes]:
        self._bytes += len(data)
        return [*self._head, *self._spool.framing.pack(Kind.CHUNK, self._key, at_us, b"", data)]

    def _end(self, end: CallEnd, at_us: int) -> list[bytes]:
        self.ended = True
        end.answer_bytes = self._bytes
        return self._spool.framing.pack(Kind.END, self._key, at_us, pack_struct(end))

    @property
    def is_strict(self) -> bool:
        """See ``Spool.is_strict``."""
        return self._spool.is_strict

    async def synced(self) -> None:
        """See ``Spool.synced``."""
        await self._spool.synced()


class Unrecorded(Entry):
    """Stands for a call that there was no room for: nothing of it is kept."""

    def head(self, head: AnswerHead, at_us: int) -> None:
        """Kept nowhere."""

    def chunk(self, data: bytes, at_us: int) -> None:
        """Kept nowhere."""

    def last(self, *_: object, **_named: object) -> bool:
        """Kept nowhere."""
        return True

    def end(self, end: CallEnd, at_us: int) -> None:
        """Kept nowhere."""


def _is_readable(head: AnswerHead) -> bool:
    kind = next((value.lower() for name, value in head.headers if name == b"content-type"), b"")
    return kind.startswith((b"application/json", b"text/event-stream"))


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

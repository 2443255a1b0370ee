"""Reading the spool files of this node, while servers append to them and after they are gone.

Of calls that are not over, a bounded part is kept in memory; the rest of their frames is read again when they
are. Damaged bytes cost the frames that they were part of; reading goes on at the next one. One reader per node;
reading blocks for as long as the page cache takes.
"""

import os
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
import structlog

from raworc.recorder.rows import RecordedCall
from raworc.store.recordings import SpoolPosition
from raworc.wire.frames import (
    MARK_BYTES,
    OVERHEAD_BYTES,
    AnswerHead,
    BadFrame,
    CallEnd,
    Frame,
    Framing,
    Kind,
    file_name,
    parse_file_name,
    unpack_start,
    unpack_struct,
)

_BLOCK_BYTES: Final = 1024 * 1024
_HELD_BYTES: Final = 8 * 1024 * 1024
_SILENT_US: Final = 20 * 60 * 1_000_000  # longer than a provider may leave a call without a byte
_START, _HEAD, _CHUNK, _END = Kind  # a look at a member of an enumeration takes longer than a frame
_log = structlog.get_logger(__name__)


class _Place(msgspec.Struct, frozen=True, gc=False):
    """Where a frame lies, and the frame itself while there is room for it in memory."""

    number: int
    position: int
    size: int
    at_us: int
    frame: Frame | None


@dataclass(frozen=True)
class Batch:
    """Calls that are over, and how far the spool is loaded once they are."""

    calls: list[RecordedCall]
    reached: SpoolPosition


class WorkerSpool:
    """The files of one server process, read in order."""

    def __init__(self, directory: Path, worker_id: uuid.UUID, reached: SpoolPosition | None) -> None:
        self.worker_id = worker_id
        self._directory = directory
        self._number = reached.number if reached else min(self._numbers(), default=1)
        self._position = reached.position if reached else 0
        self._files: dict[int, int] = {}
        self._block, self._block_at = b"", 0
        self._open: dict[bytes, list[_Place]] = {}  # the places of each call's frames, the first its start
        self._held = 0  # bytes of frames in memory
        self._framing = Framing(worker_id)
        self._damaged = False  # what stands at the present position is no frame
        self._searched = 0  # how far behind it there is none either
        self._suspect: set[bytes] = set()  # calls that were open where bytes were damaged: their end may be lost
        self._newest_us = 0
        self.pending: Batch | None = None  # read, and not loaded yet
        self.saved = reached  # the position that the database knows
        self.finished = False  # a dead server's, read to its end

    def read(self, *, max_bytes: int, max_calls: int, is_dead: Callable[[], bool]) -> Batch | None:
        """The next calls that are over, or None when nothing has come. Frames of calls it never saw start are old."""
        before = (self._number, self._position)
        dead = is_dead()  # asked first: what a live server writes after this is for the next time
        calls: list[RecordedCall] = []
        size = 0
        while size < max_bytes and len(calls) < max_calls:
            placed = self._next(is_over=dead)
            if placed is None:
                over = next(iter(self._open), None) if dead else self._silent()
                if over is None:
                    self.finished = dead
                    break
                size += self._recall(over, calls)
            else:
                size += self._take(*placed, calls)
        if not calls and not self.finished and before == (self._number, self._position):
            return None
        return Batch(calls, self._reached())

    def remove_files(self, reached: SpoolPosition) -> None:
        """Delete what is loaded: files before ``reached``, all of them when the spool is finished."""
        for number in self._numbers():
            if number < reached.number or self.finished:
                descriptor = self._files.pop(number, None)
                if descriptor is not None:
                    os.close(descriptor)
                (self._directory / file_name(self.worker_id, number)).unlink(missing_ok=True)

    def close(self) -> None:
        """Let go of the files."""
        for descriptor in self._files.values():
            os.close(descriptor)
        self._files.clear()

    def _reached(self) -> SpoolPosition:
        starts = [(places[0].number, places[0].position) for places in self._open.values()]
        number, position = min([*starts, (self._number, self._position)])
        return SpoolPosition(self.worker_id, number, position)

    def _take(self, place: _Place, frame: Frame, calls: list[RecordedCall]) -> int:
        """Note a frame; with its last one, the call is added and its size returned."""
        if frame.kind is _START:
            self._open[frame.key] = []
        places = self._open.get(frame.key)
        if places is None:
            return 0
        places.append(place)
        self._held += place.size if place.frame else 0
        return self._recall(frame.key, calls) if frame.kind is _END else 0

    def _silent(self) -> bytes | None:
        """A call whose end was lost, as far as one can tell: bytes were damaged, and no more came of it for long."""
        self._suspect &= self._open.keys()
        for key in self._suspect:
            if self._newest_us - self._open[key][-1].at_us > _SILENT_US:
                return key
        return None

    def _next(self, *, is_over: bool) -> tuple[_Place, Frame] | None:
        """The next frame, passing on to the next file at the end of one that has a successor.

        ``is_over``: nothing more will be written.
        """
        while True:
            frame = self._frame()
            if frame is None:
                successor = min((number for number in self._numbers() if number > self._number), default=None)
                self._refill()
                frame = self._frame()
                if frame is None and self._passed_damage(is_whole=is_over or successor is not None):
                    continue
                if frame is None and successor is not None:
                    self._number, self._position = successor, 0
                    self._damaged, self._searched, self._block = False, 0, b""
                    continue
            if frame is None:
                return None
            held = frame if self._held < _HELD_BYTES else None
            place = _Place(self._number, self._position, frame.size, frame.at_us, held)
            self._position += frame.size
            self._newest_us = max(self._newest_us, frame.at_us)
            return place, frame

    def _frame(self) -> Frame | None:
        """The next frame, if all of it lies in the block that was read."""
        if self._damaged or not self._block:
            return None
        try:
            return self._framing.read(self._block, self._position - self._block_at)
        except BadFrame:
            self._damaged = True
            return None

    def _refill(self) -> None:
        """Read on from the present position: a block, or one whole frame when that is longer."""
        if self._damaged:
            return
        self._block, self._block_at = self._bytes(self._number, self._position, _BLOCK_BYTES), self._position
        try:
            needed = self._framing.length(self._block) or 0
        except BadFrame:
            return  # the next look at it says so
        if needed > _BLOCK_BYTES:
            self._block = self._bytes(self._number, self._position, needed)

    def _passed_damage(self, *, is_whole: bool) -> bool:
        """Go on at the next frame behind bytes that are none; False: there is none (yet).

        What looks like the beginning of a frame may still grow, unless the file ``is_whole``.
        """
        found = self._search() if self._damaged or is_whole else None
        if found is None:
            return False
        _log.error("spool_damaged", worker=str(self.worker_id), file=self._number, position=self._position, until=found)
        self._suspect |= self._open.keys()
        self._position, self._damaged, self._searched, self._block = found, False, 0, b""
        return True

    def _search(self) -> int | None:
        """Where the next frame begins that is whole; None: there is none so far."""
        at, unsure = max(self._searched, self._position + 1), None
        while len(block := self._bytes(self._number, at, _BLOCK_BYTES)) >= MARK_BYTES:
            offset = self._framing.find(block, 0)
            while offset >= 0:
                is_frame = self._is_frame(at + offset)
                if is_frame:
                    return at + offset
                if is_frame is None and unsure is None:
                    unsure = at + offset
                offset = self._framing.find(block, offset + 1)
            at += len(block) - MARK_BYTES + 1
        self._searched = at if unsure is None else unsure
        return None

    def _is_frame(self, position: int) -> bool | None:
        """None: a part of it is missing."""
        try:
            size = self._framing.length(self._bytes(self._number, position, OVERHEAD_BYTES))
            whole = size and self._framing.read(self._bytes(self._number, position, size))
        except BadFrame:
            return False
        return True if whole else None

    def _recall(self, key: bytes, calls: list[RecordedCall]) -> int:
        """Add a call, read again from the places of its frames; their size."""
        places = self._open.pop(key)
        self._held -= sum(place.size for place in places if place.frame)
        try:
            calls.append(_call([self._again(place) for place in places]))
        except BadFrame as error:
            _log.error("recorded_call_lost", worker=str(self.worker_id), place=str(places[0]), reason=str(error))
        return sum(place.size for place in places)

    def _again(self, place: _Place) -> Frame:
        frame = place.frame or self._framing.read(self._bytes(place.number, place.position, place.size))
        if frame is None:
            raise BadFrame("A frame is gone that was there before")
        return frame

    def _bytes(self, number: int, position: int, size: int) -> bytes:
        descriptor = self._files.get(number)
        if descriptor is None:
            path = self._directory / file_name(self.worker_id, number)
            try:
                descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                return b""
            self._files[number] = descriptor
        return os.pread(descriptor, size, position)

    def _numbers(self) -> list[int]:
        return sorted(number for worker_id, number in spool_files(self._directory) if worker_id == self.worker_id)


def _call(frames: list[Frame]) -> RecordedCall:
    start, body = unpack_start(frames[0].data)
    call = RecordedCall(frames[0].at_us, start, body, last_us=frames[-1].at_us)
    call.chunks = [(frame.at_us, frame.data) for frame in frames if frame.kind is _CHUNK]
    for frame in frames:
        if frame.kind is _HEAD:
            call.head = unpack_struct(frame.data, AnswerHead)
        elif frame.kind is _END:
            call.end = unpack_struct(frame.data, CallEnd)
    return call


def spool_files(directory: Path) -> list[tuple[uuid.UUID, int]]:
    """Whose files lie in the spool's directory, and their numbers."""
    return [parsed for path in directory.iterdir() if (parsed := parse_file_name(path.name)) is not None]

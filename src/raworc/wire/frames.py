"""The spool's format: framed records of model calls, appended by the gateway, read by the recorder. No I/O.

A frame is ``mark, length, crc32`` and then ``kind, key, time, data``; the checksum covers all that follows it,
the key tells the frames of one call from those of others. A call is one ``START``, its ``HEAD`` and ``CHUNK``
frames, and one ``END``; frames of many calls alternate in one file.

A file that was cut anywhere is whole up to there. Behind bytes that were damaged, reading goes on at the next
frame. That is safe although recorded bodies may contain any bytes: mark and checksum depend on the server's
worker id, so whoever does not know that cannot write what passes for a frame.

Files of one server process are numbered: ``<worker id>.<number>.spool``; a call may run over into the next ones.
"""

import hashlib
import struct
import uuid
import zlib
from enum import IntEnum
from typing import Final, TypeVar

import msgspec

_ENVELOPE: Final = struct.Struct("<4sII")
_INNER: Final = struct.Struct("<B16sQ")
_VERSION: Final = b"raworc spool 2"
_NAME_LENGTH: Final = struct.Struct("<I")
MARK_BYTES: Final = 4
MAX_DATA_BYTES: Final = 64 * 1024 * 1024
OVERHEAD_BYTES: Final = _ENVELOPE.size + _INNER.size
SUFFIX: Final = ".spool"

T = TypeVar("T")


class Kind(IntEnum):
    """What a frame carries."""

    START = 1  # CallStart, then the request's body
    HEAD = 2  # AnswerHead
    CHUNK = 3  # bytes of the answer's body, as they were sent on
    END = 4  # CallEnd


class CallStart(msgspec.Struct, omit_defaults=True):
    """Who calls, for which work, and what. Headers come without credentials."""

    id: uuid.UUID  # the request's
    method: str
    path: str
    caller: str  # login, key, turn, sandbox, passthrough, none
    train_id: str
    query: str = ""
    space: str | None = None
    account_id: str | None = None  # the upstream's name
    caller_id: uuid.UUID | None = None
    session_id: uuid.UUID | None = None
    turn_id: uuid.UUID | None = None
    headers: list[tuple[bytes, bytes]] = []
    model: str | None = None  # of a call whose bodies are not recorded
    bodies: bool = True
    reads: bool = False  # without bodies: the answer is here for what it says of usage, and is not kept


class AnswerHead(msgspec.Struct, omit_defaults=True):
    """The status that the client got, and the headers. ``own`` when it is not the provider's answer but ours."""

    status: int
    headers: list[tuple[bytes, bytes]] = []
    own: bool = False
    account_id: str | None = None  # the upstream's name, where it is not the one that the call went to first


class Attempt(msgspec.Struct, omit_defaults=True):
    """A try that was followed by another: at which upstream, and the status or the error that it ended with."""

    account_id: str
    status: int | None = None
    error: str | None = None


class CallEnd(msgspec.Struct, omit_defaults=True):
    """How it ended. Without ``error_type`` the answer speaks for itself (it may be the provider's error)."""

    duration_us: int
    first_byte_us: int | None = None
    error_type: str | None = None
    error_message: str | None = None
    answer_bytes: int | None = None  # what all chunks hold together; None: not counted
    account_id: str | None = None  # as in the head
    attempts: list[Attempt] = []  # that came before the last one


class Frame(msgspec.Struct, frozen=True, gc=False):
    """One record: when it was made (microseconds since 1970, the server's clock) and what it carries.

    ``size`` is its length in the file, envelope included.
    """

    kind: Kind
    key: bytes
    at_us: int
    data: bytes
    size: int


class BadFrame(Exception):
    """These bytes are no frame, or not all of one: torn, overwritten, or not written yet."""


_KINDS: Final = {int(kind): kind for kind in Kind}
_PACK = msgspec.msgpack.Encoder()
_LENGTH: Final = b"content-length"


def pack_start(start: CallStart, body: bytes) -> tuple[bytes, bytes]:
    """The data of a ``START`` frame."""
    meta = _PACK.encode(start)
    return _NAME_LENGTH.pack(len(meta)) + meta, body


class StartForm:
    """The data of ``START`` frames that differ in the request's id and in the length that it tells, if it tells one.

    ``length_at``: where among the headers of ``start``, which lack it.
    """

    def __init__(self, start: CallStart, length_at: int | None) -> None:
        self.bodies = start.bodies
        self.reads = start.reads
        mark = uuid.uuid4()  # nobody can have sent this
        headers = [*start.headers]
        if length_at is not None:
            headers.insert(length_at, (_LENGTH, mark.bytes))
        meta = _PACK.encode(msgspec.structs.replace(start, id=mark, headers=headers))
        self._before, _, behind = meta.partition(str(mark).encode())
        self._between, self._length, self._behind = behind.partition(_PACK.encode(mark.bytes))
        self._size = len(meta) - len(self._length)

    def data(self, request_id: bytes, length: bytes) -> bytes:
        """With this id, as UUIDs are written, and this length; as ``pack_start``, with an empty body."""
        told = _PACK.encode(length) if self._length else b""
        size = _NAME_LENGTH.pack(self._size + len(told))
        return b"".join((size, self._before, request_id, self._between, told, self._behind))


def pack_struct(value: AnswerHead | CallEnd) -> bytes:
    """The data of a ``HEAD`` or ``END`` frame."""
    return _PACK.encode(value)


def unpack_start(data: bytes) -> tuple[CallStart, bytes]:
    """What ``pack_start`` made.

    Raises:
        BadFrame: it did not.
    """
    if len(data) < _NAME_LENGTH.size:
        raise BadFrame("A start frame is too short")
    end = _NAME_LENGTH.size + _NAME_LENGTH.unpack_from(data)[0]
    return unpack_struct(data[_NAME_LENGTH.size : end], CallStart), data[end:]


def unpack_struct(data: bytes, kind: type[T]) -> T:
    """What ``pack_struct`` made. Raises BadFrame when it did not."""
    try:
        return msgspec.msgpack.decode(data, type=kind)
    except msgspec.MsgspecError as error:
        raise BadFrame(str(error)) from None


class Framing:
    """How the frames of one server process are written and recognised."""

    def __init__(self, worker_id: uuid.UUID) -> None:
        derived = hashlib.sha256(_VERSION + worker_id.bytes).digest()
        self._mark = derived[:MARK_BYTES]
        self._seed = int.from_bytes(derived[MARK_BYTES : 2 * MARK_BYTES])

    def pack(self, kind: Kind, key: bytes, at_us: int, data: bytes, body: bytes = b"") -> list[bytes]:
        """One frame as pieces for a gathering write; ``body`` follows ``data`` and is not copied. ``key`` has 16."""
        inner = _INNER.pack(kind, key, at_us) + data
        checksum, length = zlib.crc32(inner, self._seed), len(inner)
        if not body:
            return [_ENVELOPE.pack(self._mark, length, checksum) + inner]
        return [_ENVELOPE.pack(self._mark, length + len(body), zlib.crc32(body, checksum)) + inner, body]

    def length(self, buffer: bytes, offset: int = 0) -> int | None:
        """The whole length of the frame that begins at ``offset``, None when too few bytes are there to tell.

        Raises:
            BadFrame: no frame begins there.
        """
        if len(buffer) - offset < _ENVELOPE.size:
            return None
        mark, length, _ = _ENVELOPE.unpack_from(buffer, offset)
        if mark != self._mark or not _INNER.size <= length <= MAX_DATA_BYTES + _INNER.size:
            raise BadFrame("Not a frame")
        return _ENVELOPE.size + length

    def read(self, buffer: bytes, offset: int = 0) -> Frame | None:
        """The frame at ``offset``, or None when the buffer ends before it does.

        Raises:
            BadFrame: these bytes will never be one.
        """
        size = self.length(buffer, offset)
        if size is None or len(buffer) - offset < size:
            return None
        payload = memoryview(buffer)[offset + _ENVELOPE.size : offset + size]
        if zlib.crc32(payload, self._seed) != _ENVELOPE.unpack_from(buffer, offset)[2]:
            raise BadFrame("The checksum does not hold")
        kind, key, at_us = _INNER.unpack_from(payload)
        known = _KINDS.get(kind)
        if known is None:
            raise BadFrame(f"Unknown kind {kind}")
        return Frame(known, key, at_us, bytes(payload[_INNER.size :]), size)

    def find(self, buffer: bytes, offset: int) -> int:
        """Where a frame may begin, from ``offset`` on; -1: nowhere in this buffer."""
        return buffer.find(self._mark, offset)


def file_name(worker_id: uuid.UUID, number: int) -> str:
    """The name of a server's ``number``-th file, counted from 1."""
    return f"{worker_id}.{number:06d}{SUFFIX}"


def parse_file_name(name: str) -> tuple[uuid.UUID, int] | None:
    """Whose file it is and its number, None for any other file."""
    stem = name.removesuffix(SUFFIX)
    worker, dot, number = stem.rpartition(".")
    if stem == name or not dot or not number.isdecimal():
        return None
    try:
        return uuid.UUID(worker), int(number)
    except ValueError:
        return None

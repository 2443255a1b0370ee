"""The spool's format: framed records of model calls, appended by the gateway, read by the recorder. No I/O.

A frame is ``magic, length, crc32`` and then ``kind, key, time, data``; the checksum covers all that follows it,
the key tells the frames of one call from those of others. A call is one ``START``, its ``HEAD`` and ``CHUNK``
frames, and one ``END``; frames of many calls alternate in one file. A file that was cut anywhere is whole up to
its first frame that does not check.

Files of one server process are numbered: ``<worker id>.<number>.spool``; a call may run over into the next ones.
"""

import struct
import uuid
import zlib
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, TypeVar

import msgspec

_ENVELOPE: Final = struct.Struct("<4sII")
_INNER: Final = struct.Struct("<B16sQ")
_MAGIC: Final = b"RWS1"
_NAME_LENGTH: Final = struct.Struct("<I")
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
    caller: str  # login, turn, sandbox, passthrough, none
    train_id: str
    query: str = ""
    space: str | None = None
    account_id: str | None = None  # the upstream's name
    caller_id: uuid.UUID | None = None
    session_id: uuid.UUID | None = None
    turn_id: uuid.UUID | None = None
    headers: list[tuple[bytes, bytes]] = []


class AnswerHead(msgspec.Struct, omit_defaults=True):
    """The status that the client got, and the headers. ``own`` when it is not the provider's answer but ours."""

    status: int
    headers: list[tuple[bytes, bytes]] = []
    own: bool = False


class CallEnd(msgspec.Struct, omit_defaults=True):
    """How it ended. Without ``error_type`` the answer speaks for itself (it may be the provider's error)."""

    duration_us: int
    first_byte_us: int | None = None
    error_type: str | None = None
    error_message: str | None = None


@dataclass(frozen=True, slots=True)
class Frame:
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


def pack(kind: Kind, key: bytes, at_us: int, *data: bytes) -> list[bytes]:
    """One frame as pieces for a gathering write; ``data`` is not copied. ``key`` has 16 bytes."""
    inner = _INNER.pack(kind, key, at_us)
    checksum, length = zlib.crc32(inner), len(inner)
    for piece in data:
        checksum = zlib.crc32(piece, checksum)
        length += len(piece)
    return [_ENVELOPE.pack(_MAGIC, length, checksum) + inner, *data]


def pack_start(start: CallStart, body: bytes) -> tuple[bytes, bytes]:
    """The data of a ``START`` frame."""
    meta = _PACK.encode(start)
    return _NAME_LENGTH.pack(len(meta)) + meta, body


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


def frame_length(buffer: bytes, offset: int) -> int | None:
    """The whole length of the frame that begins at ``offset``, None when too few bytes are there to tell.

    Raises:
        BadFrame: no frame begins there.
    """
    if len(buffer) - offset < _ENVELOPE.size:
        return None
    magic, length, _ = _ENVELOPE.unpack_from(buffer, offset)
    if magic != _MAGIC or not _INNER.size <= length <= MAX_DATA_BYTES + _INNER.size:
        raise BadFrame("Not a frame")
    return _ENVELOPE.size + length


def read_frame(buffer: bytes, offset: int = 0) -> Frame | None:
    """The frame at ``offset``, or None when the buffer ends before it does.

    Raises:
        BadFrame: these bytes will never be one.
    """
    size = frame_length(buffer, offset)
    if size is None or len(buffer) - offset < size:
        return None
    payload = memoryview(buffer)[offset + _ENVELOPE.size : offset + size]
    if zlib.crc32(payload) != _ENVELOPE.unpack_from(buffer, offset)[2]:
        raise BadFrame("The checksum does not hold")
    kind, key, at_us = _INNER.unpack_from(payload)
    known = _KINDS.get(kind)
    if known is None:
        raise BadFrame(f"Unknown kind {kind}")
    return Frame(known, key, at_us, bytes(payload[_INNER.size :]), size)


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

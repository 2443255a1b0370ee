"""What must not be kept of a recorded call: credentials in headers, and keys in what was said.

Redaction keeps lengths, so that positions in a recorded stream stay true, and JSON stays JSON.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final, cast

import msgspec

CREDENTIAL_HEADERS: Final = frozenset(
    {b"authorization", b"x-api-key", b"api-key", b"cookie", b"set-cookie", b"proxy-authorization"}
)
_KEYS: Final = {
    b"sk-": re.compile(rb"sk-[A-Za-z0-9_-]{16,}"),
    b"rwk_": re.compile(rb"rwk_[A-Za-z0-9]{16,}"),
    b"eyJ": re.compile(rb"eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{16,}"),
    b"gh": re.compile(rb"gh[pousr]_[A-Za-z0-9]{30,}"),
    b"AKIA": re.compile(rb"AKIA[0-9A-Z]{16}"),
    b"xox": re.compile(rb"xox[abeoprs]-[A-Za-z0-9-]{10,}"),
}


def without_credentials(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """The headers (lower-case names) without those that carry credentials."""
    return [header for header in headers if header[0] not in CREDENTIAL_HEADERS]


def redacted(body: bytes) -> bytes:
    """The bytes with everything that looks like a key replaced by as many asterisks."""
    for mark, key in _KEYS.items():
        if mark in body:
            body = key.sub(lambda found: b"*" * len(found[0]), body)
    return body


def redacted_stream(body: bytes, message: bytes) -> bytes:
    """The same for a stream's bytes, keys included that its deltas cut into pieces.

    ``message`` is what the stream amounts to, as JSON: only when a key is in there is the stream read again.
    """
    if redacted(message) == message:
        return redacted(body)
    struck = bytearray(body)
    for pieces in _pieces_by_block(body).values():
        joined = b"".join(piece.text for piece in pieces)
        for mark, key in _KEYS.items():
            if mark in joined:
                for found in key.finditer(joined):
                    _strike(struck, pieces, found.start(), found.end())
    return redacted(bytes(struck))


@dataclass(frozen=True)
class _Piece:
    """A delta's text, and where in the stream its JSON string begins and its line ends."""

    text: bytes
    start: int
    end: int


_DATA_LINE: Final = re.compile(rb"^data:([^\r\n]*)", re.MULTILINE)
_TEXT_FIELD: Final = re.compile(rb'"(text|thinking|partial_json)"\s*:\s*"')
_SHORTEST: Final = 4  # characters of a key's piece: fewer say nothing, and could stand anywhere


def _pieces_by_block(body: bytes) -> dict[tuple[object, str], list[_Piece]]:
    pieces: dict[tuple[object, str], list[_Piece]] = {}
    for line in _DATA_LINE.finditer(body):
        for block, piece in _pieces(line):
            pieces.setdefault(block, []).append(piece)
    return pieces


def _pieces(line: re.Match[bytes]) -> Iterator[tuple[tuple[object, str], _Piece]]:
    try:
        event: Any = msgspec.json.decode(line[1])
        delta = cast("dict[str, Any]", event["delta"])
        index = str(event.get("index"))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, KeyError, TypeError):
        return  # no event with a delta
    for field in _TEXT_FIELD.finditer(line[1]):
        name = field[1].decode()
        text = delta.get(name)
        if isinstance(text, str):
            yield (index, name), _Piece(text.encode("utf-8", "replace"), line.start(1) + field.end(), line.end())


def _strike(struck: bytearray, pieces: list[_Piece], start: int, end: int) -> None:
    """Replace the parts of ``joined[start:end]`` where they stand in the stream. Keys are never escaped in JSON."""
    at = 0
    for piece in pieces:
        part = piece.text[max(start - at, 0) : max(end - at, 0)]
        at += len(piece.text)
        if len(part) >= _SHORTEST:
            struck[piece.start : piece.end] = struck[piece.start : piece.end].replace(part, b"*" * len(part))

"""What must not be kept of a recorded call: credentials in headers, keys and an agent's secrets in what was said.

Redaction keeps lengths, so that positions in a recorded stream stay true, and JSON stays JSON.
"""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final, cast
from urllib.parse import quote, quote_plus

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


LEAST_KNOWN_CHARACTERS: Final = 8
"""Shorter values are not looked for: they stand in too much that is no secret."""


@dataclass(frozen=True)
class Known:
    """Values that are looked for by themselves, in every form in which JSON and addresses write them.

    One search a form: several times quicker than all of them as one regular expression.
    """

    forms: tuple[bytes, ...] = ()

    @classmethod
    def of(cls, values: Iterable[str]) -> "Known":
        """Those of at least ``LEAST_KNOWN_CHARACTERS``, without the white space around them."""
        trimmed = {value.strip() for value in values}
        forms = {form for value in trimmed if len(value) >= LEAST_KNOWN_CHARACTERS for form in _forms(value)}
        return cls(tuple(sorted(forms)))


NOTHING: Final = Known()


def redacted(body: bytes, known: Known = NOTHING) -> bytes:
    """The bytes with every known value, and everything that looks like a key, replaced by as many asterisks."""
    if not known.forms and not _marked(body):
        return body
    found = list(_found(body, known, in_json=True))
    if not found:
        return body
    struck = bytearray(body)
    for start, end in found:
        struck[start:end] = b"*" * (end - start)
    return bytes(struck)


def redacted_text(text: str, known: Known = NOTHING) -> str:
    """The same for text that is no JSON."""
    body = text.encode("utf-8", "surrogatepass")
    if not known.forms and not _marked(body):
        return text
    struck = bytearray(body)
    for start, end in _found(body, known, in_json=False):
        struck[start:end] = b"*" * (end - start)
    return text if bytes(struck) == body else struck.decode("utf-8", "replace")


def redacted_stream(body: bytes, message: bytes, known: Known = NOTHING) -> bytes:
    """The same for a stream's bytes, values included that its deltas cut into pieces.

    ``message`` is what the stream amounts to, as JSON: only when something is in there is the stream read again.
    """
    if redacted(message, known) == message:
        return redacted(body, known)
    struck = bytearray(body)
    for pieces in _pieces_by_place(body).values():
        joined = b"".join(piece.text for piece in pieces)
        for start, end in _found(joined, known, in_json=pieces[0].in_json):
            _strike(struck, pieces, start, end)
    return redacted(bytes(struck), known)


def _forms(value: str) -> Iterator[bytes]:
    yield value.encode("utf-8", "replace")
    for once in _as_json(value):
        yield once.encode("utf-8", "replace")
        yield from (twice.encode("utf-8", "replace") for twice in _as_json(once))  # JSON within JSON
    for address in (quote(value, safe="", errors="replace"), quote_plus(value, errors="replace")):
        yield address.encode()


def _as_json(value: str) -> list[str]:
    return [json.dumps(value, ensure_ascii=is_ascii)[1:-1] for is_ascii in (True, False)]


def _marked(body: bytes) -> bool:
    """Whether there may be a key: of what is recorded, most is seen to hold none at this one look."""
    for mark in _KEYS:  # noqa: SIM110  a generator takes twice as long
        if mark in body:
            return True
    return False


def _found(body: bytes, known: Known, *, in_json: bool) -> Iterator[tuple[int, int]]:
    for mark, key in _KEYS.items():
        if mark in body:
            yield from (found.span() for found in key.finditer(body))
    for form in known.forms:
        start = body.find(form)
        while start >= 0:
            if not (in_json and _cuts_an_escape(body, start)):
                yield start, start + len(form)
            start = body.find(form, start + 1)


def _cuts_an_escape(body: bytes, at: int) -> bool:
    r"""Whether what begins at ``at`` is the end of an escape sequence: the ``n`` of ``\n`` and the like."""
    if body[at] not in b'"\\/bfnrtu':
        return False
    before = at
    while before > 0 and body[before - 1] == _BACKSLASH:
        before -= 1
    return (at - before) % 2 == 1


@dataclass(frozen=True)
class _Piece:
    """A delta's text (``in_json``: of JSON), and where in the stream its JSON string begins and its line ends."""

    text: bytes
    start: int
    end: int
    in_json: bool


_Place = tuple[str, ...]
"""Which text of an answer grows: indexes and names, as they lead to it."""

_BACKSLASH: Final = ord("\\")
_DATA_LINE: Final = re.compile(rb"^data:([^\r\n]*)", re.MULTILINE)
_TEXT_NAMES: Final = frozenset(
    {"text", "thinking", "partial_json", "content", "refusal", "arguments", "input", "reasoning", "reasoning_content"}
)
_JSON_FIELDS: Final = frozenset({"partial_json", "arguments"})
_TEXT_FIELD: Final = re.compile(rb'"(%b|delta)"\s*:\s*"' % "|".join(sorted(_TEXT_NAMES, reverse=True)).encode())
_STRING: Final = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_DEEPEST: Final = 8
_CHARACTER: Final = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u[0-9a-fA-F]{4}|\\."
    rb"|[\xf0-\xf7][\x80-\xbf]{3}|[\xe0-\xef][\x80-\xbf]{2}|[\xc0-\xdf][\x80-\xbf]|[^\"\\]",
    re.DOTALL,
)
"""One character of a JSON string as it is written."""


def _pieces_by_place(body: bytes) -> dict[_Place, list[_Piece]]:
    pieces: dict[_Place, list[_Piece]] = {}
    for line in _DATA_LINE.finditer(body):
        for place, piece in _pieces(line):
            pieces.setdefault(place, []).append(piece)
    return pieces


def _pieces(line: re.Match[bytes]) -> Iterator[tuple[_Place, _Piece]]:
    try:
        event: object = msgspec.json.decode(line[1])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return
    told = list(_deltas(cast("dict[str, Any]", event))) if isinstance(event, dict) else []
    for field in _TEXT_FIELD.finditer(line[1]):
        if not told:
            return
        place, text = told[0]
        if place[-1] == field[1].decode() and _reads(line[1], field.end() - 1) == text:
            del told[0]
            in_json = place[-1] in _JSON_FIELDS or "arguments" in place[0]
            yield place, _Piece(text.encode("utf-8", "replace"), line.start(1) + field.end(), line.end(), in_json)


def _reads(line: bytes, at: int) -> object:
    """The JSON string that begins there."""
    found = _STRING.match(line, at)
    return msgspec.json.decode(found[0]) if found else None


def _deltas(event: dict[str, Any]) -> Iterator[tuple[_Place, str]]:
    """The texts that an event adds, on any wire, each with its place in the answer, in the order of the event."""
    delta: object = event.get("delta")
    if isinstance(delta, str):
        kept = ("type", "output_index", "content_index", "summary_index")
        yield (*(str(event.get(name)) for name in kept), "delta"), delta
    elif isinstance(delta, dict):
        yield from _texts((str(event.get("index")),), cast("dict[str, Any]", delta))
    choices: object = event.get("choices")
    for number, choice in _numbered(choices):
        inner: object = choice.get("delta")
        if isinstance(inner, dict):
            yield from _texts((number,), cast("dict[str, Any]", inner))


def _texts(place: _Place, delta: dict[str, Any]) -> Iterator[tuple[_Place, str]]:
    for name, value in delta.items():
        if isinstance(value, str) and name in _TEXT_NAMES:
            yield (*place, name), value
        elif isinstance(value, dict) and len(place) < _DEEPEST:
            yield from _texts((*place, name), cast("dict[str, Any]", value))
        elif isinstance(value, list) and len(place) < _DEEPEST:
            for number, entry in _numbered(cast("object", value)):
                yield from _texts((*place, name, number), entry)


def _numbered(entries: object) -> Iterator[tuple[str, dict[str, Any]]]:
    """The objects of a list with their index: what they say of it themselves, or where they stand."""
    for number, entry in enumerate(cast("list[object]", entries) if isinstance(entries, list) else []):
        if isinstance(entry, dict):
            given = cast("dict[str, Any]", entry)
            yield str(given.get("index", number)), given


def _strike(struck: bytearray, pieces: list[_Piece], start: int, end: int) -> None:
    """Replace the parts of ``joined[start:end]`` where they stand in the stream, character by character."""
    at = 0
    for piece in pieces:
        first, last = max(start - at, 0), min(end - at, len(piece.text))
        at += len(piece.text)
        if first >= last:
            continue
        position = 0
        for character in _CHARACTER.finditer(struck, piece.start, piece.end):
            if position >= last:
                break
            written = character[0]  # a match shows what the bytes are now: read it before they are struck
            if position >= first:
                struck[character.start() : character.end()] = b"*" * len(written)
            position += _length(written)


def _length(written: bytes) -> int:
    """Bytes of a character in UTF-8, of which this is how JSON writes it."""
    if not written.startswith(b"\\u"):
        return 1 if written.startswith(b"\\") else len(written)
    return len(str(json.loads(b'"' + written + b'"')).encode("utf-8", "replace"))

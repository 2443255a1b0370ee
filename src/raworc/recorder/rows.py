"""From the frames of one call to its row: decoding, putting streams together, redaction. No I/O.

Whatever was recorded gives a row: bodies that are no JSON, encodings that cannot be undone, streams cut anywhere.
"""

import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from typing import Any, Final, cast

import msgspec

from raworc.domain.redaction import redacted, redacted_stream
from raworc.domain.text import storable, storable_text
from raworc.domain.usage import read_usage, request_type
from raworc.errors import BadRequest
from raworc.store.recordings import RequestRow
from raworc.wire.anthropic import ERROR_TYPES, Json, MessageAssembler, error_of
from raworc.wire.frames import AnswerHead, CallEnd, CallStart
from raworc.wire.sse import EventTooLong, SSEDecoder

SERVER_STOPPED: Final = "server_stopped"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MOST_DECODED_BYTES: Final = 64 * 1024 * 1024
_LONGEST_NAME: Final = 255
_LONGEST_PATH: Final = 2048
_LONGEST_MESSAGE: Final = 10_000
_MOST_MS: Final = 2_000_000_000
_FIRST_FAILURE: Final = 400


@dataclass
class RecordedCall:
    """All frames of one call. ``chunks`` are times (microseconds since 1970) and bytes; ``end`` may be missing."""

    at_us: int
    start: CallStart
    body: bytes
    head: AnswerHead | None = None
    chunks: list[tuple[int, bytes]] = field(default_factory=list[tuple[int, bytes]])
    end: CallEnd | None = None
    last_us: int = 0


@dataclass
class _Reading:
    """What could be read of an answer. ``complete``: nothing is missing at its end."""

    body: bytes | None = None
    message: Json = field(default_factory=dict[str, Any])
    error: tuple[str, str] | None = None
    complete: bool = False


def build_row(call: RecordedCall) -> RequestRow:
    """The row of a call. Never raises for what the call contains."""
    start, head = call.start, call.head or AnswerHead(0)
    request = _lenient_json(_decoded(call.body, start.headers))
    given = cast("Json", request) if isinstance(request, dict) else {}
    whole = b"".join(data for _, data in call.chunks)
    streamed = _header(head.headers, b"content-type").lower().startswith(b"text/event-stream")
    answer = _decoded(whole, head.headers)
    reading = _read_stream(answer) if streamed else _read_body(answer, head)
    error_type, error_message = _error(call, head.status, reading)
    return RequestRow(
        id=start.id,
        created_at=_EPOCH + timedelta(microseconds=call.at_us),
        **_who_and_what(start),
        model=_name(given.get("model")),
        message_count=_length(given.get("messages")),
        request_type=request_type(given),
        streamed=streamed,
        status_code=head.status or None,
        upstream_status=None if head.own else head.status or None,
        error_type=error_type,
        error_message=error_message,
        stop_reason=_name(reading.message.get("stop_reason")),
        usage=_storable_object(reading.message.get("usage")),
        **vars(read_usage(reading.message.get("usage"))),
        first_byte_ms=_first_byte_ms(call),
        duration_ms=_ms(call.end.duration_us if call.end else call.last_us - call.at_us),
        request_headers=_headers(start.headers),
        request_body=redacted(call.body) or None,
        response_headers=_headers(head.headers) if call.head else None,
        response_body=redacted(reading.body) if reading.body else None,
        **(_stream_columns(call, whole, reading) if streamed and whole else {}),
    )


def bare_row(call: RecordedCall) -> RequestRow:
    """The row of a call of which nothing could be made out but who called and when."""
    return RequestRow(
        id=call.start.id,
        created_at=_EPOCH + timedelta(microseconds=call.at_us),
        **_who_and_what(call.start),
        status_code=(call.head.status or None) if call.head else None,
        error_type="unreadable",
        bodies="unstorable",
    )


def _who_and_what(start: CallStart) -> dict[str, Any]:
    return {
        "caller": start.caller,
        "caller_id": start.caller_id,
        "space": start.space,
        "train_id": start.train_id,
        "session_id": start.session_id,
        "turn_id": start.turn_id,
        "account_id": start.account_id,
        "method": start.method,
        "path": storable_text(start.path)[:_LONGEST_PATH],
        "query": storable_text(start.query)[:_LONGEST_PATH] or None,
    }


def _error(call: RecordedCall, status: int, reading: _Reading) -> tuple[str | None, str | None]:
    """Our own word for how it ended first, then the provider's error, then what the status says."""
    kind, message = reading.error or (None, None)
    if call.end is not None and call.end.error_type is not None:
        kind, message = call.end.error_type, call.end.error_message
    elif call.end is None and not reading.complete:
        kind, message = SERVER_STOPPED, "The server stopped before the answer ended"
    elif kind is None and status >= _FIRST_FAILURE:
        kind, message = ERROR_TYPES.get(status, "api_error"), f"Status {status}"
    return _name(kind), storable_text(message)[:_LONGEST_MESSAGE] if message else None


def _read_stream(body: bytes) -> _Reading:
    decoder, assembler = SSEDecoder(), MessageAssembler()
    try:
        for event in decoder.feed(body):
            assembler.feed(event)
    except EventTooLong:
        pass  # what came before it counts
    message = assembler.message
    encoded = msgspec.json.encode(message) if message else None
    return _Reading(encoded, message, assembler.error, assembler.done or assembler.error is not None)


def _read_body(body: bytes, head: AnswerHead) -> _Reading:
    answer = _lenient_json(body)
    message = cast("Json", answer) if isinstance(answer, dict) else {}
    length = _header(head.headers, b"content-length")
    complete = bool(body) and (len(body) == int(length) if length.isdigit() else bool(message))
    error = error_of(message) if head.status >= _FIRST_FAILURE and message else None
    return _Reading(body, message, error, complete)


def _stream_columns(call: RecordedCall, whole: bytes, reading: _Reading) -> dict[str, Any]:
    """Bytes, chunk borders and times of a stream; borders move back to the start of a character they would cut."""
    lengths = [len(data) for _, data in call.chunks[:-1]]
    offsets = [_character_start(whole, at) for at in accumulate(lengths, initial=0)]
    at_ms = [_ms(at_us - call.at_us) for at_us, _ in call.chunks]
    return {"stream": redacted_stream(whole, reading.body or b""), "offsets": offsets, "at_ms": at_ms}


def _character_start(body: bytes, at: int) -> int:
    """``at``, or up to three bytes before it when that lies within one UTF-8 character."""
    for start in range(at, max(at - 4, -1), -1):
        if start >= len(body) or body[start] & 0xC0 != 0x80:  # noqa: PLR2004  the bits of a continuation byte
            return start
    return at


def _first_byte_ms(call: RecordedCall) -> int | None:
    if call.end is not None and call.end.first_byte_us is not None:
        return _ms(call.end.first_byte_us)
    return _ms(call.chunks[0][0] - call.at_us) if call.chunks else None


def _ms(microseconds: int) -> int:
    return min(max(round(microseconds / 1000), 0), _MOST_MS)


def _decoded(body: bytes, headers: Sequence[tuple[bytes, bytes]]) -> bytes:
    """The body as it was meant; as it came when its encoding is not known here."""
    if _header(headers, b"content-encoding").strip().lower() not in {b"gzip", b"x-gzip", b"deflate"}:
        return body
    try:
        return zlib.decompressobj(zlib.MAX_WBITS | 32).decompress(body, _MOST_DECODED_BYTES)
    except zlib.error:
        return body


def _lenient_json(body: bytes) -> object:
    """The JSON in ``body``, also what is JSON only to lenient readers; None when it is none."""
    if not body:
        return None
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    try:
        return json.loads(body.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return None


def _storable_object(value: object) -> Json | None:
    try:
        return storable(value) if isinstance(value, dict) else None
    except BadRequest:
        return None


def _headers(headers: Sequence[tuple[bytes, bytes]]) -> Json:
    """Names and values as text; a name that comes twice keeps both, as HTTP joins them."""
    joined: dict[str, str] = {}
    for name, value in headers:
        key, text = storable_text(name.decode("latin-1")), storable_text(value.decode("latin-1"))
        joined[key] = f"{joined[key]}, {text}" if key in joined else text
    return joined


def _header(headers: Sequence[tuple[bytes, bytes]], wanted: bytes) -> bytes:
    return next((value for name, value in headers if name == wanted), b"")


def _name(value: object) -> str | None:
    return storable_text(value)[:_LONGEST_NAME] if isinstance(value, str) and value else None


def _length(value: object) -> int | None:
    return len(cast("list[Any]", value)) if isinstance(value, list) else None

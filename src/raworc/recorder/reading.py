"""What can be read of a recorded answer, whole or cut anywhere. No I/O, nothing is ever raised."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, cast

import msgspec

from raworc.wire.anthropic import Json, error_of
from raworc.wire.endpoints import Spoken
from raworc.wire.frames import AnswerHead
from raworc.wire.sse import EventTooLong, SSEDecoder

FIRST_FAILURE: Final = 400


@dataclass
class Reading:
    """``body`` is the answer's, of a stream the message put together; ``complete``: nothing is missing at its end."""

    body: bytes | None = None
    message: Json = field(default_factory=dict[str, Any])
    error: tuple[str, str] | None = None
    complete: bool = False


def read_stream(spoken: Spoken, body: bytes) -> Reading:
    """The message of an event stream."""
    decoder, assembler = SSEDecoder(), spoken.assembler()
    try:
        for event in decoder.feed(body):
            assembler.feed(event)
    except EventTooLong:
        pass  # what came before it counts
    message = assembler.message
    encoded = msgspec.json.encode(message) if message else None
    return Reading(encoded, message, assembler.error, assembler.done or assembler.error is not None)


def read_body(spoken: Spoken, body: bytes, head: AnswerHead) -> Reading:
    """The message, or the error, of any other answer."""
    message = json_object(body)
    length = header(head.headers, b"content-length")
    complete = bool(body) and (len(body) == int(length) if length.isdigit() else bool(message))
    failed = head.status >= FIRST_FAILURE and bool(message)
    return Reading(body, message, error_of(message) if failed else spoken.failed(message), complete)


def json_object(body: bytes) -> Json:
    """The JSON object in ``body``, ``{}`` when there is none."""
    value = lenient_json(body)
    return cast("Json", value) if isinstance(value, dict) else {}


def lenient_json(body: bytes) -> object:
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


def header(headers: Sequence[tuple[bytes, bytes]], wanted: bytes) -> bytes:
    """The value of a header, empty when it is missing."""
    return next((value for name, value in headers if name == wanted), b"")

"""From the frames of one call to its row: decoding, putting streams together, redaction. No I/O.

Whatever was recorded gives a row: bodies that are no JSON, encodings that cannot be undone, streams cut anywhere.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from typing import Any, Final, cast

from raworc.domain.prices import price_of_call
from raworc.domain.redaction import NOTHING, Known, redacted, redacted_stream, redacted_text
from raworc.domain.text import storable_text
from raworc.domain.usage import is_counted, read_usage, request_type
from raworc.recorder.reading import FIRST_FAILURE, Reading, header, json_object, read_body, read_stream
from raworc.recorder.said import About, link_row, task_uses
from raworc.recorder.untold import untold, usage_object
from raworc.store.recordings import BackgroundRow, LinkRow, RequestRow, StoredCall
from raworc.wire.anthropic import ERROR_TYPES, Json
from raworc.wire.encoding import decoded
from raworc.wire.endpoints import Spoken, spoken_at
from raworc.wire.frames import AnswerHead, Attempt, CallEnd, CallStart

SERVER_STOPPED: Final = "server_stopped"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LONGEST_NAME: Final = 255
_LONGEST_PATH: Final = 2048
_LONGEST_MESSAGE: Final = 10_000
_MOST_MS: Final = 2_000_000_000


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

    @property
    def started_at(self) -> datetime:
        """By its server's clock."""
        return _EPOCH + timedelta(microseconds=self.at_us)


def build_row(call: RecordedCall, known: Known = NOTHING) -> RequestRow:
    """The row of a call, without the ``known`` secrets of its agent. Never raises for what the call contains."""
    start, head = call.start, call.head or AnswerHead(0)
    sent = _decoded(call.body, start.headers)
    request_body = redacted(sent, known)
    given = json_object(request_body)
    headers, spoken = _headers(start.headers, known), spoken_at(start.method, start.path)
    whole = b"".join(data for _, data in call.chunks)
    streamed = header(head.headers, b"content-type").lower().startswith(b"text/event-stream")
    answer = _decoded(whole, head.headers)
    reading = read_stream(spoken, answer) if streamed else read_body(spoken, answer, head)
    summed = spoken.told(reading.message)
    error_type, error_message = _error(call, head.status, reading, known)
    kept = call.body if request_body == sent else request_body
    keeps = start.bodies or head.status >= FIRST_FAILURE
    told = redacted(reading.body or b"", known) if keeps else b""
    message = reading.message if told == reading.body else json_object(told)
    return RequestRow(
        id=start.id,
        created_at=call.started_at,
        **_who_and_what(call, known),
        **_used(
            start, spoken, _name(given.get("model") or start.model or summed.get("model")), summed, call.started_at
        ),
        **_struck(untold(start, call.started_at, head, whole, reading, ok=error_type is None), known),
        **_asked(spoken, given),
        **_ended(head, streamed=streamed),
        error_type=error_type,
        error_message=error_message,
        stop_reason=_name(summed.get("stop_reason")),
        **_times(call),
        request_headers=headers,
        request_body=kept or None,
        response_headers=_headers(head.headers, known) if call.head else None,
        response_body=told or None,
        task_tool_invocation=task_uses(spoken.told(message)),
        bodies=_bodies(call, whole),
        link=link_row(_about(start, headers), kept, given, message, ok=error_type is None),
        **(_stream_columns(call, whole, answer, reading, known) if streamed and whole and keeps else {}),
    )


def bare_row(call: RecordedCall, known: Known = NOTHING) -> RequestRow:
    """The row of a call of which nothing could be made out but who called and when."""
    return RequestRow(
        id=call.start.id,
        created_at=call.started_at,
        **_who_and_what(call, known),
        status_code=(call.head.status or None) if call.head else None,
        error_type="unreadable",
        bodies="unstorable",
    )


def _who_and_what(call: RecordedCall, known: Known) -> dict[str, Any]:
    start = call.start
    return {
        **_tries(call, known),
        "caller": start.caller,
        "caller_id": start.caller_id,
        "space": start.space,
        "train_id": start.train_id,
        "session_id": start.session_id,
        "turn_id": start.turn_id,
        "method": start.method,
        "path": storable_text(redacted_text(start.path, known))[:_LONGEST_PATH],
        "query": storable_text(redacted_text(start.query, known))[:_LONGEST_PATH] or None,
    }


def _tries(call: RecordedCall, known: Known) -> dict[str, Any]:
    """Who answered in the end, and the attempts that came before."""
    ends = [end.account_id for end in (call.end, call.head) if end is not None]
    told = [_try(attempt, known) for attempt in call.end.attempts] if call.end else []
    return {"account_id": next(filter(None, ends), call.start.account_id), "attempts": told or None}


def _try(attempt: Attempt, known: Known) -> Json:
    if attempt.error is None:
        return {"account_id": attempt.account_id, "status": attempt.status}
    return {"account_id": attempt.account_id, "error": _message(attempt.error, known) or ""}


def _used(start: CallStart, spoken: Spoken, model: str | None, summed: Json, at: datetime) -> dict[str, Any]:
    """What was used and what it cost: of an answer that does not say what it used, the cost is not known."""
    usage: object = summed.get("usage")
    counted = read_usage(usage, spoken.wire)
    told = counted if is_counted(usage) else None
    cost = price_of_call(start.account_id, model, told, at, spoken.wire)
    known = {"model": model, "usage": usage_object(usage), **vars(counted)}
    return {**known, "cost_usd": cost.cost_usd, "price_version": cost.version}


def _error(call: RecordedCall, status: int, reading: Reading, known: Known) -> tuple[str | None, str | None]:
    """Our own word for how it ended first, then the provider's error, then what the status says."""
    kind, message = reading.error or (None, None)
    if call.end is not None and call.end.error_type is not None:
        kind, message = call.end.error_type, call.end.error_message
    elif call.end is None and not reading.complete:
        kind, message = SERVER_STOPPED, "The server stopped before the answer ended"
    elif kind is None and status >= FIRST_FAILURE:
        kind, message = ERROR_TYPES.get(status, "api_error"), f"Status {status}"
    return _name(kind), _message(message, known)


def _struck(told: dict[str, Any], known: Known) -> dict[str, Any]:
    """What ``untold`` found, without the ``known`` secrets that a provider's words may repeat."""
    row = cast("BackgroundRow | None", told["background"])
    return (
        told if row is None else {**told, "background": replace(row, error_message=_message(row.error_message, known))}
    )


def _message(text: str | None, known: Known) -> str | None:
    return storable_text(redacted_text(text, known))[:_LONGEST_MESSAGE] if text else None


def _stream_columns(call: RecordedCall, whole: bytes, answer: bytes, reading: Reading, known: Known) -> dict[str, Any]:
    """Bytes, chunk borders and times of a stream; borders move back to the start of a character they would cut.

    A stream that came encoded is kept so, unless something in it must be struck out: then decoded and in one piece.
    """
    lengths = [len(data) for _, data in call.chunks[:-1]]
    offsets = [_character_start(whole, at) for at in accumulate(lengths, initial=0)]
    at_ms = [_ms(at_us - call.at_us) for at_us, _ in call.chunks]
    struck = redacted_stream(answer, reading.body or b"", known)
    is_encoded = answer != whole
    if is_encoded and struck != answer:
        return {"stream": struck, "offsets": [0], "at_ms": at_ms[:1]}
    return {"stream": whole if is_encoded else struck, "offsets": offsets, "at_ms": at_ms}


def _character_start(body: bytes, at: int) -> int:
    """``at``, or up to three bytes before it when that lies within one UTF-8 character."""
    if at < len(body) and body[at] < 0x80:  # noqa: PLR2004  a character of its own, as almost all borders are
        return at
    for start in range(at, max(at - 4, -1), -1):
        if start >= len(body) or body[start] & 0xC0 != 0x80:  # noqa: PLR2004  the bits of a continuation byte
            return start
    return at


def _bodies(call: RecordedCall, whole: bytes) -> str:
    if call.end is not None and call.end.answer_bytes not in {None, len(whole)}:
        return "incomplete"
    return "kept" if call.start.bodies else "omitted"


def _times(call: RecordedCall) -> dict[str, int | None]:
    duration_us = call.end.duration_us if call.end else call.last_us - call.at_us
    return {"first_byte_ms": _first_byte_ms(call), "duration_ms": _ms(duration_us)}


def _first_byte_ms(call: RecordedCall) -> int | None:
    if call.end is not None and call.end.first_byte_us is not None:
        return _ms(call.end.first_byte_us)
    return _ms(call.chunks[0][0] - call.at_us) if call.chunks else None


def _ms(microseconds: int) -> int:
    return min(max((microseconds + 500) // 1000, 0), _MOST_MS)


def _decoded(body: bytes, headers: Sequence[tuple[bytes, bytes]]) -> bytes:
    return decoded(body, header(headers, b"content-encoding").decode("latin-1"))


def stored_link(call: StoredCall) -> LinkRow | None:
    """The digests of a call, from its stored row: the same as when it was recorded, while the rules are the same."""
    headers = [(name.encode("latin-1", "replace"), value.encode("latin-1", "replace")) for name, value in call.headers]
    request = json_object(_decoded(call.request_body, headers))
    about = About(call.path, call.caller, call.session_id, dict(call.headers))
    return link_row(about, call.request_body, request, json_object(call.response_body), ok=call.ok)


def _about(start: CallStart, headers: Json) -> About:
    return About(start.path, start.caller, start.session_id, headers)


def _headers(headers: Sequence[tuple[bytes, bytes]], known: Known) -> Json:
    """Names and values as text; a name that comes twice keeps both, as HTTP joins them."""
    joined: dict[str, str] = {}
    for name, value in headers:
        key = storable_text(name.decode("latin-1"))
        text = storable_text(redacted(value, known).decode("latin-1"))
        joined[key] = f"{joined[key]}, {text}" if key in joined else text
    return joined


def _name(value: object) -> str | None:
    return storable_text(value)[:_LONGEST_NAME] if isinstance(value, str) and value else None


def _ended(head: AnswerHead, *, streamed: bool) -> dict[str, Any]:
    status = head.status or None
    return {"streamed": streamed, "status_code": status, "upstream_status": None if head.own else status}


def _asked(spoken: Spoken, request: Json) -> dict[str, Any]:
    """What kind of request it is, and how many messages or items it carries."""
    given: object = request.get("messages", request.get("input"))
    listed = len(cast("list[Any]", given)) if isinstance(given, list) else None
    count = 1 if isinstance(given, str) else listed
    return {"message_count": count, "request_type": request_type(spoken.asked(request))}

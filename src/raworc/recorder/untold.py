"""What the record of a call does not tell: never, which a note says, or not yet, of responses in the background."""

from datetime import datetime
from typing import Any, Final

from raworc.domain.text import storable, storable_text
from raworc.domain.usage import is_counted
from raworc.domain.wires import endpoint_of
from raworc.errors import BadRequest
from raworc.recorder.reading import Reading, header
from raworc.store.recordings import BackgroundRow
from raworc.wire import background
from raworc.wire.anthropic import Json
from raworc.wire.encoding import undone
from raworc.wire.endpoints import spoken_at
from raworc.wire.frames import AnswerHead, CallStart

_LONGEST_NAME: Final = 100
_AT_WORK: Final = "It works in the background: what it used is known once somebody asks for its answer"
_UNTOLD: Final = "The provider did not say what the call used"
_UNTOLD_STREAM: Final = f"{_UNTOLD}: send 'stream_options': {{'include_usage': true}} to be told"


def untold(
    start: CallStart, at: datetime, head: AnswerHead, whole: bytes, reading: Reading, *, ok: bool
) -> dict[str, Any]:
    """``background`` and ``note`` of a row; ``whole``: the answer's bytes as they came, ``ok``: nothing failed."""
    row = _row(start, at, reading.message) if ok else None
    encoding = header(head.headers, b"content-encoding").decode("latin-1")
    if whole and undone(whole, encoding) is None:
        note = storable_text(f"The answer is encoded as '{encoding[:_LONGEST_NAME]}', which cannot be read here")
    else:
        note = _about_usage(start, head, reading.message, at_work=row is not None) if ok else None
    return {"background": row, "note": note}


def usage_object(value: object) -> Json | None:
    """A provider's ``usage`` as it can be stored."""
    try:
        return storable(value) if isinstance(value, dict) else None
    except BadRequest:
        return None


def _about_usage(start: CallStart, head: AnswerHead, message: Json, *, at_work: bool) -> str | None:
    endpoint = endpoint_of(start.method, start.path)
    if endpoint == "other" or is_counted(spoken_at(start.method, start.path).told(message).get("usage")):
        return None
    if at_work:
        return _AT_WORK
    streamed = header(head.headers, b"content-type").lower().startswith(b"text/event-stream")
    return _UNTOLD_STREAM if streamed and endpoint == "chat" else _UNTOLD


def _row(start: CallStart, at: datetime, message: Json) -> BackgroundRow | None:
    said = background.told(start.method, start.path, message)
    if said is None:
        return None
    return BackgroundRow(
        space=start.space or "",
        response_id=storable_text(said.response_id),
        request_id=start.id if said.begun else None,
        request_at=at if said.begun else None,
        ended=said.ended,
        stop_reason=storable_text(said.stop_reason)[:_LONGEST_NAME] if said.stop_reason else None,
        error_type=storable_text(said.error[0])[:_LONGEST_NAME] if said.error else None,
        error_message=said.error[1] if said.error else None,
        usage=usage_object(said.usage),
    )

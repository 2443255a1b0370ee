"""Server-sent events as typed values, resumed behind the last one when the connection breaks."""

import time
from collections.abc import Iterator
from typing import Any

import httpx2
import msgspec

from raworc.client.errors import BadAnswer, Unavailable, Unreachable
from raworc.client.shapes import DeltaEvent, Event, Response, ResponseEvent, SegmentEvent, StateEvent
from raworc.client.transport import Transport

_SILENCE_S = 45.0  # the server says something every 15 s
_MAX_EVENT_BYTES = 16 * 1_048_576
_PAUSES_S = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 5.0, 5.0)


def follow(transport: Transport, path: str, *, until: str | None, after: int | None) -> Iterator[Event]:
    """Every event after ``after``, each stored one exactly once.

    Ends after the terminal event of response ``until``; without one it goes on until the caller stops.
    Reconnects behind the last event seen; gives up with what went wrong when 8 tries in a row bring nothing.
    """
    cursor, failures = after, 0
    while True:
        try:
            for event in _once(transport, path, cursor):
                failures = 0
                if not isinstance(event, DeltaEvent):
                    cursor = event.id
                yield event
                if isinstance(event, ResponseEvent) and event.response.is_settled and event.response.id == until:
                    return
        except (Unreachable, Unavailable):
            if failures >= len(_PAUSES_S):
                raise
        if failures >= len(_PAUSES_S):
            raise Unreachable(f"the event stream of {transport.base_url} keeps ending early")
        time.sleep(_PAUSES_S[failures])
        failures += 1


def _once(transport: Transport, path: str, cursor: int | None) -> Iterator[Event]:
    headers = {"accept": "text/event-stream"}
    if cursor is not None:
        headers["last-event-id"] = str(cursor)
    with transport.stream(path, headers=headers, read_timeout_s=_SILENCE_S) as answer:
        for sent in httpx2.EventSource(answer, max_event_size=_MAX_EVENT_BYTES):
            event = _event(sent)
            if event is not None:
                yield event


def _event(sent: httpx2.ServerSentEvent) -> Event | None:
    try:
        match sent.event:
            case "segment":
                return msgspec.convert({**_body(sent), "id": int(sent.id)}, SegmentEvent)
            case "response":
                return ResponseEvent(int(sent.id), msgspec.json.decode(sent.data, type=Response))
            case "state":
                return msgspec.convert({**_body(sent), "id": int(sent.id)}, StateEvent)
            case "delta":
                return msgspec.json.decode(sent.data, type=DeltaEvent)
            case _:  # a newer server's
                return None
    except (msgspec.DecodeError, msgspec.ValidationError, ValueError) as error:
        raise BadAnswer(f"event '{sent.event}' cannot be read ({error})") from error


def _body(sent: httpx2.ServerSentEvent) -> dict[str, Any]:
    return msgspec.json.decode(sent.data, type=dict[str, Any])

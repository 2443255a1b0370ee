"""Event streams over a real socket: what is cut is resumed behind the last event, without gap or repeat."""

import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler

import pytest

from raworc.client import Raworc
from raworc.client.errors import BadAnswer, NotFound, Unreachable
from raworc.client.shapes import DeltaEvent, ResponseEvent, SegmentEvent, StateEvent

RESPONSE = {
    "id": "r1",
    "agent_name": "demo",
    "created_at": "2026-01-01T12:00:00.000000Z",
    "updated_at": "2026-01-01T12:00:00.000000Z",
}


def sent(name: str, data: object, number: int | None = None) -> bytes:
    head = f"id: {number}\n" if number is not None else ""
    return f"{head}event: {name}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n".encode()


def segment(number: int, text: str = "hi") -> bytes:
    return sent("segment", {"response_id": "r1", "seq": number, "segment": {"type": "note", "text": text}}, number)


def response(status: str, number: int) -> bytes:
    return sent("response", {**RESPONSE, "status": status}, number)


@contextmanager
def answering(*answers: bytes | int) -> Iterator[tuple[Raworc, list[str | None]]]:
    """A server that gives each connection the next answer (a number: that error), then hangs up."""
    left, cursors = list(answers), []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            cursors.append(self.headers["last-event-id"])
            answer = left.pop(0) if left else 503
            if isinstance(answer, int):
                self.send_response(answer)
                self.end_headers()
                self.wfile.write(json.dumps({"message": f"status {answer}"}).encode())
                return
            self.send_response(200)
            self.send_header("content-type", "text/event-stream")
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the base class's name
            pass

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

    with Server(("127.0.0.1", 0), Handler) as server, Raworc(f"http://127.0.0.1:{server.server_address[1]}") as client:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield client, cursors
        server.shutdown()


def test_events_are_typed_and_end_with_the_response():
    whole = (
        sent("state", {"state": "busy"}, 1)
        + b": ping\n\n"
        + sent("delta", {"response_id": "r1", "channel": "final", "text": "h"})
        + segment(2)
        + sent("newer", {"x": 1}, 3)
        + response("completed", 4)
        + segment(5)
    )
    with answering(whole) as (client, cursors):
        events = list(client.responses.events("demo", "r1"))
    assert [type(event) for event in events] == [StateEvent, DeltaEvent, SegmentEvent, ResponseEvent]
    assert cursors == [None]


def test_a_cut_stream_is_resumed_behind_the_last_event():
    with answering(segment(1) + segment(2), 503, segment(3), response("failed", 4)) as (client, cursors):
        events = list(client.responses.events("demo", "r1"))
    assert [event.id for event in events if not isinstance(event, DeltaEvent)] == [1, 2, 3, 4]
    assert cursors == [None, "2", "2", "3"]


def test_half_an_event_at_the_cut_is_not_delivered():
    half = segment(2)[:-3]
    with answering(segment(1) + half, segment(2), response("completed", 3)) as (client, cursors):
        events = list(client.responses.events("demo", "r1"))
    assert len(events) == 3
    assert cursors == [None, "1", "2"]


def test_resume_starts_where_the_caller_says():
    with answering(response("completed", 10)) as (client, cursors):
        list(client.responses.events("demo", "r1", after=9))
    assert cursors == ["9"]


def test_text_with_odd_line_ends_stays_one_event():
    odd = "a\u2028b\x0bc\x85d\re"
    with answering(segment(1, odd) + response("completed", 2)) as (client, _):
        event = next(client.responses.events("demo", "r1"))
    assert isinstance(event, SegmentEvent)
    assert event.segment["text"] == odd


def test_another_responses_end_does_not_end_the_stream():
    other = sent("response", {**RESPONSE, "id": "r0", "status": "completed"}, 1)
    with answering(other + response("completed", 2)) as (client, _):
        assert len(list(client.responses.events("demo", "r1"))) == 2


def test_a_refusal_is_raised_at_once():
    with answering(404) as (client, cursors), pytest.raises(NotFound):
        list(client.responses.events("demo", "r1"))
    assert len(cursors) == 1


def test_an_unreadable_event_is_an_error_and_not_skipped():
    with answering(b"id: 1\nevent: segment\ndata: {\n\n") as (client, _), pytest.raises(BadAnswer, match="segment"):
        list(client.responses.events("demo", "r1"))


def test_a_server_that_stays_away_is_given_up(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("raworc.client.events._PAUSES_S", (0.0, 0.0))
    with (
        Raworc("http://127.0.0.1:9") as client,
        pytest.raises(Unreachable, match=r"no server at http://127\.0\.0\.1:9"),
    ):
        list(client.responses.events("demo", "r1"))


def test_a_stream_that_keeps_ending_early_is_given_up(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("raworc.client.events._PAUSES_S", (0.0, 0.0))
    with answering(b"", b"", b"", b"") as (client, cursors), pytest.raises(Unreachable, match="keeps ending early"):
        list(client.responses.events("demo", "r1"))
    assert len(cursors) == 3

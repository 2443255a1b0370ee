"""The providers' wires as a gateway's clients see them: what is sent, what comes back, how an error looks."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

import msgspec

Told = Mapping[str, Any]
"""An error as a client reads it: any JSON object."""


@dataclass(frozen=True)
class Event:
    """One event of a stream as a client reads it."""

    name: str
    data: bytes

    def json(self) -> Told:
        """Its data; of anything but an object, nothing."""
        return _object(self.data)


@dataclass(frozen=True)
class Wire:
    """One protocol. ``body`` and ``events`` are odd in every way that the protocol allows.

    ``is_error`` says whether an answer's body is an error of this wire, ``tells_error`` whether an event is.
    """

    name: str
    path: str
    scheme: str
    template: bytes
    answer: bytes
    error: bytes
    events: tuple[bytes, ...]
    is_error: Callable[[Told], bool]
    tells_error: Callable[[Event], bool]

    def body(self, model: str, *, stream: bool = False, text: str = "hello") -> bytes:
        """A request as no serialiser would write it: spaces, escapes, numbers, unknown fields, an odd order."""
        flag = b"true" if stream else b"false"
        named = self.template.replace(b"MODEL", model.encode()).replace(b"FLAG", flag)
        return named.replace(b"TEXT", text.encode())

    def credential(self, key: str) -> tuple[str, str]:
        """The header that says who calls."""
        return ("x-api-key", key) if self.scheme == "x-api-key" else ("authorization", f"Bearer {key}")


def wire_named(name: str) -> Wire | None:
    """The wire of this name."""
    return next((wire for wire in WIRES if wire.name == name), None)


def read_events(body: bytes) -> list[Event]:
    """The events of a stream as a client's parser finds them, an unfinished one at the end left out."""
    events: list[Event] = []
    lines = body.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
    name, data = "", list[bytes]()
    for line in lines:
        if not line and (name or data):
            events.append(Event(name, b"\n".join(data)))
            name, data = "", []
        elif line.startswith(b"event:"):
            name = line[6:].strip().decode(errors="replace")
        elif line.startswith(b"data:"):
            data.append(line[5:].strip())
    return events


def read_object(body: bytes) -> Told:
    """The JSON object of a body; of anything else, nothing."""
    return _object(body)


def _object(data: bytes) -> Told:
    try:
        found: object = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return {}
    return cast("Told", found) if isinstance(found, dict) else {}


def _inner(told: Told) -> Told:
    inner = told.get("error")
    return cast("Told", inner) if isinstance(inner, dict) else {}


def _anthropic_error(told: Told) -> bool:
    inner = _inner(told)
    return told.get("type") == "error" and isinstance(inner.get("type"), str) and isinstance(inner.get("message"), str)


def _openai_error(told: Told) -> bool:
    return isinstance(_inner(told).get("message"), str)


def _responses_error_event(event: Event) -> bool:
    told = event.json()
    return told.get("type") in {"error", "response.failed"} or _openai_error(told)


def _event(name: bytes, data: bytes) -> bytes:
    return (b"event: %b\n" % name if name else b"") + b"data: %b\n\n" % data


_ODD: Final = b'"x_odd" : {"b":[ ],"a":null,"n":12345678901234567890,"f":1.0,"e":1E+2},\t"x_again":1,"x_again":2'
_TEXT: Final = b'"gr\\u00fc\xc3\x9fe \\/ \xf0\x9f\x98\x80 \\ud83d\\ude00 TEXT"'

MESSAGES: Final = Wire(
    name="messages",
    path="/v1/messages",
    scheme="x-api-key",
    template=b'{ "model" : "MODEL",\r\n "max_tokens":16,"stream":FLAG,'
    b'"messages":[{"content":[{"text":%b,"type":"text"}],"role":"user"}], %b}\n' % (_TEXT, _ODD),
    answer=b'{ "id":"msg_1","type":"message" ,"role":"assistant","model":"m","content":[{"type":"text","text":'
    b'"\\u00e9\xc3\xa9 \\/"}],\n"stop_reason":"end_turn","stop_sequence":null,'
    b'"usage":{"input_tokens":1.0,"output_tokens":2},"x_new":[ 1 ]}\n',
    error=b'{"error" :{"message":"no \\/ \xc3\xa9","type":"odd_error"},"type":"error","request_id":"req_1"}',
    events=(
        _event(
            b"message_start",
            b'{"type":"message_start","message":{"id":"msg_1","type":"message",'
            b'"role":"assistant","model":"m","content":[],"stop_reason":null,"stop_sequence":null,'
            b'"usage":{"input_tokens":3,"output_tokens":1}}}',
        ),
        _event(b"ping", b'{"type": "ping"}'),
        _event(
            b"content_block_start",
            b'{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}',
        ),
        _event(
            b"content_block_delta",
            b'{"type":"content_block_delta","index":0,'
            b'"delta":{"type":"text_delta","text":"h\xc3\xa9llo \xf0\x9f\x98\x80"}}',
        ),
        _event(b"content_block_stop", b'{"type":"content_block_stop","index":0}'),
        _event(
            b"message_delta",
            b'{"type":"message_delta","delta":{"stop_reason":"end_turn",'
            b'"stop_sequence":null},"usage":{"output_tokens":2}}',
        ),
        _event(b"message_stop", b'{"type":"message_stop"}'),
    ),
    is_error=_anthropic_error,
    tells_error=lambda event: event.name == "error" and _anthropic_error(event.json()),
)

CHAT: Final = Wire(
    name="chat",
    path="/v1/chat/completions",
    scheme="bearer",
    template=b'{ "model" : "MODEL",\r\n "stream":FLAG,'
    b'"messages":[{"content":[{"text":%b,"type":"text"}],"role":"user"}], %b}\n' % (_TEXT, _ODD),
    answer=b'{ "id":"chatcmpl-1","object":"chat.completion" ,"created":1.0,"model":"m","choices":[{"index":0,'
    b'"message":{"role":"assistant","content":"\\u00e9\xc3\xa9 \\/"},"finish_reason":"stop"}],\n'
    b'"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3},"x_new":[ 1 ]}\n',
    error=b'{"error" :{"message":"no \\/ \xc3\xa9","type":"odd_error","param":null,"code":"odd"}}',
    events=(
        _event(
            b"",
            b'{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"m",'
            b'"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}',
        ),
        _event(
            b"",
            b'{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"m",'
            b'"choices":[{"index":0,"delta":{"content":"h\xc3\xa9llo \xf0\x9f\x98\x80"},"finish_reason":null}]}',
        ),
        _event(
            b"",
            b'{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"m",'
            b'"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}',
        ),
        _event(b"", b"[DONE]"),
    ),
    is_error=_openai_error,
    tells_error=lambda event: _openai_error(event.json()),
)

RESPONSES: Final = Wire(
    name="responses",
    path="/v1/responses",
    scheme="bearer",
    template=b'{ "model" : "MODEL",\r\n "stream":FLAG,'
    b'"input":[{"content":[{"text":%b,"type":"input_text"}],"role":"user"}], %b}\n' % (_TEXT, _ODD),
    answer=b'{ "id":"resp_1","object":"response" ,"created_at":1.0,"status":"completed","model":"m","output":'
    b'[{"type":"message","id":"msg_1","status":"completed","role":"assistant","content":[{"type":"output_text",'
    b'"text":"\\u00e9\xc3\xa9 \\/","annotations":[]}]}],\n'
    b'"usage":{"input_tokens":1,"output_tokens":2,"total_tokens":3},"x_new":[ 1 ]}\n',
    error=b'{"error" :{"message":"no \\/ \xc3\xa9","type":"odd_error","param":null,"code":"odd"}}',
    events=(
        _event(
            b"response.created",
            b'{"type":"response.created","sequence_number":0,"response":'
            b'{"id":"resp_1","object":"response","created_at":1,"status":"in_progress","model":"m","output":[]}}',
        ),
        _event(
            b"response.output_text.delta",
            b'{"type":"response.output_text.delta","sequence_number":1,'
            b'"item_id":"msg_1","output_index":0,"content_index":0,"delta":"h\xc3\xa9llo \xf0\x9f\x98\x80"}',
        ),
        _event(
            b"response.completed",
            b'{"type":"response.completed","sequence_number":2,"response":'
            b'{"id":"resp_1","object":"response","created_at":1,"status":"completed","model":"m","output":[],'
            b'"usage":{"input_tokens":1,"output_tokens":2,"total_tokens":3}}}',
        ),
    ),
    is_error=_openai_error,
    tells_error=_responses_error_event,
)

WIRES: Final = (MESSAGES, CHAT, RESPONSES)

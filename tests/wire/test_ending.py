"""How streams end on each wire, wherever their bytes are cut."""

import json

import pytest

from raworc.domain.wires import Wire
from raworc.wire.ending import StreamEnd

CHAT = "/v1/chat/completions"
RESPONSES = "/v1/responses"
MESSAGES = "/v1/messages"
WHOLE = [
    ("anthropic", MESSAGES, b'event: message_stop\ndata: {"type":"message_stop"}\n\n'),
    ("anthropic", MESSAGES, b'event: error\r\ndata: {"type":"error"}\r\n\r\n'),
    ("openai", CHAT, b'data: {"choices":[]}\n\ndata: [DONE]\n\n'),
    ("openai", CHAT, b'data: {"error":{"message":"x"}}\n\n'),
    ("openai", RESPONSES, b'event: response.completed\ndata: {"x":"' + b"y" * 2000 + b'"}\n\n'),
    ("openai", RESPONSES, b'event: response.failed\ndata: {"type":"response.failed"}\n\n'),
    ("openai", "/v1/responses/resp_1", b'event: response.incomplete\ndata: {"sequence_number":7}\n\n'),
    ("openai", RESPONSES, b'event: error\ndata: {"type":"error"}\n\n'),
    ("openai", "/v1/completions", b"data: [DONE]\n\n"),
]
OPEN = [
    ("anthropic", MESSAGES, b'event: content_block_delta\ndata: {"text":"\\nevent: message_stop"}\n\n'),
    ("anthropic", MESSAGES, b'event: message_stop\ndata: {"type":'),
    ("openai", CHAT, b'data: {"choices":[{"delta":{"content":"data: [DONE]"}}]}\n\n'),
    ("openai", CHAT, b"data: [DONE]"),
    ("openai", RESPONSES, b'event: response.completed\ndata: {"response":{'),
    ("openai", RESPONSES, b'event: response.output_text.done\ndata: {"text":"event: response.completed"}\n\n'),
    ("anthropic", MESSAGES, b""),
]


def fed(wire: Wire, path: str, stream: bytes, size: int) -> StreamEnd:
    end = StreamEnd(wire, path)
    for start in range(0, len(stream), size):
        end.feed(stream[start : start + size])
    return end


@pytest.mark.parametrize("size", [1, 7, 10_000])
@pytest.mark.parametrize(("given", "over"), [*((one, True) for one in WHOLE), *((one, False) for one in OPEN)])
def test_only_a_whole_last_event_ends_a_stream(given: tuple[Wire, str, bytes], size: int, *, over: bool) -> None:
    before = b"event: ping\ndata: {}\n\n" if given[2] else b""
    assert fed(given[0], given[1], before + given[2], size).over is over


@pytest.mark.parametrize("half", [b"", b"event: x\ndata: {}\n\n", b"event: x\ndata: {"])
def test_a_cut_is_told_in_each_wires_own_words(half: bytes) -> None:
    gap = b"\n\n" if half.endswith(b"{") else b""
    told = fed("anthropic", MESSAGES, half, 5).cut("gone").removeprefix(gap)
    assert told.startswith(b"event: error\ndata: ")
    assert json.loads(told.partition(b"data: ")[2]) == {
        "type": "error",
        "error": {"type": "api_error", "message": "gone"},
    }
    told = fed("openai", CHAT, half, 5).cut("gone").removeprefix(gap)
    error = {"message": "gone", "type": "server_error", "param": None, "code": "bad_gateway"}
    assert told.startswith(b"data: ")
    assert json.loads(told.removeprefix(b"data: ")) == {"error": error}


@pytest.mark.parametrize("size", [1, 3, 10_000])
def test_a_cut_response_counts_on(size: int) -> None:
    events = [
        b'event: response.created\ndata: {"sequence_number":%d,"note":"%b"}\n\n' % (n, b"z" * 400) for n in range(12)
    ]
    told = fed("openai", RESPONSES, b"".join(events), size).cut("gone")
    assert told.startswith(b"event: error\n")
    assert json.loads(told.partition(b"data: ")[2]) == {
        "type": "error",
        "code": "bad_gateway",
        "message": "gone",
        "param": None,
        "error": {"code": "bad_gateway", "message": "gone", "param": None, "type": "server_error"},
        "sequence_number": 12,
    }
    first = json.loads(StreamEnd("openai", RESPONSES).cut("gone").partition(b"data: ")[2])
    assert first["sequence_number"] == 0


PINGS = {
    ("anthropic", MESSAGES): b'event: ping\ndata: {"type": "ping"}\n\n',
    ("openai", CHAT): b": ping\n\n",
    ("openai", RESPONSES): b": ping\n\n",
}


@pytest.mark.parametrize("size", [1, 10_000])
@pytest.mark.parametrize(("at", "ping"), PINGS.items())
def test_what_says_nothing_is_never_sent_within_an_event_or_after_the_last(
    at: tuple[Wire, str], ping: bytes, size: int
) -> None:
    event = b'event: x\ndata: {"a": 1}\n\n'
    assert fed(*at, b"", size).ping == ping
    assert fed(*at, event, size).ping == ping
    for cut in range(1, len(event) - 1):
        assert fed(*at, event + event[:cut], size).ping is None
    for wire, path, last in WHOLE:
        if (wire, path) == at:
            assert fed(wire, path, event + last, size).ping is None

import json

import pytest

from raworc.wire.anthropic import Delta, MessageAssembler, error_json, error_of, parse_message, read_head
from raworc.wire.sse import SSEEvent


def feed(assembler: MessageAssembler, *events: dict) -> list[Delta]:
    found = []
    for event in events:
        found += assembler.feed(SSEEvent(event["type"], json.dumps(event)))
    return found


START = {
    "type": "message_start",
    "message": {"id": "msg_1", "role": "assistant", "content": [], "usage": {"input_tokens": 7, "output_tokens": 1}},
}
END = [
    {
        "type": "message_delta",
        "delta": {"stop_reason": "tool_use", "stop_sequence": None},
        "usage": {"output_tokens": 30, "input_tokens": None},
    },
    {"type": "message_stop"},
]


def block(index: int, start: dict, *deltas: dict) -> list[dict]:
    return [
        {"type": "content_block_start", "index": index, "content_block": start},
        *({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": index},
    ]


CITED = {"type": "web_search_result_location", "url": "https://example.org"}
STREAM = [
    START,
    {"type": "ping"},
    *block(
        0,
        {"type": "thinking", "thinking": "", "signature": ""},
        {"type": "thinking_delta", "thinking": "let me "},
        {"type": "thinking_delta", "thinking": "see"},
        {"type": "signature_delta", "signature": "c2ln"},
    ),
    *block(1, {"type": "redacted_thinking", "data": "opaque"}),
    *block(
        2,
        {"type": "text", "text": ""},
        {"type": "text_delta", "text": "Hel"},
        {"type": "text_delta", "text": "lo"},
        {"type": "citations_delta", "citation": CITED},
    ),
    *block(
        3,
        {"type": "tool_use", "id": "toolu_1", "name": "bash", "input": {}},
        {"type": "input_json_delta", "partial_json": '{"command"'},
        {"type": "input_json_delta", "partial_json": ': "ls"}'},
    ),
    *block(4, {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {}}),
    *block(5, {"type": "web_search_tool_result", "tool_use_id": "s1", "content": [{"url": "u"}]}),
    *block(6, {"type": "compaction", "content": None}, {"type": "compaction_delta", "content": "short"}),
    *END,
]


def test_every_kind_of_block_is_whole() -> None:
    assembler = MessageAssembler()
    deltas = feed(assembler, *STREAM)
    assert assembler.message["content"] == [
        {"type": "thinking", "thinking": "let me see", "signature": "c2ln"},
        {"type": "redacted_thinking", "data": "opaque"},
        {"type": "text", "text": "Hello", "citations": [CITED]},
        {"type": "tool_use", "id": "toolu_1", "name": "bash", "input": {"command": "ls"}},
        {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {}},
        {"type": "web_search_tool_result", "tool_use_id": "s1", "content": [{"url": "u"}]},
        {"type": "compaction", "content": "short"},
    ]
    assert assembler.message["usage"] == {"input_tokens": 7, "output_tokens": 30}
    assert assembler.message["stop_reason"] == "tool_use"
    assert (assembler.done, assembler.error) == (True, None)
    assert Delta("thinking", 0, "let me ") in deltas
    assert [delta.text for delta in deltas if delta.kind == "text"] == ["Hel", "lo"]


def test_the_last_event_may_tell_how_it_ended() -> None:
    assembler = MessageAssembler()
    feed(assembler, START, {"type": "message_stop", "stop_reason": "max_tokens", "usage": {"output_tokens": 9}})
    assert assembler.message["stop_reason"] == "max_tokens"
    assert assembler.message["usage"] == {"input_tokens": 7, "output_tokens": 9}
    assert assembler.done


def test_blocks_that_alternate_do_not_mix() -> None:
    assembler = MessageAssembler()
    start = {"type": "text", "text": ""}
    feed(assembler, START, *block(1, start)[:1], *block(0, start)[:1])
    for index, text in [(0, "a"), (1, "x"), (0, "b"), (1, "y")]:
        feed(
            assembler,
            {"type": "content_block_delta", "index": index, "delta": {"type": "text_delta", "text": text}},
        )
    assert [part["text"] for part in assembler.message["content"]] == ["ab", "xy"]


def test_arguments_that_are_no_json_are_kept_as_the_documents_ask() -> None:
    assembler = MessageAssembler()
    tool = {"type": "tool_use", "id": "t", "name": "bash", "input": {}}
    feed(assembler, START, *block(0, tool, {"type": "input_json_delta", "partial_json": '{"command": "l'}))
    assert assembler.message["content"][0]["input"] == {"INVALID_JSON": '{"command": "l'}


def test_an_error_event_is_told() -> None:
    assembler = MessageAssembler()
    feed(assembler, START, {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}})
    assert assembler.error == ("overloaded_error", "Overloaded")
    assert not assembler.done


@pytest.mark.parametrize("data", ["", "nonsense", "[]", "1", '{"type":"content_block_delta"}', '{"type":"new_event"}'])
def test_what_cannot_be_read_is_passed_over(data: str) -> None:
    assembler = MessageAssembler()
    assert assembler.feed(SSEEvent("message", data)) == []
    assert assembler.message == {}


@pytest.mark.parametrize(
    ("body", "model", "stream"),
    [
        (b'{"model":"m","stream":true,"messages":[{"content":[1, {"x": null}]}]}', "m", True),
        (b'{"model":5,"stream":"yes"}', None, "yes"),
        (b"nonsense", None, False),
        (b"", None, False),
        (b"[1]", None, False),
        (b"[" * 100_000, None, False),
        (b'{"model":"\xff"}', None, False),
    ],
)
def test_the_head_of_any_body(body: bytes, model: str | None, stream: object) -> None:
    head = read_head(body)
    assert (head.model_name, head.stream) == (model, stream)


def test_a_message_must_be_an_object() -> None:
    assert parse_message(b'{"a":1}') == {"a": 1}
    for body in (b"[]", b"", b"nonsense", b"[" * 100_000, b'"\xff"'):
        with pytest.raises(ValueError, match="JSON"):
            parse_message(body)


def test_errors_have_the_providers_shape() -> None:
    body = error_json(429, "slow down", request_id="req_1")
    assert body == {
        "type": "error",
        "error": {"type": "rate_limit_error", "message": "slow down"},
        "request_id": "req_1",
    }
    assert error_of(body) == ("rate_limit_error", "slow down")
    assert error_of({"type": "message"}) is None

"""The scripted model on the Messages wire."""

from collections.abc import Iterator
from typing import Final

from raworc.gateway.script import BadScript, Script
from raworc.gateway.speech import Speech, arguments, event, pieces
from raworc.gateway.upstreams import Call
from raworc.wire.anthropic import Json


def _asked(request: Json) -> Json:
    if not isinstance(request.get("max_tokens"), int) or request["max_tokens"] < 1:
        raise BadScript("max_tokens: a whole number above 0 is required")
    return request


def _answer(said: Script, call: Call, _request: Json) -> Json:
    return {
        "id": f"msg_{said.digest[:24]}",
        "type": "message",
        "role": "assistant",
        "model": call.model,
        "content": said.content,
        "stop_reason": said.stop_reason,
        "stop_sequence": None,
        "usage": {
            "input_tokens": said.input_tokens,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "output_tokens": said.output_tokens,
        },
    }


def _events(message: Json, _request: Json) -> Iterator[bytes]:
    begun: Json = {**message, "content": [], "stop_reason": None, "usage": {**message["usage"], "output_tokens": 1}}
    yield event({"type": "message_start", "message": begun})
    yield event({"type": "ping"})
    for index, block in enumerate(message["content"]):
        empty: Json = {**block, "text": ""} if block["type"] == "text" else {**block, "input": {}}
        yield event({"type": "content_block_start", "index": index, "content_block": empty})
        for delta in _deltas(block):
            yield event({"type": "content_block_delta", "index": index, "delta": delta})
        yield event({"type": "content_block_stop", "index": index})
    end = {"stop_reason": message["stop_reason"], "stop_sequence": None}
    usage = {"output_tokens": message["usage"]["output_tokens"]}
    yield event({"type": "message_delta", "delta": end, "usage": usage})
    yield event({"type": "message_stop", **end, "usage": message["usage"]})


def _deltas(block: Json) -> Iterator[Json]:
    if block["type"] == "text":
        for piece in pieces(block["text"]):
            yield {"type": "text_delta", "text": piece}
    else:
        for piece in pieces(arguments(block)):
            yield {"type": "input_json_delta", "partial_json": piece}


MESSAGES: Final = Speech(_asked, _answer, _events)

"""The scripted model on the Chat Completions wire."""

from collections.abc import Iterator
from typing import Final

import msgspec

from raworc.gateway.script import BadScript, Script
from raworc.gateway.speech import BORN, Speech, arguments, call_id, pieces
from raworc.gateway.upstreams import Call
from raworc.wire import chat
from raworc.wire.anthropic import Json

_FINISHED: Final = {"end_turn": "stop", "tool_use": "tool_calls"}
_ROLES: Final = frozenset({"system", "developer", "user", "assistant", "tool", "function"})


def _asked(request: Json) -> Json:
    messages = chat.objects(request.get("messages"))
    if not messages or len(messages) != len(request["messages"]):
        raise BadScript("messages: a list of at least one message is required")
    if not {message.get("role") for message in messages} <= _ROLES:
        raise BadScript(f"messages: each 'role' must be one of {', '.join(sorted(_ROLES))}")
    return chat.asked(request)


def _answer(said: Script, call: Call, _request: Json) -> Json:
    text = "".join(block["text"] for block in said.content if block["type"] == "text")
    uses = [
        {"id": call_id(block), "type": "function", "function": {"name": block["name"], "arguments": arguments(block)}}
        for block in said.content
        if block["type"] == "tool_use"
    ]
    message: Json = {"role": "assistant", "content": text or None, "refusal": None}
    if uses:
        message["tool_calls"] = uses
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _FINISHED[said.stop_reason]}
    return {
        "id": f"chatcmpl-{call.request_id.hex}",
        "object": "chat.completion",
        "created": int(BORN.timestamp()),
        "model": call.model,
        "choices": [choice],
        "usage": {
            "prompt_tokens": said.input_tokens,
            "completion_tokens": said.output_tokens,
            "total_tokens": said.input_tokens + said.output_tokens,
            "prompt_tokens_details": {"cached_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0},
        },
    }


def _events(completion: Json, request: Json) -> Iterator[bytes]:
    counted = chat.mapping(request.get("stream_options")).get("include_usage") is True
    usage: Json = {"usage": None} if counted else {}
    head = {key: completion[key] for key in ("id", "created", "model")} | {"object": "chat.completion.chunk"}
    (choice,) = completion["choices"]
    for delta in _deltas(choice["message"]):
        yield _chunk({**head, "choices": [_step(delta)], **usage})
    yield _chunk({**head, "choices": [_step({}, choice["finish_reason"])], **usage})
    if counted:
        yield _chunk({**head, "choices": [], "usage": completion["usage"]})
    yield b"data: [DONE]\n\n"


def _deltas(message: Json) -> Iterator[Json]:
    yield {"role": "assistant", "content": None if message["content"] is None else "", "refusal": None}
    for piece in pieces(message["content"] or ""):
        yield {"content": piece}
    for index, use in enumerate(message.get("tool_calls", [])):
        named = {"name": use["function"]["name"], "arguments": ""}
        yield {"tool_calls": [{"index": index, "id": use["id"], "type": "function", "function": named}]}
        for piece in pieces(use["function"]["arguments"]):
            yield {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}


def _step(delta: Json, finish_reason: str | None = None) -> Json:
    return {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}


def _chunk(body: Json) -> bytes:
    return b"data: %b\n\n" % msgspec.json.encode(body)


CHAT: Final = Speech(_asked, _answer, _events)

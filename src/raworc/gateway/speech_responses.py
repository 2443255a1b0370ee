"""The scripted model on the Responses wire. It keeps nothing: of an earlier response it knows what is sent again."""

from collections.abc import Iterator
from itertools import count
from typing import Any, Final

from raworc.gateway.script import BadScript, Script
from raworc.gateway.speech import BORN, Speech, arguments, call_id, event, pieces
from raworc.gateway.upstreams import Call
from raworc.wire import responses
from raworc.wire.anthropic import Json

_ECHOED: Final[Json] = {
    "instructions": None,
    "max_output_tokens": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "reasoning": {"effort": None, "summary": None},
    "store": True,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_p": 1.0,
    "truncation": "disabled",
}
"""What a response repeats of its request, and what stands there when the request does not say."""


def _asked(request: Json) -> Json:
    asked = responses.asked(request)
    if not asked["messages"]:
        raise BadScript("input: a text or a list with at least one item is required")
    return asked


def _answer(said: Script, call: Call, request: Json) -> Json:
    return {
        "id": f"resp_{call.request_id.hex}",
        "object": "response",
        "created_at": int(BORN.timestamp()),
        "status": "completed",
        "error": None,
        "incomplete_details": None,
        "model": call.model,
        "output": [_item(block, call, number) for number, block in enumerate(said.content)],
        **{key: default if request.get(key) is None else request[key] for key, default in _ECHOED.items()},
        "usage": {
            "input_tokens": said.input_tokens,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": said.output_tokens,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": said.input_tokens + said.output_tokens,
        },
    }


def _item(block: Json, call: Call, number: int) -> Json:
    own = f"{call.request_id.hex}{number:02x}"
    if block["type"] == "text":
        part: Json = {"type": "output_text", "text": block["text"], "annotations": [], "logprobs": []}
        return {"id": f"msg_{own}", "type": "message", "status": "completed", "role": "assistant", "content": [part]}
    return {
        "id": f"fc_{own}",
        "type": "function_call",
        "status": "completed",
        "call_id": call_id(block),
        "name": block["name"],
        "arguments": arguments(block),
    }


def _events(response: Json, _request: Json) -> Iterator[bytes]:
    for number, body in zip(count(), _steps(response), strict=False):
        yield event({**body, "sequence_number": number})


def _steps(response: Json) -> Iterator[Json]:
    begun: Json = {**response, "status": "in_progress", "output": [], "usage": None}
    yield {"type": "response.created", "response": begun}
    yield {"type": "response.in_progress", "response": begun}
    for index, item in enumerate(response["output"]):
        at = {"output_index": index, "item_id": item["id"]}
        empty: Json = {"content": []} if item["type"] == "message" else {"arguments": ""}
        added = {**item, "status": "in_progress", **empty}
        yield {"type": "response.output_item.added", "output_index": index, "item": added}
        yield from _text(item, at) if item["type"] == "message" else _call(item, at)
        yield {"type": "response.output_item.done", "output_index": index, "item": item}
    yield {"type": "response.completed", "response": response}


def _text(item: Json, at: dict[str, Any]) -> Iterator[Json]:
    (part,) = item["content"]
    place = {**at, "content_index": 0}
    yield {"type": "response.content_part.added", **place, "part": {**part, "text": ""}}
    for piece in pieces(part["text"]):
        yield {"type": "response.output_text.delta", **place, "delta": piece, "logprobs": []}
    yield {"type": "response.output_text.done", **place, "text": part["text"], "logprobs": []}
    yield {"type": "response.content_part.done", **place, "part": part}


def _call(item: Json, at: dict[str, Any]) -> Iterator[Json]:
    for piece in pieces(item["arguments"]):
        yield {"type": "response.function_call_arguments.delta", **at, "delta": piece}
    done = {"name": item["name"], "arguments": item["arguments"]}
    yield {"type": "response.function_call_arguments.done", **at, **done}


RESPONSES: Final = Speech(_asked, _answer, _events)

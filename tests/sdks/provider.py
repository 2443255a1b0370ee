"""The provider behind the gateway for the SDKs: what the last text of a request says decides what it does.

``error N`` is refused with that status, ``flaky N`` the first time only, ``broken`` breaks off amid the stream,
``overloaded`` ends it with the wire's own error event, ``endless`` never ends, ``tool`` uses the first tool; everything
else is said back.
"""

import asyncio
import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from typing import Any

from raworc.conformance.standin import Reply, Seen, Standin, chunk, json_answer, stream_head

Json = dict[str, Any]

IDS = ("request-id: req_theirs", "x-request-id: req_theirs")
CITY = {"city": "Zürich"}
USAGE = {"input_tokens": 3, "output_tokens": 5}
CHAT_USAGE = {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}
RESPONSES_USAGE = {
    **USAGE,
    "total_tokens": 8,
    "input_tokens_details": {"cached_tokens": 0},
    "output_tokens_details": {"reasoning_tokens": 0},
}


class Provider:
    """Runs beside the tests in a thread of its own, because SDKs block. ``left``: streams that were given up."""

    def __init__(self) -> None:
        self.tries: Counter[str] = Counter()
        self.left: Counter[str] = Counter()

    async def play(self, seen: Seen, reply: Reply) -> None:
        if seen.path.startswith("/v1/models"):
            await reply.send(json_answer(_models(seen.path), "200 OK", *IDS))
        elif seen.path.endswith("/count_tokens"):
            await reply.send(json_answer(b'{"input_tokens":7}', "200 OK", *IDS))
        else:
            body = json.loads(seen.body)
            await self._call(seen.path, body, reply)

    async def _call(self, path: str, body: Json, reply: Reply) -> None:
        text = _last_text(body)
        self.tries[text] += 1
        word, _, status = text.partition(" ")
        if word == "error" or (word == "flaky" and self.tries[text] == 1):
            told = ("retry-after-ms: 1",) if word == "flaky" else ("retry-after: 61", "x-should-retry: false")
            await reply.send(json_answer(_error(path), f"{status.split()[0]} Odd", *IDS, *told))
            return
        uses_tool = text == "tool"
        said = text if word != "flaky" else f"try {self.tries[text]}"
        if not body.get("stream"):
            await reply.send(json_answer(json.dumps(_answer(path, said, uses_tool)).encode(), "200 OK", *IDS))
            return
        events = _events(path, said, uses_tool)
        await reply.send(stream_head(*IDS), chunk(events[0]), chunk(events[1]))
        if word == "endless":
            try:
                await asyncio.Event().wait()
            finally:
                self.left[text] += 1
        elif word == "broken":
            reply.cut()
        elif word == "overloaded":
            await reply.send(chunk(_error_event(path)), chunk(b""))
        else:
            await reply.send(*map(chunk, events[2:]), chunk(b""))


@contextmanager
def provider() -> Iterator[tuple[Provider, str]]:
    """The provider and its address."""
    playing, standin, loop = Provider(), Standin(), asyncio.new_event_loop()
    stack = AsyncExitStack()

    async def begin() -> int:
        port = await stack.enter_async_context(standin.listening("127.0.0.1", 0))
        for path in ("/v1/messages", "/count_tokens", "/completions", "/responses", "/models", "/models/m-1"):
            await stack.enter_async_context(standin.staged(path, playing.play))
        return port

    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        port = asyncio.run_coroutine_threadsafe(begin(), loop).result(10)
        yield playing, f"http://127.0.0.1:{port}"
    finally:
        asyncio.run_coroutine_threadsafe(stack.aclose(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def _last_text(body: Json) -> str:
    last = (body.get("messages") or body["input"])[-1] if body.get("input") != str(body.get("input")) else None
    content = body["input"] if last is None else last.get("content", "")
    return content if isinstance(content, str) else content[-1].get("text", "")


def _error(path: str) -> bytes:
    inner = {"type": "odd_error", "message": "no", "code": "odd", "param": None}
    return json.dumps(
        {"type": "error", "error": inner, "request_id": "req_theirs"} if path.endswith("messages") else {"error": inner}
    ).encode()


def _error_event(path: str) -> bytes:
    """What a provider sends that cannot go on amid a stream."""
    if path.endswith("/responses"):
        told = {"type": "error", "code": "server_is_overloaded", "message": "no", "param": None, "sequence_number": 2}
        return _sse(told, named=True)
    inner = {"type": "overloaded_error", "message": "no", "code": "odd", "param": None}
    if path.endswith("/messages"):
        return _sse({"type": "error", "error": inner, "request_id": "req_theirs"}, named=True)
    return _sse({"error": inner})


def _models(path: str) -> bytes:
    one = {"type": "model", "object": "model", "display_name": "M", "created_at": "2026-01-01T00:00:00Z", "created": 1}
    names = ["m-1", "m-2"]
    listed = {"object": "list", "data": [{"id": name, **one} for name in names], "has_more": False}
    return json.dumps(listed if path.endswith("/models") else {"id": "m-1", **one}).encode()


def _answer(path: str, said: str, uses_tool: bool) -> Json:
    match path.rpartition("/")[2]:
        case "messages":
            tool = {"type": "tool_use", "id": "tool_1", "name": "weather", "input": CITY}
            return _message(
                [tool if uses_tool else {"type": "text", "text": said}], "tool_use" if uses_tool else "end_turn"
            )
        case "completions":
            call = {"id": "tool_1", "type": "function", "function": {"name": "weather", "arguments": json.dumps(CITY)}}
            message = (
                {"role": "assistant", "content": None, "tool_calls": [call]}
                if uses_tool
                else {"role": "assistant", "content": said}
            )
            choice = {"index": 0, "message": message, "finish_reason": "tool_calls" if uses_tool else "stop"}
            return {
                "id": "c_1",
                "object": "chat.completion",
                "created": 1,
                "model": "m-1",
                "choices": [choice],
                "usage": CHAT_USAGE,
            }
        case _:
            return _response("completed", [_item(said, uses_tool)], RESPONSES_USAGE)


def _message(content: list[Json], stop: str | None) -> Json:
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "m-1",
        "content": content,
        "stop_reason": stop,
        "stop_sequence": None,
        "usage": USAGE,
    }


def _response(status: str, output: list[Json], usage: Json | None) -> Json:
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1,
        "status": status,
        "model": "m-1",
        "output": output,
        "usage": usage,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
        "parallel_tool_calls": True,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
    }


def _item(said: str, uses_tool: bool) -> Json:
    if uses_tool:
        return {
            "type": "function_call",
            "id": "fc_1",
            "call_id": "tool_1",
            "name": "weather",
            "arguments": json.dumps(CITY),
            "status": "completed",
        }
    part = {"type": "output_text", "text": said, "annotations": []}
    return {"type": "message", "id": "msg_1", "status": "completed", "role": "assistant", "content": [part]}


def _events(path: str, said: str, uses_tool: bool) -> list[bytes]:
    match path.rpartition("/")[2]:
        case "messages":
            return [_sse(event, named=True) for event in _message_events(said, uses_tool)]
        case "completions":
            return [*(_sse(event) for event in _chat_events(said, uses_tool)), b"data: [DONE]\n\n"]
        case _:
            events = _response_events(said, uses_tool)
            return [_sse({**event, "sequence_number": at}, named=True) for at, event in enumerate(events)]


def _sse(event: Json, *, named: bool = False) -> bytes:
    name = f"event: {event['type']}\n" if named else ""
    return f"{name}data: {json.dumps(event, ensure_ascii=False)}\n\n".encode()


def _halves(text: str) -> tuple[str, str]:
    return text[: len(text) // 2], text[len(text) // 2 :]


def _message_events(said: str, uses_tool: bool) -> list[Json]:
    block = (
        {"type": "tool_use", "id": "tool_1", "name": "weather", "input": {}}
        if uses_tool
        else {"type": "text", "text": ""}
    )
    kind, key = ("input_json_delta", "partial_json") if uses_tool else ("text_delta", "text")
    deltas = [
        {"type": kind, key: half} for half in _halves(json.dumps(CITY, ensure_ascii=False) if uses_tool else said)
    ]
    return [
        {"type": "message_start", "message": _message([], None)},
        {"type": "content_block_start", "index": 0, "content_block": block},
        *({"type": "content_block_delta", "index": 0, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "tool_use" if uses_tool else "end_turn", "stop_sequence": None},
            "usage": {"output_tokens": 5},
        },
        {"type": "message_stop"},
    ]


def _chat_events(said: str, uses_tool: bool) -> list[Json]:
    if uses_tool:
        named = {"index": 0, "id": "tool_1", "type": "function", "function": {"name": "weather", "arguments": ""}}
        halves = [{"tool_calls": [{"index": 0, "function": {"arguments": half}}]} for half in _halves(json.dumps(CITY))]
        deltas = [{"role": "assistant", "tool_calls": [named]}, *halves]
    else:
        deltas = [{"role": "assistant", "content": ""}, *({"content": half} for half in _halves(said))]
    chunk_ = {"id": "c_1", "object": "chat.completion.chunk", "created": 1, "model": "m-1"}
    ending = [{"index": 0, "delta": {}, "finish_reason": "tool_calls" if uses_tool else "stop"}]
    choices = [*([{"index": 0, "delta": delta, "finish_reason": None}] for delta in deltas), ending]
    return [*({**chunk_, "choices": choice} for choice in choices), {**chunk_, "choices": [], "usage": CHAT_USAGE}]


def _response_events(said: str, uses_tool: bool) -> list[Json]:
    item = _item(said, uses_tool)
    where = {"item_id": item["id"], "output_index": 0}
    if uses_tool:
        started = {**item, "arguments": "", "status": "in_progress"}
        deltas = [
            {"type": "response.function_call_arguments.delta", **where, "delta": half}
            for half in _halves(item["arguments"])
        ]
    else:
        started = {**item, "content": [], "status": "in_progress"}
        part = {"type": "output_text", "text": "", "annotations": []}
        texts = [
            {"type": "response.output_text.delta", **where, "content_index": 0, "delta": half, "logprobs": []}
            for half in _halves(said)
        ]
        deltas = [{"type": "response.content_part.added", **where, "content_index": 0, "part": part}, *texts]
    return [
        {"type": "response.created", "response": _response("in_progress", [], None)},
        {"type": "response.output_item.added", "output_index": 0, "item": started},
        *deltas,
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {"type": "response.completed", "response": _response("completed", [item], RESPONSES_USAGE)},
    ]

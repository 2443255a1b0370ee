"""Calls on OpenAI's wires as the recorder hears of them, whole or streamed."""

import json
import uuid

from raworc.recorder.rows import RecordedCall
from raworc.wire.frames import AnswerHead, CallEnd, CallStart

JSON = [(b"content-type", b"application/json")]
SSE = [(b"content-type", b"text/event-stream; charset=utf-8")]
CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"
USED = {
    "prompt_tokens": 1000,
    "completion_tokens": 30,
    "total_tokens": 1030,
    "prompt_tokens_details": {"cached_tokens": 400},
    "completion_tokens_details": {"reasoning_tokens": 20},
}
USED_HERE = {
    "input_tokens": 1000,
    "input_tokens_details": {"cached_tokens": 400, "cache_write_tokens": 100},
    "output_tokens": 30,
    "output_tokens_details": {"reasoning_tokens": 20},
    "total_tokens": 1030,
}


def call(path: str, request: object, answer: object, *, status: int = 200, ended: bool = True) -> RecordedCall:
    """A call whose answer is one object, or, of a list, the events or lines of a stream."""
    streamed = isinstance(answer, list)
    body = b"".join(line(one) for one in answer) if streamed else json.dumps(answer).encode()
    start = CallStart(uuid.uuid4(), "POST", path, "key", "t")
    end = CallEnd(3_400) if ended else None
    head = AnswerHead(status, SSE if streamed else JSON)
    return RecordedCall(5_000_000, start, json.dumps(request).encode(), head, [(5_002_000, body)], end, 5_003_000)


def line(one: object) -> bytes:
    if isinstance(one, bytes):
        return one
    name = f"event: {one['type']}\n" if "type" in one else ""
    return f"{name}data: {json.dumps(one, ensure_ascii=False)}\n\n".encode()


def answered(row) -> dict:
    return json.loads(row.response_body)


def delta(of: dict, index: int = 0, finish: str | None = None, **more: object) -> dict:
    choice = {"index": index, "delta": of, "finish_reason": finish, **more}
    return {"id": "c1", "object": "chat.completion.chunk", "created": 7, "model": "gpt-4o-2024", "choices": [choice]}


DONE = b"data: [DONE]\n\n"

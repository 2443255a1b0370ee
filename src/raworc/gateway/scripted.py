"""The scripted model as a provider: it speaks the Anthropic Messages wire and needs no key and no network.

It says what ``script.py`` decides, as JSON or as the wire's events, and commits the faults it is asked for.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from typing import Final

import msgspec

from raworc.gateway.script import BadScript, Fault, Script, count_tokens, script
from raworc.gateway.upstreams import Answer, Call
from raworc.wire.anthropic import Json, error_json, parse_message
from raworc.wire.client import UpstreamClosed

NAME: Final = "scripted"
_PIECE_CHARACTERS: Final = 32
_MOST_PIECES: Final = 64
_BORN: Final = "2025-01-01T00:00:00Z"
_COUNTED_FAULTS: Final = 10_000
_NO_FAULT: Final = Fault()


class Scripted:
    """One per server process: faults with ``times`` are counted here."""

    name = NAME

    def __init__(self) -> None:
        self._committed: Counter[tuple[str, str]] = Counter()

    async def open(self, call: Call) -> Answer:
        """See ``Upstream``."""
        path = call.path.partition("?")[0]
        try:
            if path == "/v1/messages":
                return await self._message(call)
            if path == "/v1/messages/count_tokens":
                return _json_answer(200, {"input_tokens": count_tokens(_request(call))})
        except BadScript as error:
            return _json_answer(400, error_json(400, str(error)))
        return _models(path)

    async def _message(self, call: Call) -> Answer:
        request = _request(call)
        if not isinstance(request.get("max_tokens"), int) or request["max_tokens"] < 1:
            raise BadScript("max_tokens: a whole number above 0 is required")
        said = script(request)
        fault = self._fault(said, call.train_id)
        if fault.delay_ms:
            await asyncio.sleep(fault.delay_ms / 1000)
        headers = [(name.encode(), value.encode()) for name, value in fault.headers.items()]
        if fault.retry_after is not None:
            headers.append((b"retry-after", b"%g" % fault.retry_after))
        if fault.status is not None:
            return _json_answer(fault.status, error_json(fault.status, "The prompt asked for this fault"), headers)
        message = _message(said, str(call.model))
        if call.stream:
            return ScriptedAnswer(200, [_EVENT_STREAM, *headers], _events(message), fault)
        return _json_answer(200, message, headers, fault)

    def _fault(self, said: Script, train_id: str) -> Fault:
        if said.fault is None:
            return _NO_FAULT
        if said.fault.times is not None:
            key = (said.prompt_digest, train_id)
            if self._committed[key] >= said.fault.times:
                return _NO_FAULT
            if len(self._committed) >= _COUNTED_FAULTS:
                self._committed.clear()
            self._committed[key] += 1
        return said.fault


_EVENT_STREAM: Final = (b"content-type", b"text/event-stream; charset=utf-8")


class ScriptedAnswer:
    """An answer made of ready pieces; see ``Answer``."""

    def __init__(
        self, status: int, headers: list[tuple[bytes, bytes]], pieces: list[bytes], fault: Fault = _NO_FAULT
    ) -> None:
        self.status = status
        self.headers = [*headers, (b"x-raworc-provider", NAME.encode())]
        self._pieces = pieces
        self._fault = fault
        self._left = len(pieces)

    @property
    def ready(self) -> bool:
        """No wait before the next piece."""
        return not self._fault.chunk_delay_ms

    @property
    def whole(self) -> bool:
        """Nothing more to come."""
        return self._left == 0

    async def chunks(self) -> AsyncIterator[bytes]:
        """The pieces, each after the delay that was asked for, cut off where that was asked for."""
        for number, piece in enumerate(self._pieces):
            if number == self._fault.cut_after_events:
                raise UpstreamClosed("The scripted provider cut its answer off, as the prompt asked")
            if self._fault.chunk_delay_ms:
                await asyncio.sleep(self._fault.chunk_delay_ms / 1000)
            self._left -= 1
            yield piece

    async def close(self) -> None:
        """Nothing to give back."""


def _request(call: Call) -> Json:
    try:
        request = parse_message(call.body)
    except ValueError as error:
        raise BadScript(f"The body cannot be read: {error}") from None
    if call.model is None or not call.model:
        raise BadScript("model: a name is required")
    return request


def _models(path: str) -> Answer:
    if path == "/v1/models":
        model = _model(NAME)
        return _json_answer(200, {"data": [model], "has_more": False, "first_id": NAME, "last_id": NAME})
    return _json_answer(200, _model(path.removeprefix("/v1/models/")))


def _model(name: str) -> Json:
    return {"type": "model", "id": name, "display_name": f"{name} (scripted)", "created_at": _BORN}


def _message(said: Script, model: str) -> Json:
    return {
        "id": f"msg_{said.digest[:24]}",
        "type": "message",
        "role": "assistant",
        "model": model,
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


def _json_answer(
    status: int, body: Json, headers: list[tuple[bytes, bytes]] | None = None, fault: Fault = _NO_FAULT
) -> ScriptedAnswer:
    encoded = msgspec.json.encode(body)
    half = len(encoded) // 2
    pieces = [encoded[:half], encoded[half:]] if fault.cut_after_events is not None else [encoded]
    sized = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(encoded)), *(headers or [])]
    return ScriptedAnswer(status, sized, pieces, fault)


def _events(message: Json) -> list[bytes]:
    return [_event(event) for event in _wire_events(message)]


def _wire_events(message: Json) -> Iterator[Json]:
    """The message as the wire streams it."""
    begun: Json = {**message, "content": [], "stop_reason": None, "usage": {**message["usage"], "output_tokens": 1}}
    yield {"type": "message_start", "message": begun}
    yield {"type": "ping"}
    for index, block in enumerate(message["content"]):
        empty: Json = {**block, "text": ""} if block["type"] == "text" else {**block, "input": {}}
        yield {"type": "content_block_start", "index": index, "content_block": empty}
        for delta in _deltas(block):
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    end = {"stop_reason": message["stop_reason"], "stop_sequence": None}
    yield {"type": "message_delta", "delta": end, "usage": {"output_tokens": message["usage"]["output_tokens"]}}
    yield {"type": "message_stop"}


def _deltas(block: Json) -> Iterator[Json]:
    if block["type"] == "text":
        for piece in _pieces(block["text"]):
            yield {"type": "text_delta", "text": piece}
    else:
        for piece in _pieces(msgspec.json.encode(block["input"]).decode()):
            yield {"type": "input_json_delta", "partial_json": piece}


def _pieces(text: str) -> list[str]:
    """The text in pieces that read like a stream, and not too many of them."""
    size = max(_PIECE_CHARACTERS, -(-len(text) // _MOST_PIECES))
    return [text[start : start + size] for start in range(0, len(text), size)]


def _event(body: Json) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (body["type"].encode(), msgspec.json.encode(body))

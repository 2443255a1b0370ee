"""The scripted model as a provider: it speaks both providers' wires and needs no key and no network.

It says what ``script.py`` decides, as JSON or as the wire's events, and commits the faults it is asked for.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Final

import msgspec

from raworc.domain.wires import Endpoint, Wire, endpoint_of
from raworc.gateway.script import BadScript, Fault, Script, count_tokens, script
from raworc.gateway.speech import BORN, Speech
from raworc.gateway.speech_chat import CHAT
from raworc.gateway.speech_messages import MESSAGES
from raworc.gateway.speech_responses import RESPONSES
from raworc.gateway.upstreams import Answer, Call
from raworc.wire.anthropic import Json, parse_message
from raworc.wire.client import UpstreamClosed
from raworc.wire.encoding import decoded
from raworc.wire.errors import error_on

NAME: Final = "scripted"
_SPEECH: Final[dict[Endpoint, Speech]] = {"messages": MESSAGES, "chat": CHAT, "responses": RESPONSES}
_ONE_MODEL: Final = "/v1/models/"
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
            speech = _SPEECH.get(endpoint_of(call.method, path))
            if speech is not None:
                return await self._speak(call, speech)
            match call.method, path:
                case "POST", "/v1/messages/count_tokens":
                    return _json_answer(200, {"input_tokens": count_tokens(_request(call))})
                case (("GET" | "HEAD"), "/v1/models"):
                    return _json_answer(200, _models(call.wire))
                case (("GET" | "HEAD"), _) if path.startswith(_ONE_MODEL) and path != _ONE_MODEL:
                    return _json_answer(200, _model(call.wire, path.removeprefix(_ONE_MODEL)))
                case _:
                    message = f"The scripted model does not serve {call.method} '{path}'"
                    return _json_answer(404, error_on(call.wire, 404, message))
        except BadScript as error:
            return _json_answer(400, error_on(call.wire, 400, str(error)))

    async def _speak(self, call: Call, speech: Speech) -> Answer:
        request = _request(call)
        said = script(speech.asked(request))
        fault = self._fault(said, call.train_id)
        if fault.delay_ms:
            await asyncio.sleep(fault.delay_ms / 1000)
        headers = [(name.encode(), value.encode()) for name, value in fault.headers.items()]
        if fault.retry_after is not None:
            headers.append((b"retry-after", b"%g" % fault.retry_after))
        if fault.status is not None:
            body = error_on(call.wire, fault.status, "The prompt asked for this fault")
            return _json_answer(fault.status, body, headers)
        answer = speech.answer(said, call, request)
        if call.stream:
            return ScriptedAnswer(200, [_EVENT_STREAM, *headers], list(speech.events(answer, request)), fault)
        return _json_answer(200, answer, headers, fault)

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

    def hand_on(self, take: Callable[[bytes], bool]) -> None:
        """Pieces are read one by one: nobody waits for them to come."""

    async def next_chunk(self) -> bytes:
        """The pieces, each after the delay that was asked for, cut off where that was asked for."""
        number = len(self._pieces) - self._left
        if self._left == 0:
            return b""
        if number == self._fault.cut_after_events:
            raise UpstreamClosed("The scripted provider cut its answer off, as the prompt asked")
        if self._fault.chunk_delay_ms:
            await asyncio.sleep(self._fault.chunk_delay_ms / 1000)
        self._left -= 1
        return self._pieces[number]

    async def close(self) -> None:
        """Nothing to give back."""


def _header(call: Call, wanted: bytes) -> str:
    return call.heading.named.get(wanted, b"").decode("latin-1")


def _request(call: Call) -> Json:
    try:
        request = parse_message(decoded(call.body, _header(call, b"content-encoding")))
    except ValueError as error:
        raise BadScript(f"The body cannot be read: {error}") from None
    if call.model is None or not call.model:
        raise BadScript("model: a name is required")
    return request


def _models(wire: Wire) -> Json:
    models = [_model(wire, NAME)]
    if wire == "openai":
        return {"object": "list", "data": models}
    return {"data": models, "has_more": False, "first_id": NAME, "last_id": NAME}


def _model(wire: Wire, name: str) -> Json:
    if wire == "openai":
        return {"id": name, "object": "model", "created": int(BORN.timestamp()), "owned_by": NAME}
    return {"type": "model", "id": name, "display_name": f"{name} (scripted)", "created_at": f"{BORN:%Y-%m-%dT%XZ}"}


def _json_answer(
    status: int, body: Json, headers: list[tuple[bytes, bytes]] | None = None, fault: Fault = _NO_FAULT
) -> ScriptedAnswer:
    encoded = msgspec.json.encode(body)
    half = len(encoded) // 2
    pieces = [encoded[:half], encoded[half:]] if fault.cut_after_events is not None else [encoded]
    sized = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(encoded)), *(headers or [])]
    return ScriptedAnswer(status, sized, pieces, fault)

"""The Anthropic Messages wire: what the gateway, the recorder and our own agents read of it. No I/O.

Shapes: https://docs.anthropic.com/en/api/messages and .../streaming. Fields and block kinds that are not known
here are kept as they came, so that a stored or replayed message is whole.
"""

from dataclasses import dataclass, field
from typing import Any, Final, cast

import msgspec

from raworc.wire.sse import SSEEvent

Json = dict[str, Any]
"""A JSON object of the provider's or the user's, kept as it is."""

ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    408: "timeout_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}
STORAGE_FULL = (b"x-raworc-storage", b"full")
"""A header of the gateway's own: the call was not made, because it could not be recorded."""
INVALID_JSON = "INVALID_JSON"  # the key under which the provider's documents ask for arguments that do not parse


class Delta(msgspec.Struct, frozen=True, gc=False):
    """A piece of a block as it arrives: ``text``, ``thinking`` or ``input_json``, of block ``index``."""

    kind: str
    index: int
    text: str


class RequestHead(msgspec.Struct):
    """The few fields of a request that a route depends on; whatever their types turn out to be."""

    model: Any = None
    stream: Any = False

    @property
    def model_name(self) -> str | None:
        """The model, when it is a text."""
        return self.model if isinstance(self.model, str) else None


_HEAD = msgspec.json.Decoder(RequestHead)


def read_head(body: bytes) -> RequestHead:
    """Model and stream flag of a request body; empty for a body that is not a JSON object. Never raises."""
    try:
        return _HEAD.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return RequestHead()


def parse_message(body: bytes) -> Json:
    """The JSON object in ``body``: a message, or an error answer.

    Raises:
        ValueError: it is not a JSON object.
    """
    try:
        value: object = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"The answer is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise ValueError(f"The answer is not a JSON object but {type(value).__name__}")  # noqa: TRY004  see Raises
    return cast("Json", value)


def error_json(status: int, message: str, *, request_id: str | None = None, kind: str | None = None) -> Json:
    """An error in the provider's own shape; ``kind`` defaults to what the provider calls that status."""
    body: Json = {"type": "error", "error": {"type": kind or ERROR_TYPES.get(status, "api_error"), "message": message}}
    if request_id is not None:
        body["request_id"] = request_id
    return body


def error_of(answer: Json) -> tuple[str, str] | None:
    """``error.type`` and ``error.message`` of an error answer or event, None for any other object."""
    error = _object(answer.get("error"))
    if answer.get("type") != "error" and not error:
        return None
    return str(error.get("type") or error.get("code") or "api_error"), str(error.get("message") or "")


_TOLD_LAST: Final = ("stop_reason", "stop_sequence")  # by most servers before, by some with the last event


@dataclass
class _Block:
    """One content block while it grows. ``pieces`` collect its text, its thinking or its arguments' JSON."""

    start: Json
    pieces: list[str] = field(default_factory=list[str])
    arguments: list[str] = field(default_factory=list[str])
    signature: list[str] = field(default_factory=list[str])
    citations: list[Any] = field(default_factory=list[Any])
    other: Json = field(default_factory=dict[str, Any])


class MessageAssembler:
    """Puts a message together from its stream's events, every block kind whole.

    ``done`` is set by ``message_stop``; ``error`` holds the type and message of an ``error`` event. Events that
    cannot be read are left out: what can be known of a broken stream is still known.
    """

    def __init__(self) -> None:
        self.done = False
        self.error: tuple[str, str] | None = None
        self._message: Json = {}
        self._usage: Json = {}
        self._blocks: dict[int, _Block] = {}

    @property
    def message(self) -> Json:
        """The message as far as it has come; ``{}`` before it started. ``content`` is in the order of indexes."""
        if not self._message:
            return {}
        content = [_whole(self._blocks[index]) for index in sorted(self._blocks)]
        return {**self._message, "content": content, "usage": dict(self._usage)}

    def feed(self, event: SSEEvent) -> list[Delta]:
        """Take one event; the pieces of text, thinking or arguments it brought."""
        try:
            body = parse_message(event.data.encode("utf-8", "replace"))
        except ValueError:
            return []
        match body.get("type", event.event):
            case "message_start":
                self._message = _object(body.get("message"))
                self._usage = dict(_object(self._message.get("usage")))
            case "content_block_start":
                self._blocks[_index(body)] = _Block(dict(_object(body.get("content_block"))))
            case "content_block_delta":
                return self._delta(_index(body), _object(body.get("delta")))
            case "message_delta":
                self._close(_object(body.get("delta")), body)
            case "message_stop":
                self._close({name: body[name] for name in _TOLD_LAST if name in body}, body)
                self.done = True
            case "error":
                self.error = error_of(body)
            case _:
                pass  # ping, and what the provider may add
        return []

    def _close(self, end: Json, body: Json) -> None:
        self._message.update(end)
        self._usage.update((k, v) for k, v in _object(body.get("usage")).items() if v is not None)

    def _delta(self, index: int, delta: Json) -> list[Delta]:
        block = self._blocks.get(index)
        if block is None:
            block = self._blocks[index] = _Block({})
        match delta.get("type"):
            case "text_delta":
                return _piece("text", index, delta.get("text"), block.pieces)
            case "thinking_delta":
                return _piece("thinking", index, delta.get("thinking"), block.pieces)
            case "input_json_delta":
                return _piece("input_json", index, delta.get("partial_json"), block.arguments)
            case "signature_delta":
                _piece("signature", index, delta.get("signature"), block.signature)
            case "citations_delta":
                block.citations.append(delta.get("citation"))
            case _:
                block.other.update((key, value) for key, value in delta.items() if key != "type")
        return []


def _piece(kind: str, index: int, value: object, into: list[str]) -> list[Delta]:
    if not isinstance(value, str) or not value:
        return []
    into.append(value)
    return [Delta(kind, index, value)]


def _whole(block: _Block) -> Json:
    whole = {**block.start, **block.other}
    if block.pieces:
        name = "thinking" if whole.get("type") == "thinking" else "text"
        whole[name] = str(whole.get(name) or "") + "".join(block.pieces)
    if block.arguments:
        whole["input"] = _arguments("".join(block.arguments))
    if block.signature:
        whole["signature"] = str(whole.get("signature") or "") + "".join(block.signature)
    if block.citations:
        given = whole.get("citations")
        whole["citations"] = [*(cast("list[Any]", given) if isinstance(given, list) else []), *block.citations]
    return whole


def _arguments(text: str) -> object:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return {INVALID_JSON: text}


def _object(value: object) -> Json:
    return cast("Json", value) if isinstance(value, dict) else {}


def _index(body: Json) -> int:
    index = body.get("index")
    return index if isinstance(index, int) else 0
